import json

import numpy as np
import pytest

from fgexpo.cli import main
from fgexpo.cli.compare import differences
from fgexpo.evaluation.read_results import read_results


def results(model, scores, **identity):
    """A results.json with one pass@1 and one mean_length a question, by benchmark."""
    benchmarks = {
        name: {"per_question": {q: {"pass@1": x, "mean_length": 10 * x} for q, x in rows.items()}}
        for name, rows in scores.items()
    }
    return {"model": model, "identity": {"rollouts": 8, **identity}, "benchmarks": benchmarks}


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


A = {"one": {"p": 0.5, "q": 0.25, "r": 0.0}, "two": {"p": 1.0, "q": 0.0}}
B = {"one": {"p": 0.75, "q": 0.25, "s": 1.0}, "two": {"q": 1.0, "p": 1.0}, "three": {"p": 1.0}}


def test_differences_are_paired_by_question():
    found = differences(results("a", A), results("b", B))
    assert list(found) == ["one", "two", "mean"]
    mean, low, high, count = found["one"]["pass@1"]
    assert (mean, count) == (pytest.approx(0.125), 2)  # p: +0.25, q: 0; r and s have no partner
    assert (low, high) == pytest.approx((0.0, 0.25))
    assert found["two"]["pass@1"][0] == pytest.approx(0.5)
    assert found["mean"]["pass@1"][0] == pytest.approx((0.125 + 0.5) / 2)
    assert found["one"]["mean_length"][0] == pytest.approx(1.25)


def test_pairing_makes_the_interval_narrow():
    rng = np.random.default_rng(0)
    difficulty = rng.random(200)
    one = {str(i): float(x) for i, x in enumerate(difficulty)}
    two = {str(i): float(x) + 0.05 + 0.01 * rng.standard_normal() for i, x in enumerate(difficulty)}
    mean, low, high, _ = differences(results("a", {"x": one}), results("b", {"x": two}))["x"][
        "pass@1"
    ]
    assert low < mean < high and high - low == pytest.approx(4 * 0.01 / 200**0.5, rel=0.2)
    assert low > 0.04


def test_the_command_prints_and_draws(tmp_path, capsys):
    a = write(tmp_path / "a.json", results("base", A))
    b = write(tmp_path / "b.json", results("tuned", B, rollouts=4))
    assert main(["compare", a, b, f"--out={tmp_path / 'figures' / 'x.png'}"]) == 0
    printed = capsys.readouterr().out
    assert "tuned minus base" in printed and "+0.125" in printed
    assert "note: rollouts differs: 8 against 4" in printed
    assert (tmp_path / "figures" / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read as the JSON"),
        ("[]", r"is not a results\.json"),
        ('{"benchmarks": {}}', r"is not a results\.json"),
        (None, "does not exist"),
    ],
)
def test_bad_files(tmp_path, content, words):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=words):
        read_results(str(path))


def test_other_questions_under_the_same_ids_are_refused():
    one, two = (results("m", A, questions={"one": name, "two": "x"}) for name in "ab")
    with pytest.raises(ValueError, match="the questions of one are not the same in both"):
        differences(one, two)


def test_a_figure_of_an_unknown_kind_is_refused(tmp_path, capsys):
    path = write(tmp_path / "a.json", results("a", A))
    assert main(["compare", path, path, "--out=a.foo"]) == 2
    assert "--out: expected a .png" in capsys.readouterr().err


def test_nothing_in_common_is_said():
    with pytest.raises(ValueError, match="no benchmark is in both"):
        differences(results("a", {"one": {"p": 1.0}}), results("b", {"two": {"p": 1.0}}))
    with pytest.raises(ValueError, match="share no question of one"):
        differences(results("a", {"one": {"p": 1.0}}), results("b", {"one": {"q": 1.0}}))
