r"""Time to grade 2,048 completions, compared with math-verify's own, and with hostile answers.

    python benchmarks/verifier.py

Three pools of 2,048 completions of 10,000 characters: integer answers; symbolic answers, half of
them right, which no string comparison decides; the same with 64 hostile answers among them. Exits
with 1 when a target is missed: 1.5 s for the first, math-verify's serial time for the second, and
64 x (deadline + start of a worker) / workers more for the third, where no other verdict may change.

    python benchmarks/verifier.py --benchmarks FOLDER

prints instead on how many questions of the six benchmarks each exploit of ``exploits.py`` counts,
and exits with 1 where one counts on more than 1 %. ``--copies`` leaves out those that are made from
the gold answer.
"""

import argparse
import random
import sys
import time

from exploits import COPIES, rates
from math_verify import parse, verify

from fgexpo.questions import Question
from fgexpo.rewards import MathVerifier
from fgexpo.tasks import Benchmark

COUNT, HOSTILE, LENGTH = 2048, 64, 10_000
INTEGER_SECONDS = 1.5
HOSTILE_ANSWERS = (
    r"\binom{10^8}{5\cdot 10^7 + N}",
    r"\sum_{k=1}^{10^9 + N} \frac{1}{k^3}",
    r"(x+y+z+w)^{99N}",
    r"10^{10^8} + N",
    r"9^{9^{9^9}} + N",
    r"(10^8)! + N",
    r"\frac{1}{" * 300 + "N" + "}" * 300,
    r"\[" * 100_000 + "N",
)


def symbolic(rng: random.Random, right: bool) -> tuple[str, str]:
    """A gold answer, and an equal one in other notation or a slightly wrong one."""
    a, b, c = (rng.randint(2, 99) for _ in range(3))
    off = 0 if right else 1
    return rng.choice(
        [
            (rf"\frac{{{a}}}{{{b}}}", rf"\frac{{{a * c}}}{{{b * c + off}}}"),
            (rf"{a}\sqrt{{{b}}}", rf"\sqrt{{{a * a * b + off}}}"),
            (rf"x^2 + {a + b}x + {a * b}", rf"(x + {a})(x + {b + off})"),
            (rf"({a}, \frac{{{b}}}{{{c}}})", rf"\left( {a}, {b}/{c + off} \right)"),
            (rf"{a} + {b}\pi", rf"{b}\pi + {a + off}"),
        ]
    )


def completion(answer: str, rng: random.Random) -> str:
    """A long text with the answer in a box at its end."""
    words = rng.choices(("so", "we", r"\frac{1}{2}", "get", "$x^2$", "{", "}"), k=3000)
    return " ".join(words)[:LENGTH] + rf" \boxed{{{answer}}}"


def timed(verifier: MathVerifier, pairs: list[tuple[str, str]]) -> tuple[float, list[bool]]:
    """Seconds that grading takes, and the verdicts."""
    rng = random.Random(1)
    questions = [Question(str(row), "", gold) for row, (gold, _) in enumerate(pairs)]
    texts = [completion(answer, rng) for _, answer in pairs]
    started = time.perf_counter()
    verdicts = verifier.verify(questions, texts)
    return time.perf_counter() - started, [verdict.correct for verdict in verdicts]


NAMES = ("aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench")
MOST = 0.01


def exploits(folder: str, copies: bool) -> int:
    """Print the rate of each exploit on each benchmark as a Markdown table; 1 above 1 %."""
    verifier, found = MathVerifier(), {}
    for name in NAMES:
        benchmark = Benchmark(name)
        benchmark.root = folder
        questions = benchmark.questions()
        counted = rates(verifier, questions, COPIES if copies else None)
        found[name] = {row: len(hits) / len(questions) for row, (_, hits) in counted.items()}
    print(f"| exploit | {' | '.join(NAMES)} |\n|---|{'---|' * len(NAMES)}")
    for row in dict.fromkeys(row for one in found.values() for row in one):
        print(f"| {row} | {' | '.join(f'{found[name].get(row, 0.0):.1%}' for name in NAMES)} |")
    return int(any(rate > MOST for one in found.values() for rate in one.values()))


def main() -> int:
    """Print the table; 1 when a target is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--benchmarks", help="folder of the six benchmarks' files")
    arguments.add_argument("--copies", action="store_true", help="only copies of the question")
    given = arguments.parse_args()
    return exploits(given.benchmarks, given.copies) if given.benchmarks else speed()


def speed() -> int:
    """Grade fast, slow and hostile answers."""
    rng = random.Random(0)
    verifier = MathVerifier()
    pairs = [symbolic(rng, right=row % 2 == 0) for row in range(COUNT)]
    timed(verifier, pairs[:64])  # starts the workers

    numbers = [(str(rng.randint(0, 999)), str(rng.randint(0, 999))) for _ in range(COUNT)]
    integer_seconds, _ = timed(verifier, numbers)

    started = time.perf_counter()
    for gold, answer in pairs:
        verify(parse(rf"\boxed{{{gold}}}"), parse(rf"\boxed{{{answer}}}"))
    serial_seconds = time.perf_counter() - started
    symbolic_seconds, calm = timed(MathVerifier(), pairs)

    hostile_rows = set(rng.sample(range(COUNT), HOSTILE))
    mixed = [
        (gold, HOSTILE_ANSWERS[row % len(HOSTILE_ANSWERS)].replace("N", str(row)))
        if row in hostile_rows
        else (gold, answer)
        for row, (gold, answer) in enumerate(pairs)
    ]
    started = time.perf_counter()
    MathVerifier().verify([Question("", "", "x+1")], [r"\boxed{1+x}"])
    start_seconds = time.perf_counter() - started
    hostile_seconds, verdicts = timed(verifier, mixed)
    workers = verifier._pool.limit
    allowed = symbolic_seconds + HOSTILE * (verifier.timeout + start_seconds) / workers
    changed = sum(
        verdict != (row not in hostile_rows and calm[row]) for row, verdict in enumerate(verdicts)
    )
    print(f"{COUNT} completions of {LENGTH} characters, {workers} workers")
    print(f"integers            {integer_seconds:7.2f} s   allowed {INTEGER_SECONDS:.2f} s")
    print(
        f"symbolic            {symbolic_seconds:7.2f} s   math-verify alone {serial_seconds:.2f} s"
    )
    print(f"with {HOSTILE} hostile     {hostile_seconds:7.2f} s   allowed {allowed:.2f} s")
    print(f"start of a worker   {start_seconds:7.2f} s   verdicts changed: {changed}")
    met = (
        integer_seconds <= INTEGER_SECONDS
        and symbolic_seconds <= serial_seconds
        and hostile_seconds <= allowed
        and changed == 0
        and sum(calm) == COUNT // 2
    )
    print("met" if met else "MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
