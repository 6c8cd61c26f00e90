"""Numbers that are none: not a number is refused wherever a configuration has it."""

from typing import Any

from ..errors import UserError


def check_numbers(config: Any, where: str = "") -> None:
    """Check every number of a configuration, however deep.

    Args:
        config: mappings, lists and values.
        where: the setting that holds it.

    Raises:
        UserError: naming the first setting that is NaN.
    """
    if hasattr(config, "items"):
        for name, value in config.items():
            place = where if name == "init_args" else f"{where}.{name}".lstrip(".")
            check_numbers(value, place.replace(".init_args", ""))
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            check_numbers(value, f"{where}[{number}]")
    elif isinstance(config, float) and config != config:
        raise UserError(f"{where} must be a number, got nan")
