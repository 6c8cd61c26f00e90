"""N rollout steps equal N/2, a resumption, and N/2, bit for bit."""

from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer, weights
from lightning.pytorch import Callback
from near import same
from processes import run_ranks

from fgexpo.callbacks import AKLCallback, RolloutCheckpoint
from fgexpo.curriculum.gaussian import Gaussian
from fgexpo.robustness.checkpoint import AtomicCheckpointIO
from fgexpo.tasks import TinyArithmetic
from fgexpo.templates import Template


class Trace(Callback):
    """What a run must repeat exactly: questions, completions, beta and loss of every step."""

    def __init__(self):
        self.rows = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        loss = float(trainer.callback_metrics["loss"])
        self.rows.append((batch.source.index_Q.tolist(), batch.texts, pl_module.beta, loss))


def run(folder, tmp_path, steps, refresh="epoch", resume=None, devices=1, data=None, **options):
    trace = Trace()
    checkpoint = RolloutCheckpoint(every_steps=1, keep=None, dirpath=str(tmp_path / "checkpoints"))
    trainer = make_trainer(
        tmp_path,
        steps,
        [AKLCallback(), trace, checkpoint],
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO()],
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
    )
    defaults = {
        "verifier": EvenIsRight(),
        "kl_coef": 0.1,
        "optimizer": lambda params: torch.optim.AdamW(params, lr=1e-2),
    }
    module = make_module(folder, **{**defaults, **options})
    settings = {"refresh": refresh, "decay": 0.5, "seed": options.get("seed", 0)}
    # So sharp that draws by other weights are other draws.
    data = make_data(**settings, curriculum=Gaussian(0.5, 0.1), **(data or {}))
    trainer.fit(module, data, ckpt_path=resume)
    return module, data, trace.rows


def saved(tmp_path, step):
    return str(tmp_path / "checkpoints" / f"step={step:06d}.ckpt")


# Epochs are six steps long: resumed in the middle, on the last batch, at the start of one.
CUTS = (3, 6, 7)
# In the middle and on the last batch, for what else a run may keep; the rest is as above.
FEWER = (3, 6)


def check_every_cut(folder, tmp_path, refresh, devices=1, cuts=CUTS, **options):
    """A run resumed after any of these steps goes on as one that was left alone."""
    steps = max(cuts) + 2
    whole, table, rows = run(folder, tmp_path, steps, refresh, devices=devices, **options)
    for cut in cuts:
        path = saved(tmp_path, cut)
        module, data, rest = run(
            folder, tmp_path / "again", steps, refresh, path, devices=devices, seed=9, **options
        )
        assert rest == rows[cut:], f"resumed after step {cut}"
        assert torch.equal(weights(module), weights(whole))
        assert torch.equal(data.table.pass_rates, table.table.pass_rates)
        assert torch.equal(data.table.visits, table.table.visits)
        assert (module.rollout_step, data.step) == (steps, steps)
        assert module.counts.tokens == whole.counts.tokens
        assert module.counts.rollouts == whole.counts.rollouts
    return whole


@pytest.mark.parametrize("refresh", ["epoch", "step"])
def test_a_resumed_run_equals_an_undisturbed_one(model_folder, tmp_path, refresh):
    check_every_cut(model_folder, tmp_path, refresh)


def check_two(folder, tmp_path, refresh, cuts):
    check_every_cut(folder, Path(tmp_path), refresh, devices=2, cuts=cuts)


@pytest.mark.parametrize(
    ("refresh", "cuts"), [pytest.param("epoch", CUTS, marks=pytest.mark.slow), ("step", FEWER)]
)
def test_so_it_does_on_two_processes(model_folder, tmp_path, refresh, cuts):
    run_ranks(check_two, model_folder, str(tmp_path), refresh, cuts, log=tmp_path / "log")


def finish_on_two(folder, tmp_path):
    module, data, rows = run(folder, Path(tmp_path), 8, "epoch", saved(Path(tmp_path), 4), 2)
    torch.save((weights(module), data.table.pass_rates, rows), f"{tmp_path}/{module.global_rank}")


def test_a_run_goes_on_with_another_number_of_processes(model_folder, tmp_path):
    whole, table, rows = run(model_folder, tmp_path, 8)
    run_ranks(finish_on_two, model_folder, str(tmp_path), log=tmp_path / "log")
    final, rates, own = torch.load(tmp_path / "0")
    same(final, weights(whole))
    assert torch.equal(rates, table.table.pass_rates)
    for mine, step in zip(own, rows[4:], strict=True):
        assert len(mine[0]) == len(step[0]) // 2 and set(mine[0]) < set(step[0])


class Gradients(Callback):
    def __init__(self):
        self.first = None

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if self.first is None:
            self.first = torch.cat([p.grad.flatten().clone() for p in pl_module.parameters()])


def test_another_micro_batch_size_gives_the_same_gradients(model_folder, tmp_path):
    run(model_folder, tmp_path, 2)
    found = []
    for tokens in (40, 16384):
        gradients = Gradients()
        trainer = make_trainer(tmp_path, 3, [AKLCallback(), gradients])
        module = make_module(
            model_folder,
            verifier=EvenIsRight(),
            kl_coef=0.1,
            micro_batch_tokens=tokens,
            optimizer=lambda params: torch.optim.AdamW(params, lr=1e-2),
        )
        trainer.fit(module, make_data(decay=0.5), ckpt_path=saved(tmp_path, 2))
        found.append(gradients.first)
    assert found[0].abs().max() > 1e-3
    same(*found)


