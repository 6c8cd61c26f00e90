"""Lightning's subcommands over the project's slots."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.utilities import rank_zero_info

from .. import callbacks as slots
from .. import datamodules, rewards, tasks  # noqa: F401
from ..catalogue.shipped import find_config, find_configs
from ..checks.numbers import check_numbers
from ..checks.settings import check_dtype, check_mini_batches
from ..checks.trainer import FLAGS, ROLLOUT_FLAGS, check_flags
from ..curriculum import alternatives as curricula  # noqa: F401
from ..errors import UserError
from ..files import locked
from ..module import GRPOModule
from ..outside import INPUT, in_one_sentence, reading
from ..outside.documents import check_configs
from ..outside.null_flags import spell_out_nulls
from ..outside.parser import FitParser, making
from ..parallel.launched import alone
from ..parallel.meeting import watch_meeting
from ..policy import PolicyModule
from ..rewards.reward import Reward  # noqa: F401
from ..robustness.checkpoint import AtomicCheckpointIO, read_checkpoint
from ..robustness.parent import be_a_parent
from ..robustness.resume import find_last
from ..supervised import SupervisedModule  # noqa: F401
from .adopt_loggers import use_our_names
from .model_settings import make_settings
from .own_folder import OwnFolder, SaveConfig, own_folder
from .paths import find_paths

# Callbacks with their own key, so that an ablation is one flag.
SLOTS: dict[str, tuple[type, dict[str, Any] | None]] = {
    "akl": (slots.KLController, None),
    "checkpoint": (slots.RolloutCheckpoint, {"class_path": "RolloutCheckpoint"}),
    "watchdog": (slots.Watchdog, {"class_path": "Watchdog"}),
    "stop": (slots.GracefulStop, {"class_path": "GracefulStop"}),
    "progress": (slots.RolloutProgress, {"class_path": "RolloutProgress"}),
    "panels": (slots.TensorBoardPanels, {"class_path": "TensorBoardPanels"}),
    "layout": (slots.ScalarLayout, {"class_path": "ScalarLayout"}),
    "hparams": (slots.HParams, {"class_path": "HParams"}),
    "frontier": (slots.FrontierImages, {"class_path": "FrontierImages"}),
    "rollouts": (slots.RolloutLog, {"class_path": "RolloutLog"}),
    "report": (slots.EvaluationReport, {"class_path": "EvaluationReport"}),
    "export": (slots.ExportPolicy, None),
    "scores": (slots.ValidationScores, None),
}


TRAINER_DEFAULTS = {
    "max_epochs": -1,
    "log_every_n_steps": 1,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


# What Lightning checks against the machine, and a trainer that leaves nothing behind.
HARDWARE = ("accelerator", "devices", "num_nodes", "strategy", "precision", "plugins")
NO_TRACE: dict[str, Any] = dict.fromkeys(
    ("logger", "enable_progress_bar", "enable_checkpointing"), False
)


# Lightning refuses these flags beside such a callback; here they switch the slot off.
SWITCHES: dict[str, type] = {"enable_progress_bar": ProgressBar, "enable_checkpointing": Checkpoint}


class FGExpoCLI(LightningCLI):
    """LightningCLI with callback slots, one seed, and a run length in rollout steps."""

    _resumed: Path | None = None  # the checkpoint that --ckpt_path=last has found
    _own: OwnFolder

    def __init__(self, arguments: list[str] | None = None) -> None:
        be_a_parent()
        super().__init__(
            model_class=PolicyModule,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            save_config_callback=SaveConfig,
            # A run that resumes in its folder finds its configuration there.
            save_config_kwargs={"overwrite": True},
            parser_class=FitParser,
            parser_kwargs={"prog": "python -m fgexpo"},
            args=[*spell_out_nulls(find_configs(sys.argv[1:] if arguments is None else arguments))],
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the slots, the run length, and the links that keep one seed."""
        parser.add_argument(
            "--steps", type=int | None, default=None, help="length of the run, in rollout steps"
        )
        parser.add_argument(
            "--budget", type=int | None, default=None, help="length of the run, in rollouts"
        )
        parser.add_argument(
            "--prepare",
            type=str | None,
            default=None,
            help="config to fit first when model.name is a folder that does not exist yet",
        )
        for name, (kind, default) in SLOTS.items():
            parser.add_argument(f"--{name}", type=kind | None, default=default)
            parser.callback_keys.append(name)
        parser.set_defaults(
            {"model": {"class_path": "GRPOModule"}, "data": {"class_path": "CurriculumDataModule"}}
        )
        for target in ("model", "data"):
            parser.link_arguments("seed_everything", f"{target}.init_args.seed", compute_fn=_seed)

    def before_instantiate_classes(self) -> None:
        """Check what needs no model; then make the base, if it is missing and a recipe is given."""
        config = self.config[str(self.subcommand)]
        self.check_settings(config)
        use_our_names(config)
        self._resolve_checkpoint(config)
        if self.subcommand in ("validate", "test"):
            config.verbose = False  # the report prints its own table
        if self.subcommand == "predict":
            # Nobody could use them; rollouts.save keeps them in files.
            config.return_predictions = False
        name = config.model.init_args.get("name", "")
        if config.get("prepare"):
            config.prepare = find_config(config.prepare)
            if not Path(name).exists() and not Path(config.prepare).exists():
                raise UserError(
                    f"prepare: {config.prepare!r} does not exist, nor does the folder "
                    f"{name!r} of model.name that it should make"
                )
        if config.get("prepare") and not Path(name).exists() and _makes(config.prepare, name):
            self._check_without_model()
            prepare(config.prepare, Path(name))

    def check_settings(self, config: Any) -> None:
        """Check what a look at the subcommand's configuration tells.

        Raises:
            UserError: for a number that is none, or a flag that would not do what it says.
        """
        check_numbers(config)
        for flags in (FLAGS[None], FLAGS.get(str(self.subcommand), {})):
            check_flags(flags, config.trainer.get)

    def instantiate_classes(self) -> None:
        """Make everything, in a folder of the run's own.

        Raises:
            UserError: for what a class of another package says about its settings.
        """
        with own_folder(self.config[str(self.subcommand)], self._resumed) as self._own:
            with making("the configuration"):
                super().instantiate_classes()
            self._own.settle(self.trainer)
        watch_meeting(self.trainer)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run; one that is refused before it logs anything leaves no folder behind."""
        try:
            super()._run_subcommand(subcommand)
        except Exception as error:
            told = in_one_sentence(error)
            began = self.trainer.global_step or self.trainer.logged_metrics
            if told is not None and told[1] == INPUT and not began:
                self._own.give_back()
            raise

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the configurations, each of which is first read by itself, to be named.

        Raises:
            UserError: naming the file or the setting.
        """
        given = sys.argv[1:] if args is None else args
        check_configs(given)
        with making("the configuration"):
            super().parse_arguments(parser, args)
        for setting, path in find_paths(self.config[self.config["subcommand"]], given):
            rank_zero_info(f"{setting}: {path}, beside the configuration")

    def _parse_ckpt_path(self) -> None:
        """Read no settings from a checkpoint, unlike Lightning: it has none, and may be damaged."""

    def _resolve_checkpoint(self, config: Any) -> None:
        path = config.get("ckpt_path")
        if path == "last":
            found = find_last(config)
            self._resumed = found
            if found is None:
                if self.subcommand != "fit":
                    raise UserError("--ckpt_path=last: no checkpoint found")
                rank_zero_info("--ckpt_path=last: no checkpoint yet, starting from step 0")
            path = config.ckpt_path = None if found is None else str(found)
        if path:
            read_checkpoint(path, whole=False)

    def _check_without_model(self) -> None:
        """Reject bad settings of trainer, data and callbacks before a base model is fitted."""
        trial = self.config.clone()
        config = trial[str(self.subcommand)]
        model = config.pop("model")
        settings = model.init_args
        if model.class_path.endswith(GRPOModule.__name__):
            check_flags(ROLLOUT_FLAGS, config.trainer.get)
        check_dtype(settings.get("dtype", "float32"))
        make_settings(model)
        with making("the configuration"):
            made = self.parser.instantiate_classes(trial)[str(self.subcommand)]
        hardware = {name: made.trainer.get(name) for name in HARDWARE if name in made.trainer}
        with making("trainer"):
            Trainer(**hardware, **NO_TRACE)
        if made.steps is not None:
            slots.StopAfter(made.steps)
        if made.budget is not None:
            slots.StopAtBudget(made.budget)
        if isinstance(made.data, datamodules.CurriculumDataModule):
            made.data.check_pool(len(made.data.train.questions()))
            check_mini_batches(made.data.questions_per_step, settings.get("mini_batch_questions"))

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        wanted = [
            slots.SetupWatch(),
            slots.NoSignal(),
            *(call for call in callbacks if call is not None),
        ]
        for flag, kind in SWITCHES.items():
            if config.get(flag) is False:
                wanted = [callback for callback in wanted if not isinstance(callback, kind)]
        given = config.get("callbacks") or []
        given = given if isinstance(given, list) else [given]
        if not any(isinstance(callback, Checkpoint) for callback in (*wanted, *given)):
            # Else Lightning would add one of its own to a run that is to have none.
            config["enable_checkpointing"] = bool(config.get("enable_checkpointing"))
        steps, budget = (self._get(self.config_init, key) for key in ("steps", "budget"))
        ends = [] if steps is None else [slots.StopAfter(steps)]
        ends += [] if budget is None else [slots.StopAtBudget(budget)]
        wanted += [*ends, slots.ValidateFirst()] if ends else []
        config["plugins"] = _with_atomic_saves(config.get("plugins"))
        with making("trainer"):
            return super()._instantiate_trainer(config, wanted)


