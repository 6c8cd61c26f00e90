"""Mistyped settings, found before anything heavy is imported.

Flags and configurations are compared with the classes' own settings, as the source has them. Only
what is certainly wrong is refused here; all else is left to the parser.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from ..catalogue import Catalogue, Setting, find_slots, object_setting, read_catalogue
from ..catalogue.nodes import plain_document
from ..catalogue.shipped import find_configs, shipped_configs
from ..errors import UserError, several
from .plugins import ALLOWED, PLUGINS_VARIABLE, plugins

# Lightning's own keys, beside the slots.
ROOTS = (
    *("config", "c", "print_config", "seed_everything", "trainer", "model", "data", "optimizer"),
    *("lr_scheduler", "ckpt_path", "weights_only", "verbose", "return_predictions", "dataloaders"),
    *("steps", "budget", "prepare", "help", "h"),
)
WRAPPER = ("class_path", "init_args", "dict_kwargs", "help")
DEFAULTS = {
    "model": "fgexpo.module.GRPOModule",
    "data": "fgexpo.datamodules.curriculum.CurriculumDataModule",
}
TRAINER = "pytorch/trainer/trainer.py"
MANY = 20  # names listed


def check_keys(arguments: Sequence[str]) -> None:
    """Check every flag, and every key of every configuration that the flags name.

    Raises:
        UserError: with a line for each mistake: where it is, the setting, what there is instead.
    """
    faults = find_faults(arguments)
    if faults:
        raise UserError(several(faults))


def find_faults(arguments: Sequence[str]) -> list[str]:
    """What :func:`check_keys` refuses, a sentence for each mistake."""
    keys = _Keys(read_catalogue())
    for option, value in _pairs(find_configs(arguments)):
        if option in ("config", "c"):
            if isinstance(value, str):
                keys.read_file(value)
        elif not option.endswith(".help") and option.split(".")[0] not in ("help", "h"):
            keys.read_flag(option, value)
    return keys.faults


class _Keys:
    """Walks through settings in the order in which they apply, and keeps what is wrong.

    Attributes:
        faults: one sentence each.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.slots = {slot.key: slot for slot in find_slots(catalogue)}
        self.faults: list[str] = []
        # The class that stands at a key; None if that is not known for certain.
        self._chosen: dict[str, str | None] = dict(DEFAULTS)

    def read_flag(self, option: str, value: str | None) -> None:
        """A flag without its dashes, such as ``model.loss.clip_low``."""
        head, *rest = option.rstrip("+").split(".")
        tree: Any = value
        for part in reversed(rest):
            tree = {(part, None): tree}
        self._root(f"--{option}", head, tree)

    def read_file(self, path: str) -> None:
        """A configuration; one that cannot be read is left to the parser."""
        if set(path) & set("{}:\n"):  # settings instead of a file
            return
        if not Path(path).exists():
            near = get_close_matches(path.removesuffix(".yaml"), shipped_configs(), 1, 0.5)
            meant = f"; did you mean {near[0]}?" if near else ""
            self.faults.append(
                f"--config: {path!r} is neither a file, seen from {Path.cwd()}, nor the name of a "
                f"configuration that comes with fgexpo{meant}"
            )
            return
        node = plain_document(path)
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            where = f"{path}:{key.start_mark.line + 1}"
            if isinstance(key, yaml.ScalarNode):
                self._root(where, key.value, _tree(value), path)

    def _root(self, where: str, key: str, tree: Any, path: str | None = None) -> None:
        known = {*ROOTS, *(slot.split(".")[0] for slot in self.slots)}
        if key in ("fit", "validate", "test", "predict"):  # a saved configuration of a subcommand
            return
        if key not in known:
            self._unknown(where, key, key, known, "setting")
        elif key == "trainer" and isinstance(tree, dict):
            allowed = {*_trainer_settings(), *WRAPPER}
            for (name, line), _ in tree.items():
                if name not in allowed and len(allowed) > len(WRAPPER):
                    self._unknown(_at(where, path, line), f"trainer.{name}", name, allowed, "flag")
        elif key in self.slots and key != "trainer":
            self._object(where, path, key, self.slots[key].base, tree)

    def _object(self, where: str, path: str | None, key: str, base: str, tree: Any) -> None:
        """A place where an object stands: the name of a class, or settings."""
        if isinstance(tree, str):
            self._choose(where, key, base, tree)
            return
        if not isinstance(tree, dict):
            return
        parts = {name: (line, value) for (name, line), value in tree.items()}
        if "class_path" in parts:
            line, name = parts["class_path"]
            if isinstance(name, str):
                self._choose(_at(where, path, line), key, base, name)
        chosen = self._chosen.get(key, self._only(base))
        inner = parts["init_args"][1] if isinstance(parts.get("init_args", (0, 0))[1], dict) else {}
        flat = {item: value for item, value in tree.items() if item[0] not in WRAPPER}
        if path is not None and "class_path" in parts and flat:
            (name, line), *_ = flat
            self.faults.append(
                f"{_at(where, path, line)}: {key}.{name} stands beside class_path; put it under "
                "init_args"
            )
            return
        if chosen is not None:
            for (name, line), value in [*flat.items(), *inner.items()]:
                self._setting(_at(where, path, line), path, key, chosen, name, value)

    def _setting(
        self, where: str, path: str | None, key: str, owner: str, name: str, value: Any
    ) -> None:
        settings = {each.name: each for each in self.catalogue.settings(owner)}
        if name not in settings:
            last = owner.rpartition(".")[2]
            self._unknown(where, f"{key}.{name}", name, settings, f"setting of {last}")
            return
        base = object_setting(self.catalogue, settings[name])
        if base is None or settings[name].type.startswith(("list", "dict")):
            return
        if "Literal" in settings[name].type and isinstance(value, str):
            return
        inner = f"{key}.{name}"
        if inner not in self._chosen:
            self._chosen[inner] = self._default(settings[name], base)
        self._object(where, path, inner, base, value)

    def _choose(self, where: str, key: str, base: str, name: str) -> None:
        """Note which class stands at a key."""
        self._chosen[key] = None
        if name in ("null", "None", "~", "") or name[0] in "{[" or Path(name).exists():
            return
        kinds = {each.name: each.path for each in self.catalogue.kinds(base)}
        package, _, last = name.rpartition(".")
        if last in kinds and (not package or package.split(".")[0] == "fgexpo"):
            self._chosen[key] = kinds[last]
        elif not package and not plugins():
            if name.isidentifier():
                self._unknown(where, key, name, kinds, "class")
        elif package and package.split(".")[0] not in (*ALLOWED, *_tops()):
            top = package.split(".")[0]
            self.faults.append(
                f"{where}: {key}: {name!r} is in the package {top!r}, which a configuration may "
                f"not name; set {PLUGINS_VARIABLE}={package} to let it in"
            )

    def _default(self, setting: Setting, base: str) -> str | None:
        """The class that stands there if none is named."""
        made = re.match(r"(\w+)\(", setting.default or "")
        if made is not None:
            return self.catalogue.resolve(setting.owner.rpartition(".")[0], made[1])
        return self._only(base)

    def _only(self, base: str) -> str | None:
        """The class of a setting that has no choice, such as ``model.lora``."""
        kinds = self.catalogue.kinds(base)
        return kinds[0].path if len(kinds) == 1 and kinds[0].path == base else None

    def _unknown(self, where: str, key: str, given: str, known: Any, what: str) -> None:
        near = get_close_matches(given, known, 1)
        shown = sorted(set(known) - set(WRAPPER))
        if near:
            there = f"did you mean {near[0]}?"
        elif what == "class" or len(shown) < MANY:
            there = f"there are {', '.join(shown)}"
        else:
            there = "see `fgexpo fit --help` and `fgexpo options`"
        place = where if where.startswith("--") else f"{where}: {key}"
        self.faults.append(f"{place}: no {what} is named {given!r}; {there}")


