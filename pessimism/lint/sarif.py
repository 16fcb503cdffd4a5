"""Reports as SARIF 2.1.0, the format of code scanning: one result per finding, at the line of the file.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0, sections 3.13 (sarifLog) to 3.52.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from ..trainers.rule import Rule
from .findings import Finding
from .linter import RULES, Report

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
ROOT = "SRCROOT"
"""The name that code scanning gives the root of the repository."""


def sarif(reports: Sequence[Report], passed_over: Sequence[str] = ()) -> dict[str, Any]:
    """The log of one run over all reports.

    Args:
        reports: what was found.
        passed_over: files that are no configuration that is read, told as notifications.

    >>> log = sarif([])
    >>> log["version"], log["runs"][0]["results"]
    ('2.1.0', [])
    """
    notes = [
        {"level": "note", "message": {"text": "no configuration that is read"}, "locations": [_location(path, None)]}
        for path in passed_over
    ]
    driver = {"name": "pessimism", "rules": [_rule(rule) for rule in RULES], **_version()}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
        "results": [_result(report, finding) for report in reports for finding in report.findings],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _version() -> dict[str, str]:
    try:
        return {"version": version("pessimism")}
    except PackageNotFoundError:  # a checkout that is not installed
        return {}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.id.replace("-", " ")},
        "fullDescription": {"text": rule.reason},
        "help": {"text": f"{rule.fix}\nSource: {rule.source}"},
        "defaultConfiguration": {"level": rule.severity},
    }


INDEX = {rule.id: place for place, rule in enumerate(RULES)}


def _result(report: Report, finding: Finding) -> dict[str, Any]:
    rule = finding.rule
    return {
        "ruleId": rule.id,
        "ruleIndex": INDEX[rule.id],
        "level": rule.severity,
        "message": {"text": f"{finding.key}: {finding.message}. {rule.reason} {rule.fix}"},
        "locations": [_location(report.settings.document.path, finding.line)],
    }


def _location(path: str, line: int | None) -> dict[str, Any]:
    """A place; without a line the first, where code scanning shows what is about the whole file."""
    return {"physicalLocation": {"artifactLocation": _artifact(path), "region": {"startLine": line or 1}}}


def _artifact(path: str) -> dict[str, str]:
    """A file: relative to the repository's root where it is given so, else by its file URI."""
    if PurePath(path).is_absolute():
        return {"uri": Path(path).as_uri()}
    return {"uri": quote(re.sub(r"^(?:\./)+", "", PurePath(path).as_posix())), "uriBaseId": ROOT}
