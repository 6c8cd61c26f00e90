import sys
from graphlib import CycleError
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import house


def test_an_arrow_that_others_imply_is_not_drawn():
    graph = {"a": {"b", "c", house.PURE}, "b": {"c"}, "c": set(), house.PURE: set()}
    assert sorted(house.drawn(graph)) == [("a", "b"), ("b", "c")]
    assert house.levels(graph) == {"a": 2, "b": 1, "c": 0, house.PURE: 0}


def test_a_circle_cannot_be_drawn():
    with pytest.raises(CycleError):
        house.levels({"a": {"b"}, "b": {"a"}})


@pytest.mark.parametrize(
    ("name", "wing"),
    [
        ("fgexpo.losses.clipped", "losses"),
        ("fgexpo.kl", house.PURE),
        ("fgexpo.module", house.HOOKS),
        ("fgexpo.callbacks.AKLCallback", "callbacks"),
        ("callbacks.akl", "callbacks"),
        ("fgexpo.__main__", "cli"),
    ],
)
def test_the_wing_of_a_name(name, wing):
    assert house.wing_of(tuple(name.split("."))) == wing


def test_every_wing_has_its_place_and_its_sentence(tmp_path, monkeypatch):
    graph = house.imports(house.ROOT)
    assert set(graph) - {house.PURE} == set(house.COLUMNS)
    assert graph["update"] >= {"losses", "advantages", "model"}
    assert not graph["losses"] & {"model", "rollout", "update"}
    assert all(house.intent(wing) for wing in house.COLUMNS)
    monkeypatch.setattr(sys, "argv", ["house.py", str(tmp_path / "out.png")])
    house.main()
    assert (tmp_path / "out.png").stat().st_size > 10_000
