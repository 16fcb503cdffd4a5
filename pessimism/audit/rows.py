"""Rows as the audit sees them, whatever file they came from: keys of the group, numbers, and the place in the file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from .layout import Columns

NO_NUMBER = np.iinfo(np.int64).min
"""Stands for a version or step that is missing."""

KEY = "key"
INTEGERS = ("version", "step")

ROUNDING = 1e-5
"""Log-probabilities above zero by no more than this are rounding in single precision."""


def canonical(raw: pl.DataFrame, columns: Columns, file: int, place: pl.Series) -> pl.DataFrame:
    """Keys ``key0``, ... as text, ``reward`` and what else there is as numbers, ``file`` and ``place``.

    Args:
        raw: the columns of a file, with their own names.
        columns: which is which.
        file: number of the file.
        place: (n,) line or row of each row in its file, counted from 1.

    Raises:
        ValueError: a column that does not hold what its role needs.
    """
    parts: dict[str, pl.Series | np.ndarray] = {}
    for index, name in enumerate(columns.group):
        keys = _text(_at(raw, name), _said("group", name))
        last = index == len(columns.group) - 1
        parts[f"{KEY}{index}"] = keys.str.replace(columns.trim, "") if columns.trim and last else keys
    parts["reward"] = _reward(raw, columns)
    for role, name in columns.single.items():
        column = _at(raw, name)
        if role in INTEGERS:
            parts[role] = _integers(column, _said(role, name))
        elif column.dtype.is_nested():
            parts[role], lengths = list_sums(column, _said(role, name))
            if columns.length is None:
                parts["length"] = lengths
        else:
            parts[role] = floats(column, _said(role, name))
    parts["file"] = np.full(raw.height, file, dtype=np.int32)
    parts["place"] = place.cast(pl.Int64)
    return pl.DataFrame(parts)


def _said(role: str, name: str) -> str:
    return role if role == name else f"{role} ({name})"


def _at(raw: pl.DataFrame, name: str) -> pl.Series:
    """The column of that name, or the field a.b of a column a."""
    if name in raw.columns:
        return raw.get_column(name)
    head, *path = name.split(".")
    column = raw.get_column(head)
    for part in path:
        if not isinstance(column.dtype, pl.Struct) or part not in column.struct.fields:
            raise ValueError(f"no column {name!r}: {head!r} has no such field")
        column = column.struct.field(part)
    return column


def kind(dtype: pl.DataType) -> str:
    """What a column holds, as messages say it.

    >>> kind(pl.String()), kind(pl.List(pl.Float64()))
    ('string', 'list(float64)')
    """
    return str(dtype).lower()


def _text(keys: pl.Series, what: str) -> pl.Series:
    if keys.dtype.is_nested():  # messages of a chat: their JSON
        wrapped = pl.struct(pl.col(keys.name).alias("k")).struct.json_encode()
        text = pl.when(pl.col(keys.name).is_not_null()).then(wrapped.str.slice(5).str.strip_suffix("}"))
        return keys.to_frame().select(text).to_series()
    try:
        return keys.cast(pl.String)
    except pl.exceptions.PolarsError:
        raise ValueError(f"{what} holds {kind(keys.dtype)}, and not all of it is UTF-8 text") from None


def _reward(raw: pl.DataFrame, columns: Columns) -> np.ndarray:
    terms = [weight * _term(_at(raw, name), _said("reward", name)) for weight, name in columns.reward]
    if not columns.missing_is_zero:
        return np.sum(terms, axis=0)
    absent = np.isnan(terms)
    return np.where(absent.all(axis=0), np.nan, np.where(absent, 0.0, terms).sum(axis=0))


def _term(column: pl.Series, what: str) -> np.ndarray:
    """A reward; one per token is summed."""
    if column.dtype.is_nested():
        values = column.list.sum() if isinstance(column.dtype, pl.List) else column.arr.sum()
        some_missing = column.explode().null_count() > column.null_count()
        if some_missing or not column.explode().dtype.is_numeric():
            raise ValueError(f"{what} holds {kind(column.dtype)}; it must hold numbers, or lists of numbers")
        return floats(values, what)
    return floats(column, what)


def floats(column: pl.Series, what: str) -> np.ndarray:
    """float64, NaN where there is none.

    Raises:
        ValueError: a column of something else.
    """
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise ValueError(f"{what} holds {kind(column.dtype)}; it must hold numbers")
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _integers(column: pl.Series, what: str) -> np.ndarray:
    if not (column.dtype.is_integer() or column.dtype.is_float() or column.dtype == pl.Null):
        raise ValueError(f"{what} holds {kind(column.dtype)}; it must hold whole numbers")
    if column.dtype.is_float():  # how pandas writes whole numbers with gaps
        column = column.fill_nan(None)
        odd = column.filter((column != column.floor()) | (column.abs() >= 2.0**63))
        if odd.len():
            raise ValueError(f"{what} must hold whole numbers of 64 bits: {odd[0]:g}")
    try:
        return column.cast(pl.Int64).fill_null(NO_NUMBER).to_numpy()
    except pl.exceptions.PolarsError:
        raise ValueError(f"{what} must hold whole numbers of 64 bits") from None


def list_sums(column: pl.Series, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Sum over tokens in double precision (NaN where the list or one of its numbers is missing), and their number.

    A token that is more probable than certain makes the sum so too: it must not hide behind the others.

    Raises:
        ValueError: a column of something else than lists of numbers.

    >>> list_sums(pl.Series([[-1.0, -2.0], [], None, [-1.0, None]]), "log_prob")
    (array([-3.,  0., nan, nan]), array([2., 0., 0., 2.]))
    """
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if not isinstance(column.dtype, pl.List):
        raise ValueError(f"{what} holds {kind(column.dtype)}; it must hold numbers, or a list of them per sample")
    lengths = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    some = lengths > 0
    values = floats(column.filter(pl.Series(some)).explode(), what)
    sums, tops = np.zeros(len(lengths)), np.full(len(lengths), -np.inf)
    if some.any():
        starts = (np.cumsum(lengths) - lengths)[some]
        with np.errstate(invalid="ignore"):
            sums[some] = np.add.reduceat(values, starts)
            tops[some] = np.maximum.reduceat(values, starts)
    sums = np.where(tops > 0, np.maximum(sums, tops), sums) if (tops > ROUNDING).any() else sums
    sums[column.is_null().to_numpy()] = np.nan
    return sums, lengths.astype(np.float64)


def key_names(names: Sequence[str]) -> list[str]:
    """The columns that make a group's id."""
    return [name for name in names if name.startswith(KEY)]
