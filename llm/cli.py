"""The command ``python -m llm``: train, evaluate, warm up, sweep, test a setup, report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import pessimism as ps
from pessimism.shell import is_object_name, load_object, near, write_whole
from pessimism.shell.terminal import FAILED, INTERRUPTED, new_app, new_table, progress_bar, run_app, show

from .config import Config, load, shipped, to_toml
from .run import runs
from .sample.engines.base import EngineError
from .show.output import quiet_libraries
from .start import FailedError, again, check_hardware, leads, make_model, ranks_started, told_failures
from .start import train as train_on_all_ranks

CONFIGS = Path(__file__).parent / "configs"
RUNS, RESULTS, EXPORTS = Path("runs"), Path("results/llm"), Path("exports")

app = new_app("llm")

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A TOML file, a name of llm/configs, or the folder of a run.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Values to change, such as lag.sync_every=20."),
]


class Dtype(StrEnum):
    """Types of weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"


class Device(StrEnum):
    """Where to check."""

    cuda = "cuda"
    cpu = "cpu"


@app.callback(invoke_without_command=True)
def begin(context: typer.Context) -> None:
    """Train language models with the objectives of the catalogue, on data that are many steps old."""
    if context.invoked_subcommand is None:
        print(context.get_help())
    elif context.invoked_subcommand != "train" and ranks_started() > 1:
        raise ValueError(
            f"{context.invoked_subcommand} runs in one process; torchrun is for `python -m llm train` only"
        )


@app.command(short_help="Run a configuration, or continue a run.")
def train(
    config: ConfigArgument,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run; default: runs/ and its name.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in that folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")] = False,
    nodes: Annotated[int | None, typer.Option(min=1, metavar="N", help="With --dry-run: so many machines.")] = None,
    gpus: Annotated[int, typer.Option(min=1, metavar="N", help="With --nodes: cards of each.")] = 8,
) -> None:
    """Run a configuration; a report is written at the end.

    On several GPUs or machines: torchrun --nproc-per-node N -m llm train CONFIG. Rank 0 samples and writes everything.

    SIGTERM and Ctrl-C are heard at once while the run samples, syncs or evaluates, else when its update is done; a
    checkpoint is written and the exit status is 130; --resume goes on from there. Exit status 1 if the run failed, 2
    for bad input.
    """
    chosen = _chosen(config, overrides)
    folder = out or (Path(config) if runs.is_run(Path(config)) else RUNS / chosen.name)
    there = runs.has_begun(folder)
    if there and not (resume or dry_run) and leads():
        raise ValueError(f"{folder}: a run is there already; add --resume to go on with it, or give another --out")
    if resume and not runs.is_run(folder) and leads():
        raise ValueError(f"{folder}: there is no run to go on with")
    if nodes is not None and not dry_run:
        raise ValueError("--nodes goes with --dry-run; torchrun --nnodes says how many machines a run has")
    if dry_run:
        from .show.dry_run import cluster_screen, memory_screen, plan_screen

        if nodes is not None:
            show(*cluster_screen(chosen, nodes, gpus))
            return
        if account := list(memory_screen(chosen)):  # first, because it needs no data
            show(*account)
        show(*plan_screen(chosen))
        return
    quiet_libraries()
    check_hardware(chosen)
    done = train_on_all_ranks(chosen, folder, fresh=not there)
    if done is None:
        return
    if done:
        from .show.report import write_report

        print(f"report: {write_report(folder)}")
    if done < chosen.steps:
        print(f"stopped after step {done}; to go on: {again()} -m llm train {folder} --resume", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)


@app.command(name="eval", short_help="Evaluate a model, or a run's checkpoint.")
def evaluate(
    config: ConfigArgument,
    overrides: Overrides = None,
    step: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Which checkpoint of a run; default: its latest.")
    ] = None,
) -> None:
    """Evaluate on held-out problems: pass@k, lengths and entropy, for the whole task and each of its parts.

    Of a run's folder, its latest checkpoint; the numbers are kept there in evaluation.json. Of a configuration, the
    model that it starts from. More completions for a larger k: evaluation.samples=256.
    """
    folder = Path(config) if runs.is_run(Path(config)) else None
    if step is not None and folder is None:
        raise ValueError("--step is a checkpoint's; give the folder of a run")
    chosen = _chosen(config, overrides)
    quiet_libraries()
    check_hardware(chosen)
    from .check.evaluation_screen import evaluation_screen
    from .check.examine import examine
    from .show.report import RESULT

    with told_failures(chosen):
        found = examine(chosen, folder, step)
    show(*evaluation_screen(found))
    whole = found.whole
    if folder is not None:
        numbers = {"step": found.step, **whole.numbers()}
        numbers["parts"] = {name: one.numbers() for name, one in found.parts.items()}
        write_whole(folder / RESULT, (json.dumps(numbers, indent=1) + "\n").encode())
        print(folder / RESULT)


