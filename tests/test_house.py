"""The layout: imports run one way, the top of the package stays small, public names stay."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from import_graph import FLOOR, ROOT, circle, import_graph, sources, upward, wing_of, wings

FILES = sources()
GRAPH = import_graph(FILES)


def test_no_import_runs_in_a_circle():
    assert not circle(GRAPH)
    assert not circle(wings(GRAPH))


def test_no_import_runs_upwards():
    assert upward(GRAPH) == []
    assert {wing_of(name) for name in GRAPH if "." in name} == FLOOR.keys(), (
        "every wing has a floor"
    )


def test_such_imports_would_be_seen(tmp_path):
    """A lazy import, one for types alone and one of a whole package count as well."""
    package = tmp_path / "fgexpo"
    written = {
        "kl.py": "def f():\n    from .losses import x\n",
        "losses/__init__.py": "from .a import x\n",
        "losses/a.py": "if TYPE_CHECKING:\n    from ..module import M\n",
        "module.py": "from . import kl\n",
    }
    for name, text in written.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    graph = import_graph(sources(tmp_path))
    assert graph == {
        "fgexpo.kl": {"fgexpo.losses"},
        "fgexpo.losses": {"fgexpo.losses.a"},
        "fgexpo.losses.a": {"fgexpo.module"},
        "fgexpo.module": {"fgexpo.kl"},
    }
    assert set(circle(graph)) == graph.keys()
    assert upward(graph) == ["fgexpo.kl -> fgexpo.losses", "fgexpo.losses.a -> fgexpo.module"]


def test_the_pure_wings_know_torch_and_each_other_alone():
    pure = {"advantages", "allocation", "curriculum", "losses"}
    ground = {"errors", "groups", "questions", "running_sum", "seeding", "types"}
    for wing in pure:
        assert wings(GRAPH)[wing] <= pure | ground, wing


def test_callbacks_and_data_modules_do_not_know_each_other():
    found = wings(GRAPH)
    assert "datamodules" not in found["callbacks"] and "callbacks" not in found["datamodules"]


def test_nobody_below_the_command_line_knows_the_module():
    """What a step needs of it is handed over as values, or named by a protocol."""
    knowing = {wing_of(name) for name, imported in GRAPH.items() if "fgexpo.module" in imported}
    assert knowing == {"cli"}
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arg) and node.annotation is not None:
                assert "GRPOModule" not in ast.unparse(node.annotation), path


def test_the_top_of_the_package_is_small():
    assert len(list((ROOT / "fgexpo").glob("*.py"))) <= 16


@pytest.mark.parametrize("folder", ["fgexpo", "callbacks", "datamodules"])
def test_files_hold_one_concept(folder):
    for path in (ROOT / folder).rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 320, path


# Names that others build on.
PUBLIC = [
    "fgexpo.kl.tanh_scale",
    "fgexpo.advantages.group_advantages",
    "fgexpo.advantages.AdvantageEstimator",
    "fgexpo.losses.grpo_loss",
    "fgexpo.losses.PolicyLoss",
    "fgexpo.losses.Clipped",
    "fgexpo.losses.LossSettings",
    "fgexpo.losses.KLPenalty",
    "fgexpo.losses.Correction",
    "fgexpo.curriculum.gaussian_weights",
    "fgexpo.curriculum.PassRateTable",
    "fgexpo.curriculum.Curriculum",
    "fgexpo.rewards.grade",
    "fgexpo.rewards.MathVerifier",
    "fgexpo.rewards.Verifier",
    "fgexpo.rewards.Reward",
    "fgexpo.metrics.pass_at_k",
    "fgexpo.questions.Question",
    "fgexpo.tasks.QuestionFile",
    "fgexpo.tasks.QuestionSource",
    "fgexpo.tasks.benchmarks.Benchmark",
    "fgexpo.errors.UserError",
    "fgexpo.templates.Template",
    "fgexpo.callbacks.AKLCallback",
    "fgexpo.callbacks.KLController",
    "fgexpo.datamodules.CurriculumDataModule",
    "fgexpo.module.GRPOModule",
    "fgexpo.rollout.RolloutEngine",
    "fgexpo.rollout.Sampling",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_stay(name):
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


def test_what_readme_imports_is_there():
    for module, names in re.findall(
        r"^from (fgexpo[\w.]*) import (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE
    ):
        for name in names.split(","):
            assert hasattr(importlib.import_module(module), name.strip()), (module, name)
