"""The findings of sections, and the Markdown file made from them, which a later run can add to."""

import re
from dataclasses import dataclass, field

NOT_MEANT = (
    "**This run was on a CPU, to test the script itself: no figure below means anything, and what "
    "is compared with a plan or a data sheet is that of a GPU.**"
)


@dataclass(frozen=True)
class Note:
    """A sentence."""

    text: str


@dataclass(frozen=True)
class Row:
    """A row of one of the section's tables.

    Attributes:
        table: its heading.
        cells: by column; all rows of a table have the same columns.
    """

    table: str
    cells: dict[str, str]


@dataclass(frozen=True)
class Check:
    """A condition that must hold.

    Attributes:
        what: the compared quantity.
        found: the measured number.
        limit: the required value, and why.
        passed: whether it holds.
    """

    what: str
    found: str
    limit: str
    passed: bool


Finding = Note | Row | Check


@dataclass
class Section:
    """A section's findings so far.

    Attributes:
        title: its heading.
        state: ``waiting``, ``running``, ``done``, ``failed``, or ``left out`` by the command line.
        findings: in order.
        error: the last line of what stopped it.
        seconds: that it took.
        measured: when, by which commit and on which GPU.
        kept: its text in an earlier report, which has not been measured again.
    """

    title: str
    state: str = "waiting"
    findings: list[Finding] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    measured: str = ""
    kept: str | None = None

    @property
    def fine(self) -> bool:
        """Whether it is done or was not requested, and every check has passed."""
        checks = [finding for finding in self.findings if isinstance(finding, Check)]
        return self.state in ("done", "left out") and all(check.passed for check in checks)


def below(what: str, found: float, limit: float, why: str) -> Check:
    """A check of a number that must not be above a limit; NaN is."""
    return Check(what, f"{found:.3g}", f"at most {limit:.3g}: {why}", found <= limit)


def above(what: str, found: float, limit: float, why: str) -> Check:
    """A check of a number that must not be below a limit; NaN is."""
    return Check(what, f"{found:.6g}", f"at least {limit:.6g}: {why}", found >= limit)


def render(heading: list[str], sections: list[Section]) -> str:
    """The whole file.

    Args:
        heading: paragraphs before the sections.
        sections: in order.
    """
    summary = [
        {
            "section": section.title,
            "state": _state(section),
            "seconds": f"{section.seconds:.0f}",
            "measured": section.measured,
        }
        for section in sections
    ]
    parts = ["# On a GPU", *heading, *_table(summary)]
    for section in sections:
        body = _body(section) if section.kept is None else [section.kept]
        parts += [f"## {section.title}", *body]
    return "\n\n".join(parts) + "\n"


def keep(section: Section, text: str) -> None:
    """Take over what an earlier report says of a section, unless it says nothing of it.

    Args:
        section: that is not to be measured again.
        text: the earlier report.
    """
    title = re.escape(section.title)
    row = re.search(rf"^\| {title} \| (.*) \| (\d+) \| (.*) \|$", text, re.MULTILINE)
    body = re.search(rf"^## {title}\n\n(.*?)(?=\n\n## |\Z)", text, re.MULTILINE | re.DOTALL)
    if row is not None and body is not None and row[1] not in ("left out", "waiting"):
        section.state, section.measured = row[1], row[3]
        section.seconds, section.kept = float(row[2]), body[1].rstrip("\n")


def _state(section: Section) -> str:
    if section.kept is not None:
        return section.state
    if section.state == "done" and not section.fine:
        return "**a check failed**"
    return f"**failed**: {section.error}" if section.state == "failed" else section.state


def _body(section: Section) -> list[str]:
    parts = []
    if section.state == "failed":
        parts.append(f"**This section failed**: `{section.error}`. What it found before:")
    if section.state in ("waiting", "left out"):
        parts.append(f"Not measured ({section.state}).")
    checks = [finding for finding in section.findings if isinstance(finding, Check)]
    parts += _table(
        [
            {
                "check": check.what,
                "found": check.found,
                "limit": check.limit,
                "": "passed" if check.passed else "**FAILED**",
            }
            for check in checks
        ]
    )
    rows = [finding for finding in section.findings if isinstance(finding, Row)]
    for name in dict.fromkeys(row.table for row in rows):
        parts.append(f"{name}:")
        parts += _table([row.cells for row in rows if row.table == name])
    notes = [finding.text for finding in section.findings if isinstance(finding, Note)]
    return parts + (["\n".join(f"- {note}" for note in notes)] if notes else [])


def _table(rows: list[dict[str, str]]) -> list[str]:
    """One block of Markdown; none without rows."""
    if not rows:
        return []
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([row[c] for c in columns] for row in rows)]
    # A bar inside a cell would end it.
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return ["\n".join(f"| {' | '.join(line)} |" for line in escaped)]
