"""JSON lines in blocks: parsed by polars, or line by line where a block is not plain enough for it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import polars as pl

from .ahead import ahead
from .documents import LARGEST_DOCUMENT, document_blocks, is_document, no_key_twice
from .layout import Columns
from .rows import INTEGERS, kind
from .tokens import LOG_PROBABILITY_FIELDS, OF_TOKENS

BLOCK = 8 << 20
LONGEST_LINE = 64 << 20
MOST_PARTS = 1 << 22
"""Values that a line may hold: lists of tokens have fewer."""

MOST_COLUMNS = 1 << 14
LOOKED_AT = 64
"""Lines by which the columns of a file are judged."""

BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def blocks(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """(number of its first line, whole lines, bytes read so far), in about 8 MiB each.

    Raises:
        ValueError: a line longer than 64 MiB, text that is not UTF-8.
    """
    if is_document(path):
        yield from document_blocks(path, _whole(path))
        return
    line, done, rest = 1, 0, b""
    for chunk, done in _chunks(path):
        data = rest + (_without_mark(path, chunk) if line == 1 and not rest else chunk)
        cut = data.rfind(b"\n") + 1
        rest = data[cut:]
        if len(rest) > LONGEST_LINE:
            number = line + data.count(b"\n", 0, cut)
            raise ValueError(f"{path}, line {number}: longer than {LONGEST_LINE >> 20} MiB; is this a log of rollouts?")
        if cut:
            yield line, _utf8(path, line, data[:cut]), done
            line += data.count(b"\n", 0, cut)
    if rest.strip():
        yield line, _utf8(path, line, rest), done


def _whole(path: Path) -> bytes:
    """All of a file that is one JSON document."""
    parts, total = [], 0
    for chunk, _ in _chunks(path):
        parts.append(_without_mark(path, chunk) if not parts else chunk)
        total += len(chunk)
        if total > LARGEST_DOCUMENT:
            raise ValueError(
                f"{path}: one JSON document of more than {LARGEST_DOCUMENT >> 20} MiB; write a record a line, "
                "e.g. with jq -c '.[]'"
            )
    return b"".join(parts)


def _chunks(path: Path) -> Iterator[tuple[bytes, int]]:
    """(text, bytes of the file read so far), decompressed where the name ends in .gz or .zst."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("rb"))
        text = file
        if path.suffix.lower() == ".gz":
            text = stack.enter_context(gzip.GzipFile(fileobj=file))
        elif path.suffix.lower() == ".zst":
            import pyarrow as pa  # its zstd is the one at hand before Python 3.14

            text = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(file), "zstd"))
        try:
            while chunk := text.read(BLOCK):
                yield chunk, file.tell()
        except (OSError, EOFError) as error:
            raise ValueError(f"{path}: damaged or cut off ({error})") from None


def _without_mark(path: Path, chunk: bytes) -> bytes:
    for mark, name in BYTE_ORDER_MARKS.items():
        if chunk.startswith(mark):
            raise ValueError(f"{path}: {name} text; it must be UTF-8")
    return chunk.removeprefix(b"\xef\xbb\xbf")


def _utf8(path: Path, line: int, block: bytes) -> bytes:
    if block.isascii():  # ten times faster than decoding
        return block
    try:
        block.decode()
    except UnicodeDecodeError as error:
        number = line + block.count(b"\n", 0, error.start)
        raise ValueError(f"{path}, line {number}: not UTF-8 text (byte {block[error.start]:#04x})") from None
    return block


def typical_record(path: Path) -> dict[str, Any]:
    """The columns of the first lines, each with the first value in it that is not null.

    Raises:
        ValueError: there is no line, or one is no object.
    """
    found: dict[str, Any] = {}
    for line, block, _ in blocks(path):
        for number, record in islice(records(path, line, block), LOOKED_AT):
            check_width(len(_an_object(path, number, record)))
            for name, value in record.items():
                found[name] = value if found.get(name) in (None, []) else found[name]
        if found:
            return found
    raise ValueError("no line with anything in it")


