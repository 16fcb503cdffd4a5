"""Rows as the audit sees them, whatever file they came from: keys of the group, numbers, and the place in the file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import polars as pl

from .layout import Columns
from .token_sums import TokenLists, log_prob_sums, ratio_sums
from .tokens import counted_tokens, plain_lists, token_lists

NO_NUMBER = np.iinfo(np.int64).min
"""Stands for a version or step that is missing."""

KEY = "key"
INTEGERS = ("version", "step")


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
    raw, place = one_row_per_sample(raw, columns, place)
    parts: dict[str, pl.Series | np.ndarray] = {}
    for index, name in enumerate(columns.group):
        keys = _text(_at(raw, name), _said("group", name))
        last = index == len(columns.group) - 1
        parts[f"{KEY}{index}"] = keys.str.replace(columns.trim, "") if columns.trim and last else keys
    parts["reward"] = _reward(raw, columns)
    lists: dict[str, TokenLists] = {}
    for role, name in columns.single.items():
        column = plain_lists(_at(raw, name))
        if role in INTEGERS:
            parts[role] = _integers(column, _said(role, name))
        elif role != "length" and isinstance(column.dtype, pl.List | pl.Array):
            lists[role] = _tokens(column, _said(role, name))
        else:
            parts[role] = floats(column, _said(role, name))
    parts |= _of_tokens(raw, columns, lists, place)
    parts["file"] = np.full(raw.height, file, dtype=np.int32)
    parts["place"] = place.cast(pl.Int64)
    return pl.DataFrame(parts)


def one_row_per_sample(raw: pl.DataFrame, columns: Columns, place: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """Rows that hold a list for each column, a value per sample, as a row per sample; others as they are.

    Raises:
        ValueError: lists of different lengths in one row.
    """
    spread = [name for name in dict.fromkeys(columns.lists) if isinstance(raw.schema[name], pl.List)]
    if not spread:
        return raw, place
    lengths = [raw.get_column(name).list.len().fill_null(0).to_numpy() for name in spread]
    for name, length in zip(spread, lengths, strict=True):
        differs = np.flatnonzero(length != lengths[0])
        if len(differs):
            row = differs[0]
            raise ValueError(
                f"at {place[int(row)]}: {spread[0]} has {lengths[0][row]} values and {name} {length[row]}; "
                "a row of lists needs one for every sample in each"
            )
    some = pl.Series(lengths[0] > 0)
    return raw.filter(some).explode(spread), pl.Series(np.repeat(place.to_numpy(), lengths[0]))


def _of_tokens(
    raw: pl.DataFrame, columns: Columns, lists: dict[str, TokenLists], place: pl.Series
) -> dict[str, np.ndarray]:
    """What values per token say of every sample: sums over the tokens that the policy wrote, and their number."""
    masks = {name: _tokens(_at(raw, name), _said("mask", name)) for name in columns.mask}
    kept = {
        role: tokens.keep(counted_tokens(masks, tokens, _said(role, columns.single[role]), place)) if masks else tokens
        for role, tokens in lists.items()
    }
    found = {role: log_prob_sums(tokens) for role, tokens in kept.items()}
    counted = next(iter(kept.values())).lengths if kept else next((mask.sums() for mask in masks.values()), None)
    if counted is not None and columns.length is None:
        found["length"] = counted.astype(np.float64)
    if len(kept) == 2:
        found |= ratio_sums(kept["log_prob"], kept["current_log_prob"])
    return found


def _tokens(column: pl.Series, what: str) -> TokenLists:
    if not isinstance(column.dtype, pl.List | pl.Array):
        raise ValueError(f"{what} holds {kind(column.dtype)}; it must hold numbers, or a list of them per sample")
    return token_lists(column, partial(floats, what=what))


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
    if isinstance(column.dtype, pl.Struct):
        fields = ", ".join(field.name for field in column.dtype.fields[:8])
        raise ValueError(f"{what} holds objects with {fields}; say which of them with --column reward={what}.NAME")
    if not column.dtype.is_nested():
        return floats(column, what)
    values = column.list.sum() if isinstance(column.dtype, pl.List) else column.arr.sum()
    some_missing = column.explode().null_count() > column.null_count()
    if some_missing or not column.explode().dtype.is_numeric():
        raise ValueError(f"{what} holds {kind(column.dtype)}; it must hold numbers, or lists of numbers")
    return floats(values, what)


def floats(column: pl.Series, what: str) -> np.ndarray:
    """float64, NaN where there is none.

    Raises:
        ValueError: a column of something else.
    """
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise ValueError(f"{what} holds {kind(column.dtype)}; it must hold numbers")
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _integers(column: pl.Series, what: str) -> np.ndarray:
    if isinstance(column.dtype, pl.List):  # one per token or message: the oldest counts; prompts have -1
        flat = pl.Series(_integers(column.explode(), what))
        length = column.list.len().fill_null(0).to_numpy().clip(1)
        owner = np.repeat(np.arange(len(length)), length)
        known = flat.to_numpy() >= 0
        oldest = np.full(len(length), np.iinfo(np.int64).max)
        np.minimum.at(oldest, owner[known], flat.to_numpy()[known])
        return np.where(oldest == np.iinfo(np.int64).max, NO_NUMBER, oldest)
    if column.dtype == pl.String:
        column = _parsed_integers(column, what)
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


def _parsed_integers(column: pl.Series, what: str) -> pl.Series:
    """Whole numbers from text that holds nothing else: "3", "step_3", "v3"."""
    digits = column.str.extract(r"^\s*(?:[A-Za-z][A-Za-z_ -]*)?(-?\d{1,18})\s*$")
    odd = column.filter(column.is_not_null() & digits.is_null())
    if odd.len():
        raise ValueError(f"{what} is {odd[0][:60]!r}; it must be a whole number, or text that ends in one")
    return digits.cast(pl.Int64)


def key_names(names: Sequence[str]) -> list[str]:
    """The columns that make a group's id."""
    return [name for name in names if name.startswith(KEY)]
