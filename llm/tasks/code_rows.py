"""Programming problems as data sets write them: a question, perhaps starter code, and tests.

=============================================  =================================================================
``question_content``, ``public_test_cases``    LiveCodeBench, with or without its ``private_test_cases``
``problem``, ``tests``                         DeepCoder: a list of tests, or inputs and outputs side by side
``question``, ``input_output``                 APPS and TACO: inputs and outputs side by side
=============================================  =================================================================

Tests may be JSON in a string, and the private ones of LiveCodeBench are a compressed pickle of such a string, which is
read without unpickling (:func:`pickled_text`).
"""

from __future__ import annotations

import base64
import json
import pickletools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LARGEST = 200 << 20  # bytes of a problem's tests, decompressed
TEXT_OPCODES = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE")
HARMLESS = ("PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP")


@dataclass(frozen=True)
class Problem:
    """What is asked and how answers are tested.

    Attributes:
        question: with the starter code, if there is some.
        function: to call with each test's inputs; None: each test's input is the program's standard input.
        tests: (input, expected output) of each: texts, or a list of arguments and a value.
        wrapped: whether a value may also stand in a list of one, as some of APPS and TACO do.
    """

    question: str
    function: str | None
    tests: tuple[tuple[Any, Any], ...]
    wrapped: bool = False


def read_problem(row: Mapping[str, Any]) -> Problem:
    """A row's problem.

    Raises:
        ValueError: other columns, or tests of another form.
    """
    match row:
        case {"question_content": str(question), "public_test_cases": public}:
            tests = _list(public) + _list(row.get("private_test_cases") or [])
            function = _json(row.get("metadata") or {}).get("func_name")
            starter = row.get("starter_code")
        case {"problem": str(question), "tests": tests} | {"question": str(question), "input_output": tests}:
            tests = _json(tests)
            function, starter = None, row.get("starter_code")
        case _:
            raise ValueError(
                f"has the columns {', '.join(row)}; it must have question_content and public_test_cases, problem and "
                "tests, or question and input_output"
            )
    found_function, pairs = _pairs(tests)
    function = function or found_function
    if not pairs:
        raise ValueError("has no tests")
    if isinstance(starter, str) and starter.strip():
        question = f"{question}\n\nBegin with this code:\n\n```python\n{starter.rstrip()}\n```"
    if function is None:
        return Problem(question, None, tuple((_text(given), _text(expected)) for given, expected in pairs))
    arguments = tuple((_arguments(given), _value(expected)) for given, expected in pairs)
    return Problem(question, function, arguments, wrapped=isinstance(tests, Mapping))


def _pairs(tests: Any) -> tuple[str | None, list[tuple[Any, Any]]]:
    """The function that the tests name, and their inputs with their outputs."""
    match tests:
        case {"inputs": list(inputs), "outputs": list(outputs)} if len(inputs) == len(outputs):
            return tests.get("fn_name"), list(zip(inputs, outputs, strict=True))
        case list() if all(isinstance(test, Mapping) and {"input", "output"} <= test.keys() for test in tests):
            names = {_json(test.get("metadata") or {}).get("func_name") for test in tests} - {None}
            if len(names) > 1:
                raise ValueError(f"tests name several functions: {', '.join(sorted(names))}")
            return next(iter(names), None), [(test["input"], test["output"]) for test in tests]
    raise ValueError("tests must be a list of input and output, or a table of inputs and outputs")


def _arguments(given: Any) -> list[Any]:
    """A call's arguments: a list, or one JSON value per line."""
    if isinstance(given, list):
        return given
    return [json.loads(line) for line in str(given).split("\n") if line.strip()]


def _value(expected: Any) -> Any:
    if isinstance(expected, str):
        try:
            return json.loads(expected)
        except ValueError:
            return expected
    return expected


def _text(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _list(value: Any) -> list[Any]:
    found = _json(value)
    if not isinstance(found, list):
        raise ValueError("test cases must be a list")
    return found


def _json(value: Any) -> Any:
    """A value, or what a string of JSON, perhaps compressed, holds."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        unpacked = zlib.decompressobj().decompress(base64.b64decode(value, validate=True), LARGEST)
        return json.loads(pickled_text(unpacked))
    except (ValueError, zlib.error):
        raise ValueError(f"neither JSON nor compressed JSON: {value[:40]!r}") from None


def pickled_text(content: bytes) -> str:
    """The text that a pickle of one text holds, found without unpickling, which could run code.

    >>> pickled_text(b"\\x80\\x04\\x8c\\x06[1, 2]\\x94.")
    '[1, 2]'

    Raises:
        ValueError: the pickle holds anything else.
    """
    texts = []
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in TEXT_OPCODES:
            texts.append(str(argument))
        elif opcode.name not in HARMLESS:
            raise ValueError(f"the pickle holds more than a text: {opcode.name}")
    if len(texts) != 1:
        raise ValueError(f"the pickle holds {len(texts)} texts; it must hold one")
    return texts[0]
