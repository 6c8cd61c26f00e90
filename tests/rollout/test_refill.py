"""Dynamic sampling in waves: what is chosen, what is counted, and that runs stay exact."""

from pathlib import Path

import pytest
import torch
from helpers import (
    EvenIsRight,
    Parity,
    Recorder,
    fit,
    make_data,
    make_module,
    make_trainer,
    weights,
)
from lightning.pytorch import Callback
from near import logged, same
from processes import run_ranks
from test_distributed import check
from test_resume import FEWER, check_every_cut, run, saved
from test_strategies import final, same_weights, train

from fgexpo.callbacks import AKLCallback
from fgexpo.kl import tanh_scale
from fgexpo.rewards import Verdict, Verifier
from fgexpo.rewards.reward import Accuracy, Reward
from fgexpo.rollout import Native
from fgexpo.rollout.waves import Refill, choose, deal
from fgexpo.types import Asked

# In groups of two, a random model leaves about half of the questions without a signal.
PAIRS = {"group_size": 2, "rewards": [Accuracy()], "verifier": EvenIsRight()}
STEPS = 6


def test_the_choice_by_hand():
    no, yes = False, True
    assert choose([no, yes, yes, no, yes, yes], 3) == [1, 2, 4]
    assert choose([no, yes, no, no, yes], 4) == [0, 1, 2, 4], "filled up, in the order drawn"
    assert choose([no, no, no, no], 2) == [0, 1]
    assert choose([yes, yes], 2) == [0, 1]


def test_processes_take_turns_with_the_chosen():
    # Question n of all waves is number n // 2 on process n % 2.
    assert deal([0, 3, 4, 9], 2) == [[(0, 0), (0, 2)], [(1, 1), (1, 4)]]
    assert deal([1, 2, 5], 1) == [[(0, 1), (0, 2), (0, 5)]]


def test_what_was_asked_adds_up():
    def asked(*columns):
        return Asked(*(torch.tensor(column) for column in columns))

    first = asked([7, 3], [4, 4], [4, 4], [4, 0], [9, 8], [False, False])
    both = first + asked([5], [4], [4], [1], [6], [True])
    assert both.index_A.tolist() == [7, 3, 5] and len(both) == 3
    assert both.pass_rate_A.tolist() == [1.0, 0.0, 0.25]
    assert (both.rollouts, both.tokens, both.waves) == (12, 23, 2)
    assert both.accuracy == pytest.approx(5 / 12)
    assert both.informative_A.tolist() == [False, False, True]
    # Of ten rollouts of one more question, only the first two say how often it is solved.
    more = both + asked([1], [10], [2], [1], [9], [True])
    assert (more.rollouts, more.tokens) == (22, 32)
    assert more.pass_rate_A.tolist() == [1.0, 0.0, 0.25, 0.5]
    same(more.accuracy, (1 + 0 + 0.25 + 0.5) / 4)


class Seen(Callback):
    """What a run has asked, read off its engine and verifier, one list of waves a step."""

    def __init__(self):
        self.waves, self.steps = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.steps.append(self.waves)
        self.waves = []


class SeenNative(Native):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def generate(self, policy, request):
        done = super().generate(policy, request)
        self.seen.waves.append({"tokens": int(done.lengths_N.sum())})
        return done


class SeenVerifier(EvenIsRight):
    def __init__(self, seen):
        self.seen = seen

    def verify(self, questions, texts):
        found = super().verify(questions, texts)
        rows = list(zip(questions, texts, [verdict.correct for verdict in found], strict=True))
        self.seen.waves[-1]["groups"] = [
            (group[0][0].id, [row[1] for row in group], [row[2] for row in group])
            for group in zip(rows[::2], rows[1::2], strict=True)
        ]
        return found


@pytest.fixture(scope="module")
def watched(model_folder, tmp_path_factory):
    """A run with AKL, and what it has asked."""
    seen, recorder = Seen(), Recorder()
    spies = {"engine": SeenNative(seen), "verifier": SeenVerifier(seen)}
    options = {**PAIRS, **spies, "kl_coef": 0.1, "refill": Refill(4)}
    module, data = (
        make_module(model_folder, **options),
        make_data(decay=0.5, refresh="step", seed=3),
    )
    callbacks = [AKLCallback(), seen, recorder]
    make_trainer(tmp_path_factory.mktemp("watched"), STEPS, callbacks).fit(module, data)
    assert {len(waves) for waves in seen.steps} > {2}, "waves must differ for these tests to tell"
    return module, data, recorder, seen.steps


