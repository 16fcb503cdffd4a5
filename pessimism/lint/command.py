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
from .sarif import sarif

FORMATS = ("text", "json", "github", "sarif")
NEVER = "never"


def lint_command(
    config: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG...",
            help="YAML, JSON, TOML, a shell script or Python; - is standard input. "
            "Words with = that name no file are overrides, key=value.",
        ),
    ] = None,
    trainer: Annotated[
        str,
        typer.Option(metavar="NAME", help=f"Whose configuration it is, if not told by its keys: {', '.join(READERS)}."),
    ] = "",
    output: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="text, json, github (annotations in a workflow) or sarif.")
    ] = "text",
    fail_on: Annotated[
        str, typer.Option(metavar="SEVERITY", help="Exit with 1 from this severity on: note, warning, error or never.")
    ] = "warning",
    only_known: Annotated[
        bool, typer.Option("--only-known", help="Pass over files that are no configuration that is read.")
    ] = False,
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
    found = {path: lint_all(path, overrides, trainer, only_known) for path in paths}
    passed_over = [path for path, own in found.items() if not own]
    reports = [report for own in found.values() for report in own]
    if output == "json":
        write_json([json_value(report) for report in reports], "-")
    elif output == "sarif":
        write_json(sarif(reports, passed_over), "-")
    elif output == "github":
        write("".join(f"{line}\n" for report in reports for line in github(report)))
    else:
        for index, report in enumerate(reports):
            show(*([""] if index else []), *text(report))
        if len(reports) > 1:
            show("", f"{len(reports)} configurations: {summary(reports)}")
        if passed_over:
            files = "1 file is" if len(passed_over) == 1 else f"{len(passed_over)} files are"
            show(f"{files} no configuration that is read, and passed over")
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
