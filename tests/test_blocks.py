from hypothesis import given
from hypothesis import strategies as st

from softrec.blocks import blocks


@given(n=st.integers(0, 60), size=st.integers(-3, 70))
def test_blocks_cover_every_row_once_in_order(n, size):
    rows = list(range(n))
    parts = [rows[part] for part in blocks(n, size)]
    assert [row for part in parts for row in part] == rows
    assert all(1 <= len(part) <= max(size, 1) for part in parts)
    assert all(part.stop <= n for part in blocks(n, size))
    assert all(len(part) == max(size, 1) for part in parts[:-1])
