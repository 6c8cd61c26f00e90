"""What the panels write is read back from the event files, resumed runs included."""

import io
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fgexpo.callbacks.hparams import describe
from fgexpo.callbacks.layout import GLANCE, scalar_layout
from helpers import make_data, make_module, make_trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from fgexpo.callbacks import (
    AKLCallback,
    FrontierImages,
    HParams,
    QuestionAKL,
    RolloutCheckpoint,
    ScalarLayout,
    TargetKL,
    TensorBoardPanels,
)
from fgexpo.curriculum.alternatives import TowardsHard
from fgexpo.curriculum.gaussian import Gaussian, Uniform
from fgexpo.curriculum.shared import Shared
from fgexpo.figures.events import curves, read_run
from fgexpo.figures.frontier import frontier_figure, pass_rate_counts, weight_profile
from fgexpo.figures.run import missing
from fgexpo.kl import Linear, Tanh
from fgexpo.rewards.overlong import Overlong
from fgexpo.rewards.reward import Accuracy, is_accuracy
from fgexpo.tasks import TinyArithmetic
from fgexpo.update.step_metrics import copies

ROOT = Path(__file__).parents[2]
POOL = len(TinyArithmetic("pool", 1).questions())
LAYOUT = "custom_scalars__config__"


def train(folder, tmp_path, steps=2, ckpt_path=None, logger=None, data=None, akl=True):
    """A run with every panel at every step, whose checkpoints are in ``tmp_path``."""
    logger = logger or TensorBoardLogger(tmp_path, name="", version="run")
    panels = [
        ScalarLayout(),
        HParams(),
        FrontierImages(every_steps=1),
        TensorBoardPanels(every_steps=1),
        RolloutCheckpoint(every_steps=1, keep=None, dirpath=str(tmp_path / "saved")),
    ]
    panels += [AKLCallback()] if akl else []
    options = {"logger": logger, "enable_checkpointing": True, "limit_val_batches": 1.0}
    options |= {"val_check_interval": 2, "check_val_every_n_epoch": None, "log_every_n_steps": 1}
    trainer = make_trainer(tmp_path, steps, panels, num_sanity_val_steps=0, **options)
    trainer.fit(make_module(folder), data or make_data(), ckpt_path=ckpt_path)
    return panels


def values_of(folder, tag):
    """Every summary that was written under a tag, resumed runs' files included."""
    files = sorted(folder.glob("events.*"))
    events = [event for file in files for event in EventFileLoader(str(file)).Load()]
    return [value for event in events for value in event.summary.value if value.tag == tag]


def hparams_of(folder, part):
    found = values_of(folder, f"_hparams_/{part}")
    read = HParamsPluginData.FromString
    return [getattr(read(value.metadata.plugin_data.content), part) for value in found]


def test_all_panels_are_in_the_runs_own_file(model_folder, tmp_path):
    train(model_folder, tmp_path)
    assert [path.name for path in tmp_path.rglob("events.*")] == [
        path.name for path in (tmp_path / "run").glob("events.*")
    ]
    events = EventAccumulator(str(tmp_path / "run"), {"images": 0, "tensors": 0}).Reload()
    tags = set(events.Tags()["scalars"])

    (layout,) = values_of(tmp_path / "run", LAYOUT)
    layout = Layout.FromString(layout.tensor.string_val[0])
    charts = {chart.title: chart for category in layout.category for chart in category.chart}
    assert list(charts["tiny"].multiline.tag) == ["val/tiny/pass@1$", "val/tiny/pass@2$"]
    (margin,) = charts["length: mean between shortest and longest"].margin.series
    shown = {margin.value, margin.lower, margin.upper}
    shown |= {tag.rstrip("$") for chart in charts.values() for tag in chart.multiline.tag}
    assert shown <= tags, "a chart would stay empty"

    (start,), (end,) = (hparams_of(tmp_path / "run", f"session_{x}_info") for x in ("start", "end"))
    found = {key: value.string_value or value.number_value for key, value in start.hparams.items()}
    assert found == {
        "akl": "AKLCallback",
        "rho": "Tanh",
        "kl_coef": 0.02,
        "curriculum": "Gaussian",
        "decay": 0.9,
        "refresh": "epoch",
        "lr": 0.1,
        "seed": 0.0,
        "refill": "none",
        "advantages": "GroupNormalised",
        "loss": "Clipped",
        "allocation": "Equal",
        "reference_update": "none",
        "debias": "False",
        "steps": 2.0,
        "budget": -1.0,
    }
    assert end.status == 1  # success
    (experiment,) = hparams_of(tmp_path / "run", "experiment")
    scores = [info.name.tag for info in experiment.metric_infos]
    assert scores == ["val/tiny/pass@1", "val/tiny/pass@2"] and set(scores) <= tags
    first = {info.name for info in experiment.hparam_infos if info.differs}
    assert first == {"akl", "rho", "curriculum", "kl_coef", "seed"}

    images = events.Images("curriculum/frontier")
    assert [image.step for image in images] == [1, 2]
    pixels = np.asarray(Image.open(io.BytesIO(images[-1].encoded_image_string)))
    assert pixels.shape == (600, 460, 3) and len(np.unique(pixels)) > 50

    (text,) = values_of(tmp_path / "run", "completions/text_summary")[-1].tensor.string_val
    assert "question: " in text.decode() and "rollouts: 4 of 4" in text.decode()
    assert "| completion | correct | reward | advantage | tokens | end |" in text.decode()

    run = read_run(tmp_path / "run")
    drawn = curves(run.scalars)
    assert not {"akl/batch_accuracy", "rewards/accuracy/mean", "frac_kl_only"} & set(drawn)
    size = drawn["curriculum/effective_sample_size"][1]
    assert drawn["curriculum/frac_effective"][1] == pytest.approx(size / POOL)
    # A random policy solves nothing; the averages, which start at 0.5, do not know that yet.
    assert set(drawn["curriculum/frac_frontier"][1]) == {1}
    assert set(drawn["curriculum/frac_frontier_batch"][1]) == {0}
    assert missing(curves(run.scalars), run.histograms) == [], "a figure would stay empty"


