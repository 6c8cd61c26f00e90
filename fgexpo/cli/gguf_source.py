"""Find a GGUF file by what a user gives: a file, a folder, an installed package."""

from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError

SUFFIX = ".gguf"
# A file begins with it.
MAGIC = b"GGUF"


def find_gguf(source: str) -> Path:
    """The one GGUF file that is meant; nothing is imported.

    Args:
        source: the file, a folder with one, or an installed package with one.

    Raises:
        UserError: when there is none, more than one, or the file is of another kind.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _checked(_only(f"the folder {source!r}", [path]))
    if path.is_file():
        return _checked(path)
    package = source.replace("-", "_")
    if path.suffix == SUFFIX or not package.isidentifier():
        raise UserError(f"SOURCE: there is no file or folder {source!r}")
    found = find_spec(package)
    if found is None:
        raise UserError(
            f"SOURCE: {source!r} is neither a file, nor a folder, nor an installed package"
        )
    folders = [Path(folder) for folder in found.submodule_search_locations or ()]
    return _checked(_only(f"the package {package!r}", folders))


def _only(where: str, folders: list[Path]) -> Path:
    found = sorted({path for folder in folders for path in folder.rglob(f"*{SUFFIX}")})
    if not found:
        raise UserError(f"SOURCE: {where} holds no {SUFFIX} file")
    if len(found) > 1:
        raise UserError(
            f"SOURCE: {where} holds {len(found)} {SUFFIX} files; name one of them, "
            f"such as {str(found[0])!r}"
        )
    return found[0]


def _checked(path: Path) -> Path:
    with path.open("rb") as file:
        begins = file.read(len(MAGIC))
    if begins != MAGIC:
        raise UserError(f"SOURCE: {str(path)!r} is not a GGUF file, which would begin with GGUF")
    return path
