"""docs/theory/residual.md: its table of noise is what the figure computes; that of the cells is simulated by hand."""

from scripts import residual_tables
from scripts.documents import part


def test_the_table_of_noise_is_current():
    assert part(residual_tables.PAGE.read_text("utf-8"), "noise").strip() == residual_tables.noise()


def test_the_noise_of_all_six_cells_dies_out_at_the_own_target_and_that_of_the_twins_does_not():
    lines = residual_tables.noise().splitlines()
    ends = {
        line.split(" | ")[0].removeprefix("| "): float(line.split(" | ")[-1].removesuffix(" |")) for line in lines[2:]
    }
    cells = {name: end for name, end in ends.items() if ", h = " in name}
    assert len(cells) == 6
    assert set(cells.values()) == {0.0}
    assert min(ends["shifted_mean"], ends["is_regression"]) > 0.05
