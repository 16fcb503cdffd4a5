"""Which column of a log means what: roles, users' mappings of them, and the layouts that trainers write."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..hints import near
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
    "mask": "a list of 0 and 1 per token, 1 for those that the policy wrote",
}
"""What a column can be; only ``group`` and ``reward`` are needed."""

REQUIRED = ("group", "reward")

MASKS = (
    "loss_mask",
    "response_mask",
    "completion_mask",
    "action_mask",
    "assistant_masks",
    "assistant_mask",
    "tool_mask",
)
"""Names under which a list of 0 and 1 per token says which tokens the policy wrote."""

PROMPTS = ("prompt", "question", "problem", "query", "messages")
"""Names whose equal values make a group, where no column is called ``group``."""

EACH = "[]"
"""Ends the name of a column that holds a list with a value for every sample."""

SINGLE = ("log_prob", "current_log_prob", "version", "step", "length")
"""Roles that one column has."""

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


@dataclass(frozen=True)
class Header:
    """The columns of a file.

    Attributes:
        names: its top-level columns.
        numbers: those that hold numbers, or lists of them.
        lists: those that hold a list in every row.
    """

    names: Collection[str]
    numbers: Collection[str] = ()
    lists: Collection[str] = ()


def resolve(header: Header, given: Mapping[str, str]) -> tuple[Columns, str]:
    """The columns of a file and the name of its layout ("" for a file of nobody's in particular).

    Args:
        header: what columns there are.
        given: roles that the user mapped.

    Raises:
        ValueError: a column that is not there, a required role that no column has, or a layout that has none.

    >>> resolve(Header(["prompt_id", "reward", "log_prob"]), {"group": "prompt_id"})[0].used
    ('prompt_id', 'reward', 'log_prob')
    """
    names = header.names
    layout = layout_of(names)
    if layout.refusal and not given:
        raise ValueError(f"{layout.name}: {layout.refusal}")
    columns = _plain(names) if not layout.name else layout.columns
    if layout.other_numbers and "reward" not in given:
        columns = replace(columns, reward=_only_reward(layout, names, header.numbers))
    for role, text in given.items():
        columns = _mapped(columns, role, text, names)
    columns = _present(columns, names)
    for column in columns.used:
        if column not in names and column.split(".")[0] not in names:
            raise ValueError(f"no column {column!r}; {near(column, names, 'columns')}")
    for role in REQUIRED:
        if not getattr(columns, role):
            raise ValueError(
                f"no column {role!r} ({ROLES[role]}); say which it is with --column {role}=NAME; "
                f"{near(role, names, 'columns')}"
            )
    if "mask" not in given:
        columns = replace(columns, mask=tuple(name for name in MASKS if name in header.lists))
    return _spread(columns, header.lists), layout.name


def _present(columns: Columns, names: Collection[str]) -> Columns:
    """Without the roles that this version of a layout leaves out."""
    gone = [role for role in columns.optional if (name := getattr(columns, role)) and name not in names]
    return replace(columns, **dict.fromkeys(gone, None))


def _spread(columns: Columns, lists: Collection[str]) -> Columns:
    """The columns that hold a value for every sample: those marked with [], or all where even the group is a list."""
    marked = [name for name in columns.lists if name in lists]
    whole = any(name in lists for name in columns.group) and all(name in lists for _, name in columns.reward)
    return replace(columns, lists=tuple(name for name in columns.used if name in lists) if whole else tuple(marked))


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
    single: dict[str, Any] = {role: role for role in SINGLE if role in names}
    return Columns(group=_named(names), reward=((1.0, "reward"),) if "reward" in names else (), **single)


def _named(names: Collection[str]) -> tuple[str, ...]:
    """What names a group: the column ``group``, or the prompt, of one step where steps are logged."""
    if "group" in names:
        return ("group",)
    prompt = next((name for name in PROMPTS if name in names), None)
    return () if prompt is None else ("step", prompt) if "step" in names else (prompt,)


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
    marked = tuple(found[: -len(EACH)] for found in re.split(r"[+*]", text) if found.strip().endswith(EACH))
    if marked and text not in names:
        text = text.replace(EACH, "")
        columns = replace(columns, lists=(*columns.lists, *(name.strip() for name in marked)))
    if role == "mask":
        return replace(columns, mask=(text,) if text in names else tuple(part.strip() for part in text.split("+")))
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
