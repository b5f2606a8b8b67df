"""Reproduction of published tables: runs the same trainings and compares the numbers.

`published/` has the published numbers; `papers/` says which recipe belongs to which row.
"""
