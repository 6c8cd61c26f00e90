"""One tidy table of everything that a study's runs logged and scored."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ..errors import UserError
from ..figures.events import curves, read_run
from ..files import whole_file
from ..outside import reading
from .command_lines import Run
from .spec import Study

TABLE = "results.parquet"
# One row per value: a logged scalar, or a question's correct samples in a validation.
SCHEMA = pa.schema(
    [
        ("point", pa.string()),
        ("arm", pa.string()),
        ("base", pa.int32()),
        ("seed", pa.int32()),
        ("tag", pa.string()),
        ("question", pa.string()),
        ("step", pa.int32()),
        ("rollouts", pa.int64()),
        ("updates", pa.int32()),
        ("seconds", pa.float32()),  # of training steps only
        ("value", pa.float32()),
        ("n", pa.int32()),  # samples of the question
        ("model", pa.string()),  # name and content of the base
    ]
)
MODEL = "model"  # added later: tables of earlier versions lack it
CORRECT = "correct"
SCALARS = (
    "accuracy",
    "reward",
    "kl",
    "entropy",
    "frac_reward_zero_std",
    "completions/mean_length",
    "akl/kl_coef",
    "curriculum/effective_sample_size",
    "curriculum/frac_effective",
    "curriculum/frac_frontier",
    "curriculum/frac_frontier_batch",
    "curriculum/mean_pass_rate",
    "learning_rate",
    "refill/waves",
    "refill/informative_frac",
)
# Settings of a run, stored in rows of step 0.
KL_COEF = "model.kl_coef"


def write_table(study: Study, runs: list[Run], path: Path, models: Mapping[int, str]) -> None:
    """Gather the runs' logs into a parquet file.

    Args:
        study: the study.
        runs: its runs.
        path: to write.
        models: name and content of each base, by its number.
    """
    rows: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for run in runs:
        for row in run_rows(study, run):
            for name, column in rows.items():
                column.append(models.get(run.base) if name == MODEL else row.get(name))
    with whole_file(path) as partial:
        pq.write_table(pa.table(rows, schema=SCHEMA), partial, compression="zstd")


def run_rows(study: Study, run: Run) -> Iterator[dict[str, Any]]:
    """Rows of one run: its scalars by step, then its validations question by question."""
    folder = run_folder_of(study, run)
    scalars = read_scalars(folder)
    seconds = _running_sums(scalars.get("step_time", {}))
    rollouts = scalars.get("num_rollouts", {})
    who = {"point": run.point, "arm": run.arm, "base": run.base, "seed": run.seed}
    for tag in SCALARS:
        for step, value in scalars.get(tag, {}).items():
            if step not in rollouts or step not in seconds:
                raise UserError(f"study: {folder} has logged no time or rollouts of step {step}")
            spent = {"rollouts": round(rollouts[step]), "seconds": seconds[step]}
            yield {**who, **spent, "tag": tag, "step": step, "value": value}
    for setting in (KL_COEF, *([study.tune.setting] if study.tune else [])):
        with reading(folder / "config.yaml", f"a saved configuration with {setting}", "study"):
            config = yaml.safe_load((folder / "config.yaml").read_text())
            value = float(setting_of(config, setting))
        yield {**who, "tag": setting, "step": 0, "rollouts": 0, "seconds": 0.0, "value": value}
    last_scores(study, run)
    for scores in read_scores(folder):
        step = scores["step"]
        spent = {"rollouts": scores["rollouts"], "updates": scores["updates"]}
        spent |= {"seconds": seconds.get(step, 0.0), "step": step, "n": scores["n"]}
        if study.benchmark not in scores["correct"]:
            raise UserError(f"study: {folder} has no scores of {study.benchmark!r} at step {step}")
        for question, correct in scores["correct"][study.benchmark].items():
            yield {**who, **spent, "tag": CORRECT, "question": question, "value": correct}


def read_scalars(folder: Path) -> dict[str, dict[int, float]]:
    """A run's logged values by tag and step."""
    found = curves(read_run(folder).scalars)
    return {
        tag: dict(zip(steps.tolist(), values.tolist(), strict=True))
        for tag, (steps, values) in found.items()
    }


def setting_of(config: Any, dotted: str) -> Any:
    """A setting of a saved configuration, in which a class has its settings in ``init_args``."""
    for key in dotted.split("."):
        if key not in config and "init_args" in config:
            config = config["init_args"]
        config = config[key]
    return config


def last_scores(study: Study, run: Run) -> dict[str, Any]:
    """The scores of a run's last validation.

    Raises:
        UserError: when the run has not spent its budget, so that this is not its final score.
    """
    folder = run_folder_of(study, run)
    scores = read_scores(folder)
    if not scores or scores[-1]["rollouts"] < study.rollouts:
        spent = scores[-1]["rollouts"] if scores else 0
        raise UserError(
            f"study: {folder} was last validated after {spent} of its {study.rollouts} rollouts; "
            f"remove {folder.parent} and run the study again"
        )
    return scores[-1]


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """The scores of a run's validations, in order.

    Raises:
        UserError: for a file that is torn, or holds something else.
    """
    found = []
    for path in sorted((folder / "scores").glob("step=*.json")):
        with reading(path, "the scores of a validation", "study"):
            found.append(scores_of(json.loads(path.read_text())))
    return found


def scores_of(content: Any) -> dict[str, Any]:
    """Scores as ``ValidationScores`` writes them.

    Raises:
        KeyError, TypeError, ValueError: for anything else.
    """
    for key in ("step", "rollouts", "updates", "n"):
        if type(content[key]) is not int or content[key] < 0:
            raise ValueError(f"{key} is {content[key]!r}, not a count")
    for benchmark, counts in content["correct"].items():
        for question, correct in counts.items():
            if type(correct) is not int or not 0 <= correct <= content["n"]:
                where = f"correct.{benchmark}.{question}"
                raise ValueError(f"{where} is {correct!r}, not a count up to {content['n']}")
    return content


def run_folder_of(study: Study, run: Run) -> Path:
    """The folder with a run's logs.

    Raises:
        UserError: when it does not exist.
    """
    folder = Path(study.folder) / "runs" / run.key / "version_0"
    if not folder.is_dir():
        raise UserError(f"study: {folder} does not exist; has the run been made?")
    return folder


def _running_sums(seconds: dict[int, float]) -> dict[int, float]:
    total, sums = 0.0, {}
    for step in sorted(seconds):
        total += seconds[step]
        sums[step] = total
    return sums
