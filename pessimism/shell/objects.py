"""What users name: bandits and algorithms, ours and, as ``module:name``, their own; and what their code raises."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..algorithm import Algorithm
from ..bandit import Bandit
from ..compose import KEYS
from ..objectives.catalogue import algorithm
from .files import parse_number, read_bandit

T = TypeVar("T")

WHOLE = re.compile(r"([\w.]+)\((.*)\)")
"""An algorithm as it prints itself."""

BETWEEN = re.compile(r",(?![^(]*\))")
"""Commas outside parentheses."""

OBJECT = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*|.+\.py):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)")


def load_bandit(where: str) -> Bandit:
    """The bandit that ``where`` names: a file (see :func:`read_bandit`) or ``module:name`` (see :func:`load_object`).

    >>> load_bandit("coins.txt")
    Traceback (most recent call last):
    ...
    ValueError: coins.txt: the suffix is '.txt'; it must be one of .json, .csv, .npz
    """
    return load_object(where, Bandit) if is_object_name(where) else read_bandit(where)


def load_algorithm(name: str, settings: Sequence[str] = (), place: str = "") -> Algorithm:
    """The algorithm that a name of the catalogue or ``module:name`` names, with parameters as users write them.

    Args:
        name: see :func:`pessimism.algorithm` and :func:`load_object`.
        settings: "key=value" each; values may be fractions, or "inf"; those of correction, mask and kl are text.
        place: what messages about settings begin with.

    Raises:
        ValueError: a setting of another form or given twice, or what the two functions raise.

    >>> load_algorithm("oapl", ["beta1=1", "beta2=1/2"]).parameters["beta2"]
    0.5
    >>> load_algorithm("oapl", ["beta1"])
    Traceback (most recent call last):
    ...
    ValueError: 'beta1' is not of the form key=value, e.g. beta=0.5
    """
    parameters: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"{place}{setting!r} is not of the form key=value, e.g. beta=0.5")
        if key in parameters:
            raise ValueError(f"{place}the parameter {key!r} is given twice")
        if key in KEYS and not value[:1].isdigit() and value[:1] != ".":
            parameters[key] = value
        else:
            parameters[key] = float("inf") if value == "inf" else parse_number(value, f"{place}{key}")
    if is_object_name(name):
        return load_object(name, Algorithm, **parameters)
    return algorithm(name, **parameters)


def algorithm_of(text: str, place: str = "") -> Algorithm:
    """The algorithm that one piece of text writes: ``NAME[:KEY=VALUE,...]``, the name as for :func:`load_algorithm`.

    What ``str(algorithm)`` writes is read too.

    >>> print(algorithm_of("oapl:beta1=1,beta2=.5"))
    oapl(beta1=1, beta2=0.5)
    >>> print(algorithm_of("reinforce:correction=truncate(cap=2,level=sequence)"))
    reinforce(correction=truncate(cap=2, level=sequence))
    >>> algorithm_of("grpo(low=0.1, mask=off_policy(delta=0.5))").parameters["low"]
    0.1
    >>> algorithm_of("oapl:beta1=1,beta=.5")
    Traceback (most recent call last):
    ...
    ValueError: oapl has no parameter 'beta'; did you mean beta2 or beta1? known parameters: beta1, beta2, baseline
    """
    name, settings = split_settings(text)
    return load_algorithm(name, settings, place)


def split_settings(text: str) -> tuple[str, list[str]]:
    """The name and the settings of ``NAME[:KEY=VALUE,...]``.

    >>> split_settings("mine.py:robust:beta=1,cap=2")
    ('mine.py:robust', ['beta=1', 'cap=2'])
    >>> split_settings("mine.py:robust")
    ('mine.py:robust', [])
    >>> split_settings("grpo(low=0.1, mask=off_policy(delta=0.5))")
    ('grpo', ['low=0.1', 'mask=off_policy(delta=0.5)'])
    """
    if "=" not in text:
        return text, []
    whole = WHOLE.fullmatch(text)
    name, parameters = whole.groups() if whole else text.rpartition(":")[::2]
    return name, [part.strip() for part in BETWEEN.split(parameters) if part.strip()]


def is_object_name(where: str) -> bool:
    """Whether a text reads as ``module:name`` or ``file.py:name``.

    >>> is_object_name("bandits.instances:digits"), is_object_name("digits.json"), is_object_name("C:\\\\digits.json")
    (True, False, False)
    >>> is_object_name("../my losses/mine.py:robust")
    True
    """
    return OBJECT.fullmatch(where) is not None


def source_of(where: str) -> Path | None:
    """The file that ``module:name`` or ``file.py:name`` is read from; None if there is none."""
    module = where.rpartition(":")[0]
    if module.endswith(".py"):
        return Path(module) if Path(module).is_file() else None
    _search_here()
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.has_location else None


def load_object(where: str, kind: type[T], /, **arguments: object) -> T:
    """The object of type ``kind`` at ``module:name`` or ``file.py:name``, or what the function of that name returns.

    The current directory is put at the front of the import path, as ``python -m`` does, and stays there, since users'
    code may import more when it runs. Importing a module runs it: name only modules you trust.

    Args:
        where: "module:name", or "file.py:name" with the path of a file; the name may have dots.
        kind: what it must be.
        **arguments: passed on to the function; an error if the name is not a function's.

    Raises:
        ValueError: no such module or name, the user's code raises, or the result is not of that kind.

    >>> load_object("math:pi", float)
    3.141592653589793
    >>> load_object("math:pie", float)
    Traceback (most recent call last):
    ...
    ValueError: math:pie: module 'math' has no 'pie'
    """
    match = OBJECT.fullmatch(where)
    if match is None:
        raise ValueError(f"{where!r} is not of the form module:name or file.py:name")
    _search_here()
    found = _imported(where, match["module"])
    for part in match["name"].split("."):
        if not hasattr(found, part):
            raise ValueError(f"{where}: module {match['module']!r} has no {match['name']!r}")
        found = getattr(found, part)
    if isinstance(found, kind):
        if arguments:
            raise ValueError(f"{where} is a finished {kind.__name__}; it takes no {', '.join(arguments)}")
        return found
    expected = f"it must be of type {kind.__name__}, or a function that returns one"
    if not callable(found):
        raise ValueError(f"{where} is of type {type(found).__name__}; {expected}")
    _check_call(where, found, arguments, expected)
    result = in_user_code(where, lambda: found(**arguments))
    if not isinstance(result, kind):
        raise ValueError(f"{where}() returns an object of type {type(result).__name__}; {expected}")
    return result


def in_user_code(where: str, run: Callable[[], T]) -> T:
    """``run()``, with whatever a user's code raises as a one-line ValueError that says where it happened."""
    try:
        return run()
    except Exception as error:
        raise ValueError(f"{where}: {_told(error)}") from error
    except SystemExit as error:
        raise ValueError(f"{where}: it called sys.exit({error.code!r})") from error


