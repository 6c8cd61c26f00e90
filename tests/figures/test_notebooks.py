"""Every notebook is stripped and runs, and the code behind its figures says what it draws."""

import os
import sys
from pathlib import Path

import IPython.display
import ipywidgets
import nbformat
import numpy as np
import pytest
from fgexpo.callbacks.panels import weight_edges
from jupyter_client.manager import start_new_kernel
from matplotlib.figure import Figure
from nbclient import NotebookClient
from near import within
from processes import OUTER_LIMIT
from study_tables import write_study_table
from torch.utils.tensorboard import SummaryWriter

from fgexpo.errors import UserError
from fgexpo.figures import formulas, run
from fgexpo.figures.events import (
    Histogram,
    Scalar,
    curves,
    find_run,
    newest_run,
    quantiles,
    read_run,
    rebin,
)
from fgexpo.figures.frontier import EDGES
from fgexpo.figures.sliders import Span, explore
from fgexpo.kl import Constant

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SAVED = FOLDER / "data" / "tiny"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stripped(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One for all notebooks, which then import everything once."""
    study = tmp_path_factory.mktemp("study") / "study.parquet"
    write_study_table(study)
    environment = {**os.environ, "FGEXPO_RUN": str(SAVED), "FGEXPO_STUDY": str(study)}
    manager, client = start_new_kernel(OUTER_LIMIT, cwd=str(FOLDER), env=environment)
    client.stop_channels()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize(
    ("name", "images"),
    [("01_read_a_run", 6), ("02_ablation", 4), ("03_akl_and_gcs_by_hand", 4)],
    ids=lambda x: str(x),
)
def test_a_notebook_runs_and_shows_its_figures(name, images, kernel):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    resources = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=OUTER_LIMIT, resources=resources, km=kernel).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) == images
    printed = "".join(output.get("text", "") for output in outputs)
    if name.startswith("01"):
        assert f"{SAVED}: the newest run" in printed and "missing: nothing" in printed


def write_run(folder, values, at=0, tag="accuracy"):
    with SummaryWriter(str(folder)) as writer:
        for step, value in values.items():
            writer.add_scalar(tag, value, step, walltime=at + step)
        writer.add_histogram("curriculum/pass_rates_seen", np.array([0.05, 0.5, 0.5]), 1)


def test_a_resumed_run_reads_as_one_curve(tmp_path):
    write_run(tmp_path, {1: 0.1, 2: 0.2, 3: 0.3})
    write_run(tmp_path, {3: 0.4, 4: 0.5}, at=10)
    found = read_run(tmp_path)
    assert found.scalars[0] == Scalar("accuracy", 1, 1.0, pytest.approx(0.1))
    assert len(found.scalars) == 5
    steps, values = curves(found.scalars)["accuracy"]
    assert steps.tolist() == [1, 2, 3, 4] and values == pytest.approx([0.1, 0.2, 0.4, 0.5])
    (histogram,) = found.histograms["curriculum/pass_rates_seen"]
    assert rebin(histogram, np.array([0, 0.2, 1])) == pytest.approx([1, 2])


def test_where_a_run_is_looked_for(tmp_path):
    write_run(tmp_path / "runs/a/version_0", {1: 0.1})
    write_run(tmp_path / "saved", {1: 0.1})
    old, saved = tmp_path / "runs/a/version_0", tmp_path / "saved"
    assert find_run(None, tmp_path / "runs", saved)[0] == old
    folder, where = find_run(None, tmp_path / "nothing", saved)
    assert folder == saved and "there is no run in" in where
    assert find_run(str(tmp_path / "runs"), "", "")[0] == old == newest_run(old)
    with pytest.raises(UserError, match=r"no event files in .* or its subfolders"):
        find_run(str(tmp_path / "nothing"), "", saved)
    with pytest.raises(UserError, match="holds no event files"):
        read_run(tmp_path)


def test_histograms_by_hand():
    histogram = Histogram(1, np.array([0.0, 0.5, 1.0]), np.array([0, 2, 2]))
    assert rebin(histogram, np.array([0, 0.25, 1])) == pytest.approx([1, 3])
    assert quantiles(histogram, [0.25, 0.5]) == pytest.approx([0.25, 0.5])
    # Of a bucket that reaches below 0 nothing may be lost.
    beyond = Histogram(1, np.array([-0.1, 0.1]), np.array([0, 4]))
    assert rebin(beyond, np.array([0, 1])) == pytest.approx([4])


def test_equal_values_are_drawn_without_a_spread(tmp_path):
    """Whatever bins a log has, such as the growing ones of a logger's own."""
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_histogram(run.WEIGHTS, np.ones(480), 1)
        writer.add_histogram(run.WEIGHTS, np.ones(480), 2, bins=weight_edges(np.ones(480)))
        writer.add_histogram(run.WEIGHTS, np.full(8, 0.5), 3)
    found = read_run(tmp_path).histograms[run.WEIGHTS]
    for histogram, value in zip(found, (1, 1, 0.5), strict=True):
        assert quantiles(histogram, [0.05, 0.5, 0.95]).tolist() == [value] * 3
        assert rebin(histogram, EDGES).nonzero()[0].tolist() == [min(19, int(20 * value))]
    left = run.weights({}, read_run(tmp_path).histograms).axes[0]
    assert left.lines[0].get_ydata().tolist() == [1, 1, 0.5]
    assert set(left.collections[0].get_paths()[0].vertices[:, 1]) == {1, 0.5}


def test_a_single_run_has_bands_only_over_its_questions():
    tags = {"val/a/pass@1": ([0, 10], [0.5, 0.75])}
    assert "one seed" in run.pass_at_k(tags).get_suptitle()
    assert not run.pass_at_k(tags).axes[0].collections
    scores = [
        {"step": 0, "n": 2, "correct": {"a": {"x": 0, "y": 2}}},
        {"step": 10, "n": 2, "correct": {"a": {"x": 1, "y": 2}}},
    ]
    steps, low, high = run.question_band(scores, "a", 1)
    # Of two questions drawn with replacement a quarter are twice the worse, a quarter the better.
    assert steps.tolist() == [0, 10] and low.tolist() == [0, 0.5] and high.tolist() == [1, 1]
    figure = run.pass_at_k(tags, scores)
    assert len(figure.axes[0].collections) == 1 and "over its questions" in figure.get_suptitle()


def texts(figure):
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_figures_say_what_a_log_lacks():
    assert "akl/kl_coef" in run.missing({}, {}) and "val/<benchmark>/pass@k" in run.missing({}, {})
    for draw in (run.beta_and_accuracy, run.kl_and_entropy, run.lengths, run.pass_at_k):
        assert "not in this log" in texts(draw({}))
    assert run.WEIGHTS in texts(run.weights({}, {})) and run.RATES in texts(run.pass_rate_drift({}))


def test_curves_are_drawn_as_they_are():
    tags = {"val/a/pass@8": ([0, 1], [0.2, 0.4]), "val/a/pass@1": ([0, 1], [0.1, 0.2])}
    (axes,) = run.pass_at_k(tags).axes
    assert [line.get_label() for line in axes.lines] == ["pass@1", "pass@8"]
    assert axes.lines[1].get_ydata().tolist() == [0.2, 0.4]
    assert run.running_mean(np.array([1.0, 2, 6]), 1) == pytest.approx([1.5, 3, 4])


def test_formulas_by_hand():
    assert formulas.hopeless_history(0.5, 2).tolist() == [0.5, 0.25, 0.125]
    # 0.5 * 0.9^17 = 0.083: its weight is exp(-0.417^2 / 0.245) = 0.49.
    assert formulas.visits_until(0.5, 0.9) == 17
    assert formulas.visits_until(0.3, 0.9) is None
    assert formulas.sample_share(formulas.made_pool(10, 0), 0.5, 0.35) == pytest.approx(1)
    within(formulas.made_pool(10_000, 0.3).std(), 0.3, 0.01)
    (line, _) = formulas.rho_figure(0.02, {"half": Constant(0.5)}).axes[0].lines
    assert set(line.get_ydata()) == {0.5}


class Shown(list):
    def __call__(self, thing, display_id=None):
        self.append(thing)
        return self

    update = list.append


@pytest.fixture
def shown(monkeypatch):
    made = Shown()
    monkeypatch.setattr(IPython.display, "display", made)
    return made


def width(size):
    return Figure(figsize=(size, 1))


def test_a_slider_draws_the_figure_again(shown):
    explore(width, size=Span(1, 9, 1, 3))
    figure, box = shown
    assert figure.get_figwidth() == 3
    (slider,) = box.children
    assert isinstance(slider, ipywidgets.FloatSlider)
    slider.value = 5
    assert shown[2].get_figwidth() == 5


def test_without_widgets_the_figure_stands_still(shown, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    explore(width, size=Span(1, 9, 1, 3))
    assert len(shown) == 1 and "no sliders without ipywidgets" in capsys.readouterr().out
