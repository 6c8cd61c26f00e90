"""Which packages a configuration may name."""

import os

PLUGINS_VARIABLE = "FGEXPO_PLUGINS"
ALLOWED = ("fgexpo", "lightning", "torch")


def plugins() -> list[str]:
    """Packages named in ``FGEXPO_PLUGINS``, comma-separated."""
    return [
        name.strip() for name in os.environ.get(PLUGINS_VARIABLE, "").split(",") if name.strip()
    ]
