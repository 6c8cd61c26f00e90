"""``fgexpo options [SLOT or CLASS]``: what can stand where, and the settings of each."""

import textwrap
from difflib import get_close_matches

from ..catalogue import Catalogue, ClassSource, Slot, find_slots, read_catalogue
from ..errors import UserError
from .plugins import plugins

WIDTH = 100


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
        print("\n\n".join(describe(catalogue, each) for each in classes))


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
    return "\n".join(
        [*rows, "", "fgexpo options SLOT, or the name of a class, shows the settings of each."]
    )


def describe(catalogue: Catalogue, found: ClassSource) -> str:
    """A class: its first line, and each setting with its type and default."""
    lines = [f"{found.name}: {found.summary}"]
    for setting in catalogue.settings(found.path):
        default = "" if setting.default is None else f" = {setting.default}"
        head = f"  {setting.name}: {setting.type}{default}"
        text = setting.help or "see the class"
        lines.append(head)
        lines.append(textwrap.fill(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(lines)
