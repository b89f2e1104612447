"""Take HCL text apart: which blocks and attributes stand at the top level, as raw text.

Knows comments, strings with interpolation, heredocs and brackets, in HCL 1 (terraform's CLI configuration)
and HCL 2. Evaluates nothing and never raises: of broken text it returns what it can see, and terraform gives
the diagnostic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANK = re.compile(r"(?:\s+|#[^\n]*|//[^\n]*|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_LINE_BLANK = re.compile(r"(?:[^\S\n]+|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_NAME = re.compile(r"[^\W\d][\w-]*")
_IN_CODE = re.compile(r'["{}()\[\]\n#]|//|/\*|<<-?')
_IN_STRING = re.compile(r'\\.|"|\$\$\{|%%\{|\$\{|%\{|\n', re.DOTALL)
_HEREDOC = re.compile(r"<<-?([^\W\d][\w-]*)[^\S\n]*\n")
_CLOSER = {"{": "}", "(": ")", "[": "]", "${": "}", "%{": "}"}
_STRING = '"'
_LOOK_BACK = 64  # open brackets that a closer may leave unclosed; bounds the work on nonsense


@dataclass(frozen=True, kw_only=True)
class Block:
    """`type "label" { body }`."""

    type: str
    labels: tuple[str, ...]
    body: str  # between the braces
    text: str  # all of it, as written


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """`name = expression`."""

    name: str
    expression: str  # raw, without surrounding space
    text: str  # all of it, as written


def statements(text: str) -> Iterator[Block | Attribute]:
    """Yield what stands at the top level of `text`, in order."""
    position = 0
    while True:
        position = _match_end(_BLANK, text, position)
        if position >= len(text):
            return
        statement, position = _statement(text, position)
        if statement is not None:
            yield statement


def blocks(text: str, *types: str) -> Iterator[Block]:
    """Yield the top-level blocks of these types; of every type if none is given."""
    for statement in statements(text):
        if isinstance(statement, Block) and (not types or statement.type in types):
            yield statement


def attributes(text: str) -> dict[str, str]:
    """Return the top-level attributes: name → raw expression."""
    return {entry.name: entry.expression for entry in statements(text) if isinstance(entry, Attribute)}


def string(expression: str) -> str | None:
    """Return the value of a quoted string (a comment may follow); None if the expression is anything else."""
    expression = expression.strip()
    end = _end(expression, 1, [_STRING])
    quoted = expression[:end]
    closed = len(quoted) > 1 and quoted[0] == quoted[-1] == _STRING
    if not closed or _match_end(_BLANK, expression, end) != len(expression):
        return None
    return _unquote(quoted)


def strings(expression: str) -> tuple[str, ...]:
    """Return the quoted strings directly in a list such as `["a", "b"]`."""
    found, position = [], 0
    while (position := expression.find(_STRING, position)) >= 0:
        end = _end(expression, position + 1, [_STRING])
        found.append(_unquote(expression[position:end]))
        position = end
    return tuple(found)


def _statement(text: str, start: int) -> tuple[Block | Attribute | None, int]:
    words: list[str] = []
    position = start
    while position < len(text):
        if text[position] == _STRING:
            end = _end(text, position + 1, [_STRING])
            words.append(_unquote(text[position:end]))
        elif word := _NAME.match(text, position):
            end = word.end()
            words.append(word[0])
        else:
            break
        position = _match_end(_LINE_BLANK, text, end)
    return _after_words(text, start, position, words)


def _after_words(text: str, start: int, position: int, words: list[str]) -> tuple[Block | Attribute | None, int]:
    mark = text[position : position + 1]
    opening = position
    if mark == "=" and len(words) > 1:  # HCL 1 takes `credentials "host" = {` too
        opening = _match_end(_BLANK, text, position + 1)
    if words and text[opening : opening + 1] == "{":
        end = _end(text, opening + 1, ["}"])
        body = text[opening + 1 : end - 1 if text[end - 1 : end] == "}" and end > opening + 1 else end]
        return Block(type=words[0], labels=tuple(words[1:]), body=body, text=text[start:end]), end
    if words and mark == "=":
        end = _end(text, position + 1, [])
        expression = text[position + 1 : end].strip()
        return Attribute(name=words[0], expression=expression, text=text[start:end].rstrip()), end
    return None, max(_end(text, position, []), position + 1)


def _end(text: str, position: int, stack: list[str]) -> int:
    """Return the index after the closer at the bottom of `stack`; with an empty one, of the end of the line.

    An own stack, not recursion: nested input must not overflow Python's.
    """
    to_line_end = not stack
    while position < len(text):
        in_string = bool(stack) and stack[-1] == _STRING
        token = (_IN_STRING if in_string else _IN_CODE).search(text, position)
        if token is None:
            break
        position = token.end()
        if in_string:
            _step_in_string(token[0], stack)
        elif token[0] == "\n":
            if not stack:
                return token.start()
        elif token[0] in ("}", ")", "]"):
            if token[0] not in stack[-_LOOK_BACK:]:
                # A stray closer: the end of what this expression is part of.
                return token.start() if to_line_end else position
            while stack.pop() != token[0]:
                pass
        else:
            position = _step_in_code(text, token, stack)
        if not stack and not to_line_end:
            return position
    return len(text)


def _step_in_string(token: str, stack: list[str]) -> None:
    if token in (_STRING, "\n"):  # a quoted string cannot span lines: it is broken, and ends here
        stack.pop()
    elif token in ("${", "%{"):
        stack.append(_CLOSER[token])


def _step_in_code(text: str, token: re.Match[str], stack: list[str]) -> int:
    """Enter a bracket or a string, or skip a comment or heredoc; returns where to go on."""
    if token[0] == _STRING:
        stack.append(_STRING)
    elif token[0] in _CLOSER:
        stack.append(_CLOSER[token[0]])
    elif token[0] in ("#", "//"):
        newline = text.find("\n", token.end())
        return len(text) if newline < 0 else newline
    elif token[0] == "/*":
        close = text.find("*/", token.end())
        return len(text) if close < 0 else close + 2
    elif heredoc := _HEREDOC.match(text, token.start()):
        marker = re.compile(rf"^[^\S\n]*{re.escape(heredoc[1])}[^\S\n]*$", re.MULTILINE)
        last = marker.search(text, heredoc.end())
        return len(text) if last is None else last.end()
    return token.end()


def _unquote(quoted: str) -> str:
    try:
        return str(json.loads(quoted))  # HCL's escapes are JSON's, but for \U
    except ValueError:
        return quoted.strip(_STRING)


def _match_end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
