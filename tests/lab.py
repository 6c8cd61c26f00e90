"""Runs of the real command line on a tiny random model, to be spoilt, resumed and compared."""

import random
import time
from pathlib import Path

import torch
from conftest import random_model
from processes import command_line, start, start_ranks, wait

from fgexpo.robustness.checkpoint import by_age, read_checkpoint

PLUGINS = "plants,helpers"
CONFIG = Path(__file__).parents[1] / "configs" / "tiny.yaml"
# Four epochs of six steps, and twice as long as it takes to start.
STEPS = 24
SETTINGS = """
--model.mini_batch_questions=2 --model.group_size=4 --model.sampling.max_new_tokens=8
--model.evaluation.rollouts=2 --model.evaluation.ks=[1]
--model.evaluation.sampling.max_new_tokens=8 --data.questions_per_step=4 --data.train.per_cell=1
--data.val.tiny.init_args.per_cell=1 --trainer.val_check_interval=5 --checkpoint.every_steps=1
--model.rewards=[Parity] --ckpt_path=last
"""


class Lab:
    """A folder with a model, and runs to spoil in it."""

    def __init__(self, folder, seed=0, other_filesystem="/dev/shm", steps=STEPS):
        self.folder = Path(folder)
        self.rng = random.Random(seed)
        self.model = random_model(self.folder / "model", seed=0)
        self.other_filesystem = other_filesystem
        self.steps = steps
        self.runs = 0
        self._undisturbed = {}

    def arguments(self, name, more=()):
        """The command line of a run."""
        arguments = ["fit", "--config", str(CONFIG), f"--model.name={self.model}"]
        arguments += [f"--steps={self.steps}", *SETTINGS.split()]
        if not any(flag.startswith("--model.verifier") for flag in more):
            arguments += ["--model.verifier=EvenIsRight"]
        return [*arguments, f"--trainer.logger.save_dir={self.folder / name}", *more]

    def run(self, name, devices=1, more=(), **environment):
        """Start a run, or go on with it."""
        arguments = self.arguments(name, more)
        self.runs += 1
        if devices == 1:
            return [self.start(arguments, name, **environment)]
        options = {
            "log": self.folder / f"{name}.log",
            "environment": {"FGEXPO_PLUGINS": PLUGINS, **environment},
        }
        arguments.append(f"--trainer.devices={devices}")
        return start_ranks(command_line, arguments, world_size=devices, **options)

    def start(self, arguments, name, **environment):
        """Start a command line of the program."""
        environment = {"FGEXPO_PLUGINS": PLUGINS, **environment}
        log = self.folder / f"{name}.log"
        return start(command_line, arguments, log=log, environment=environment)

    def checkpoints(self, name):
        return by_age(self.folder.glob(f"{name}/tiny/*/checkpoints/step=*.ckpt"))

    def finish(self, name, devices=1):
        """Resume until the end; what is wrong with the final state, or nothing."""
        if wait(self.run(name, devices)) != [0] * devices:
            return f"{name}: cannot be resumed"
        return self.compare(name, devices)

    def compare(self, name, devices=1):
        """How the final state differs from that of a run that was left alone."""
        expected, _ = self.undisturbed(devices)
        differing = differences(expected, state(self.checkpoints(name)[-1]))
        return f"{name}: final state differs in {differing}" if differing else None

    def undisturbed(self, devices=1):
        """The final state of a run that was left alone, and the seconds that it took."""
        if devices not in self._undisturbed:
            calm, began = f"undisturbed-{devices}", time.monotonic()
            if wait(self.run(calm, devices)) != [0] * devices:
                logs = sorted(self.folder.glob(f"{calm}.log*"))
                raise RuntimeError("\n".join(log.read_text() for log in logs))
            seconds = time.monotonic() - began
            self._undisturbed[devices] = state(self.checkpoints(calm)[-1]), seconds
        return self._undisturbed[devices]

    def wait_for_first(self, name, seconds=60, count=1):
        """Until the run has saved once, or as often as that."""
        end = time.monotonic() + seconds
        while len(self.checkpoints(name)) < count:
            if time.monotonic() > end:
                raise RuntimeError(f"{name} never saved a checkpoint")
            time.sleep(0.02)


# The callbacks' state names folders. Lightning 2.6 counts an epoch too few after a run was resumed
# from one epoch's last batch and then again from another's; nothing of ours reads that label.
NOT_COMPARED = ("callbacks", "loops", "epoch")


def state(path):
    """What a checkpoint holds of the run: weights, optimizer, counters, table, draws."""
    checkpoint = read_checkpoint(path)
    return {key: checkpoint[key] for key in sorted(checkpoint) if key not in NOT_COMPARED}


def differences(one, two, where=""):
    """Keys under which two nested states differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        keys = [key for key in {**one, **two} if key not in one or key not in two]
        return keys + [
            name
            for key in one.keys() & two.keys()
            for name in differences(one[key], two[key], f"{where}/{key}")
        ]
    if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        return differences(dict(enumerate(one)), dict(enumerate(two)), where)
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return [] if torch.equal(one, two) else [where]
    return [] if one == two else [where]
