"""The report of a study: Markdown and figures, made from its table alone."""

import statistics
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..figures.study import curves_figure, differences_figure, traces_figure, tradeoff_figure
from .estimates import SEED, Estimate, estimate, rollouts_to
from .results import ArmResults, Differences, Results, compare, read_results
from .spec import Study


def write_report(study: Study, source: str, table: str, path: str) -> None:
    """Write the Markdown, and its figures beside it.

    Args:
        study: what was run.
        source: the study's YAML, for the command that makes it again.
        table: parquet of the results.
        path: Markdown to write; figures are named after it.
    """
    results = read_results(table)
    out = Path(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    points = list(study.points or {"": {}})
    found = {point: differences(study, results, point) for point in points}
    sections = [_head(study, source, results)]
    for point in points:
        name = f"{out.stem}{'-' * bool(point)}{point}"
        figures = {
            "differences": differences_figure(found[point], study.ks),
            "curves": curves_figure(results, point, list(study.arms), study.ks, study.target),
            "tradeoff": tradeoff_figure(results, point, list(study.arms), study.ks),
            "traces": traces_figure(results, point, list(study.arms)),
        }
        for kind, figure in figures.items():
            figure.savefig(out.parent / f"{name}-{kind}.png", dpi=90)
        sections += _section(study, results, point, found[point], name)
    out.write_text("\n".join(sections) + "\n")


def differences(study: Study, results: Results, point: str) -> Differences:
    """Every comparison of the study at a point."""
    pairs = [(name, control) for name, arm in study.arms.items() for control in arm.against]
    return compare(results, point, pairs, study.ks, len(pairs) * len(study.points or [""]))


def _head(study: Study, source: str, results: Results) -> str:
    some = next(iter(results.arms.values()))
    runs, questions = some.final(1).shape
    count = sum(len(arm.runs) for arm in results.arms.values())
    comparisons = sum(len(arm.against) for arm in study.arms.values()) * len(study.points or [""])
    tuned = (
        f" `{study.tune.setting}` is each arm's best of {study.tune.values}, chosen by "
        f"{study.tune.score} on `{study.tune.benchmark}` with {len(study.tune.seeds)} seeds a base "
        "of their own."
        if study.tune
        else ""
    )
    return "\n".join(
        [
            f"# {study.title}",
            "",
            f"Made by `python -m fgexpo study {source}` from its table alone; do not edit.",
            "",
            study.claim.strip(),
            "",
            f"{count} runs, {runs} an arm: {len(study.bases.seeds)} bases x {len(study.seeds)} "
            f"seeds. Every run spends {study.rollouts:,} rollouts and is judged by the same "
            f"{questions} questions, {some.n} samples each; a pair of runs shares base and seed."
            f"{tuned} Intervals are 95 %, over seeds (within bases) and questions, by resampling "
            f"both; those of differences are widened (Bonferroni) for the {comparisons} "
            "comparisons of a score. **Bold**: 0 lies outside. Seconds are of training steps, "
            "with as many runs at once as there were cores.",
        ]
    )


def _section(
    study: Study, results: Results, point: str, found: Differences, name: str
) -> Iterable[str]:
    if point:
        yield f"\n## {point}"
    yield "\n" + _verdict(found)
    yield f"\n![Differences]({name}-differences.png)\n"
    header = [f"pass@{k}" for k in study.ks]
    rows = [
        [f"{arm} - {control}", *(_signed(by_k[k]) for k in study.ks)]
        for (arm, control), by_k in found.items()
    ]
    yield _table(["difference", *header], rows)
    rows = [["base, before", *(f"{_first(results, point, k):.3f}" for k in study.ks)]]
    for arm in study.arms:
        scores = [_final(results, point, arm, k) for k in study.ks]
        rows.append([arm, *(f"{e.mean:.3f} [{e.low:.3f}, {e.high:.3f}]" for e in scores)])
    yield "\n" + _table(["score at the end", *header], rows)
    yield "\n" + _table(*_means(study, results, point))
    yield f"\n![Learning curves]({name}-curves.png)"
    yield f"\n![The trade-off]({name}-tradeoff.png)"
    yield f"\n![What happened on the way]({name}-traces.png)"


def _verdict(found: Differences) -> str:
    clear = [
        f"{arm} {'beats' if e.mean > 0 else 'falls behind'} {control} in pass@{k} ({e.mean:+.3f})"
        for (arm, control), by_k in found.items()
        for k, e in by_k.items()
        if e.clear
    ]
    total = sum(len(by_k) for by_k in found.values())
    if not clear:
        return f"**None of the {total} differences is clear.**"
    return f"**{len(clear)} of the {total} differences are clear:** " + "; ".join(clear) + "."


def _final(results: Results, point: str, arm: str, k: int) -> Estimate:
    scores = results.arms[point, arm].final(k)
    return estimate(scores, results.bases(point, arm), SEED)


def _first(results: Results, point: str, k: int) -> float:
    return float(next(a for (p, _), a in results.arms.items() if p == point).first(k).mean())


def _means(study: Study, results: Results, point: str) -> tuple[list[str], list[list[str]]]:
    """What the arms did on the way: means over steps and runs."""
    header = ["on the way", "informative groups", "effective sample size", "KL coefficient"]
    header += ["KL", "entropy", "updates", "s a step"]
    if study.target is not None:
        header.append(f"rollouts to pass@1 {study.target:g} (runs that got there)")
    rows = []
    for name in study.arms:
        arm = results.arms[point, name]
        zero = arm.trace("frac_reward_zero_std")["mean"]
        coefficient = arm.trace("akl/kl_coef")["mean"]
        ends = [arm.curve(1, run).iloc[-1] for run in arm.runs]
        row = [name, f"{1 - zero.mean():.3f}"]
        row.append(f"{arm.trace('curriculum/effective_sample_size')['mean'].iloc[-1]:,.0f}")
        row.append("constant" if coefficient.empty else f"{coefficient.mean():.4f}")
        row += [f"{arm.trace(tag)['mean'].iloc[-1]:.4f}" for tag in ("kl", "entropy")]
        row.append(f"{np.mean([end['updates'] for end in ends]):.0f}")
        row.append(f"{np.mean([end['seconds'] / end['step'] for end in ends]):.2f}")
        if study.target is not None:
            row.append(_reached(arm, study.target))
        rows.append(row)
    return header, rows


def _reached(arm: ArmResults, target: float) -> str:
    curves = [arm.curve(1, run) for run in arm.runs]
    found = [rollouts_to(target, c["rollouts"].tolist(), c["score"].tolist()) for c in curves]
    reached = [spent for spent in found if spent is not None]
    share = f"({len(reached)} of {len(found)})"
    # The median over all runs, those that never got there being the slowest.
    if len(reached) <= len(found) / 2:
        return f"more than the budget {share}"
    median = statistics.median(float("inf") if spent is None else spent for spent in found)
    return f"{median:,.0f} {share}"


def _signed(e: Estimate) -> str:
    text = f"{e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}]"
    return f"**{text}**" if e.clear else text


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, *rows)]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines)
