"""Indices that find most of the best items without a score for each item."""
