"""The table of docs/theory/recovered.md: which objectives the source paper's construction recovers.

python -m scripts.recovered            rewrite the table (a minute or two)
python -m scripts.recovered --check    change nothing; status 1 if it is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import pessimism as ps
from pessimism.construction import Recovery, recovery
from pessimism.standing import Account
from pessimism.trainers.defaults import defaults
from pessimism.views.recovery import cells, headers

from .documents import ROOT, markdown, refresh

PAGE = ROOT / "docs" / "theory" / "recovered.md"


def found(names: Iterable[str]) -> list[Recovery]:
    """The entries of these names at their published settings, and the defaults of trainers."""
    with ProcessPoolExecutor(2) as pool:
        entries = list(pool.map(_of_entry, names))
    return [*entries, *map(recovery, defaults())]


def _of_entry(name: str) -> Recovery:
    return recovery(ps.catalogue()[name].algorithm())


def part(rows: list[Recovery]) -> str:
    """The generated part of the page."""
    return f"{summary(rows)}\n\n{table(rows)}"


def summary(rows: list[Recovery]) -> str:
    """Markdown: which are recovered, and in which of these the shift of the normalizer shows."""
    recovered = [one for one in rows if one.recovered]
    silent = [one for one in recovered if _everywhere(one, "saturated")]
    nominal = [one for one in recovered if all(account.regimes["boundary"] == account.rows for account in _groups(one))]
    shows = [one for one in recovered if any(account.counts["closer"] for account in _groups(one))]
    return "\n".join(
        [
            f"* Recovered: {len(recovered)} of {len(rows)}: {_names(recovered)}.",
            f"* Of these, saturated on every group, so that it makes no difference: {_names(silent)}.",
            f"* Of these, on the boundary on every group, so that the induced target is the nominal one: "
            f"{_names(nominal)}.",
            f"* Of these, more conservative than nominal on some group: {_names(shows)}.",
            f"* Not recovered: {_names([one for one in rows if not one.recovered])}.",
        ]
    )


def _groups(one: Recovery) -> list[Account]:
    return list(one.groups.values())


def _everywhere(one: Recovery, name: str) -> bool:
    return all(account.counts[name] == account.rows for account in _groups(one))


def _names(rows: list[Recovery]) -> str:
    return ", ".join(f"`{one.name}`" for one in rows) or "none"


def table(rows: list[Recovery]) -> str:
    """Markdown, one row an objective."""
    titles = [title.replace("\n", ", ") for title in headers(rows)]
    return markdown(titles[1:], {one.name: cells(one)[1:] for one in rows})


def main() -> int:
    """Rewrite or check the page; return the exit status."""
    return refresh(PAGE, lambda: {"recovered": part(found(ps.catalogue()))}, "python -m scripts.recovered", __doc__)


if __name__ == "__main__":
    sys.exit(main())
