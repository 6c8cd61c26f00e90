import math
import socket
import sys

import pytest
from processes import start, wait
from tables import write_rows as write

from fgexpo.datamodules import CurriculumDataModule
from fgexpo.errors import UserError
from fgexpo.questions import Question
from fgexpo.tasks import Benchmark, QuestionFile
from fgexpo.tasks.rows import answer_text, prompt_text
from fgexpo.tasks.tables import open_table

PAIR = {"prompt": "1+1", "answer": "2"}


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json", ".csv"])
def test_question_files_in_every_format(tmp_path, suffix):
    path = write(
        tmp_path / f"f{suffix}",
        [{"q": "1+1", "a": "2", "key": "x"}, {"q": 'a,"b"\nc', "a": "4", "key": "y"}],
    )
    expected = [Question("x", "1+1", "2"), Question("y", 'a,"b"\nc', "4")]
    assert QuestionFile(path, "q", "a", "key").questions() == expected
    assert [q.id for q in QuestionFile(path, "q", "a").questions()] == ["0", "1"]


def test_json_may_hold_lines_with_gaps(tmp_path):
    (tmp_path / "f.json").write_text(
        '\n{"prompt": "1+1", "answer": 2}\n\n{"answer": 4, "prompt": "2+2"}'
    )
    assert [q.answer for q in QuestionFile(str(tmp_path / "f.json")).questions()] == ["2", "4"]


def test_columns_of_mixed_types_and_nested_ones(tmp_path):
    rows = [
        {"prompt": "1", "answer": 27.0, "meta": {"level": 3}},
        {"prompt": "2", "answer": 5, "meta": {"level": [1]}},
        {"prompt": "3", "answer": "x", "meta": None},
        {"prompt": "4", "answer": [r"\frac{1}{2}"]},
    ]
    source = QuestionFile(
        write(tmp_path / "f.jsonl", rows), tags=["meta.level"], relative_error=0.1
    )
    found = source.questions()
    assert [q.answer for q in found] == ["27", "5", "x", r"\frac{1}{2}"]
    assert [q.tags for q in found] == [{"meta.level": "3"}, {"meta.level": "1"}, {}, {}]
    assert {q.relative_error for q in found} == {0.1}


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_chat_messages_and_paths(tmp_path, suffix):
    turns = [("system", "s"), ("user", "1+1"), ("assistant", "3"), ("user", "2+2")]
    row = {
        "prompt": [{"role": role, "content": content} for role, content in turns],
        "reward_model": {"ground_truth": "34", "style": "rule"},
        "unread": 1,
    }
    path = write(tmp_path / f"f{suffix}", [row])
    answer = "reward_model.ground_truth"
    assert QuestionFile(path, answer_column=answer).questions() == [Question("0", "2+2", "34")]
    assert QuestionFile(path, "prompt.1.content", answer).questions()[0].prompt == "1+1"
    table = open_table(path)
    (read,) = table.rows(["prompt.0.content"])
    assert [table.value(read, f"prompt.{i}.content") for i in (0, 9)] == ["s", None]
    assert suffix == ".jsonl" or list(read) == ["prompt"]


def test_text_of_cells():
    values = [27.0, 0.5, 5, True, None, math.nan, ["a"], ["a", "b"], [], "027.0", 1e22]
    found = ["27", "0.5", "5", "True", "", "", "a", "a, b", "", "027.0", "1" + "0" * 22]
    assert [answer_text(value) for value in values] == found
    assert prompt_text([{"role": "system", "content": "s"}]) == ""


def test_folders_as_the_hub_has_them(tmp_path):
    def names(**options):
        return [q.prompt for q in QuestionFile(str(tmp_path), **options).questions()]

    write(tmp_path / "data" / "train-00001-of-00002.parquet", [PAIR | {"prompt": "b"}])
    write(tmp_path / "data" / "train-00000-of-00002.parquet", [PAIR | {"prompt": "a"}])
    write(tmp_path / "dataset_infos.json", [{}])
    write(tmp_path / ".cache" / "x.parquet", [PAIR])
    assert names() == names(split="train") == names(subset="default") == ["a", "b"]
    write(tmp_path / "data" / "test-00000-of-00001.parquet", [PAIR | {"prompt": "c"}])
    assert names(split="test") == ["c"]
    with pytest.raises(UserError, match="has the splits train, test, expected one as `split`"):
        names()
    with pytest.raises(UserError, match="no split 'dev'; it has train, test"):
        names(split="dev")
    write(tmp_path / "en" / "train-00000-of-00001.parquet", [PAIR | {"prompt": "d"}])
    assert names(subset="en") == ["d"]
    with pytest.raises(UserError, match="in the folders data, en, expected one as `subset`"):
        names(split="train")


