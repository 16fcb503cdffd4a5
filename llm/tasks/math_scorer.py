"""Compares mathematics answers with math-verify; run by :class:`llm.tasks.judge.Judge`.

math-verify parses LaTeX with a grammar. Of plain text it evaluates only what consists of digits, points and
arithmetic operators. Its own time limits are off: they work in main threads only, and not inside C code.
"""

from __future__ import annotations

import logging

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from .final_answers import final_answer
from .worker import limited, serve

ANY = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]


def equal(gold: str, text: str, limit: float) -> float:
    """1 if the final answer of a text equals the true one as mathematics, else 0, found within so many
    processor seconds."""
    answer = final_answer(text)
    if answer is None:
        return 0.0
    with limited(limit):
        truth, found = (parse(f"\\boxed{{{value}}}", ANY, parsing_timeout=0) for value in (gold, answer))
        return float(verify(truth, found, timeout_seconds=0))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    serve({"equal": equal})
