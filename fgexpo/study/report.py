"""The report of a study: Markdown and figures, made from its table alone."""

import shutil
import statistics
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..figures.pixels import write_png
from ..files import whole_file, write_text
from .estimates import Estimate, estimate, rollouts_to
from .figures import curves_figure, differences_figure, traces_figure, tradeoff_figure
from .results import ArmDifferences, ArmResults, Results, compare, read_results
from .spec import Study
from .table import KL_COEF


def write_report(study: Study, source: str, table: str, path: str) -> None:
    """Write the Markdown, with its figures and a copy of the table beside it.

    Args:
        study: the study.
        source: the study's YAML, for the command that reproduces the report.
        table: parquet of the results.
        path: Markdown to write; figures are named after it.
    """
    results = read_results(table)
    samples = next(iter(results.arms.values())).n
    if max(study.ks) > samples:
        raise UserError(f"study: ks {study.ks} need more than the table's {samples} samples")
    out = Path(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    points = list(study.points or {"": {}})
    found = {point: differences(study, results, point) for point in points}
    sections = [_head(study, source, results, f"{out.stem}.parquet")]
    for point in points:
        name = f"{out.stem}{'-' * bool(point)}{point}"
        figures = {
            **({"differences": differences_figure(found[point], study.ks)} if found[point] else {}),
            "curves": curves_figure(results, point, list(study.arms), study.ks, study.target),
            "tradeoff": tradeoff_figure(results, point, list(study.arms), study.ks),
            "traces": traces_figure(results, point, list(study.arms)),
        }
        for kind, figure in figures.items():
            write_png(figure, out.parent / f"{name}-{kind}.png", dpi=90)
        sections += _section(study, results, point, found[point], name)
    write_text(out, "\n".join(sections) + "\n")
    kept = out.with_suffix(".parquet")
    if not (kept.exists() and kept.samefile(table)):
        with whole_file(kept) as partial:
            shutil.copyfile(table, partial)


def differences(study: Study, results: Results, point: str) -> ArmDifferences:
    """Every comparison of the study at a point."""
    pairs = [(name, control) for name, arm in study.arms.items() for control in arm.against]
    return compare(results, point, pairs, study.ks, _comparisons(study))


def _comparisons(study: Study) -> int:
    pairs = sum(len(arm.against) for arm in study.arms.values())
    return pairs * len(study.points or [""]) * len(study.ks)


def _head(study: Study, source: str, results: Results, table: str) -> str:
    some = next(iter(results.arms.values()))
    runs, questions = some.final(1).shape
    count = sum(len(arm.runs) for arm in results.arms.values())
    tuned = (
        f" `{study.tune.setting}` is each arm's best of {study.tune.values}, chosen by "
        f"pass@{study.tune.k} on `{study.tune.benchmark}` with {len(study.tune.seeds)} seeds a "
        "base of their own."
        if study.tune
        else ""
    )
    bases = sorted({number for arm in results.arms.values() for number, _ in arm.runs})
    models = "; ".join(results.models)
    started = f" They start from {models} (name and content)." if models else ""
    return "\n".join(
        [
            f"# {study.title}",
            "",
            f"Made by `python -m fgexpo study {source}` from [its table]({table}) alone; "
            "do not edit.",
            "",
            *([study.claim.strip(), ""] if study.claim.strip() else []),
            f"{count} runs, {runs} an arm: {_count(bases, 'base')} x "
            f"{_count(study.seeds, 'seed')}.{started} Every run spends {study.rollouts:,} rollouts "
            f"and is judged by the same {questions} questions, {some.n} samples each; a pair of "
            f"runs shares base and seed.{tuned} Intervals are 95 %, over seeds (for these bases) "
            "and questions, both taken as random; those of differences are widened (Bonferroni) so "
            f"that all {_comparisons(study)} hold together. **Bold**: 0 lies outside. Seconds "
            "are of training steps, with several runs at once.",
        ]
    )


def _count(things: list[int], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _section(
    study: Study, results: Results, point: str, found: ArmDifferences, name: str
) -> Iterable[str]:
    if point:
        yield f"\n## {point}"
    header = [f"pass@{k}" for k in study.ks]
    if found:
        yield "\n" + _verdict(found)
        yield f"\n![Differences]({name}-differences.png)\n"
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


def _verdict(found: ArmDifferences) -> str:
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
    scores = results.arm(point, arm).final(k)
    return estimate(scores, results.bases(point, arm))


def _first(results: Results, point: str, k: int) -> float:
    return float(next(a for (p, _), a in results.arms.items() if p == point).first(k).mean())


def _means(study: Study, results: Results, point: str) -> tuple[list[str], list[list[str]]]:
    """The arms' metrics during and at the end of training: means over runs."""
    header = ["arm", "KL coefficient", "informative groups", "effective sample size at the end"]
    header += ["KL at the end", "entropy at the end", "rollouts", "updates", "s a step"]
    if study.tune is not None:
        header.append(f"`{study.tune.setting}`")
    if study.target is not None:
        header.append(f"rollouts to pass@1 {study.target:g} (runs that got there)")
    rows = []
    for name in study.arms:
        arm = results.arm(point, name)
        ends = [arm.curve(1, run).iloc[-1] for run in arm.runs]
        row = [name, _coefficient(arm), f"{_informative(arm):.3f}"]
        row.append(_number(arm.at_end("curriculum/effective_sample_size"), ",.0f"))
        row += [_small(arm.at_end(tag)) for tag in ("kl", "entropy")]
        row += [
            f"{np.mean([end[spent] for end in ends]):,.0f}" for spent in ("rollouts", "updates")
        ]
        row.append(f"{np.mean([end['seconds'] / end['step'] for end in ends]):.2f}")
        if study.tune is not None:
            row.append(_number(arm.on_the_way(study.tune.setting), "g"))
        if study.target is not None:
            row.append(_reached(arm, study.target))
        rows.append(row)
    return header, rows


def _coefficient(arm: ArmResults) -> str:
    """A controlled coefficient's mean and range, or the constant value."""
    trace = arm.trace("akl/kl_coef")
    if trace.empty:
        return f"{_number(arm.on_the_way(KL_COEF), '.4f')}, constant"
    mean = _number(arm.on_the_way("akl/kl_coef"), ".4f")
    return f"{mean}, {trace['low'].min():.4f} to {trace['high'].max():.4f}"


def _informative(arm: ArmResults) -> float:
    """Share of all groups asked whose rewards differ; a refill selects groups by this."""
    asked = arm.on_the_way("refill/informative_frac")
    return 1 - (arm.on_the_way("frac_reward_zero_std") or 0.0) if asked is None else asked


def _small(value: float | None) -> str:
    """Four decimals, or two digits of what these would show as nothing."""
    return _number(value, ".4f" if value is None or abs(value) >= 1e-3 or value == 0 else ".1e")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _reached(arm: ArmResults, target: float) -> str:
    curves = [arm.curve(1, run) for run in arm.runs]
    found = [rollouts_to(target, c["rollouts"].tolist(), c["score"].tolist()) for c in curves]
    reached = [spent for spent in found if spent is not None]
    share = f"({len(reached)} of {len(found)})"
    # The median over all runs, counting those that never reached it as the slowest.
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