def groups(waves):
    return [group for wave in waves for group in wave["groups"]]


def has_signal(group):
    return len(set(group[2])) == 2


def test_it_trains_on_the_first_groups_with_a_signal(watched):
    _, _, recorder, steps = watched
    full = 0
    for batch, waves in zip(recorder.batches, steps, strict=True):
        asked = groups(waves)
        kept = [group for group in asked if has_signal(group)][:4]
        full += len(kept) == 4
        missing = 4 - len(kept)
        kept += [group for group in asked if not has_signal(group)][:missing]
        expected = [group for group in asked if group in kept]
        assert [question.id for question in batch.source.questions] == [g[0] for g in expected]
        assert batch.texts == [text for group in expected for text in group[1]]
        assert batch.correct_N.tolist() == [right for group in expected for right in group[2]]
        if missing == 0:
            assert batch.advantages_N.all()
    assert full >= STEPS - 1


def test_it_asks_as_often_as_it_must(watched):
    _, _, recorder, steps = watched
    for metrics, waves in zip(recorder.metrics, steps, strict=True):
        found = [has_signal(group) for group in groups(waves)]
        before = sum(found[: -len(waves[-1]["groups"])])
        assert before < 4 and (sum(found) >= 4 or len(waves) == 4)
        assert metrics["refill/waves"] == len(waves)
        assert metrics["refill/informative_frac"] == pytest.approx(sum(found) / len(found))


def test_no_question_is_asked_twice_in_a_step(watched):
    for waves in watched[3]:
        ids = [group[0] for group in groups(waves)]
        assert len(set(ids)) == len(ids) == 4 * len(waves)


def test_the_curriculum_observes_every_question_asked(watched):
    _, data, _, steps = watched
    rates, visits = dict.fromkeys(range(24), 0.5), dict.fromkeys(range(24), 0)
    rows = {question.id: row for row, question in enumerate(data.pool.questions)}
    for waves in steps:
        for question, _, right in groups(waves):
            rates[rows[question]] = 0.5 * rates[rows[question]] + 0.5 * sum(right) / 2
            visits[rows[question]] += 1
    assert data.table.pass_rates.tolist() == list(rates.values())
    assert data.table.visits.tolist() == list(visits.values())


def test_akl_sees_the_accuracy_of_all_rollouts(watched):
    _, _, recorder, steps = watched
    accuracies = []
    for metrics, beta, waves in zip(recorder.metrics, recorder.betas, steps, strict=True):
        right = [verdict for group in groups(waves) for verdict in group[2]]
        accuracies.append(sum(right) / len(right))
        logged(beta, 0.1 * tanh_scale(accuracies[-1]))  # of an accuracy in float32
        assert metrics["accuracy"] == metrics["akl/batch_accuracy"]
        assert metrics["accuracy"] == pytest.approx(accuracies[-1])
    assert any(accuracy != 0.5 for accuracy in accuracies), "that of all that is kept is 0.5"


def test_every_rollout_and_token_is_counted(watched):
    module, _, recorder, steps = watched
    rollouts = tokens = 0
    for metrics, waves in zip(recorder.metrics, steps, strict=True):
        rollouts += 8 * len(waves)
        tokens += sum(wave["tokens"] for wave in waves)
        assert (metrics["num_rollouts"], metrics["num_tokens"]) == (rollouts, tokens)
    assert (module.counts.rollouts, module.counts.tokens) == (rollouts, tokens)


def test_the_reward_decides_and_not_the_verdict(model_folder, tmp_path):
    options = {"group_size": 2, "rewards": [Parity()], "refill": Refill(4)}
    _, _, recorder = fit(model_folder, tmp_path, 2, **options)
    for batch in recorder.batches:
        assert not batch.correct_N.any()
        found = int(batch.asked.informative_A.sum())
        assert found > 1 and int((batch.reward_N.view(-1, 2).sum(1) == 1).sum()) == min(found, 4)


class NeverRight(Verifier):
    def verify(self, questions, texts):
        return [Verdict(False, text) for text in texts]


