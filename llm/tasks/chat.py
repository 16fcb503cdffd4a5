"""How a problem is put to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Messages = Sequence[Mapping[str, str]]
"""Each with "role" and "content"."""


class Tokenizer(Protocol):
    """What is needed of a transformers tokenizer."""

    chat_template: Any

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """The conversation as text."""
        ...


def asked(question: str, instruction: str) -> Messages:
    """A question, and how to answer it, as a conversation of one message.

    >>> asked("1 + 1?", "Put the answer in a box.")
    [{'role': 'user', 'content': '1 + 1?\\n\\nPut the answer in a box.'}]
    """
    return [{"role": "user", "content": f"{question}\n\n{instruction}" if instruction else question}]


def written(messages: Messages, template: Mapping[str, Any], tokenizer: Tokenizer | None) -> str:
    """What the model reads: by the tokenizer's chat template if it has one, else the bare contents.

    Special tokens are part of the text; none are to be added when it is tokenized.

    Raises:
        ValueError: arguments for a chat template that is not there.
    """
    if tokenizer is not None and tokenizer.chat_template is not None:
        conversation = [dict(message) for message in messages]
        return tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True, **template)
    if template:
        raise ValueError(f"task.options.template is {dict(template)}, but the tokenizer has no chat template")
    return "\n\n".join(message["content"] for message in messages)
