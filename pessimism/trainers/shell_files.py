"""Scripts that a shell script sources or starts, looked for by the path that it writes."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from .formats import MAX_BYTES, read_text
from .hydra import MAX_UP


def script_text(folder: Path, name: str) -> str | None:
    """The text of another script; None where it is not at hand.

    What a run would have to tell (``$ROOT/``) and what stands before it is left out of the path. The rest is looked for
    in the script's own folder and in those above it, the longest part first; a name alone in the own folder only.
    """
    parts = PurePosixPath(name).parts
    for start in range(len(parts)):
        rest = parts[start:]
        if any("$" in part for part in rest) or rest[0] == "/":
            continue
        places = [folder, *folder.parents[:MAX_UP]] if len(rest) > 1 and rest[0] != ".." else [folder]
        for place in places:
            path = place.joinpath(*rest)
            if path.is_file():
                return _text(path)
    return None


def _text(path: Path) -> str | None:
    try:
        return read_text(path, MAX_BYTES)
    except (OSError, ValueError):
        return None
