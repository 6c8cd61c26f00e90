import pytest

from fgexpo.errors import UserError
from fgexpo.outside.null_flags import spell_out_nulls
from fgexpo.outside.parser import making, told


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (
            "Parser key \"jobs\":\n  Expected a <class 'int'>. Got value: x",
            "jobs: expected a whole number, got x",
        ),
        (
            'Parser key "akl":\n'
            "  Does not validate against any of the Union subtypes\n"
            "  Subtypes: [A, B]\n"
            "  Errors:\n"
            "    - Problem with given class_path 'A':\n"
            '        Parser key "rho":\n'
            "          Expected a dot import path string: Tan\n"
            "    - Expected a <class 'NoneType'>\n"
            "  Given value type: <class 'X'>\n"
            "  Given value: X(key='rho')",
            "akl.rho: no class is named 'Tan'",
        ),
        (
            'Parser key "n":\n'
            "  Does not validate against any of the Union subtypes\n"
            "  Errors:\n"
            "    - Expected a <class 'int'>\n"
            "    - Expected a <class 'NoneType'>\n"
            "  Given value: x",
            "n: expected a whole number or null, got 'x'",
        ),
        ("Parser key \"config\": Path is not a file: 'a'", "--config: Path is not a file: 'a'"),
        ("unrecognized arguments:   --x\n", "unrecognized arguments: --x"),
    ],
)
def test_the_parsers_report_in_one_sentence(report, sentence):
    assert told(report) == sentence


def test_what_a_library_says_about_a_setting_is_bad_input():
    words = "the configuration: invalid literal"
    with pytest.raises(UserError, match=words), making("the configuration"):
        int("x")


def test_an_error_out_of_this_projects_code_is_a_bug():
    from fgexpo.metrics import pass_at_k

    with pytest.raises(TypeError) as caught, making("the configuration"):
        pass_at_k("n", "c", "k")
    assert "the configuration" not in str(caught.value)


def test_a_null_flag_of_an_inner_class_reaches_it():
    flags = ["--model.template.answer=null", "--akl.rho.init_args.high=~", "--data.decay=null"]
    flags += ["--model.loss.kl.x=null", "--data.val.tiny.per_cell=null", "--steps=null"]
    assert [*spell_out_nulls(flags)] == [
        '--model.template={"answer": null}',
        '--akl.rho={"high": null}',
        "--data.decay=null",
        '--model.loss={"kl": {"x": null}}',
        *("--data.val.tiny.per_cell=null", "--steps=null"),
    ]
