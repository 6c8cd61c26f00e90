"""``fgexpo options [SLOT or CLASS]``: what can stand where, and the settings of each."""

import textwrap
from collections.abc import Sequence
from difflib import get_close_matches

from ..catalogue import Catalogue, ClassSource, Setting, Slot, find_slots, plain, read_catalogue
from ..errors import UserError
from .plugins import PLUGINS_VARIABLE, plugins

WIDTH = 100
TAIL = "fgexpo options SLOT, or the name of a class, shows the settings of each."
OWN = textwrap.fill(
    "A class of your own can stand in any slot: subclass what the slot takes, in a module that can "
    f"be imported; name the module in the environment, {PLUGINS_VARIABLE}=my_module, and the class "
    "in the configuration, as those above.",
    WIDTH,
)


def main(arguments: list[str]) -> None:
    """Print the slots, the classes of one slot, or one class.

    Raises:
        UserError: for a name that is neither.
    """
    catalogue = read_catalogue(tuple(plugins()))
    slots = find_slots(catalogue)
    if not arguments:
        print(overview(catalogue, slots))
        return
    for name in arguments:
        slot = next((slot for slot in slots if slot.key == name), None)
        classes = slot.kinds(catalogue) if slot is not None else catalogue.named(name)
        if not classes:
            known = [slot.key for slot in slots] + [
                c.name for s in slots for c in s.kinds(catalogue)
            ]
            near = get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"options: no slot or class is named {name!r}{meant}")
        if slot is not None:
            print(
                f"{slot.key} takes {'a list or mapping of ' if slot.many else ''}"
                f"{slot.base.rpartition('.')[2]}:\n"
            )
        print("\n\n".join(page(catalogue, classes)))
        if slot is not None:
            print(f"\n{OWN}")


def overview(catalogue: Catalogue, slots: list[Slot]) -> str:
    """Every slot and the names of its classes."""
    wide = max(len(slot.key) for slot in slots) + 2
    rows = []
    for slot in slots:
        names = ", ".join(each.name for each in slot.kinds(catalogue))
        rows.append(
            textwrap.fill(
                names, WIDTH, initial_indent=f"{slot.key:{wide}}", subsequent_indent=" " * wide
            )
        )
    return "\n".join([*rows, "", TAIL, OWN])


def page(catalogue: Catalogue, classes: Sequence[ClassSource]) -> list[str]:
    """A paragraph for each class; settings that all of several share come last, once."""
    settings = [catalogue.settings(each.path) for each in classes]
    every = list(dict.fromkeys(one for own in settings for one in own))
    without = {
        one: [each.name for each, own in zip(classes, settings, strict=True) if one not in own]
        for one in every
    }
    # One class may have fixed a setting that the others share.
    shared = [one for one in every if len(without[one]) <= (len(classes) > 3) and len(classes) > 1]
    found = [
        describe(each, [one for one in own if one not in shared])
        for each, own in zip(classes, settings, strict=True)
    ]
    if shared:
        parts = [entry(one, "".join(f" (not {name})" for name in without[one])) for one in shared]
        found.append("\n".join(["All of them also take:", *parts]))
    return found


def describe(found: ClassSource, settings: Sequence[Setting]) -> str:
    """A class: its first line, and each setting with its type and default."""
    return "\n".join([f"{found.name}: {plain(found.summary)}", *map(entry, settings)])


def entry(setting: Setting, note: str = "") -> str:
    """A setting: its type and default, and below them what it is."""
    default = "" if setting.default is None else f" = {setting.default}"
    text = plain(setting.help)
    indent = " " * 6
    told = textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
    return f"  {setting.name}: {setting.type}{default}{note}" + (f"\n{told}" if told else "")
