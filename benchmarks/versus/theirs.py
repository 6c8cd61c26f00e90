"""TRL's side: ``GRPOTrainer`` with our verifier as its reward, timed by a callback.

Its settings are the fastest here: no gradient checkpointing (on by default), large micro-batches (8
rollouts by default), no logger, and freed memory is kept, as our command line does.
"""

import sys
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from fgexpo.cli.allocator import keep_freed_memory
from fgexpo.questions import Question
from fgexpo.rewards import MathVerifier

from .side import write_result
from .work import BETA, CLIP_HIGH, CLIP_LOW, WORKS, Work, pool


def config(work: Work, out: Path) -> GRPOConfig:
    """TRL's settings for the same step."""
    rows_an_update = work.rollouts // work.updates
    accumulation = rows_an_update // work.rows
    return GRPOConfig(
        output_dir=str(out.parent / "trl"),
        use_cpu=True,
        bf16=False,
        model_init_kwargs={"dtype": "float32"},
        per_device_train_batch_size=work.rows,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation * work.updates,
        num_generations=work.group,
        max_completion_length=work.tokens,
        temperature=1.0,
        beta=BETA,
        epsilon=CLIP_LOW,
        epsilon_high=CLIP_HIGH,
        loss_type="dapo",
        use_bias_correction_kl=False,  # equation (3), as ours
        learning_rate=work.learning_rate,
        adam_beta2=0.99,
        weight_decay=0.1,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=10 * work.updates,
        max_grad_norm=1.0,
        max_steps=(work.warm + work.steps) * work.updates,
        gradient_checkpointing=False,
        logging_steps=work.updates,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )


class Clock(TrainerCallback):
    """Records when each rollout step ends, and how long its completions were."""

    def __init__(self, updates: int) -> None:
        self.updates = updates
        self.ends: list[float] = []
        self.lengths: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After an optimizer step."""
        if state.global_step % self.updates == 0:
            self.ends.append(time.time())

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """After a rollout step; at the end of training without lengths."""
        if "completions/mean_length" in logs:
            self.lengths.append(logs["completions/mean_length"])


def main() -> int:
    """Train, and record the cost."""
    keep_freed_memory()
    name, model, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    work, verifier = WORKS[name], MathVerifier()

    def correct(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        questions = [Question(str(n), "", gold) for n, gold in enumerate(answer)]
        return [float(verdict.correct) for verdict in verifier.verify(questions, completions)]

    clock = Clock(work.updates)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=correct,
        args=config(work, out),
        train_dataset=Dataset.from_list(pool()),
        callbacks=[clock],
    )
    trainer.train()
    write_result(out, work, clock.ends, clock.lengths)
    return 0


if __name__ == "__main__":
    sys.exit(main())
