"""Three users from nothing to their first own result, in a clean clone and with a clean wheel. Needs git and uv.

python -m scripts.three_users                  build the wheel of the clone, then let each of them try
python -m scripts.three_users --wheel FOLDER   take the one wheel in FOLDER instead

The theorist and the engineer install the wheel alone and follow the tutorials of the site (every block of code that
they show is run); the student works in the clone, and so does the engineer who trains, both with the environment that
this script runs in. What is not committed is not tried.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THEORIST = ("tutorials/your_objective.md", "tutorials/your_claim.md")
STUDENT = ("tutorials/your_sweep.md",)
ENGINEER = ("tutorials/log_to_decision.md",)

TRL_LOG = """
import polars as pl
answers = [("2+3=", "5", 1.0), ("2+3=", "6", 0.0), ("2+3=", "5.", 0.0), ("2+3=", "5", 1.0),
           ("17*4=", "68", 1.0), ("17*4=", "67", 0.0), ("17*4=", "48", 0.0), ("17*4=", "21", 0.0)]
rows = [{"step": step, "prompt": prompt, "completion": text, "accuracy_reward": reward, "advantage": 2 * reward - 1}
        for step in (1, 2) for prompt, text, reward in answers]
pl.DataFrame(rows).write_parquet("completions_00001.parquet")
"""
"""What TRL's log_completions leaves, in its columns."""

TINY = (
    "warmup.steps=20",
    "warmup.every=20",
    "warmup.warmup_steps=5",
    "warmup.prompts=8",
    "warmup.samples=2",
    "steps=2",
    "checkpoint_every=2",
    "rollout.prompts=2",
    "evaluation.every=2",
    "evaluation.prompts=4",
    "evaluation.samples=2",
)
"""The configuration tiny_cpu in seconds: it learns nothing, but every part of it runs."""


def run(command: Sequence[str | Path], folder: Path, path: Path | None = None) -> None:
    """Run a command; SystemExit with what it printed if it fails.

    Args:
        command: its words.
        folder: where.
        path: what Python imports from first, if anything: else only from the environment and the folder.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")


def clone(folder: Path) -> Path:
    """A fresh clone of the commit that is checked out."""
    target = folder / "checkout"
    run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, target], folder)
    return target


def installed(checkout: Path, wheel: Path | None, folder: Path) -> Path:
    """The commands of a new environment that holds the wheel with all extras, and nothing of a checkout."""
    uv = [sys.executable, "-m", "uv"]
    if wheel is None:
        run([*uv, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", checkout], folder)
        wheel = next((folder / "dist").glob("pessimism-*.whl"))
    place = folder / "environment"
    run([*uv, "venv", "--quiet", "--python", sys.executable, place], folder)
    install = [*uv, "pip", "install", "--quiet", "--no-config", "--python", place / "bin" / "python"]
    run([*install, "--constraint", checkout / "constraints.txt", f"{wheel}[all]"], folder)
    return place / "bin"


def follow(python: Path, pages: Sequence[str], folder: Path) -> None:
    """Run every block of code of those pages, and compare what they quote."""
    script = folder / "scripts" / "documents.py"
    run([python, script, "--check", *(f"docs/{page}" for page in pages)], folder, path=folder)


def pages_only(checkout: Path, folder: Path) -> Path:
    """A folder with the site's pages and what runs them: nothing there to import the package from."""
    target = folder / "pages"
    shutil.copytree(checkout / "docs", target / "docs")
    (target / "scripts").mkdir()
    shutil.copy(checkout / "scripts" / "documents.py", target / "scripts")
    return target


def audit(commands: Path, folder: Path) -> None:
    """A log of TRL becomes a page."""
    run([commands / "python", "-c", TRL_LOG], folder)
    log, page = folder / "completions_00001.parquet", folder / "audit.html"
    run([commands / "pessimism", "audit", log, "--algorithm", "grpo", "--algorithm", "oapl", "--html", page], folder)
    if "<svg" not in page.read_text("utf-8") and "data:image" not in page.read_text("utf-8"):
        raise SystemExit(f"{page} has no picture")


def train(checkout: Path) -> None:
    """tiny_cpu from its warm-up to its report."""
    run([sys.executable, "-m", "llm", "train", "tiny_cpu", *TINY], checkout, path=checkout)
    if not (checkout / "runs" / "tiny_cpu" / "report.html").exists():
        raise SystemExit("the training run left no report")


def main() -> int:
    """Let the three of them try; the exit status is 0 if all get there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path)
    given = parser.parse_args().wheel
    wheels = [None] if given is None else sorted(given.resolve().glob("pessimism-*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"there are {len(wheels)} wheels of pessimism in that folder; there must be 1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.monotonic()

        def told(what: str) -> None:
            print(f"{time.monotonic() - start:5.0f} s  {what}", flush=True)

        checkout = clone(folder)
        commands = installed(checkout, wheels[0], folder)
        pages = pages_only(checkout, folder)
        told("a clone, and the wheel with its extras in an environment of its own")
        follow(commands / "python", THEORIST, pages)
        told("theorist: an objective and claims of their own, compared, verified, drawn")
        follow(commands / "python", ENGINEER, pages)
        audit(commands, folder)
        told("engineer: a log of TRL audited to a page, a configuration checked")
        follow(Path(sys.executable), STUDENT, checkout)
        told("student: a sweep of their own, and its figure")
        train(checkout)
        told("engineer: tiny_cpu trained, with its report")
    return 0


if __name__ == "__main__":
    sys.exit(main())
