"""When a configuration names another class for a setting, only what someone chose is carried over.

The parser keeps the settings of the class that stood there wherever the new class takes them, its
defaults too: a verifier of one's own with a setting ``reads`` would get the default verifier's
``reads: box`` for its own default.
"""

from typing import Any

from jsonargparse import _typehints

_discard = _typehints.discard_init_args_on_class_path_change


def carry_only_choices() -> None:
    """Let the parser forget the defaults of a class that another one replaces."""
    _typehints.discard_init_args_on_class_path_change = _forgetting


def _forgetting(parser_or_action: Any, previous: Any, value: Any) -> None:
    if previous and "init_args" in previous and previous["class_path"] != value["class_path"]:
        settings, missing = previous["init_args"], object()
        parser = _typehints.ActionTypeHint.get_class_parser(previous["class_path"])
        for key, default in parser.get_defaults().items():
            if settings.get(key, missing) == default:
                settings.pop(key)
    _discard(parser_or_action, previous, value)
