"""What is asked in training, and what the policy is judged by."""

if __name__ != "fgexpo.datamodules":
    raise ImportError("import fgexpo.datamodules: a bare import would create a second copy")

from .curriculum import CurriculumDataModule
from .dataset import QuestionDataset
from .evaluation import EvaluationDataModule
from .sampler import CurriculumSampler
from .supervised import SupervisedDataModule

__all__ = [
    "CurriculumDataModule",
    "CurriculumSampler",
    "EvaluationDataModule",
    "QuestionDataset",
    "SupervisedDataModule",
]