@app.command(short_help="Make the small base model that a configuration starts from.")
def warmup(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Make the model of model.path by imitation of correct answers, as the table [warmup] says."""
    chosen = _chosen(config, overrides)
    if chosen.warmup is None:
        raise ValueError(f"{config}: has no table [warmup], which says how to make the model")
    if Path(chosen.model.path).exists():
        raise ValueError(f"model.path: {chosen.model.path} exists already")
    quiet_libraries()
    check_hardware(chosen)
    make_model(chosen)


@app.command(short_help="Run a study: many runs, side by side.")
def sweep(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A study; left out, they are listed.")] = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results go and are found again.")] = RESULTS,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Runs at a time, one thread each.")] = 1,
    seeds: Annotated[int | None, typer.Option(min=1, metavar="N", help="Instead of the study's number.")] = None,
) -> None:
    """Run what is missing of a study. Interrupted at any moment, the same command goes on."""
    from pessimism.studies import BackendLostError

    from .study.studies import STUDIES
    from .study.sweep import cells, run

    if name is None:
        table = new_table("study", ">runs", ">seeds", "shows")
        for study in STUDIES.values():
            table.add_row(study.name, str(len(cells(study, seeds))), str(seeds or study.seeds), study.shows)
        show(table)
        return
    if name not in STUDIES:
        raise ValueError(f"unknown study {name!r}; {near(name, STUDIES)}")
    study = STUDIES[name]
    first = cells(study, 1, overrides or ())[0].config
    quiet_libraries()
    check_hardware(first)
    make_model(first.model_copy(update={"warmup": dict(study.warmup)}))
    with progress_bar() as progress:
        try:
            found = run(study, out, jobs, seeds, overrides or (), progress)
        except (RuntimeError, BackendLostError) as error:
            raise FailedError(str(error)) from error
    print(f"{found.height} rows in {out / f'{name}.parquet'}")


@app.command(short_help="Train a transformer where the target is known.")
def bridge(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Objectives; module:name or file.py:name for yours. Left out: all in the test.",
        ),
    ] = None,
) -> None:
    """Train a small transformer where all completions can be listed, and say to which target it comes.

    On exact and on sampled data. Exit status 1 if one does not end within the tolerance of its induced target, or ends
    at the nominal one where the two differ.
    """
    from .check.bridge import objectives, reach_all

    for name in names or ():
        if is_object_name(name):
            load_object(name, ps.Algorithm)
        elif name not in objectives():
            raise ValueError(f"unknown objective {name!r}; {near(name, objectives())}")
    with progress_bar() as progress:
        results = list(reach_all(names or list(objectives()), progress))
    table = new_table("objective", "data", ">to induced", ">to nominal", ">targets apart", "verdict")
    for one in results:
        distances = (f"{value:.4f}" for value in (one.to_induced, one.to_nominal, one.apart))
        table.add_row(one.name, one.data, *distances, "holds" if one.holds else "FAILS")
    failed = sum(not one.holds for one in results)
    show(table, "largest total variation over prompts at the end of training", f"{len(results)} runs, {failed} fail")
    if failed:
        raise typer.Exit(FAILED)


@app.command(short_help="Check that a setup holds still with learning rate 0.")
def selftest(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Sync, sample and update three times with learning rate 0: ratios stay 1, KL 0, weights as they were.

    Then once with weights that did move, which the probe must see. Exit status 1 if a check does not hold.
    """
    chosen = _chosen(config, overrides)
    quiet_libraries()
    check_hardware(chosen)
    make_model(chosen)
    from .check.selftest import selftest as run_checks

    with told_failures(chosen):
        checks = run_checks(chosen)
    table = new_table("check", ">found", ">allowed", "verdict")
    for check in checks:
        table.add_row(check.name, check.found, check.allowed, "holds" if check.holds else "FAILS")
    failed = sum(not check.holds for check in checks)
    show(table, f"{len(checks)} checks: {len(checks) - failed} hold, {failed} fail")
    if failed:
        raise typer.Exit(FAILED)


@app.command(short_help="Write a run's policy as a Hugging Face folder, or a configuration for verl, TRL or prime-rl.")
def export(
    config: Annotated[
        str,
        typer.Argument(metavar="RUN|CONFIG", help="Folder of a run; for a trainer, a TOML file or a name too."),
    ],
    to: Annotated[str, typer.Option(metavar="DIR|TRAINER", help="Folder to make, or verl, trl or prime-rl.")],
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A trainer's folder; default: exports/ and both names."),
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, metavar="N", help="For a trainer: GPUs of each machine.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, metavar="N", help="For a trainer: machines.")] = 1,
    step: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of a run: which checkpoint; default: its latest.")
    ] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Of the weights; default: the run's model.dtype.")] = None,
) -> None:
    """Write the weights of a run, or the settings of a configuration.

    RUN --to DIR: a checkpoint's policy as a folder that from_pretrained and vllm serve load. Adapters are merged;
    tokenizer, generation settings and a model card with objective, lag, numbers and digests go with it.

    CONFIG --to verl, trl or prime-rl: that trainer's own configuration, with the objective through our adapter, the
    rewards as a module and a launch script. What the trainer cannot say is refused; what it does otherwise is told.
    """
    from .export.write import TRAINERS

    if to in TRAINERS:
        from .export.said import Machines
        from .export.write import write as write_settings

        if step is not None or dtype is not None:
            raise ValueError(f"--step and --dtype are for weights; --to {to} writes settings")
        chosen = _chosen(config, overrides)
        folder = out or EXPORTS / f"{chosen.name}-{to}"
        for note in write_settings(chosen, to, folder, Machines(gpus, nodes)):
            print(f"note: {note}")
        print(folder)
        return
    if out is not None or overrides or (gpus, nodes) != (1, 1):
        raise ValueError(f"--out, --gpus, --nodes and KEY=VALUE go with --to {', '.join(TRAINERS)}, not with a folder")
    quiet_libraries()
    from .run.export import export as write_weights

    made = write_weights(Path(config), Path(to), step, None if dtype is None else dtype.value)
    print(f"{to}: the policy of step {made}")


