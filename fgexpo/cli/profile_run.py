"""The work of ``profile``: a pool is asked through ``test``, and two steps are trained on it."""

import signal
from math import ceil
from tempfile import TemporaryDirectory
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Trainer

from ..callbacks import (
    EvaluationReport,
    KLController,
    RolloutProgress,
    StopAfter,
    StopAtBudget,
)
from ..curriculum import Uniform
from ..datamodules import CurriculumDataModule, EvaluationDataModule
from ..errors import UserError
from ..evaluation import EvaluationSettings
from ..evaluation.advice import advise
from ..evaluation.evaluator import Evaluator
from ..evaluation.printed import print_table, say
from ..evaluation.profile import profile, signal_chances
from ..evaluation.profile_tables import examples, kinds_table, token_lines
from ..evaluation.warm_start import counts
from ..files import write_json
from ..module import GRPOModule
from ..outside.parser import making
from ..questions import Question
from ..seeding import hash_seed
from ..tasks import QuestionSource
from .fit import FGExpoCLI, LightningCLI
from .profile_steps import time_steps, timing_lines

POOL = "train"
# What a profile does not do, whatever the configuration says.
NOT_HERE: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": True,
    "limit_val_batches": 0,
    "profiler": None,
}


class _Sample(QuestionSource):
    """Some questions of another source, drawn evenly, in that source's order.

    Args:
        source: all questions.
        count: how many to draw; None for all.
        seed: of the draw; with the same seed a smaller draw is part of a larger one.
    """

    def __init__(self, source: QuestionSource, count: int | None, seed: int) -> None:
        self.source = source
        self.count = count
        self.seed = seed

    def questions(self) -> list[Question]:
        """The draw."""
        found = self.source.questions()
        if self.count is None:
            return found
        if self.count > len(found):
            say(f"--questions={self.count}: the pool has {len(found):,}, and all are asked")
        order = sorted(found, key=lambda q: hash_seed("profile", self.seed, q.id))
        drawn = {question.id for question in order[: self.count]}
        return [question for question in found if question.id in drawn]


class _Kept(EvaluationReport):
    """Keeps every completion, so that a killed profile resumes; prints nothing itself."""

    ROOT = "profiles"

    @property
    def store(self) -> Any:
        """What is kept."""
        return self._store

    def _tell(self, trainer: Trainer, pl_module: Any) -> None:
        pass


class ProfileCLI(FGExpoCLI):
    """Makes what ``fit`` would make, with a trainer that leaves nothing behind.

    Attributes:
        kept: the answers.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.kept = _Kept()
        super().__init__(arguments)

    def before_instantiate_classes(self) -> None:
        """Leave out what a profile comes before."""
        config = self.config.fit
        if config.get("ckpt_path"):
            raise UserError(
                "--ckpt_path: profile asks the model of model.name; export the checkpoint, and "
                "name its folder there"
            )
        config.trainer.update(Namespace(NOT_HERE))
        if config.data.init_args.get("warm_start") is not None:
            config.data.init_args.warm_start = None  # it may be what is to be written
        super().before_instantiate_classes()

    def instantiate_classes(self) -> None:
        """Make everything, without a folder for the run."""
        with making("the configuration"):
            LightningCLI.instantiate_classes(self)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        akl = [callback for callback in callbacks if isinstance(callback, KLController)]
        progress = [callback for callback in callbacks if isinstance(callback, RolloutProgress)]
        own = [*(progress or [RolloutProgress()]), self.kept, *akl]
        with making("trainer"):
            return Trainer(**{**config, "callbacks": own})

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def make_profile(arguments: list[str], rollouts: int, questions: int | None, out: str) -> None:
    """Ask, write the pass-rates, time two steps, and print all that was found.

    Args:
        arguments: of ``fit``.
        rollouts: of each question.
        questions: how many to ask; None for all.
        out: file of pass-rates to write.

    Raises:
        UserError: for a configuration that is not one process's GRPO run.
    """
    with TemporaryDirectory(prefix="fgexpo-profile-") as scratch:
        # Lightning, and updates that are not finite, write here.
        made = ProfileCLI(["fit", *arguments, f"--trainer.default_root_dir={scratch}"])
        model, data, trainer = made.model, made.datamodule, made.trainer
        settings: Any = made.config_init[str(made.subcommand)]
        _check(model, data, trainer, settings.get("steps"), settings.get("budget"))
        source = _Sample(data.train, questions, data.seed)
        found, entries = ask(model, data, trainer, source, rollouts)
        write_json(out, entries)
        store = made.kept.store
        print_table(kinds_table(found))
        for line in (*token_lines(found, model), *examples(store.completions(POOL), model)):
            say(line)
        say(f"pass-rates: {out}")
        data.warm_start = out
        found["seconds"] = time_steps(model, data, trainer)
        for line in timing_lines(found["seconds"], _steps(settings, model, data)):
            say(line)
    curriculum = not isinstance(data.curriculum, Uniform)
    found["advice"] = advise(found, model.sampling.max_new_tokens, out, curriculum)
    for line in found["advice"]:
        say(f"advice: {line}")
    write_json(store.folder / "profile.json", found)
    say(f"completions and profile.json: {store.folder}")


def _check(model: Any, data: Any, trainer: Trainer, steps: int | None, budget: int | None) -> None:
    for key, made, kind in (("model", model, GRPOModule), ("data", data, CurriculumDataModule)):
        if not isinstance(made, kind):
            raise UserError(f"{key}: profile expects a {kind.__name__}, got {type(made).__name__}")
    if trainer.world_size > 1:
        raise UserError(
            f"profile runs on one process, and the trainer has {trainer.world_size}; add "
            "--trainer.devices=1 --trainer.num_nodes=1"
        )
    # What `fit` would refuse of the run's length is refused here too.
    if steps is not None:
        StopAfter(steps)
    if budget is not None:
        StopAtBudget(budget)


def ask(
    model: Any, data: Any, trainer: Trainer, source: QuestionSource, n: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask n rollouts of each question, as training would.

    Returns:
        See :func:`.profile.profile`, also with ``model``, ``group_size``, and ``dropped``, the
        questions that are too long; and the counts that ``data.warm_start`` takes.
    """
    settings = EvaluationSettings(n, sorted({1, n}), model.sampling)
    model.evaluation, model.evaluator = settings, Evaluator(settings)
    # As many rollouts at once as a training step has.
    at_once = max(1, data.questions_per_step * model.group_size // n)
    pool = EvaluationDataModule({POOL: source}, questions_per_batch=at_once)
    before = signal.getsignal(signal.SIGTERM)
    trainer.test(model, pool, verbose=False)
    signal.signal(signal.SIGTERM, before)  # the report's handler lets a batch end first
    [dataset] = pool.datasets
    samples = model.evaluator.samples[POOL]
    right = [int(found[0].sum()) for found in samples.values()]
    chances = signal_chances(model.advantages, model.group_size, n)
    found = {
        "model": model.name,
        "group_size": model.group_size,
        "dropped": dataset.dropped,
        **profile(dataset.questions, dataset.prompts, samples, chances),
    }
    return found, counts([dataset.questions[row] for row in samples], right, n)


def _steps(config: Any, model: Any, data: Any) -> int | None:
    """The length of the run that is to come, in steps; None if it has no end."""
    steps, budget = config.get("steps"), config.get("budget")
    if steps is not None or budget is None:
        return steps
    return ceil(budget / (data.questions_per_step * model.group_size))
