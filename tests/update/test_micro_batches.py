import pytest
import torch

from fgexpo.update.micro_batches import level, pack, stand_in

LENGTHS = torch.tensor([3, 9, 1, 4, 4, 2, 7])


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("limit", [1, 7, 12, 100])
def test_every_row_once_within_the_limit(limit, padded):
    rows = torch.tensor([6, 0, 2, 3, 5])
    found = pack(rows, LENGTHS, limit, padded)
    assert sorted(torch.cat(found).tolist()) == sorted(rows.tolist())
    for group in found:
        lengths = LENGTHS[group]
        size = len(group) * lengths.max() if padded else lengths.sum()
        assert len(group) == 1 or size <= limit


def test_groups_are_as_large_as_they_may_be():
    # By length: 9, 7, 4, 4, 3, 2, 1 of rows 1, 6, 3, 4, 0, 5, 2.
    found = pack(torch.arange(7), LENGTHS, 16, padded=False)
    assert [group.tolist() for group in found] == [[1, 6], [3, 4, 0, 5, 2]]
    found = pack(torch.arange(7), LENGTHS, 16, padded=True)
    assert [group.tolist() for group in found] == [[1], [6, 3], [4, 0, 5, 2]]


def test_level_halves_the_largest():
    groups = [torch.tensor([0]), torch.tensor([1, 2, 3, 4, 5]), torch.tensor([6, 7])]
    assert level(groups, 3) == groups
    found = [group.tolist() for group in level(groups, 5)]
    assert found == [[0], [1, 2], [3], [4, 5], [6, 7]]
    assert [len(group) for group in level(groups, 8)] == [1] * 8


def test_where_rows_are_too_few_micro_batches_are_empty():
    groups = [torch.tensor([4, 7]), torch.tensor([6])]
    assert [group.tolist() for group in level(groups, 5)] == [[4], [7], [6], [], []]
    assert [stand_in(rows).tolist() for rows in level(groups, 4)] == [[4], [7], [6], [0]]
