"""What corrections make of a gap per token: closed forms against quadrature and against draws of tokens."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from pessimism import corrections
from pessimism.cli.main import main
from pessimism.gap import gaussian_effect, simulated_effect

CASES = [
    corrections.truncate(2.0),
    corrections.mask(1.05, low=0.95),
    corrections.truncate(2.0, low=0.25, level="sequence"),
    corrections.mask(3.0, level="sequence"),
    corrections.mask(1.001, low=0.999, level="geometric"),
]


@pytest.mark.parametrize("correction", CASES, ids=str)
def test_closed_forms_against_quadrature(correction):
    gap, length = 0.1, 40
    spread = {"token": gap, "sequence": gap * math.sqrt(length), "geometric": gap / math.sqrt(length)}[correction.level]
    mean = -length * gap**2 / 2 if correction.level == "sequence" else -(gap**2) / 2

    def average(function):
        def density(x):
            return function(x) * math.exp(-((x - mean) ** 2) / 2 / spread**2) / spread / math.sqrt(2 * math.pi)

        edges = [
            mean - 12 * spread,
            *sorted(math.log(b) for b in (correction.low, correction.cap) if b > 0),
            mean + 14 * spread,
        ]
        return sum(quad(density, a, b, epsabs=1e-13)[0] for a, b in pairwise(edges) if b > a)

    def weight(x):
        return float(correction.weight(np.array([x]))[0])

    found = gaussian_effect(correction, gap, length)
    touched = average(lambda x: float(not correction.inside(np.array([x]))[0]))
    first, second = average(weight), average(lambda x: weight(x) ** 2)
    assert found.tokens == pytest.approx(touched, rel=1e-6, abs=1e-12)
    assert found.kept == pytest.approx(first, rel=1e-8)
    assert found.variance == pytest.approx(second - first**2, rel=1e-6, abs=1e-12)
    assert found.effective == pytest.approx(first**2 / second, rel=1e-8)


@pytest.mark.parametrize("correction", CASES, ids=str)
def test_closed_forms_against_draws(correction):
    exact, drawn = gaussian_effect(correction, 0.1, 40), simulated_effect(correction, 0.1, 40, 20_000, 1)
    for name in ("tokens", "completions", "kept", "effective"):
        assert getattr(drawn, name) == pytest.approx(getattr(exact, name), abs=0.02), name


def test_limits():
    wide = gaussian_effect(corrections.truncate(1e300), 0.1, 40)
    assert (wide.tokens, wide.completions) == (0.0, 0.0)
    assert wide.kept == pytest.approx(1)
    assert wide.variance == pytest.approx(math.expm1(0.01))  # of a lognormal of mean 1
    long = gaussian_effect(corrections.mask(3.0, level="sequence"), 0.1, 100_000)
    assert long.kept < 1e-9  # the exact weight sits on completions that the mask leaves out
    for bad, message in (((0.0, 4), "gap is 0.0"), ((0.1, 0), "length is 0")):
        with pytest.raises(ValueError, match=message):
            gaussian_effect(corrections.truncate(2.0), *bad)
    with pytest.raises(ValueError, match="use truncate or mask"):
        gaussian_effect(corrections.reject(2.0), 0.1, 4)


def test_command(capsys):
    asked = ["corrections", "--gap", ".02", "--length", "64", "--cap", "2", "--completions", "10", "--json"]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["correction"] for each in found["corrections"]][2] == "truncate(cap=2, level=sequence)"
    assert all(0 <= each["exact"]["tokens"] <= 1 for each in found["corrections"])
    assert main(["corrections", "--gap", ".02", "--length", "64", "--completions", "0"]) == 0
    assert "mean weight" in capsys.readouterr().out
    assert main(["corrections", "--gap", "-1", "--length", "64"]) == 2
