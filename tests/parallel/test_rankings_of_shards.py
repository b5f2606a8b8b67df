"""Rankings and look-ups over three shards are those of the whole catalogue."""

import torch
from processes import results

from softrec.limits import limited
from softrec.parallel import Catalogue
from softrec.retrieval import Seen, rank_of, top_k
from softrec.retrieval.shards import rank_of_shards, top_k_of_shards
from softrec.types import ItemVectors, Products

N, P, D = 23, 9, 3
LABEL = torch.tensor([0, 22, 11, 12, 5, 11, 7, 20, 3])
ITEMS = torch.tensor([22, 0, 7, 15, 7])


def numbers(*shape, seed):
    """Small whole numbers, whose products are exact and often equal."""
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).double()


def seen():
    """No item of the first row, all of the second, some of the others with label and without."""
    rows = [[], list(range(N)), [11, 3, 20], *([r, 22 - r] for r in range(3, P))]
    offsets = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    return Seen(offsets, torch.tensor([item for row in rows for item in row]))


def everything():
    catalogue = Catalogue(N)
    users, table = numbers(P, D, seed=1), numbers(N, D, seed=2)
    users[4] = torch.nan
    own = table[catalogue.start : catalogue.stop]
    whole, part = Products(users, ItemVectors(table)), Products(users, ItemVectors(own))
    found = {}
    with limited(scores=8 * N * 4):  # several blocks
        for left_out in (None, seen()):
            case = left_out is not None
            ranks = rank_of_shards(part, LABEL, catalogue, left_out)
            found["ranks", case] = torch.equal(ranks, rank_of(whole, LABEL, left_out))
            for k in (1, 5, 9, N):  # more than a shard has
                best, expected = top_k_of_shards(part, k, catalogue, left_out), top_k(
                    whole, k, left_out
                )  # fmt: skip
                finite = best.scores.isfinite()
                found["scores", case, k] = torch.equal(best.scores, expected.scores)
                found["items", case, k] = torch.equal(best.items[finite], expected.items[finite])
    whole_rows = table.clone().requires_grad_()
    own_rows = own.clone().requires_grad_()
    power = numbers(len(ITEMS), D, seed=3)
    looked = catalogue.rows(own_rows, ITEMS)
    found["rows"] = torch.equal(looked, table[ITEMS])
    (looked * power).sum().backward()
    (whole_rows[ITEMS] * power).sum().backward()
    expected = whole_rows.grad[catalogue.start : catalogue.stop]
    found["gradient of rows"] = torch.equal(own_rows.grad, expected)
    return found


def test_three_shards_rank_as_the_whole(tmp_path):
    for found in results(3, everything, tmp_path):
        assert len(found) == 20
        assert [case for case, same in found.items() if not same] == []
