"""Bandits from files, and files written whole."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import secrets
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..bandit import Bandit

ARRAYS = ("behavior", "reward", "reference")
REQUIRED = ARRAYS[:2]
CONTEXT = "context"
STANDARD_INPUT = "-"
MAX_NESTING = 32
LARGEST_FILE = 256 << 20
"""Bytes of a file, and of an array in it: JSON takes several times as much memory."""

DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_bandit(path: str | os.PathLike[str]) -> Bandit:
    """The bandit in a JSON, CSV or NPZ file; the suffix says which. ``-`` is standard input, whose content tells.

    JSON: one object with the keys ``behavior``, ``reward`` and, if there is one, ``reference``: numbers in lists,
    nested as the batch shape asks, arms innermost: (..., K).

    CSV (comma-separated, UTF-8): a header with the columns ``behavior``, ``reward`` and, if there is one,
    ``reference``, in any order; one arm per row. A column ``context`` makes a batch (contexts, K): rows with the same
    text belong together, whether adjacent or not; contexts and the arms within each keep the order in which they
    appear, and all have the same number of arms. Without that column the file is a single bandit (K,).

    NPZ: arrays ``behavior``, ``reward`` and, if there is one, ``reference``, integer or floating-point, (..., K).
    Nothing is unpickled.

    Raises:
        ValueError: the file cannot be read, is not what its suffix says, or does not hold a bandit. The message names
            the file and the place in it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "coins.csv"
    ...     _ = path.write_text("behavior,reward,context\\n0.5,0,first\\n0.5,1,first\\n0.1,1,second\\n0.9,0,second\\n")
    ...     read_bandit(path).reward
    array([[0., 1.],
           [1., 0.]])
    """
    readers: dict[str, Callable[[bytes], dict[str, Any]]] = {".json": _json, ".csv": _csv, ".npz": _npz}
    given = os.fspath(path)
    suffix = Path(path).suffix.lower()
    if given != STANDARD_INPUT and suffix not in readers:
        raise ValueError(f"{given}: the suffix is {suffix!r}; it must be one of {', '.join(readers)}")
    try:
        content = _standard_input() if given == STANDARD_INPUT else _whole_file(Path(path))
        if not content:
            raise ValueError("it is empty" if given == STANDARD_INPUT else "the file is empty")
        return Bandit(**readers[suffix or _suffix_of(content)](content))
    except OSError as error:
        raise ValueError(f"{given}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{'standard input' if given == STANDARD_INPUT else given}: {error}") from None


def _standard_input() -> bytes:
    content = sys.stdin.buffer.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"has more than {LARGEST_FILE >> 20} MiB")
    return content


def _suffix_of(content: bytes) -> str:
    """What file this is the content of: an archive, JSON (which begins with a bracket), or else CSV."""
    if content.startswith(b"PK"):
        return ".npz"
    return ".json" if content.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] in (b"{", b"[") else ".csv"


def _whole_file(path: Path) -> bytes:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("is no regular file (but a pipe or a device)")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"has more than {LARGEST_FILE >> 20} MiB")
    return path.read_bytes()


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise a ValueError if no file could be written there, so that a long computation need not run first."""
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"{os.fspath(path)}: is a folder, not a file")
    if not target.resolve().parent.is_dir():
        raise ValueError(f"{os.fspath(path)}: there is no folder {str(target.parent)!r}")


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    The content goes to a temporary file in the same folder, which then takes the name. Links are followed. What is
    there and is no ordinary file (/dev/stdout, a pipe) is written to directly.

    Raises:
        ValueError: no such folder, no permission, no space.
    """
    check_writable(path)
    target = Path(path).resolve()
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        # Not tempfile.NamedTemporaryFile: its files are private to the user, whatever the umask says.
        temporary = target.parent / f".pessimism-{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # else a crash of the machine could leave the new name on an empty file
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"{os.fspath(path)}: {error.strerror or error}") from None


# --- formats --------------------------------------------------------------------------------------------------------


def _json(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(_text(content), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise ValueError(f"lists are nested more than {MAX_NESTING} deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"the outermost value is {_json_kind(found)}; it must be an object with the keys {_listed()}")
    _check_names("key", list(found))
    return {name: np.array(_rows(name, value), dtype=np.float64) for name, value in found.items()}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} appears twice")
        found[name] = value
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; every entry must be a finite number")


def _json_kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    kinds = {dict: "an object", list: "a list", str: "a text"}
    return kinds.get(type(value), "a number")


def _rows(place: str, value: Any, depth: int = 0) -> Any:
    """The nested lists as they are, if they hold nothing but numbers and are not ragged."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and depth > 0:
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{place} is too large for a float; every entry must be a finite number") from None
    if not isinstance(value, list):
        allowed = "a number or a list" if depth else "a list of numbers"
        raise ValueError(f"{place} is {_json_kind(value)}; it must be {allowed}")
    if depth == MAX_NESTING:
        raise ValueError(f"{place.split('[')[0]}: lists are nested more than {MAX_NESTING} deep")
    parts = [_rows(f"{place}[{index}]", part, depth + 1) for index, part in enumerate(value)]
    shapes = [np.shape(part) for part in parts]
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(f"{place}[{index}] has shape {shape} where {place}[0] has {shapes[0]}; rows must be alike")
    return parts


