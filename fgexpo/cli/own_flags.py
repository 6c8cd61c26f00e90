"""The flags of the commands that are this project's own, read from their source."""

import ast
from pathlib import Path


def own_flags(command: str) -> tuple[dict[str, str], list[str]]:
    """The types of a command's flags by name, and the names of its positional arguments.

    They are what the command's file passes to ``add_argument``.
    """
    flags: dict[str, str] = {}
    places: list[str] = []
    for node in ast.walk(ast.parse(Path(__file__).with_name(f"{command}.py").read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        named = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        if node.func.attr != "add_argument" or not named:
            continue
        given = {each.arg: ast.unparse(each.value) for each in node.keywords}
        for name in map(str, named):
            if not name.startswith("-"):
                places.append(name)
            elif "action" in given:
                flags[name.lstrip("-")] = "flag"
            else:
                flags[name.lstrip("-")] = given.get("type", "str")
    return flags, places
