"""What to change before training, where a profile is clear about it."""

from collections.abc import Mapping
from typing import Any

# Shares of completions, of questions and of groups from which on a line is worth reading.
MOST, MANY, FEW = 0.5, 0.25, 0.1
ENOUGH = 10  # questions of a kind; of fewer, one answer is soon the most common


def advise(
    found: Mapping[str, Any], max_new_tokens: int, rates: str, curriculum: bool
) -> list[str]:
    """A line for each thing that is clearly off, the most likely cause of the others first.

    Args:
        found: see :func:`.profile.profile`.
        max_new_tokens: of the sampling.
        rates: path of the file of pass-rates.
        curriculum: whether the run's curriculum looks at pass-rates.

    Returns:
        At least one line.
    """
    share = {name: score["mean"] for name, score in found["overall"].items()}
    said = []
    if share["truncated"] >= MANY:
        said.append(
            f"{share['truncated']:.0%} of completions are cut off at model.sampling.max_new_tokens "
            f"= {max_new_tokens}: raise it, or make the model stop (model.template: "
            "stop_tokens, or a prompt that asks for less)"
        )
    if found["unread_untruncated"] >= MOST:
        said.append(
            f"in {found['unread_untruncated']:.0%} of the completions that ended by themselves no "
            "answer was found: the prompt (model.template) does not ask for the form of answer "
            "that model.verifier reads; look at the examples"
        )
    if said:
        return said  # the rates say little before these are mended
    if share["signal"] < FEW or share["hopeless"] >= 1 - MANY or share["mastered"] >= 1 - MANY:
        hard = share["hopeless"] >= share["mastered"]
        what = "hard: take easier questions, or a stronger model" if hard else "easy"
        said.append(
            f"the pool is too {what}: {share['hopeless']:.0%} of the questions are hopeless, "
            f"{share['mastered']:.0%} mastered, and {share['signal']:.0%} of groups have a signal"
        )
    said += _guessable(found)
    if share["frontier"] and share["frontier"] < 1:
        said.append(
            f"start with these rates: --data.warm_start={rates}"
            if curriculum
            else f"--data.curriculum=Gaussian --data.warm_start={rates} asks the frontier most"
        )
    return said or ["nothing stands out: train"]


def _guessable(found: Mapping[str, Any]) -> list[str]:
    """A line if always giving one answer scores more than the model, for the worst such kind."""
    whole = {**found["overall"], "questions": found["questions"], "constant": found["constant"]}
    worst = max(
        (
            (each["constant"]["share"], kind, each["constant"]["answer"])
            for kind, each in {"the whole pool": whole, **found["by_tag"]}.items()
            if each["questions"] >= ENOUGH
            and each["constant"] is not None
            and each["constant"]["share"] >= max(MANY, each["pass@1"]["mean"])
        ),
        default=None,
    )
    if worst is None:
        return []
    share, kind, answer = worst
    return [
        f"always answering {answer[:40]!r} is right for {share:.0%} of {kind}, more often than the "
        "model is: a policy learns that before anything else; take questions with more answers"
    ]
