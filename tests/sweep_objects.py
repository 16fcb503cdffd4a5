"""Sweeps and algorithms that tests name as ``sweep_objects:NAME``, in this process and in others."""

import os
import signal
import time

import pessimism as ps
from bandits.settings import Settings
from bandits.sweeps import Sweep, algorithm, bandit, product


def sleepy(seconds: float = 0.2) -> ps.Algorithm:
    """A regression that takes its time, so that there is time to kill what computes it."""

    def coefficient(log_ratio, advantage):
        time.sleep(seconds)
        return advantage - 0.5 * log_ratio

    return ps.Algorithm(coefficient)


def failing() -> ps.Algorithm:
    """An algorithm whose coefficient raises once it is run."""

    def coefficient(log_ratio, advantage):
        raise ZeroDivisionError("this coefficient divides by zero")

    return ps.Algorithm(coefficient)


SLEEPY = Sweep(
    "sleepy",
    "Nothing: it takes its time.",
    [bandit("sparse", arms=9, rewarded=3)],
    [algorithm("sweep_objects:sleepy")],
    Settings(targets=False, group_size=4),
    product(lag=[1, 2], learning_rate=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
    seeds=2,
)

FAILING = Sweep(
    "failing",
    "A cell that fails does not end a sweep.",
    [bandit("three_arm")],
    [algorithm("reinforce"), algorithm("sweep_objects:failing"), algorithm("dro", beta=0.5)],
    Settings(targets=False),
)


def deadly() -> ps.Algorithm:
    """What a process does that the system kills for its memory: it is gone."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
