"""The page of one's own model, questions and reward works as it stands, on a small model."""

import re

import torch
from doc_blocks import DOCS, documented_tags, is_documented, named_files
from processes import in_folder, start, wait

from fgexpo.figures.events import read_run

ROOT = DOCS.parent
SHORT = [
    *("--steps=2", "--model.group_size=4", "--model.template=Plain", "--model.evaluation.ks=[1]"),
    *("--model.sampling.max_new_tokens=6", "--model.evaluation.sampling.max_new_tokens=6"),
    *("--model.evaluation.rollouts=1", "--data.questions_per_step=4", "--frontier=null"),
    "--model.max_prompt_tokens=64",
    "--model.template.stop_tokens=[]",
]


def test_the_page_works_and_every_tag_that_it_logs_is_in_the_table(model_folder, tmp_path):
    files = named_files(DOCS / "howto/own_run.md")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    made = start(_make_questions, tmp_path, log=tmp_path / "made")
    assert wait([made]) == [0], (tmp_path / "made").read_text()
    page = (DOCS / "howto/own_run.md").read_text()
    (command,) = re.findall(r"^fgexpo (fit --config mine.yaml --config cpu.yaml) +#", page, re.M)
    process = start(
        in_folder,
        tmp_path,
        [*command.split(), *SHORT, f"--model.name={model_folder}"],
        log=tmp_path / "log",
        environment={"FGEXPO_PLUGINS": "my_reward"},
    )
    assert wait([process]) == [0], (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    assert "4 questions x 4 rollouts" in said and "questions  320" in said
    (folder,) = (tmp_path / "runs/mine").glob("version_0")
    logged = {scalar.tag for scalar in read_run(folder).scalars}
    assert {"rewards/accuracy/mean", "rewards/brief/mean", "val/mine/pass@1"} <= logged
    assert not [tag for tag in sorted(logged) if not is_documented(tag)]


def test_every_tag_in_the_table_is_logged_by_some_code():
    code = "\n".join(
        path.read_text()
        for folder in ("fgexpo", "callbacks", "datamodules")
        for path in (ROOT / folder).rglob("*.py")
    )
    for tag in documented_tags():
        last = re.split(r"[/<>*]", tag.rstrip("/*>"))[-1].replace("@k", "@")
        assert last in code, tag


def test_the_rewards_of_the_pages_give_what_they_say():
    from fgexpo.questions import Question
    from fgexpo.rewards import Graded, Verdict

    def graded(text, length, correct):
        return Graded(Question("1", "?", "yes"), text, length, "stop", Verdict(correct, text))

    own, page = {}, {}
    exec(named_files(DOCS / "howto/own_run.md")["my_reward.py"], own)
    exec(named_files(DOCS / "howto/my_reward.md")["my_rewards.py"], page)
    rollouts = [graded("a\nb\nc", 64, True), graded("a", 512, True), graded("a", 1, False)]
    assert own["Brief"](limit=256).score(rollouts) == [0.75, 0.0, 0.0]
    texts = ["a b c", "a a b", "a"]
    assert page["Unrepeated"]().score([graded(text, 3, True) for text in texts]) == [1.0, 0.5, 1.0]
    asked = [Question("1", "?", "Yes"), Question("2", "?", "no"), Question("3", "?", "no")]
    verdicts = page["Exact"]().verify(asked, ["It is \\boxed{yes }.", "\\boxed{yes}", "no"])
    assert verdicts == [Verdict(True, "yes"), Verdict(False, "yes"), Verdict(False, None)]
    assert not page["Exact"](ignore_case=False).verify(asked[:1], ["\\boxed{yes}"])[0].correct


def test_the_rules_of_the_page_give_what_they_say():
    from fgexpo.curriculum import PassRateTable

    rules = {}
    exec(named_files(DOCS / "howto/my_rule.md")["my_rule.py"], rules)
    assert [rules["Step"](at=0.4)(accuracy) for accuracy in (0.0, 0.4, 1.0)] == [0.5, 1.0, 1.0]
    table = PassRateTable(3, decay=0.5)
    table.averages = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    weights_M = rules["Middle"]().weights(table)
    assert weights_M.tolist() == [0.1, 1.0, 0.1] and weights_M.dtype is torch.float64


def _make_questions(folder):
    import os
    import runpy

    os.chdir(folder)
    runpy.run_path("make_questions.py")
