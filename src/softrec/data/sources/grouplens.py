"""The terms that all MovieLens data sets share."""

LICENCE = (
    "GroupLens, University of Minnesota: for research; no redistribution without separate "
    "permission, no commercial use without permission, no implied endorsement; acknowledge the "
    "use in publications"
)
CITATION = (
    "F. M. Harper and J. A. Konstan. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5(4), 2015. "
    "https://doi.org/10.1145/2827872"
)
