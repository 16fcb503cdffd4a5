"""What the commands share: how they are found, ``--json``, plots' files, and code of users that runs in a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer

from ..shell.files import check_writable
from ..shell.objects import in_user_code
from ..shell.terminal import new_app

PLOTS = (".png", ".pdf", ".svg")


class OnDemand(Mapping[str, Any]):
    """Commands by name, each imported when it is first asked for: every one of them knows libraries of its own.

    Args:
        places: name -> module of this package and its function.
    """

    def __init__(self, places: Mapping[str, tuple[str, str]]) -> None:
        self.places = places
        self.made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.made:
            module, function = self.places[name]
            app = new_app(name)
            app.command(name)(getattr(import_module(module), function))
            self.made[name] = typer.main.get_command(app)
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def with_json_target(arguments: Sequence[str]) -> list[str]:
    """``--json`` alone means ``--json -``; only what follows it and ends in .json (or is ``-``) is its file.

    >>> with_json_target(["catalogue", "--json", "grpo"])
    ['catalogue', '--json', '-', 'grpo']
    >>> with_json_target(["verify", "--json", "outcomes.json"])
    ['verify', '--json', 'outcomes.json']
    """
    result: list[str] = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        result.append(argument)
        if argument == "--json" and following != "-" and not following.lower().endswith(".json"):
            result.append("-")
    return result


JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="[FILE.json]",
        help="Write the result as JSON: to a file, or, without one or with -, to the output instead of the table. "
        'Infinities are "inf" and "-inf", what is undefined is "nan".',
    ),
]


def in_code_of(where: str | None, run: Callable[[], Any]) -> Any:
    """``run()``; where a user's code is named, what it raises is told in one line that begins with its name."""
    return run() if where is None else in_user_code(where, run)


def check_json(path: str | None) -> None:
    """Refuse a file of ``--json`` that could not be written, before any work."""
    if path not in (None, "-"):
        check_writable(path)


def check_plot(path: str | None) -> None:
    """Refuse a file of ``--plot`` that is of no known kind or could not be written, before any work."""
    if path is None:
        return
    suffix = Path(path).suffix.lower()
    if suffix not in PLOTS:
        raise ValueError(f"--plot {path}: the suffix is {suffix!r}; it must be one of {', '.join(PLOTS)}")
    check_writable(path)
