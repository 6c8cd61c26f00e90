"""Check that both sides compute the same: their loss and gradient and ours on one batch.

The old policy's log-probs are shifted on purpose, so that the ratio and its clip are compared too.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from datasets import Dataset
from torch import Tensor, nn
from trl import GRPOTrainer

from fgexpo.groups import Groups
from fgexpo.losses import LossSettings
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.packing import enable_packing
from fgexpo.model.sequences import join
from fgexpo.model.shared_prompts import SharedPacked, arrange
from fgexpo.rollout import Native
from fgexpo.types import Asked, Completions, QuestionBatch
from fgexpo.update.batch import TrainingBatch
from fgexpo.update.rollout_loss import rollout_loss

from .theirs import config
from .work import BETA, CLIP_HIGH, CLIP_LOW, WORKS, model_folder, one_step, pool

WORK = WORKS["natural"]
TOLERANCE = 1e-5


def main() -> int:
    """Print both differences; 1 if one is too large."""
    folder = model_folder(WORK, Path())
    torch.manual_seed(0)
    policy, reference = load_model(str(folder), "float32"), load_model(str(folder), "float32")
    # As in training; otherwise rows would be computed in a different way from the timed one.
    enable_packing(policy)
    enable_packing(reference)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.01 * torch.randn_like(weight)
    request = one_step(WORK, folder)
    prompts, done = request.prompts, Native().generate(policy.eval(), request)
    batch = scored(policy, reference, prompts, done)
    assert isinstance(arrange(batch.sequences), SharedPacked)
    loss = rollout_loss(
        policy,
        batch,
        torch.arange(WORK.rollouts),
        beta=BETA,
        settings=LossSettings(clip_low=CLIP_LOW, clip_high=CLIP_HIGH, dual_clip=None),
        temperature=1.0,
        denominator=float(done.mask_NT.sum()),
    ).loss
    ours = gradient(policy, loss)
    with tempfile.TemporaryDirectory() as scratch:
        trainer, their_policy = their_trainer(policy, folder, Path(scratch))
        their_loss = trainer._compute_loss(their_policy, their_inputs(batch, prompts))
        theirs = gradient(their_policy, their_loss)
    loss, their_loss = loss.detach(), their_loss.detach()
    by_loss = float((loss - their_loss).abs() / their_loss.abs())
    by_gradient = float((ours - theirs).norm() / theirs.norm())
    print(
        f"the same batch: loss {float(loss):.7f} and {float(their_loss):.7f}, relative difference "
        f"{by_loss:.1e}; gradient {by_gradient:.1e}; at most {TOLERANCE:.0e}"
    )
    return 0 if max(by_loss, by_gradient) <= TOLERANCE else 1


def scored(
    policy: nn.Module, reference: nn.Module, prompts: list[list[int]], done: Completions
) -> TrainingBatch:
    """A batch with random advantages and an old policy that is not the present one."""
    groups = Groups([WORK.group] * WORK.questions)
    sequences = join(prompts, done, groups)
    with torch.no_grad():
        logp_NT, _ = completion_logprobs(policy, sequences)
        reference_NT, _ = completion_logprobs(reference, sequences)
    none_N = torch.zeros(WORK.rollouts)
    asked = QuestionBatch(torch.arange(WORK.questions), [], prompts, "")
    batch = TrainingBatch(
        source=asked,
        groups=groups,
        completions=done,
        texts=[],
        verdicts=[],
        correct_N=none_N,
        reward_N=none_N,
        asked=Asked(*torch.zeros(6, 0, dtype=torch.long)),
        sequences=sequences,
        cuts=[],
        advantages_N=torch.randn(WORK.rollouts),
        ref_logp_NT=reference_NT,
    )
    batch.old_logp_NT = torch.where(done.mask_NT, logp_NT + 0.2 * torch.randn_like(logp_NT), 0.0)
    return batch


def gradient(policy: nn.Module, loss: Tensor) -> Tensor:
    """The gradient of all weights, as one vector."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(policy.parameters()))])


def their_trainer(policy: nn.Module, folder: Path, scratch: Path) -> tuple[GRPOTrainer, nn.Module]:
    """TRL's trainer, set up for a single forward pass, and its policy with our weights."""
    trainer = GRPOTrainer(
        model=str(folder),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config(replace(WORK, updates=1, rows=WORK.rollouts), scratch / "result.json"),
        train_dataset=Dataset.from_list(pool()),
    )
    trainer.current_gradient_accumulation_steps = 1
    model = trainer.model
    assert isinstance(model, nn.Module)
    model.load_state_dict(policy.state_dict())
    return trainer, model.train()


def their_inputs(batch: TrainingBatch, prompts: list[list[int]]) -> dict[str, Tensor]:
    """The batch in TRL's form: prompts padded on the left, completions on the right."""
    done = batch.completions
    longest = max(map(len, prompts))
    padded = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    assert batch.ref_logp_NT is not None
    return {
        "prompt_ids": torch.tensor(padded).repeat_interleave(WORK.group, 0),
        "prompt_mask": torch.tensor(mask).repeat_interleave(WORK.group, 0),
        "completion_ids": done.tokens_NT,
        "completion_mask": done.mask_NT.long(),
        "advantages": batch.advantages_N,
        "old_per_token_logps": batch.old_logp_NT,
        "ref_per_token_logps": batch.ref_logp_NT,
        "num_items_in_batch": done.mask_NT.sum(),
    }


if __name__ == "__main__":
    sys.exit(main())
