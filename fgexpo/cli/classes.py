"""Which classes can stand where, with their settings: the project's own and those of others."""

import re

from ..catalogue import Catalogue, Setting
from ..catalogue.annotations import alternatives, inside
from ..catalogue.foreign import PACKAGES, foreign_kinds, foreign_settings

# Types of mappings.
MAPS = ("dict", "Mapping")


class Classes:
    """Looks classes up by the annotations of settings."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue

    def settings(self, owner: str) -> list[Setting] | None:
        """The settings of a class; None if they are not known for certain."""
        if owner not in self.catalogue.classes:
            return foreign_settings(owner)
        line = self.catalogue.lineage(owner)
        others = {name for base in PACKAGES for name in foreign_kinds(base)}
        whole = any(each.has_init and not each.passes_on for each in line)
        if not whole and any(
            base.rpartition(".")[2] in others for each in line for base in each.bases
        ):
            return None  # the other package's class has more
        return self.catalogue.settings(owner)

    def kinds(self, base: str) -> dict[str, str]:
        """Dotted paths of the classes that can stand where this one is wanted, by name."""
        others = foreign_kinds(base)
        own = [each for kind in (base, *others) for each in self.catalogue.kinds(kind)]
        return {**others, **{each.name: each.path for each in own}}

    def bases(self, setting: Setting) -> tuple[str | None, str | None, str | None]:
        """Whose objects a setting takes: one, a list of them, or a mapping of names to them."""
        found: list[str | None] = [None, None, None]
        for each in alternatives(setting.type):
            for place, word in enumerate((each, inside(each), inside(each, MAPS))):
                if word is not None and found[place] is None:
                    found[place] = self._base(setting, word)
        return found[0], found[1], found[2]

    def _base(self, setting: Setting, word: str) -> str | None:
        if word in PACKAGES:
            return word
        return self.catalogue.resolve(setting.owner.rpartition(".")[0], word)

    def holds(self, setting: Setting, alternative: str) -> bool:
        """Whether an alternative of a setting's type is of objects."""
        return any(
            word is not None and self._base(setting, word) is not None
            for word in (alternative, inside(alternative), inside(alternative, MAPS))
        )

    def default(self, setting: Setting, base: str) -> str | None:
        """The class that stands there if none is named."""
        made = re.match(r"(\w+)\(", setting.default or "")
        home = setting.owner.rpartition(".")[0]
        return (self.catalogue.resolve(home, made[1]) if made else None) or self.only(base)

    def only(self, base: str) -> str | None:
        """The class of a setting that has no choice, such as ``model.lora``."""
        kinds = self.kinds(base)
        return base if list(kinds.values()) == [base] else None
