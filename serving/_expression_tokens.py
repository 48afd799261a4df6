"""The words of an expression, each with the place it stands at."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from nextbest.errors import BadInput

KEYWORDS = ("and", "or", "not", "in", "is", "missing")
SPACE = re.compile(r"\s*")
TOKEN = re.compile(
    r"""(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w.])
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)(?!\w)
      | (?P<text>"[^"]*"|'[^']*')
      | (?P<sign>==|!=|<=|>=|<(?!>)|[>()\[\],+*/-])""",
    re.VERBOSE,
)
UNREAD = re.compile(r"[\w.]+|.", re.DOTALL)
INSTEAD = {"=": "==", "&": "and", "|": "or", "!": "not", "<": "!="}
"""What other languages begin with (=, &&, <>) -> what is written here."""


class Token(NamedTuple):
    """A number, word, text (with its quotes), sign or the end, and where it starts and ends in the whole.

    Keywords are signs, in lower case, however they were written.
    """

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> Iterator[Token]:
    """Yield every token, then an end. Raises BadInput for what is none."""
    at = _skip(text, 0)
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise bad(f"'{_unread(text, at)}' is not understood{_instead(text[at])}", at)
        kind, word = str(found.lastgroup), found[0]
        if kind == "word" and word.lower() in KEYWORDS:
            kind, word = "sign", word.lower()
        yield Token(kind, word, *found.span())
        at = _skip(text, found.end())
    yield Token("end", "", at, at)


def bad(message: str, at: int) -> BadInput:
    """Return the error that says where it is, counted from 1."""
    return BadInput(f"{message} (at character {at + 1})")


def _skip(text: str, at: int) -> int:
    spaces = SPACE.match(text, at)
    return spaces.end() if spaces else at


def _unread(text: str, at: int) -> str:
    found = UNREAD.match(text, at)
    return found[0][:40] if found else ""


def _instead(sign: str) -> str:
    if sign in "\"'":
        return f": the text that starts here needs another {sign} at its end"
    return f"; write {INSTEAD[sign]}" if sign in INSTEAD else ""
