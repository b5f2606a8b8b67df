"""Gives NumPy 2 the names of NumPy 1 that RecBole 1.2.1 reads; imported before it."""

import numpy as np

FORMER = {
    "bool8": np.bool_,
    "complex_": np.complex128,
    "float_": np.float64,
    "int0": np.intp,
    "object0": np.object_,
    "unicode_": np.str_,
}

for name, kind in FORMER.items():
    if not hasattr(np, name):
        setattr(np, name, kind)
