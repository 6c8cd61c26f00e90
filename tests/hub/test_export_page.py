"""The commands of docs/export.md are ones that the command line takes, and do what it says."""

import re
import shlex
from pathlib import Path

import pytest
from processes import in_folder, start, wait

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
SHORT = [
    *("--steps=1", "--prepare=null", "--data.questions_per_step=4", "--model.group_size=2"),
    *("--model.mini_batch_questions=4", "--model.evaluation.rollouts=2"),
    *("--model.evaluation.ks=[1,2]", "--data.val.tiny.init_args.per_cell=1"),
]


@pytest.mark.slow  # four commands, one after the other
def test_the_commands_run_as_they_stand(model_folder, tmp_path):
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    test, export, push = (shlex.split(line)[1:] for line in block.splitlines())

    def run(arguments):
        log = tmp_path / "log"
        process = start(
            in_folder, tmp_path, arguments, log=log, environment={"HF_HUB_OFFLINE": "1"}
        )
        (status,) = wait([process])
        return status, log.read_text()

    fitted = ["fit", "--config=tiny", f"--model.name={model_folder}", *SHORT]
    assert run(fitted)[0] == 0
    config = tmp_path / "runs" / "tiny" / "version_0" / "config.yaml"
    before = config.read_text()
    # Evaluated in the run's own folder, which keeps the configuration that it was trained by.
    last = ["validate", "--config=tiny", f"--model.name={model_folder}", *SHORT, "--ckpt_path=last"]
    status, out = run(last)
    assert status == 0 and "results: runs/tiny/version_0/validate-results.json" in out, out
    assert config.read_text() == before and config.with_name("validate-config.yaml").exists()
    status, out = run(test)
    assert status == 0 and "results: evaluations/" in out, out
    status, out = run(export)
    assert status == 0 and "scores: evaluations/" in out, out
    card = (tmp_path / "my-model" / "README.md").read_text()
    assert "model-index" in card and "| tiny |" in card and "| curriculum | `Gaussian(" in card
    status, out = run(push)
    assert status == 1 and out.count("\n") == 1 and "error: --push_to: " in out, out
    assert not (tmp_path / "pushed").exists()
