"""A lock on a folder: one process at a time writes there."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ..shell.files import write_whole

LOCK, HOLDER = ".lock", ".lock.json"
LEFTOVERS = (".pessimism-*", ".unfinished-*")
"""Names of what is being written: only a writer that was killed leaves such files behind."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, and remove what killed writers left unfinished in it.

    The operating system keeps the lock, so it ends with the process, however that ends.

    Args:
        folder: is made if it is missing.

    Raises:
        ValueError: another process holds it (the message says which, where and since when), or it cannot be made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, held(Path(folder)):
    ...     with held(Path(folder)):
    ...         pass  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: ...: is in use by process ... on ..., since ...; wait until it ends, or take another folder
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"{folder}: is in use by {_holder(folder)}; wait until it ends, or take another folder"
        ) from None
    except OSError as error:
        raise ValueError(f"{folder}: {error.strerror or error}") from None
    try:
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": _now()}
        write_whole(folder / HOLDER, json.dumps(holder).encode())
        _remove_leftovers(folder)
        yield
    finally:
        for name in (HOLDER, LOCK):
            with suppress(OSError):  # the folder may be gone; Windows keeps a file that is open
                (folder / name).unlink()
        lock.release()


def _now() -> str:
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds")


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER).read_bytes())
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just taken the lock
        return "another process"


def _remove_leftovers(folder: Path) -> None:
    """In the folder and those directly inside it."""
    for pattern in LEFTOVERS:
        for path in (*folder.glob(pattern), *folder.glob(f"*/{pattern}")):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
