"""The settings of a model that is not made yet, to find a bad one before its base is fitted."""

import importlib
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ..outside.parser import making


def make_settings(model: Any) -> Namespace:
    """Make what the model's settings name (sampling, loss, engine, ...), but not the model.

    Args:
        model: its part of the configuration, with ``class_path`` and ``init_args``.

    Returns:
        The settings, each as the model would get it; without its name.

    Raises:
        UserError: from the first class that refuses its settings.
    """
    module, _, name = model.class_path.rpartition(".")
    parser = ArgumentParser(exit_on_error=False)
    kind = getattr(importlib.import_module(module), name)
    parser.add_class_arguments(kind, "model", instantiate=False, skip={"name"})
    given = model.init_args.clone()
    given.pop("name", None)
    with making("model"):
        return parser.instantiate(Namespace(model=given)).model
