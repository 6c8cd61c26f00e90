"""A cell is text, or an error with file, row and path into it; never Python's repr."""

import datetime
import json
from decimal import Decimal

import datasets
import pyarrow
import pytest
from pyarrow import parquet
from tables import write_rows as write

from fgexpo.errors import UserError
from fgexpo.tasks import QuestionFile
from fgexpo.tasks.dapo import DapoMath17k
from fgexpo.tasks.rows import answer_text, prompt_text

PARTS = [{"type": "text", "text": "1+"}, {"type": "text", "text": "1?"}]
USER = {"role": "user", "content": "1+1?"}
CHAT = [{"role": "system", "content": "s"}, USER]
QUESTIONS = [
    "1+1?",
    b"1+1?",
    USER,
    CHAT,
    PARTS,
    PARTS[0] | {"text": "1+1?", "image": None},
    [{"role": "user", "content": PARTS}],
    {"role": "user", "content": PARTS},
    [{"role": "user", "content": ["1+", "1?"]}],
    json.dumps(CHAT),
    json.dumps(USER),
    json.dumps(PARTS),
    json.dumps(CHAT, indent=1).encode(),
    str(CHAT),  # as pandas puts a list into CSV
]


@pytest.mark.parametrize("cell", QUESTIONS, ids=range(len(QUESTIONS)))
def test_a_question_is_found_in_every_form(cell):
    assert prompt_text(cell) == "1+1?"


def test_text_that_looks_like_data_stays():
    for text in ("[1, 2, 3]", "{1, 2}", '{"a": 1}', "[[1, 2], [3]]", "[The role and content]", "5"):
        assert prompt_text(text) == text == answer_text(text)
    assert prompt_text(5) == "5"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (72, "72"),
        (72.0, "72"),
        (Decimal("72.00"), "72"),
        (Decimal("1E+2"), "100"),
        (1e-7, "0.0000001"),
        (-0.5, "-0.5"),
        (b"72", "72"),
        (PARTS, "1+1?"),
        (PARTS[0], "1+"),
        (datetime.date(2026, 11, 27), "2026-11-27"),
        ([1, 2.0], "1, 2"),
    ],
)
def test_answers_are_text(cell, text):
    assert answer_text(cell) == text


@pytest.mark.parametrize(
    ("read", "cell", "words"),
    [
        (answer_text, {"value": 72}, "a group of the fields value at 'cell'"),
        (answer_text, [["1"], ["2"]], r"a list at 'cell\.0'"),
        (answer_text, ["1", {"a": 1}], r"a group of the fields a at 'cell\.1'"),
        (answer_text, ["1", None], r"nothing at 'cell\.1'"),
        (answer_text, CHAT, r"a group of the fields role, content at 'cell\.0'"),
        (answer_text, json.dumps(CHAT), "chat messages at 'cell'"),
        (answer_text, float("inf"), "inf at 'cell', expected a finite number"),
        (answer_text, b"\xff", "bytes that are not UTF-8 at 'cell'"),
        (answer_text, "\ud800", "half a character"),
        (answer_text, datetime.timedelta(1), "a timedelta at 'cell'"),
        (answer_text, ("a", "b"), "a list at 'cell'"),
        (prompt_text, {"text_en": "1+1?"}, "a group of the fields text_en at 'cell'"),
        (prompt_text, ["1+1?", "2+2?"], "a list of texts at 'cell'"),
        (prompt_text, [CHAT], r"a list at 'cell\.0'"),
        (prompt_text, str(CHAT)[:-1], "chat messages that are not JSON"),
        (prompt_text, [{"role": "user", "content": {"a": 1}}], r"at 'cell\.0\.content'"),
        (
            prompt_text,
            [{"role": "user", "content": [*PARTS, {"type": "image"}]}],
            r"a part of the type 'image' at 'cell\.0\.content\.2'",
        ),
        (prompt_text, [{"role": "user", "content": "\udfff"}], r"at 'cell\.0\.content'"),
    ],
)
def test_what_is_no_text_is_named_with_its_path(read, cell, words):
    with pytest.raises(UserError, match=f"has .*{words}"):
        read(cell)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json", ".arrow"])
def test_files_name_the_row_and_the_path(tmp_path, suffix):
    path = tmp_path / f"f{suffix}"
    rows = [{"prompt": [USER], "answer": {"value": value}} for value in ("2", None)]
    if suffix == ".arrow":
        table = pyarrow.Table.from_pylist(rows)
        with (
            pyarrow.OSFile(str(path), "wb") as file,
            pyarrow.ipc.new_stream(file, table.schema) as out,
        ):
            out.write_table(table)
    else:
        write(path, rows)
    with pytest.raises(UserError, match=rf"f{suffix}: row 0 has a group of .*value at 'answer'"):
        QuestionFile(str(path)).questions()
    with pytest.raises(UserError, match=r"row 1 has an empty 'answer\.value'"):
        QuestionFile(str(path), answer_column="answer.value").questions()


