"""What a checkpoint keeps of a model folder beside the weights, and writes again."""

import json
import shutil

import pytest
from helpers import fit
from transformers import GenerationConfig

from fgexpo.callbacks import ExportPolicy, RolloutCheckpoint
from fgexpo.cli.export import export
from fgexpo.model.hf_folder import write_model
from fgexpo.model.loading import load_model

# The first is refused by transformers' own saving: it does nothing without do_sample.
SAMPLING = {"temperature": 0.6, "top_p": 0.9, "eos_token_id": [1, 5]}


def test_a_generation_config_is_saved_as_it_came(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "m")
    (tmp_path / "m" / "generation_config.json").write_text(json.dumps(SAMPLING))
    with pytest.raises(ValueError, match="temperature"):
        GenerationConfig.from_pretrained(tmp_path / "m").save_pretrained(tmp_path / "refused")
    saver = RolloutCheckpoint(every_steps=1, dirpath=str(tmp_path))
    callbacks = [saver, ExportPolicy(str(tmp_path / "end"))]
    with pytest.warns(UserWarning, match="ordinary text to the tokenizer"):  # of token 5
        fit(str(tmp_path / "m"), tmp_path, 1, callbacks, trainer={"enable_checkpointing": True})
    export(str(tmp_path / "last.ckpt"), str(tmp_path / "exported"))
    for name in ("end", "exported"):
        saved = json.loads((tmp_path / name / "generation_config.json").read_text())
        assert {key: saved[key] for key in SAMPLING} == SAMPLING
        assert load_model(str(tmp_path / name)).generation_config.eos_token_id == [1, 5]


def test_other_files_are_what_transformers_writes(model_folder, tmp_path):
    module, _, _ = fit(model_folder, tmp_path, 1)
    files = module.archive.files(module.policy, module.prompts.tokenizer)
    write_model(files, module.policy.state_dict(), tmp_path / "ours")
    load_model(str(tmp_path / "ours"), "float64").save_pretrained(tmp_path / "theirs")
    for name in ("config.json", "generation_config.json"):
        ours, theirs = ((tmp_path / folder / name).read_text() for folder in ("ours", "theirs"))
        assert json.loads(ours) == json.loads(theirs), name
