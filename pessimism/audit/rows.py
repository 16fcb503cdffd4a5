"""Rows as the audit sees them, whatever file they came from: keys of the group, numbers, and the place in the file."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from .layout import Columns

NO_NUMBER = np.iinfo(np.int64).min
"""Stands for a version or step that is missing."""

pc: Any = pyarrow.compute  # its functions are made when it is imported

KEY = "key"
FLOATS = ("log_prob", "current_log_prob", "length")
INTEGERS = ("version", "step")


def canonical(raw: pa.Table, columns: Columns, file: int, place: np.ndarray) -> pa.Table:
    """Keys ``key0``, ... as text, ``reward`` and what else there is as numbers, ``file`` and ``place``.

    Args:
        raw: the columns of a file, with their own names.
        columns: which is which.
        file: number of the file.
        place: (n,) line or row of each row in its file, counted from 1.

    Raises:
        ValueError: a column that does not hold what its role needs.
    """
    parts: dict[str, pa.Array] = {}
    for index, name in enumerate(columns.group):
        keys = _text(_at(raw, name), _said("group", name))
        last = index == len(columns.group) - 1
        parts[f"{KEY}{index}"] = pc.replace_substring_regex(keys, columns.trim, "") if columns.trim and last else keys
    parts["reward"] = pa.array(_reward(raw, columns))
    for role, name in columns.single.items():
        column = _at(raw, name)
        if role in INTEGERS:
            parts[role] = pa.array(_integers(column, _said(role, name)))
        elif _is_list(column.type):
            parts[role], lengths = _list_sums(column)
            if columns.length is None:
                parts["length"] = lengths
        else:
            parts[role] = pa.array(_floats(column, _said(role, name)))
    parts["file"] = pa.array(np.full(raw.num_rows, file, dtype=np.int32))
    parts["place"] = pa.array(place)
    return pa.table(parts)


def _said(role: str, name: str) -> str:
    return role if role == name else f"{role} ({name})"


def _at(raw: pa.Table, name: str) -> pa.Array:
    """The column of that name, or the field a.b of a column a."""
    if name in raw.column_names:
        return _whole(raw.column(name))
    head, *path = name.split(".")
    try:
        return pc.struct_field(_whole(raw.column(head)), path)
    except (KeyError, pa.ArrowException):
        raise ValueError(f"no column {name!r}: {head!r} has no such field") from None


def _whole(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    array = array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _text(keys: pa.Array, what: str) -> pa.Array:
    if pa.types.is_nested(keys.type):  # messages of a chat: their JSON
        return pa.array([None if key is None else json.dumps(key) for key in keys.to_pylist()], pa.large_string())
    try:
        text = pc.cast(keys, pa.large_string())
        text.validate(full=True)
    except pa.ArrowException:
        raise ValueError(f"{what} holds {keys.type}, and not all of it is UTF-8 text") from None
    return text


def _reward(raw: pa.Table, columns: Columns) -> np.ndarray:
    terms = [weight * _floats(_at(raw, name), _said("reward", name)) for weight, name in columns.reward]
    if not columns.missing_is_zero:
        return np.sum(terms, axis=0)
    absent = np.isnan(terms)
    return np.where(absent.all(axis=0), np.nan, np.where(absent, 0.0, terms).sum(axis=0))


def _floats(column: pa.Array, what: str) -> np.ndarray:
    """float64, NaN where there is none."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or _is_null(kind)):
        raise ValueError(f"{what} holds {kind}; it must hold numbers")
    return _numpy(pc.cast(column, pa.float64(), safe=False), np.nan)


def _integers(column: pa.Array, what: str) -> np.ndarray:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or _is_null(kind)):
        raise ValueError(f"{what} holds {kind}; it must hold whole numbers")
    if pa.types.is_floating(kind):  # how pandas writes whole numbers with gaps
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    try:
        return _numpy(pc.cast(column, pa.int64()), NO_NUMBER)
    except pa.ArrowException as error:
        raise ValueError(f"{what} must hold whole numbers: {error}") from None


def _is_null(kind: pa.DataType) -> bool:
    return pa.types.is_null(kind)


def _numpy(column: pa.Array, missing: float) -> np.ndarray:
    if column.null_count:
        column = pc.fill_null(column, pa.scalar(missing, column.type))
    return column.to_numpy(zero_copy_only=False)


def _list_sums(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Sum over tokens in double precision (NaN where the list or one of its numbers is missing), and their number.

    A token that is more probable than certain makes the sum so too: it must not hide behind the others.
    """
    if pa.types.is_fixed_size_list(column.type):
        column = pc.cast(column, pa.large_list(column.type.value_type))
    values = _floats(pc.list_flatten(column), "log-probabilities")
    lengths = _numpy(pc.cast(pc.list_value_length(column), pa.int64()), 0)
    ends = np.cumsum(lengths)
    some = lengths > 0
    sums, tops = np.zeros(len(lengths)), np.full(len(lengths), -np.inf)
    if some.any():
        starts = (ends - lengths)[some]
        with np.errstate(invalid="ignore"):
            sums[some] = np.add.reduceat(values, starts)
            tops[some] = np.maximum.reduceat(values, starts)
    sums = np.where(tops > 0, np.maximum(sums, tops), sums) if (tops > ROUNDING).any() else sums
    sums[pc.is_null(column).to_numpy(zero_copy_only=False)] = np.nan
    return pa.array(sums), pa.array(lengths.astype(np.float64))


ROUNDING = 1e-5
"""Log-probabilities above zero by no more than this are rounding in single precision."""
