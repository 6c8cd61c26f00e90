"""Answers that are right but not read are said once, with figures."""

import pytest
from helpers import fit, make_data, make_module, make_trainer

from fgexpo.questions import Question
from fgexpo.rewards import MathVerifier, Verdict, Verifier
from fgexpo.rewards.unread import unread, unread_warning


def count(*cases):
    golds, texts, verdicts = zip(*cases, strict=True)
    return unread([Question("", "", gold) for gold in golds], texts, verdicts)


NONE, RIGHT, WRONG = Verdict(False, None), Verdict(True, "7"), Verdict(False, "8")


def test_completions_that_end_in_the_right_number():
    assert count(("7", r"\boxed{7}", RIGHT), ("7", r"\boxed{8}, no, 7", WRONG)) == (2, 1, 0, 0)
    for gold, text in [
        ("7", "so it is 7."),
        ("7.0", "5 + 2 = 7"),
        ("1234", "in all 1,234 apples"),
        ("-3", "that is -3"),
        (r"\boxed{7}", "7"),
        ("0.5", "**0.50**"),
    ]:
        assert count((gold, text, NONE)) == (1, 0, 1, 1), (gold, text)
    for gold, text in [("7", "7 or 8"), ("7", "none"), ("x", "x = 7"), ("7", ""), ("1/2", "1/2")]:
        assert count((gold, text, NONE)) == (1, 0, 1, 0), (gold, text)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((100, 0, 97, 15), True),
        ((100, 0, 97, 4), False),  # may be by accident
        ((100, 60, 35, 10), False),  # learning goes on
        ((100, 60, 35, 15), True),
        ((100, 50, 0, 0), False),
        ((2, 0, 2, 0), False),
    ],
)
def test_when_it_is_said(counts, said):
    assert (unread_warning("box", counts) is not None) == said


def test_the_sentence():
    assert unread_warning("box", (200, 0, 194, 30)) == (
        "warning: 97% of completions have no box; 15% end in the right number without one and "
        "count as wrong; see model.verifier.reads and model.template"
    )


class Boxes(Verifier):
    """Finds no box; what it is asked about ends in the right number."""

    reads = "box"

    def verify(self, questions, texts):
        return [Verdict(False, None)] * len(texts)


@pytest.fixture
def all_end_right(monkeypatch):
    monkeypatch.setattr("fgexpo.rewards.unread._ends_right", lambda question, text: True)


SAID = "100% of completions have no box; 100% end in the right number"


def test_a_run_says_it_once(model_folder, tmp_path, caplog, all_end_right):
    trainer = {"limit_val_batches": 1.0, "val_check_interval": 1}
    fit(model_folder, tmp_path, 2, verifier=Boxes(), trainer=trainer)
    assert caplog.text.count(SAID) == 1


def test_an_evaluation_says_it(model_folder, tmp_path, caplog, all_end_right):
    module = make_module(model_folder, verifier=Boxes())
    make_trainer(tmp_path, 1).test(module, make_data(), verbose=False)
    assert caplog.text.count(SAID) == 1


def test_nothing_is_said_of_answers_that_are_just_wrong(model_folder, tmp_path, caplog):
    fit(model_folder, tmp_path, 1, verifier=MathVerifier())
    assert "of completions have no" not in caplog.text
