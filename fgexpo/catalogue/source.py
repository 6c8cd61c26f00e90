"""Classes of the project and the settings of each, from the syntax trees of its files."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from docstring_parser import parse


@dataclass(frozen=True)
class Setting:
    """One argument of a class.

    Attributes:
        name: as a configuration writes it.
        type: its annotation, as the source has it.
        default: as the source has it; None if it must be given.
        help: what the docstring says of it, in one line.
        owner: dotted path of the class that declares it.
    """

    name: str
    type: str
    default: str | None
    help: str
    owner: str = ""


@dataclass
class ClassSource:
    """One class, as its source describes it.

    Attributes:
        path: dotted, such as ``fgexpo.losses.clipped.Clipped``.
        bases: dotted where they are the project's, and as written otherwise.
        summary: first line of the docstring.
        settings: of its own ``__init__``, or its fields if it is a dataclass.
        passes_on: it takes further settings and hands them to its base.
        decorated: something, such as attrs, may give it settings that its source does not show.
        has_init: it has settings of its own; otherwise they are its base's.
        leaves: the methods that it leaves to its subclasses.
        methods: those that it has.
        fixed: settings of its base that it sets itself.
    """

    path: str
    bases: list[str]
    summary: str
    settings: list[Setting] = field(default_factory=list)
    passes_on: bool = False
    decorated: bool = False
    has_init: bool = False
    leaves: set[str] = field(default_factory=set)
    methods: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """Without its module."""
        return self.path.rpartition(".")[2]

    @property
    def module(self) -> str:
        """Without its name."""
        return self.path.rpartition(".")[0]


class Catalogue:
    """All classes of the project, by dotted path.

    Args:
        files: the file of each module.
        rest: what is known of all other modules.
    """

    def __init__(self, files: dict[str, Path], rest: "Catalogue | None" = None) -> None:
        self._names: dict[str, dict[str, str]] = dict(rest._names) if rest else {}
        self._aliases: dict[str, ast.expr] = dict(rest._aliases) if rest else {}
        self.classes: dict[str, ClassSource] = {}
        self._settings: dict[str, list[Setting]] = {}
        self._kinds: dict[str, list[ClassSource]] = {}
        trees = {name: ast.parse(path.read_text("utf-8")) for name, path in files.items()}
        for module, tree in trees.items():
            package = files[module].name == "__init__.py"
            self._names[module] = dict(_names(module, package, tree))
            self._aliases |= dict(_aliases(module, tree))
        for module, tree in trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    self.classes[f"{module}.{node.name}"] = self._class(module, node)
        if rest:
            self.classes |= rest.classes

    def _class(self, module: str, node: ast.ClassDef) -> ClassSource:
        bases = [
            self.resolve(module, ast.unparse(base)) or ast.unparse(base) for base in node.bases
        ]
        constants = dict(_assigned(node.body))
        documented = parse(ast.get_docstring(node) or "")
        helps = {p.arg_name: " ".join((p.description or "").split()) for p in documented.params}
        found = ClassSource(f"{module}.{node.name}", bases, documented.short_description or "")
        for part in node.body:
            if isinstance(part, ast.FunctionDef):
                decorators = {ast.unparse(each) for each in part.decorator_list}
                (found.leaves if "abstractmethod" in decorators else found.methods).add(part.name)
                if part.name == "__init__":
                    found.has_init = True
                    found.passes_on = part.args.kwarg is not None
                    found.settings = list(_arguments(part.args, helps, constants))
                    found.fixed = set(_fixed(part))
        decorated = [ast.unparse(each) for each in node.decorator_list]
        found.decorated = bool(decorated)
        if any(each.startswith("dataclass") for each in decorated):
            found.has_init, found.decorated = True, len(decorated) > 1
            found.passes_on = bool(bases)  # the fields of a base come first
            found.settings = list(_fields(node, helps))
        return found

    def resolve(self, module: str, name: str) -> str | None:
        """The dotted path of the project's class that a module knows by this name, if any."""
        seen = set()
        while (module, name) not in seen:
            seen.add((module, name))
            target = self._names.get(module, {}).get(name)
            if target is None:
                return None
            module, _, name = target.rpartition(".")
            if f"{module}.{name}" not in self._names and self._names.get(module, {}).get(name) == (
                f"{module}.{name}"
            ):
                return f"{module}.{name}"
        return None

    def choices(self, path: str, kind: str) -> str:
        """An annotation of a class's setting, with the values of a named choice written out."""
        module = path.rpartition(".")[0]
        for word in set(re.findall(r"\w+", kind)):
            values = self._alias(module, word)
            if values is not None:
                kind = re.sub(rf"\b{word}\b", ast.unparse(values), kind)
        return kind

    def _alias(self, module: str, name: str) -> ast.expr | None:
        """The choice of values that a module knows by this name, wherever it is defined."""
        seen = set()
        while (module, name) not in seen and f"{module}.{name}" not in self._aliases:
            seen.add((module, name))
            module, _, name = self._names.get(module, {}).get(name, "").rpartition(".")
        return self._aliases.get(f"{module}.{name}")

    def lineage(self, path: str) -> list[ClassSource]:
        """A class and its bases within the project, nearest first."""
        found = [self.classes[path]]
        for base in found[0].bases:
            if base in self.classes:
                found += [each for each in self.lineage(base) if each not in found]
        return found

    def settings(self, path: str) -> list[Setting]:
        """All settings of a class; those that it hands to its base come last."""
        if path in self._settings:
            return self._settings[path]
        found: dict[str, Setting] = {}
        fixed: set[str] = set()
        for each in self.lineage(path):
            for setting in each.settings:
                if setting.name in fixed:
                    continue
                written = replace(
                    setting, type=self.choices(each.path, setting.type), owner=each.path
                )
                found.setdefault(setting.name, written)
            fixed |= each.fixed
            if each.has_init and not each.passes_on:
                break
        return self._settings.setdefault(path, list(found.values()))

    def kinds(self, base: str) -> list[ClassSource]:
        """The classes that can stand where ``base`` is asked for, itself included.

        Args:
            base: a dotted path, or another package's class as the source writes it.
        """
        if base in self._kinds:
            return self._kinds[base]
        lines = {path: self.lineage(path) for path in self.classes}
        self._kinds[base] = [
            self.classes[path]
            for path, line in lines.items()
            if any(base in (each.path, *each.bases) for each in line)
            and not self.is_abstract(path)
            and not self.classes[path].name.startswith("_")
        ]
        return self._kinds[base]

    def is_abstract(self, path: str) -> bool:
        """Whether a method is left to subclasses, so that no object can be made of it."""
        left: set[str] = set()
        for each in reversed(self.lineage(path)):
            left = (left | each.leaves) - each.methods
        return bool(left)

    def named(self, name: str) -> list[ClassSource]:
        """Classes of this name, or of this dotted path as the project exports it."""
        module, _, last = name.rpartition(".")
        if module:
            path = self.resolve(module, last)
            return [] if path is None else [self.classes[path]]
        return [each for each in self.classes.values() if each.name == name]


