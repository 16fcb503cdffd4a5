"""The command ``python -m llm.study``: compute what is missing of docs/experiment.md's runs of a language model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pessimism.shell.terminal import FAILED, new_app, run_app
from pessimism.studies import Done

from ..show.output import quiet_libraries
from . import experiment

app = new_app("llm.study")


@app.command()
def main(
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Parquet file of the results, and of those of earlier runs.")
    ] = experiment.RESULTS,
    blocks: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of all cells, with one seed and warm start each.")
    ] = experiment.WARM_STARTS * experiment.SEEDS,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Runs at a time, one thread each.")] = 1,
    slow: Annotated[
        bool, typer.Option("--slow", help="Four cells of each block at a quarter of the rate instead of its cells.")
    ] = False,
) -> None:
    """Dose, weight and lag crossed on a language model. Interrupted at any moment, the same command goes on.

    Exit status 1 if a run failed (the others are kept), 2 for bad input, such as results of code that computes
    something else.
    """
    quiet_libraries()

    def told(done: Done | None, count: int, total: int) -> None:
        what = "" if done is None else f"  {done.job.cell.config.name}, {done.seconds:.0f} s"
        print(f"{count} of {total}{what}", flush=True)

    failures = experiment.run(out, blocks, jobs, slow, told)
    for failure in failures.values():
        print(f"failed: {failure}", file=sys.stderr)
    print(out)
    if failures:
        raise typer.Exit(FAILED)


if __name__ == "__main__":
    sys.exit(run_app(app, "python -m llm.study"))
