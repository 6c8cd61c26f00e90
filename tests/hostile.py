"""Configurations that try to run code: what is tried, and how to see that nothing came of it."""

from processes import command_line, start, wait

# Importing it, or calling anything in it, leaves a file behind.
EVIL = """
from pathlib import Path
from lightning.pytorch import Callback

Path({mark!r}).touch()

class Evil(Callback):
    pass

def function(*arguments, **settings):
    pass
"""
ENVIRONMENT: dict[str, str] = {}
DOCUMENTS = [
    "akl: evil.Evil",
    "akl: {class_path: evil.Evil}",
    "trainer: {callbacks: [{class_path: evil.Evil}]}",
    "trainer: {callbacks: {class_path: evil.Evil}}",
    "trainer: {logger: {class_path: evil.Evil}}",
    "trainer: {plugins: [{class_path: evil.Evil}]}",
    "trainer: {profiler: {class_path: evil.Evil}}",
    "model: {class_path: evil.Evil}",
    "model: {template: evil.Evil}",
    "model: {engine: {class_path: evil.Evil}}",
    "model: {verifier: evil.Evil}",
    "model: {rewards: [evil.Evil]}",
    "model: {rewards: [os.system]}",
    "model: {optimizer: evil.function}",
    "model: {optimizer: {class_path: evil.function}}",
    "model: {optimizer: os.system}",
    "data: {class_path: evil.Evil}",
    "data: {curriculum: evil.Evil}",
    "data: {train: {class_path: subprocess.Popen, init_args: {args: [touch, MARK]}}}",
    "data: {train: {class_path: os.system, init_args: {command: touch MARK}}}",
    "checkpoint: {class_path: evil.Evil}",
    "export: {class_path: evil.Evil}",
    "stop: builtins.exec",
    "steps: !!python/object/apply:os.system ['touch MARK']",
    "steps: !!python/object/new:os.system ['touch MARK']",
    "steps: !!python/name:evil.function",
    "steps: !!python/module:evil",
    "akl: !!python/object:evil.Evil {}",
    "steps: ${oc.env:HOME}",
]


def refuse(document, folder, model):
    """Give a document to the command line; what was wrong with its answer, or nothing."""
    folder.mkdir()
    mark = folder / "executed"
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    config = folder / "hostile.yaml"
    config.write_text(document.replace("MARK", str(mark)))
    base = str(folder / "none")
    arguments = ["fit", "--config", "configs/tiny.yaml", f"--model.name={model}"]
    arguments += [f"--trainer.logger.save_dir={base}", "--steps=1", "--config", str(config)]
    arguments += ["--data.val=null", "--data.train.per_cell=5"]
    process = start(
        hostile_child, arguments, str(folder), log=folder / "log", environment=ENVIRONMENT
    )
    (code,) = wait([process], 60)
    log = (folder / "log").read_text()
    if mark.exists():
        return f"{document!r} was executed"
    if code != 2 or "error" not in log or "Traceback" in log:
        return f"{document!r} ended with exit status {code} and {log[-300:]!r}"
    return None


def hostile_child(arguments, folder):
    """The command line, where ``import evil`` would work."""
    import os
    import sys
    from pathlib import Path

    os.chdir(Path(__file__).parents[1])
    sys.path.insert(0, folder)
    return command_line(arguments)
