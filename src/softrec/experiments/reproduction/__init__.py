"""The results that papers publish, and what the same trainings give here.

`published/` has the numbers, `papers/` which recipe stands for which row.
"""
