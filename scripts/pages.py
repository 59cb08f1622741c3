"""What every page that is made from the code is made of: its head, tables, and types in a few words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "cxplane"


def head(title: str, made_from: str, text: str = "") -> list[str]:
    note = f"<!-- Made by `make docs` from {made_from}. Do not edit: change the code, then run it again. -->"
    return [f"# {title}", "", note, "", *([text, ""] if text else [])]


def row(*cells: object) -> str:
    return "| " + " | ".join(str(c).replace("\n", " ").replace("|", "\\|") for c in cells) + " |"


def rows(titles: tuple[str, ...], body: Iterator[tuple[object, ...]] | list[tuple[object, ...]]) -> list[str]:
    return [row(*titles), "|" + "---|" * len(titles), *(row(*cells) for cells in body), ""]


def page(lines: list[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def type_words(schema: Mapping[str, Any], link: Callable[[str], str] = lambda n: f"[{n}](#{n.lower()})") -> str:
    """A JSON Schema in a few words."""
    if "$ref" in schema:
        return link(schema["$ref"].rsplit("/", 1)[1])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join("null" if v is None else f"`{v}`" for v in schema["enum"])
    for either in ("anyOf", "oneOf"):
        if either in schema and "properties" not in schema:
            return " or ".join(dict.fromkeys(type_words(s, link) for s in schema[either]))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {type_words(schema['items'], link)}" if schema.get("items") else "list"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping) and "properties" not in schema:
        return f"map of {type_words(schema['additionalProperties'], link)}"
    words = {"string": "text", "integer": "whole number", "object": "object", "boolean": "true or false"}
    told = words.get(kind, kind)
    if schema.get("pattern"):
        told += f" like `{schema['examples'][0]}`" if schema.get("examples") else ""
    return f"{told} ({schema['format']})" if "format" in schema else told
