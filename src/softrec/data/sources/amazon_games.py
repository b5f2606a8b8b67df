"""Amazon Video Games 2018, 5-core, with times and titles."""

from softrec.data.sources.amazon_reviews import LICENCE_2018
from softrec.data.sources.base import Counts
from softrec.data.sources.genrec import timed_source

SOURCE = timed_source(
    "amazon-games-2018-timed",
    "Amazon Video Games 2018, 5-core, with times and titles",
    "Amazon-2018-Game",
    events="sha256:b129df5f9125c7e8e754030410e60d15aa1d027696ed2476ff090a35a35cfca9",
    titles="sha256:6b195f733d836883cb728d0df8edba135aeb01ac3e8b5e8946a17415f6b8f7e9",
    licence=LICENCE_2018,
    citation="J. Ni, J. Li and J. McAuley. Justifying Recommendations using Distantly-Labeled "
    "Reviews and Fine-Grained Aspects. EMNLP-IJCNLP 2019. https://aclanthology.org/D19-1018",
    homepage="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
    counts=Counts(50_597, 16_874, 453_637),
    notes="Times are whole days, so ties are the rule. 390 events repeat the item of an earlier "
    "event of the user.",
)
