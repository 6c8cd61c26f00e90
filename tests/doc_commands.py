"""The documentation's commands and configurations, parsed by the parser that users meet.

Nothing is run: a parser stops where the work would begin. Parsing takes half a second each time, so
commands that share their configurations and set different things are parsed as one.
"""

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from doc_blocks import PAGES, ROOT, blocks, commands, named_files, page_id, unnamed_yaml

from fgexpo.catalogue.shipped import find_config
from fgexpo.cli import front, options, plan, profile, study
from fgexpo.cli.command_line import COMMANDS
from fgexpo.cli.fit import FGExpoCLI
from fgexpo.cli.gguf_source import MAGIC
from fgexpo.cli.imports import restrict_imports
from fgexpo.errors import UserError
from fgexpo.outside.parser import Parser, making

# Programs of others, whose arguments are their own business.
OTHERS = {"pip", "python3", "tensorboard", "wandb", "mlflow", "source", "set", ".", "cd", "sbatch"}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
NO_VALUES = ("--print_config",)
# Any text will do for these, so that two commands may differ in them.
FREE = {"model.name", "ckpt_path", "data.root", "trainer.logger.name"}


class ParseOnly(FGExpoCLI):
    """The command line up to the point where objects are made."""

    def before_instantiate_classes(self):
        """Nothing."""

    def instantiate_classes(self):
        """Nothing."""

    def _run_subcommand(self, subcommand):
        """Nothing."""

    def _set_seed(self):
        """Nothing."""


# Commands that take all options of `fit` beside their own.
WITH_FLAGS = {"plan": plan.read_request, "profile": profile.read_request}


class Parsed(Exception):
    """The arguments of a command of this project's own were accepted."""


@dataclass
class Job:
    """One parse of ``fit``, ``validate``, ``test`` or ``predict``.

    Attributes:
        command: which of them.
        configs: in order.
        rest: all other arguments.
        keys: what these set.
        places: the pages and commands that it stands for.
    """

    command: str
    configs: list[str]
    rest: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)

    def joins(self, other):
        """Whether both can be parsed as one."""
        return (self.command, self.configs) == (other.command, other.configs) and not any(
            f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.")
            for a in self.keys - FREE
            for b in other.keys - FREE
        )

    def join(self, other):
        """Take the other's arguments too."""
        self.rest += other.rest
        self.keys |= other.keys
        self.places += other.places

    @property
    def arguments(self):
        """As a command line."""
        given = [word for config in self.configs for word in ("--config", config)]
        return [self.command, *given, *self.rest]


def config_file(given):
    """One spelling for every way to name a configuration; a run's own stands for the demo's."""
    path = Path(find_config("tiny" if given.startswith("runs/") else given))
    return str(path.resolve()) if path.exists() else given


def job_of(command, arguments, place):
    """A command of Lightning's, with configurations apart from what is set beside them."""
    job = Job(command, [], places=[place])
    words = iter(arguments)
    for word in words:
        if not word.startswith("--"):
            raise UserError(f"{word!r} is no option")
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals and word not in NO_VALUES:
            value = next(words, None)
        if key == "config":
            job.configs.append(config_file(value))
        else:
            job.rest += [word] if equals or value is None else [word, value]
            job.keys.add(key)
    return job


def read(words, files, place):
    """The job of one simple command, or None if it is no work for the parser of a run.

    Raises:
        UserError: for a command that would be refused.
        AssertionError: for a program, file or target that is not known.
    """
    program, *rest = words
    if program in ("srun", "torchrun"):
        start = next(n for n, word in enumerate(words) if word in ("-m", "python"))
        after = words[start:] if words[start] == "python" else ["python", *words[start:]]
        return read(after, files, place)
    if program == "fgexpo" or rest[:2] == ["-m", "fgexpo"]:
        return read_own(rest if program == "fgexpo" else rest[2:], place)
    if program == "make":
        assert {word for word in rest if "=" not in word} <= TARGETS, f"no such target: {words}"
    elif program.endswith("python"):
        script = next((word for word in rest if word.endswith(".py")), None)
        known = script is not None and ((ROOT / script).exists() or script in files)
        assert known or rest[:1] == ["-m"], f"no such file: {words}"
    else:
        assert program in OTHERS, f"no such program: {words}"
    return None


