"""A walk through settings in the order in which they apply, which keeps what is wrong with them."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from ..catalogue import Catalogue, Setting, find_slots
from ..catalogue.annotations import alternatives, choices, inside, is_nan, kind, takes, wanted
from ..catalogue.foreign import PACKAGES, foreign_kinds, foreign_settings, trainer_settings
from .hints import meant, nearest, places
from .nodes import items, line_of, text_of
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
WRAPPER = ("class_path", "init_args", "dict_kwargs", "help")
DEFAULTS = {
    "model": "fgexpo.module.GRPOModule",
    "data": "fgexpo.datamodules.curriculum.CurriculumDataModule",
}
# Names that a sentence lists.
MANY = 12


class Keys:
    """Settings are told of one after another; see :meth:`root`.

    Attributes:
        faults: one sentence each.
        given: every setting that was given.
        chosen: the class that stands at a key; None if that is not known for certain.
        last: of the class that stands there, although what was given last is wrong.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.slots = {slot.key: slot for slot in find_slots(catalogue)}
        self.faults: list[str] = []
        self.given: set[str] = set()
        self.chosen: dict[str, str | None] = dict(DEFAULTS)
        self.trainer = {each.name: each for each in trainer_settings()}

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
            self._unknown(where, key, key, known, "setting", node)
        elif key == "trainer":
            for name, line, value in items(node):
                if name in self.trainer:
                    self.value(
                        _at(where, path, line), path, f"trainer.{name}", self.trainer[name], value
                    )
                elif self.trainer and name not in WRAPPER:
                    at = _at(where, path, line)
                    self._unknown(at, f"trainer.{name}", name, self.trainer, "flag", None)
        elif key in self.slots and kind_of(node) != "null":
            self._object(where, path, key, self.slots[key].base, node)
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
        plain, lists, maps = self._bases(setting)
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
            self.chosen.setdefault(key, self._default(setting, plain))
            self._object(where, path, key, plain, node)
            return
        if path is None and lists is not None and (where.endswith("+") or kind(node) == "map"):
            return  # of a list's last item, which only the parser knows
        objects = [base for base in (plain, lists, maps) if base is not None]
        others = " | ".join(
            each for each in alternatives(setting.type) if not self._holds(setting, each)
        )
        if others and takes(others, node, strict=path is not None):
            if objects and kind(node) == "null":
                self.chosen[key] = None
            if is_nan(node) and "float" in alternatives(setting.type):
                self._fault(where, key, "a number is wanted, got nan")
        elif plain is not None and kind(node) == "str":
            self._choose(where, key, plain, node.value, [*_choices(setting.type)])
        elif plain is None and maps is None and lists is not None and kind(node) == "str":
            if not Path(node.value).exists():
                self._fault(where, key, f"a list is wanted: write [{node.value}]")
        elif objects:
            names = ", ".join(sorted(self._kinds(objects[0])))
            self._fault(where, key, f"expected one of {names}, got {text_of(node)!r}")
        else:
            self._wrong(where, key, setting, node)

    def _wrong(self, where: str, key: str, setting: Setting, node: yaml.Node) -> None:
        """A value of a wrong type, or none of those that there are."""
        told = text_of(node)
        there = _choices(setting.type)
        near = nearest(told, there) if there and kind(node) == "str" else None
        hint = f"; did you mean {near}?" if near else ""
        if kind(node) == "str" and takes(setting.type.replace("str", "Any"), node):
            hint = ""
        self._fault(where, key, f"expected {wanted(setting.type)}, got {told!r}{hint}")

    def _object(
        self, where: str, path: str | None, key: str, base: str, node: yaml.Node | None
    ) -> None:
        """A place where an object stands: the name of a class, or settings."""
        if isinstance(node, yaml.ScalarNode) and kind(node) in ("str", "int", "float", "bool"):
            self._choose(where, key, base, node.value)
            return
        parts = {name: (line, value) for name, line, value in items(node)}
        if "class_path" in parts:
            line, named = parts["class_path"]
            if kind(named) == "str":
                self._choose(_at(where, path, line), key, base, named.value)
        chosen = self.chosen.get(key, self._only(base))
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
        known = self.settings(owner)
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
                for kind, path_ in self._kinds(base).items()
                if any(each.name == name for each in self.settings(path_) or [])
            ]
            what = f"setting of {last}"
            self._unknown(where, full, name, settings, what, value, others)

    def settings(self, owner: str) -> list[Setting] | None:
        """The settings of a class; None if they are not known for certain."""
        if owner in self.catalogue.classes:
            return self.catalogue.settings(owner)
        return foreign_settings(owner)

    def missing(self) -> Iterable[tuple[str, Setting]]:
        """Settings that a class needs and that nothing gives."""
        for key, path in self.chosen.items():
            parent, _, name = key.rpartition(".")
            above = self.chosen.get(parent)
            if path is None or (parent and not above):
                continue
            if above and all(each.name != name for each in self.settings(above) or []):
                continue
            for setting in self.settings(path) or []:
                full = f"{key}.{setting.name}"
                if setting.default is None and full not in self.given and setting.name != "seed":
                    yield full, setting

    def _choose(
        self, where: str, key: str, base: str, name: str, others: Iterable[str] = ()
    ) -> None:
        """Note which class stands at a key."""
        self.chosen[key] = None
        if name in ("", "~") or name[0] in "{[" or Path(name).exists():
            return
        kinds = self._kinds(base)
        package, _, last = name.rpartition(".")
        top = package.split(".")[0]
        if not re.fullmatch(r"[\w.]+(\(.*\))?", name):
            told = f"{name!r} is neither the name of a class nor settings, as in key: value"
            self._fault(where, key, told)
            return
        called = re.fullmatch(r"([\w.]+)\((.*)\)", name)
        if called is not None and called[1].rpartition(".")[2] in kinds:
            settings = self.settings(kinds[called[1].rpartition(".")[2]]) or []
            first = settings[0].name if settings else "name"
            self._fault(
                where,
                key,
                f"{name!r} is no name of a class; settings have their names: "
                f"{{class_path: {called[1]}, init_args: {{{first}: {called[2] or '...'}}}}}",
            )
        elif last in kinds and (not package or top in ALLOWED):
            self.chosen[key] = kinds[last]
        elif (not package and not plugins()) or top == "fgexpo":
            self._unknown(where, key, name, [*others, *kinds], "class", None)
        elif package and top not in (*ALLOWED, *(each.split(".")[0] for each in plugins())):
            self._fault(
                where,
                key,
                f"{name!r} is in the package {top!r}, which a configuration may not name; set "
                f"{PLUGINS_VARIABLE}={package} to let it in",
            )

    def _kinds(self, base: str) -> dict[str, str]:
        """Dotted paths of the classes that can stand where this one is wanted, by name."""
        own = {each.name: each.path for each in self.catalogue.kinds(base)}
        return {**foreign_kinds(base), **own}

    def _bases(self, setting: Setting) -> tuple[str | None, str | None, str | None]:
        """Whose objects a setting takes: one, a list of them, or a mapping of names to them."""
        found: list[str | None] = [None, None, None]
        for each in alternatives(setting.type):
            for place, word in enumerate((each, inside(each), inside(each, ("dict", "Mapping")))):
                if word is not None and found[place] is None:
                    found[place] = self._base(setting, word)
        return found[0], found[1], found[2]

    def _base(self, setting: Setting, word: str) -> str | None:
        if word in PACKAGES:
            return word
        return self.catalogue.resolve(setting.owner.rpartition(".")[0], word)

    def _holds(self, setting: Setting, alternative: str) -> bool:
        return any(
            word is not None and self._base(setting, word) is not None
            for word in (alternative, inside(alternative), inside(alternative, ("dict", "Mapping")))
        )

    def _default(self, setting: Setting, base: str) -> str | None:
        """The class that stands there if none is named."""
        made = re.match(r"(\w+)\(", setting.default or "")
        if made is not None:
            return self.catalogue.resolve(setting.owner.rpartition(".")[0], made[1])
        return self._only(base)

    def _only(self, base: str) -> str | None:
        """The class of a setting that has no choice, such as ``model.lora``."""
        kinds = self._kinds(base)
        return base if list(kinds.values()) == [base] else None

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
            near = nearest(given, known)
            own = "" if near else f"; a class of your own needs {PLUGINS_VARIABLE}=its_module"
            hint = there_are(known, "there are", near) + own
        elif others := list(others):
            have = "has" if len(others) == 1 else "have"
            hint = f"{', '.join(others)} {have} it; {there_are(known, f'{owner} has')}"
        else:
            everywhere = {} if key.count(".") > 1 else self._places()
            near = meant(given, known, everywhere)
            if near and "." in near and where.startswith("--"):
                near += "".join(f".{name}" for name, _, _ in items(value)[:1])
            page = f"see `fgexpo options{f' {owner}' if owner != what else ''}`"
            short = owner != what and len(known) <= MANY
            listed = there_are(known, f"{owner} has", near) if short else page
            hint = listed if short or not near else f"did you mean {near}?"
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


def there_are(names: Iterable[str], verb: str, near: str | None = None) -> str:
    """What was meant, and what there is if that is not much."""
    names = list(names)
    told = f"{verb} {', '.join(names) or 'none'}"
    if near is None:
        return told
    return f"did you mean {near}?" + (f" {told[0].upper()}{told[1:]}" * (len(names) <= MANY))


def kind_of(node: yaml.Node | None) -> str:
    """:func:`kind`, of a flag without a value too."""
    return "" if node is None else kind(node)


def _choices(annotation: str) -> list[str]:
    return [value for each in alternatives(annotation) for value in choices(each)]


def _at(where: str, path: str | None, line: int | None) -> str:
    return where if path is None or line is None else f"{path}:{line}"
