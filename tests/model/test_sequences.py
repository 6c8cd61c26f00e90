import pytest
import torch

from fgexpo.groups import Groups
from fgexpo.model.sequences import join, join_solutions
from fgexpo.types import Completions
from fgexpo.update.micro_batches import split


def test_join_puts_each_prompt_before_its_group():
    completions = Completions(
        torch.tensor([[7, 8], [9, 0], [10, 11], [12, 0]]),
        torch.tensor([2, 1, 2, 1]),
        [],
        torch.zeros(4, 2),
    )
    found = join([[1, 2, 3], [4]], completions, Groups([3, 1]))
    rows = [
        row[:length]
        for row, length in zip(found.tokens_NL.tolist(), found.lengths_N.tolist(), strict=True)
    ]
    assert rows == [[1, 2, 3, 7, 8], [1, 2, 3, 9], [1, 2, 3, 10, 11], [4, 12]]
    assert found.mask_NT.tolist() == [[True, True], [True, False], [True, True], [True, False]]


def test_select_cuts_to_the_longest():
    found = join_solutions([[1, 2, 3, 4], [5]], [[6, 7], [8]]).select(torch.tensor([1]))
    assert found.tokens_NL.tolist() == [[5, 8]]
    assert found.width == 2


def test_split_are_contiguous_and_must_divide():
    found = split(Groups([1, 2, 4, 1, 1, 3]), 2)
    assert [rows.tolist() for rows in found] == [[0, 1, 2], [3, 4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(ValueError):
        split(Groups([2] * 6), 4)
