"""Try a built wheel: install it with each of its extras into an environment of its own, and run what the extra is for.

python -m scripts.try_wheel FOLDER    the one wheel in FOLDER, on every Python from 3.11 to 3.14 that is installed
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
BANDIT = ["--behavior", "0.5,0.3,0.2", "--reward", "0,0,1"]
TARGET = "import pessimism as ps; b = ps.Bandit([0.5, 0.5], [0, 1]); a = ps.algorithm('oapl')"
FILES = {
    "run.yaml": "loss_type: cispo\nnum_generations: 8\n",
    "log.jsonl": "".join(f'{{"prompt": "1+1=", "reward": {reward}}}\n' for reward in (0, 1, 0, 0)),
}

Command = Sequence[str]
CORE: list[Command] = [["python", "-c", f"{TARGET}; print(ps.compare(b, a).verdict)"]]
CLI: list[Command] = [
    ["pessimism", "--version"],
    ["pessimism", "compare", "oapl", *BANDIT],
    ["pessimism", "catalogue", "oapl"],
]
VERIFY: list[Command] = [["pessimism", "verify", "--claim", "regimes.boundary"]]
PLOT: list[Command] = [["python", "-c", f"{TARGET}; ps.compare(b, a).plot().savefig('targets.png')"]]
AUDIT: list[Command] = [
    ["pessimism", "audit", "log.jsonl", "--column", "group=prompt", "--algorithm", "oapl", "--html", "audit.html"],
    ["pessimism", "compare", "oapl", *BANDIT, "--plot", "targets.svg"],
]
LINT: list[Command] = [["pessimism", "lint", "run.yaml", "--fail-on", "never"]]
TRIALS: Mapping[str, list[Command]] = {
    "": CORE,
    "cli": CORE + CLI,
    "verify": CLI + VERIFY,
    "plot": CORE + PLOT,
    "audit": CLI + AUDIT,
    "lint": CLI + LINT,
    "all": CORE + CLI + VERIFY + PLOT + AUDIT + LINT,
}
"""Extra -> what must work with it alone ("": without any)."""


def interpreters() -> dict[str, str]:
    """Version -> path of every Python that is installed."""
    found = {version: shutil.which(f"python{version}") for version in VERSIONS}
    return {version: path for version, path in found.items() if path is not None and _starts(path)}


def _starts(python: str) -> bool:
    """Whether it is an interpreter (version managers leave wrappers for those that are not there)."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def try_extra(wheel: Path, extra: str, python: str, folder: Path) -> None:
    """Install the wheel with an extra and run its commands; CalledProcessError if one fails."""
    environment = folder / f"environment-{extra or 'core'}"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", python, str(environment)], check=True, cwd=folder)
    target = f"{wheel}[{extra}]" if extra else str(wheel)
    install = [*uv, "pip", "install", "--quiet", "--no-config", "--python", str(environment / "bin" / "python"), target]
    subprocess.run([*install, "--constraint", str(ROOT / "constraints.txt")], check=True, cwd=folder)
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    for program, *arguments in TRIALS[extra]:
        command = [str(environment / "bin" / program), *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(
                f"with extra {extra!r}: {program} {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}"
            )


def main() -> int:
    """Try the wheel; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    wheels = sorted(parser.parse_args().folder.resolve().glob("pessimism-*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"there are {len(wheels)} wheels of pessimism in that folder; there must be 1")
    found = interpreters()
    for version, python in found.items():
        for extra in TRIALS:
            with tempfile.TemporaryDirectory() as folder:
                try_extra(wheels[0], extra, python, Path(folder))
        print(f"{wheels[0].name} on Python {version}: works without extras and with {', '.join(filter(None, TRIALS))}")
    missing = [version for version in VERSIONS if version not in found]
    if missing:
        print(f"not tried, because not installed: Python {', '.join(missing)}")
    return int(not found)


if __name__ == "__main__":
    sys.exit(main())