def read_own(words, place):
    """The same for the arguments of ``fgexpo``."""
    command, *rest = words
    if command == "from_gguf":  # the file or package is the reader's
        Path("stand-in.gguf").write_bytes(MAGIC)
        words[1] = rest[0] = "stand-in.gguf"
    if command in WITH_FLAGS:
        command, rest = "fit", WITH_FLAGS[command](rest)[1]
    if command in front.LIGHTNINGS:
        return job_of(command, rest, place)
    if command == "options":
        options.main(rest)
    elif command in COMMANDS:
        answered = front.answer(words)
        if answered is not None:
            assert answered == 0, f"ended with {answered}: {words}"
            return None
        try:
            COMMANDS[command](rest)
        except Parsed:
            return None
        except SystemExit as end:  # of --help, or of an example that is printed
            assert not end.code, f"ended with {end.code}: {words}"
            return None
        raise AssertionError(f"nothing was parsed of {words}")
    else:
        assert front.answer(words) == 0, f"no such command: {words}"
    return None


def part_of(path, place):
    """The job of YAML that stands for a part of any configuration: it lies over ``tiny``."""
    found = yaml.safe_load(path.read_text())
    if found.keys() & {"arms", "launcher"}:  # of a study: its page has tests of its own
        return None
    keys = {
        f"{head}.{name}" if isinstance(value, dict) else head
        for head, value in found.items()
        for name in (value if isinstance(value, dict) else [None])
    }
    return Job("fit", [config_file("tiny")], ["--config", str(path)], keys, [place])


def collect(folder):
    """All jobs, and a sentence for each command that is refused already.

    Args:
        folder: where the files that pages name are written.
    """
    jobs, faults = [], []
    for page in PAGES:
        files = named_files(page)
        for name, text in files.items():
            (folder / name).write_text(text)
        for printed in re.findall(r" > (\S+\.yaml)", "".join(blocks(page, "bash"))):
            (folder / printed).touch()
        used = set()
        for environment, words in commands(page):
            place = f"{page_id(page)}: {' '.join(words)}"
            used |= {name for name in files if any(name in word for word in words)}
            missing = _own_modules(files, words) - set(_plugins(environment))
            if missing:
                faults.append(f"{place}: FGEXPO_PLUGINS lacks {', '.join(missing)}")
            try:
                jobs.append(read(words, files, place))
            except (UserError, AssertionError) as error:
                faults.append(f"{place}: {error}")
        for number, text in enumerate(unnamed_yaml(page)):
            path = folder / f"{page.stem}-{number}.yaml"
            path.write_text(text)
            jobs.append(part_of(path, f"{page_id(page)}: part {number}"))
        for name in files:
            if name.endswith(".yaml") and name not in used:
                jobs.append(Job("fit", [name], places=[f"{page_id(page)}: {name}"]))
    return [job for job in jobs if job is not None], faults


def joined(jobs):
    """As few jobs as possible that set the same things."""
    found = []
    for job in jobs:
        same = (
            each
            for each in found
            if (each.command, each.configs) == (job.command, job.configs)
            and (set(job.rest) <= set(each.rest) or each.joins(job))
        )
        home = next(same, None)
        if home is None:
            found.append(job)
        elif not set(job.rest) <= set(home.rest):
            home.join(job)
        else:
            home.places += job.places
    return found


def check(folder):
    """Parse everything in a folder of its own; print what is refused, and exit 1 if anything is."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    original = Parser.parse_args

    def parse_args(self, *arguments, **options):
        original(self, *arguments, **options)
        raise Parsed

    def read_study(*arguments, **options):
        raise Parsed

    Parser.parse_args = parse_args
    study.read_study = read_study
    restrict_imports()
    jobs, faults = collect(folder)
    os.environ["FGEXPO_PLUGINS"] = ",".join(sorted(path.stem for path in folder.glob("my_*.py")))
    restrict_imports()
    jobs = joined(jobs)
    parser = ParseOnly(["fit", "--config", "tiny"]).parser
    for job in jobs:
        try:
            with making("the configuration"):
                parser.parse_args(job.arguments)
        except (UserError, SystemExit) as error:
            faults.append(f"{error}\n    of {'; '.join(job.places)}")
    print("\n".join(faults))
    print(f"{len(jobs)} parses, {len(faults)} faults")
    raise SystemExit(bool(faults))


def _own_modules(files, words):
    """Modules of a page whose classes a command, or a file that it names, refers to."""
    told = " ".join(words)
    texts = [told, *(text for name, text in files.items() if name in told and ".yaml" in name)]
    found = set()
    for name, code in files.items():
        module = name.removesuffix(".py")
        if not name.startswith("my_") or module == name or "benchmarks/" in told:
            continue
        names = [module, *re.findall(r"^class (\w+)", code, re.MULTILINE)]
        if any(re.search(rf"\b{each}\b", text) for each in names for text in texts):
            found.add(module)
    return found


def _plugins(environment):
    return environment.get("FGEXPO_PLUGINS", "").split(",")
