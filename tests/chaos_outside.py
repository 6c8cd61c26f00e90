"""The part of `make chaos` in which the machine fails, or another process is in the way."""

import os
import resource
import shutil
import time
import zipfile
from pathlib import Path

import yaml
from lab import CONFIG, PLUGINS, differences, state
from outcome import Outcome
from processes import command_line, start, wait

from fgexpo.robustness.checkpoint import is_complete

# Seconds in which the rest of a run has ended after one of its processes died.
A_MINUTE = 60
A_YEAR = 365 * 86400


def command_with_short_files(arguments, size):
    """The command line, where no file can be longer: a full disk for any user on any Linux."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return command_line(arguments)


def begin(lab, name):
    """A run that is killed after it has saved at least twice."""
    (process,) = lab.run(name)
    lab.wait_for_first(name, count=2)
    time.sleep(lab.rng.uniform(0.3, 1.0))
    process.kill()
    process.join()


def log_of(lab, name):
    return (lab.folder / f"{name}.log").read_text()


def disk_full(lab, count):
    """Writing fails at some byte of the next checkpoint; the one before is still there."""
    outcome = Outcome("the disk full while saving")
    for number in range(count):
        name = f"full-{number}"
        begin(lab, name)
        before = lab.checkpoints(name)[-1]
        size = lab.rng.randint(150_000, before.stat().st_size - 1)
        process = start(
            command_with_short_files,
            lab.arguments(name),
            size,
            log=lab.folder / f"{name}.log",
            environment={"FGEXPO_PLUGINS": PLUGINS},
        )
        (code,) = wait([process])
        said = [line for line in log_of(lab, name).splitlines() if line.startswith("error: ")]
        fault = None
        if code != 1 or len(said) != 1 or "was not saved (File too large): it wants" not in said[0]:
            fault = f"{name}: a full disk gave exit status {code} and {said}"
        elif lab.checkpoints(name)[-1] != before or not is_complete(before):
            fault = f"{name}: {before} was lost"
        elif list(before.parent.glob(".*.partial")):
            fault = f"{name}: something half-written was left"
        outcome.note(fault or lab.finish(name))
    return outcome


def clock_back(lab, count):
    """An old checkpoint's time is in the future: the newest one is resumed, and it stays."""
    outcome = Outcome("the clock went back")
    for number in range(count):
        name = f"clock-{number}"
        begin(lab, name)
        oldest, *_, newest = lab.checkpoints(name)
        os.utime(oldest, (time.time() + A_YEAR,) * 2)
        fault = lab.finish(name)
        if f"resuming from {newest}" not in log_of(lab, name):
            fault = f"{name}: {newest} was not resumed"
        outcome.note(fault)
    return outcome


def two_at_once(lab, count):
    """The same command twice at once: each run is whole, and who is refused is told by whom."""
    outcome = Outcome("two at once")
    tries = (two_runs, two_resumptions, two_exports)
    for number in range(count):
        outcome.note(tries[number % len(tries)](lab, f"two-{number}"))
    return outcome


def two_runs(lab, name):
    return judge_two(lab, name, [lab.start(lab.arguments(name), f"{name}-{n}") for n in range(2)])


def two_resumptions(lab, name):
    begin(lab, name)
    return two_runs(lab, name)


def judge_two(lab, name, processes):
    codes = wait(processes)
    for number, code in enumerate(codes):
        if code != 0 and not (
            code == 1 and " is in use by process" in log_of(lab, f"{name}-{number}")
        ):
            return f"{name}: exit statuses {codes}"
    if 0 not in codes:
        return f"{name}: none of them went on"
    expected, _ = lab.undisturbed()
    versions = {path.parent for path in lab.checkpoints(name)}
    ends = [max(folder.glob("step=*.ckpt")) for folder in versions]
    differing = [differences(expected, state(end)) for end in ends]
    return f"{name}: final states differ in {differing}" if any(differing) else None


