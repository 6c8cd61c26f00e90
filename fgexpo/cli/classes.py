"""Which classes can stand where, with their settings: the project's own and those of others."""

import re

from ..catalogue import Catalogue, Setting
from ..catalogue.annotations import alternatives, inside
from ..catalogue.foreign import PACKAGES, foreign_kinds, foreign_settings

# Bases of other packages that take no settings.
BARE = ("ABC", "Protocol", "Generic", "object", "Callback")
# Types of mappings.
MAPS = ("dict", "Mapping")


class Classes:
    """Looks classes up by the annotations of settings."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue

    def settings(self, owner: str) -> list[Setting] | None:
        """The settings of a class; None if they are not known for certain."""
        if owner in self.catalogue.classes:
            known = {*BARE, *self.catalogue.classes}
            for each in self.catalogue.lineage(owner):
                ends = each.has_init and not each.passes_on
                unknown = {base.partition("[")[0] for base in each.bases} - known
                if each.decorated or (unknown and not ends):
                    return None
                if ends:
                    break
            return self.catalogue.settings(owner)
        return foreign_settings(owner)

    def kinds(self, base: str) -> dict[str, str]:
        """Dotted paths of the classes that can stand where this one is wanted, by name."""
        foreign = foreign_kinds(base)
        own = {
            each.name: each.path for name in (base, *foreign) for each in self.catalogue.kinds(name)
        }
        return {**foreign, **own}

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
        made = re.match(r"(?:field\(default_factory=)?(\w+)[()]", setting.default or "")
        if made is not None:
            return self.catalogue.resolve(setting.owner.rpartition(".")[0], made[1])
        return self.only(base)

    def only(self, base: str) -> str | None:
        """The class of a setting that has no choice, such as ``model.lora``."""
        kinds = self.kinds(base)
        return base if list(kinds.values()) == [base] else None
