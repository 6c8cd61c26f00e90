"""Groups of different sizes through whole runs: what is drawn, learned and counted."""

from copy import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import EvenIsRight, Recorder, fit, make_data, make_module, make_trainer, weights
from near import logged, same
from processes import run_ranks
from test_distributed import check
from test_resume import FEWER, check_every_cut
from test_strategies import final, same_weights, train

from fgexpo.allocation import Allocation, ByPosterior, UntilSuccess
from fgexpo.callbacks import AKLCallback, QuestionAKL
from fgexpo.curriculum.data import curriculum_data, estimates
from fgexpo.groups import Groups
from fgexpo.kl import tanh_scale
from fgexpo.losses import Clipped
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.questions import Question
from fgexpo.rewards import Verdict
from fgexpo.rewards.reward import Accuracy
from fgexpo.rollout import Native, rounds
from fgexpo.rollout.waves import Refill
from fgexpo.types import Completions, QuestionBatch, RolloutBatch
from fgexpo.update.rollout_loss import rollout_loss, update_denominator

VERDICTS = {"verifier": EvenIsRight(), "rewards": [Accuracy()], "kl_coef": 0.1}
# Unequal from the first step on, and with every number of rows on each process.
FIXED = (1, 6, 2, 7)


class Fixed(Allocation):
    """Some questions get more, whatever they are."""

    def share(self, tally):
        sizes = torch.tensor(FIXED).repeat(len(tally.tried_Q))[: len(tally.tried_Q)]
        return (sizes - tally.tried_Q).clamp_min(0)


