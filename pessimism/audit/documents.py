"""Files that are one JSON document: an array of records, a table of W&B, or a column a key."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LARGEST_DOCUMENT = 256 << 20
"""A document is parsed whole, and takes about ten times as much memory; records on lines of their own do not."""

HEAD = 1 << 16
RECORDS_AT_ONCE = 4096


def is_document(path: Path) -> bool:
    """Whether a file is one JSON document rather than a record a line: an array, or an object over several lines.

    A table of W&B (``{"columns": [...], "data": [[...], ...]}``) is one even on a single line.
    """
    if path.suffix.lower() in (".zst",):
        return False
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            head = file.read(HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
    except (OSError, EOFError):
        return False  # told where it is read
    if head.startswith(b"["):
        return True
    first = head.partition(b"\n")[0].strip()
    return first == b"{" or b"".join(head[:200].split()).startswith((b'{"columns":[', b'{"data":['))


def document_blocks(path: Path, text: bytes) -> Iterator[tuple[int, bytes, int]]:
    """The records of a document as lines: (number of the first, lines, bytes so far), a few thousand at a time.

    Raises:
        ValueError: no document of records.
    """
    try:
        document = json.loads(text, object_pairs_hook=no_key_twice)
    except KeyError as error:
        raise ValueError(f"{path}: the key {error.args[0]!r} twice in one object") from None
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"{path}{line}: not JSON{where} (it begins like a JSON array or a single object)") from None
    rows = _records(path, document)
    for first in range(0, len(rows), RECORDS_AT_ONCE):
        part = rows[first : first + RECORDS_AT_ONCE]
        done = len(text) * (first + len(part)) // len(rows)
        yield first + 1, "".join(json.dumps(row) + "\n" for row in part).encode(), done


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs.

    Raises:
        KeyError: a key that comes twice, of which JSON does not say which one counts.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise KeyError(next(name for name in names if names.count(name) > 1))
    return found


def _records(path: Path, document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    columns, data = document.get("columns"), document.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        for number, row in enumerate(data, start=1):
            if not isinstance(row, list) or len(row) != len(columns):
                raise ValueError(f"{path}, row {number}: {len(columns)} columns, but {json.dumps(row)[:60]}")
        return [dict(zip(map(str, columns), row, strict=True)) for row in data]
    if isinstance(data, list):
        return data
    return [document]