def _at(where: str, path: str | None, line: int | None) -> str:
    return where if path is None or line is None else f"{path}:{line}"


def _tree(node: yaml.Node) -> Any:
    """A node as text or as a mapping whose keys know their lines; None for all else."""
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.tag == "tag:yaml.org,2002:str" else None
    if isinstance(node, yaml.MappingNode):
        return {
            (key.value, key.start_mark.line + 1): _tree(value)
            for key, value in node.value
            if isinstance(key, yaml.ScalarNode)
        }
    return None


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Flags and their values, ``--a=b`` and ``--a b`` alike."""
    for text, after in pairwise([*arguments, ""]):
        if text.startswith("-") and not _is_number(text):
            option, equals, value = text.lstrip("-").partition("=")
            yield option, value if equals else (None if after.startswith("--") else after)


def _is_number(text: str) -> bool:
    return text[1:2].isdigit() or text[1:2] == "."


def _tops() -> set[str]:
    return {name.split(".")[0] for name in plugins()}


@cache
def _trainer_settings() -> frozenset[str]:
    """The trainer's own settings, from Lightning's source, which is not imported for it."""
    spec = find_spec("lightning")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder) / TRAINER
        if path.is_file():
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                    return frozenset(each.arg for each in node.args.kwonlyargs + node.args.args)
    return frozenset()