def test_a_resumed_run_writes_nothing_twice(model_folder, tmp_path):
    train(model_folder, tmp_path, steps=1)
    saved = str(tmp_path / "saved" / "last.ckpt")
    panels = train(model_folder, tmp_path, steps=2, ckpt_path=saved)
    assert len(list((tmp_path / "run").glob("events.*"))) == 2
    assert len(values_of(tmp_path / "run", LAYOUT)) == 1
    assert len(hparams_of(tmp_path / "run", "session_start_info")) == 1
    # The heat map goes on with what it had.
    assert panels[2].steps == [1, 2]
    assert sum(panels[2].counts[0]) < sum(panels[2].counts[1])

    ends = len(hparams_of(tmp_path / "run", "session_end_info"))
    train(model_folder, tmp_path, steps=2, ckpt_path=saved)
    assert len(hparams_of(tmp_path / "run", "session_end_info")) == ends, "it had finished before"
    elsewhere = TensorBoardLogger(tmp_path, name="", version="elsewhere")
    train(model_folder, tmp_path, steps=3, ckpt_path=saved, logger=elsewhere)
    assert len(values_of(tmp_path / "elsewhere", LAYOUT)) == 1


def test_a_plain_run_has_the_same_columns(model_folder, tmp_path):
    train(model_folder, tmp_path, steps=1, akl=False, data=make_data(curriculum=Uniform()))
    (start,) = hparams_of(tmp_path / "run", "session_start_info")
    found = {key: start.hparams[key].string_value for key in ("akl", "rho", "curriculum")}
    assert found == {"akl": "none", "rho": "none", "curriculum": "Uniform"}
    assert len(start.hparams) == 16


def test_other_loggers_are_left_alone(model_folder, tmp_path):
    train(model_folder, tmp_path, steps=1, logger=CSVLogger(tmp_path, name="csv"))
    assert not list(tmp_path.rglob("events.*"))


@pytest.mark.parametrize("panel", [ScalarLayout(), HParams(), FrontierImages(1)])
def test_what_has_nothing_to_show_or_is_not_first_writes_nothing(panel, tmp_path):
    logger = TensorBoardLogger(tmp_path, name="x")
    logger._experiment = None
    supervised = SimpleNamespace(rollout_step=1)
    policy = SimpleNamespace(rollout_step=1, kl_coef=0.02)
    for is_first, module in ((True, supervised), (False, policy)):
        trainer = SimpleNamespace(is_global_zero=is_first, loggers=[logger], datamodule=None)
        panel.on_train_start(trainer, module)
        panel.on_train_batch_end(trainer, module, None, None, 0)
        panel.on_train_end(trainer, module)
    assert logger._experiment is None


def test_settings_are_described_in_few_words():
    assert describe(None) == "none"
    assert describe(Tanh()) == "Tanh" and describe(QuestionAKL()) == "QuestionAKL"
    assert describe(Gaussian(std=0.2)) == "Gaussian(std=0.2)"
    assert describe(Linear(high=1.5)) == "Linear(high=1.5)"
    assert describe(TowardsHard(2.0, 0.1)) == "TowardsHard(power=2, floor=0.1)"
    assert describe(TargetKL(target=1e-3)) == "TargetKL(target=0.001)"
    assert describe(Shared("level", inner=Gaussian(std=0.2))) == (
        "Shared(key=level, inner=Gaussian(std=0.2))"
    )


