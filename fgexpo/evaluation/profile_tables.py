"""What a profile prints: a table of kinds of questions, lengths, and completions to look at."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

# Completions shown of each kind, and the characters of their two ends that are.
SHOWN, HEAD, TAIL = 2, 300, 500


def kinds_table(found: Mapping[str, Any]) -> Table:
    """A row for all questions and one for each value of a tag.

    Args:
        found: see :func:`.profile.profile`; also ``model`` and ``group_size``.
    """
    n = found["rollouts"]
    table = Table(
        box=SIMPLE,
        padding=(0, 0),
        title=f"{escape(found['model'])}: {n} rollouts of each question\n"
        "means, [95 % intervals over questions]",
        caption=f"hopeless: none of {n} right; frontier: some; mastered: all. "
        f"signal: groups of {found['group_size']} that teach something, by right and wrong alone. "
        "no answer, cut off: shares of completions. constant: what the most common gold answer, "
        "always given, would score",
    )
    table.add_column("", no_wrap=True)
    best = f"pass@{n}"
    names = ["pass@1", *([best] if n > 1 else ())]
    shares = ("hopeless", "frontier", "mastered", "signal", "unread", "truncated")
    headings = {"unread": "no answer", "truncated": "cut off"}
    columns = [
        "asked",
        *names,
        *(headings.get(name, name) for name in shares),
        "tokens",
        "constant",
    ]
    for heading in columns:
        table.add_column(heading, justify="right")

    def row(name: str, count: int, scores: Mapping[str, Any], constant: Mapping | None) -> None:
        cells = [_with_interval(scores[each]) for each in names]
        cells += [f"{scores[each]['mean']:.0%}" for each in shares]
        cells.append(f"{scores['tokens']['mean']:.1f}")
        cells.append("-" if constant is None else f"{constant['share']:.0%}")
        table.add_row(escape(name), f"{count:,}", *cells)

    row("all", found["questions"], found["overall"], found["constant"])
    table.add_section()
    for kind, scores in found["by_tag"].items():
        row(kind, scores["questions"], scores, scores["constant"])
    return table


def _with_interval(score: Mapping[str, float]) -> str:
    # In a narrow terminal the interval goes below, in one piece.
    return f"{score['mean']:.3f} [{score['low']:.3f},\N{NO-BREAK SPACE}{score['high']:.3f}]"


def token_lines(found: Mapping[str, Any], model: Any) -> list[str]:
    """The lengths of prompts and completions beside their limits.

    Args:
        found: see :func:`.profile.profile`; also ``dropped``.
        model: the policy's module, for the limits.
    """
    tokens, limit = found["tokens"], model.prompts.max_prompt_tokens
    lines = [
        f"prompt tokens: mean {tokens['prompt_mean']:.1f}, max {tokens['prompt_max']:,} of "
        f"model.max_prompt_tokens = {limit:,}; {found['dropped']:,} questions dropped as too long",
        f"completion tokens: mean {tokens['completion_mean']:.1f}, max "
        f"{tokens['completion_max']:,} of model.sampling.max_new_tokens = "
        f"{model.sampling.max_new_tokens:,}",
    ]
    return lines


def examples(rollouts: Iterable[Mapping[str, Any]], model: Any) -> Iterator[str]:
    """Completions without an answer, and completions that were cut off; prompts as they are asked.

    Args:
        rollouts: rows of saved completions.
        model: the policy's module, for the prompt.
    """
    unread: list[Mapping[str, Any]] = []
    cut: list[Mapping[str, Any]] = []
    for row in rollouts:
        for chosen, fits in (
            (cut, row["finish"] == "length"),
            (unread, row["finish"] != "length" and row["answer"] is None),
        ):
            other = all(row["question_id"] != each["question_id"] for each in chosen)
            if fits and other and len(chosen) < SHOWN:
                chosen.append(row)
    for chosen, what in ((unread, "no answer was found in"), (cut, "cut off:")):
        for row in chosen:
            prompt = model.prompts.template.render(row["prompt"], model.prompts.tokenizer)
            yield f"--- {what} a completion of question {row['question_id']!r}"
            yield f"prompt:     {_ends(prompt)!r}"
            yield f"completion: {_ends(row['completion'])!r}"
            yield f"gold:       {row['gold']!r}"


def _ends(text: str) -> str:
    left = len(text) - HEAD - TAIL
    return text if left <= 0 else f"{text[:HEAD]} [... {left:,} characters ...] {text[-TAIL:]}"
