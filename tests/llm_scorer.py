"""A scorer for tests, that dies when it is asked to."""

import os
import signal
import time

from llm.tasks.worker import serve


def die(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))


def die_with_supervisor() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def tell(value: float) -> float:
    return value


def tell_late(seconds: float, value: float) -> float:
    time.sleep(seconds)
    return value


if __name__ == "__main__":
    serve({function.__name__: function for function in (die, die_with_supervisor, tell, tell_late)})
