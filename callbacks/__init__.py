"""What one line of YAML adds, swaps or leaves out: callbacks."""

if __name__ != "fgexpo.callbacks":
    raise ImportError("import fgexpo.callbacks: a bare import would create a second copy")

from .akl import AKLCallback, KLController
from .evaluation_report import EvaluationReport
from .export import ExportPolicy
from .finer_akl import TokenAKL, TrajectoryAKL
from .frontier import FrontierImages
from .graceful_stop import GracefulStop, Left
from .hparams import HParams
from .layout import ScalarLayout
from .matched import Matched
from .no_signal import NoSignal
from .panels import TensorBoardPanels
from .progress import RolloutProgress
from .question_akl import QuestionAKL
from .rollout_checkpoint import RolloutCheckpoint
from .rollout_log import RolloutLog
from .schedule import AccuracyConditionedClip, AccuracySchedule, Schedule
from .setup_watch import SetupWatch
from .stop import StopAfter, StopAtBudget
from .target_kl import TargetKL
from .validate_first import ValidateFirst
from .validation_scores import ValidationScores
from .watchdog import Watchdog

__all__ = [
    "AKLCallback",
    "AccuracyConditionedClip",
    "AccuracySchedule",
    "EvaluationReport",
    "ExportPolicy",
    "FrontierImages",
    "GracefulStop",
    "HParams",
    "KLController",
    "Left",
    "Matched",
    "NoSignal",
    "QuestionAKL",
    "RolloutCheckpoint",
    "RolloutLog",
    "RolloutProgress",
    "ScalarLayout",
    "Schedule",
    "SetupWatch",
    "StopAfter",
    "StopAtBudget",
    "TargetKL",
    "TensorBoardPanels",
    "TokenAKL",
    "TrajectoryAKL",
    "ValidateFirst",
    "ValidationScores",
    "Watchdog",
]