class ByRounds(Allocation):
    """As many of each, but two at a time."""

    def share(self, tally):
        return torch.full_like(tally.tried_Q, min(2, tally.left // len(tally.tried_Q)))


def test_equal_sizes_in_rounds_make_the_run_of_equal_ones(model_folder, tmp_path):
    """A user's own allocation of three lines; sample numbers go on counting over its rounds."""
    options = {**VERDICTS, "kl_coef": 0.0}
    plain, _, expected = fit(model_folder, tmp_path, 2, **options)
    module, _, found = fit(model_folder, tmp_path, 2, **options, allocation=ByRounds())
    for one, two in zip(found.batches, expected.batches, strict=True):
        assert one.texts == two.texts
        assert torch.equal(one.advantages_N, two.advantages_N)
        # Pass-rates are those of the first round.
        assert one.groups.planned == [2] * 4 and two.groups.planned == [4] * 4
    assert torch.equal(weights(module), weights(plain))


@pytest.fixture(scope="module")
def until_success(model_folder, tmp_path_factory):
    folder, recorder = tmp_path_factory.mktemp("until"), Recorder()
    module = make_module(model_folder, **VERDICTS, allocation=UntilSuccess(round=1, most=9))
    data = make_data(decay=0.5)
    make_trainer(folder, 4, [AKLCallback(), recorder]).fit(module, data)
    assert len({size for batch in recorder.batches for size in batch.groups.sizes}) > 2
    return module, data, recorder


def test_each_question_has_the_first_of_its_samples(until_success, model_folder, tmp_path):
    _, _, recorder = until_success
    first = recorder.batches[0]
    _, _, equal = fit(model_folder, tmp_path, 1, **{**VERDICTS, "group_size": 9})
    whole = equal.batches[0]
    assert first.source.index_Q.tolist() == whole.source.index_Q.tolist()
    for rows, all_rows in zip(first.groups.rows, whole.groups.rows, strict=True):
        assert first.texts[rows] == whole.texts[all_rows][: rows.stop - rows.start]
    for batch in recorder.batches:
        right = [batch.correct_N[rows].tolist() for rows in batch.groups.rows]
        for own in right:
            assert len({*own[:-1]}) <= 1, "nobody goes on who has seen both"
        assert sum(map(len, right)) == 16 or all(len({*own}) == 2 or len(own) == 9 for own in right)


def test_only_the_first_round_is_learned_and_everything_is_counted(until_success):
    _, data, recorder = until_success
    rates, rollouts, tokens = dict.fromkeys(range(24), 0.5), 0, 0
    for batch, beta, metrics in zip(
        recorder.batches, recorder.betas, recorder.metrics, strict=True
    ):
        first = [float(batch.correct_N[rows.start]) for rows in batch.groups.rows]
        for row, rate in zip(batch.source.index_Q.tolist(), first, strict=True):
            rates[row] = 0.5 * rates[row] + 0.5 * rate
        same(float(batch.asked.accuracy), sum(first) / 4)
        same(beta, 0.1 * tanh_scale(sum(first) / 4))
        assert batch.pass_rate_Q.tolist() == first
        assert batch.asked.rollouts_A.tolist() == batch.groups.sizes
        rollouts += len(batch.texts)
        tokens += int(batch.completions.lengths_N.sum())
        assert (metrics["num_rollouts"], metrics["num_tokens"]) == (rollouts, tokens)
        sizes = batch.groups.sizes
        assert (metrics["allocation/min"], metrics["allocation/max"]) == (min(sizes), max(sizes))
        assert metrics["allocation/unspent"] == 16 - sum(sizes)
    assert data.table.pass_rates.tolist() == list(rates.values())


@pytest.mark.parametrize("refill", [None, Refill(3)], ids=["once", "refill"])
@pytest.mark.parametrize(
    "allocation", [ByPosterior(), UntilSuccess(), Fixed()], ids=lambda x: type(x).__name__
)
def test_two_steps_of_each(model_folder, tmp_path, allocation, refill):
    options = {**VERDICTS, "allocation": allocation, "refill": refill}
    module, _, recorder = fit(model_folder, tmp_path, 2, [QuestionAKL()], **options)
    for batch, metrics in zip(recorder.batches, recorder.metrics, strict=True):
        assert len(batch.asked) % 4 == 0 and batch.asked.rollouts <= 4 * len(batch.asked)
        assert metrics["nonfinite/updates"] == 0
        assert len(batch.groups) == 4 and batch.groups.rollouts == len(batch.texts)
    assert bool(weights(module).isfinite().all())


@pytest.fixture(scope="module")
def fixed(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixed")
    module, _, recorder = fit(model_folder, folder, 1, **VERDICTS, allocation=Fixed())
    return module.policy, recorder.batches[0]


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "dr_grpo"])
@pytest.mark.parametrize("weigh", ["question", "rollout"])
def test_what_the_loss_averages(fixed, aggregation, weigh):
    """Against a formula of each question's own mean; the cut into micro-batches changes nothing."""
    policy, batch = fixed
    assert batch.weight_N is not None
    batch = copy(batch)
    if weigh == "rollout":
        batch.weight_N = None
    loss = Clipped(aggregation=aggregation)
    rows_N, done, total = torch.arange(16), batch.completions, 0.0
    assert batch.groups.sizes == list(FIXED)
    with torch.no_grad():
        logp_NT, _ = completion_logprobs(policy, batch.sequences)
    batch.old_logp_NT = torch.where(done.mask_NT, logp_NT + 0.3, 0.0)
    given = {"beta": 0.1, "settings": loss, "temperature": 1.0}
    denominator = update_denominator(loss, batch, rows_N, 8)
    for micro in rows_N.split(5):
        part = rollout_loss(policy, batch, micro, **given, denominator=denominator)
        total += float(part.loss.detach())
    # On ratios of e^-0.3, cut below where the advantage is negative.
    ratio_NT = (logp_NT - batch.old_logp_NT).exp()
    adv_N1 = batch.advantages_N[:, None]
    value_NT = -torch.minimum(ratio_NT * adv_N1, ratio_NT.clamp(0.8, 1.2) * adv_N1)
    difference_NT = batch.ref_logp_NT - logp_NT
    value_NT += 0.1 * (difference_NT.exp() - difference_NT - 1)
    value_NT = torch.where(done.mask_NT, value_NT, 0.0)
    sums_N, lengths_N = value_NT.sum(1), done.lengths_N.double()
    if aggregation == "sequence_mean":
        sums_N = sums_N / lengths_N
    constant = {"token_mean": lengths_N, "sequence_mean": 1.0, "dr_grpo": 8.0}[aggregation]
    top, bottom = sums_N, constant * torch.ones(16, dtype=torch.float64)
    if weigh == "question":
        top, bottom = batch.groups.means(top), batch.groups.means(bottom)
    same(total, float(top.sum() / bottom.sum()))


def test_an_empty_micro_batch_has_no_gradient(fixed):
    policy, batch = fixed[0], copy(fixed[1])
    policy.zero_grad()
    batch.old_logp_NT = batch.old_logp_NT.clone()
    batch.old_logp_NT[0] = torch.nan
    given = {"beta": 0.1, "settings": Clipped(), "temperature": 1.0, "denominator": 3.0}
    nothing = torch.arange(0)
    out = rollout_loss(policy, batch, nothing, **given, first=True)
    out.loss.backward()
    assert float(out.loss.detach()) == 0 and not out.nonfinite_tokens
    gradients = [weight.grad for weight in policy.parameters()]
    assert all(grad is not None and not grad.any() for grad in gradients)
    assert bool(batch.old_logp_NT[0].isnan().all()), "the row that stands in is not noted"


# So few tokens a micro-batch that a process with few rows has empty ones.
RAGGED = {"allocation": UntilSuccess(round=1, most=9), "micro_batch_tokens": 25, "rewards": None}


@pytest.mark.slow
def test_two_processes_equal_one(model_folder, tmp_path):
    """Two runs, one of them on two processes."""
    one = check(model_folder, tmp_path, RAGGED)
    sizes = [len(texts) for row in one["rows"] for texts, *_ in row["rollouts"].values()]
    assert len({*sizes}) > 2 and any(one["empty"]), (sizes, one["empty"])


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["dr_grpo", "sequence_mean"])
def test_so_they_do_with_other_losses_and_refills(model_folder, tmp_path, aggregation):
    """The same each, with more waves."""
    options = {"refill": Refill(3), "group_size": 3, "loss": Clipped(aggregation=aggregation)}
    one = check(model_folder, tmp_path, {**RAGGED, **options})
    assert max(row["metrics"]["refill/waves"] for row in one["rows"]) > 1


