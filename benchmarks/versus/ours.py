"""Our side: the usual command line with its defaults, timed by its own event file."""

import json
import sys
from pathlib import Path

from fgexpo.__main__ import run as fit
from fgexpo.figures.events import read_run

from .side import write_result
from .work import BETA, CLIP_HIGH, CLIP_LOW, WORKS, Work


def arguments(work: Work, model: Path, runs: Path) -> list[str]:
    """Command line of the training run."""
    optimizer = {"lr": work.learning_rate, "betas": [0.9, 0.99], "weight_decay": 0.1}
    given = {
        "prepare": None,
        "steps": work.warm + work.steps,
        "model.name": str(model),
        "model.kl_coef": BETA,
        "model.group_size": work.group,
        "model.mini_batch_questions": work.questions // work.updates,
        # TRL has no dual clip of this kind.
        "model.loss": {"clip_low": CLIP_LOW, "clip_high": CLIP_HIGH, "dual_clip": None},
        "model.optimizer.init_args": optimizer,
        "model.sampling.max_new_tokens": work.tokens,
        "model.evaluation.sampling.max_new_tokens": work.tokens,
        "data.questions_per_step": work.questions,
        "data.val": None,
        # Plain GRPO, as TRL's; benchmarks/overhead.py measures the cost of AKL and GCS.
        "data.curriculum": "Uniform",
        "akl": None,
        "trainer.logger.save_dir": str(runs),
        "checkpoint": None,
    }
    flags = [f"--{key}={_text(value)}" for key, value in given.items()]
    return ["fit", "--config=configs/tiny.yaml", *flags]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def main() -> int:
    """Train, and record the cost."""
    name, model, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    work = WORKS[name]
    sys.argv = ["fgexpo", *arguments(work, model, out.parent / "runs")]
    code = fit()
    if code:
        return code
    rows = read_run(out.parent / "runs" / "tiny" / "version_0").scalars
    ends = [row.wall_time for row in rows if row.tag == "step_time"]
    lengths = [row.value for row in rows if row.tag == "completions/mean_length"]
    write_result(out, work, ends, lengths)
    return 0


if __name__ == "__main__":
    sys.exit(main())
