"""A data module that only evaluates: any set of benchmarks."""

from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from fgexpo.errors import UserError
from fgexpo.tasks import QuestionSource
from fgexpo.tasks.sources import look_in

from .dataset import QuestionDataset, check_golds, check_names, encoder_of, evaluation_loaders


class EvaluationDataModule(LightningDataModule):
    """Asks every question of every set, for ``validate``, ``test`` and ``predict``.

    Args:
        sets: evaluation sets by name, as in ``test/<name>/pass@1``.
        root: folder where the sets' files are first looked for.
        questions_per_batch: questions each process asks at once; a killed test loses at most these.
        seed: unused: evaluation uses the model's seed. The command line passes it to every data
            module.
    """

    def __init__(
        self,
        sets: dict[str, QuestionSource],
        root: str | None = None,
        questions_per_batch: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not sets:
            raise UserError("data.sets must name at least one evaluation set")
        check_names("data.sets", sets)
        if questions_per_batch < 1:
            raise UserError(
                f"data.questions_per_batch must be at least 1, got {questions_per_batch}"
            )
        self.sets = sets
        self.questions_per_batch = questions_per_batch
        self.datasets: list[QuestionDataset] = []
        look_in(root, *sets.values())

    def setup(self, stage: str) -> None:
        """Read and encode every set."""
        if not self.datasets:
            encoder = encoder_of(self)
            self.datasets = [QuestionDataset(*item, encoder) for item in self.sets.items()]
            check_golds(self, self.datasets)

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """A loader for each set, this process's share of it."""
        return evaluation_loaders(self, self.datasets, self.questions_per_batch)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """The same."""
        return self.test_dataloader()

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """The same."""
        return self.test_dataloader()