@pytest.mark.slow
def test_so_they_do_on_shards(model_folder, tmp_path):
    """All processes gather the weights for every round, with or without questions in it."""
    options = {**RAGGED, "verifier": EvenIsRight()}
    train(model_folder, str(tmp_path / "one"), 1, "auto", options)
    arguments = (model_folder, str(tmp_path / "two"), 2, "fsdp2", options)
    run_ranks(train, *arguments, log=tmp_path / "log")
    one, two = final(tmp_path / "one"), final(tmp_path / "two")
    same_weights(one, two)
    assert one["fgexpo"]["num_rollouts"] == two["fgexpo"]["num_rollouts"]


RESUMED = {"rewards": [Accuracy()], "group_size": 3}
ALLOCATIONS = [
    pytest.param({"allocation": UntilSuccess(round=1), "refill": Refill(2)}, id="until success"),
    pytest.param({"allocation": ByPosterior()}, id="posterior"),
]


@pytest.mark.slow
@pytest.mark.parametrize("options", ALLOCATIONS)
def test_a_resumed_run_equals_an_undisturbed_one(model_folder, tmp_path, options):
    """Fifteen steps each, resumed at two of them."""
    check_every_cut(model_folder, tmp_path, "step", cuts=FEWER, **RESUMED, **options)


