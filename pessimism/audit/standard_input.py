"""Logs from standard input: put into a file whose name says what its first bytes are."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

STANDARD_INPUT = "-"
HEAD = 1 << 12
SIGNATURES = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\xff\xff\xff\xff": ".arrow",
    b"\x1f\x8b": ".jsonl.gz",
    b"\x28\xb5\x2f\xfd": ".jsonl.zst",
    b"SQLite format 3": ".db",
}


def suffix_of(head: bytes) -> str:
    """The suffix of a log that begins like this.

    >>> suffix_of(b'{"group": 1}'), suffix_of(b"PAR1..."), suffix_of(b"group,reward")
    ('.jsonl', '.parquet', '.csv')
    """
    for signature, suffix in SIGNATURES.items():
        if head.startswith(signature):
            return suffix
    return ".jsonl" if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[") else ".csv"


@contextmanager
def with_standard_input(logs: Sequence[str], stream: IO[bytes] | None = None) -> Iterator[list[str]]:
    """The logs, with a temporary file in place of "-".

    Raises:
        ValueError: "-" twice, or nothing on standard input.
    """
    if STANDARD_INPUT not in logs:
        yield list(logs)
        return
    if list(logs).count(STANDARD_INPUT) > 1:
        raise ValueError("-: standard input can be read once")
    source = sys.stdin.buffer if stream is None else stream
    head = source.read(HEAD)
    if not head:
        raise ValueError("-: nothing on standard input")
    with tempfile.TemporaryDirectory(prefix="pessimism-audit-") as folder:
        path = Path(folder) / f"standard_input{suffix_of(head)}"
        with path.open("wb") as file:
            file.write(head)
            shutil.copyfileobj(source, file)
        yield [str(path) if log == STANDARD_INPUT else log for log in logs]
