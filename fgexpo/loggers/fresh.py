"""What a resumed run has not logged before."""

from collections.abc import Callable, Mapping
from typing import Any


def fresh(
    values: Mapping[str, Any], step: int | None, last: Callable[[str], int | None]
) -> dict[str, Any]:
    """The values whose tag has none at this step or a later one.

    A killed run repeats the steps after its last checkpoint when it resumes. Loggers that cannot
    change a value would show these steps twice.

    Args:
        values: by tag.
        step: the rollout step; None keeps all.
        last: the last step that earlier starts of the run logged under a tag, if there is one.
    """
    if step is None:
        return dict(values)
    steps = {tag: last(tag) for tag in values}
    return {tag: values[tag] for tag, before in steps.items() if before is None or step > before}