@app.command(short_help="Check this machine's GPU, and this program on it.")
def gpucheck(
    device: Annotated[Device, typer.Option(help="cpu: the same code, smaller, to see that it runs.")] = Device.cuda,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the table there, as JSON.")] = None,
) -> None:
    """Compare updates with the CPU's, train a 100M model, resume, time it, and compare memory with what was predicted.

    At most 8 minutes, without network, with or without vLLM. Exit status 1 if a check does not hold.
    """
    quiet_libraries()
    from .check.gpucheck import gpucheck as run_checks

    found = run_checks(device.value)
    table = new_table("check", ">found", ">allowed", "verdict")
    for row in found.rows:
        table.add_row(row.name, row.found, row.allowed, row.verdict)
    show(table, f"{found.device}, {found.versions}, {found.seconds:.0f} s")
    if out is not None:
        write_whole(out, (json.dumps(found.table(), indent=1) + "\n").encode())
        print(out)
    if not found.holds:
        raise typer.Exit(FAILED)


@app.command(short_help="Write the report of a run.")
def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, finished or not.")]) -> None:
    """Write report.html into the folder of a run: one page, readable without network."""
    quiet_libraries()
    from .show.report import write_report

    print(write_report(run))


@app.command(short_help="Show a configuration in full.")
def config(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Show a configuration in full, defaults included, as a file that every command takes."""
    print(to_toml(_chosen(config, overrides)), end="")


@app.command(short_help="List the configurations that ship.")
def configs() -> None:
    """List the configurations that ship, with objective, model and lag."""
    table = new_table("name", "objective", "model", ">L", ">samples per step")
    for path in sorted(CONFIGS.glob("*.toml")):
        found = load(path)
        samples = found.rollout.prompts * found.rollout.group_size
        table.add_row(
            path.stem, found.objective.described(), found.model.path, str(found.lag.sync_every), f"{samples:,}"
        )
    show(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's) and return its exit status.

    0: done. 1: a run or a check failed. 2: bad input, told in one line on the error stream. 130: stopped.
    """
    return run_app(app, "python -m llm", arguments, failures=(EngineError, FailedError))


# --- what the commands do -------------------------------------------------------------------------------------------


def _chosen(where: str, overrides: list[str] | None) -> Config:
    path = Path(where)
    if runs.is_run(path):
        return runs.read_config(path, overrides)
    if not path.exists() and path.name == where and not path.suffix:
        path = shipped(where, CONFIGS)
    return load(path, overrides or ())
