"""Runs one answer inside the sandbox: its text is given to `python -I -S -B -c`; standard library only.

Standard input holds one JSON object: ``code``, ``limits`` and either ``input`` (a text for the code's standard input)
or ``calls`` (lists of arguments) with the name of a ``function``. What comes out on standard output is the code's own
output, or one line of JSON per call. Whoever asked compares it with what was expected, which is never in here.

Before the code runs, resource limits are set for good, and a filter for system calls: no new process (threads may be),
no other program, no socket, nothing of what sandboxes are escaped by.
"""

import builtins
import ctypes
import json
import os
import platform
import resource
import struct
import sys

SET_SECCOMP, FILTER = 22, 2
ALLOW, REFUSE, UNKNOWN, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000  # EPERM, ENOSYS
THREAD = 0x00010000
X32 = 0x40000000

# Names in the order of the numbers below; None where an architecture has no such call.
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
REFUSED = {
    "x86_64": (
        *(57, 58, 59, 322),  # fork, vfork, execve, execveat
        *(41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 288, 299, 307),  # sockets
        *(101, 310, 311, 312, 434, 438),  # ptrace, process_vm_*, kcmp, pidfd_open, pidfd_getfd
        *(62, 200, 234, 129, 297, 424),  # kill, tkill, tgkill, *sigqueueinfo, pidfd_send_signal
        *(155, 161, 165, 166, 272, 308, 428, 429, 430, 431, 432, 433, 442),  # mounts and namespaces
        *(246, 320, 175, 313, 176, 169, 167, 168, 163, 153, 103, 134),  # kexec, modules, reboot, swap, ...
        *(248, 249, 250, 298, 321, 323, 425, 426, 427),  # keys, perf, bpf, userfaultfd, io_uring
        *(29, 30, 31, 64, 65, 66, 68, 69, 70, 71, 220, 240, 319, 447),  # shared memory, queues, memfd
        *(303, 304, 133, 259, 172, 173, 159, 227, 164, 170, 171, 135, 160, 302),  # handles, devices, clocks, limits
    ),
    "aarch64": (
        *(221, 281),
        *(198, 199, 200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211, 212, 242, 243, 269),
        *(117, 270, 271, 272, 434, 438),
        *(129, 130, 131, 138, 240, 424),
        *(39, 40, 41, 51, 97, 268, 428, 429, 430, 431, 432, 433, 442),
        *(104, 294, 105, 106, 273, 142, 224, 225, 58, 116),
        *(217, 218, 219, 241, 280, 282, 425, 426, 427),
        *(180, 186, 187, 188, 189, 190, 191, 192, 193, 194, 195, 196, 197, 279, 447),
        *(264, 265, 33, 112, 170, 161, 162, 92, 164, 261),
    ),
}
CLONES = {"x86_64": (56, 435), "aarch64": (220, 435)}  # clone, clone3


def filter_calls():
    """Refuse system calls from here on, in this process and its threads."""
    machine = platform.machine()
    clone, clone3 = CLONES[machine]
    refused = sorted(set(REFUSED[machine]))
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, ARCHITECTURES[machine]),
        (give, 0, 0, KILL),
        (load, 0, 0, 0),
        (at_least, 0, 1, X32),
        (give, 0, 0, KILL),
        (equal, 0, 1, clone3),  # its flags lie where a filter cannot look; libraries then use clone
        (give, 0, 0, UNKNOWN),
        (equal, 0, 4, clone),
        (load, 0, 0, 16),
        (any_bit, 1, 0, THREAD),
        (give, 0, 0, REFUSE),
        (give, 0, 0, ALLOW),
    ]
    for number in refused:
        program += [(equal, 0, 1, number), (give, 0, 0, REFUSE)]
    program.append((give, 0, 0, ALLOW))
    packed = b"".join(struct.pack("HBBI", *line) for line in program)
    held = ctypes.create_string_buffer(packed, len(packed))
    described = struct.pack("HxxxxxxP", len(program), ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)
    if libc.prctl(SET_SECCOMP, FILTER, ctypes.c_char_p(described), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no filter for system calls")


def limit(limits):
    """Limits that the kernel holds, for good."""
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, limits["threads"]),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_CPU, limits["cpu"]),
        (resource.RLIMIT_AS, limits["memory"]),
    ):
        resource.setrlimit(what, (most, most))


def give_input(text):
    """Make a text the standard input."""
    with open("/scratch/.input", "w+b") as file:
        file.write(text.encode())
        file.flush()
        os.unlink("/scratch/.input")
        file.seek(0)
        os.dup2(file.fileno(), 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115


def called(namespace, name):
    """A function, or a method of the class Solution."""
    if "Solution" in namespace and hasattr(namespace["Solution"], name):
        return getattr(namespace["Solution"](), name)
    return namespace[name]


def main():
    with open(0, "rb", closefd=False) as stream:
        asked = json.loads(stream.read())
    limit(asked["limits"])
    builtins.exit = builtins.quit = sys.exit  # which the module "site" would add
    namespace = {"__name__": "__main__", "__builtins__": __builtins__}
    code = compile(asked["code"], "<answer>", "exec")
    if "input" in asked:
        give_input(asked["input"])
        filter_calls()
        exec(code, namespace)
        sys.stdout.flush()
        return
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open("/dev/null", os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    filter_calls()
    namespace["__name__"] = "answer"
    exec(code, namespace)
    for arguments in asked["calls"]:
        function = called(namespace, asked["function"])
        answers.write(json.dumps({"value": function(*arguments)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
