"""What the command line answers before it imports anything heavy."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fgexpo import __version__
from fgexpo.advantages import AdvantageEstimator
from fgexpo.callbacks import KLController
from fgexpo.catalogue import find_slots, read_catalogue
from fgexpo.cli import main
from fgexpo.cli.fit import SLOTS
from fgexpo.cli.front import COMMANDS
from fgexpo.cli.typos import ROOTS, check_keys
from fgexpo.curriculum import Curriculum, Uniform
from fgexpo.errors import UserError
from fgexpo.losses import Clipped, PolicyLoss
from fgexpo.module import GRPOModule
from fgexpo.rewards import Reward

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
LIGHT = """
import sys
from fgexpo.cli import main
status = main({arguments})
assert not {{"torch", "lightning", "transformers", "jsonargparse"}} & set(sys.modules)
print(status, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "train a policy"),
        (["--version"], 0, f"fgexpo {__version__}, torch "),
        (["options"], 0, "Gaussian, HardFilter"),
        (["options", "model.loss"], 0, "clip_low: float = 0.2"),
        ([], 2, "usage: fgexpo COMMAND"),
        (["study", "--help"], 0, "usage: fgexpo study FILE"),
        (["study", "levrs"], 2, "did you mean studies/levers?"),
        (["fitt"], 2, "there is no command 'fitt'; did you mean 'fit'?"),
        (["fit", "--modle.name=x"], 2, "--modle.name: no setting is named 'modle'; did you mean"),
    ],
)
def test_it_is_said_without_a_heavy_import(arguments, status, said):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == str(status), done.stderr
    assert said in done.stdout + done.stderr


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    for name, (what, example) in COMMANDS.items():
        assert f"  {name} " in page and what in page and f"fgexpo {example}" in page


def classes_below(base):
    found = set(base.__subclasses__())
    for each in list(found):
        found |= classes_below(each)
    return found


@pytest.mark.parametrize(
    ("key", "base"),
    [
        ("model.loss", PolicyLoss),
        ("model.advantages", AdvantageEstimator),
        ("model.rewards", Reward),
        ("data.curriculum", Curriculum),
        ("akl", KLController),
    ],
)
def test_options_are_the_classes_that_there_are(key, base):
    """The source and what is imported tell of the same classes."""
    catalogue = read_catalogue()
    (slot,) = [slot for slot in find_slots(catalogue) if slot.key == key]
    ours = {
        each.__name__
        for each in classes_below(base)
        if each.__module__.startswith("fgexpo.") and not inspect.isabstract(each)
    }
    assert {each.name for each in slot.kinds(catalogue)} == ours


@pytest.mark.parametrize("kind", [Clipped, GRPOModule, Uniform])
def test_settings_are_those_that_the_class_takes(kind):
    found = {each.name for each in read_catalogue().settings(f"{kind.__module__}.{kind.__name__}")}
    own = inspect.signature(kind.__init__).parameters.values()
    wanted = {each.name for each in own if each.kind is not each.VAR_KEYWORD} - {"self", "args"}
    assert wanted <= found
    if kind is Clipped:
        assert {"kl_estimator", "entropy_coef"} <= found


@pytest.mark.parametrize(
    ("command", "config"), [("fit", "tiny"), ("test", "eval/tiny"), ("predict", "tiny")]
)
def test_the_roots_are_the_parsers(command, config, capsys):
    with pytest.raises(SystemExit):
        main([command, "--config", str(ROOT / f"configs/{config}.yaml"), "--print_config"])
    keys = set(yaml.safe_load(capsys.readouterr().out))
    assert SLOTS.keys() <= keys <= {*ROOTS, *SLOTS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shipped_config_passes(path):
    base = path.stem if path.parent.name == "smoke" and path.stem != "six" else "tiny"
    overlay = [] if path.parent.name == "studies" else ["--config", str(path)]
    check_keys(["--config", str(ROOT / f"configs/{base}.yaml"), *overlay])


def test_what_is_left_to_the_parser(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("model: {loss: {class_path: torch.nn.Linear, init_args: {anything: 1}}}\n")
    for arguments in (
        ["--config", str(own)],
        ["--model.loss=fgexpo.losses.Clipped", "--model.loss.clip_low", "-1"],
        ["--model.lora=null", "--trainer.devices=2", "--data.val.mine.path=x"],
        ["--data.curriculum=fgexpo.curricula.Uniform"],
        ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=1"],
        ["--model=SupervisedModule", "--model.help", "--print_config"],
        ["--akl", "TargetKL", "--akl.target", "0.5"],
    ):
        check_keys(arguments)


def test_mistakes_are_named_with_their_line_and_what_there_is(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("""model:
  group_sise: 4
  loss:
    clip_hihg: 0.3
data:
  curriculum: Gausian
akl: my_pkg.Mine
trainer: {device: 2}
""")
    with pytest.raises(UserError) as found:
        check_keys(["--config", str(own)])
    lines = [line.strip() for line in str(found.value).splitlines()]
    assert [line.partition(" There are ")[0].partition(" Clipped has ")[0] for line in lines] == [
        f"{own}:2: model.group_sise: no setting of GRPOModule is named 'group_sise'; did you mean "
        "group_size?",
        f"{own}:4: model.loss.clip_hihg: no setting of Clipped is named 'clip_hihg'; did you mean "
        "clip_high?",
        f"{own}:6: data.curriculum: no class is named 'Gausian'; did you mean Gaussian?",
        f"{own}:7: akl: 'my_pkg.Mine' is in the package 'my_pkg', which a configuration may not "
        "name; set FGEXPO_PLUGINS=my_pkg to let it in",
        f"{own}:8: trainer.device: no flag is named 'device'; did you mean devices?",
    ]


def test_a_class_that_is_chosen_later_has_its_own_settings(tmp_path):
    with pytest.raises(UserError, match="no setting of Uniform is named 'std'"):
        check_keys(["--data.curriculum=Uniform", "--data.curriculum.std=.2"])
    check_keys(
        ["--data.curriculum=Uniform", "--data.curriculum=Gaussian", "--data.curriculum.std=1"]
    )


def test_what_stands_beside_class_path_belongs_under_init_args(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("model:\n  advantages:\n    class_path: PassAtK\n    k: 2\n")
    with pytest.raises(UserError, match=r"own.yaml:4: model.advantages.k stands beside class_path"):
        check_keys(["--config", str(own)])
    check_keys(["--model.advantages={class_path: PassAtK, init_args: {k: 2}}"])


def test_options_know_plug_ins_and_what_a_class_fixes(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(
        "from fgexpo.losses import PolicyLoss\n\n\nclass Mine(PolicyLoss):\n"
        '    """Of my own."""\n\n    def policy_loss(self, ratio_NT, logp_NT, advantages_N):\n'
        "        return ratio_NT\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FGEXPO_PLUGINS", "mine")
    assert main(["options", "model.loss", "model.refill"]) == 0
    said = capsys.readouterr().out
    assert "Mine: Of my own." in said and "max_waves: int = 4" in said
    assert main(["options", "GSPO"]) == 0
    said = capsys.readouterr().out
    assert "low: float" in said and "entropy_coef" in said
    assert "ratio:" not in said and "aggregation:" not in said


def test_the_console_script_finds_a_plug_in_in_the_current_folder(tmp_path):
    (tmp_path / "mine.py").write_text("raise SystemExit(7)\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("fgexpo"), "fit", "--config", "tiny"],
        cwd=tmp_path,
        env={"FGEXPO_PLUGINS": "mine", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