def _names(module: str, package: bool, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a module's names stand for, dotted."""
    home = module.split(".") if package else module.split(".")[:-1]
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name, f"{module}.{node.name}"
        elif isinstance(node, ast.ImportFrom):
            start = home[: len(home) - node.level + 1] if node.level else []
            source = ".".join([*start, *filter(None, [node.module])])
            for alias in node.names:
                yield alias.asname or alias.name, f"{source}.{alias.name}"


def _aliases(module: str, tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """A module's names for a choice of values, such as ``Ratio = Literal["token", "sequence"]``."""
    for name, value in _assigned(tree.body):
        if isinstance(value, ast.Subscript) and ast.unparse(value.value) == "Literal":
            yield f"{module}.{name}", value


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Names that a module or a class gives to values."""
    for part in body:
        target = part.targets[0] if isinstance(part, ast.Assign) else getattr(part, "target", None)
        value = getattr(part, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            yield target.id, value


def _arguments(
    arguments: ast.arguments, helps: dict[str, str], constants: dict[str, ast.expr]
) -> Iterator[Setting]:
    positional = [*arguments.posonlyargs, *arguments.args][1:]
    missing = len(positional) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [None] * missing + list(arguments.defaults)
    for argument, default in zip(
        [*positional, *arguments.kwonlyargs], [*defaults, *arguments.kw_defaults], strict=True
    ):
        if isinstance(default, ast.Name):
            default = constants.get(default.id, default)
        yield _setting(argument.arg, argument.annotation, default, helps)


def _fixed(init: ast.FunctionDef) -> Iterator[str]:
    """What an ``__init__`` hands to its base as constants."""
    for node in ast.walk(init):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
            yield from (
                each.arg
                for each in node.keywords
                if each.arg and isinstance(each.value, ast.Constant)
            )


def _fields(node: ast.ClassDef, helps: dict[str, str]) -> Iterator[Setting]:
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield _setting(part.target.id, part.annotation, part.value, helps)


def _setting(
    name: str, annotation: ast.expr | None, default: ast.expr | None, helps: dict[str, str]
) -> Setting:
    kind = "" if annotation is None else ast.unparse(annotation)
    given = None if default is None else ast.unparse(default)
    return Setting(name, kind, given, helps.get(name, ""))


def plain(text: str) -> str:
    """A docstring's text without its markup: a role is the name that it links."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text)
    return text.replace("``", "`").replace("`", "")
