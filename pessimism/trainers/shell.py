"""Reader of shell scripts: the commands that a script would start, with what it puts into their words.

The script is parsed by tree-sitter-bash and followed as if it had been started without arguments. Nothing is executed.
Scripts that it sources or starts are followed too, where ``read`` finds them.
What only a run could tell (another program's output, a variable of the environment, a variable that the branches of an
undecided condition set differently) stays in a word as ``$NAME``, ``${NAME}`` or ``${computed}``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..extras import need
from .hydra import OVERRIDE
from .shell_words import COMPUTED, State, Word, Words, node_text

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_NESTED = 8
SHELLS = ("bash", "sh", "zsh", "dash")
OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "-eq": lambda left, right: int(left) == int(right),
    "-ne": lambda left, right: int(left) != int(right),
    "-gt": lambda left, right: int(left) > int(right),
    "-ge": lambda left, right: int(left) >= int(right),
    "-lt": lambda left, right: int(left) < int(right),
    "-le": lambda left, right: int(left) <= int(right),
}


Scripts = Callable[[str], str | None]
"""The text of another script by the path that this one writes; None where it is not at hand."""


def no_scripts(path: str) -> str | None:
    """No other script is at hand."""


def commands(text: str, read: Scripts = no_scripts, path: str = "") -> list[list[Word]]:
    """The commands of a script, in order, each as its words.

    Args:
        text: the script.
        read: finds the scripts that it sources or starts.
        path: where it lies, which is ``$0``; "" where that is not known.

    Raises:
        ValueError: it is no shell script, or following it would take too long or too much memory.

    >>> [[word.text for word in words] for words in commands('n=2; run a.b=$((n * 4)) "a.c=${M:-3}"')]
    [['run', 'a.b=8', 'a.c=3']]
    """
    walk = _Walk(read)
    if path:
        walk.state.variables["0"] = (Word(path, 1),)
    walk.script(text, 0)
    return walk.found


class _Walk(Words):
    """One pass over a script."""

    def __init__(self, read: Scripts) -> None:
        super().__init__()
        self.read = read
        self.found: list[list[Word]] = []
        self.nested = 0

    def script(self, text: str, first_line: int, nested: int = 0) -> None:
        if nested > MAX_NESTED:
            raise ValueError(f"commands are nested in texts more than {MAX_NESTED} deep")
        before, self.offset, self.nested = (self.offset, self.nested), first_line, nested
        root = _parsed(text)
        broken = _broken(root)
        if broken is not None:
            raise ValueError(f"line {self.line(broken)}: not a shell script, as far as bash's grammar goes")
        self.run(root, 0)
        self.offset, self.nested = before

    # --- statements ---------------------------------------------------------------------------------------------

    def run(self, node: Node, depth: int) -> None:
        """Follow a statement."""
        self.tick(node, depth)
        follow = {
            "command": self.command,
            "variable_assignment": self.assign,
            "if_statement": self.branches,
            "while_statement": self.loop,
            "for_statement": self.for_each,
            "c_style_for_statement": self.undecided,
            "case_statement": self.cases,
            "list": self.pair,
            "function_definition": self.define,
            "redirected_statement": self.redirected,
            "test_command": _nothing,
            "comment": _nothing,
        }.get(node.type)
        if follow is not None:
            follow(node, depth)
            return
        for child in node.named_children:
            self.run(child, depth + 1)

    def command(self, node: Node, depth: int) -> None:
        words: list[Word] = []
        written, end = node.text or b"", 0
        for child in node.children:
            if child.type in ("variable_assignment", "herestring_redirect", "file_redirect"):
                continue
            made = list(self.fields(child, depth + 1))
            start = child.start_byte - node.start_byte
            if words and made and written[end:start] == b"\\\n":  # one word, continued on the next line
                made = [Word(words[-1].text + made[0].text, words.pop().line), *made[1:]]
            words += made
            end = child.end_byte - node.start_byte
        if not words:
            return
        name = words[0].text
        if name in self.state.functions and self.nested < MAX_NESTED:
            self.call(self.state.functions[name], tuple(words[1:]), depth)
            return
        inner = _inner_script(words)
        if inner is not None:
            self.script(inner.text, inner.line - 1, self.nested + 1)
            return
        if not self.other_script(node, words, depth):
            self.found.append(words)

    def other_script(self, node: Node, words: Sequence[Word], depth: int) -> bool:
        """Follow a script that the command sources or starts; whether there is one at hand.

        A script that is started gets every variable of this one, as if all were exported. Its words stand, for
        messages, where it is started.
        """
        sourced = words[0].text in SOURCE
        place = 1 if sourced else started_script(words)
        if place is None or place >= len(words) or self.nested >= MAX_NESTED:
            return False
        text = self.read(words[place].text)
        root = None if text is None else _parsed(text)
        if root is None or _broken(root) is not None:
            return False
        before, fixed = self.state, self.fixed
        if not sourced:
            self.state = before.copy()
            for child in node.children:
                if child.type == "variable_assignment":
                    self.assign(child, depth + 1)
        if not sourced or words[place + 1 :]:
            self.state.arguments = tuple(words[place + 1 :])
        self.fixed = self.line(node)
        self.nested += 1
        self.run(root, depth + 1)
        self.nested -= 1
        self.fixed = fixed
        if not sourced:
            self.state = before
        return True

    def call(self, body: Node, arguments: tuple[Word, ...], depth: int) -> None:
        before, self.state.arguments = self.state.arguments, arguments
        self.nested += 1
        self.run(body, depth + 1)
        self.nested -= 1
        self.state.arguments = before

    def define(self, node: Node, depth: int) -> None:
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        if name is not None and body is not None:
            self.state.functions[node_text(name)] = body

    def assign(self, node: Node, depth: int) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None or name.type != "variable_name":
            return
        made: tuple[Word, ...] = (Word("", self.line(node)),)
        if value is not None and value.type == "array":
            made = tuple(word for child in value.named_children for word in self.fields(child, depth + 1))
        elif value is not None:
            made = (Word(self.string(value, depth + 1), self.line(value)),)
        if any(child.type == "+=" for child in node.children):
            made = self.appended(self.state.variables.get(node_text(name), ()), made, value)
        self.bound(node, sum(len(word.text) for word in made))
        self.state.variables[node_text(name)] = made

    @staticmethod
    def appended(before: tuple[Word, ...], made: tuple[Word, ...], value: Node | None) -> tuple[Word, ...]:
        if not before or (value is not None and value.type == "array"):
            return before + made
        return (Word(before[0].text + made[0].text, made[0].line),)

    def redirected(self, node: Node, depth: int) -> None:
        body = node.child_by_field_name("body")
        for redirect in node.children_by_field_name("redirect"):
            text = next((child for child in redirect.children if child.type == "heredoc_body"), None)
            if body is not None and text is not None and node_text(body).split()[0] in SHELLS:
                self.script(self.string(text, depth + 1), self.line(text) - 1, self.nested + 1)
                return
        if body is not None:
            self.run(body, depth + 1)

    # --- conditions ---------------------------------------------------------------------------------------------

    def either(self, blocks: Sequence[Sequence[Node]], depth: int) -> None:
        """Follow every block from the state before; what they leave different is not known."""
        before, after = self.state, []
        for block in blocks:
            self.state = before.copy()
            for node in block:
                self.run(node, depth + 1)
            after.append(self.state)
        self.state = _joined(after)

    def undecided(self, node: Node, depth: int) -> None:
        body = [child for child in node.named_children if child.type in ("do_group", "compound_statement")]
        self.either([[], body], depth)

    def loop(self, node: Node, depth: int) -> None:
        if self.holds(node.child_by_field_name("condition"), depth) is not False:
            self.undecided(node, depth)

    def for_each(self, node: Node, depth: int) -> None:
        values = [word for child in node.children_by_field_name("value") for word in self.fields(child, depth + 1)]
        name, body = node.child_by_field_name("variable"), node.child_by_field_name("body")
        if name is None or body is None or not values:
            return
        several = Word(f"${{{node_text(name)}}}", self.line(node))
        self.state.variables[node_text(name)] = (values[0] if len(values) == 1 else several,)
        if len(values) == 1:
            self.run(body, depth + 1)
        else:
            self.either([[], [body]], depth)

    def branches(self, node: Node, depth: int) -> None:
        blocks: list[list[Node]] = []
        for condition, block in _clauses(node):
            holds = True if condition is None else self.holds(condition, depth)
            if holds is not False:
                blocks.append(block)
            if holds is True:
                break
        else:
            blocks.append([])
        if len(blocks) == 1:
            for child in blocks[0]:
                self.run(child, depth + 1)
        else:
            self.either(blocks, depth)

    def cases(self, node: Node, depth: int) -> None:
        items = [child for child in node.children if child.type == "case_item"]
        value = node.child_by_field_name("value")
        asked = value is None or re.search(r"\$\{?[1-9]", node_text(value))  # every argument is one that may be given
        subject = COMPUTED if value is None or asked else self.string(value, depth)
        blocks: list[list[Node]] = []
        for item in items:
            patterns = [node_text(pattern).strip("\"'") for pattern in item.children_by_field_name("value")]
            block = [child for child in item.named_children if child not in item.children_by_field_name("value")]
            if "$" in subject or any("$" in pattern for pattern in patterns):
                blocks.append(block)
            elif any(fnmatchcase(subject, pattern) for pattern in patterns):
                self.either([*blocks, block], depth)
                return
        self.either([*blocks, []], depth)

    def pair(self, node: Node, depth: int) -> None:
        left, *_, right = node.named_children
        self.run(left, depth + 1)
        if not any(child.type in ("&&", "||") for child in node.children) or left.type != "test_command":
            self.run(right, depth + 1)
            return
        holds = self.holds(left, depth)
        wanted = any(child.type == "&&" for child in node.children)
        if holds is None:
            self.either([[], [right]], depth)
        elif holds is wanted:
            self.run(right, depth + 1)

    def holds(self, node: Node | None, depth: int) -> bool | None:
        """Whether a condition holds; None where only a run could tell."""
        if node is None:
            return None
        self.tick(node, depth)
        if node.type == "command":
            return {"true": True, ":": True, "false": False, "getopts": False}.get(node_text(node).split()[0])
        if node.type == "compound_statement" and node.children[0].type == "((":
            value = self.arithmetic(node_text(node)[2:-2])
            return None if value is None else value != 0
        inner = next((child for child in node.named_children if child.type != "comment"), None)
        if node.type != "test_command" or inner is None:
            return None
        if inner.type == "unary_expression":
            mark, operand = inner.children[0], inner.children[-1]
            text = self.string(operand, depth + 1)
            return (
                None
                if "$" in text or node_text(mark) not in ("-z", "-n")
                else (text == "") is (node_text(mark) == "-z")
            )
        if inner.type != "binary_expression":
            return None
        left, mark, right = (self.string(child, depth + 1) for child in inner.children[:3])
        try:
            return None if "$" in left + right or mark not in OPERATORS else OPERATORS[mark](left, right)
        except ValueError:
            return None


def _nothing(node: Node, depth: int) -> None:
    """A statement that sets nothing and starts nothing."""


def _clauses(node: Node) -> Iterator[tuple[Node | None, list[Node]]]:
    """Condition and statements of every branch of an ``if``; no condition for ``else``."""
    own = [child for child in node.named_children if child.type not in ("elif_clause", "else_clause", "comment")]
    yield own[0], own[1:]
    for child in node.named_children:
        if child.type == "elif_clause":
            yield child.named_children[0], child.named_children[1:]
        elif child.type == "else_clause":
            yield None, child.named_children


def _joined(states: Sequence[State]) -> State:
    """What holds whichever of the states it was."""
    names = dict.fromkeys(name for state in states for name in state.variables)
    first = states[0]
    variables = {}
    for name in names:
        values = [state.variables.get(name) for state in states]
        line = next(words[0].line for words in values if words) if any(values) else 0
        variables[name] = _shared(name, [value or () for value in values], line)
    functions = {name: body for state in states for name, body in state.functions.items()}
    return State(variables, functions, first.arguments)


def _shared(name: str, values: Sequence[tuple[Word, ...]], line: int) -> tuple[Word, ...]:
    """What is known of a variable that has one of several values.

    The words that all begin with are; of ``key=value`` behind them the key is, and of other words nothing.
    """
    if not all(values):
        return (Word(f"${{{name}}}", line),)
    known = 0
    while len({value[known : known + 1] for value in values}) == 1 and known < len(values[0]):
        known += 1
    rest = dict.fromkeys(word for value in values for word in value[known:])
    keys = [(word.text.partition("=")[0], word.line) for word in rest if OVERRIDE.fullmatch(word.text)]
    if len(keys) < len(rest):
        return (*values[0][:known], Word(f"${{{name}}}", line))
    return (*values[0][:known], *(Word(f"{key}=${{{name}}}", place) for key, place in dict(keys).items()))


def _inner_script(words: Sequence[Word]) -> Word | None:
    """The text that a command hands to a shell: ``bash -c TEXT``, ``eval TEXT``."""
    if words[0].text == "eval":
        return Word(" ".join(word.text for word in words[1:]), words[0].line)
    for place, word in enumerate(words[:-2]):
        if word.text.rpartition("/")[2] in SHELLS and re.fullmatch(r"-[a-z]*c", words[place + 1].text):
            return words[place + 2]
    return None


SOURCE = ("source", ".")


def started_script(words: Sequence[Word]) -> int | None:
    """Which word of a command is a script that a shell starts: ``bash run.sh``, ``sbatch run.sh``, ``./run.sh``.

    >>> started_script([Word(text, 1) for text in "bash -x scripts/run.sh a.b=1".split()])
    2
    """
    for place, word in enumerate(words):
        name = word.text.rpartition("/")[2]
        if word.text.endswith(SHELL_ENDS) and "=" not in word.text:
            return place
        if name not in STARTERS and not word.text.startswith("-"):
            return None
    return None


SHELL_ENDS = (".sh", ".bash", ".slurm", ".sbatch")
STARTERS = (*SHELLS, "sbatch", "exec", "env", "time", "nohup")


def _broken(root: Node) -> Node | None:
    """Where a script stops to be one; None where it is one."""
    return root if root.type == "ERROR" else next((child for child in root.children if child.type == "ERROR"), None)


def _parsed(text: str) -> Node:
    text = re.sub(r"\\\s*\Z", "\n", text)
    need("shell scripts", "tree_sitter", "tree_sitter_bash")
    import tree_sitter_bash
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_bash.language())).parse(text.encode()).root_node
