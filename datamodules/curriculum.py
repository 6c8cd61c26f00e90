"""The data module that owns the pass-rate table and draws questions by it."""

from pathlib import Path
from typing import Any, Literal, get_args

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader

from fgexpo.curriculum.base import Curriculum
from fgexpo.curriculum.gaussian import Gaussian, effective_sample_size
from fgexpo.curriculum.pass_rates import PassRateTable, frontier_share
from fgexpo.errors import UserError
from fgexpo.evaluation.warm_start import warm_up
from fgexpo.files import run_folder, write_json
from fgexpo.robustness.same_run import Fact, check_same_run
from fgexpo.tasks import QuestionSource, look_in
from fgexpo.types import QuestionBatch

from .dataset import QuestionDataset, check_golds, check_names, encoder_of, evaluation_loaders
from .sampler import CurriculumSampler

Refresh = Literal["epoch", "step"]


class CurriculumDataModule(LightningDataModule):
    """Draws training questions from a pool through a curriculum; evaluates on other questions.

    Args:
        train: the pool of training questions.
        val: evaluation sets by name, as in ``val/<name>/pass@1``.
        questions_per_step: questions per rollout step, over all processes.
        curriculum: turns pass-rates into sampling weights.
        decay: decay of the pass-rates' moving average, the paper's alpha.
        debias: correct the averages for their start at 0.5, see :func:`.debiased_rates`.
        refresh: recompute the weights every ``epoch`` or every ``step`` (the paper's Algorithm 1).
        steps_per_epoch: null for floor(pool / questions_per_step).
        questions_per_eval_batch: questions that each process asks at once in evaluation.
        warm_start: file of pass-rates by question id: ``pass_rates.json`` of a run, or what
            ``fgexpo profile`` writes.
        seed: seed of all draws.
        root: folder where the sources first look for their files, or for copies of the hub's.

    Attributes:
        step: rollout steps observed.
        decays: every decay that the averages have ever moved with.
        table: the pass-rates, once set up for training.
        sampler: draws the questions; set up likewise.
    """

    def __init__(
        self,
        train: QuestionSource,
        val: dict[str, QuestionSource] | None = None,
        questions_per_step: int = 256,
        curriculum: Curriculum = Gaussian(),
        decay: float = 0.9,
        debias: bool = False,
        refresh: Refresh = "epoch",
        steps_per_epoch: int | None = None,
        questions_per_eval_batch: int = 64,
        warm_start: str | None = None,
        seed: int = 0,
        root: str | None = None,
    ) -> None:
        super().__init__()
        if questions_per_step < 1:
            raise UserError(f"data.questions_per_step must be at least 1, got {questions_per_step}")
        if questions_per_eval_batch < 1:
            raise UserError(
                f"data.questions_per_eval_batch must be at least 1, got {questions_per_eval_batch}"
            )
        if steps_per_epoch is not None and steps_per_epoch < 1:
            raise UserError(f"data.steps_per_epoch must be at least 1, got {steps_per_epoch}")
        if refresh not in get_args(Refresh):
            raise UserError(f"data.refresh must be one of {get_args(Refresh)}, got {refresh!r}")
        self.train, self.val = train, val or {}
        check_names("data.val", self.val)
        look_in(root, self.train, *self.val.values())
        self.questions_per_step = questions_per_step
        self.curriculum = curriculum
        self.decay = decay
        self.debias = debias
        self.refresh: Refresh = refresh
        self.steps_per_epoch = steps_per_epoch
        self.questions_per_eval_batch = questions_per_eval_batch
        self.warm_start = warm_start
        self.seed = seed
        self.step = 0
        self.decays = [decay]
        self.pool: QuestionDataset | None = None
        self.val_sets: list[QuestionDataset] = []
        self.table = PassRateTable(0, decay, debias=debias)
        self.sampler: CurriculumSampler | None = None
        self._folder = Path()

    def setup(self, stage: str) -> None:
        """Read and encode what the stage needs."""
        assert self.trainer is not None
        encoder = encoder_of(self)
        if not self.val_sets:
            self.val_sets = [QuestionDataset(*item, encoder) for item in self.val.items()]
            check_golds(self, self.val_sets)
        if stage != "fit" or self.pool is not None:
            return
        self._folder = run_folder(self.trainer)
        self.pool = QuestionDataset("train", self.train, encoder)
        check_golds(self, [self.pool])
        self.check_pool(len(self.pool))
        self.table = PassRateTable(len(self.pool), self.decay, debias=self.debias)
        self.curriculum.prepare(self.pool.questions)
        if self.warm_start is not None:
            size = getattr(self.trainer.lightning_module, "group_size", 1)
            told = warm_up(self.table, self.pool.questions, self.warm_start, size)
            if told is not None:
                rank_zero_info(told)
        self.sampler = CurriculumSampler(
            self.curriculum.weights(self.table),
            self.questions_per_step,
            self.steps_per_epoch or max(1, len(self.pool) // self.questions_per_step),
            self.seed,
            self.trainer.global_rank,
            self.trainer.world_size,
        )

    def check_pool(self, size: int) -> None:
        """Check that a pool of this size can fill a step.

        Raises:
            UserError: naming the setting.
        """
        if self.questions_per_step > size:
            raise UserError(
                f"data.questions_per_step = {self.questions_per_step} is more than the "
                f"{size} questions of the pool"
            )

    def train_dataloader(self) -> DataLoader[Any]:
        """One batch per rollout step."""
        assert self.pool is not None and self.sampler is not None and self.trainer is not None
        local = self.questions_per_step // self.trainer.world_size
        return self.pool.loader(local, self.sampler)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """A loader for each evaluation set, this process's share of it."""
        return evaluation_loaders(self, self.val_sets, self.questions_per_eval_batch)

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """The evaluation sets."""
        return self.val_dataloader()

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """The evaluation sets."""
        return self.val_dataloader()

    def observe(self, index: Tensor, pass_rate: Tensor) -> dict[str, float]:
        """Learn how a step's questions went; training calls this once per step, before the update.

        Args:
            index: rows of the pool that were asked, over all processes, [A].
            pass_rate: mean correctness of each one's rollouts, [A].

        Returns:
            Scalars to log.
        """
        assert self.sampler is not None
        self.table.update(index, pass_rate)
        self.curriculum.observe(index.cpu(), pass_rate.double().cpu())
        self.step += 1
        self.sampler.step = self.step
        if self.refresh == "step" or self.step % self.sampler.steps_per_epoch == 0:
            self.sampler.refresh(self.curriculum.weights(self.table))
        size = effective_sample_size(self.sampler.weights)
        found = {
            "effective_sample_size": size,
            "frac_effective": size / len(self.table),
            # The averages move too slowly to show in a short run what a step has just met.
            "frac_frontier_batch": frontier_share(pass_rate),
            **self.table.metrics(),
        }
        return {f"curriculum/{tag}": x for tag, x in found.items()}

    def pass_rates(self, index: Tensor) -> Tensor:
        """The curriculum's estimate of each question's pass-rate, float64; rows of the pool."""
        return self.curriculum.rates(self.table)[index.cpu()]

    def visits(self, index: Tensor) -> Tensor:
        """How many steps each of these estimates rests on, int64."""
        return self.table.visits[index.cpu()]

    def more_questions(self, wave: int, asked: Tensor) -> QuestionBatch | None:
        """This process's share of another draw for the current step.

        Args:
            wave: the draw's number within the step, from 1.
            asked: rows that the step has asked, over all processes, [A]; none is drawn again.

        Returns:
            None when the questions that are left do not fill a wave.
        """
        assert self.pool is not None and self.sampler is not None
        if len(self.pool) - len(asked) < self.questions_per_step:
            return None
        rows = self.sampler.draw(self.step, wave, asked.tolist())
        return self.pool.batch(rows[self.sampler.own])

    def teardown(self, stage: str) -> None:
        """Write the pass-rates beside the logs, as a warm start for a later run."""
        trainer = self.trainer
        assert trainer is not None
        if stage == "fit" and trainer.is_global_zero and trainer.loggers:
            self.save_pass_rates(self._folder / "pass_rates.json")

    def save_pass_rates(self, path: str | Path) -> None:
        """Write ``{question id: [average, visits]}`` of the questions seen, as JSON."""
        assert self.pool is not None
        rows = zip(
            self.pool.questions,
            self.table.averages.tolist(),
            self.table.visits.tolist(),
            strict=True,
        )
        seen = {q.id: [rate, visits] for q, rate, visits in rows if visits}
        write_json(path, seen)

    def state_dict(self) -> dict[str, Any]:
        """Everything that later draws depend on; empty outside training."""
        if self.pool is None or self.sampler is None:
            return {}
        return {
            "step": self.step,
            "seed": self.seed,
            "decays": self.decays,
            "table": self.table.state_dict(),
            "weights": self.sampler.weights.clone(),
            "curriculum": self.curriculum.state_dict(),
            "keys": self.pool.keys,
            "facts": self._facts(),
        }

    def _facts(self) -> dict[str, Fact]:
        assert self.pool is not None
        pool = f"{len(self.pool)} questions, fingerprint {self.pool.fingerprint}"
        return {"pool": pool, "questions_per_step": self.questions_per_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state, with its seed.

        Raises:
            UserError: when the pool or the questions per step differ, and that is not allowed, or
                when pass-rates of another decay would have to be corrected.
        """
        if self.pool is None or self.sampler is None or not state_dict:
            return
        assert self.trainer is not None
        saved, facts = state_dict["facts"], self._facts()
        module = self.trainer.lightning_module
        check_same_run(saved, facts, getattr(module, "allow_changes", ()))
        self._check_decay(state_dict.get("decays"), bool(state_dict["table"]["visits"].any()))
        self.step = self.sampler.step = state_dict["step"]
        self.seed = self.sampler.seed = state_dict["seed"]
        if saved["pool"] == facts["pool"]:
            self.table.load_state_dict(state_dict["table"])
            self.curriculum.load_state_dict(state_dict["curriculum"])
            self.sampler.refresh(state_dict["weights"])
        else:
            self.table.carry_over(state_dict["table"], state_dict["keys"], self.pool.keys)
            self.sampler.refresh(self.curriculum.weights(self.table))

    def _check_decay(self, saved: list[float] | None, visited: bool) -> None:
        if saved is None:  # of an earlier version, which did not note it
            if self.debias and visited:
                raise UserError(
                    "data.debias: the checkpoint is of an earlier version and does not say by "
                    "which data.decay its pass-rates have moved; resume it with data.debias=false"
                )
            saved = self.decays
        if self.debias and saved != [self.decay]:
            raise UserError(
                "data.debias: the checkpoint's pass-rates have moved with data.decay = "
                f"{' and '.join(map(str, saved))}, but this run uses {self.decay}, and only "
                "averages of one decay can be corrected"
            )
        self.decays = sorted({*saved, self.decay})
