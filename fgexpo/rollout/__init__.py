"""Questions become rollouts: the engines, and further waves of questions."""

from .engine import RolloutEngine, RolloutRequest, Sampling
from .native import Native
from .vllm.engine import VLLM
from .vllm.server import VLLMServer
from .vllm.transfer import NCCLTransfer, WeightTransfer

__all__ = [
    "VLLM",
    "NCCLTransfer",
    "Native",
    "RolloutEngine",
    "RolloutRequest",
    "Sampling",
    "VLLMServer",
    "WeightTransfer",
]