class Calls(Native):
    """Counts what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def generate(self, policy, request):
        self.asked.append([len(seeds) for seeds in request.seeds])
        return super().generate(policy, request)


def test_equal_asks_once_and_rounds_ask_for_what_is_missing(model_folder, tmp_path):
    for allocation, expected in (({}, [[4] * 4]), ({"allocation": ByRounds()}, [[2] * 4] * 2)):
        engine = Calls()
        fit(model_folder, tmp_path, 1, **VERDICTS, engine=engine, **allocation)
        assert engine.asked == expected


@pytest.mark.parametrize("together", [True, False])
def test_who_has_nothing_to_ask_takes_part_where_all_must(monkeypatch, together):
    """Of two processes with a question each, only the other's goes on."""
    mine = QuestionBatch(torch.tensor([5]), [Question("mine", "1+1", "2")], [[3]], "train")
    tried, calls = [[1, 1], [0, 2], [0, 0]], []

    class Script(Allocation):
        def share(self, tally):
            return torch.tensor(tried.pop(0))

    def sample(questions, seeds):
        calls.append(seeds)
        n = len(seeds[0])
        done = Completions(
            torch.ones(n, 1).long(), torch.ones(n).long(), ["stop"] * n, torch.zeros(n, 1)
        )
        right_N = torch.ones(n)
        groups = Groups([n])
        return RolloutBatch(
            questions, groups, done, ["a"] * n, [Verdict(True, "2")] * n, right_N, right_N
        )

    monkeypatch.setattr(rounds, "gather_questions", lambda _, mine_Q: mine_Q.repeat(2))
    trainer = SimpleNamespace(global_rank=0, world_size=2)
    found = rounds.roll_out_in_rounds(
        trainer, mine, Script(), 4, sample, lambda question, number: number, None, together
    )
    assert calls == ([[[0]], [[0]]] if together else [[[0]]])
    assert (found.groups.sizes, found.groups.planned, found.groups.widest) == ([1], [1], 3)


def gather(folder, out):
    """Ragged groups of two processes, in the order of the draw."""
    from fgexpo.parallel.gather_rollouts import gather_rollouts, own_rollouts

    trainer = make_trainer(Path(out).parent, 1, devices=2, strategy="ddp")
    trainer.strategy.setup_environment()
    rank = trainer.global_rank
    own = [Groups([1, 3], [1, 2], widest=4), Groups([4, 2], [2, 2], widest=4)][rank]
    values_N = torch.arange(own.rollouts, dtype=torch.float64) + 10 * rank
    columns, everyone = gather_rollouts(trainer, {"a": values_N, "b": -values_N}, own)
    assert everyone.sizes == [1, 4, 3, 2] and everyone.planned == [1, 2, 2, 2]
    assert columns["a"].tolist() == [0, 10, 11, 12, 13, 1, 2, 3, 14, 15]
    assert torch.equal(columns["b"], -columns["a"])
    assert torch.equal(own_rollouts(trainer, columns["a"], everyone), values_N)


def test_ragged_groups_of_two_processes_are_gathered(tmp_path):
    run_ranks(gather, "", str(tmp_path / "out"), log=tmp_path / "log")


@pytest.mark.parametrize("weigh", ["question", "rollout"])
def test_a_mean_factor_counts_rollouts_as_the_loss_does(model_folder, tmp_path, weigh):
    """Questions of 1, 6, 2 and 7 rollouts: each factor's weight is G / n, or 1."""
    allocation = Fixed()
    allocation.weigh = weigh
    options = {**VERDICTS, "allocation": allocation}
    _, _, found = fit(model_folder, tmp_path, 1, [QuestionAKL()], **options)
    batch, rates = found.batches[0], found.batches[0].pass_rate_Q.tolist()
    assert len(set(rates)) > 1
    sizes = batch.groups.sizes
    shares = [4.0] * len(sizes) if weigh == "question" else sizes
    factors = [tanh_scale(rate) for rate in rates]
    wanted = sum(f * share for f, share in zip(factors, shares, strict=True)) / sum(shares)
    logged(found.metrics[0]["akl/kl_coef"], 0.1 * wanted)


def test_data_without_estimates_still_learns(model_folder, tmp_path):
    class Bare:
        questions_per_step = 4

        def observe(self, index, pass_rate):
            return {}

        def more_questions(self, wave, asked):
            return None

    trainer = SimpleNamespace(datamodule=Bare())
    assert curriculum_data(trainer) is trainer.datamodule and estimates(trainer.datamodule) is None
