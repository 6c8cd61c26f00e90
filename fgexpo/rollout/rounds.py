"""A wave's rollouts, in as many rounds as its allocation takes.

Sample numbers go on counting from round to round, and a rollout's seed hangs on its question and
that number alone: with ``Native``, equal sizes therefore give equal rollouts, whatever the rounds.
vLLM counts seeds up from each request's first, so there a second round draws other samples.
"""

from collections import Counter
from collections.abc import Callable

import torch
from lightning.pytorch import Trainer

from ..allocation import Allocation, Equal, Tally, checked_share
from ..curriculum.data import CurriculumData, estimates
from ..groups import Groups
from ..parallel.collectives import gather_questions
from ..parallel.move_questions import join_rollouts, take_rows
from ..types import QuestionBatch, RolloutBatch

# Some of this process's questions, and their rollouts.
Part = tuple[list[int], RolloutBatch]


def roll_out_in_rounds(
    trainer: Trainer,
    questions: QuestionBatch,
    allocation: Allocation,
    group_size: int,
    sample: Callable[[QuestionBatch, list[list[int]]], RolloutBatch],
    seed_of: Callable[[str, int], int],
    data: CurriculumData | None,
    together: bool,
) -> RolloutBatch:
    """Sample a wave.

    Each round is decided from what all processes have gathered, so they agree on it.

    Args:
        trainer: of this process.
        questions: this process's share of the wave.
        allocation: how many rollouts each gets; equal ones need no word from other processes.
        group_size: rollouts a question on average.
        sample: samples questions, with these seeds, and grades what comes.
        seed_of: a rollout's seed from its question's id and its sample number.
        data: the data module with a curriculum; None if there is none.
        together: whether all processes must generate at the same time.

    Returns:
        All rollouts, question by question, each one's in the order of their numbers.
    """

    def roll_out(chosen: list[int], numbers: list[range]) -> RolloutBatch:
        asked = questions if len(chosen) == len(questions) else questions.select(chosen)
        pairs = zip(asked.questions, numbers, strict=True)
        return sample(asked, [[seed_of(q.id, number) for number in own] for q, own in pairs])

    everything = list(range(len(questions)))
    if type(allocation) is Equal:
        return roll_out(everything, [range(group_size)] * len(questions))
    tally = _begin(trainer, questions, group_size, data)
    own = slice(trainer.global_rank, None, trainer.world_size)
    parts: list[Part] = []
    while (added_Q := checked_share(allocation, tally)).any():
        pairs = zip(tally.tried_Q[own].tolist(), added_Q[own].tolist(), strict=True)
        numbers = [range(tried, tried + added) for tried, added in pairs]
        chosen = [q for q in everything if numbers[q]]
        right_Q = torch.zeros_like(questions.index_Q)
        if chosen:
            part = roll_out(chosen, [numbers[q] for q in chosen])
            right_Q[chosen] = part.groups.sums(part.correct_N).to(right_Q)
            parts.append((chosen, part))
        elif together:
            # The others wait for this process to take part; what it samples is not used.
            roll_out([0], [range(1)])
        if int(added_Q.sum()) == tally.left:
            return _by_question(questions, parts, int((tally.tried_Q + added_Q).max()))
        tally = tally.add(added_Q, gather_questions(trainer, right_Q).cpu())
    return _by_question(questions, parts, int(tally.tried_Q.max()))


def _begin(
    trainer: Trainer, questions: QuestionBatch, group_size: int, data: CurriculumData | None
) -> Tally:
    index_Q = gather_questions(trainer, questions.index_Q).cpu()
    nothing_Q = torch.zeros_like(index_Q)
    told = estimates(data)
    if told is None:
        return Tally(group_size, nothing_Q, nothing_Q)
    return Tally(group_size, nothing_Q, nothing_Q, told.pass_rates(index_Q), told.visits(index_Q))


def _by_question(questions: QuestionBatch, parts: list[Part], widest: int) -> RolloutBatch:
    """The rounds' rollouts together; the first round has some of every question."""
    rounds = [part for _, part in parts]
    seconds = {tag: sum(part.seconds[tag] for part in rounds) for tag in rounds[0].seconds}
    question_of = [q for chosen, part in parts for q in part.groups.each(chosen)]
    order = sorted(range(len(question_of)), key=question_of.__getitem__)  # stable
    counts = Counter(question_of)
    sizes = [counts[q] for q in range(len(questions))]
    groups = Groups(sizes, rounds[0].groups.sizes, widest)
    device = rounds[0].correct_N.device
    return take_rows(join_rollouts(rounds, seconds), order, questions, groups, device)
