"""docs/language_models.md says what the stored runs say: its tables are generated, its links resolve."""

import doctest
import re

import numpy as np
import polars as pl
import pytest

from scripts import experiment, experiment_model, findings, formats

TEXT = findings.PAGE.read_text("utf-8")


def test_tables_are_current():
    for name, content in findings.tables().items():
        assert f"<!-- begin {name} -->\n{content}\n<!-- end {name} -->" in TEXT, "run python -m scripts.findings"


def test_a_stale_table_is_seen(monkeypatch, tmp_path, capsys):
    stale = tmp_path / "page.md"
    stale.write_text(TEXT.replace("| oapl |", "| opal |"), "utf-8")
    monkeypatch.setattr(findings, "PAGE", stale)
    for other in (experiment, experiment_model):  # of a page of their own
        monkeypatch.setattr(other, "tables", dict)
    monkeypatch.setattr("sys.argv", ["findings", "--check"])
    assert findings.main() == 1
    assert "out of date" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["findings"])
    assert findings.main() == 0
    assert stale.read_text("utf-8") == TEXT


def test_examples_run():
    found = doctest.testmod(formats)
    assert found.attempted >= 3
    assert found.failed == 0


def test_links_resolve():
    targets = [target for target in re.findall(r"\]\(([^)#]+)", TEXT) if "://" not in target]
    assert len(targets) > 4
    assert [target for target in targets if not (findings.PAGE.parent / target).exists()] == []


@pytest.mark.parametrize(("objective", "lag", "sign"), [("grpo", "L = 400", "-"), ("asymre", "L = 400", "-")])
def test_differences_are_taken_seed_by_seed(objective, lag, sign):
    header, _, *rows = (line.split(" | ") for line in findings.differences().splitlines())
    (row,) = (row for row in rows if row[0] == f"| {objective}")
    shown = row[[cell.rstrip(" |") for cell in header].index(lag)]
    runs = pl.read_parquet(findings.language_model_lag.DATA).filter("last", sync_every=int(lag.removeprefix("L = ")))
    own, other = (runs.filter(variant=name).sort("seed")["evaluation/pass@1"] for name in (objective, "shifted_mean"))
    mean = float((own.to_numpy() - other.to_numpy()).mean())
    assert shown.startswith(f"{sign}{abs(mean):.3f}".replace("0.", "."))


def test_adjusted_p_values_are_holm_s():
    rng = np.random.default_rng(0)
    for size in (1, 2, 7):
        values = rng.uniform(0, 0.2, size=size)
        adjusted = findings.holm(values)
        for own, found in zip(values, adjusted, strict=True):
            # The largest of (m - rank + 1) p over all that are no larger, from the definition.
            ordered = np.sort(values)
            steps = [min(1.0, (size - rank) * p) for rank, p in enumerate(ordered) if p <= own]
            assert found == pytest.approx(max(steps))


def test_only_three_differences_at_the_longest_lag_survive():
    runs = pl.read_parquet(findings.language_model_lag.DATA).filter("last")
    groups = [
        runs.filter(variant=name, sync_every=lag)["evaluation/pass@1"].to_numpy()
        for name in (*findings.COMPARED, "shifted_mean")
        for lag in (1, 20, 100, 400)
    ]
    deviation = np.mean([np.var(group, ddof=1) for group in groups]) ** 0.5  # all have three seeds
    assert f"deviation {deviation:.4f} with {2 * len(groups)} degrees".replace("0.", ".") in findings.pooled()
    _, _, *rows = findings.pooled().split("\n\n")[1].splitlines()
    small = {row.split(" | ")[0].strip("| "): row.split(" | ")[1:] for row in rows}
    survivors = {
        (name, column)
        for name, cells in small.items()
        for column, cell in enumerate(cells)
        if float(cell.split(" / ")[1].strip(" |<")) < 0.05
    }
    assert survivors == {("asymre", 2), ("grpo", 2), ("rec_oneside_nois", 2)}
