"""The six benchmarks end to end: real files, real templates, a random model that knows nothing."""

import json
from pathlib import Path

import pytest
import torch
from processes import command_line, start, wait
from six_benchmarks import COUNTS, byte_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT.parent / "shared" / "data" / "benchmarks"


def byte_model(folder):
    """A random Qwen2 with one token a byte and room for the longest question."""
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16384,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.skipif(not BENCHMARKS.exists(), reason="the shared benchmarks are not here")
def test_all_questions_of_the_six_benchmarks_are_read_asked_and_scored(tmp_path):
    arguments = [
        *("test", "--config", str(ROOT / "configs" / "eval" / "six.yaml")),
        f"--model.name={byte_model(tmp_path / 'model')}",
        *(f"--data.root={BENCHMARKS}", "--data.questions_per_batch=64"),
        *("--model.evaluation.rollouts=2", "--model.evaluation.ks=[1,2]"),
        *("--model.evaluation.maj_ks=[2]", "--model.evaluation.sampling.max_new_tokens=2"),
        *("--model.max_prompt_tokens=8192", "--model.dtype=float32"),
        *("--trainer.accelerator=cpu", f"--trainer.logger.save_dir={tmp_path / 'runs'}"),
        f"--report.folder={tmp_path / 'report'}",
    ]
    done = wait([start(command_line, arguments, log=tmp_path / "log")], timeout=600)
    log = (tmp_path / "log").read_text()
    assert done == [0], log
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    found = {name: one["questions"] for name, one in results["benchmarks"].items()}
    assert found == COUNTS and sum(COUNTS.values()) == 1547
    for one in [*results["benchmarks"].values(), {"scores": results["mean"], "dropped": 0}]:
        assert one["dropped"] == 0
        assert one["scores"]["pass@2"]["mean"] <= 0.01
        assert one["scores"]["truncated_frac"]["mean"] > 0.9
        assert one["scores"]["mean_length"]["mean"] <= 2
    assert "olympiadbench" in log and "ends" in log
