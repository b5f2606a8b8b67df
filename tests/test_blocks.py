import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from softrec.blocks import blocks, blocks_of_parts


@given(n=st.integers(0, 60), size=st.integers(-3, 70))
def test_blocks_cover_every_row_once_in_order(n, size):
    rows = list(range(n))
    parts = [rows[part] for part in blocks(n, size)]
    assert [row for part in parts for row in part] == rows
    assert all(1 <= len(part) <= max(size, 1) for part in parts)
    assert all(part.stop <= n for part in blocks(n, size))
    assert all(len(part) == max(size, 1) for part in parts[:-1])


@given(st.lists(st.integers(0, 9), max_size=9), st.integers(1, 20))
def test_parts_are_put_together_as_far_as_they_fit(lengths, size):
    found = list(blocks_of_parts(np.cumsum(lengths, dtype=np.int64), size))
    assert [n for part in found for n in lengths[part]] == lengths
    for part in found:
        assert sum(lengths[part]) <= size or part.stop - part.start == 1
        assert part.stop == len(lengths) or sum(lengths[part.start : part.stop + 1]) > size