def _csv(content: bytes) -> dict[str, Any]:
    reader = csv.reader(io.StringIO(_text(content), newline=""), strict=True)
    columns: list[str] = []
    values: dict[str, list[float]] = {}
    contexts: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = [cell.strip() for cell in cells]
                _check_columns(columns)
                values = {name: [] for name in columns if name != CONTEXT}
                continue
            if len(cells) != len(columns):
                raise ValueError(
                    f"line {reader.line_num} has {len(cells)} cells where the header has {len(columns)} columns"
                )
            for name, cell in zip(columns, cells, strict=True):
                if name == CONTEXT:
                    contexts.append(cell.strip())
                else:
                    values[name].append(parse_number(cell, f"line {reader.line_num}, column {name}"))
    except csv.Error as error:
        raise ValueError(f"not CSV: {error} (line {reader.line_num})") from None
    if not columns:
        raise ValueError("the file is empty")
    if not values["behavior"]:
        raise ValueError("there is a header, but no arm below it")
    if not contexts:
        return {name: np.array(column) for name, column in values.items()}
    order = _by_context(contexts)
    return {name: np.array(column)[order] for name, column in values.items()}


def _check_columns(columns: list[str]) -> None:
    for name in columns:
        if columns.count(name) > 1:
            raise ValueError(f"the column {name!r} appears twice")
    try:
        _check_names("column", [name for name in columns if name != CONTEXT], f"{_listed()}, {CONTEXT}")
    except ValueError as error:
        hint = " (cells are separated by commas)" if any(mark in "".join(columns) for mark in ";\t") else ""
        raise ValueError(f"{error}{hint}") from None


def _by_context(contexts: list[str]) -> np.ndarray:
    """Row numbers (contexts, K), contexts and arms in order of appearance."""
    rows: dict[str, list[int]] = {}
    for row, context in enumerate(contexts):
        rows.setdefault(context, []).append(row)
    first = next(iter(rows))
    for context, found in rows.items():
        if len(found) != len(rows[first]):
            raise ValueError(
                f"context {context!r} has {len(found)} arms where context {first!r} has {len(rows[first])}; "
                "all must have the same number"
            )
    return np.array(list(rows.values()))


def _npz(content: bytes) -> dict[str, Any]:
    if content.startswith(np.lib.format.MAGIC_PREFIX):
        raise ValueError("not NPZ: a single array; save with numpy.savez(path, behavior=..., reward=...)")
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError("not NPZ, or damaged: it is no zip archive")
    try:
        _check_sizes(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            _check_names("array", archive.files)
            found = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, KeyError) as error:
        raise ValueError(f"not NPZ, or damaged: {error}") from None
    except MemoryError:
        raise ValueError("its arrays do not fit into memory") from None
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} is no array in numpy's format")
        if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
            raise ValueError(f"{name} has dtype {array.dtype}; it must be integer or floating-point")
    return found


def _check_sizes(content: bytes) -> None:
    """Refuse arrays that are larger than they may be, or than what the archive holds, before they are allocated."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                    continue
                major, minor = file.read(2)
                if (major, minor) not in readers:
                    continue
                shape, _, dtype = readers[major, minor](file)
            size = max(math.prod(shape) * dtype.itemsize, member.file_size)
            if size > min(LARGEST_FILE, member.file_size):
                name = member.filename.removesuffix(".npy")
                raise ValueError(
                    f"{name} has shape {str(shape)[:80]} and asks for {size:.3g} bytes of memory; the archive holds "
                    f"{member.file_size}, and at most {LARGEST_FILE >> 20} MiB are read"
                )


# --- parts ----------------------------------------------------------------------------------------------------------


def parse_number(text: str, place: str) -> float:
    """A finite number as people write it, fractions included; ``place`` begins the message of the ValueError.

    >>> parse_number(" 1/3 ", "behavior[0]")
    0.3333333333333333
    >>> parse_number("1,5", "line 3, column reward")
    Traceback (most recent call last):
    ...
    ValueError: line 3, column reward: '1,5' is not a finite number (write 0.25, 1e-3 or 1/3)
    """
    numerator, slash, denominator = text.partition("/")
    number = _decimal(numerator)
    if slash:
        divisor = _decimal(denominator)
        number = number / divisor if divisor else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{place}: {text.strip()!r} is not a finite number (write 0.25, 1e-3 or 1/3)")
    return number


def _decimal(text: str) -> float:
    """float() without its extras (underscores, words, digits of other scripts); NaN for anything else."""
    return float(text) if DECIMAL.fullmatch(text.strip()) else math.nan


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {content[error.start]:#04x} at position {error.start})") from None


def _check_names(what: str, names: list[str], known: str | None = None) -> None:
    for name in names:
        if name not in ARRAYS:
            raise ValueError(f"unknown {what} {name!r}; known: {known or _listed()}")
    for name in REQUIRED:
        if name not in names:
            raise ValueError(f"the {what} {name!r} is missing")


def _listed() -> str:
    return ", ".join(ARRAYS)
