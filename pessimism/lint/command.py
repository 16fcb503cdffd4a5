"""The command ``pessimism lint``."""

from __future__ import annotations

import os
from typing import Annotated, get_args

import typer

from ..hints import near
from ..shell.terminal import FAILED, show, write, write_json
from ..trainers.hydra import split_override
from ..trainers.rule import SEVERITIES, Severity
from .linter import APPLIED, READERS, RULES, TRAINERS, lint_all
from .render import github, json_value, summary, text

FORMATS = ("text", "json", "github")
NEVER = "never"


def lint_command(
    config: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG...",
            help="YAML, JSON, TOML, a shell script or Python. Words with = that name no file are overrides, key=value.",
        ),
    ] = None,
    trainer: Annotated[
        str,
        typer.Option(metavar="NAME", help=f"Whose configuration it is, if not told by its keys: {', '.join(READERS)}."),
    ] = "",
    output: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="text, json, or github (annotations in a workflow).")
    ] = "text",
    fail_on: Annotated[
        str, typer.Option(metavar="SEVERITY", help="Exit with 1 from this severity on: note, warning, error or never.")
    ] = "warning",
    rules: Annotated[bool, typer.Option("--rules", help="List the rules instead.")] = False,
) -> None:
    """What a trainer's configuration really optimizes toward, and what is wrong with it.

    Reads the configurations of the trainers that --trainer names.
    Exit status 0: no finding reaches --fail-on; 1: one does; 2: bad input.
    """
    if output not in FORMATS:
        raise ValueError(f"--format {output}: {near(output, FORMATS, 'formats')}")
    if fail_on not in (*SEVERITIES, NEVER):
        raise ValueError(f"--fail-on {fail_on}: {near(fail_on, (*SEVERITIES, NEVER), 'severities')}")
    if rules:
        _list_rules(output)
        return
    words = config or []
    overrides = [word for word in words if "=" in word and not os.path.exists(word)]
    paths = [word for word in words if word not in overrides]
    for override in overrides:
        split_override(override)  # a wrong one is told before any file is read
    if not paths:
        raise ValueError("no configuration is given: pessimism lint CONFIG [key.path=value ...]")
    reports = [report for path in paths for report in lint_all(path, overrides, trainer)]
    if output == "json":
        write_json([json_value(report) for report in reports], "-")
    elif output == "github":
        write("".join(f"{line}\n" for report in reports for line in github(report)))
    else:
        for index, report in enumerate(reports):
            show(*([""] if index else []), *text(report))
        if len(reports) > 1:
            show("", f"{len(reports)} configurations: {summary(reports)}")
    threshold: Severity | None = next((severity for severity in get_args(Severity) if severity == fail_on), None)
    if threshold is not None and any(report.reaches(threshold) for report in reports):
        raise typer.Exit(FAILED)


def _list_rules(output: str) -> None:
    if output == "json":
        fields = ("id", "severity", "reason", "source", "fix")
        write_json(
            [{name: getattr(rule, name) for name in fields} | {"trainers": APPLIED[rule]} for rule in RULES], "-"
        )
        return
    from ..shell.terminal import new_table

    table = new_table("rule", "severity", "trainers", "reason")
    for rule in RULES:
        table.add_row(
            rule.id,
            rule.severity,
            ", ".join(APPLIED[rule]) if len(APPLIED[rule]) < len(TRAINERS) else "all",
            rule.reason,
        )
    show(table)
