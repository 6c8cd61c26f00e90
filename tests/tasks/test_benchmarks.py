import random
import subprocess
import sys
from pathlib import Path

import pytest
from tables import write_rows as write

from fgexpo.errors import UserError
from fgexpo.questions import Question
from fgexpo.tasks import Benchmark, DapoMath17k, benchmarks, dapo
from fgexpo.tasks.dapo import question_id, unwrap

ROOT = Path(__file__).parents[2]
SHARED = Path(__file__).parents[3] / "shared" / "data" / "benchmarks"

LAYOUTS = {
    "problem": {"id": 60, "problem": "1", "solution": "s", "answer": "2", "question": "other"},
    "question": {"question": "1", "answer": "2", "id": "60"},
    "capitals": {"ID": "60", "Problem": "1", "Answer": 2},
    "boxed": {"problem": "1", "solution": r"So \boxed{1}, no: \boxed{2}", "idx": 60},
    "olympiadbench": {"id": 60, "context": None, "question": "1", "final_answer": ["2"]},
    "verl": {
        "prompt": [{"role": "user", "content": "1"}],
        "reward_model": {"ground_truth": "2", "style": "rule"},
        "extra_info": {"index": 60, "split": "test"},
    },
}


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_benchmark_layouts(tmp_path, layout, suffix):
    path = write(tmp_path / f"f{suffix}", [LAYOUTS[layout]])
    with pytest.warns(UserWarning, match="has 1 questions, but benchmark amc23 has 40"):
        found = Benchmark("amc23", path).questions()
    assert found == [Question("60", "1", "2")]


def test_tags_and_tolerances_of_benchmarks(tmp_path, monkeypatch):
    for name in ("math500", "minerva", "olympiadbench"):
        entry = benchmarks.ENTRIES[name]
        monkeypatch.setitem(benchmarks.ENTRIES, name, type(entry)(**vars(entry) | {"count": 1}))
    row = {"problem": "1", "answer": "2", "level": 3, "subject": "s", "type": "t", "subfield": "f"}
    path = write(tmp_path / "f.jsonl", [row | {"error": "1e-1"}])
    found = {
        name: Benchmark(name, path).questions()[0]
        for name in ("math500", "minerva", "olympiadbench")
    }
    assert found["math500"].tags == {"level": "3", "subject": "s"}
    assert (found["minerva"].tags, found["minerva"].relative_error) == ({"type": "t"}, 1e-4)
    olympiad = found["olympiadbench"]
    assert (olympiad.tags, olympiad.absolute_error) == ({"subfield": "f"}, 0.1)
    assert found["math500"].absolute_error == found["math500"].relative_error == 0
    path = write(tmp_path / "g.jsonl", [row | {"error": "much"}])
    with pytest.raises(UserError, match="row 0 has 'much' as 'error', expected a number"):
        Benchmark("olympiadbench", path).questions()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"problem": "1"}], "expected one of the columns answer, Answer, .*; it has problem"),
        ([{"answer": "1"}], "expected one of the columns problem, question, .*; it has answer"),
        ([{"problem": "1", "solution": "no box"}], "row 0 has no .boxed{} in 'solution'"),
        ([{"problem": "1", "answer": None}], "row 0 has an empty 'answer'"),
        ([{"problem": "1", "answer": "2", "idx": 0}] * 2, "rows 0 and 1 have the same 'idx', '0'"),
    ],
)
def test_bad_benchmark_files(tmp_path, rows, words):
    path = write(tmp_path / "f.jsonl", rows)
    with pytest.raises(UserError, match=words) as error:
        Benchmark("aime24", path).questions()
    assert path in str(error.value)


def test_where_a_benchmark_is_found(tmp_path, monkeypatch):
    entry = benchmarks.ENTRIES["minerva"]
    monkeypatch.setitem(benchmarks.ENTRIES, "minerva", type(entry)(**vars(entry) | {"count": 1}))

    def prompt(path=None):
        source = Benchmark("minerva", path)
        source.root = str(tmp_path)
        return source.questions()[0].prompt

    row = {"question": "hub", "answer": "1"}
    write(tmp_path / "math-ai" / "minervamath" / "test.jsonl", [row])
    assert prompt() == "hub"
    write(tmp_path / "minerva_math" / "test.jsonl", [row | {"question": "folder"}])
    assert prompt() == "folder"
    write(tmp_path / "minerva_math.jsonl", [row | {"question": "file"}])
    assert prompt() == "file"
    write(tmp_path / "mine.jsonl", [row | {"question": "path"}])
    assert prompt("mine.jsonl") == "path"
    with pytest.raises(UserError, match=r"must be one of .*'olympiadbench'.*, got 'aime'"):
        Benchmark("aime")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared benchmark files are not here")
