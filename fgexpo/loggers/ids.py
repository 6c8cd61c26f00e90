"""The ids that loggers give a run, kept in the run's folder so that a resumed run finds them."""

import json
from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError
from ..files import version_name, write_json
from ..outside import reading

FILE = "logger_ids.json"


def kept_id(folder: str | Path | None, kind: str) -> str | None:
    """The run's id in this kind of logger; None if the folder keeps none.

    Raises:
        UserError: when the file is damaged.
    """
    found = {} if folder is None else _read(Path(folder) / FILE)
    return found.get(kind)


def keep_id(folder: str | Path | None, kind: str, run_id: str) -> None:
    """Write the run's id beside those of other loggers."""
    if folder is None or kept_id(folder, kind) == run_id:
        return
    path = Path(folder) / FILE
    write_json(path, {**_read(path), kind: run_id})


def own_folder_of(
    save_dir: str | Path, name: str | None, version: int | str | None, folder: str | Path | None
) -> Path | None:
    """The folder that a logger's settings name; None if they leave it to the run."""
    if folder is not None:
        return Path(folder)
    return None if version is None else Path(save_dir) / (name or "") / version_name(version)


def need(package: str, logger: str) -> None:
    """Check that a logger's package is installed, without importing it.

    Raises:
        UserError: naming the extra to install.
    """
    if find_spec(package) is None:
        raise UserError(
            f"trainer.logger: {logger} needs the package {package}, which is not installed; "
            f"install the extra fgexpo[{package}]"
        )


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with reading(path, "the ids of a run's loggers (JSON)"):
        return {str(kind): str(run_id) for kind, run_id in json.loads(path.read_text()).items()}
