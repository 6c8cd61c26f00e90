"""Gold answers that cannot be graded are refused when they are read, by file and row."""

import json
import time

import pytest
from helpers import make_data, make_module, make_trainer

from fgexpo.errors import UserError
from fgexpo.questions import Question, Verdict
from fgexpo.rewards import MathVerifier, Verifier
from fgexpo.rewards.maths.golds import why_ungradable
from fgexpo.tasks import QuestionFile


@pytest.mark.parametrize(
    ("gold", "reason"),
    [
        ("9^{9^{9^9}}", "power"),
        ("10^{10000000}", "power"),
        ("(100!)!", "factorial"),
        ("1" * 500_000, "characters"),
        ("7" * 401, "digits"),
        ("(" * 41 + "1" + ")" * 41, "nested"),
        ("$ $", "nothing"),
        (r"\text{}", "nothing"),
        (".", "nothing"),
        (r"\frac{1}{", "braces"),
        ("1}{2", "braces"),
        ("5", None),
        (r"\{1,2\}", None),
        (r"\emptyset", None),
        (r"\text{east}", None),
        ("2^{1009}", None),
        (r"\frac{1}{2004!}", None),
    ],
)
def test_why_a_gold_answer_cannot_be_graded(gold, reason):
    found = why_ungradable(gold)
    assert found is None if reason is None else reason in (found or "")


def test_half_a_million_are_checked_in_seconds():
    started = time.process_time()
    for row in range(20_000):
        why_ungradable(rf"\frac{{{row}}}{{7}}\sqrt{{{row}}}")
    assert time.process_time() - started < 4


def write(path, golds):
    lines = [json.dumps({"prompt": f"{row} + 0", "answer": gold}) for row, gold in enumerate(golds)]
    path.write_text("\n".join(lines))
    return QuestionFile(str(path))


@pytest.mark.parametrize("option", ["train", "val"])
def test_file_and_row_are_named(model_folder, tmp_path, option):
    source = write(tmp_path / "mine.jsonl", ["1", "9^{9^{9^9}}", "2", "3"])
    data = make_data(**{option: source if option == "train" else {"mine": source}})
    module = make_module(model_folder, verifier=MathVerifier())
    with pytest.raises(UserError, match=r"mine\.jsonl: row 1, question '1'.*1 of 4"):
        make_trainer(tmp_path, 1).fit(module, data)


class OfTexts(Verifier):
    """Grades something else than mathematics."""

    def verify(self, questions, texts):
        return [Verdict(False, None)] * len(texts)


def test_another_verifier_decides_for_itself(model_folder, tmp_path):
    data = make_data(train=write(tmp_path / "mine.jsonl", ["x" * 2000] * 4))
    make_trainer(tmp_path, 1).fit(make_module(model_folder, verifier=OfTexts()), data)


HANGS = r"\sum_{k=1}^{10^9} \frac{1}{k^{2}} x"


def test_a_gold_answer_that_hangs_is_named_once_and_not_waited_for_again():
    verifier = MathVerifier(timeout=0.2, workers=1)
    asked = [Question("7", "", HANGS, file="mine.jsonl", row=3)] * 3
    with pytest.warns(UserWarning, match=r"mine\.jsonl: row 3, question '7'.*1 such so far"):
        assert verifier.verify(asked[:1], [r"\boxed{7x}"])[0].timed_out
    verifier._pool.close()
    again = verifier.verify(asked, [r"\boxed{8x}", r"\boxed{9x}", rf"\boxed{{{HANGS}}}"])
    assert [verdict.correct for verdict in again] == [False, False, True]
    assert again[0].timed_out and verifier._pool.workers == []


def test_an_answer_that_hangs_is_not_blamed_on_its_gold(recwarn):
    verifier = MathVerifier(timeout=1.0, workers=1)
    found = verifier.verify([Question("", "", "7x")], [rf"\boxed{{{HANGS}}}"])[0]
    assert found.timed_out and not verifier._hangs
    assert [str(w.message) for w in recwarn if "gold answer" in str(w.message)] == []