def test_the_shared_benchmarks_are_whole(recwarn):
    counts = {}
    for name in benchmarks.ENTRIES:
        source = Benchmark(name)
        source.root = str(SHARED)
        found = source.questions()
        counts[name] = len(found)
        assert len({q.id for q in found}) == len(found)
        off = [q.absolute_error for q in found if q.absolute_error]
        assert off == ([0.1] if name == "olympiadbench" else [])
        assert {q.relative_error for q in found} == {1e-4 if name == "minerva" else 0.0}
        assert not any(q.answer.endswith(".0") for q in found if name.startswith("amc"))
        tags = {"math500": {"level", "subject"}, "minerva": {"type"}, "olympiadbench": {"subfield"}}
        assert {key for q in found for key in q.tags} == tags.get(name, set())
    assert not [warning for warning in recwarn if "questions, but" in str(warning.message)]
    assert counts.pop("amc83") == 83
    assert list(counts.values()) == [30, 30, 40, 500, 272, 675]
    assert sum(counts.values()) == 1547


FIRST = "Solve it. The last line is Answer: $Answer (without quotes)."
LAST = 'Put it on its own line after "Answer:".'


def raw(question, answer):
    text = f"{FIRST}\n\n{question}\n\n{LAST}"
    return {
        "prompt": [{"content": text, "role": "user"}],
        "reward_model": {"ground_truth": answer, "style": "rule-lighteval/MATH_v2"},
        "extra_info": {"index": "x"},
    }


@pytest.mark.parametrize(
    ("text", "question", "wrapped"),
    [
        (f"{FIRST}\n\nSolve x.\n\nIn reals.\n\n{LAST}\n", "Solve x.\n\nIn reals.", True),
        (f"{FIRST}\n\nSolve x.", "Solve x.", False),
        (f"Solve x.\n\n{LAST}", "Solve x.", False),
        ("Solve x.\n\nIn reals.", "Solve x.\n\nIn reals.", False),
        ('What is "Answer:"?', 'What is "Answer:"?', False),
        (f"{FIRST}\n\n\nSolve x.\n\n\n{LAST}", "Solve x.", True),
    ],
)
def test_only_the_wrapping_is_taken_off(text, question, wrapped):
    assert unwrap(text) == (question, wrapped)


def test_dapo_layouts_conflicts_and_ids(tmp_path, monkeypatch):
    reports = []
    monkeypatch.setattr(dapo, "rank_zero_info", reports.append)
    given = [("tie", "1"), ("tie", "2"), ("a\n\nb", "3"), ("most", "4")]
    given += [("most", "5"), ("most", "5"), ("a\n\nb", "3"), ("\\(x\\)", "34")]
    path = write(tmp_path / "raw.parquet", [raw(*pair) for pair in given])
    found = DapoMath17k(path).questions()
    answers = {"tie": "1", "a\n\nb": "3", "most": "5", "\\(x\\)": "34"}
    assert {q.prompt: q.answer for q in found} == answers
    assert [q.id for q in found] == [question_id(text) for text in answers]
    assert "8 rows, 4 questions, 2 of them with conflicting answers; 0 rows do not" in reports[0]

    random.Random(1).shuffle(given)
    shuffled = write(tmp_path / "raw.jsonl", [raw(*pair) for pair in given])
    assert {q.prompt: q.id for q in DapoMath17k(shuffled).questions()} == {
        q.prompt: q.id for q in found
    }

    folder = tmp_path / "open-r1" / "DAPO-Math-17k-Processed"
    rows = [{"prompt": q.prompt, "solution": q.answer} for q in found]
    write(folder / "all" / "train-00000-of-00001.parquet", rows)
    write(folder / "en" / "train-00000-of-00001.parquet", rows[:3])
    source = DapoMath17k("open-r1/DAPO-Math-17k-Processed", subset="all")
    source.root = str(tmp_path)
    assert source.questions() == found
    assert "4 rows, 4 questions, 0 of them" in reports[-1] and "; 4 rows do not" in reports[-1]
    source.subset = "en"
    assert source.questions() == found[:3]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"prompt": "1", "answer": "2"}], "expected the columns prompt and reward_model, or"),
        ([{"question": "1", "solution": "2"}], "no column 'prompt'"),
        ([raw("a", "1"), raw("b", " ")], "row 1 has an empty 'reward_model.ground_truth'"),
        ([raw("a", "1"), raw(" ", "1")], "row 1 has no question in its 'prompt'"),
    ],
)
def test_bad_dapo_files(tmp_path, rows, words):
    path = write(tmp_path / "f.jsonl", rows)
    with pytest.raises(UserError, match=words) as error:
        DapoMath17k(path).questions()
    assert path in str(error.value)


@pytest.mark.slow
def test_reading_many_rows_is_fast_and_lean(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "readers.py"), "--rows", "200000"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
