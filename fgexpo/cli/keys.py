"""A walk through settings in the order in which they apply, which keeps what is wrong with them."""

import re
import sys
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path

import yaml

from ..catalogue import Catalogue, Setting, find_slots
from ..catalogue.annotations import alternatives, choices, is_nan, kind, takes, wanted
from ..catalogue.foreign import trainer_settings
from ..catalogue.nodes import items, line_of, text_of
from .classes import Classes
from .hints import class_hint, meant, nearest, one_of, others_hint, places, setting_hint
from .plugins import ALLOWED, PLUGINS_VARIABLE, plugins

# Lightning's own keys, beside the slots, with their types; None for what is left to the parser.
ROOTS: dict[str, str | None] = {
    **dict.fromkeys(("config", "c", "print_config", "trainer", "model", "data", "optimizer")),
    **dict.fromkeys(("lr_scheduler", "ckpt_path", "weights_only", "verbose", "help", "h")),
    **dict.fromkeys(("return_predictions", "dataloaders")),
    "seed_everything": "bool | int",
    "steps": "int | None",
    "budget": "int | None",
    "prepare": "str | None",
}
COMMANDS = ("fit", "validate", "test", "predict")
FILES = (".yaml", ".yml", ".json")
WRAPPER = ("class_path", "init_args", "dict_kwargs", "help")
DEFAULTS = {
    "model": "fgexpo.module.GRPOModule",
    "data": "fgexpo.datamodules.curriculum.CurriculumDataModule",
}


