"""Values per token as files hold them: lists of numbers in whatever form, and which of their tokens count."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from .token_sums import TokenLists

OF_TOKENS = ("content", "token_logprobs")
"""Fields of an object that hold what there is of every token."""

LOG_PROBABILITY_FIELDS = ("logprob", "logprobs", "log_prob")
"""Fields that hold a token's log-probability."""


def token_lists(column: pl.Series, floats: Callable[[pl.Series], np.ndarray]) -> TokenLists:
    """The tokens of a column of lists of numbers; ``floats`` makes numbers of a flat one, or refuses."""
    column = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    lengths = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    values = floats(column.filter(pl.Series(lengths > 0)).explode())
    return TokenLists(values, lengths, column.is_null().to_numpy())


def plain_lists(column: pl.Series) -> pl.Series:
    """Lists of numbers from the objects in which inference engines give log-probabilities, others as they are.

    ``{"content": [{"token": ..., "logprob": x}, ...]}`` (chat completions), ``{"token_logprobs": [x, ...]}``
    (completions) and ``[{"logprob": x}, ...]``.

    >>> plain_lists(pl.Series([{"content": [{"token": "a", "logprob": -0.5}]}])).to_list()
    [[-0.5]]
    """
    if isinstance(column.dtype, pl.Struct):
        names = [field.name for field in column.dtype.fields]
        inside = next((name for name in OF_TOKENS if name in names), None)
        return column if inside is None else plain_lists(column.struct.field(inside))
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else None
    if isinstance(inner, pl.Struct):
        names = [field.name for field in inner.fields]
        for name in LOG_PROBABILITY_FIELDS:
            if name in names:
                return column.list.eval(pl.element().struct.field(name))
    return column


def counted_tokens(masks: Mapping[str, TokenLists], like: TokenLists, what: str, place: pl.Series) -> np.ndarray:
    """(N,) the tokens that every mask counts, i.e. those that the policy wrote.

    Args:
        masks: name -> 1 for every token of the policy, 0 for one that the environment, a tool or padding put there.
        like: the log-probabilities that they are about.
        what: what those are called.
        place: (n,) where the samples are, for messages.

    Raises:
        ValueError: a mask of another length than the log-probabilities, or one that holds something else than 0 and 1.
    """
    counted = np.ones(len(like.values), dtype=bool)
    for name, mask in masks.items():
        differs = (mask.lengths != like.lengths) & ~like.missing
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            raise ValueError(
                f"{name} has {mask.lengths[row]} values and {what} {like.lengths[row]} at {place[row]}; a mask needs "
                "one for every log-probability (say which column fits with --column mask=NAME)"
            )
        kept = np.repeat(~like.missing, mask.lengths)
        values = mask.values[kept]
        odd = ~np.isin(values, (0.0, 1.0))
        if odd.any():
            raise ValueError(f"{name} holds {values[odd][0]:g}; a mask holds 0 and 1 (or false and true)")
        counted &= values == 1
    return counted
