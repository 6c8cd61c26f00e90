import sys
from graphlib import CycleError
from itertools import combinations
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
    ("wing", "box"),
    [
        ("losses", "losses"),
        ("kl", house.PURE),
        ("templates", house.PURE),
        ("module", house.HOOKS),
        ("callbacks", "callbacks"),
        ("__main__", "cli"),
    ],
)
def test_the_box_of_a_wing(wing, box):
    assert house.box_of(wing) == box


def test_every_wing_has_its_place_and_its_sentence(tmp_path, monkeypatch):
    graph = house.boxes(house.import_graph(house.sources()))
    assert set(graph) - {house.PURE} == set(house.COLUMNS)
    assert graph["update"] >= {"losses", "advantages", "model"}
    assert not graph["losses"] & {"model", "rollout", "update"}
    assert all(house.intent(wing) for wing in house.COLUMNS)
    height = house.levels(graph)
    for one, other in combinations(house.COLUMNS, 2):
        apart = abs(house.COLUMNS[one] - house.COLUMNS[other]) > house.WIDTH
        assert apart or height[one] != height[other], f"{one} lies on {other}"
    monkeypatch.setattr(sys, "argv", ["house.py", str(tmp_path / "out.png")])
    house.main()
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_the_page_names_every_wing():
    page = (house.ROOT / "docs/architecture.md").read_text()
    missing = [w for w in house.COLUMNS if w != house.HOOKS and f"{w}/" not in page]
    assert not missing