def test_the_layout_matches_whole_tags_only():
    charts = scalar_layout(["aime.24"], [1, 16])["pass@k on questions not trained on"]
    one, sixteen = charts["aime.24"][1]
    assert re.match(one, "val/aime.24/pass@1") and not re.match(one, "val/aime.24/pass@16")
    assert re.match(sixteen, "val/aime.24/pass@16") and not re.match(one, "val/aimex24/pass@1")
    assert "pass@k on questions not trained on" not in scalar_layout([], [1])


def test_the_page_names_every_tag_of_a_run_and_shows_small_pictures():
    page = (ROOT / "docs/tensorboard.md").read_text()
    table = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    patterns = []
    for name in re.findall(r"`([^`]+)`", " ".join(table)):
        pattern = re.sub(r"\\{(.*?)\\}", lambda m: f"({m[1].replace(',', '|')})", re.escape(name))
        pattern = pattern.replace(r"\*", ".+").replace("<benchmark>", ".+").replace("<name>", ".+")
        patterns.append(re.sub(r"@k$", r"@[0-9]+", pattern))
    patterns += [f"val/.+/{name}" for name in re.findall(r"`(\w+_(?:frac|length))`", page)]
    tags = {row.tag for row in read_run(ROOT / "notebooks/data/tiny").scalars}
    assert [tag for tag in sorted(tags) if not any(re.fullmatch(p, tag) for p in patterns)] == []
    pictures = re.findall(r"!\[.+\]\((.+)\)", page)
    assert len(pictures) >= 5
    for picture in pictures:
        assert (ROOT / "docs" / picture).stat().st_size < 150_000, picture


def test_the_first_category_is_one_screen():
    first, *others = scalar_layout(["a"], [1, 8]).items()
    assert first[0] == GLANCE and len(others) <= 4
    charts = first[1]
    assert len(charts) == 8 and charts["pass@k on a"][1] == ["val/a/pass@1$", "val/a/pass@8$"]
    # Plain GRPO logs no coefficient, and what is not there is not drawn.
    assert len(scalar_layout(["a"], [1], beta_changes=False)[GLANCE]) == 7
    many = scalar_layout(["a", "b"], [1, 8])[GLANCE]
    assert many["pass@1 on each benchmark"][1] == ["val/a/pass@1$", "val/b/pass@1$"]
    shaped = scalar_layout([], [1], reward_is_accuracy=False)[GLANCE]
    assert shaped["accuracy and reward in training"][1] == ["accuracy$", "reward$"]
    assert is_accuracy([Accuracy()]) and not is_accuracy([Accuracy(weight=2.0)])
    assert not is_accuracy([Accuracy(), Accuracy()])


def test_a_tag_is_a_copy_by_what_the_run_is_made_of():
    tags = ("reward", "frac_kl_only", "rewards/accuracy/mean", "rewards/overlong/mean")
    assert copies(tags[:3], [Accuracy()]) == {"frac_kl_only", "rewards/accuracy/mean"}
    assert copies(tags[:3], [Accuracy(weight=0.5)]) == {"frac_kl_only"}
    assert copies(tags, [Accuracy(), Accuracy()]) == {"frac_kl_only"}
    assert copies(tags, [Overlong(8, 4)]) == {"frac_kl_only"}, "it is looked for by its name"


def test_the_frontier_by_hand():
    assert pass_rate_counts(np.array([0.0, 0.04, 0.2, 1.0])).tolist() == [2, 0, 0, 0, 1] + [
        0
    ] * 14 + [1]
    rates, weights = weight_profile(np.array([0.1, 0.11, 0.5]), np.array([1.0, 2.0, 6.0]))
    assert rates == pytest.approx([0.105, 0.5]) and weights == pytest.approx([0.5, 2.0])

    seen = np.array([True, True, False])
    counts = np.array([[1] + [0] * 19, [1] + [0] * 18 + [1]])
    figure = frontier_figure(np.array([0.0, 1.0, 0.5]), seen, np.ones(3), [10, 20], counts)
    assert "step 20: 2 of 3 questions seen" in figure.get_suptitle()
    drift = figure.axes[1].collections[0]
    assert drift.get_array()[0].tolist() == [1, 0.5] and drift.get_array()[-1].tolist() == [0, 0.5]
    assert drift.get_coordinates()[0, :, 0].tolist() == [0, 10, 20]


def test_a_heat_map_begins_where_the_looks_began():
    for steps, edges in (([5], [0, 5]), ([30, 40], [20, 30, 40])):
        axes = frontier_figure(
            np.ones(1), np.ones(1, bool), np.ones(1), steps, np.ones((len(steps), 20))
        ).axes[1]
        assert axes.collections[0].get_coordinates()[0, :, 0].tolist() == edges


def test_bad_cadence():
    with pytest.raises(ValueError, match=r"frontier\.every_steps"):
        FrontierImages(every_steps=0)
