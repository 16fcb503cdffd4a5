"""Where the final answer stands in a text."""

from __future__ import annotations

LONGEST = 1000  # characters of a final answer


def after_thinking(prompt: str, text: str) -> str | None:
    """What an answer says after its thinking; None where thinking was begun, by the prompt or in the answer, and has
    not ended: what stands in thoughts that were cut off is no answer.

    >>> after_thinking("1 + 1? <think>", "Two? #### 2. Wait, no"), after_thinking("1 + 1?", "<think>Well</think> 2")
    (None, ' 2')
    """
    _, closed, after = text.rpartition("</think>")
    begun = "<think>" in after or (not closed and prompt.rstrip().endswith("<think>"))
    return None if begun else after


def final_answer(text: str) -> str | None:
    r"""What stands in the last ``\boxed{...}``, or else after the last ``####``, or else after the last ``Answer:``
    (these two up to the end of their line); None if there is nothing of the kind.

    Thinking that ends with ``</think>`` is left out. More than 1,000 characters are no answer.

    >>> final_answer("<think>\\boxed{1}</think> so \\boxed{\\frac{1}{2}}, that is a half.")
    '\\frac{1}{2}'
    >>> final_answer("2 + 3 = 5\n#### 5"), final_answer("Answer: 1\nNo. Answer: 2"), final_answer("5")
    ('5', '2', None)
    """
    text = text.rpartition("</think>")[2]
    _, box, inside = text.rpartition("\\boxed{")
    if box:
        answer = _balanced(inside)
    else:
        marker = "####" if "####" in text else "Answer:"
        _, marked, rest = text.rpartition(marker)
        answer = rest.partition("\n")[0] if marked else None
    return answer.strip() or None if answer is not None and len(answer) <= LONGEST else None


def _balanced(text: str) -> str | None:
    """What stands before the brace that closes one opened before the text."""
    depth = 1
    for end, character in enumerate(text[: LONGEST + 1]):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:end]
    return None
