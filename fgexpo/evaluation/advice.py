"""What to change before training, where a profile is clear about it."""

from collections.abc import Mapping
from typing import Any

# Shares of completions, of questions and of groups from which on a line is worth reading.
MOST, MANY, FEW = 0.5, 0.25, 0.1


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
    if share["frontier"] and share["frontier"] < 1:
        said.append(
            f"start with these rates: --data.warm_start={rates}"
            if curriculum
            else f"--data.curriculum=Gaussian --data.warm_start={rates} asks the frontier most"
        )
    return said or ["nothing stands out: train"]
