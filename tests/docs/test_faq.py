"""Messages that the troubleshooting page quotes are those that the code gives."""

import pytest
from doc_blocks import DOCS

from fgexpo.callbacks import NoSignal
from fgexpo.checks.settings import check_answer_form, missing_answer_form
from fgexpo.errors import UserError
from fgexpo.rewards import MathVerifier
from fgexpo.rewards.unread import unread_warning
from fgexpo.robustness.out_of_memory import OutOfMemory, explain_micro_batches
from fgexpo.robustness.same_run import check_same_run
from fgexpo.templates import AnswerLine, Plain, PromptEncoder
from fgexpo.update.mismatch import EngineMismatch, MismatchAlarm

PAGE = (DOCS / "faq.md").read_text()


def quoted(message):
    """Whether the page has the beginning of a message, or all of it, in a block or in a table."""
    return any(
        message.startswith(line.removeprefix("error: ").rstrip().removesuffix("..."))
        for line in PAGE.splitlines()
        if len(line) > 40
    )


def test_refusals():
    with pytest.raises(UserError) as refused:
        check_same_run({"group_size": 8}, {"group_size": 16}, [])
    assert quoted(str(refused.value))
    with pytest.raises(UserError) as refused:
        check_answer_form(AnswerLine(), MathVerifier())
    assert quoted(str(refused.value))


def test_stops():
    with pytest.raises(EngineMismatch) as stopped:
        MismatchAlarm().check(0.31, 0.1)
    assert quoted(str(stopped.value))
    with pytest.raises(OutOfMemory) as stopped, explain_micro_batches("updating on", 16384):
        raise MemoryError("...")
    assert quoted(str(stopped.value))


def test_warnings(tokenizer):
    assert quoted(unread_warning("box", [100, 10, 93, 41]))
    prompts = PromptEncoder(tokenizer, Plain(), 64)
    assert quoted(missing_answer_form(prompts, MathVerifier()))


@pytest.mark.parametrize(
    "tag", ["reward/timeout_frac", "completions/clipped_ratio", "reward/no_answer_frac", "accuracy"]
)
def test_causes_of_no_signal(tag):
    from fgexpo.callbacks.no_signal import likely_cause

    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{tag}` above half")]
    assert likely_cause({tag: 0.6}).startswith(row.split("|")[2].strip())
    assert "too hard for this model" in likely_cause({tag: 0.4})


def test_it_says_after_how_many_steps():
    assert f"no group has had a signal for {NoSignal().steps} steps" in PAGE