@pytest.mark.parametrize(("questions", "waves"), [(4, 3), (10, 2), (24, 1)])
def test_it_gives_up_after_so_many_waves_or_when_the_pool_is_spent(
    model_folder, tmp_path, questions, waves
):
    options = {**PAIRS, "verifier": NeverRight(), "kl_coef": 0.0}
    data = make_data(questions_per_step=questions)
    _, _, recorder = fit(model_folder, tmp_path, 2, data=data, refill=Refill(3), **options)
    _, _, plain = fit(
        model_folder, tmp_path, 2, data=make_data(questions_per_step=questions), **options
    )
    for step, (batch, first) in enumerate(zip(recorder.batches, plain.batches, strict=True)):
        assert recorder.metrics[step]["refill/waves"] == waves
        assert recorder.metrics[step]["refill/informative_frac"] == 0
        assert batch.source.index_Q.tolist() == first.source.index_Q.tolist()
        assert batch.texts == first.texts


class Alternating(Reward):
    """Every group of two has a signal."""

    def score(self, rollouts):
        return [float(n % 2) for n in range(len(rollouts))]


def test_where_nothing_is_missing_it_changes_nothing(model_folder, tmp_path):
    options = {**PAIRS, "rewards": [Alternating()]}
    refilled, _, recorder = fit(model_folder, tmp_path, 3, refill=Refill(), **options)
    plain, _, other = fit(model_folder, tmp_path, 3, **options)
    assert torch.equal(weights(refilled), weights(plain))
    for metrics, without in zip(recorder.metrics, other.metrics, strict=True):
        assert metrics["num_rollouts"] == without["num_rollouts"]
        assert metrics.keys() - without.keys() == {"refill/waves", "refill/informative_frac"}


def test_rollouts_are_counted_without_it_and_from_older_checkpoints(model_folder, tmp_path):
    module, _, _ = run(model_folder, tmp_path, 2)
    assert module.counts.rollouts == 2 * 4 * 4
    checkpoint = torch.load(saved(tmp_path, 2), weights_only=True)
    assert checkpoint["fgexpo"].pop("num_rollouts") == 32
    torch.save(checkpoint, tmp_path / "old.ckpt")
    again, _, _ = run(model_folder, tmp_path / "again", 3, resume=str(tmp_path / "old.ckpt"))
    assert again.counts.rollouts == 16 and again.counts.tokens > module.counts.tokens


RESUMED = {"refill": Refill(3), "group_size": 2}


@pytest.mark.parametrize("refresh", [pytest.param("epoch", marks=pytest.mark.slow), "step"])
def test_a_resumed_run_equals_an_undisturbed_one(model_folder, tmp_path, refresh):
    whole = check_every_cut(model_folder, tmp_path, refresh, cuts=FEWER, **RESUMED)
    assert whole.counts.rollouts > 8 * 4 * 2, "there must have been further waves"


def check_two(folder, tmp_path):
    check_every_cut(folder, Path(tmp_path), "step", devices=2, cuts=FEWER, **RESUMED)


@pytest.mark.slow
def test_so_it_does_on_two_processes(model_folder, tmp_path):
    run_ranks(check_two, model_folder, str(tmp_path), log=tmp_path / "log")


@pytest.mark.parametrize("inner_epochs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_two_processes_equal_one(model_folder, tmp_path, inner_epochs):
    options = {"refill": Refill(3), "group_size": 2, "inner_epochs": inner_epochs}
    one = check(model_folder, tmp_path, options)
    waves = {row["metrics"]["refill/waves"] for row in one["rows"]}
    assert max(waves) > 1, waves


@pytest.mark.slow
def test_so_they_do_on_shards(model_folder, tmp_path):
    """FSDP2 gathers the weights for every wave, on both processes alike."""
    options = {"refill": Refill(3), "group_size": 2}
    train(model_folder, str(tmp_path / "one"), 1, "auto", options)
    arguments = (model_folder, str(tmp_path / "two"), 2, "fsdp2", options)
    run_ranks(train, *arguments, log=tmp_path / "log")
    one, two = final(tmp_path / "one"), final(tmp_path / "two")
    same_weights(one, two)
    assert one["fgexpo"]["num_rollouts"] == two["fgexpo"]["num_rollouts"] > 4 * 4 * 2


# No data is the point.
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
def test_what_cannot_be_refilled_is_refused(model_folder, tmp_path):
    with pytest.raises(ValueError, match=r"model.refill.max_waves must be at least 2, got 1"):
        Refill(1)
    with pytest.raises(ValueError, match=r"model.refill needs model.group_size of at least 2"):
        make_module(model_folder, refill=Refill(), group_size=1)
    with pytest.raises(ValueError, match=r"model.refill needs data .*, got no data module"):
        make_trainer(tmp_path, 1).fit(make_module(model_folder, refill=Refill()), [1])
