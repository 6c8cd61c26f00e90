"""What a refusal looks like, and files that deserve one."""

from fgexpo.cli import main

BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


def refused(arguments, capsys, *words, status=2):
    """The command's one sentence, or one a mistake, each in a line of its own."""
    try:
        found = main([str(argument) for argument in arguments])
    except SystemExit as end:
        found = end.code
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if "error:" in line]
    assert (found, len(lines)) == (status, 1), said
    assert "Traceback" not in said
    told = said[said.index(lines[0]) :]
    others = told.splitlines()[1:]
    assert all(line.startswith("       ") for line in others), "the sentence comes last"
    for word in words:
        assert word in told, told
    return told.strip()


DEEP = "[" * 100_000
BYTES = {
    "empty": b"",
    "binary": bytes(range(256)),
    "utf16": '{"a": 1}'.encode("utf-16"),
    "zeros": bytes(1000),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "deep": DEEP.encode(),
    "deep mappings": b'{"a":' * 100_000,
    "digits": b"1" * 10_000,
    "list": b"[]",
    "number": b"3",
    "text": b'"results"',
    "null": b"null",
}


KINDS = [*BYTES, "folder", "circle", "missing"]


def write_bad(folder, kind, name="x.json"):
    """A file of one of these kinds."""
    path = folder / name
    if kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path)
    elif kind != "missing":
        path.write_bytes(BYTES[kind])
    return path
