"""The slots of a configuration: settings whose value is a class that can be swapped."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .source import Catalogue, ClassSource, Setting

COMMAND_LINE = "fgexpo.cli.fit"
MODULE = "fgexpo.policy.PolicyModule"
# Another package's classes, as the source writes them.
DATA, CALLBACK = "LightningDataModule", "Callback"


@dataclass(frozen=True)
class Slot:
    """A setting that takes an object.

    Attributes:
        key: as flags write it, such as ``model.loss``.
        base: what its classes are subclasses of, dotted.
        many: it takes a list.
    """

    key: str
    base: str
    many: bool = False

    def kinds(self, catalogue: Catalogue) -> list[ClassSource]:
        """The classes that can stand there, by name."""
        return sorted(catalogue.kinds(self.base), key=lambda each: each.name)


def find_slots(catalogue: Catalogue) -> list[Slot]:
    """All slots, outermost first, found by the annotations of the settings."""
    roots = [Slot("model", MODULE), Slot("data", DATA), *_keyed(catalogue)]
    found: dict[str, Slot] = {}
    for root in [*roots, Slot("trainer.callbacks", CALLBACK, many=True)]:
        # What a callback with a key of its own takes is found there.
        own = {kind.path for slot in found.values() for kind in slot.kinds(catalogue)}
        found[root.key] = root
        for kind in root.kinds(catalogue):
            if root.base != CALLBACK or kind.path not in own:
                for slot in _inside(catalogue, root.key, kind.path, (root.base,)):
                    found.setdefault(slot.key, slot)
    return list(found.values())


def object_setting(catalogue: Catalogue, setting: Setting) -> str | None:
    """The project's class that a setting takes an object of; None for plain values."""
    for word in re.findall(r"[A-Za-z_]\w*", setting.type):
        target = catalogue.resolve(setting.owner.rpartition(".")[0], word)
        if target is not None:
            return target
    return None


def _inside(catalogue: Catalogue, key: str, path: str, above: tuple[str, ...]) -> Iterator[Slot]:
    for setting in catalogue.settings(path):
        base = object_setting(catalogue, setting)
        if base is None or base in above:
            continue
        inner = f"{key}.{setting.name}"
        kinds = catalogue.kinds(base)
        if catalogue.is_abstract(base) or len(kinds) > 1 or setting.default == "None":
            yield Slot(inner, base, re.match(r"(list|dict)\[", setting.type) is not None)
        for kind in kinds:
            yield from _inside(catalogue, inner, kind.path, (*above, base))


def _keyed(catalogue: Catalogue) -> Iterator[Slot]:
    """The callbacks that have a key of their own, from the table that the command line reads."""
    spec = find_spec(COMMAND_LINE)
    assert spec is not None and spec.origin is not None
    for node in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "SLOTS":
            assert isinstance(node.value, ast.Dict)
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                assert isinstance(key, ast.Constant) and isinstance(value, ast.Tuple)
                name = ast.unparse(value.elts[0]).rpartition(".")[2]
                base = catalogue.resolve("fgexpo.callbacks", name)
                assert base is not None
                yield Slot(str(key.value), base)
