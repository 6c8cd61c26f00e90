"""Nothing that a configuration, a model folder, a checkpoint or a completion holds is run."""

import json

import pytest

from fgexpo.errors import UserError
from fgexpo.model.hf_folder import write_files
from fgexpo.model.loading import load_config, load_model, load_tokenizer
from fgexpo.questions import Question
from fgexpo.rewards import MathVerifier

EVIL = """
from pathlib import Path
from transformers import PretrainedConfig, PreTrainedModel

Path({mark!r}).touch()

class EvilConfig(PretrainedConfig):
    model_type = "evil"

class EvilModel(PreTrainedModel):
    config_class = EvilConfig
"""


@pytest.fixture
def evil_folder(tmp_path):
    """A model folder that brings code of its own, as hub repositories may."""
    (tmp_path / "evil.py").write_text(EVIL.format(mark=str(tmp_path / "executed")))
    classes = {
        "AutoConfig": "evil.EvilConfig",
        "AutoModelForCausalLM": "evil.EvilModel",
        "AutoTokenizer": ["evil.EvilConfig", None],
    }
    config = {"model_type": "evil", "architectures": ["EvilModel"], "auto_map": classes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": classes}))
    return tmp_path


@pytest.mark.parametrize("load", [load_config, load_model, load_tokenizer])
def test_a_model_folders_own_code_is_not_run(evil_folder, load):
    with pytest.raises(UserError, match=r"needs code of its own|tokenizer"):
        load(str(evil_folder))
    assert not (evil_folder / "executed").exists()


HOSTILE_ANSWERS = [
    "__import__('os').mkdir('MARK')",
    "1+__import__('os').mkdir('MARK')",
    "__import__('pathlib').Path('MARK').touch()",
    "exec('import os; os.mkdir(\"MARK\")')",
    "(lambda: open('MARK', 'w'))()",
    "\\text{__import__('os').mkdir('MARK')}",
    "$(touch MARK)",
    "`touch MARK`",
    "{{''.__class__.__mro__[1].__subclasses__()}}",
]


def test_an_answer_is_never_evaluated(tmp_path):
    mark = tmp_path / "executed"
    texts = [rf"\boxed{{{answer.replace('MARK', str(mark))}}}" for answer in HOSTILE_ANSWERS]
    verdicts = MathVerifier(timeout=5.0).verify([Question("", "", "1")] * len(texts), texts)
    assert not any(verdict.correct for verdict in verdicts)
    assert not mark.exists() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside.json", "/tmp/outside.json", "a/../../outside"])
def test_a_checkpoints_file_names_stay_in_their_folder(tmp_path, name):
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(ValueError, match="outside its folder"):
        write_files({name: "{}"}, folder)
    assert list(folder.iterdir()) == [] and not (tmp_path / "outside.json").exists()
