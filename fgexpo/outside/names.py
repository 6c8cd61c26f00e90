"""Names from a configuration that become names of files."""


def wrong_name(name: str) -> str | None:
    """Why a name from a configuration cannot be the name of a file or folder; None if it can."""
    if not name or name != name.strip() or not name.isprintable() or set(name) & set("/\\"):
        return f"{name!r} must be printable, without slashes and without spaces at its ends"
    if name.startswith("."):
        return f"{name!r} must not begin with a dot"
    if len(name.encode()) > 100:
        return f"{name[:40]!r}... must be at most 100 bytes long"
    return None
