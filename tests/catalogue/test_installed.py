"""The catalogue of this installation: read once, and by plug-ins only added to."""

import gc

from processes import start, wait

from fgexpo.catalogue import read_catalogue

PLUGIN = """
from fgexpo.curriculum import Gaussian


class Narrow(Gaussian):
    "A narrower Gaussian."
"""


def test_a_plugin_is_added_to_what_is_known_already(tmp_path, monkeypatch):
    (tmp_path / "my_narrow.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    own, both = read_catalogue(), read_catalogue(("my_narrow", "not_there"))
    assert both.classes.keys() - own.classes.keys() == {"my_narrow.Narrow"}
    assert all(both.classes[path] is own.classes[path] for path in own.classes)
    gaussian = own.named("fgexpo.curriculum.Gaussian")[0].path
    assert both.classes["my_narrow.Narrow"].bases == [gaussian]
    assert both.settings("my_narrow.Narrow") == own.settings(gaussian)
    # What is looked for by name is found among the plug-ins first.
    assert [each.name for each in both.kinds(gaussian)] == ["Narrow", "Gaussian"]
    assert [each.name for each in own.kinds(gaussian)] == ["Gaussian"]
    assert gc.isenabled()


def ready():
    assert read_catalogue.cache_info().currsize == 1


def test_a_forked_process_has_it(tmp_path):
    assert wait([start(ready, log=tmp_path / "log")]) == [0], (tmp_path / "log").read_text()
