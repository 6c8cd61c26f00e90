"""Time and memory of reading DAPO-Math-17k.

``python benchmarks/readers.py`` writes a file of the hub's raw layout and size into a temporary
folder: 1,791,700 rows of 17,398 made-up questions, some of them with an answer that differs in some
rows. A fresh process then reads it. It exits non-zero when that takes 2 minutes or 4 GB, or finds
questions or conflicts that differ from those written. ``--rows`` writes a smaller file.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow
from pyarrow import parquet

ROWS, QUESTIONS, CONFLICTS = 1_791_700, 17_398, 7
SECONDS, GIGABYTES = 120.0, 4.0
FIRST = "Solve this. The last line is to be of the form Answer: $Answer (without quotes).\n\n"
LAST = '\n\nThe answer goes on its own line after "Answer:".'


def write(path: Path, rows: int, chunk: int = 50_000) -> None:
    """A file of the raw layout, its rows in random order."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz$^{}", k=7)) for _ in range(5000)]
    prompts = pyarrow.array(
        f"{FIRST}{i}: {' '.join(rng.choices(words, k=75))}{LAST}" for i in range(QUESTIONS)
    )
    order = [row % QUESTIONS for row in range(rows)]
    rng.shuffle(order)
    seen = [0] * QUESTIONS
    batches = []
    for start in range(0, rows, chunk):
        part = order[start : start + chunk]
        answers = []
        for question in part:
            seen[question] += 1
            # The second copy of the first questions differs, so most copies agree.
            differs = question < CONFLICTS and seen[question] == 2
            answers.append(str(-1 if differs else question))
        batches.append(_batch(prompts.take(pyarrow.array(part)), answers, part))
    # Few and large row groups, as pandas writes them, need the most memory to read.
    parquet.write_table(pyarrow.Table.from_batches(batches), path, row_group_size=2**20)


def _batch(prompts: pyarrow.Array, answers: list[str], index: list[int]) -> pyarrow.RecordBatch:
    count = len(answers)
    same = {word: pyarrow.array([word] * count) for word in ("user", "MATH", "math_dapo", "rule")}
    message = pyarrow.StructArray.from_arrays([prompts, same["user"]], ["content", "role"])
    ends = pyarrow.array(range(count + 1), pyarrow.int32())
    truth = pyarrow.array(answers)
    keys = pyarrow.array(map(str, index))
    return pyarrow.RecordBatch.from_pydict(
        {
            "data_source": same["math_dapo"],
            "prompt": pyarrow.ListArray.from_arrays(ends, message),
            "ability": same["MATH"],
            "reward_model": pyarrow.StructArray.from_arrays(
                [truth, same["rule"]], ["ground_truth", "style"]
            ),
            "extra_info": pyarrow.StructArray.from_arrays([keys], ["index"]),
        }
    )


def read(path: str) -> None:
    """Read it and print what it took as JSON."""
    from fgexpo.tasks import DapoMath17k
    from fgexpo.tasks import dapo as reader

    reports: list[str] = []
    reader.rank_zero_info = reports.append
    began = time.perf_counter()
    questions = DapoMath17k(path).questions()
    seconds = time.perf_counter() - began
    wrong = sum(question.answer != question.prompt.partition(":")[0] for question in questions)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(
        json.dumps(
            {
                "seconds": round(seconds, 1),
                "gigabytes": round(peak, 2),
                "questions": len(questions),
                "wrong": wrong,
                "report": reports[0],
            }
        )
    )


def main() -> int:
    """Write the file, have it read, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read(arguments.read)
        return 0
    with tempfile.TemporaryDirectory(dir=".") as name:
        path = Path(name) / "dapo.parquet"
        write(path, arguments.rows)
        size = path.stat().st_size / 1e9
        command = [sys.executable, __file__, "--read", str(path)]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(result.stdout.splitlines()[-1])
    print(f"{arguments.rows:,} rows, {size:.2f} GB: {found['seconds']} s, {found['gigabytes']} GB")
    print(found["report"])
    missed = {
        "seconds": found["seconds"] >= SECONDS,
        "memory": found["gigabytes"] >= GIGABYTES,
        "questions": found["questions"] != QUESTIONS,
        "answers": found["wrong"] != 0,
        "conflicts": f"{CONFLICTS} of them with conflicting" not in found["report"],
    }
    failures = [what for what, failed in missed.items() if failed]
    print(f"missed: {', '.join(failures)}" if failures else "all as it should be")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
