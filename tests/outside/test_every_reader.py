"""Every file that somebody else may have written is read inside ``reading``; no test catches all.

A new reader that forgets it fails here, before a damaged file finds it.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Calls that read a file's content, or make sense of it.
READERS = {
    *("json.load", "json.loads", "yaml.load", "yaml.safe_load", "tomllib.load", "pickle.load"),
    *("read_text", "read_bytes", "pq.read_table", "read_schema", "ParquetFile", "read_parquet"),
    *("torch.load", "load_file", "safe_open", "np.load", "EventAccumulator"),
}
# Blocks that name the file; the second is the question files' own, which ends in the first.
BLOCKS = {"reading", "_readable"}
# What this project has just written itself or keeps in memory, and where others' files are checked.
OWN = {
    "fgexpo/model/hf_folder.py": "text of transformers' own writer, and a checkpoint's copy",
    "fgexpo/rollout/vllm/server.py": "replies of a server, whose errors name it",
    "fgexpo/rollout/vllm/server_facts.py": "the same",
    "fgexpo/rollout/vllm/answers.py": "the same, read by server.py",
    "fgexpo/rollout/vllm/flat_answers.py": "requests to a server, which are answered with an error",
    "fgexpo/gym/datasets.py": "settings that the source wrote",
    "fgexpo/gym/details.py": "a text that the source wrote",
    "fgexpo/isolated/worker.py": "lines of the process that started it",
    "fgexpo/isolated/process.py": "lines of a process that it started",
    "fgexpo/robustness/watchdog/store.py": "values of the run's own store",
    "fgexpo/robustness/watchdog/thread.py": "the system's /proc",
    "fgexpo/plan/shape.py": "text that it made itself",
    "fgexpo/robustness/order.py": "a checkpoint's own record; what cannot be read is put last",
    "fgexpo/tasks/cells.py": "a text that may be JSON; if it is not, it is text",
    "fgexpo/tasks/json_rows.py": "the reader of JSON tables, with sentences that name the line",
    "fgexpo/hub/proof.py": "a base's weights; what cannot be read proves nothing",
    "fgexpo/evaluation/identity.py": "text that it made itself",
    "fgexpo/study/task.py": "a log that is shown as it is, whatever is in it",
    "fgexpo/study/checks.py": "a log that it made itself",
    "fgexpo/cli/check_run.py": "a configuration that it wrote itself",
    "fgexpo/cli/study_arguments.py": "the project's own example",
    "fgexpo/catalogue/nodes.py": "configurations, left to the parser if unread",
    "fgexpo/catalogue/slots.py": "the project's own source",
    "fgexpo/catalogue/source.py": "the project's own source",
    "fgexpo/catalogue/foreign.py": "the source of PyTorch and Lightning",
    "fgexpo/cli/own_flags.py": "the project's own source",
}


FILES = {
    str(path.relative_to(ROOT)): path
    for folder in ("fgexpo", "callbacks", "datamodules")
    for path in (ROOT / folder).rglob("*.py")
}


def unguarded(tree):
    """Names and lines of the readers' calls that no ``with reading(...)`` surrounds."""
    found = []

    def visit(node, guarded):
        if isinstance(node, ast.FunctionDef) and is_helper(node):
            guarded = True
        if isinstance(node, ast.With):
            calls = [item.context_expr for item in node.items]
            # The block's own items are read in it, too, once it is open.
            inside = guarded
            for call in calls:
                visit(call, inside)
                inside = inside or (isinstance(call, ast.Call) and last_name(call) in BLOCKS)
            for child in node.body:
                visit(child, inside)
            return
        if isinstance(node, ast.Call) and not guarded:
            name = dotted(node.func)
            if name in READERS or last_name(node) in READERS:
                found.append((name, node.lineno))
        for child in ast.iter_child_nodes(node):
            visit(child, guarded)

    def is_helper(function):
        """Called inside a block of the same file alone."""
        return function.name in helpers

    calls_inside, calls_outside = set(), set()

    def count(node, guarded):
        if isinstance(node, ast.With):
            guarded = guarded or any(
                isinstance(item.context_expr, ast.Call) and last_name(item.context_expr) in BLOCKS
                for item in node.items
            )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            (calls_inside if guarded else calls_outside).add(node.func.id)
        for child in ast.iter_child_nodes(node):
            count(child, guarded)

    count(tree, False)
    helpers = calls_inside - calls_outside
    visit(tree, False)
    return found


def dotted(node):
    return ast.unparse(node)


def last_name(call):
    return dotted(call.func).rpartition(".")[2]


def test_files_of_others_are_read_inside_reading():
    bare = {
        name: unguarded(ast.parse(path.read_text()))
        for name, path in FILES.items()
        if name not in OWN
    }
    assert {name: found for name, found in bare.items() if found} == {}


def test_the_list_of_exceptions_has_no_dead_entry():
    for name in OWN:
        assert unguarded(ast.parse((ROOT / name).read_text())), f"{name} needs no exception"


def test_a_forgotten_reader_would_be_seen():
    bare = "def f(path):\n    return json.loads(path.read_text())\n"
    assert [name for name, _ in unguarded(ast.parse(bare))] == ["json.loads", "path.read_text"]
    held = (
        "def f(path):\n    with reading(path, 'x'):\n        return json.loads(path.read_text())\n"
    )
    assert unguarded(ast.parse(held)) == []
    elsewhere = "with reading(path, 'x'):\n    parse(1)\ndef parse(x):\n    return json.loads(x)\n"
    assert unguarded(ast.parse(elsewhere)) == []
    both = elsewhere + "parse(2)\n"
    assert [name for name, _ in unguarded(ast.parse(both))] == ["json.loads"]


# Classes that would take a bug for the failure that a test waits for.
EVERYTHING = {"Exception", "BaseException"}


def catches_everything(tree):
    """Lines where any error at all would do."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            names = [] if node.type is None else [dotted(node.type)]
            raised = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            if not raised and (node.type is None or set(names) & EVERYTHING):
                found.append(node.lineno)
        elif (
            isinstance(node, ast.Call)
            and last_name(node) in ("raises", "suppress")
            and {dotted(argument) for argument in node.args} & EVERYTHING
        ):
            found.append(node.lineno)
    return found


def test_no_test_catches_every_exception_to_pass():
    caught = {
        str(path.relative_to(ROOT)): catches_everything(ast.parse(path.read_text()))
        for path in (ROOT / "tests").rglob("*.py")
    }
    assert {name: lines for name, lines in caught.items() if lines} == {}


def test_such_a_catch_would_be_seen():
    for line in ("with pytest.raises(Exception): f()", "with suppress(Exception): f()"):
        assert catches_everything(ast.parse(line)) == [1]
    for handler in ("except Exception:", "except:", "except BaseException:"):
        assert catches_everything(ast.parse(f"try:\n    f()\n{handler}\n    pass")) == [3]
    assert catches_everything(ast.parse("try:\n    f()\nexcept OSError:\n    pass")) == []