def two_exports(lab, name):
    lab.undisturbed()
    checkpoint, out = lab.checkpoints("undisturbed-1")[-1], lab.folder / f"{name}-model"
    arguments = ["export", f"--ckpt_path={checkpoint}", f"--out={out}"]
    codes = wait([lab.start(arguments, f"{name}-{number}") for number in range(2)])
    names = {path.name for path in out.iterdir()}
    left = list(lab.folder.glob(f".{out.name}.*"))
    if 0 not in codes or set(codes) - {0, 1, 2} or not names > {"config.json", "model.safetensors"}:
        return f"{name}: exports gave {codes} and {sorted(names)}"
    return f"{name}: left {left}" if left else None


def setup_deaths(lab, count):
    """One of two processes dies before training begins, or a run that is making its base."""
    outcome = Outcome("a death during set-up")
    _, whole = lab.undisturbed(devices=2)
    for number in range(count):
        name = f"setup-{number}"
        if number % 4 == 3:
            outcome.note(death_with_a_base(lab, name))
            continue
        processes, rank = lab.run(name, devices=2), lab.rng.randrange(2)
        time.sleep(lab.rng.uniform(0.0, whole * 0.4))
        processes[rank].kill()
        began = time.monotonic()
        processes[1 - rank].join(A_MINUTE)
        fault = None
        if processes[1 - rank].is_alive():
            fault = f"{name}: rank {1 - rank} was alive {time.monotonic() - began:.0f} s later"
        wait(processes, 1)
        outcome.note(fault or lab.finish(name, devices=2))
    return outcome


def death_with_a_base(lab, name):
    base, recipe = lab.folder / f"{name}-base", lab.folder / f"{name}.yaml"
    settings = yaml.safe_load((CONFIG.parent / "tiny_base.yaml").read_text())
    export = settings["export"]
    export.get("init_args", export)["out"] = str(base)
    recipe.write_text(yaml.safe_dump(settings))
    arguments = [*lab.arguments(name), f"--model.name={base}", f"--prepare={recipe}"]
    process = lab.start([*arguments, "--model.rewards=null"], name)
    end = time.monotonic() + A_MINUTE
    while not (children := descendants(process.pid)):
        if time.monotonic() > end or not process.is_alive():
            return f"{name}: no base was begun: {log_of(lab, name)[-300:]}"
        time.sleep(0.1)
    time.sleep(lab.rng.uniform(0.1, 5))
    children = descendants(process.pid)
    process.kill()
    process.join()
    end = time.monotonic() + A_MINUTE
    while any(Path(f"/proc/{child}").exists() for child in children):
        if time.monotonic() > end:
            return f"{name}: left {children}"
        time.sleep(0.1)
    return None


def descendants(pid):
    """Children of a process, and theirs."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    own = [int(child) for child in found.read_text().split()] if found.exists() else []
    return own + [each for child in own for each in descendants(child)]


def spoil(path, number, rng):
    """Cut a checkpoint short, or flip one bit of what it holds."""
    content = bytearray(path.read_bytes())
    if number % 2:
        del content[rng.randrange(len(content)) :]
    else:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
        record = rng.choices(records, [record.file_size for record in records])[0]
        name, extra = (
            int.from_bytes(content[record.header_offset + at :][:2], "little") for at in (26, 28)
        )
        begin = record.header_offset + 30 + name + extra
        content[begin + rng.randrange(record.file_size)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def torn_by_every_path(lab, count):
    """A spoilt checkpoint given by name to each command that opens one: refused in a sentence."""
    outcome = Outcome("a torn file given to fit, test, validate and export")
    lab.undisturbed()
    whole = lab.checkpoints("undisturbed-1")[-1]
    for number in range(count):
        name = f"given-{number}"
        path = lab.folder / f"{name}.ckpt"
        shutil.copyfile(whole, path)
        spoil(path, number // 4, lab.rng)
        command = ("fit", "test", "validate", "export")[number % 4]
        arguments = [command, *lab.arguments(name)[1:]]
        if command == "export":
            arguments = ["export", f"--out={lab.folder / f'{name}-model'}"]
        (code,) = wait([lab.start([*arguments, f"--ckpt_path={path}"], name)], A_MINUTE)
        said = log_of(lab, name)
        told = "error: --ckpt_path: " in said and str(path) in said and "Traceback" not in said
        fault = None if code == 2 and told else f"{name}: {command} gave {code} and {said[-300:]!r}"
        outcome.note(fault)
    return outcome
