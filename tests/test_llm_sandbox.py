"""Code that a model might write to get out, to fill up or to hang: it is kept in, or not run at all."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm.tasks.sandbox import choose
from llm.tasks.sandbox import isolation as ways
from llm.tasks.sandbox.choose import escapes, isolation
from llm.tasks.sandbox.isolation import Isolation, NoIsolationError
from llm.tasks.sandbox.limits import Limits
from llm.tasks.sandbox.run import call_function, run_program

SMALL = Limits(cpu=2, seconds=60, memory=256 << 20, disk=1 << 20, output=1 << 16, threads=16)


def held(kind) -> Isolation:
    try:
        return isolation(kind)
    except NoIsolationError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=["namespaces", "bubblewrap"])
def where(request):
    return held(request.param)


def printed(where, code, given="", limits=SMALL):
    ran = run_program(where, code, given, limits)
    return ran.end, ran.output.decode()


def test_programs_read_and_print_and_functions_are_called(where):
    assert printed(where, "a, b = map(int, input().split())\nprint(a + b)", "2 3\n") == ("ended", "5\n")
    assert printed(where, "import sys\nprint(len(sys.stdin.read()))\nexit(0)", "x" * 200_000) == ("ended", "200000\n")
    code = "class Solution:\n    def twice(self, x):\n        print('noise')\n        return [x, x]"
    assert call_function(where, code, "twice", [[1], ["a"]], SMALL) == [[1, 1], ["a", "a"]]
    assert call_function(where, "def half(x): return 1 / x", "half", [[2], [0], [4]], SMALL) == [0.5]
    assert call_function(where, "def f(x): return x", "g", [[2]], SMALL) == []


def test_threads_may_be_started_for_deep_recursion(where):
    code = (
        "import sys, threading\nsys.setrecursionlimit(10**5)\nthreading.stack_size(64 << 20)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "t = threading.Thread(target=lambda: print(f(20000)))\nt.start()\nt.join()"
    )
    assert printed(where, code) == ("ended", "20000\n")


@pytest.mark.parametrize(
    "code",
    [
        "raise ValueError",
        "exit(3)",
        "this is no code",
        "while True: pass",  # processor time
        "x = bytearray(1 << 30)",  # memory
        "x = []\nwhile True: x.append('x' * 10**6)",
        "open('/scratch/a', 'wb').write(bytes(2 << 20))",  # disk, one file
        "for i in range(9): open(f'/scratch/{i}', 'wb').write(bytes(1 << 18))",  # disk, several
        "x = [open('/dev/null') for _ in range(100)]",
        "import ctypes\nctypes.string_at(0)",  # crash
        "import threading, time\nfor _ in range(99): threading.Thread(target=time.sleep, args=(9,)).start()",
    ],
)
def test_what_goes_wrong_or_beyond_a_limit_fails(where, code):
    assert run_program(where, code, "", SMALL).end == "failed"


def test_output_is_cut_and_time_runs_out(where):
    began = time.monotonic()
    flood = run_program(where, "while True: print('x' * 10000)", "", SMALL)
    assert (flood.end, len(flood.output)) == ("output", SMALL.output)
    sleeping = run_program(where, "import time\ntime.sleep(1000)", "", SMALL.model_copy(update={"seconds": 3.0}))
    assert (sleeping.end, sleeping.output) == ("time", b"")
    assert time.monotonic() - began < 60
    loud = run_program(where, "import sys\nwhile True: sys.stderr.write('x' * 10000)", "", SMALL)
    assert loud.end in ("failed", "time")  # whichever limit comes first on a busy machine
    assert loud.output == b""


REFUSED = {
    "fork": "import os\nos.fork()",
    "fork bomb": "import os\nwhile True: os.fork()",
    "subprocess": "import subprocess\nsubprocess.run(['/bin/true'], check=True)",
    "multiprocessing": "import multiprocessing as m\np = m.Process(target=print)\np.start()",
    "exec": "import os\nos.execv('/usr/bin/env', ['env'])",
    "socket": "import socket\nsocket.socket()",
    "socket pair": "import socket\nsocket.socketpair()",
    "connection": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 1)",
    "home": "import os\nassert set(os.listdir(HOME)) - PYTHON",
    "secret": "print(open(SECRET).read())",
    "secret by a link": "import os\nos.symlink(SECRET, '/scratch/l')\nprint(open('/scratch/l').read())",
    "passwords": "print(open('/etc/passwd').read())",
    "processes": "import os\nprint(os.listdir('/proc'))",
    "write to usr": "open('/usr/x', 'w')",
    "write to root": "open('/x', 'w')",
    "replace the interpreter": "import os\nos.unlink(os.path.realpath('/proc/self/exe') or '/usr/bin/env')",
    "signal the parent": "import os\nos.kill(os.getppid(), 9)",
    "signal everybody": "import os\nos.kill(-1, 9)",
    "signal by number": "import os\nos.kill(TRAINER, 9)",
    "mount": "import ctypes\nassert ctypes.CDLL(None).mount(b'none', b'/scratch', b'tmpfs', 0, b'') == 0",
    "user namespace": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "trace": "import ctypes\nassert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0",
    "raise limits": "import resource as r\nr.setrlimit(r.RLIMIT_NOFILE, (1000, 1000))",
    "devices": "import os\nos.mknod('/scratch/d', 0o20666, os.makedev(1, 1))",
    "environment": "import os\nassert set(os.environ) - {'LANG', 'LC_CTYPE', 'PWD'}",
    "shared memory": "import os\nos.memfd_create('x')",
}


@pytest.mark.parametrize("name", REFUSED)
def test_there_is_no_way_out(where, name, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("known")
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {
            "SECRET": str(secret),
            "HOME": str(Path.home()),
            "PYTHON": set(sys.base_prefix.split("/")),
            "PORT": server.getsockname()[1],
            "TRAINER": os.getpid(),
        }
        code = "".join(f"{key} = {value!r}\n" for key, value in names.items()) + REFUSED[name]
        ran = run_program(where, code, "", SMALL)
    assert ran.end == "failed"
    assert b"known" not in ran.output
    assert not Path("/usr/x").exists()
    assert not Path("/x").exists()


def test_one_run_leaves_nothing_for_the_next(where):
    code = "import os\nprint(os.listdir('/scratch'))\nopen('/scratch/mark', 'w').close()"
    assert printed(where, code) == printed(where, code) == ("ended", "[]\n")


def test_code_cannot_forge_the_values_it_does_not_know(where):
    """It may write on the answers' own descriptor; what it writes is compared like what it returns."""
    forged = (
        "import os\nfor fd in range(3, 10):\n    try: os.write(fd, TEXT)\n    except OSError: pass\ndef f(x): return 2"
    )
    code = f"TEXT = {bytes(json.dumps(dict(value=1)) + chr(10), 'ascii')!r}\n{forged}"
    assert call_function(where, code, "f", [[0]], SMALL) in ([1], [2])
    code = f"TEXT = {b'[' * 9000!r}\n{forged}"
    assert call_function(where, code, "f", [[0]], SMALL) in ([], [2])


