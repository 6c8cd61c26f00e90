"""Break runs in every way we can think of, and count what is lost: ``make chaos``.

Each experiment starts the real command line on a tiny random model, does it harm at a random
moment, lets it resume with ``--ckpt_path=last``, and compares the final checkpoint with that of a
run that was left alone. ``--share=0.5`` makes half as many. ``tests/robustness/test_chaos.py`` runs
a few of each.
"""

import argparse
import json
import math
import os
import re
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from chaos_outside import (
    clock_back,
    disk_full,
    setup_deaths,
    torn_by_every_path,
    two_at_once,
)
from hostile import DOCUMENTS, refuse
from lab import STEPS, Lab, state
from outcome import Outcome
from processes import start, wait
from rich.console import Console
from rich.table import Table

from fgexpo.robustness.checkpoint import is_complete

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def kills(lab, count, elsewhere):
    """SIGKILL at random moments, some of them before training has begun."""
    outcome = Outcome(f"SIGKILL, TMPDIR on {'another' if elsewhere else 'the same'} filesystem")
    name, made = "", 0
    _, whole = lab.undisturbed()  # a busy machine is given more time
    environment = {"TMPDIR": lab.other_filesystem if elsewhere else str(lab.folder)}
    while outcome.tried < count:
        made += 1
        name = f"kill-{'other' if elsewhere else 'same'}-{made}"
        finished = False
        while not finished and outcome.tried < count:
            (process,) = lab.run(name, **environment)
            process.join(whole * lab.rng.uniform(0.05, 0.7))
            finished = process.exitcode is not None
            if finished:
                whole *= 0.8  # the machine is less busy than it was
                continue
            process.kill()
            process.join()
            torn = [path.name for path in lab.checkpoints(name) if not is_complete(path)]
            outcome.note(torn and f"{name}: torn {torn}")
        fault = lab.finish(name)
        if fault:
            outcome.lost.append(fault)
    return outcome


def signals(lab, count):
    """A random signal to a random rank of two, at a random moment of training."""
    outcome = Outcome("a signal to one of two processes")
    for number in range(count):
        name = f"signal-{number}"
        processes = lab.run(name, devices=2)
        lab.wait_for_first(name)
        time.sleep(lab.rng.uniform(0, 1.0))
        rank, what = lab.rng.randrange(2), lab.rng.choice(SIGNALS)
        os.kill(processes[rank].pid, what)
        codes = wait(processes)
        fault = None if codes == [0, 0] else f"{name}: {what.name} to rank {rank} gave {codes}"
        outcome.note(fault or lab.finish(name, devices=2))
    return outcome


def second_signals(lab, count):
    """A second signal soon after the first."""
    outcome = Outcome("a second signal")
    for number in range(count):
        name = f"second-{number}"
        (process,) = lab.run(name)
        lab.wait_for_first(name)
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.12)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGTERM)
        (code,) = wait([process], 10)
        torn = [path.name for path in lab.checkpoints(name) if not is_complete(path)]
        # The first one may have been obeyed before the second came.
        fault = None if code in (0, 128 + signal.SIGTERM) else f"{name}: exit status {code}"
        outcome.note(fault or (torn and f"{name}: torn {torn}") or lab.finish(name))
    return outcome


