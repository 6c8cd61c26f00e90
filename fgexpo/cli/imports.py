"""The one place that decides what YAML may import.

A dotted name in a configuration runs code. Only these packages may be named. Whoever starts the run
can add others through the environment; a configuration cannot.
"""

import importlib
import sys

from jsonargparse import set_parsing_settings

from ..errors import UserError
from ..outside.documents import bound_documents
from .plugins import ALLOWED, PLUGINS_VARIABLE, plugins

# Modules that configurations of earlier runs name, and where they are now.
FORMER = {
    "fgexpo.checkpoint": "fgexpo.robustness.checkpoint",
    "fgexpo.curricula": "fgexpo.curriculum.alternatives",
    "fgexpo.lora": "fgexpo.model.lora",
    "fgexpo.refill": "fgexpo.rollout.waves",
    "fgexpo.sharing": "fgexpo.curriculum.shared",
    "fgexpo.strategies": "fgexpo.parallel.fsdp2",
}


def restrict_imports() -> None:
    """Let configurations name only allowed packages, and import the plug-ins.

    Classes of imported plug-ins may be named without their module, like the project's own.

    Raises:
        UserError: when a plug-in cannot be imported.
    """
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*ALLOWED, *plugins()],
        # A study passes its settings on unparsed; elsewhere, a value must not create any object.
        instantiate_subclass_spec_in_any=False,
    )
    bound_documents()
    for former, now in FORMER.items():
        sys.modules.setdefault(former, importlib.import_module(now))
    for name in plugins():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise UserError(f"{PLUGINS_VARIABLE}: cannot import {name!r}: {error}") from error
