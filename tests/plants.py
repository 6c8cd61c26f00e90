"""What `make chaos` plants in a run: named in YAML, let in by FGEXPO_PLUGINS."""

import os
import signal
import time

from helpers import EvenIsRight, Parity  # noqa: F401
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger

from fgexpo.rollout import VLLM, Native


def strike(what):
    """Let it happen, in the thread that trains."""
    print("strikes", flush=True)
    if what == "hang":
        time.sleep(1000)
    elif what == "fail":
        raise ValueError("planted failure")
    else:
        time.sleep(2.5)  # long enough for the others to have met this process
        os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGSTOP)


class Plant:
    """Strikes one rank when it is asked for the ``call``-th time."""

    what: str
    rank: int
    call: int

    def asked(self):
        self.call -= 1
        if self.call == 0 and self.rank == int(os.environ.get("LOCAL_RANK", 0)):
            strike(self.what)


class PlantedEngine(Plant, Native):
    def __init__(self, what: str, rank: int, call: int = 3) -> None:
        super().__init__()
        self.what, self.rank, self.call = what, rank, call

    def generate(self, policy, request):
        self.asked()
        return super().generate(policy, request)


class Signalled(Native):
    """Sends this process a signal when it is asked for the ``call``-th time; 0 is never."""

    def __init__(self, number: int = 0, call: int = 0) -> None:
        super().__init__()
        self.number, self.call = number, call

    def generate(self, policy, request):
        self.call -= 1
        if self.call == 0:
            signal.raise_signal(self.number)
        return super().generate(policy, request)


class StuckVLLM(VLLM):
    """vLLM whose step never returns, from the second batch on."""

    def __init__(self) -> None:
        super().__init__(memory=0.1, eager=True)
        self.asked = 0

    def generate(self, policy, request):
        self.asked += 1
        if self.asked == 2:
            print("strikes", flush=True)
            self._llm.llm_engine.step = lambda: time.sleep(1000)
        return super().generate(policy, request)


class PlantedVerifier(Plant, EvenIsRight):
    def __init__(self, what: str, rank: int, call: int = 3) -> None:
        self.what, self.rank, self.call = what, rank, call

    def verify(self, questions, texts):
        self.asked()
        return super().verify(questions, texts)


class Poison(Callback):
    """A NaN among one rank's advantages in one step."""

    def __init__(self, step: int, rank: int) -> None:
        self.step, self.rank = step, rank

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if pl_module.rollout_step == self.step and trainer.global_rank == self.rank:
            batch.advantages_N[0] = float("nan")


class OneForAll(Logger):
    """Like that of Weights & Biases: a ``save_dir`` for all runs, and no ``log_dir``."""

    def __init__(self, save_dir: str = ".", name: str = "") -> None:
        super().__init__()
        self._save_dir, self._name = save_dir, name

    @property
    def save_dir(self):
        return self._save_dir

    @property
    def name(self):
        return self._name

    @property
    def version(self):
        return None

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *arguments, **options):
        pass