def torn_files(lab, count):
    """The newest checkpoint is cut short or has a spoilt byte."""
    outcome = Outcome("the newest checkpoint torn")
    for number in range(count):
        name = f"torn-{number}"
        (process,) = lab.run(name)
        lab.wait_for_first(name)
        time.sleep(lab.rng.uniform(0.3, 1.0))
        process.kill()
        process.join()
        newest = lab.checkpoints(name)[-1]
        content = bytearray(newest.read_bytes())
        if number % 2:
            del content[lab.rng.randrange(len(content)) :]
        else:
            content[lab.rng.randrange(len(content) // 2)] ^= 0xFF
        newest.write_bytes(content)
        outcome.note(lab.finish(name))
    return outcome


def poison(lab, count):
    """A NaN on one process: its update is left out on both, and the weights stay finite."""
    outcome = Outcome("a NaN planted on one of two processes")
    for number in range(count):
        name, rank = f"nan-{number}", lab.rng.randrange(2)
        step = lab.rng.randrange(STEPS)
        plant = ["--trainer.callbacks+=plants.Poison", f"--trainer.callbacks.step={step}"]
        plant.append(f"--trainer.callbacks.rank={rank}")
        codes = wait(lab.run(name, devices=2, more=plant))
        kept = list(lab.folder.glob(f"{name}/tiny/*/nonfinite/*.pt"))
        fault = None
        if codes != [0, 0] or len(kept) != 2:
            fault = f"{name}: {codes}, {len(kept)} batches written"
        elif not all(
            weight.isfinite().all()
            for weight in state(lab.checkpoints(name)[-1])["state_dict"].values()
        ):
            fault = f"{name}: saved weights are not finite"
        outcome.note(fault)
    return outcome


STRIKES = [
    ("verifier", "hang", "has made no progress"),
    ("engine", "hang", "has made no progress"),
    # On a busy machine it may be gone before it is asked why; its own log then says so.
    ("engine", "fail", "planted failure|has died"),
    ("verifier", "kill", "has died"),
    # Which of the two is noticed first depends on the moment.
    ("engine", "freeze", "has given no sign of life|has made no progress"),
]


def strikes(lab, count):
    """Engine, verifier or process of one of two ranks hangs or dies: the other one says which."""
    outcome = Outcome("a hang or death on one of two processes")
    for number in range(count):
        slot, what, words = STRIKES[number % len(STRIKES)]
        name, rank = f"strike-{number}", lab.rng.randrange(2)
        plant = [f"--model.{slot}=plants.Planted{slot.title()}", f"--model.{slot}.what={what}"]
        plant += [f"--model.{slot}.rank={rank}", f"--model.{slot}.call={lab.rng.randrange(3, 9)}"]
        processes = lab.run(name, devices=2, more=[*plant, "--watchdog.timeout=5"])
        began = time.monotonic()
        processes[1 - rank].join(60)
        seconds = time.monotonic() - began
        if what == "freeze":
            processes[rank].kill()
        wait(processes, 30)
        log = (lab.folder / f"{name}.log-{1 - rank}").read_text()
        said = [line for line in log.splitlines() if line.startswith(f"error: rank {rank} (")]
        fault = None
        if not (said and re.search(words, said[0]) and seconds < 60):
            fault = f"{name}: {what} of {slot} on rank {rank} was told as {said}"
        orphans = [process.pid for process in processes if process.is_alive()]
        outcome.note(fault or (orphans and f"{name}: left {orphans}") or None)
    return outcome


def hostile_yaml(lab, count):
    """Configurations that name what they must not: refused, and nothing of it imported."""
    outcome = Outcome("hostile YAML")
    for number, document in enumerate(DOCUMENTS[:count]):
        outcome.note(refuse(document, lab.folder / f"hostile-{number}", lab.model))
    return outcome


# Two streams side by side: while one waits the other works.
STREAMS = [
    [
        (kills, {"count": 8, "elsewhere": False}),
        (kills, {"count": 8, "elsewhere": True}),
        (second_signals, {"count": 3}),
        (torn_files, {"count": 6}),
        (disk_full, {"count": 4}),
        (clock_back, {"count": 4}),
        (torn_by_every_path, {"count": 12}),
        (hostile_yaml, {"count": None}),
    ],
    [
        (signals, {"count": 6}),
        (poison, {"count": 3}),
        (strikes, {"count": 10}),
        (setup_deaths, {"count": 6}),
        (two_at_once, {"count": 6}),
    ],
]


def run_stream(number, folder, share=1.0):
    """One stream's experiments; what came of each is written to ``outcomes.json``."""
    lab, rows = Lab(folder, seed=number), []
    for experiment, options in STREAMS[number]:
        began = time.monotonic()
        count = options["count"]
        fewer = None if count is None else math.ceil(count * share)
        outcome = experiment(lab, **{**options, "count": fewer})
        rows.append({**asdict(outcome), "seconds": round(time.monotonic() - began)})
    (folder / "outcomes.json").write_text(json.dumps(rows))


def run_streams(folder, share=1.0):
    """All outcomes; a stream that ends early shows its log, and ends this as well."""
    rows = []
    folders = [Path(folder) / str(number) for number in range(len(STREAMS))]
    for stream in folders:
        stream.mkdir()
    processes = [
        start(run_stream, number, stream, share, log=stream / "log")
        for number, stream in enumerate(folders)
    ]
    for process, stream in zip(processes, folders, strict=True):
        process.join()
        if process.exitcode:
            raise RuntimeError((stream / "log").read_text())
        rows += json.loads((stream / "outcomes.json").read_text())
    return rows


def main():
    """Run all of it and print the table; the exit status is 1 when anything was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=1.0, help="of each experiment's count")
    share = parser.parse_args().share
    console = Console()
    table = Table("experiment", "tried", "survived", "lost", "seconds")
    with tempfile.TemporaryDirectory() as folder:
        rows = run_streams(folder, share)
    lost = [line for row in rows for line in row["lost"]]
    for row in rows:
        tried, losses = row["tried"], len(row["lost"])
        table.add_row(row["name"], *map(str, (tried, tried - losses, losses, row["seconds"])))
    console.print(table)
    console.print(f"{sum(row['tried'] for row in rows)} tried, {len(lost)} lost")
    for line in lost:
        console.print(line, markup=False)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
