"""What a mistyped name most likely stands for."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from ..catalogue import Catalogue, Slot, object_setting
from .plugins import PLUGINS_VARIABLE

# What other trainers call it.
OTHERS = {
    "learning_rate": "model.optimizer.lr",
    "lr": "model.optimizer.lr",
    "weight_decay": "model.optimizer.weight_decay",
    "beta": "model.kl_coef",
    "kl_loss_coef": "model.kl_coef",
    "num_generations": "model.group_size",
    "rollout_n": "model.group_size",
    "epsilon": "model.loss.clip_low",
    "epsilon_high": "model.loss.clip_high",
    "max_completion_length": "model.sampling.max_new_tokens",
    "max_response_length": "model.sampling.max_new_tokens",
    "max_prompt_length": "model.max_prompt_tokens",
    "reward_funcs": "model.rewards",
    "model_name_or_path": "model.name",
    "model_path": "model.name",
    "dataset": "data.train",
    "train_files": "data.train",
    "batch_size": "data.questions_per_step",
    "train_batch_size": "data.questions_per_step",
    "max_steps": "steps",
    "num_train_epochs": "steps",
    "total_epochs": "steps",
    "epochs": "steps",
    "seed": "seed_everything",
    "output_dir": "trainer.logger.save_dir",
    "resume_from_checkpoint": "ckpt_path",
}
# Names that a sentence lists.
MANY = 12
CLOSE, NEAR = 0.75, 0.6


def nearest(given: str, known: Iterable[str], cutoff: float = NEAR) -> str | None:
    """The name that was most likely meant; capitals do not count."""
    lower = {name.lower(): name for name in known}
    found = get_close_matches(given.lower(), lower, 1, cutoff)
    if not found and len(given) > 1 and cutoff <= NEAR:
        found = [name for name in lower if name.startswith(given.lower())][:1]
    return lower[found[0]] if found else None


def meant(name: str, known: Iterable[str], everywhere: Mapping[str, list[str]]) -> str | None:
    """What a setting that there is not stands for: one beside it, or one at another place.

    Args:
        name: as given, without what is before it.
        known: names that there are at its place.
        everywhere: places by the last part of their name.
    """
    known = list(known)
    return (
        nearest(name, known, CLOSE)
        or next(iter(everywhere.get(name, [])), None)
        or OTHERS.get(name)
        or nearest(name, known)
        or next(iter(everywhere.get(nearest(name, everywhere, CLOSE) or "", [])), None)
    )


def places(
    catalogue: Catalogue, slots: Iterable[Slot], chosen: Mapping[str, str | None]
) -> dict[str, list[str]]:
    """The settings of the classes that stand in a configuration, by the last part of their name."""
    found: dict[str, list[str]] = {}

    def note(key: str, path: str, depth: int) -> None:
        for setting in catalogue.settings(path):
            inner = f"{key}.{setting.name}"
            found.setdefault(setting.name, []).append(inner)
            base = object_setting(catalogue, setting)
            made = re.match(r"(\w+)\(", setting.default or "")
            target = chosen.get(inner) or (
                None
                if made is None
                else catalogue.resolve(setting.owner.rpartition(".")[0], made[1])
            )
            if base is not None and target is not None and depth:
                note(inner, target, depth - 1)

    for slot in slots:
        target = chosen.get(slot.key)
        if "." not in slot.key and target is None and slot.key not in ("model", "data"):
            target = next((kind.path for kind in slot.kinds(catalogue)), None)
        if target is not None and "." not in slot.key:
            note(slot.key, target, 1)
    return {name: sorted(keys, key=lambda key: key.count(".")) for name, keys in found.items()}


def there_are(names: Iterable[str], verb: str, near: str | None = None) -> str:
    """What was meant, and what there is if that is not much."""
    names = list(names)
    told = f"{verb} {', '.join(names) or 'none'}"
    if near is None:
        return told
    return f"did you mean {near}?" + (f" {told[0].upper()}{told[1:]}" * (len(names) <= MANY))


def class_hint(given: str, known: Iterable[str]) -> str:
    """What to write instead of the name of a class that there is not."""
    near = nearest(given.rpartition(".")[2], known)
    own = "" if near else f"; a class of your own needs {PLUGINS_VARIABLE}=its_module"
    return there_are(known, "there are", near) + own


def others_hint(others: Sequence[str], owner: str, known: Iterable[str]) -> str:
    """Which other classes have a setting that this one does not have."""
    have = "has" if len(others) == 1 else "have"
    return f"{', '.join(others)} {have} it; {there_are(known, f'{owner} has')}"


def setting_hint(near: str | None, owner: str | None, known: Sequence[str]) -> str:
    """What to write instead of a setting that there is not.

    Args:
        near: what was likely meant.
        owner: the class whose setting it should be; None for one of the command line's.
        known: names that there are at its place.
    """
    if owner is not None and len(known) <= MANY:
        return there_are(known, f"{owner} has", near)
    if near:
        return f"did you mean {near}?"
    return f"see `fgexpo options{'' if owner is None else f' {owner}'}`"


def one_of(names: Iterable[str]) -> str:
    """Names in a sentence: ``A, B or C``."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
