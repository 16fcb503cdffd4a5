"""How code is kept in: the ways that there are, and which of them this machine allows.

Every way starts ``inside.py``, which sets limits and filters system calls. They differ in what puts it into namespaces:

============  =======================================================================================================
namespaces    our own launcher: Linux 5.12 or later, as root or where users may make user namespaces
bubblewrap    ``bwrap``, where it is installed
docker        a container without network, of an image that has Python
gvisor        the same with ``--runtime=runsc``, where system calls go to a kernel of their own
============  =======================================================================================================

A way is taken only if a probe that tries to get out fails at everything it tries: :mod:`llm.tasks.sandbox.choose`.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from .limits import Limits

Kind = Literal["auto", "bubblewrap", "namespaces", "docker", "gvisor"]
AUTOMATIC: tuple[Kind, ...] = ("bubblewrap", "namespaces")
HERE = Path(__file__).parent
LIBRARIES = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")

Command = Callable[[Limits], list[str]]
"""From limits to the command that starts ``inside.py`` in isolation."""


class NoIsolationError(ValueError):
    """Code cannot be kept in here. One line that says why."""


@dataclass(frozen=True)
class Isolation:
    """A way that was found to hold.

    Attributes:
        kind: which.
        command: what to start, see ``Command``.
    """

    kind: str
    command: Command


def command(kind: Kind, image: str = "") -> Command:
    """What a way starts.

    Raises:
        NoIsolationError: what it needs is not here.
    """
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise NoIsolationError(f"{kind} needs Linux on x86_64 or aarch64; this is {platform.platform(terse=True)}")
    match kind:
        case "namespaces":
            return _namespaces
        case "bubblewrap":
            program = _needed("bwrap", kind)
            return lambda limits: _bubblewrap(program, limits)
        case "docker" | "gvisor":
            if not image:
                raise NoIsolationError(f"{kind} needs an image with python3; name one")
            program = _needed("docker", kind)
            return lambda limits: _docker(program, image, kind == "gvisor", limits)
    raise NoIsolationError(f"{kind!r} is no way to isolate code")


def _needed(name: str, kind: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NoIsolationError(f"{kind} needs the program {name}, which is not installed")
    return found


def _inside(interpreter: str) -> list[str]:
    return [interpreter, "-I", "-S", "-B", "-c", (HERE / "inside.py").read_text("utf-8")]


def _interpreter() -> str:
    """This Python outside its virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _seen() -> list[str]:
    """What Python needs to start."""
    prefix = os.path.realpath(sys.base_prefix)
    if prefix in ("/", os.path.realpath(Path.home())):
        raise NoIsolationError(f"Python lives in {prefix}, all of which the code would see; use another Python")
    inside = any(prefix == path or prefix.startswith(path + "/") for path in LIBRARIES)
    return [path for path in (*LIBRARIES, *([] if inside else [prefix])) if os.path.lexists(path)]


@cache
def _root() -> tempfile.TemporaryDirectory[str]:
    """An empty folder to mount on; removed when the program ends."""
    return tempfile.TemporaryDirectory(prefix="sandbox-")


def _namespaces(limits: Limits) -> list[str]:
    inner = _inside(_interpreter())
    settings = {
        "root": _root().name,
        "seen": _seen(),
        "scratch": limits.disk,
        "seconds": math.ceil(limits.seconds) + 10,
        "parent": os.getpid(),
        "command": inner,
    }
    return [_interpreter(), "-I", "-S", "-B", str(HERE / "launcher.py"), json.dumps(settings)]


def _bubblewrap(program: str, limits: Limits) -> list[str]:
    seen: list[str] = []
    for path in _seen():
        if os.path.islink(path):
            seen += ["--symlink", os.readlink(path), path]
        else:
            seen += ["--ro-bind", path, path]
    return [
        *(program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"),
        *("--setenv", "LANG", "C.UTF-8", *seen, "--dev", "/dev", "--size", str(limits.disk), "--tmpfs", "/scratch"),
        *("--remount-ro", "/", "--chdir", "/scratch", "--", *_inside(_interpreter())),
    ]


def _docker(program: str, image: str, runsc: bool, limits: Limits) -> list[str]:
    return [
        *(program, "run", "--rm", "--interactive", "--network", "none", "--read-only", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges", "--pids-limit", str(limits.threads), "--user", "65534:65534"),
        *("--memory", str(limits.memory), "--memory-swap", str(limits.memory)),
        *("--tmpfs", f"/scratch:rw,noexec,nosuid,size={limits.disk}", "--workdir", "/scratch"),
        *(["--runtime", "runsc"] if runsc else []),
        *(image, *_inside("python3")),
    ]