def records(path: Path, line: int, block: bytes) -> Iterator[tuple[int, Any]]:
    """(line number, value) of every line that is not blank.

    Raises:
        ValueError: a line that is not JSON.
    """
    for number, text in enumerate(block.split(b"\n"), start=line):
        _check_parts(path, number, text)
        if text.strip():
            try:
                yield number, json.loads(text, object_pairs_hook=no_key_twice)
            except KeyError as error:
                raise ValueError(f"{path}, line {number}: the key {error.args[0]!r} twice in one object") from None
            except (ValueError, RecursionError) as error:
                where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
                cut = " (is the file cut off, or still being written?)" if not block.endswith(b"\n") else ""
                raise ValueError(f"{path}, line {number}: not JSON{where}{cut}") from None


def _check_parts(path: Path, line: int, text: bytes) -> None:
    if len(text) > MOST_PARTS and text.count(b",") > MOST_PARTS:
        raise ValueError(f"{path}, line {line}: more than {MOST_PARTS:,} values; is this a log of rollouts?")


def check_width(columns: int) -> None:
    """Refuse tables of more columns than a log has.

    Raises:
        ValueError: there are too many.
    """
    if columns > MOST_COLUMNS:
        raise ValueError(f"has {columns:,} columns; at most {MOST_COLUMNS:,} are read")