def test_parquet_of_bytes_maps_and_dictionaries(tmp_path):
    text = pyarrow.array(["4", "4"]).dictionary_encode()
    table = pyarrow.table({"prompt": pyarrow.array([b"2+2", b"1+3"]), "answer": text})
    parquet.write_table(table, tmp_path / "f.parquet")
    found = QuestionFile(str(tmp_path / "f.parquet")).questions()
    assert [(q.prompt, q.answer) for q in found] == [("2+2", "4"), ("1+3", "4")]
    kind = pyarrow.map_(pyarrow.string(), pyarrow.string())
    table = table.set_column(1, "answer", pyarrow.array([[("a", "4")]] * 2, kind))
    parquet.write_table(table, tmp_path / "f.parquet")
    with pytest.raises(UserError, match=r"row 0 has a list at 'answer\.0'"):
        QuestionFile(str(tmp_path / "f.parquet")).questions()


def test_dapo_reads_parts_and_refuses_pictures(tmp_path):
    wrapped = 'Answer: $Answer asks\n\n1+1?\n\nRemember "Answer:"'
    parts = [{"type": "text", "text": wrapped}]
    row = {"prompt": [{"role": "user", "content": parts}], "reward_model": {"ground_truth": 2.0}}
    found = DapoMath17k(write(tmp_path / "f.jsonl", [row])).questions()
    assert [(q.prompt, q.answer) for q in found] == [("1+1?", "2")]
    parts.append({"type": "image_url", "image_url": {"url": "x"}})
    with pytest.raises(
        UserError, match=r"row 0 has a part .*'image_url' at 'prompt\.0\.content\.1'"
    ):
        DapoMath17k(write(tmp_path / "f.jsonl", [row])).questions()
    row["prompt"], row["reward_model"] = wrapped, {"ground_truth": {"a": 1}}
    with pytest.raises(UserError, match=r"at 'reward_model\.ground_truth'"):
        DapoMath17k(write(tmp_path / "f.jsonl", [row])).questions()


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "content",
    [
        {"prompt": ["1", "2", "3"], "answer": [1, "2", 3.0]},
        {
            "prompt": {"0": "1", "1": "2", "2": "3"},
            "answer": {"0": "1", "1": "2", "2": "3"},
        },
        [{"prompt": n, "answer": n} for n in "123"],
    ],
)
def test_json_tables_by_columns_are_read_as_their_rows(tmp_path, content, indent):
    path = tmp_path / "f.json"
    path.write_text(json.dumps(content, indent=indent))
    found = QuestionFile(str(path)).questions()
    assert [(q.prompt, q.answer) for q in found] == [("1", "1"), ("2", "2"), ("3", "3")]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_columns_that_are_no_rows_are_not_one_row(tmp_path, suffix):
    path = tmp_path / f"f{suffix}"
    path.write_text(json.dumps({"prompt": ["1", "2", "3"], "answer": ["1", "2"]}))
    with pytest.raises(UserError, match="row 0 has a list of texts at 'prompt'"):
        QuestionFile(str(path)).questions()


def test_one_object_is_one_row_as_before(tmp_path):
    for text in ('{"prompt": "1", "answer": ["2", "3"]}', '{\n"prompt": "1",\n"answer": "2, 3"}'):
        (tmp_path / "f.json").write_text(text)
        assert [q.answer for q in QuestionFile(str(tmp_path / "f.json")).questions()] == ["2, 3"]


@pytest.mark.parametrize("name", ["f.json", "f.jsonl"])
@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"prompt": ' + "[" * 100_000, "[" * 900 + "]" * 900]
)
def test_deep_json_is_one_sentence(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=rf"{name}: "):
        QuestionFile(str(tmp_path / name)).questions()


@pytest.mark.parametrize("column", ["prompt", "answer", "key", "tag"])
def test_halves_of_characters_name_file_row_and_column(tmp_path, column):
    rows = [{"prompt": "1", "answer": "1", "key": f"k{n}", "tag": "t"} for n in range(2)]
    rows[1][column] = "a\ud83d"
    path = write(tmp_path / "f.jsonl", rows)
    with pytest.raises(UserError, match=rf"row 1 has half a character .* at '{column}'"):
        QuestionFile(path, id_column="key", tags=["tag"]).questions()


def test_folders_that_the_library_datasets_saved(tmp_path):
    held = datasets.Dataset.from_list([{"prompt": n, "answer": n} for n in "123"])
    held.save_to_disk(tmp_path / "one", num_shards=2)
    (tmp_path / "one" / "cache-1234.arrow").write_bytes(b"its own")
    assert [q.prompt for q in QuestionFile(str(tmp_path / "one")).questions()] == ["1", "2", "3"]
    both = datasets.DatasetDict({"train": held, "test": held.select([1])})
    both.save_to_disk(tmp_path / "two")
    found = QuestionFile(str(tmp_path / "two"), split="test").questions()
    assert [q.prompt for q in found] == ["2"]
    with pytest.raises(UserError, match="has the splits train, test"):
        QuestionFile(str(tmp_path / "two")).questions()
    (tmp_path / "bad.arrow").write_bytes(b"ARROW1")
    with pytest.raises(UserError, match=r"bad\.arrow' cannot be read as \.arrow"):
        QuestionFile(str(tmp_path / "bad.arrow")).questions()
