import torch

from fgexpo.parallel.balance import assign


def test_long_questions_go_to_whoever_has_least():
    # Two processes, two optimizer steps of two questions each.
    tokens = torch.tensor([[9, 8, 1, 2], [1, 2, 8, 9]])
    plan = assign(tokens, questions=2)
    assert plan == [[(0, 0), (1, 0), (1, 3), (0, 2)], [(0, 1), (1, 1), (1, 2), (0, 3)]]


def test_every_question_is_taken_once_within_its_step():
    tokens = torch.randint(1, 1000, (4, 12), generator=torch.Generator().manual_seed(0))
    plan = assign(tokens, questions=3)
    assert sorted(pair for taken in plan for pair in taken) == [
        (rank, question) for rank in range(4) for question in range(12)
    ]
    for taken in plan:
        assert [question // 3 for _, question in taken] == [n // 3 for n in range(12)]


def test_the_busiest_process_has_little_more_than_the_mean():
    # Paper's step on 8 processes: 32 questions each, 8 updates; lengths like those of a group.
    generator = torch.Generator().manual_seed(0)
    tokens = (1000 + 3000 * torch.rand(8, 32, generator=generator) ** 2) * 8

    def busiest(loads_WU):
        return float((loads_WU.amax(0) / loads_WU.mean(0)).mean())

    before = busiest(tokens.view(8, 8, 4).sum(2))
    loads = [[int(tokens[pair]) for pair in taken] for taken in assign(tokens.long(), 4)]
    after = busiest(torch.tensor(loads).double().view(8, 8, 4).sum(2))
    assert before > 1.2 and after < 1.08, (before, after)
