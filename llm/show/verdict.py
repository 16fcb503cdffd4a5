"""What became of a run, in one sentence, and what the numbers of its evaluations mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PASS = "evaluation/pass@1"

MEANINGS = {
    "pass@k": "the share of held-out prompts that at least one of k completions solves, estimated without bias from "
    "all completions of a prompt.",
    "mean reward": "of all completions of the held-out prompts.",
    "tokens": "the mean length of a completion.",
    "cut off": "the share of completions that reached the largest allowed length before they ended.",
    "nats/token": "the mean of minus the log-probability of the sampled tokens: the entropy of the policy, estimated.",
    "in brackets": "a 95% bootstrap interval over prompts. It says how much depends on which prompts were drawn, not "
    "what another seed of training would give.",
}
"""Column of a table of evaluations -> what it is."""


def verdict(records: Sequence[Mapping[str, Any]], steps: int) -> str:
    """One sentence: how the held-out pass rate changed between the first evaluation and the last.

    Args:
        records: the numbers of every step, in order.
        steps: that the run was to take.

    >>> first = {"step": 0, PASS: 0.234, f"{PASS}_low": 0.2, f"{PASS}_high": 0.27}
    >>> last = {"step": 400, PASS: 0.294, f"{PASS}_low": 0.28, f"{PASS}_high": 0.31}
    >>> verdict([first, last], 400)
    'Held-out pass@1 rose from 23.4% before training to 29.4% at step 400; the 95% intervals do not overlap.'
    >>> verdict([first], 400)
    'The run has not come to an evaluation after training began.'
    """
    found = [record for record in records if record.get(PASS) is not None]
    if not found:
        return "The run was not evaluated on held-out prompts, so nothing is said of what it learned."
    first, last = found[0], found[-1]
    if last["step"] == 0:
        return "The run has not come to an evaluation after training began."
    if len(found) == 1:
        return f"Held-out pass@1 is {last[PASS]:.1%} at step {last['step']}; no earlier evaluation says where it began."
    began = "before training" if first["step"] == 0 else f"at step {first['step']}"
    if f"{first[PASS]:.1%}" == f"{last[PASS]:.1%}":
        moved = f"is {last[PASS]:.1%} at step {last['step']}, as {began}"
    else:
        verb = "rose" if last[PASS] > first[PASS] else "fell"
        moved = f"{verb} from {first[PASS]:.1%} {began} to {last[PASS]:.1%} at step {last['step']}"
    said = f"Held-out pass@1 {moved}"
    if all(record.get(f"{PASS}_{end}") is not None for record in (first, last) for end in ("low", "high")):
        apart = first[f"{PASS}_high"] < last[f"{PASS}_low"] or last[f"{PASS}_high"] < first[f"{PASS}_low"]
        said += f"; the 95% intervals {'do not overlap' if apart else 'overlap'}"
    left = steps - records[-1]["step"]
    return f"{said}." + (f" {left:,} of {steps:,} steps are still to come." if left > 0 else "")