def prepare(recipe: str, folder: Path) -> None:
    """Fit the recipe that makes a folder, unless another process makes it first.

    Processes of one run, and other runs, wait for the one that is making it. When that one dies,
    the next one makes it.

    Raises:
        UserError: when fitting it fails.
    """
    making = folder.with_name(f"{folder.name}.making")
    with locked(making, f"model.name: the making of {str(folder)!r}", wait=True):
        if folder.exists():
            return
        print(f"model.name: {str(folder)!r} does not exist yet; making it with {recipe!r}")
        command = [sys.executable, "-m", "fgexpo", "fit", "--config", recipe]
        if subprocess.run(command, env=alone()).returncode != 0:
            raise UserError(f"prepare: fitting {recipe!r} failed")


def _with_atomic_saves(plugins: Any) -> list[Any]:
    given = plugins if isinstance(plugins, list) else [] if plugins is None else [plugins]
    own = any(isinstance(plugin, CheckpointIO) for plugin in given)
    return given if own else [*given, AtomicCheckpointIO()]


def _makes(recipe: str, folder: str) -> bool:
    """Whether fitting this config writes that folder; a mistyped name must not start a fit."""
    if not Path(recipe).is_file():
        return False
    with reading(recipe, "the YAML of a configuration", "prepare"):
        settings = (yaml.safe_load(Path(recipe).read_text()) or {}).get("export") or {}
        out = settings.get("init_args", settings).get("out")
    return out is not None and Path(out) == Path(folder)


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"seed_everything must be an integer, got {value!r}")
    if not 0 <= value < 2**32:
        raise UserError(f"seed_everything must be between 0 and {2**32 - 1}, got {value}")
    return value
