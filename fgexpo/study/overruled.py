"""Settings of a study that no run uses: it sets them itself, or a later one takes their place."""

from collections.abc import Iterator

from .dotted import dotted
from .spec import Settings, Study

# What a study sets for each of its runs, and the key that it does it by.
OWN = {
    "model.name": "bases.models",
    "prepare": "bases",
    "steps": "rollouts",
    "budget": "rollouts",
    "seed_everything": "seeds",
    "scores": "",
    "ckpt_path": "",
    "trainer.logger.save_dir": "folder",
    "trainer.logger.name": "folder",
    "trainer.logger.version": "folder",
}
OWN_OF_BASES = {
    "export.out": "folder",
    "seed_everything": "bases.seeds",
    "trainer.logger.save_dir": "folder",
    "trainer.logger.name": "folder",
}


def overruled(study: Study) -> Iterator[str]:
    """A sentence for each setting that could as well not be there."""
    groups = {"settings": study.settings}
    groups |= {f"points.{name}": settings for name, settings in study.points.items()}
    groups |= {f"arms.{name}.settings": arm.settings for name, arm in study.arms.items()}
    free = not study.bases.models and study.bases.config is None
    for place, settings in groups.items():
        for key in dict(dotted(settings)):
            if key in OWN and not (key == "model.name" and free and place == "settings"):
                by = OWN[key]
                yield f"{place}.{key} has no effect: a study sets it itself" + (
                    f"; see its key {by}" if by else ""
                )
            if study.tune is not None and key in dict(dotted({study.tune.setting: None})):
                yield f"{place}.{key} has no effect: it is the setting that is tuned"
    for key in dict(dotted(study.bases.settings)):
        if key in OWN_OF_BASES:
            yield f"bases.settings.{key} has no effect: a study sets it itself"
    for name, arm in study.arms.items():
        if arm.match_kl and "model.kl_coef" in dict(dotted(arm.settings)):
            yield f"arms.{name}.settings.model.kl_coef has no effect: match_kl sets it"
    yield from _unused(study)


def _unused(study: Study) -> Iterator[str]:
    """Settings of all runs, or of a point, that every arm replaces by one of its own."""
    points = list(study.points.values()) or [{}]
    for key in study.settings:
        if study.arms and all(
            _replaces(key, point) or _replaces(key, arm.settings)
            for point in points
            for arm in study.arms.values()
        ):
            yield f"settings.{key} is used by no arm: each sets its own"
    for name, settings in study.points.items():
        for key in settings:
            if study.arms and all(_replaces(key, arm.settings) for arm in study.arms.values()):
                yield f"points.{name}.{key} is used by no arm: each sets its own"
    yield from _behind_null("settings", study.settings)
    for name, arm in study.arms.items():
        yield from _behind_null(f"arms.{name}.settings", arm.settings)


def _replaces(key: str, later: Settings) -> bool:
    """Whether settings that are given later leave nothing of this one."""
    return key in later or any(
        key.startswith(f"{each}.") and value is None for each, value in later.items()
    )


def _behind_null(place: str, settings: Settings) -> Iterator[str]:
    keys = list(settings)
    for number, key in enumerate(keys):
        if _replaces(key, {later: settings[later] for later in keys[number + 1 :]}):
            yield f"{place}.{key} has no effect: a setting after it takes its place"
