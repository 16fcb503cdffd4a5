"""Parts of a composed algorithm as text: ``truncate(cap=2, level=sequence)``, several joined by ``*``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

CALL = re.compile(r"\s*(?P<name>[a-z_]\w*)\s*(?:\((?P<arguments>[^()]*)\))?\s*")


def told_call(name: str, arguments: Mapping[str, Any]) -> str:
    """A call as text.

    >>> told_call("truncate", {"cap": 2.0, "level": "sequence"})
    'truncate(cap=2, level=sequence)'
    """
    inner = ", ".join(
        f"{key}={value:g}" if isinstance(value, float | int) else f"{key}={value}" for key, value in arguments.items()
    )
    return f"{name}({inner})" if inner else name


def read_calls(text: str, makers: Mapping[str, Callable[..., Any]], what: str) -> tuple[Any, ...]:
    """The parts that a text writes, each made by the maker of its name.

    Args:
        text: calls joined by ``*``.
        makers: name -> function of keyword arguments; numbers are floats, anything else stays text.
        what: what the parts are called in messages.

    Raises:
        ValueError: text of another form, an unknown name or argument, or what the maker raises.

    >>> read_calls("dict(a=2, b=x)*dict", {"dict": dict}, "part")
    ({'a': 2.0, 'b': 'x'}, {})
    >>> read_calls("dicct(a=2)", {"dict": dict}, "part")
    Traceback (most recent call last):
    ...
    ValueError: unknown part 'dicct'; did you mean dict? known: dict
    """
    return tuple(_made(part, makers, what) for part in text.split("*"))


def _made(text: str, makers: Mapping[str, Callable[..., Any]], what: str) -> Any:
    match = CALL.fullmatch(text)
    if match is None:
        raise ValueError(f"{what} is {text.strip()!r}; write it as {next(iter(makers))}(key=value, ...)")
    name, arguments = match["name"], {}
    if name not in makers:
        close = get_close_matches(name, makers)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"unknown {what} {name!r}; {hint}known: {', '.join(makers)}")
    for argument in filter(None, (part.strip() for part in (match["arguments"] or "").split(","))):
        key, equals, value = (part.strip() for part in argument.partition("="))
        if not equals:
            raise ValueError(f"{what} {name}: {argument!r} is not of the form key=value")
        if key in arguments:
            raise ValueError(f"{what} {name}: {key} is given twice")
        arguments[key] = _value(value)
    try:
        return makers[name](**arguments)
    except TypeError as error:
        reason = re.sub(r"^\w+\(\) ", "", str(error))
        raise ValueError(f"{what} {name}: {reason}") from None


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
