"""Targets of the grid of compositions {8 losses} x {12 corrections} x {4 masks} x {4 KL terms}, with their time.

    PYTHONPATH=tests python -m benchmarks.bench_compositions              # 1536 targets
    PYTHONPATH=tests python -m benchmarks.bench_compositions --sample 50  # some of them, at random

Prints how many targets there are of each kind, the processor time per target, and every composition whose target is no
policy; exit status 1 if there is one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

import numpy as np

import pessimism as ps
from tests.test_compositions import GRID, ONE, made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sample", type=int, default=len(GRID), help="how many, drawn at random (seed 0)")
    count = min(parser.parse_args().sample, len(GRID))
    chosen = np.random.default_rng(0).choice(len(GRID), size=count, replace=False)
    kinds: Counter[str] = Counter()
    seconds, broken = [], []
    for index in chosen.tolist():
        algorithm = made(*GRID[index])
        start = time.process_time()
        target = ps.induced_target(ONE, algorithm)
        seconds.append(time.process_time() - start)
        kinds[target.kind] += 1
        sound = np.isfinite(target.policy).all() and abs(target.policy.sum() - 1) < 1e-9
        if not (sound and np.isfinite(target.normalizer)):
            broken.append(str(algorithm))
    print(f"{count} of {len(GRID)} compositions: {dict(kinds)}")
    print(f"seconds per target: median {np.median(seconds):.2f}, largest {max(seconds):.2f}, in all {sum(seconds):.0f}")
    print(*(f"no policy: {name}" for name in broken), sep="\n", end="\n" if broken else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
