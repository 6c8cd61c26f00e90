"""Bad files of every kind, to the commands that read them: one sentence that names the file."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from refusals import BOMB, DEEP, KINDS, refused, write_bad
from study_tables import write_study_table

from fgexpo.cli import main
from fgexpo.study.table import CORRECT, SCHEMA

ROOT = Path(__file__).parents[2]


def results(**changes):
    scores = {"p": {"pass@1": 0.5, "mean_length": 9.0}, "q": {"pass@1": 1, "mean_length": 2}}
    content = {
        "model": "m",
        "identity": {"questions": {"one": "print"}},
        "benchmarks": {"one": {"per_question": scores}},
    }
    return {**content, **changes}


def with_scores(scores):
    return results(benchmarks={"one": {"per_question": scores}})


@pytest.mark.parametrize("kind", KINDS)
def test_compare_refuses_a_bad_file(tmp_path, capsys, kind):
    good = tmp_path / "good.json"
    good.write_text(json.dumps(results()))
    refused(["compare", good, write_bad(tmp_path, kind)], capsys, "x.json")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (results(model=3), "model must be text"),
        (results(model="\ud800"), "can be shown"),
        (results(identity=[]), "identity must be a JSON object"),
        (results(identity={"questions": [1]}), "identity.questions"),
        (results(checkpoint="a.ckpt"), "rollout_step"),
        (results(benchmarks=[]), "benchmarks must be"),
        (results(benchmarks={"one": []}), "benchmarks.one.per_question must be"),
        (results(benchmarks={"one": {}}), "benchmarks.one.per_question must be"),
        (results(benchmarks={}), "no benchmark is in both"),
        (with_scores([1]), "benchmarks.one.per_question must be"),
        (with_scores({"p": 1}), "benchmarks.one.per_question.p must be"),
        (with_scores({"p": []}), "benchmarks.one.per_question.p must be"),
        (with_scores({"p": {"pass@1": "x"}}), "per_question.p.pass@1 must be a number in [0, 1]"),
        (with_scores({"p": {"pass@1": True}}), "per_question.p.pass@1 must be"),
        (with_scores({"p": {"pass@1": None}}), "per_question.p.pass@1 must be"),
        (with_scores({"p": {"pass@1": float("nan")}}), "got nan"),
        (with_scores({"p": {"pass@1": float("inf")}}), "got inf"),
        (with_scores({"p": {"pass@1": 1.5}}), "got 1.5"),
        (with_scores({"p": {"mean_length": 1e300}}), "mean_length must be a finite number"),
        (with_scores({"p": {"mean_length": 10**400}}), "mean_length must be a finite number"),
        (with_scores({"p": {"pass@1": {"a": 1}}}), "per_question.p.pass@1 must be"),
        (
            with_scores({"p": {"pass@1": 1}, "q": {}}),
            "per_question.q must be the scores of the first question",
        ),
        (with_scores({}), "share no question"),
        (with_scores({"p": {"other": 1}}), "share no score"),
    ],
)
def test_compare_names_the_place_in_a_results_file(tmp_path, capsys, content, place):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(results()))
    bad.write_text(json.dumps(content))
    refused(["compare", good, bad, f"--out={tmp_path / 'x.png'}"], capsys, place)
    refused(["compare", bad, good, f"--out={tmp_path / 'x.png'}"], capsys, place)


def test_compare_shows_names_with_markup_as_they_are(tmp_path, capsys):
    name = r"[/b] $\foo$ ../x"
    both = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in both:
        content = results(model="[/red]", identity={})
        content["benchmarks"][name] = content["benchmarks"].pop("one")
        path.write_text(json.dumps(content))
    assert main(["compare", *map(str, both), f"--out={tmp_path / 'x.png'}"]) == 0
    assert "[/b]" in capsys.readouterr().out


@pytest.mark.parametrize("out", ["x.exe", "x", ""])
def test_compare_refuses_a_figure_of_another_kind(capsys, out):
    refused(["compare", "a", "b", f"--out={out}"], capsys, "--out", repr(out))


STUDY = {
    "title": "T",
    "folder": "out",
    "configs": ["configs/tiny.yaml"],
    "rollouts": 64,
    "bases": {"config": "configs/tiny_base.yaml", "seeds": [0]},
    "seeds": [0],
    "arms": {"grpo": {}, "akl": {"against": ["grpo"]}},
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A function that writes a study's YAML with changes."""
    monkeypatch.chdir(ROOT)

    def write(**changes):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**STUDY, **changes}))
        return path

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_study_refuses_a_bad_file(tmp_path, capsys, kind):
    refused(["study", write_bad(tmp_path, kind, "x.yaml")], capsys, "x.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_study_refuses_a_bad_table(study, tmp_path, capsys, kind):
    refused(
        ["study", study(), "--table", write_bad(tmp_path, kind, "x.parquet")], capsys, "x.parquet"
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("title", None, "title"),
        ("title", [1], "title: expected text"),
        ("folder", "", "folder must be"),
        ("folder", "a\0b", "folder must be"),
        ("configs", [], "configs must not be empty"),
        ("configs", "configs/tiny.yaml", "configs: expected a list"),
        ("configs", ["nowhere.yaml"], "nowhere.yaml"),
        ("configs", ["configs"], "'configs' does not exist"),
        ("rollouts", "many", "rollouts: expected a whole number, got 'many'"),
        ("rollouts", 0, "rollouts must be at least 1"),
        ("bases", {"config": "configs/tiny_base.yaml"}, "bases.seeds"),
        ("bases", {"config": 3, "seeds": [0]}, "bases.config: expected text or null, got '3'"),
        ("seeds", [0, 0], "seeds must be different"),
        ("seeds", [[0]], "seeds: expected a list of whole numbers"),
        ("arms", {}, "arms must not be empty"),
        ("arms", {"../a": {}}, "arms: '../a'"),
        ("arms", {"": {}}, "arms: ''"),
        ("arms", {".a": {}}, "arms: '.a'"),
        ("arms", {"a" * 200: {}}, "at most 100 bytes"),
        ("arms", {"a": {"against": None}}, "arms.a.against: expected a list of texts, got 'null'"),
        ("arms", {"a": {"agianst": []}}, "agianst"),
        ("arms", {"a": {"against": ["b"]}}, "'b', which is not another arm"),
        ("arms", {"a": [1]}, "arms"),
        ("points", {"p/q": {}}, "points: 'p/q'"),
        ("ks", None, "ks: expected a list of whole numbers, got 'null'"),
        ("ks", [0], "ks and tune.k must be at least 1"),
        ("tune", {"setting": "lr"}, "tune"),
        ("target", "x", "target: expected a number or null"),
        ("surplus", 1, "surplus"),
    ],
)
def test_study_names_the_key(study, capsys, key, value, words):
    refused(["study", study(**{key: value})], capsys, words, "study.yaml")


