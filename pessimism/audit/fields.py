"""Which column of a log means what: roles, users' mappings of them, and the layouts that trainers write."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..shell.hints import near
from ..trainers.trainer import layouts
from .layout import Columns, Layout

ROLES = {
    "group": "the prompt or group that a sample belongs to",
    "reward": "the reward of the sample",
    "log_prob": "its log-probability under the policy that sampled it, of the whole completion or per token, nats",
    "current_log_prob": "the same under the policy being trained",
    "version": "the version of the policy that sampled it, a whole number",
    "step": "the trainer's step that used it, a whole number",
    "length": "its length in tokens",
}
"""What a column can be; only ``group`` and ``reward`` are needed."""

REQUIRED = ("group", "reward")
TERM = re.compile(r"\s*(?:(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*)?\s*(?P<column>.+?)\s*")


def parse_columns(settings: Sequence[str]) -> dict[str, str]:
    """Role and text of every ``ROLE=COLUMN``.

    >>> parse_columns(["reward=score", "group=step+prompt"])
    {'reward': 'score', 'group': 'step+prompt'}
    """
    found: dict[str, str] = {}
    for setting in settings:
        role, equals, text = setting.partition("=")
        role = role.strip()
        if not equals or not text.strip():
            raise ValueError(f"--column {setting!r} is not of the form ROLE=COLUMN, e.g. reward=score")
        if role not in ROLES:
            raise ValueError(f"--column {setting!r}: unknown role {role!r}; {near(role, ROLES, 'roles')}")
        if role in found:
            raise ValueError(f"--column: the role {role!r} is given twice")
        found[role] = text.strip()
    return found


def resolve(names: Collection[str], numeric: Collection[str], given: Mapping[str, str]) -> tuple[Columns, str]:
    """The columns of a file and the name of its layout ("" for a file of nobody's in particular).

    Args:
        names: the file's top-level columns.
        numeric: those of them that hold numbers.
        given: roles that the user mapped.

    Raises:
        ValueError: a column that is not there, a required role that no column has, or a layout that has none.

    >>> resolve(["prompt_id", "reward", "log_prob"], ["reward", "log_prob"], {"group": "prompt_id"})[0].used
    ('prompt_id', 'reward', 'log_prob')
    """
    layout = layout_of(names)
    if layout.refusal and not given:
        raise ValueError(f"{layout.name}: {layout.refusal}")
    columns = _plain(names) if not layout.name else layout.columns
    if layout.other_numbers and "reward" not in given:
        columns = replace(columns, reward=_only_reward(layout, names, numeric))
    for role, text in given.items():
        columns = _mapped(columns, role, text, names)
    for column in columns.used:
        if column not in names and column.split(".")[0] not in names:
            raise ValueError(f"no column {column!r}; {near(column, names, 'columns')}")
    for role in REQUIRED:
        if not getattr(columns, role):
            raise ValueError(
                f"no column {role!r} ({ROLES[role]}); say which it is with --column {role}=NAME; "
                f"{near(role, names, 'columns')}"
            )
    return columns, layout.name


def layout_of(names: Collection[str]) -> Layout:
    """The layout that a file with these columns has, the first match first; one without a name if none has."""
    present = frozenset(names)
    for layout in layouts():
        if layout.needs and layout.needs <= present and not layout.forbids & present:
            return layout
    return Layout("", frozenset())


def layout_by_suffix(suffix: str) -> Layout | None:
    """The layout that files of this suffix have, whatever is in them."""
    return next((layout for layout in layouts() if suffix in layout.suffixes), None)


def _plain(names: Collection[str]) -> Columns:
    single: dict[str, Any] = {role: role for role in ROLES if role not in REQUIRED and role in names}
    return Columns(
        group=("group",) if "group" in names else (), reward=((1.0, "reward"),) if "reward" in names else (), **single
    )


def _only_reward(layout: Layout, names: Collection[str], numeric: Collection[str]) -> tuple[tuple[float, str], ...]:
    found = [name for name in names if name in numeric and name not in layout.other_numbers]
    if len(found) == 1:
        return ((1.0, found[0]),)
    if not found:
        raise ValueError(f"{layout.name}: no column of rewards; say which it is with --column reward=NAME")
    raise ValueError(
        f"{layout.name}: {', '.join(found)} could each be rewards; say how they make up the reward, e.g. "
        f"--column 'reward={'+'.join(found)}' (with reward_weights: 'reward=1.0*{found[0]}+0.5*{found[1]}')"
    )


def _mapped(columns: Columns, role: str, text: str, names: Collection[str]) -> Columns:
    if role == "group":
        parts = (text,) if text in names else tuple(part.strip() for part in text.split("+"))
        return replace(columns, group=parts, trim=None, in_runs=False)
    if role == "reward":
        terms = ((1.0, text),) if text in names else tuple(_term(part) for part in text.split("+"))
        return replace(columns, reward=terms)
    return replace(columns, **{role: text})


def _term(text: str) -> tuple[float, str]:
    match = TERM.fullmatch(text)
    if match is None:
        raise ValueError(f"--column reward: {text!r} is not COLUMN or WEIGHT*COLUMN")
    return float(match["weight"] or 1.0), match["column"]
