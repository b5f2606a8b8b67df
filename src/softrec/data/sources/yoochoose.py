"""Yoochoose: what was bought in sessions of a web shop, RecSys Challenge 2015."""

from softrec.data.sources.base import Counts
from softrec.data.sources.genrec import timed_source

SOURCE = timed_source(
    "yoochoose-buys",
    "Yoochoose, purchases: shop sessions of 5 purchases or more, 2014",
    "YooChoose-Buys",
    events="sha256:0f729cd98a0d6c9ec7aabf191c201c46a06e02b01c6e79ddc2bee83cd44f20d0",
    titles=None,
    licence="YOOCHOOSE GmbH, RecSys Challenge 2015: for research",
    citation="D. Ben-Shimon et al. RecSys Challenge 2015 and the YOOCHOOSE Dataset. RecSys 2015. "
    "https://doi.org/10.1145/2792838.2798723",
    homepage="https://recsys.acm.org/recsys15/challenge/",
    split={"split": "leave-last-out", "cold": "keep"},
    counts=Counts(43_107, 4_659, 292_230),
    notes="A user is a session, and a session lasts minutes, so that a cut through time leaves few "
    "users with events on both sides. Times are milliseconds. Items repeat inside sessions.",
)
