"""The versions of what a result depends on; cheap to import."""

from importlib.metadata import PackageNotFoundError, version

from .. import __version__

NAMED = ("torch", "lightning", "transformers", "vllm", "math-verify")


def versions() -> dict[str, str | None]:
    """The version of this package and of the libraries that matter; None if not installed."""
    found: dict[str, str | None] = {"fgexpo": __version__}
    for name in NAMED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
