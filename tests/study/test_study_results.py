import numpy as np
import pytest
from near import same
from study_tables import N, write_study_table

from fgexpo.figures.ranges import wide_enough
from fgexpo.study import figures
from fgexpo.study.estimates import over_runs
from fgexpo.study.report import write_report
from fgexpo.study.results import compare, read_results
from fgexpo.study.spec import Arm, Bases, Study
from fgexpo.study.table import setting_of


@pytest.fixture
def table(tmp_path):
    path = str(tmp_path / "table.parquet")
    write_study_table(path)
    return path


@pytest.fixture
def results(table):
    return read_results(table)


def test_scores_are_those_of_the_last_validation_in_order_of_base_and_seed(results):
    arm = results.arm("", "grpo")
    assert arm.runs == [(0, 0), (0, 1), (1, 0), (1, 1)] and arm.n == N
    by_seed = np.array([[0, 16, 24], [1, 17, 25]]) / N
    same(arm.final(1), np.concatenate([by_seed, by_seed]))
    same(arm.first(1), np.tile([0, 8, 16], (4, 1)) / N)
    # One right answer is enough for pass@32.
    same(arm.final(N)[0], [0, 1, 1])
    curve = arm.curve(1, (1, 1))
    assert curve[["step", "rollouts", "updates", "seconds"]].to_numpy().tolist() == [
        [0, 0, 0, 0],
        [10, 2560, 20, 20],
    ]
    assert curve["score"].tolist() == pytest.approx([24 / 96, 43 / 96])


def test_differences_are_paired(results):
    # The seeds' own part is in both, and gone from the difference.
    same(results.difference("", "akl", "grpo", 1), np.tile([4 / N, 0, 0], (4, 1)))
    [found] = compare(results, "", [("akl", "grpo")], [1]).values()
    assert found[1].mean == pytest.approx(4 / 96) and not found[1].clear
    with pytest.raises(ValueError, match="the table has no arm 'gcs'"):
        results.difference("", "gcs", "grpo", 1)


def test_logged_values_are_means_over_steps_then_runs(results):
    arm = results.arm("", "akl")
    assert arm.on_the_way("akl/kl_coef") == pytest.approx(0.015)
    assert arm.at_end("akl/kl_coef", steps=2) == pytest.approx(0.02)
    assert arm.at_end("kl", steps=2) == pytest.approx(0.095)
    assert results.arm("", "grpo").at_end("akl/kl_coef") is None
    assert arm.trace("kl")["runs"].tolist() == [4] * 10


def test_the_report_says_what_is_in_the_table(table, tmp_path):
    study = Study(
        ["configs/tiny.yaml"],
        2560,
        {"grpo": Arm(), "akl": Arm(against=["grpo"])},
        [0, 1],
        Bases("configs/tiny_base.yaml", [0, 1]),
        title="Two arms",
        folder=str(tmp_path),
        ks=[1, 32],
        target=0.4,
    )
    out = tmp_path / "docs" / "r.md"
    write_report(study, "two.yaml", table, str(out))
    text = out.read_text()
    assert "8 runs, 4 an arm: 2 bases x 2 seeds" in text and "all 2 hold together" in text
    assert "| akl - grpo | +0.042 [" in text and "| base, before | 0.250 | 0.667 |" in text
    assert "| grpo | 0.0200, constant | 0.750 | 240 |" in text
    assert "| akl | 0.0150, 0.0100 to 0.0200 | 0.750 | 240 |" in text
    # From 24/96 up to 40/96, or 43/96, within 2,560 rollouts: .4 is reached after 2,304 and 1,940.
    assert "| 2,122 (4 of 4) |" in text
    assert read_results(str(out.with_suffix(".parquet"))).arm("", "akl").runs[0] == (0, 0)


def test_figures_hold_every_arm(results):
    found = compare(results, "", [("akl", "grpo")], [1, 32])
    assert len(figures.differences_figure(found, [1, 32]).axes) == 2
    curves = figures.curves_figure(results, "", ["grpo", "akl"], [1, 32], 0.4)
    assert [len(axes.lines) for axes in curves.axes] == [3, 3, 3, 2, 2, 2]  # and the target
    line = figures.tradeoff_figure(results, "", ["akl"], [1, 32]).axes[0].lines[0]
    assert line.get_xdata().tolist() == pytest.approx([24 / 96, 45.5 / 96])
    traces = figures.traces_figure(results, "", ["grpo", "akl"])
    # The first panel: akl's coefficient, and two that stand for the legend.
    assert [len(axes.lines) for axes in traces.axes] == [3, 2, 2, 2, 2, 2]


def test_bands_are_over_the_seeds_of_each_base(results):
    # Two bases that differ by 1, and seeds that differ by .2: t(.975, 2) = 4.303, s^2 = .02.
    values = np.array([[0.0], [0.2], [1.0], [1.2]])
    mean, low, high = over_runs(values, [0, 0, 1, 1])
    same(mean, [0.6])
    same(high - mean, [4.302652729749464 * (0.02 / 4) ** 0.5])
    same(mean - low, high - mean)
    assert np.isnan(over_runs(values[::2], [0, 1])[1]).all(), "one seed a base says nothing"

    curves = figures.curves_figure(results, "", ["grpo", "akl"], [1], None)
    assert [len(axes.collections) for axes in curves.axes] == [2, 2, 2]
    assert "mean of 4 runs, with 95 %" in curves.get_suptitle()
    # Runs with seeds 0 and 1 end at 40/96 and 43/96 in both bases.
    ends = over_runs(np.array([[40], [43], [40], [43]]) / 96, [0, 0, 1, 1])
    (band,) = figures.curves_figure(results, "", ["grpo"], [1], None).axes[0].collections
    drawn = band.get_paths()[0].vertices
    same([drawn[:, 1].min(), drawn[:, 1].max()], [24 / 96, float(ends[2][0])])
    tradeoff = figures.tradeoff_figure(results, "", ["grpo"], [1, 32])
    assert len(tradeoff.axes[0].collections) == 4
    traces = figures.traces_figure(results, "", ["grpo", "akl"])
    assert [len(axes.collections) for axes in traces.axes] == [1, 2, 2, 2, 2, 2]


def test_noise_does_not_fill_an_axis(results):
    assert wide_enough(0.40, 0.42, 0.1) == pytest.approx((0.36, 0.46))
    assert wide_enough(0.0, 0.02, 0.1) == pytest.approx((0, 0.1)), "no share is below 0"
    assert wide_enough(-0.01, 0.01, 0.1) == pytest.approx((-0.05, 0.05))
    assert wide_enough(0.2, 0.7, 0.1) == (0.2, 0.7)
    shown = [*figures.tradeoff_figure(results, "", ["grpo"], [1, 32]).axes]
    shown += figures.curves_figure(results, "", ["grpo"], [1, 32], None).axes
    shown += figures.traces_figure(results, "", ["grpo"]).axes[5:]
    for axes in shown:
        low, high = axes.get_ylim()
        assert high - low >= 0.0999
    low, high = figures.traces_figure(results, "", ["akl"]).axes[4].get_ylim()
    assert high - low >= 20, "an effective sample size that stays at 240 is no zigzag"


def test_a_setting_is_found_through_init_args():
    saved = {"model": {"init_args": {"optimizer": {"class_path": "A", "init_args": {"lr": 0.5}}}}}
    assert setting_of(saved, "model.optimizer.lr") == 0.5
    assert setting_of(saved, "model.optimizer.init_args.lr") == 0.5