def test_root_comes_first_and_may_mirror_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "f.jsonl", [PAIR | {"prompt": "here"}])
    write(tmp_path / "root" / "f.jsonl", [PAIR | {"prompt": "root"}])
    source = QuestionFile("f.jsonl")
    assert source.questions()[0].prompt == "here"
    data = CurriculumDataModule(source, {"x": QuestionFile("somebody/set")}, root="root")
    assert data.train.questions()[0].prompt == "root"
    write(tmp_path / "root" / "set" / "x.jsonl", [PAIR | {"prompt": "short"}])
    assert data.val["x"].questions()[0].prompt == "short"
    write(tmp_path / "root" / "somebody" / "set" / "x.jsonl", [PAIR | {"prompt": "long"}])
    assert data.val["x"].questions()[0].prompt == "long"
    with pytest.raises(UserError, match=r"data.root: folder 'elsewhere' does not exist"):
        CurriculumDataModule(source, root="elsewhere")


def out_of_reach():
    """With an empty cache, and nothing tried over a network."""
    import datasets
    from huggingface_hub import constants

    tried = lambda *_: sys.exit("tries over a network")  # noqa: E731
    socket.getaddrinfo = socket.socket.connect = tried
    constants.HF_HOME = constants.HF_HUB_CACHE = "/nonexistent"
    datasets.config.HF_DATASETS_CACHE = datasets.config.HF_MODULES_CACHE = "/nonexistent"
    unknown = QuestionFile("nobody/nothing", subset="en", split="train")
    for source in unknown, Benchmark("amc23"):
        try:
            source.questions()
        except UserError as error:
            print(f"error: {error}")


def test_the_hub_out_of_reach_is_one_sentence(tmp_path):
    process = start(out_of_reach, log=tmp_path / "log")
    assert wait([process]) == [0], (tmp_path / "log").read_text()
    lines = (tmp_path / "log").read_text().splitlines()
    found = [line for line in lines if line.startswith("error: ")]
    assert len(found) == 2
    assert "'nobody/nothing' (subset 'en', split 'train') could not be loaded" in found[0]
    assert "'math-ai/amc23' (split 'test') could not be loaded" in found[1]
    assert all("set --data.root to a folder" in line for line in found)


def test_rows_of_the_hub(monkeypatch):
    import datasets

    asked = []
    held = datasets.Dataset.from_list([PAIR | {"meta": [{"x": 27.0}]}, PAIR | {"meta": []}])

    def load_dataset(*arguments, **options):
        asked.append((arguments, options))
        return datasets.DatasetDict({"train": held})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = QuestionFile("some/set", subset="en", tags=["meta.0.x"]).questions()
    assert asked == [(("some/set", "en"), {"split": None})]
    assert [q.tags for q in found] == [{"meta.0.x": "27"}, {}]
    both = datasets.DatasetDict({"train": held, "test": held})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: both)
    with pytest.raises(UserError, match="has the splits train, test"):
        QuestionFile("some/set").questions()


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([{"prompt": "1"}], {}, "no column 'answer'; it has prompt"),
        ([], {}, "no column 'answer'; it has none"),
        ([PAIR, PAIR | {"answer": ""}], {}, "row 1 has an empty 'answer'"),
        ([PAIR, {"prompt": "1"}], {}, "row 1 has an empty 'answer'"),
        ([PAIR | {"prompt": []}], {}, "row 0 has an empty 'prompt'"),
        ([PAIR], {"answer_column": "answer.x"}, "row 0 has an empty 'answer.x'"),
        ([PAIR], {"tags": ["level"]}, "no column 'level'"),
        ([PAIR | {"k": "z"}] * 2, {"id_column": "k"}, "rows 0 and 1 have the same 'k', 'z'"),
    ],
)
def test_bad_question_files_name_file_row_and_column(tmp_path, rows, options, words):
    path = write(tmp_path / "f.jsonl", rows)
    with pytest.raises(UserError, match=words) as error:
        QuestionFile(path, **options).questions()
    assert path in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f.jsonl", b'{"prompt": 1}\n{"prompt": }', "line 2, column 12 is not JSON"),
        ("f.jsonl", b'{"prompt": 1}\n[1]', r"line 2 is '\[1\]', expected a JSON object"),
        ("f.json", b'[{"prompt": 1},\n 2]', "row 1 is '2', expected a JSON object"),
        ("f.json", b'[{"prompt": 1},\n {]', "line 2, column 3 is not JSON"),
        ("f.jsonl", b'{"prompt": "\xff"}', "cannot be read as .jsonl"),
        ("f.parquet", b"PAR1 but not really", "cannot be read as .parquet"),
        ("f.csv", b"prompt,answer\n1,2,3\n", "line 2 has more fields than the header's 2"),
        ("f.txt", b"x", "expected a .jsonl, .json, .csv or .parquet file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        QuestionFile(str(tmp_path / name)).questions()
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("path", ["f.jsonl", "./x/y", "data/x", "a/b/c", "x", "~/nothing-here"])
def test_what_looks_local_is_not_asked_of_the_hub(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"question file '{path}' does not exist$"):
        QuestionFile(path).questions()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no .parquet"):
        QuestionFile("./empty").questions()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.csv", "prompt,answer,answer\n1,2,3\n", "two columns are named 'answer'"),
        (
            "x.jsonl",
            '{"prompt": "1", "answer": Infinity}',
            "line 1 .*Infinity is not a JSON num",
        ),
        ("x.jsonl", '{"prompt": "1", "answer": ' + "9" * 5000 + "}", "line 1 cannot be read"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        QuestionFile(str(tmp_path / name)).questions()
