"""Reads the text of an expression into a tree, by recursive descent.

any        = all {"or" all}
all        = opposite {"and" opposite}
opposite   = "not" opposite | comparison
comparison = sum {("==" | "!=" | "<" | "<=" | ">" | ">=") sum} [["not"] "in" list | "is" ["not"] "missing"]
sum        = product {("+" | "-") product}
product    = term {("*" | "/") term}
term       = ("-" | "+") term | "(" any ")" | number | text | column
list       = "[" term {"," term} [","] "]", or the same in round brackets
"""

from collections.abc import Callable
from dataclasses import dataclass

from nextbest.errors import BadInput
from serving._expression_tokens import Token, bad, tokens

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
MOST_NESTED = 30
"""Brackets, signs, operations and `not`s within one another: reading and masking recurse so deep."""
CLOSING = {"[": "]", "(": ")"}


@dataclass(frozen=True)
class Tree:
    """What a sign joins, and where it starts and ends in the text.

    `sign` is an operator, and, or, not, in, missing, list, brackets, chain (comparisons that all must hold),
    or the kind of its `token`: number, text, word.
    """

    sign: str
    start: int
    end: int
    parts: tuple["Tree", ...] = ()
    token: str = ""
    depth: int = 1


class Reader:
    """Reads one text."""

    def __init__(self, text: str) -> None:
        self._tokens, self._at, self._depth = list(tokens(text)), 0, 0

    def whole(self) -> Tree:
        """Read all of it. Raises BadInput with the place of what does not fit."""
        if self._next.kind == "end":
            raise BadInput('the expression is empty; write a condition such as churn.band == "high"')
        tree = self._any()
        if self._next.kind != "end":
            raise self._unexpected("an operator, and, or, or the end")
        return tree

    def _any(self) -> Tree:
        return self._joined("or", self._all)

    def _all(self) -> Tree:
        return self._joined("and", self._opposite)

    def _joined(self, sign: str, read: Callable[[], Tree]) -> Tree:
        parts = [read()]
        while self._take(sign):
            parts.append(read())
        return parts[0] if len(parts) == 1 else self._tree(sign, parts[0].start, *parts)

    def _opposite(self) -> Tree:
        if sign := self._take("not"):
            return self._tree("not", sign.start, self._deeper(self._opposite))
        return self._comparison()

    def _comparison(self) -> Tree:
        last = self._sum()
        start, found = last.start, list[Tree]()
        while sign := self._take(*COMPARISONS):
            left, last = last, self._sum()
            found.append(self._tree(sign.text, left.start, left, last))
        if tail := self._among(last) or self._missing(last):
            found.append(tail)
        if not found:
            return last
        return found[0] if len(found) == 1 else self._tree("chain", start, *found)

    def _among(self, left: Tree) -> Tree | None:
        negated = self._next.text == "not" and self._tokens[self._at + 1].text == "in"
        if negated:
            self._at += 1
        if not self._take("in"):
            return None
        among = self._tree("in", left.start, left, self._list())
        return self._tree("not", left.start, among) if negated else among

    def _missing(self, left: Tree) -> Tree | None:
        if not self._take("is"):
            return None
        negated = self._take("not")
        self._expect("missing", "missing: is missing, is not missing; values are compared by == and !=")
        missing = self._tree("missing", left.start, left)
        return self._tree("not", left.start, missing) if negated else missing

    def _list(self) -> Tree:
        opening = self._take(*CLOSING)
        if not opening:
            raise self._unexpected('a list such as ["high", "medium"]')
        parts = [self._term()]
        while self._take(",") and self._next.text != CLOSING[opening.text]:
            parts.append(self._term())
        self._expect(CLOSING[opening.text], f"a comma or {CLOSING[opening.text]}")
        return self._tree("list", opening.start, *parts)

    def _sum(self) -> Tree:
        return self._calculated(("+", "-"), self._product)

    def _product(self) -> Tree:
        return self._calculated(("*", "/"), self._term)

    def _calculated(self, signs: tuple[str, ...], read: Callable[[], Tree]) -> Tree:
        left = read()
        while sign := self._take(*signs):
            left = self._tree(sign.text, left.start, left, read())
        return left

    def _term(self) -> Tree:
        if sign := self._take("-", "+"):
            return self._tree(sign.text, sign.start, self._deeper(self._term))
        if opening := self._take("("):
            inner = self._deeper(self._any)
            self._expect(")", "a closing bracket")
            return self._tree("brackets", opening.start, inner)
        token = self._next
        if token.kind in ("sign", "end"):
            raise self._unexpected("a column, a number or a name in quotes")
        self._at += 1
        return Tree(token.kind, token.start, token.end, token=token.text)

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, *signs: str) -> Token | None:
        """Return the next token and go on, if it is one of these signs."""
        token = self._next
        if token.kind != "sign" or token.text not in signs:
            return None
        self._at += 1
        return token

    def _expect(self, sign: str, said: str) -> None:
        if not self._take(sign):
            raise self._unexpected(said)

    def _unexpected(self, expected: str) -> BadInput:
        token = self._next
        found = "the end" if token.kind == "end" else f"'{token.text[:40]}'"
        return bad(f"expected {expected}, found {found}", token.start)

    def _deeper(self, read: Callable[[], Tree]) -> Tree:
        self._check(self._depth + 1)
        self._depth += 1
        tree = read()
        self._depth -= 1
        return tree

    def _tree(self, sign: str, start: int, *parts: Tree) -> Tree:
        depth = 1 + max(part.depth for part in parts)
        self._check(depth)
        return Tree(sign, start, self._tokens[self._at - 1].end, parts, depth=depth)

    def _check(self, depth: int) -> None:
        if depth > MOST_NESTED:
            said = f"nested deeper than {MOST_NESTED}; write it as several conditions"
            raise bad(said, self._tokens[max(self._at - 1, 0)].start)