class Keys:
    """Settings are told of one after another; see :meth:`root`.

    Args:
        catalogue: of the classes.
        beside: flags of the command's own, to be meant by a mistyped one.

    Attributes:
        faults: one sentence each.
        given: every setting that was given.
        chosen: the class that stands at a key; None if that is not known for certain.
    """

    def __init__(self, catalogue: Catalogue, beside: Iterable[str] = ()) -> None:
        self.catalogue = catalogue
        self.classes = Classes(catalogue)
        self.beside = [*beside]
        self.slots = {slot.key: slot for slot in find_slots(catalogue)}
        self.faults: list[str] = []
        self.given: set[str] = set()
        self.chosen: dict[str, str | None] = dict(DEFAULTS)
        self.trainer = {each.name: each for each in trainer_settings()}

    def copy(self) -> "Keys":
        """The same so far; what either is told of from now on, the other does not know."""
        other = copy(self)
        other.faults, other.given, other.chosen = [], {*self.given}, {**self.chosen}
        return other

    def root(self, where: str, key: str, node: yaml.Node | None, path: str | None = None) -> None:
        """A key of a configuration's first level, or of a flag.

        Args:
            where: a flag with its dashes, or file and line.
            key: its first part.
            node: its value.
            path: the file that has it; None for a flag.
        """
        known = {*ROOTS, *(slot.split(".")[0] for slot in self.slots)}
        self.given.add(key)
        if key in COMMANDS:  # a saved configuration of a subcommand
            return
        if key not in known:
            self._unknown(where, key, key, [*known, *self.beside], "setting", node)
        elif key == "trainer":
            for name, line, value in items(node):
                if name in self.trainer:
                    self.value(
                        _at(where, path, line), path, f"trainer.{name}", self.trainer[name], value
                    )
                elif self.trainer and name not in WRAPPER:
                    at = _at(where, path, line)
                    self._unknown(at, f"trainer.{name}", name, self.trainer, "flag", None)
        elif key in self.slots and (node is None or kind(node) != "null"):
            self._object(
                where, path, key, self.slots[key].base, node, ["null"] * (key not in DEFAULTS)
            )
        elif key in self.slots:
            self.chosen[key] = None
        elif ROOTS[key] is not None:
            setting = Setting(key, str(ROOTS[key]), "None", "", "fgexpo.cli.fit.FGExpoCLI")
            self.value(where, path, key, setting, node)

    def value(
        self, where: str, path: str | None, key: str, setting: Setting, node: yaml.Node | None
    ) -> None:
        """The value of a setting, which may be one or more objects."""
        self.given.add(key)
        if node is None:
            self._fault(where, key, "a value is missing, as in --key=value")
            return
        plain, lists, maps = self.classes.bases(setting)
        if isinstance(node, yaml.SequenceNode) and lists is not None:
            for number, item in enumerate(node.value):
                at = _at(where, path, line_of(item))
                self._object(at, path, f"{key}[{number}]", lists, item)
            return
        if isinstance(node, yaml.MappingNode) and plain is None and maps is not None:
            for name, line, item in items(node):
                self._object(_at(where, path, line), path, f"{key}.{name}", maps, item)
            return
        if isinstance(node, yaml.MappingNode) and plain is not None:
            self.chosen.setdefault(key, self.classes.default(setting, plain))
            self._object(where, path, key, plain, node)
            return
        if path is None and lists is not None and (where.endswith("+") or kind(node) == "map"):
            return  # of a list's last item, which only the parser knows
        objects = [base for base in (plain, lists, maps) if base is not None]
        others = " | ".join(
            each for each in alternatives(setting.type) if not self.classes.holds(setting, each)
        )
        if others and takes(others, node, strict=path is not None):
            if objects and kind(node) == "null":
                self.chosen[key] = None
            if is_nan(node) and "float" in alternatives(setting.type):
                self._fault(where, key, "a number is wanted, got nan")
        elif plain is not None and kind(node) == "str":
            self._choose(where, key, plain, node.value, _choices(setting.type))
        elif plain is None and maps is None and lists is not None and kind(node) == "str":
            if not Path(node.value).exists():
                self._fault(where, key, f"a list is wanted: write [{node.value}]")
        elif objects:
            names = [*sorted(self.classes.kinds(objects[0])), *_choices(setting.type)]
            more = "" if plain else "a list of " if lists else "a mapping of names to "
            told = f"expected {more}{one_of(names)}, got {text_of(node)!r}"
            self._fault(where, key, told)
        else:
            self._wrong(where, key, setting, node)

    def _wrong(self, where: str, key: str, setting: Setting, node: yaml.Node) -> None:
        """A value of a wrong type, or none of those that there are."""
        told = text_of(node)
        near = nearest(told, _choices(setting.type)) if kind(node) == "str" else None
        hint = f"; did you mean {near}?" if near else ""
        self._fault(where, key, f"expected {wanted(setting.type)}, got {told!r}{hint}")

    def _object(
        self,
        where: str,
        path: str | None,
        key: str,
        base: str,
        node: yaml.Node | None,
        others: Sequence[str] = (),
    ) -> None:
        """A place where an object stands: the name of a class, or settings."""
        if isinstance(node, yaml.ScalarNode) and kind(node) in ("str", "int", "float", "bool"):
            self._choose(where, key, base, node.value, others)
            return
        parts = {name: (line, value) for name, line, value in items(node)}
        if "class_path" in parts:
            line, named = parts["class_path"]
            if kind(named) == "str":
                self._choose(_at(where, path, line), key, base, named.value)
        chosen = self.chosen.get(key, self.classes.only(base))
        inner = items(parts["init_args"][1]) if "init_args" in parts else []
        flat = [item for item in items(node) if item[0] not in WRAPPER]
        if path is not None and "class_path" in parts and flat:
            name, line, _ = flat[0]
            told = "stands beside class_path; put it under init_args"
            self.faults.append(f"{_at(where, path, line)}: {key}.{name} {told}")
        elif chosen is not None:
            for name, line, value in [*flat, *inner]:
                self._setting(_at(where, path, line), path, key, base, chosen, name, value)
        else:
            self.given |= {f"{key}.{name}" for name, _, _ in [*flat, *inner]}

    def _setting(
        self,
        where: str,
        path: str | None,
        key: str,
        base: str,
        owner: str,
        name: str,
        value: yaml.Node,
    ) -> None:
        known = self.classes.settings(owner)
        if known is None:
            return
        settings = {each.name: each for each in known}
        full = f"{key}.{name}".lstrip(".")
        if name in settings:
            self.value(where, path, full, settings[name], value)
        else:
            last = owner.rpartition(".")[2]
            others = [
                kind
                for kind, path_ in self.classes.kinds(base).items()
                if any(each.name == name for each in self.classes.settings(path_) or [])
            ]
            what = f"setting of {last}"
            self._unknown(where, full, name, settings, what, value, others)

    def missing(self) -> Iterable[tuple[str, Setting]]:
        """Settings that a class needs and that nothing gives."""
        for key, path in self.chosen.items():
            parent, _, name = key.rpartition(".")
            above = self.chosen.get(parent)
            if path is None or (parent and not above):
                continue
            if above and all(each.name != name for each in self.classes.settings(above) or []):
                continue
            for setting in self.classes.settings(path) or []:
                full = f"{key}.{setting.name}"
                if setting.default is None and full not in self.given and setting.name != "seed":
                    yield full, setting

    def _choose(
        self, where: str, key: str, base: str, name: str, others: Sequence[str] = ()
    ) -> None:
        """Note which class stands at a key."""
        self.chosen[key] = None
        if name in ("", "~") or name[0] in "{[" or Path(name).exists():
            return
        if name.endswith(FILES):  # a file of settings, which is looked for beside its configuration
            return
        kinds = self.classes.kinds(base)
        package, _, last = name.rpartition(".")
        top = package.split(".")[0]
        if not re.fullmatch(r"[\w.]+(\(.*\))?", name):
            told = f"{name!r} is neither the name of a class nor settings, as in key: value"
            self._fault(where, key, told)
            return
        called = re.fullmatch(r"([\w.]+)\((.*)\)", name)
        if called is not None and called[1].rpartition(".")[2] in kinds:
            settings = self.classes.settings(kinds[called[1].rpartition(".")[2]]) or []
            first = settings[0].name if settings else "name"
            self._fault(
                where,
                key,
                f"{name!r} is no name of a class; settings have their names: "
                f"{{class_path: {called[1]}, init_args: {{{first}: {called[2] or '...'}}}}}",
            )
        elif last in kinds and (not package or top in ALLOWED or kinds[last] == name):
            self.chosen[key] = kinds[last]
        elif self.classes.only(base) and not nearest(name, kinds):
            inner = [each.name for each in self.classes.settings(base) or []]
            told = f"expected settings ({', '.join(inner)}){' or null' * ('null' in others)}"
            self._fault(where, key, f"{told}, got {name!r}")
        elif (not package and not plugins()) or top == "fgexpo":
            self._unknown(where, key, name, [*others, *kinds], "class", None)
        elif package and top not in (*ALLOWED, *(each.split(".")[0] for each in plugins())):
            told = f"{name!r} is in the package {top!r}, which a configuration may not name"
            way = f"; set {PLUGINS_VARIABLE}={package} to let it in"
            self._fault(where, key, told + way * (top not in sys.stdlib_module_names))

    def _unknown(
        self,
        where: str,
        key: str,
        given: str,
        known: Iterable[str],
        what: str,
        value: yaml.Node | None,
        others: Iterable[str] = (),
    ) -> None:
        """A name that there is not; with what was meant, or what there is."""
        known = sorted({*known} - {*WRAPPER})
        owner = what.rpartition(" of ")[2]
        if what == "class":
            hint = class_hint(given, known)
        elif others := list(others):
            hint = others_hint(others, owner, known)
        else:
            near = meant(given, known, {} if key.count(".") > 1 else self._places())
            if near and "." in near and where.startswith("--"):
                near += "".join(f".{name}" for name, _, _ in items(value)[:1])
            hint = setting_hint(near, None if owner == what else owner, known)
        self._fault(where, key, f"no {what} is named {given!r}; {hint}")

    def _places(self) -> dict[str, list[str]]:
        """Where settings are, by the last part of their name."""
        found = places(self.catalogue, self.slots.values(), self.chosen)
        for slot in self.slots:
            found.setdefault(slot.rpartition(".")[2], []).insert(0, slot)
        return found

    def _fault(self, where: str, key: str, told: str) -> None:
        flag = where.lstrip("-").rstrip("+")
        if not where.startswith("--"):
            place = f"{where}: {key}"
        else:
            place = f"--{key}" if key.startswith(flag) else where
        self.faults.append(f"{place}: {told}")


def _choices(annotation: str) -> list[str]:
    found = [value for each in alternatives(annotation) for value in choices(each)]
    return [*found, *(["null"] if "None" in alternatives(annotation) else [])]


def _at(where: str, path: str | None, line: int | None) -> str:
    return where if path is None or line is None else f"{path}:{line}"
