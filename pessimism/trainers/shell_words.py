"""Words of shell scripts: expansion of variables, arrays, defaults and arithmetic over bash's syntax tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .arithmetic import whole_number
from .shell_programs import normpath, printed, replaced

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_WORD = 64 * 1024
MAX_STEPS = 20_000
MAX_TEXT = 1 << 20
MAX_DEPTH = 50
COMPUTED = "${computed}"
GAP = "\0"
"""Where an unquoted expansion splits a word."""


@dataclass(frozen=True)
class Word:
    """One word of a command, and the line of the script that it was written in."""

    text: str
    line: int

    @property
    def known(self) -> bool:
        """Whether nothing in it depends on a run."""
        return "$" not in self.text


@dataclass
class State:
    """What a script has set so far."""

    variables: dict[str, tuple[Word, ...]] = field(default_factory=dict)
    functions: dict[str, Node] = field(default_factory=dict)
    arguments: tuple[Word, ...] = ()

    def copy(self) -> State:
        return State(dict(self.variables), dict(self.functions), self.arguments)


def node_text(node: Node) -> str:
    """What stands in the script."""
    return (node.text or b"").decode()


class Words:
    """What a script has set so far, and what its words become; counts steps, so that no script can make it long."""

    def __init__(self) -> None:
        self.state = State()
        self.steps = 0
        self.written = 0
        self.offset = 0
        self.fixed: int | None = None

    def line(self, node: Node) -> int:
        """The line of the script that a node stands in; of another script, the line that starts it."""
        return self.offset + node.start_point[0] + 1 if self.fixed is None else self.fixed

    def tick(self, node: Node, depth: int) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ValueError(f"line {self.line(node)}: following the script takes more than {MAX_STEPS:,} steps")
        if depth > MAX_DEPTH:
            raise RecursionError

    def bound(self, node: Node, size: int) -> None:
        self.written += size
        if size > MAX_WORD:
            raise ValueError(f"line {self.line(node)}: a word expands to more than {MAX_WORD // 1024} KiB")
        if self.written > MAX_TEXT:
            raise ValueError(f"line {self.line(node)}: its words expand to more than {MAX_TEXT // 1024} KiB")

    # --- words --------------------------------------------------------------------------------------------------

    def fields(self, node: Node, depth: int) -> Iterator[Word]:
        """The words that one word of the script becomes."""
        array = self.array(node)
        if array is not None:
            yield from array
            return
        text = self.string(node, depth, split=True)
        self.bound(node, len(text))
        plain = node.type in ("simple_expansion", "expansion")
        whole = self.state.variables.get(_name(node) or "") if plain else None
        for part in text.split(GAP):
            if part or (not plain and text == ""):
                yield Word(part, whole[0].line if whole else self.line(node))

    def array(self, node: Node) -> tuple[Word, ...] | None:
        """The elements that ``"${A[@]}"``, ``"$@"`` and the like stand for; None for any other word."""
        match = re.fullmatch(r'"?\$(?:\{(\w+)\[[@*]\]\}|\{?[@*]\}?)"?', node_text(node))
        if match is None:
            return None
        if match[1] is None:
            return self.state.arguments
        return self.state.variables.get(match[1], (Word(node_text(node).strip('"'), self.line(node)),))

    def string(self, node: Node, depth: int, split: bool = False) -> str:
        """The text that a word stands for; ``split`` marks where unquoted expansions split it."""
        self.tick(node, depth)
        kind = node.type
        if kind in ("simple_expansion", "expansion"):
            value = self.expansion(node, depth)
            return re.sub(r"\s+", GAP, value.strip()) if split and "$" not in value else value
        if kind == "command_substitution":
            return self.substituted(node, depth) or COMPUTED
        if kind == "process_substitution":
            return COMPUTED
        if kind == "arithmetic_expansion":
            value = self.arithmetic(re.sub(r"^\$\(\(|\)\)$|^\$\[|\]$", "", node_text(node)))
            return COMPUTED if value is None else str(value)
        if kind in ("raw_string", "ansi_c_string"):
            return node_text(node).removeprefix("$")[1:-1]
        if not node.children or kind in ("word", "string_content", "variable_name"):
            quoted = kind in ("string_content", "heredoc_body", "heredoc_content")
            return re.sub(
                r'\\\n|\\(["\\$`])' if quoted else r"\\\n|\\(.)", lambda match: match[1] or "", node_text(node)
            )
        return self.pieces(node, depth, split and kind != "string")

    def pieces(self, node: Node, depth: int, split: bool) -> str:
        """The children's texts, with what stands between them in the script."""
        source, start, parts = node.text or b"", node.start_byte, []
        done = start
        for child in node.children:
            parts.append(source[done - start : child.start_byte - start].decode().replace("\\\n", ""))
            done = child.end_byte
            if not (node.type == "string" and child.type == '"'):
                parts.append(self.string(child, depth + 1, split))
        parts.append(source[done - start :].decode().replace("\\\n", ""))
        text = "".join(parts)
        self.bound(node, len(text))
        return text

    def expansion(self, node: Node, depth: int) -> str:
        name, value = _name(node), None
        if name is not None:
            value = self.variable(name)
        mark = node.child_by_field_name("operator")
        rest = [] if mark is None else [child for child in node.children if child.start_byte >= mark.end_byte][:-1]
        kind = "" if mark is None else node_text(mark)
        if kind in (":-", "-", ":=", "="):
            if value or (value is not None and ":" not in kind):
                return value
            made = "".join(self.string(child, depth + 1) for child in rest)
            if kind.endswith("=") and name is not None:
                self.state.variables[name] = (Word(made, self.line(node)),)
            return made
        if kind in (":+", "+"):
            return "" if value is None else "".join(self.string(child, depth + 1) for child in rest)
        if name is None and node_text(node).startswith("${BASH_SOURCE["):
            return self.variable("0") or COMPUTED
        if kind or name is None or node.children[0].type not in ("$", "${"):
            return COMPUTED if name != "#" else str(len(self.state.arguments))
        return node_text(node) if value is None else value

    def substituted(self, node: Node, depth: int) -> str:
        """What a program prints that only cuts a path or a text apart; "" where another one is started."""
        inner = next(iter(node.named_children), None)
        if inner is None:
            return ""
        parts = [child for child in inner.named_children if child.type != "file_redirect"]
        if inner.type == "list" and len(parts) == 2 and node_text(parts[1]) == "pwd" and "&&" in node_text(inner):
            body = parts[0].child_by_field_name("body") if parts[0].type == "redirected_statement" else parts[0]
            words = self.plain(body, depth)
            return normpath(words[-1]) if len(words) > 1 and words[0] == "cd" else ""
        if inner.type == "pipeline" and len(parts) == 2:
            return replaced(printed(self.plain(parts[0], depth)), self.plain(parts[1], depth))
        return printed(self.plain(inner, depth))

    def plain(self, node: Node | None, depth: int) -> list[str]:
        """The words of a simple command; none where one of them is not known."""
        if node is None or node.type != "command":
            return []
        words = [word.text for child in node.named_children for word in self.fields(child, depth + 1)]
        return [] if any("$" in word for word in words) else words

    def variable(self, name: str) -> str | None:
        """A variable's value; None where the script does not set it."""
        if name == "#":
            return str(len(self.state.arguments))
        if name.isdecimal() and name != "0":
            place = int(name) - 1
            return self.state.arguments[place].text if place < len(self.state.arguments) else None
        words = self.state.variables.get(name)
        return None if words is None else " ".join(word.text for word in words)

    def arithmetic(self, text: str) -> int | None:
        """The value of an arithmetic expression; None where a run is needed for it."""
        return whole_number(text, self.variable)


def _name(node: Node) -> str | None:
    """The variable that an expansion is of."""
    found = (child for child in node.children if child.type in ("variable_name", "special_variable_name"))
    return next((node_text(child) for child in found), None)