def _an_object(path: Path, number: int, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise ValueError(f"{path}, line {number}: a JSON {type(record).__name__}; every line must be an object {{...}}")
    return record


def schema(record: Mapping[str, Any], columns: Columns) -> dict[str, pl.DataType]:
    """Types of the columns that are used, judged by a typical record; "a.b" is field b of object a."""
    roles = {name: role for role, name in columns.single.items()} | dict.fromkeys(columns.mask, "mask")
    found = {}
    for name in columns.used:
        value, spread = value_at(record, name), name in columns.lists
        value = value[0] if spread and value else value
        dtype = _type(roles.get(name), value, name in columns.group)
        found[name] = pl.List(dtype) if spread else dtype
    return found


def value_at(record: Mapping[str, Any], name: str) -> Any:
    """The value of that name, or of field b of the object a for "a.b"; None where there is none."""
    value: Any = record
    for part in [name] if name in record else name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _type(role: str | None, value: Any, is_key: bool) -> pl.DataType:
    if role in INTEGERS and not isinstance(value, list):
        return pl.String() if isinstance(value, str) else pl.Int64()
    if is_key:
        return pl.String()
    if isinstance(value, list):
        return pl.List(_type(role, next((part for part in value if part is not None), None), False))
    if isinstance(value, dict) and role in ("log_prob", "current_log_prob"):
        known = [name for name in (*OF_TOKENS, *LOG_PROBABILITY_FIELDS) if name in value]
        return pl.Struct({name: _type(role, value[name], False) for name in known}) if known else pl.Float64()
    return pl.Boolean() if isinstance(value, bool) else pl.Float64()


def _nested(flat: Mapping[str, pl.DataType], names: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with objects as they are in the file."""
    tree: dict[str, Any] = {}
    for name, dtype in flat.items():
        *path, last = [name] if name in names else name.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = dtype

    def closed(branch: dict[str, Any]) -> dict[str, Any]:
        return {name: pl.Struct(closed(part)) if isinstance(part, dict) else part for name, part in branch.items()}

    return closed(tree)


def tables(path: Path, record: Mapping[str, Any], columns: Columns) -> Iterator[tuple[pl.DataFrame, pl.Series, int]]:
    """(rows, their line numbers, bytes read so far), block by block.

    Args:
        path: the file.
        record: a typical one, which says what types the columns have.
        columns: which are read.

    Raises:
        ValueError: a line that is no JSON object or whose columns have other types than in the first lines.
    """
    for (_, _, done), (raw, place) in ahead(blocks(path), partial(_parsed, path, record, columns)):
        yield raw, place, done


def _parsed(
    path: Path, record: Mapping[str, Any], columns: Columns, part: tuple[int, bytes, int]
) -> tuple[pl.DataFrame, pl.Series]:
    line, block, _ = part
    if len(block) > 2 * BLOCK:  # it holds a line that is longer than a block
        for number, text in enumerate(block.split(b"\n"), start=line):
            _check_parts(path, number, text)
    flat = schema(record, columns)
    wanted = _nested(flat, record)
    count = block.count(b"\n") + (not block.endswith(b"\n"))
    try:
        raw = None if columns.lists else pl.read_ndjson(block, schema=wanted)
    except pl.exceptions.PolarsError:
        raw = None
    if raw is None or raw.height != count or not _plain(raw, block, record):
        return _line_by_line(path, line, block, flat, record)
    return raw, pl.int_range(line, line + count, eager=True)


def _plain(raw: pl.DataFrame, block: bytes, record: Mapping[str, Any]) -> bool:
    """Whether polars must have read what is there: it takes a key given twice, and objects as the ids of groups."""
    some = [column for column in raw if column.null_count() < column.len()]
    keys = [column for column in some if column.dtype == pl.String]
    if any(column.str.contains(r"^[\[{]").any() for column in keys if not _is_nested(record.get(column.name))):
        return False
    named = sum(block.count(f'"{column.name}"'.encode()) for column in some)
    return named == sum(column.len() - column.null_count() for column in some)


def _line_by_line(
    path: Path, line: int, block: bytes, flat: Mapping[str, pl.DataType], record: Mapping[str, Any]
) -> tuple[pl.DataFrame, pl.Series]:
    """What is not plain: blank lines, infinities, a name that comes twice, whole numbers written as 3.0."""
    numbers: list[int] = []
    values: dict[str, list[Any]] = {name: [] for name in flat}
    for number, found in records(path, line, block):
        numbers.append(number)
        for name, column in values.items():
            column.append(value_at(_an_object(path, number, found), name))
    made = {name: _series(path, numbers, name, column, flat[name], record) for name, column in values.items()}
    return pl.DataFrame(made), pl.Series(numbers, dtype=pl.Int64)


def _series(
    path: Path, numbers: list[int], name: str, values: list[Any], dtype: pl.DataType, record: Mapping[str, Any]
) -> pl.Series:
    """The values of a column.

    Raises:
        ValueError: one of them is of another type, with its line.
    """
    nested = _is_nested(value_at(record, name))
    for number, value in zip(numbers, values, strict=True):
        if not _fits(value, dtype, nested):
            word = {"string": "text", "int64": "a whole number", "float64": "a number", "boolean": "true or false"}
            shown = json.dumps(value)[:60]
            expected = word.get(kind(dtype), "a list of numbers")
            raise ValueError(f"{path}, line {number}: {name} is {shown}; {_expected(name, expected, value, record)}")
    if dtype == pl.String:  # as polars writes them in plain blocks
        text = "".join(json.dumps({"k": value}) + "\n" for value in values)
        return pl.read_ndjson(text.encode(), schema={"k": dtype}).to_series()
    if dtype == pl.List(pl.String):
        values = [
            None if row is None else [None if part is None else _key_text(part) for part in row] for row in values
        ]
    if dtype == pl.Int64:
        values = [None if value is None else int(value) for value in values]
    return pl.Series(values, dtype=dtype, strict=False)


def _fits(value: Any, dtype: pl.DataType, nested: bool) -> bool:
    if value is None:
        return True
    if isinstance(dtype, pl.List):
        inner = cast("pl.DataType", dtype.inner)
        if inner == pl.Float64:
            return isinstance(value, list) and all(part is None or _is_number(part) for part in value)
        return isinstance(value, list) and all(_fits(part, inner, True) for part in value)
    if isinstance(dtype, pl.Struct):
        fields = {field.name: cast("pl.DataType", field.dtype) for field in dtype.fields}
        return isinstance(value, dict) and all(_fits(value.get(name), part, nested) for name, part in fields.items())
    if dtype == pl.String:
        return nested or not isinstance(value, (dict, list))
    if dtype == pl.Boolean:
        return isinstance(value, bool)
    whole = dtype != pl.Int64 or (value == value // 1 and abs(value) < 2**63 if _is_number(value) else False)
    return _is_number(value) and whole


def _key_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _expected(name: str, expected: str, value: Any, record: Mapping[str, Any]) -> str:
    """What a value should be: of the type in the first lines, or, where it is of that type, of a type that is read."""
    first = value_at(record, name)
    if type(first) is not type(value):
        return f"in the first lines it is {expected}"
    if isinstance(value, dict):
        field = f"{name}.{next(iter(value), 'x')}"
        return f"an object, of which {expected} is read: say which field with --column, e.g. {field}"
    return f"it must be {expected}"


def _is_nested(value: Any) -> bool:
    return isinstance(value, (dict, list))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
