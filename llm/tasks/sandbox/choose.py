"""Which way of isolation holds on this machine, found by trying to get out."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .isolation import AUTOMATIC, Isolation, Kind, NoIsolationError, command
from .limits import Limits
from .run import run_program

PROBE = """
import os, socket
def tried(name, act):
    try:
        act()
    except BaseException:
        return
    print(name)
def home():
    assert set(os.listdir(HOME)) - PYTHON
def parent():
    os.kill(os.getppid() or 1, 0)
def network():
    socket.socket()
tried("see your home folder", home)
tried("see the secret", lambda: open(SECRET).read())
tried("write outside its folder", lambda: open("/written", "w"))
tried("write to /usr", lambda: open("/usr/written", "w"))
tried("start processes", lambda: os.fork() or os._exit(0))
tried("start programs", lambda: os.posix_spawn("/bin/true", ["true"], {}))
tried("open sockets", network)
tried("signal processes", parent)
print("probed")
"""


def escapes(isolation: Isolation) -> list[str]:
    """What a probe could do that code must not be able to do, in words; nothing if it is kept in.

    Raises:
        NoIsolationError: it did not run.
    """
    with tempfile.NamedTemporaryFile() as secret:
        names = {"HOME": str(Path.home()), "SECRET": secret.name, "PYTHON": set(sys.base_prefix.split("/"))}
        code = "\n".join(f"{name} = {value!r}" for name, value in names.items()) + PROBE
        ran = run_program(isolation, code, "", Limits())
    *ways, last = ran.output.decode(errors="replace").splitlines() or [""]
    if ran.end != "ended" or last != "probed":
        raise NoIsolationError(f"{isolation.kind}: a probe did not run to its end ({ran.end}): {last[:100]}")
    return ways


def isolation(kind: Kind = "auto", image: str = "") -> Isolation:
    """A way that holds here.

    Args:
        kind: which; "auto" tries those that need no image.
        image: of a container.

    Raises:
        NoIsolationError: none does; code must then not be run.
    """
    reasons = []
    for one in AUTOMATIC if kind == "auto" else (kind,):
        try:
            found = Isolation(one, command(one, image))
            if ways := escapes(found):
                raise NoIsolationError(f"{one} lets code {', '.join(ways)}")
            return found
        except NoIsolationError as error:
            reasons.append(str(error))
    raise NoIsolationError(f"code cannot be isolated here, so it is not run: {'; '.join(_each(reasons))}")


def _each(reasons: Sequence[str]) -> list[str]:
    return [" ".join(reason.split())[:300] for reason in reasons]
