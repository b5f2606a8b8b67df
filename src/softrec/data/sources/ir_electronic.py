"""Amazon Electronics 2014 as in PSL and SL@K: parts at random, by time, and against popularity."""

from softrec.data.sources.base import Counts
from softrec.data.sources.ir_benchmark import parts_source

SOURCE = parts_source(
    "ir-electronic",
    "Amazon Electronics 2014 as in PSL and SL@K, split at random",
    "data_iid/amazon2014-electronic",
    train="sha256:2f3f8287d90ec81896d8eb5a1fe4faed6d0feb516cc6560c6c5f99cc960770c3",
    test="sha256:7a8a5936c1ceec34c531ca2bed925250a3ff0d8596fc3bb95e99bf5a90715d85",
    counts=Counts(13_455, 8_360, 234_521),
)
TEMPORAL = parts_source(
    "ir-electronic-temporal",
    "Amazon Electronics 2014 as in PSL, split by time",
    "data_ood/amazon2014-electronic-temporal",
    train="sha256:a54803634a0cb867f532704fc6a908dd6b597676b0d9efa61d6df718ca5a5107",
    test="sha256:6d9681fe85aad68a376494dbb5ff7f29c43456a50d28085c64b42958b55942ea",
    counts=Counts(12_312, 7_375, 165_380),
    notes="The training part is the earliest 60 % of the events of ir-electronic, the test part "
    "the latest 20 % without users and items that are new; the events between are in neither. The "
    "catalogue has the 7,375 items with an event here; the published results rank all 8,360 of "
    "ir-electronic. Validation is a random fraction of the training part, not its end, for there "
    "are no times.",
)
POPULARITY = parts_source(
    "ir-electronic-popularity",
    "Amazon Electronics 2014 as in PSL, test pairs drawn against popularity",
    "data_ood/amazon2014-electronic-popularity",
    train="sha256:ef9eb6cf6197c56e5a036035ed9fd96c4996f34b897c9c2b038b8b47fa9e63cc",
    test="sha256:7b455761b2b06cbf9a8803be7172d8da6c20c5622c0248c16aa025a3d8943499",
    counts=Counts(13_455, 8_360, 234_521),
    notes="845 users have no test pair. Validation is drawn from the training part and so is not "
    "against popularity.",
)
