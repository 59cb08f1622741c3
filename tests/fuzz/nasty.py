"""Values, texts and files that nobody writes on purpose: what loaders are fed."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

BOMB = (
    "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b, *b, *b]\n"
)
TEXTS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ufeff",
    "\u202e",
    "\ud7ff\uffff",
    "é",
    "e\u0301",
    "İ",
    "𝒳" * 50,
    "x" * 5000,
    "a." * 300,
    "(" * 400,
    "[" * 400,
    "{" * 400,
    "-" * 400,
    "!" * 400,
    "'\"\\",
    "${HOME}",
    "../../../etc/passwd",
    "file:///etc/passwd",
    "<<",
    "&a",
    "*a",
    "!!python/object/apply:os.system ['true']",
    "2026-02-30",
    "9999-99-99T99:99:99Z",
    "99999999999999999999d",
    "P1Y",
    "-1s",
    "1e999",
    "(?:a+)+$",
    "input.a.b.c",
    "[1,2,3].map(x, [1,2,3].map(y, x*y))",
    "1/0",
    "9223372036854775807 + 1",
    "permit(principal, action, resource);",
)
NUMBERS = (0, -1, 1.5, 1e308, -1e308, 2**53, -(2**63), 2**63, 10**400, True)

texts = st.sampled_from(TEXTS) | st.text(max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.sampled_from(NUMBERS) | st.floats() | texts
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value] if levels % 2 else {"x": value}
    return value


def places(value: Any) -> list[tuple[Any, Any]]:
    """(map or list, key) of everything inside."""
    found: list[tuple[Any, Any]] = []
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found.append((value, key))
        found.extend(places(one))
    return found


@st.composite
def spoilt(draw: st.DrawFn, value: Any, most: int = 3) -> Any:
    """The value with one to `most` keys deleted, retyped, renamed, doubled, swapped or buried."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, most))):
        found = places(value)
        if not found:
            return draw(values)
        holder, key = draw(st.sampled_from(found))
        match draw(st.sampled_from(["delete", "retype", "retype", "bury", "rename", "swap"])):
            case "delete":
                del holder[key]
            case "retype":
                holder[key] = draw(values)
            case "bury":
                holder[key] = deep(draw(st.sampled_from([3, 31, 40])))
            case "rename" if isinstance(holder, dict):
                holder[draw(texts)] = holder.pop(key)
            case "rename":
                holder.append(holder[key])
            case "swap":
                holder[key] = copy.deepcopy(draw(st.sampled_from(found))[0])
    return value


@st.composite
def scratched(draw: st.DrawFn, text: str) -> str:
    """The text with lines doubled, cut, lost or moved in, and with odd characters set into it."""
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["double", "cut", "lose", "indent", "insert", "anchor", "tag", "number", "bomb"])):
            case "double":
                lines.insert(at, lines[at])
            case "cut":
                lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
            case "lose":
                lines[at] = ""
            case "indent":
                lines[at] = draw(st.sampled_from(["  ", "\t", " ", "- "])) + lines[at]
            case "insert":
                here = draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:here] + draw(texts) + lines[at][here:]
            case "anchor":
                lines[at] = lines[at].replace(": ", ": &a ", 1)
            case "tag":
                lines[at] = lines[at].replace(": ", ": !!python/name:os.system ", 1)
            case "number":
                lines[at] = lines[at].partition(":")[0] + ": " + str(draw(st.sampled_from(NUMBERS)))
            case "bomb":
                lines.insert(at, BOMB)
    return "\n".join(lines)