def test_resuming_a_finished_run_does_nothing_and_says_so(model_folder, tmp_path, caplog):
    module, _, _ = run(model_folder, tmp_path, 2)
    before = Path(saved(tmp_path, 2)).stat().st_mtime_ns
    again, data, rows = run(model_folder, tmp_path, 2, resume=saved(tmp_path, 2))
    assert rows == [] and (again.rollout_step, data.step) == (2, 2)
    assert torch.equal(weights(again), weights(module))
    assert "has made its 2 rollout steps already" in caplog.text
    assert Path(saved(tmp_path, 2)).stat().st_mtime_ns == before


class Shout(Template):
    def render(self, question, tokenizer):
        return question + "!"


CHANGES = {
    "group_size": ({"group_size": 2}, r"made with group_size 4, but this run uses 2"),
    "template": ({"template": Shout()}, r"made with template Plain \w+, .* uses Shout \w+;"),
    "model": ({}, r"made with model Qwen2ForCausalLM \w+, but this run uses"),
    "pool": ({}, r"made with pool 24 questions, .*, but this run uses 48 questions"),
    "questions_per_step": ({}, r"made with questions_per_step 4, but this run uses 6"),
}


# The template's "!" is no token of the tiny task.
@pytest.mark.filterwarnings("ignore:.*drops characters of the questions:UserWarning")
@pytest.mark.parametrize("change", CHANGES)
def test_another_run_is_not_resumed_unless_that_is_meant(
    model_folder, other_model_folder, tmp_path, change
):
    run(model_folder, tmp_path, 3)
    options, words = CHANGES[change]
    data = {
        "pool": {"train": TinyArithmetic("pool", 2)},
        "questions_per_step": {"questions_per_step": 6},
    }.get(change)
    folder = other_model_folder if change == "model" else model_folder
    with pytest.raises(ValueError, match=words):
        run(folder, tmp_path / "again", 4, resume=saved(tmp_path, 3), data=data, **options)
    module, made, rows = run(
        folder,
        tmp_path / "again",
        5,
        resume=saved(tmp_path, 3),
        data=data,
        allow_changes=[change],
        **options,
    )
    assert len(rows) == 2 and module.rollout_step == made.step == 5


def test_pass_rates_move_to_another_pool_by_question(model_folder, tmp_path):
    _, old, _ = run(model_folder, tmp_path, 4)
    path = saved(tmp_path, 4)
    data = {"train": TinyArithmetic("pool", 2)}
    _, new, _ = run(
        model_folder, tmp_path / "again", 4, resume=path, data=data, allow_changes=["pool"]
    )
    known = {q.id: row for row, q in enumerate(new.pool.questions)}
    shared = [(row, known[q.id]) for row, q in enumerate(old.pool.questions) if q.id in known]
    assert len(shared) > 8 and new.table.visits.sum() > 0
    for row, other in shared:
        assert new.table.pass_rates[other] == old.table.pass_rates[row]
        assert new.table.visits[other] == old.table.visits[row]


def test_unknown_changes_are_refused(model_folder):
    with pytest.raises(ValueError, match=r"model.allow_changes: 'optimizer' is none of"):
        make_module(model_folder, allow_changes=["optimizer"])


def adamw(**options):
    return lambda params: torch.optim.AdamW(params, **{"lr": 1e-2, **options})


OPTIMIZERS = [
    ({"optimizer": lambda p: torch.optim.SGD(p, lr=1e-2)}, r"model\.optimizer AdamW, .* SGD;"),
    ({"optimizer": adamw(lr=1e-3)}, r"model\.optimizer\.lr 0\.01, but this run uses 0\.001;"),
    ({"optimizer": adamw(betas=(0.5, 0.9))}, r"model\.optimizer\.betas \(0\.9, 0\.999\), but"),
    ({"optimizer": adamw(weight_decay=0)}, r"weight_decay 0\.01, .* uses 0; .* `export` the"),
    ({"warmup_steps": 3}, r"model\.warmup_steps 10, but this run uses 3;"),
]


def test_a_run_keeps_its_optimizer(model_folder, tmp_path):
    """Lightning would go on with the saved settings, whatever is set now."""
    run(model_folder, tmp_path, 1)
    first = saved(tmp_path, 1)
    for options, words in OPTIMIZERS:
        made_with = rf"--ckpt_path: the checkpoint was made with .*{words}"
        with pytest.raises(ValueError, match=made_with):
            run(model_folder, tmp_path / "again", 2, resume=first, **options)
    old = torch.load(first, weights_only=True)
    facts = old["fgexpo"]["facts"]
    for name in [name for name in facts if name.startswith("model.")]:
        del facts[name]
    assert {*facts} == {"model", "template", "group_size"}, "as before there were these facts"
    torch.save(old, first)
    # How it is computed may change in any case.
    for optimizer in (adamw(), adamw(foreach=False)):
        rows = run(model_folder, tmp_path / "again", 2, resume=first, optimizer=optimizer)[2]
        assert len(rows) == 1
        run(model_folder, tmp_path, 1)
