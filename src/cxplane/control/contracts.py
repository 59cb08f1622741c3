"""What an entry of the catalog must hold beside its shape: references, and what makes a write safe to repeat and to undo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cxplane.control.references import Names, as_list, as_map, text
from cxplane.control.shapes import dotted, schema_problems, short, suggest
from cxplane.control.yaml import Document, Path
from cxplane.domain.values import Json, JsonObject

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_INPUT_PATH = re.compile(r"^input\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)$")


def catalog_mistakes(names: Names) -> set[str]:
    """Check every entry; mistakes are added to `names`. Gives the files whose contracts are no JSON Schemas."""
    unusable: set[str] = set()
    for document in names.documents.get("action", ()):
        if isinstance(document.value, Mapping) and not _Entry(names, document).check():
            unusable.add(document.file)
    return unusable


class _Entry:
    def __init__(self, names: Names, document: Document) -> None:
        self.names, self.document = names, document
        self.said = as_map(document.value)

    def wrong(self, path: Path, what: str, hint: str = "") -> None:
        self.names.wrong(self.document, path, what, hint)

    def check(self) -> bool:
        self.names.owner(self.document)
        usable = self._schemas()
        if self.said.get("effect") == "write":
            self._write()
        elif self.said.get("effect") == "read":
            self._read()
        self._facts()
        self._confirm_and_undo()
        self._via()
        self._money()
        return usable

    def _schemas(self) -> bool:
        usable = True
        for part in ("input", "output"):
            if isinstance(schema := self.said.get(part), Mapping):
                usable &= good_schema(self.names, self.document, (part,), schema)
        return usable

    def _write(self) -> None:
        for part, what, hint in (
            ("key", "what makes it the same act is missing", "add key: [account_id, …], paths into the input"),
            (
                "confirm",
                "nothing tells whether it was done",
                "add confirm: {read: …, with: …, expect: …}, or confirm: {none: why there is none}",
            ),
            ("undo", "nothing takes it back", "add undo: {call: …, with: …}, or undo: {none: why there is none}"),
        ):
            if part not in self.said:
                self.wrong(("effect",), f"a write without {part}: {what}", hint)
        properties = as_map(self.said.get("input")).get("properties")
        for n, path in enumerate(as_list(self.said.get("key"))):
            if not isinstance(path, str) or path in ("conversation", "customer"):
                continue
            if (lacks := missing(as_map(self.said.get("input")), path.removeprefix("input.").split("."))) is not None:
                known = [*as_map(properties), "customer", "conversation"]
                self.wrong(("key", n), f"key: the input has no {short(lacks)}", suggest(lacks, known))

    def _read(self) -> None:
        for part in ("key", "confirm", "undo", "money"):
            if part in self.said:
                self.wrong((part,), f"a read with {part}", "delete it, or say effect: write")
        if (method := text(as_map(as_map(self.said.get("via")).get("http")).get("method"))) in (
            "PUT",
            "PATCH",
            "DELETE",
        ):
            self.wrong(("via", "http", "method"), f"a read that is sent as {method}", "use GET, or say effect: write")

    def _facts(self) -> None:
        for name, fact in as_map(self.said.get("facts")).items():
            one, place = as_map(fact), ("facts", name)
            if "read" in one:
                self._uses((*place, "read"), one.get("read"), one.get("with"), (*place, "with"), reads=True)
            if "table" in one:
                where = "catalog/<system>/tables/"
                self.names.must_be(
                    self.document, (*place, "table"), one.get("table"), self.names.tables, "the table", where
                )

    def _confirm_and_undo(self) -> None:
        confirm, undo = as_map(self.said.get("confirm")), as_map(self.said.get("undo"))
        if "read" in confirm:
            self._uses(("confirm", "read"), confirm.get("read"), confirm.get("with"), ("confirm", "with"), reads=True)
        if "call" in undo:
            self._uses(("undo", "call"), undo.get("call"), undo.get("with"), ("undo", "with"), reads=False)

    def _uses(self, path: Path, action: Json, with_: Json, at: Path, *, reads: bool) -> None:
        """Another entry is used, with these parameters: it must exist, be of the right kind and take them."""
        if not self.names.must_be(self.document, path, action, self.names.actions, "the action", "catalog/"):
            return
        entry = as_map(self.names.actions[str(action)].value)
        if reads and entry.get("effect") == "write":
            self.wrong(path, f"{action} is a write, and here only a read can stand", "name a read")
        if not reads and entry.get("effect") == "read":
            self.wrong(path, f"{action} is a read, which takes nothing back", "name a write")
        for name, what, hint in misfits(str(action), as_map(entry.get("input")), as_map(with_)):
            self.wrong(at if name is None else (*at, name), what, hint)

    def _via(self) -> None:
        via = as_map(self.said.get("via"))
        for form in ("http", "python"):
            call = as_map(via.get(form))
            system = call.get("system")
            known = self.names.must_be(
                self.document, ("via", form, "system"), system, self.names.systems, "the system", "systems/"
            )
            entry = self.names.systems[str(system)].value if known else None
            if entry is not None and form == "http" and "http" not in as_map(entry):
                self.wrong(
                    ("via", "http", "system"),
                    f"the system {short(system)} says no http",
                    f"add http: to systems/{system}.yaml",
                )
        http = as_map(via.get("http"))
        schema = as_map(self.said.get("input"))
        for place in _PLACEHOLDER.findall(text(http.get("path")) or ""):
            if (lacks := missing(schema, place.removeprefix("input.").split("."))) is not None:
                known_names = list(as_map(schema.get("properties")))
                self.wrong(
                    ("via", "http", "path"),
                    f"the path names {short(lacks)}, which the input does not have",
                    suggest(lacks, known_names),
                )
        for header in as_map(http.get("headers")):
            if str(header).lower() in ("authorization", "proxy-authorization", "cookie", "x-api-key"):
                self.wrong(
                    ("via", "http", "headers", header),
                    f"the header {header} carries a secret",
                    "name the secret under http.auth in systems/",
                )

    def _money(self) -> None:
        """Amounts are whole minor units: a number that may have a fraction is no amount."""
        said = text(self.said.get("money"))
        if said is None:
            if "money" in self.said and isinstance(self.said["money"], (int, float)):
                self.wrong(("money",), "money must be a CEL expression", f'quote it: "{self.said["money"]}"')
            return
        if (found := _INPUT_PATH.match(said.strip())) is None:
            return
        steps = found[1].split(".")
        schema = as_map(self.said.get("input"))
        if (lacks := missing(schema, steps)) is not None:
            self.wrong(
                ("money",),
                f"money: the input has no {short(lacks)}",
                suggest(lacks, list(as_map(schema.get("properties")))),
            )
            return
        path: Path = ("input",)
        node: JsonObject = schema
        for step in steps:
            node, path = as_map(as_map(node.get("properties")).get(step)), (*path, "properties", step)
        kinds = node.get("type")
        if kinds == "number" or (isinstance(kinds, list) and "number" in kinds):
            self.wrong(
                (*path, "type"),
                f"{said.strip()} is money, and its type is number",
                "type: integer; money is counted in whole minor units (cents for EUR)",
            )
        elif isinstance(kinds, str) and kinds != "integer":
            self.wrong(
                (*path, "type"),
                f"{said.strip()} is money, and its type is {kinds}",
                "type: integer; money is counted in whole minor units",
            )


def good_schema(names: Names, document: Document, at: Path, schema: JsonObject) -> bool:
    """Check a contract that stands `at` a place of a file; False if it is no JSON Schema."""
    usable = True
    for path, what in schema_problems(schema):
        usable = False
        names.wrong(document, (*at, *path), f"{dotted((*at, *path))} {what}", "see json-schema.org, draft 2020-12")
    properties = schema.get("properties")
    if at[-1] != "output" and isinstance(properties, Mapping):
        for n, name in enumerate(as_list(schema.get("required"))):
            if isinstance(name, str) and name not in properties:
                what = f"{at[-1]} requires {short(name)}, which it does not describe"
                names.wrong(document, (*at, "required", n), what, suggest(name, list(properties)))
    return usable


def misfits(who: str, schema: JsonObject, given: JsonObject) -> Iterator[tuple[str | None, str, str]]:
    """(name or None, what, hint) for what `who` is given and does not take, or takes and is not given."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or _open(schema):
        return
    for name in given:
        if name not in properties:
            yield str(name), f"{who} takes no {short(name)}", suggest(str(name), list(properties))
    for name in as_list(schema.get("required")):
        if isinstance(name, str) and name in properties and name not in given:
            yield None, f"{who} needs {short(name)}, which `with` does not give", f"add {name}: to `with`"


def missing(schema: JsonObject, steps: list[str]) -> str | None:
    """The first step that the schema does not describe; None if it describes all, or leaves the names open."""
    node: Any = schema
    for step in steps:
        properties = as_map(node).get("properties")
        if not isinstance(properties, Mapping):
            return None
        if step not in properties:
            return None if _open(node) else step
        node = properties[step]
    return None


def _open(schema: JsonObject) -> bool:
    """Whether it may have properties that it does not name right here."""
    elsewhere = ("patternProperties", "allOf", "anyOf", "oneOf", "if", "$ref", "dependentSchemas")
    return bool(schema.get("additionalProperties")) or any(key in schema for key in elsewhere)
