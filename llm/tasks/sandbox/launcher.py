"""Puts a program into namespaces of its own: `python -I -S -B launcher.py SETTINGS`, standard library only.

SETTINGS is JSON: ``root`` (an empty folder, to mount on), ``seen`` (folders and files that the program may read),
``scratch`` (bytes that it may write), ``seconds`` (after which all ends), ``parent`` (the process to end with) and
``command``. The program gets:

* user, mount, network, process, IPC and host-name namespaces: no network but a loopback that is down, no process but
  its own, and process 1 of its namespace, so that all of it ends with it;
* a file system of ``seen``, read-only, three devices, and ``/scratch`` in memory;
* no capability, no way to gain one, and a user that owns nothing.

A step that fails ends it before the program starts, with exit status 125 and the reason on standard error.
"""

import ctypes
import json
import os
import platform
import random
import signal
import sys

CANNOT = 125
SIGNALED = 128

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
NOSUID, NODEV, NOEXEC, BIND, RECURSIVE, PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
DETACH = 2
SET_PDEATHSIG, SET_NO_NEW_PRIVS, CAPBSET_DROP = 1, 38, 24
SYSCALLS = {  # pivot_root, mount_setattr
    "x86_64": (155, 442),
    "aarch64": (41, 442),
}
AT_RECURSIVE, AT_EMPTY = 0x8000, 0x1000
ONLY_READ, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
NOBODY = 65534

libc = ctypes.CDLL(None, use_errno=True)


class MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


def check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    found = libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    check(found, f"mount {target}")


def only_read(target: str, recursive: bool) -> None:
    wanted = MountAttributes(ONLY_READ | ATTR_NOSUID | ATTR_NODEV, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    number = SYSCALLS[platform.machine()][1]
    size = ctypes.sizeof(wanted)
    check(libc.syscall(number, -100, target.encode(), flags, ctypes.byref(wanted), size), f"read-only {target}")


def own_namespaces() -> bool:
    """Leave everything that is shared; whether that took a user namespace, as nobody but root can do without."""
    shared = NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET
    if os.geteuid() == 0 and libc.unshare(shared) == 0:
        return False
    user, group = os.geteuid(), os.getegid()
    check(libc.unshare(NEWUSER | shared), "user namespace")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {user} 1"), ("gid_map", f"{NOBODY} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def build(root: str, seen: list, scratch: int) -> None:
    """Make the file system and move into it."""
    mount("none", "/", "", RECURSIVE | PRIVATE)
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=1m,mode=755")
    for path in [*seen, "/dev/null", "/dev/zero", "/dev/urandom"]:
        inner = root + path
        os.makedirs(os.path.dirname(inner), exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.readlink(path), inner)
            continue
        if os.path.isdir(path):
            os.makedirs(inner, exist_ok=True)
        else:
            open(inner, "x").close()
        mount(path, inner, "", BIND | RECURSIVE)
        if not path.startswith("/dev/"):
            only_read(inner, recursive=True)
    os.mkdir(root + "/scratch")
    mount("tmpfs", root + "/scratch", "tmpfs", NOSUID | NODEV | NOEXEC, f"size={scratch},nr_inodes=1000,mode=777")
    only_read(root, recursive=False)
    os.chdir(root)
    check(libc.syscall(SYSCALLS[platform.machine()][0], b".", b"."), "pivot_root")
    check(libc.umount2(b".", DETACH), "leave the old file system")
    os.chdir("/scratch")


def drop(as_root: bool) -> None:
    """Give up every privilege for good."""
    for capability in range(64):
        libc.prctl(CAPBSET_DROP, capability, 0, 0, 0)
    if as_root:
        os.setgroups([])
        user = 0x60000000 + random.SystemRandom().randrange(0x10000000)  # alone, so that limits per user are its own
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    check(libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")


def main() -> int:
    settings = json.loads(sys.argv[1])
    libc.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != settings["parent"]:  # it was gone before it could be followed
        return CANNOT
    signal.alarm(settings["seconds"])  # in case nobody is left to watch the time
    as_root = not own_namespaces()
    inside = os.fork()
    if inside == 0:
        try:
            libc.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            build(settings["root"], settings["seen"], settings["scratch"])
            drop(as_root)
            libc.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # another user forgets it
            os.execve(settings["command"][0], settings["command"], {"LANG": "C.UTF-8"})
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        os._exit(CANNOT)
    for stream in (0, 1):
        os.close(stream)
    code = os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1])
    return code if code >= 0 else SIGNALED - code


if __name__ == "__main__":
    try:
        status = main()
    except OSError as error:
        os.write(2, f"{error}\n".encode())
        status = CANNOT
    os._exit(status)
