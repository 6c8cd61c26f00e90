"""TRL's own loss and optimizer on the rollouts of our update: seconds and peak memory, as a ratio.

Both sides start from the same weights, have no activation checkpointing, keep no reference in
memory (its log-probs are given), and clip and step once. TRL pads every row to the longest prompt
and completion, as its trainer does, and gets micro-batches of the size that is fastest for it.
"""

import importlib.util
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fgexpo.tasks.tiny_model import TinyQwen2
from fgexpo.update.batch import TrainingBatch

from .clock import Measured, gib, measure, tidy
from .passes import BETA, percent, rollouts_are, score_once, update_once, use_of
from .planned import usual
from .report import Finding, Note, Row, below
from .scale import Setting
from .variants import FUSED, chosen, opened
from .work import cut_rollouts, open_policy, real_rollouts

NEEDED = ("trl", "accelerate", "datasets")
TABLE = "One update on the same rollouts"
FASTER = 0.6  # of TRL's seconds, at most
EPSILON, EPSILON_HIGH = 0.2, 0.28


def trl(setting: Setting) -> Iterator[Finding]:
    """Our best update without compilation, then TRL's at several sizes of a micro-batch."""
    lacks = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacks:
        yield Note(f"{', '.join(lacks)}: not installed here, so this was not run.")
        return
    rollouts = real_rollouts(setting)
    yield rollouts_are(rollouts)
    ours, how = _ours(setting, rollouts)
    yield _row(setting, rollouts, "ours", how, ours)
    tidy(setting.device)
    best: Measured | None = None
    for rows in setting.size.trl_rows:
        found = _theirs(setting, rollouts, rows)
        tidy(setting.device)
        yield _row(setting, rollouts, "TRL", f"{rows} rows a micro-batch", found)
        if found is not None and (best is None or found.median < best.median):
            best = found
    yield Note(
        "TRL: GRPOTrainer's `_compute_loss` under its bf16 autocast over float32 weights, its "
        "accelerator's backward and clipping, and its fused AdamW; beta as ours, the old and the "
        "reference's log-probs given, no checkpointing. Ours: the same, with the settings named."
    )
    if setting.device == "cuda" and ours is not None and best is not None:
        ratio = ours.median / best.median
        yield below("our seconds / TRL's", ratio, FASTER, "the target")
        assert ours.peak is not None and best.peak is not None
        yield below("our peak memory / TRL's", ours.peak / best.peak, 1.0, "no more than TRL")


def _ours(setting: Setting, rollouts: TrainingBatch) -> tuple[Measured | None, str]:
    """The variant with everything but compilation."""
    [variant] = [one for one, _ in chosen(setting) if one.name == FUSED.name]
    with opened(variant, setting) as (policy, optimizer):
        micro_tokens = setting.size.micro_tokens[usual(policy, rollouts, setting)]
        cuts = cut_rollouts(policy, rollouts, micro_tokens)
        rollouts.cuts = [cuts]
        score_once(policy.eval(), rollouts, setting.device)
        rollouts.ref_logp_NT = rollouts.old_logp_NT
        work = partial(update_once, policy.train(), optimizer, rollouts, cuts, setting)
        kernels = "Liger's kernels, " if variant.liger else ""
        how = f"bf16 weights, {kernels}fused AdamW, {micro_tokens:,} tokens a micro-batch"
        return measure(work, setting.device, setting.size.repeats), how


def _theirs(setting: Setting, rollouts: TrainingBatch, rows: int) -> Measured | None:
    with tempfile.TemporaryDirectory() as scratch:
        policy = open_policy(setting)
        policy.set_attn_implementation("sdpa")  # the library's own, as TRL's users have it
        trainer = their_trainer(setting, policy, rows, Path(scratch))
        micro = their_micro_batches(rollouts, rows)
        # So that every micro-batch counts by its tokens, as in its own steps.
        trainer.current_gradient_accumulation_steps = len(micro)
        work = partial(their_update, trainer, micro)
        return measure(work, setting.device, 1)


def their_trainer(setting: Setting, policy: Any, rows: int, scratch: Path) -> Any:
    """TRL's trainer of this policy; the reference's log-probs are given, so it opens none."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    size, cpu = setting.size, setting.device == "cpu"
    steps = size.questions * size.group // rows
    args = GRPOConfig(
        output_dir=str(scratch),
        use_cpu=cpu,
        bf16=True,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=steps,
        steps_per_generation=steps,
        num_generations=size.group,
        max_completion_length=size.new,
        temperature=1.0,
        beta=0.0,
        epsilon=EPSILON,
        epsilon_high=EPSILON_HIGH,
        loss_type="dapo",
        use_bias_correction_kl=False,
        learning_rate=1e-6,
        weight_decay=0.1,
        max_grad_norm=1.0,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        seed=0,
    )
    args._n_gpu = min(1, args.n_gpu)  # it refuses a second GPU that this process can see
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=_no_reward,
        processing_class=TinyQwen2().tokenizer(),
        train_dataset=Dataset.from_list([{"prompt": "1 + 1 = "}] * size.questions),
        args=args,
    )
    trainer.beta = BETA
    trainer.create_optimizer()
    return trainer


def _no_reward(completions: list[str], **_: Any) -> list[float]:
    return [0.0] * len(completions)


def their_micro_batches(rollouts: TrainingBatch, rows: int) -> list[dict[str, Tensor]]:
    """The rollouts in TRL's form: prompts padded on the left, completions on the right."""
    done, device = rollouts.completions, rollouts.completions.tokens_NT.device
    prompts, sizes = rollouts.source.prompts, rollouts.groups.sizes
    longest = max(map(len, prompts))
    ids_QP = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    mask_QP = torch.tensor(
        [[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device
    )
    each_Q = torch.tensor(sizes, device=device)
    assert rollouts.ref_logp_NT is not None
    whole = {
        "prompt_ids": ids_QP.repeat_interleave(each_Q, 0),
        "prompt_mask": mask_QP.repeat_interleave(each_Q, 0),
        "completion_ids": done.tokens_NT,
        "completion_mask": done.mask_NT.long(),
        "advantages": rollouts.advantages_N,
        "old_per_token_logps": rollouts.old_logp_NT,
        "ref_per_token_logps": rollouts.ref_logp_NT,
    }
    count = done.mask_NT.sum()
    order_N = torch.arange(len(done.tokens_NT), device=device)
    return [
        {name: values[rows_n] for name, values in whole.items()} | {"num_items_in_batch": count}
        for rows_n in order_N.split(rows)
    ]


def their_update(trainer: Any, micro_batches: list[dict[str, Tensor]]) -> None:
    """What its training loop does for one optimizer step, on given rollouts."""
    model = trainer.model.train()
    trainer.optimizer.zero_grad()
    for inputs in micro_batches:
        loss = trainer._compute_loss(model, inputs)
        trainer.accelerator.backward(loss)
        float(loss.detach())
    trainer.accelerator.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm)
    trainer.optimizer.step()


def _row(
    setting: Setting, rollouts: TrainingBatch, who: str, how: str, found: Measured | None
) -> Row:
    seconds = "out of memory" if found is None else found.spread
    use = None if found is None else use_of(setting, rollouts, found.median, 3)
    cells = {"who": who, "with": how, "seconds": seconds, "MFU": percent(use)}
    return Row(TABLE, cells | {"peak GiB": gib(None if found is None else found.peak)})
