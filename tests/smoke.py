"""The full-size configs on a CPU, shrunk by configs/smoke: fit, resume, export, test.

``python tests/smoke.py`` (`make smoke`) makes random models of the true architectures and stand-ins
for the data with the true numbers of questions, in a folder of its own, and runs the commands that
a user would. vLLM has to be there. It exits non-zero at the first command that fails.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from processes import in_folder, start_ranks, wait
from six_benchmarks import COUNTS, byte_tokenizer
from tables import write_rows
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config

from fgexpo.templates import BOX_INSTRUCTION

ROOT = Path(__file__).parents[1]
POOL = 17_398
# The full-size config, and the architecture of its model.
CONFIGS = {"r1_1p5b": Qwen2Config, "qwen3_8b": Qwen3Config}
# What it is run with on the six benchmarks: all questions in float32, a few in bfloat16.
SIX = {
    "r1_1p5b": ["--model.dtype=float32", "--model.engine.dtype=float32"],
    "qwen3_8b": ["--model.template=ChatMLBox"],
}
MOST = {"r1_1p5b": None, "qwen3_8b": 8}
# Its first command is typed, and starts its second process itself; the other one's steps are a
# quarter as large, and in the tests both are.
COLD = "r1_1p5b"
FEWER = ["--data.questions_per_step=64"]
FILES = {"minerva": "minerva_math"}
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
LIMIT = 900
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 16384,
    "tie_word_embeddings": False,
}


def make_model(config_class, folder):
    """A random model with a token a byte, and one for the instruction, most of a prompt."""
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([BOX_INSTRUCTION])
    torch.manual_seed(0)
    config = config_class(
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SHAPE,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_data(root, most=None):
    """Sums in place of the questions, each file with as many as the true one has, or ``most``."""
    sums = [(f"What is {n} + {n + 1}?", str(2 * n + 1)) for n in range(POOL)]
    write_rows(
        root / "DAPO-Math-17k" / "train.parquet",
        [
            {"prompt": [{"role": "user", "content": text}], "reward_model": {"ground_truth": gold}}
            for text, gold in sums
        ],
    )
    for name, count in COUNTS.items():
        rows = [{"question": text, "answer": gold, "id": n} for n, (text, gold) in enumerate(sums)]
        write_rows(root / f"{FILES.get(name, name)}.jsonl", rows[: min(count, most or count)])


def run(folder, *arguments, devices=2, cold=False):
    """Run a command in the folder and give back what it printed.

    A cold one is what a user types; the others are spared the imports.
    """
    started = time.monotonic()
    remove_leftovers()
    if cold:
        codes, said = typed(folder, arguments)
    else:
        codes, said = forked(folder, arguments, devices)
    print(f"{time.monotonic() - started:6.1f} s  fgexpo {' '.join(arguments)}", flush=True)
    if any(codes):
        print(said)
        raise SystemExit(f"exit status {codes}")
    return said


def typed(folder, arguments):
    """The command in a Python of its own, which starts its other processes itself."""
    done = subprocess.run(
        [sys.executable, "-m", "fgexpo", *arguments],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return [done.returncode], done.stdout


def forked(folder, arguments, devices):
    """The command on all its processes, as a launcher starts them."""
    log = folder / "smoke.log"
    processes = start_ranks(
        in_folder, folder, arguments, log=log, world_size=devices, environment=ENVIRONMENT
    )
    codes = wait(processes, LIMIT)
    return codes, "".join(Path(f"{log}-{rank}").read_text() for rank in range(devices))


def remove_leftovers():
    """On a CPU vLLM names a group's shared memory alike in all runs, and leaves it behind."""
    for path in Path("/dev/shm").glob("-tp:*cpushm_*"):
        path.unlink()


def smoke(name, folder, data, fewer=False):
    """One config from its first step to its results on the six benchmarks."""
    config, overlay = ROOT / f"configs/{name}.yaml", ROOT / f"configs/smoke/{name}.yaml"
    make_model(CONFIGS[name], folder / "checkpoints" / "smoke" / CONFIGS[name].model_type)
    fit = ["fit", f"--config={config}", f"--config={overlay}", f"--data.root={data}"]
    # Validation comes after the second step instead of the 67th.
    short = ["--trainer.val_check_interval=2", "--checkpoint.every_steps=1"]
    short += FEWER if fewer or name != COLD else []
    run(folder, *fit, *short, "--steps=2", cold=name == COLD)
    log = run(folder, *fit, *short, "--steps=3", "--ckpt_path=last")
    assert "resuming from" in log and "step=000002.ckpt" in log, log
    last = next(folder.glob(f"runs/{name}/*/checkpoints/last.ckpt"))
    assert last.resolve().name == "step=000003.ckpt"
    run(folder, "export", f"--ckpt_path={last}", f"--out=exported-{name}", devices=1)
    six = [f"--config={ROOT}/configs/eval/six.yaml", f"--config={ROOT}/configs/smoke/six.yaml"]
    own = [f"--model.name=exported-{name}", f"--data.root={data}", f"--report.folder=six-{name}"]
    table = run(folder, "test", *six, *own, *SIX[name])
    assert all(benchmark in table for benchmark in COUNTS), table
    print("\n".join(table.splitlines()[-24:]))


def main():
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(CONFIGS), help="configs to run")
    parser.add_argument("--data", type=Path, help="a folder with the true data")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.names:
            folder = Path(temporary) / name
            data = given.data or folder / "data"
            if given.data is None:
                make_data(data, MOST[name])
            smoke(name, folder, data.resolve())


if __name__ == "__main__":
    main()
