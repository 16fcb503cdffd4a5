"""Configurations that are objects of the running program: mappings, dataclasses (GRPOConfig), pydantic models."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

from .document import PYTHON, Document
from .formats import MAX_DEPTH, check_size


def object_documents(config: object) -> list[Document]:
    """What a configuration holds, once under the name of its class and once under that of every class above it.

    Values that no file could hold (devices, functions, tensors) are left out.

    Raises:
        ValueError: it is no mapping, no dataclass and has no ``model_dump``, or it is too large.

    >>> [document.values for document in object_documents({"beta": 0.1, "model": object()})]
    [{'beta': 0.1}]
    """
    kind = type(config)
    values = _inside(config)
    if values is None:
        what = f"the class {config.__name__}" if isinstance(config, type) else f"an object of {kind.__name__}"
        raise ValueError(f"config is {what}; it must be a path, a mapping, a dataclass's object or a pydantic model")
    try:
        plain = {str(key): made for key, value in values.items() if (made := _plain(value, 1)) is not _LEFT_OUT}
        check_size(plain)
    except RecursionError:
        raise ValueError(f"config: values are nested more than {MAX_DEPTH} deep") from None
    if isinstance(config, Mapping):
        return [Document("config", plain)]
    names = [own.__name__ for own in kind.__mro__ if own is not object]
    return [Document(f"{kind.__name__} object", plain, suffix=PYTHON[0], entry=name) for name in names]


_LEFT_OUT = object()


def _inside(value: object) -> Mapping[Any, Any] | None:
    """The named values of a mapping, a dataclass's object or a pydantic model; None of anything else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    found = dump() if callable(dump) else None
    return found if isinstance(found, Mapping) else None


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (str, int, float)):
        return value
    inner = _inside(value)
    if inner is not None:
        parts = ((str(key), _plain(part, depth + 1)) for key, part in inner.items())
        return {key: part for key, part in parts if part is not _LEFT_OUT}
    if isinstance(value, (list, tuple)):
        return [part for part in (_plain(one, depth + 1) for one in value) if part is not _LEFT_OUT]
    return _LEFT_OUT
