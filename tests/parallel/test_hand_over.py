"""Questions that move between processes: all arrive, and none is unpickled where it does not go."""

import os
from types import SimpleNamespace

import torch
import torch.distributed as dist
from processes import run_ranks

from fgexpo.groups import Groups
from fgexpo.parallel.move_questions import hand_over
from fgexpo.questions import Question, Verdict
from fgexpo.types import Completions, QuestionBatch, RolloutBatch

WORLD, EACH = 3, 4
arrived = []


class Text(str):
    """Knows when it is unpickled."""

    def __reduce__(self):
        return arrive, (str(self),)


def arrive(text):
    arrived.append(text)
    return text


def held(rank):
    """A process's questions, one rollout each, all of which tell whose they were."""
    names = [f"{rank}.{question}" for question in range(EACH)]
    numbers = torch.tensor([[10 * rank + question] for question in range(EACH)])
    return RolloutBatch(
        source=QuestionBatch(
            numbers.flatten(),
            [Question(name, name, "1") for name in names],
            [[number] for number in numbers.flatten().tolist()],
            "train",
        ),
        groups=Groups([1] * EACH),
        completions=Completions(
            numbers, torch.ones(EACH).long(), ["stop"] * EACH, -numbers.float()
        ),
        texts=[Text(name) for name in names],
        verdicts=[Verdict(True, name) for name in names],
        correct_N=torch.ones(EACH),
        reward_N=numbers.flatten().float(),
    )


def moving():
    rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    # Everybody keeps two questions and takes one from each of the others; nobody takes (2, 3).
    plan = [
        [(0, 0), (1, 2), (0, 1), (2, 2)],
        [(0, 2), (1, 0), (1, 1), (2, 0)],
        [(2, 1), (1, 3), (0, 3)],
    ]
    found = hand_over(SimpleNamespace(global_rank=rank), held(rank), plan)
    names = [f"{giver}.{question}" for giver, question in plan[rank]]
    assert [str(text) for text in found.texts] == names
    assert [question.id for question in found.source.questions] == names
    assert [verdict.answer for verdict in found.verdicts] == names
    numbers = [10 * giver + question for giver, question in plan[rank]]
    assert found.completions.tokens_NT.flatten().tolist() == numbers
    assert found.reward_N.tolist() == numbers
    foreign = [name for name in names if not name.startswith(f"{rank}.")]
    assert sorted(arrived) == sorted(foreign), arrived
    dist.destroy_process_group()


def test_each_process_unpickles_what_it_takes_and_nothing_else(tmp_path):
    run_ranks(moving, log=tmp_path / "log", world_size=WORLD)
