"""Inputs that hypothesis makes: texts and documents of JSON that are nearly what a reader expects."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

__all__ = ["JUNK", "Surface", "dumped", "file_bytes", "junk", "mutated", "mutated_json", "values"]

# Signs that mean something to one of the readers, and the edges of what a text can hold.
JUNK = [
    *"()[]{}'\"\\#:=,.-*@%!?`~<>|&^1a \n\t\r\f\v\0\x1b\x85\u2028\ufeff\u202e\u0301\U0001f600",
    "\r\n", '"""', "'''", "f'{", "0x", "1e", "9" * 5_000, "\\N{", "async ", "lambda:", "match x:\n case ", "%%time\n",
    "%%bash\n", "!ls", "```python\n", "```\n", "~~~", "# noqa", "# noqa: FAL101", "# fa-lint: ignore", "[FAL101,",
    "ignore-file[", "# type: ignore", "::error::", "x.norm(", "F.cosine_similarity(", ".grad", "weight_fa", "é",
    "(" * 300, "[" * 5_000, "{" * 90, "-" * 3_000, "x." * 3_000, "\n    " * 200, "# coding: utf-7\n", "if x:\n",
]  # fmt: skip
junk = st.one_of(st.sampled_from(JUNK), st.text(max_size=8))


@dataclass(frozen=True, slots=True)
class Surface:
    """One reader. ``check`` raises where an input breaks a promise."""

    name: str
    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[str]) -> str:
    """A text with up to six cuts, insertions and parts of another text."""
    text = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 60)))
        other = draw(st.sampled_from(seeds))
        at = draw(st.integers(0, len(other)))
        text = text[:start] + draw(st.one_of(junk, st.just(other[at : at + 80]))) + text[end:]
    return text


def file_bytes(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """The texts in UTF-8, at times with a byte that is none."""
    encoded = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    broken = st.tuples(encoded, st.integers(0, 10_000), st.binary(max_size=3)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    )
    return st.one_of(encoded, encoded, encoded, broken)


# JSON, with what its readers do not expect: wrong types, huge numbers, half characters.
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(JUNK),
    st.sampled_from([10**30, -1, 0, 10**400, "\ud800", "../../etc/passwd", "a\n::error::b", "\x1b[2J", "m.py"]),
)  # fmt: skip
values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@st.composite
def mutated_json(draw: st.DrawFn, seeds: list[Any]) -> Any:
    """A document with some of its values replaced, dropped or doubled."""
    document = json.loads(json.dumps(draw(st.sampled_from(seeds))))
    for _ in range(draw(st.integers(0, 5))):
        places = list(_places(document))
        if not places:
            return draw(values)
        holder, key = draw(st.sampled_from(places))
        match draw(st.integers(0, 3)):
            case 0 if isinstance(holder, dict):
                holder.pop(key, None)
            case 1 if isinstance(holder, list):
                holder.append(holder[key])
            case _:
                holder[key] = draw(values)
    return document


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found += [(value, key), *_places(value[key])]
    return found


def dumped(documents: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    whole = st.builds(lambda d, indent: json.dumps(d, indent=indent), documents, st.sampled_from([None, 1]))
    torn = st.builds(lambda text, at, junk: text[:at] + junk + text[at:], whole, st.integers(0, 4_000), junk)
    return file_bytes(st.one_of(whole, whole, torn))