@pytest.mark.parametrize("after", [0.0, 0.1, 2.0])  # before the launcher is there, while it works, when code runs
def test_nothing_lives_on_when_the_run_is_ended_or_its_parent_is_killed(after):
    where = held("namespaces")
    program = (
        "import sys\nfrom llm.tasks.sandbox.choose import isolation\nfrom llm.tasks.sandbox.run import run_program\n"
        "from llm.tasks.sandbox.limits import Limits\n"
        f"where = isolation({where.kind!r})\nprint('ready', flush=True)\n"
        "run_program(where, 'marker_7d1 = 1\\nimport time\\ntime.sleep(1000)', '', Limits(seconds=900))"
    )
    root = Path(__file__).parent.parent
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    time.sleep(after)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 30
    while (left := children_of(parent.pid)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left


def children_of(session):
    """Processes whose command line is that of a sandbox and whose parent is gone."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (path / "cmdline").read_bytes(), (path / "stat").read_text()
        except OSError:
            continue
        if b"launcher.py" in command and status.rpartition(")")[2].split()[1] in ("1", str(session)):
            found.append(path.name)
    return found


def test_a_way_that_does_not_hold_is_refused(monkeypatch):
    """The same program without any isolation: the probe gets out, and code is not run."""
    bare = Isolation(
        "bare", lambda limits: [sys.executable, "-c", "import sys, json; exec(json.load(sys.stdin)['code'])"]
    )
    assert "start processes" in escapes(bare)
    monkeypatch.setattr(choose, "command", lambda kind, image: bare.command)
    with pytest.raises(
        NoIsolationError, match=r"^code cannot be isolated here, so it is not run: namespaces lets code"
    ):
        isolation("namespaces")


def test_where_nothing_can_isolate_the_reason_is_told(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for kind in ("bubblewrap", "docker", "gvisor"):
        with pytest.raises(NoIsolationError, match="so it is not run"):
            isolation(kind)
    monkeypatch.setattr(ways.platform, "machine", lambda: "riscv64")
    with pytest.raises(NoIsolationError, match="needs Linux on x86_64 or aarch64"):
        isolation()


def test_containers_get_no_network_and_no_more_than_the_limits(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    plain, guarded = (ways.command(kind, "python:3.12")(SMALL) for kind in ("docker", "gvisor"))
    assert plain[plain.index("--network") + 1] == "none"
    assert plain[plain.index("--memory") + 1] == str(SMALL.memory)
    assert "runsc" not in plain
    assert guarded[guarded.index("--runtime") + 1] == "runsc"