DOCUMENTS = {
    "a bomb of anchors": (BOMB, "more than 200,000 values"),
    "itself": ("a: &a [*a]\n", "x.yaml"),
    "brackets": (f"a: {DEEP}", "deeper than 100 levels"),
    "indents": ("".join(" " * i + "a:\n" for i in range(300)), "deeper than 100 levels"),
    "a tab": ("a:\n\tb: 1\n", "x.yaml"),
    "a date": ("title: 2001-99-99\n", "x.yaml"),
    "a list as a key": ("? [a]\n: 1\n", "x.yaml"),
    "a null key": ("~: 1\n", "x.yaml"),
    "a bad merge": ("<<: 3\n", "x.yaml"),
    "code": ("!!python/object/apply:os.system ['x']\n", "x.yaml"),
    "open braces": ("a: {b\n", "x.yaml"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_study_refuses_yaml_that_would_break_its_reader(tmp_path, capsys, name):
    text, words = DOCUMENTS[name]
    (tmp_path / "x.yaml").write_text(text)
    refused(["study", tmp_path / "x.yaml"], capsys, words)


def change(table, tag, column, value):
    rows = table.to_pylist()
    for row in rows:
        if row["tag"] == tag:
            row[column] = value
    return table_of(rows)


def table_of(rows, schema=SCHEMA):
    return pa.table({name: [row.get(name) for row in rows] for name in SCHEMA.names}, schema=schema)


def keep(table, wanted):
    return table_of([row for row in table.to_pylist() if wanted(row)])


TABLES = {
    "no rows": (lambda t: t.slice(0, 0), "has no rows"),
    "a column less": (lambda t: t.drop_columns(["seed"]), "is not a table of a study: columns"),
    "other columns": (lambda t: pa.table({"a": [1]}), "is not a table of a study: columns ['a']"),
    "text for numbers": (
        lambda t: t.set_column(11, "n", pa.array(["many"] * len(t))),
        "cannot be read as a Parquet table of a study",
    ),
    "lists for numbers": (
        lambda t: t.set_column(10, "value", pa.array([[1.0]] * len(t))),
        "cannot be read as a Parquet table of a study",
    ),
    "numbers out of range": (
        lambda t: t.set_column(6, "step", pa.array([2**40] * len(t))),
        "cannot be read as a Parquet table of a study",
    ),
    "no arm": (lambda t: change(t, "kl", "arm", None), "rows without 'arm'"),
    "no question": (lambda t: change(t, CORRECT, "question", None), "rows without 'question'"),
    "no n": (lambda t: change(t, CORRECT, "n", None), "rows without 'n'"),
    "no value": (lambda t: change(t, CORRECT, "value", None), "rows without 'value'"),
    "a count that is no number": (
        lambda t: change(t, CORRECT, "value", float("nan")),
        "rows without 'value'",
    ),
    "more than all": (lambda t: change(t, CORRECT, "value", 33.0), "outside of 0 to 32"),
    "half a sample": (lambda t: change(t, CORRECT, "value", 0.5), "outside of 0 to 32"),
    "n of 0": (lambda t: change(t, CORRECT, "n", 0), "numbers of samples a question"),
    "twice": (lambda t: pa.concat_tables([t, t]), "scores a question twice"),
    "no scores": (lambda t: keep(t, lambda r: r["tag"] != CORRECT), "no scores of step 0"),
    "no first scores": (lambda t: keep(t, lambda r: r["step"] > 0), "no scores of step 0"),
    "no last scores": (lambda t: keep(t, lambda r: r["step"] == 0), "after step 0"),
    "a question less": (
        lambda t: keep(t, lambda r: (r["arm"], r["question"]) != ("akl", "q1")),
        "does not judge all runs by the same questions",
    ),
    "one question": (
        lambda t: keep(t, lambda r: r["question"] in (None, "q1")),
        "has a single question",
    ),
    "an arm less": (lambda t: keep(t, lambda r: r["arm"] == "akl"), "no arm 'grpo'"),
    "a run less": (
        lambda t: keep(t, lambda r: (r["arm"], r["seed"]) != ("akl", 1)),
        "do not have the same bases and seeds",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_study_says_what_a_table_lacks(study, tmp_path, capsys, name):
    spoil, words = TABLES[name]
    write_study_table(tmp_path / "good.parquet")
    pq.write_table(spoil(pq.read_table(tmp_path / "good.parquet")), tmp_path / "x.parquet")
    report = f"--report={tmp_path / 'report.md'}"
    refused(["study", study(), f"--table={tmp_path / 'x.parquet'}", report], capsys, words)
    assert not (tmp_path / "report.md").exists()


def test_study_refuses_more_samples_than_the_table_has(study, tmp_path, capsys):
    write_study_table(tmp_path / "x.parquet")
    refused(["study", study(ks=[64]), f"--table={tmp_path / 'x.parquet'}"], capsys, "ks [64]", "32")