def _search_here() -> None:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())


def _from_file(path: Path) -> Any:
    """The module in a file, under a name that no other module has; run once."""
    whole = path.resolve(strict=True)
    name = f"{whole.stem}_{hashlib.sha256(str(whole).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, whole)
        assert spec is not None  # the name ends with .py
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _imported(where: str, module: str) -> Any:
    try:
        return _from_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
    except FileNotFoundError as error:
        if module.endswith(".py") and not Path(module).exists():
            raise ValueError(f"{where}: there is no file {module}") from None
        raise ValueError(f"{where}: {_told(error)}") from error
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise ValueError(
                f"{where}: no module {error.name!r} in the current directory or among the installed packages"
            ) from None
        raise ValueError(f"{where}: {_told(error)}") from error
    except Exception as error:
        raise ValueError(f"{where}: {_told(error)}") from error
    except SystemExit as error:
        raise ValueError(f"{where}: importing {module!r} called sys.exit({error.code!r})") from error


def _check_call(where: str, function: Callable[..., object], arguments: dict[str, object], expected: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some built-in functions have none; calling them will tell
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{where}{signature}: {error}; {expected}") from None


def _told(error: Exception) -> str:
    """An error of a user's code in one line, with the innermost place that is not inside an installed package."""
    installed = (str(Path(__file__).parent) + os.sep, sysconfig.get_path("stdlib") + os.sep, "<")
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(installed) and "site-packages" not in file:
            place = f" ({Path(file).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({Path(error.filename).name}, line {error.lineno})"
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}{place}"
