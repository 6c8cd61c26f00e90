"""``python -m fgexpo``."""

import importlib.util
import os
import sys

from .robustness.parent import end_with_parent

# Two busy-waiting OpenMP threads can be ten times slower than one; sleeping threads are not. A busy
# wait of about ten microseconds saves the cost of waking up between small operations.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def here() -> str:
    """The current folder; nothing if it was deleted, of which the command line tells."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def run() -> int:
    """Check that the package is installed, then hand over to the command line."""
    end_with_parent()
    # As `python -m` does: a plug-in may lie in the current folder.
    if not {"", here()} & set(sys.path):
        sys.path.insert(0, here())
    for needed in ("fgexpo.callbacks", "lightning", "transformers", "jsonargparse"):
        if importlib.util.find_spec(needed) is None:
            print(
                f"fgexpo is not installed for {sys.executable} ({needed} is missing): "
                "run `pip install -c constraints.txt -e .` in the project's root",
                file=sys.stderr,
            )
            return 2
    from .cli.allocator import keep_freed_memory
    from .cli.output import keep_going_without_output

    keep_going_without_output()
    keep_freed_memory()
    from .cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
