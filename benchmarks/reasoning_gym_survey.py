"""Every data set of reasoning-gym through our source and scorer: what works, and what does not.

For each: a few questions with default settings; the gold answer, given as the completion, is right;
nonsense is not; the scorer's process makes the same questions again; and so does another process
with another hash seed.

    python benchmarks/reasoning_gym_survey.py [NAME ...]
"""

import hashlib
import json
import os
import subprocess
import sys
import time

from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.rewards import ReasoningGymScorer
from fgexpo.rewards.gym_scorer import NONSENSE
from fgexpo.tasks import ReasoningGym

COUNT = 3


def look_at(name: str, scorer: ReasoningGymScorer) -> dict[str, str]:
    """A data set's row of the table, with a fingerprint of its questions."""
    began = time.perf_counter()
    try:
        questions = ReasoningGym(name, count=COUNT).questions()
    except UserError as error:
        return {"refused": str(error)}
    made = time.perf_counter() - began
    solved = [q for q in questions if q.answer]
    try:
        right = scorer.verify(solved, [q.answer for q in solved])
        wrong = scorer.verify(questions, [NONSENSE] * len(questions))
    except EnvironmentFailure as error:
        return {"refused": str(error)}
    text = "\x1f".join(q.id + q.prompt + q.answer for q in questions)
    return {
        "seconds": f"{made:.1f}",
        "longest": str(max(len(q.prompt) for q in questions)),
        "gold": " ".join(str(int(verdict.correct)) for verdict in right) or "none",
        "nonsense": " ".join(str(int(verdict.correct)) for verdict in wrong),
        "ungradable": next((why for _, why in scorer.ungradable(questions)), ""),
        "late": str(sum(verdict.timed_out for verdict in [*right, *wrong])),
        "print": hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest(),
    }


def survey(names: list[str]) -> dict[str, dict[str, str]]:
    """Rows by name."""
    scorer = ReasoningGymScorer(reads="text", workers=1)
    found = {}
    for name in names:
        found[name] = look_at(name, scorer)
        print(name, *found[name].values(), sep=" | ", file=sys.stderr, flush=True)
    return found


def all_names() -> list[str]:
    """Every data set that the package registers, but the one that is several of them."""
    code = "import reasoning_gym.factory as f; print(*sorted(set(f.DATASETS) - {'composite'}))"
    code = f"import reasoning_gym; {code}"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return out.stdout.split()


def main() -> None:
    """Print the rows that are not as they should be, as JSON, and a count."""
    if sys.argv[1:2] == ["--once"]:
        print(json.dumps(survey(sys.argv[2:])))
        return
    names = sys.argv[1:] or all_names()
    runs = []
    for seed in ("1", "2"):
        command = [sys.executable, __file__, "--once", *names]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        out = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        runs.append(json.loads(out.stdout))
    first, second = runs
    bad = {
        name: row
        for name, row in first.items()
        if "0" in row.get("gold", "0")
        or ("1" in row["nonsense"] and not row["ungradable"])
        or row["late"] != "0"
        or row["print"] != second[name].get("print")
    }
    print(json.dumps(bad, indent=1))
    print(f"{len(first) - len(bad)} of {len(first)} data sets as they should be")


if __name__ == "__main__":
    main()
