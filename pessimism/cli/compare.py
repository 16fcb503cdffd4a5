"""``pessimism compare``: the command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..algorithm import Algorithm
from ..audit.command import logged_bandit
from ..bandit import Bandit
from ..shell.files import parse_number, write_whole
from ..shell.objects import is_object_name, load_algorithm, load_bandit, split_settings
from ..shell.terminal import show, write_json
from . import complete
from .options import JsonOption, check_json, check_plot, in_code_of

if TYPE_CHECKING:
    from ..comparison import Comparison

SETTING = re.compile(r"\w+=")
DEFAULT = {"behavior": "0.5,0.3,0.2", "reward": "0,0,1"}
"""The bandit of a command that names none: the only right arm is played a fifth of the time."""


def compare(
    algorithm: Annotated[
        list[str],
        typer.Argument(
            metavar="ALGORITHM [KEY=VALUE]...",
            help="A name of the catalogue, or module:name or file.py:name for your own, with its parameters; defaults "
            "are the published ones. oapl:beta1=1,beta2=.5 is the same in one word. Several are put side by side.",
            autocompletion=complete.algorithms,
        ),
    ],
    bandit: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|MODULE:NAME",
            help="The bandit: a JSON, CSV or NPZ file, - for standard input, or a Python object. Default: three arms "
            "with --behavior 0.5,0.3,0.2 --reward 0,0,1.",
        ),
    ] = None,
    behavior: Annotated[
        str | None, typer.Option(metavar="P,P,...", help="Instead of --bandit: the behavior policy, e.g. 1/2,0.3,0.2.")
    ] = None,
    reward: Annotated[
        str | None, typer.Option(metavar="R,R,...", help="With --behavior: the reward of every arm.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="P,P,...", help="With --behavior: the policy that log-ratios are measured from, if another one."
        ),
    ] = None,
    rollouts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Instead of --bandit: logged rollouts (see `pessimism audit`); samples are arms."
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Which group of --rollouts; default: all, which must be of one size."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=COLUMN", help="Which column of --rollouts has a role, such as group=prompt. Repeatable."
        ),
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw the policies to a .png, .pdf or .svg file.")
    ] = None,
    style: Annotated[
        str, typer.Option(metavar="STYLE", help="With --plot: screen, paper (small type) or slides (large type).")
    ] = "screen",
    width: Annotated[
        float | None, typer.Option(metavar="INCHES", help="With --plot: how wide; the default is the style's.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Compare the policy that an objective drives toward with the one it claims to."""
    check_json(json)
    check_plot(plot)
    if plot is None and (width is not None or style != "screen"):
        raise ValueError(f"--{'style' if width is None else 'width'} goes with --plot")
    from ..views.comparison_plot import comparison_image, known_style

    known_style(style, width)
    written = _written(algorithm)
    objectives = [(place, load_algorithm(place, settings)) for place, settings in written]
    inline = {"behavior": behavior, "reward": reward, "reference": reference}
    logged = None if rollouts is None else (rollouts, group, column or [])
    if logged is None and (group is not None or column):
        raise ValueError(f"--{'column' if group is None else 'group'} goes with --rollouts")
    given = bandit is not None or rollouts is not None or any(text is not None for text in inline.values())
    world = _chosen_bandit(bandit, inline if given else DEFAULT, logged)
    comparisons = [_compared(world, place, objective, logged is not None) for place, objective in objectives]
    if plot is not None:
        write_whole(plot, comparison_image(comparisons, Path(plot).suffix[1:].lower(), style, width))
    if json is not None:
        found = [comparison.to_dict() for comparison in comparisons]
        write_json(found[0] if len(found) == 1 else found, json)
    if json != "-":
        _show(comparisons, "" if given else f"bandit: {DEFAULT['behavior']} with rewards {DEFAULT['reward']}")


def _written(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each objective that the words name with its settings: those in its word, and those of words that follow it.

    >>> _written(["oapl:beta1=1", "beta2=.5", "grpo"])
    [('oapl', ['beta1=1', 'beta2=.5']), ('grpo', [])]
    """
    found: list[tuple[str, list[str]]] = []
    for word in words:
        if SETTING.match(word) is None:
            found.append(split_settings(word))
        elif found:
            found[-1][1].append(word)
        else:
            raise ValueError(f"{word!r} comes before any objective: pessimism compare ALGORITHM {word}")
    return found


def _compared(world: Bandit, place: str, objective: Algorithm, sampled: bool) -> Comparison:
    """The comparison; of logged samples with the advantages that a trainer gives them."""
    from ..comparison import compare as run_comparison
    from ..comparison import compare_group

    def run() -> Comparison:
        return compare_group(world.reward, objective) if sampled else run_comparison(world, objective)

    return in_code_of(place if is_object_name(place) else None, run)


def _show(comparisons: Sequence[Comparison], note: str) -> None:
    from ..views.comparison import comparison_table, side_by_side, verdicts

    if len(comparisons) > 1:
        show(*side_by_side(comparisons), "", *verdicts(comparisons), *filter(None, [note]))
        return
    table = comparison_table(comparisons[0])
    table.caption = None  # rich would wrap it to the width of the table
    show(table, comparisons[0].verdict, *filter(None, [note]))


def _chosen_bandit(
    where: str | None, inline: dict[str, str | None] | dict[str, str], logged: tuple[str, str | None, list[str]] | None
) -> Bandit:
    given = {name: text for name, text in inline.items() if text is not None}
    if logged is not None:
        if where is not None or given:
            raise ValueError(f"give --rollouts or --{next(iter(given), 'bandit')}, not both")
        return logged_bandit(*logged)
    if where is not None:
        if given:
            raise ValueError(f"give --bandit or --{next(iter(given))}, not both")
        return load_bandit(where)
    for name in ("behavior", "reward"):
        if name not in given:
            raise ValueError(
                f"--{name} is missing: give --behavior and --reward, or --bandit with a file or module:name"
            )
    return Bandit(**{name: _numbers(text, name) for name, text in given.items()})


def _numbers(text: str, name: str) -> list[float]:
    return [parse_number(part, f"{name}[{index}]") for index, part in enumerate(text.split(","))]
