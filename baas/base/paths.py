"""Paths that users write: labels of files in buckets and sites, never names on our disk."""

MAX_PATH_BYTES = 1024


def path_fault(path: str) -> str | None:
    """Why this is no path of a file, in plain words, or None when it is one.

    A path is 1 to 1,024 bytes of UTF-8: segments joined by `/`, none of them empty, `.` or `..`, without control characters and
    backslashes. So it is the same path to every client, browser and archive tool, and no two spellings name one file.
    """
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if not 1 <= size <= MAX_PATH_BYTES:
        return "is empty" if size == 0 else f"is longer than {MAX_PATH_BYTES} bytes"
    if any(character < " " or "\x7f" <= character <= "\x9f" or character == "\\" for character in path):
        return "holds a control character or a backslash"
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        return "has an empty segment, '.' or '..'"
    return None


def folder_and_name(path: str) -> tuple[str, str]:
    """`a/b/c.txt` -> (`a/b`, `c.txt`); a file at the top has the folder ''."""
    folder, _, name = path.rpartition("/")
    return folder, name
