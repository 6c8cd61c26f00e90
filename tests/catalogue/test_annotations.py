"""What is told from annotations alone agrees with the parser that reads the same values."""

from typing import Literal

import pytest
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from fgexpo.catalogue import read_catalogue
from fgexpo.catalogue.annotations import takes, wanted
from fgexpo.cli.nodes import compose, written
from fgexpo.outside.documents import bound_documents

TYPES = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "int | None": int | None,
    "Optional[Union[int, float]]": int | float | None,
    "bool | int": bool | int,
    "Literal['a', 'b']": Literal["a", "b"],
    "Literal['a', 'b'] | None": Literal["a", "b"] | None,
    "list[int]": list[int],
    "list[float] | None": list[float] | None,
    "str | list[str]": str | list[str],
    "tuple[str, ...]": tuple[str, ...],
    "dict[str, int]": dict[str, int],
    "list[tuple[float, float]]": list[tuple[float, float]],
}
VALUES = (
    *("1", "1.0", "1.5", "1e3", "1e-4", ".5", "-1", "+1", "1_000", "0x10", "010", "1.", "1:30"),
    *("nan", ".inf", "inf", "true", "True", "yes", "null", "None", "~", "abc", "a", '"1"', "'a'"),
    *("[1]", "[1, 2]", "[a]", "[]", "[[1, 2]]", "[1.5]", "{a: 1}", "{a: b}", "2020-01-01"),
)


@pytest.mark.parametrize("annotation", TYPES)
def test_what_is_refused_the_parser_refuses_too(annotation, tmp_path):
    bound_documents()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--x", type=TYPES[annotation])
    parser.add_argument("--config", action="config")
    path = tmp_path / "x.yaml"
    refused = 0
    for value in VALUES:
        path.write_text(f"x: {value}\n")
        node = compose(f"x: {value}\n")
        assert isinstance(node, yaml.MappingNode)
        # The parser takes a null for every type, and the class would then fail on it.
        cases = [(written(value), [f"--x={value}"], False)]
        cases += [(node.value[0][1], ["--config", str(path)], True)] * (value not in ("null", "~"))
        for given, arguments, strict in cases:
            assert given is not None
            if takes(annotation, given, strict):
                continue
            refused += 1
            with pytest.raises(ArgumentError):
                parser.parse_args(arguments)
    assert refused > (annotation not in ("str", "str | list[str]")) * len(VALUES)


def test_types_in_words():
    assert wanted("int | float | None") == "a number or null"
    assert wanted("Literal['a', 'b'] | None") == "'a', 'b' or null"
    assert wanted("list[int]") == "a list of whole numbers"


def test_a_choice_that_a_package_exports_again_is_written_out():
    settings = read_catalogue().settings("fgexpo.callbacks.schedule.Schedule")
    assert settings[0].type.startswith("Literal['kl_coef', ")
