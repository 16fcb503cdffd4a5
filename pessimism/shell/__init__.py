"""Files, names that users write, hints: what touches the world outside; for the terminal see its own module."""

from ..extras import need
from ..given import understood, understood_algorithm
from ..hints import near
from .files import write_whole
from .objects import is_object_name, load_object

__all__ = ["is_object_name", "load_object", "near", "need", "understood", "understood_algorithm", "write_whole"]
