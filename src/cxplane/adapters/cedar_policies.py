"""Reading policy files: one policy at a time, so that every mistake and every reason has its file and line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import cedarpy

from cxplane.domain.decision import Obligations
from cxplane.domain.errors import Mistake
from cxplane.domain.people import CallerKind
from cxplane.domain.release import ControlRepo, PolicyFile
from cxplane.domain.values import span
from cxplane.ports.policy import ALL, PolicyMeta

ANNOTATIONS = ("id", "reason", "owner", "approvers", "require", "cites", "expires", "default")
_CONTEXT = {"Var": "context"}
_RESOURCE = {"Var": "resource"}
_INPUT, _FACTS = ({".": {"left": _CONTEXT, "attr": name}} for name in ("input", "facts"))
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
_PIECE = re.compile(r'(?P<skip>\s+|//[^\n]*)|(?P<text>"(?:\\.|[^"\\])*")|(?P<mark>.)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The text of one policy and where it starts."""

    file: str
    line: int
    text: str

    def line_of(self, word: str) -> int:
        """The line on which a word stands, else the first."""
        at = re.search(rf"(?<![A-Za-z0-9_]){re.escape(word)}(?![A-Za-z0-9_])", self.text)
        return self.line + self.text.count("\n", 0, at.start()) if at else self.line


@dataclass(slots=True)
class Read:
    """What the policy files say, and the mistakes in them."""

    chunks: list[Chunk] = field(default_factory=list)
    metas: list[PolicyMeta] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)


def split(file: PolicyFile) -> Iterator[Chunk]:
    """Policies end with `;` (it cannot stand inside one, save in texts and comments)."""
    start: int | None = None
    end = 0
    for piece in _PIECE.finditer(file.text):
        if piece.lastgroup == "skip":
            continue
        if start is None:
            start = piece.start()
        end = piece.end()
        if piece.lastgroup == "mark" and piece.group() == ";":
            yield _chunk(file, start, end)
            start = None
    if start is not None:
        yield _chunk(file, start, end)


def _chunk(file: PolicyFile, start: int, end: int) -> Chunk:
    return Chunk(file.file, file.text.count("\n", 0, start) + 1, file.text[start:end])


def read(repo: ControlRepo) -> Read:
    """All policies that can be read, in order. Chunk n is the engine's `policy<n>` once joined."""
    found = Read()
    seen: dict[str, PolicyMeta] = {}
    for file in repo.policies:
        for chunk in split(file):
            meta = _meta(chunk, repo, found.mistakes)
            if meta is None:
                continue
            if earlier := seen.get(meta.id):
                found.mistakes.append(
                    Mistake(
                        chunk.file,
                        chunk.line,
                        f'@id("{meta.id}") is taken',
                        f"{earlier.file}:{earlier.line} has it too",
                    )
                )
            seen.setdefault(meta.id, meta)
            found.chunks.append(chunk)
            found.metas.append(meta)
    return found


def _meta(chunk: Chunk, repo: ControlRepo, mistakes: list[Mistake]) -> PolicyMeta | None:
    def wrong(what: str, hint: str = "", word: str = "") -> None:
        mistakes.append(Mistake(chunk.file, chunk.line_of(word) if word else chunk.line, what, hint))

    try:
        body = json.loads(cedarpy.policies_to_json_str(chunk.text))
    except ValueError as problem:
        told = re.sub(r"\s+", " ", str(problem))[:200]
        named = re.findall(r"[A-Za-z_][A-Za-z0-9_]*$", told)
        wrong(f"this policy cannot be read: {told}", "policies are written in Cedar and end with `;`", *named)
        return None
    if body["templates"] or len(body["staticPolicies"]) != 1:
        wrong("templates (?principal, ?resource) are not used here", "name a role instead")
        return None
    (policy,) = body["staticPolicies"].values()
    said: Mapping[str, str] = {k: v or "" for k, v in policy.get("annotations", {}).items()}
    for name in said:
        if name not in ANNOTATIONS:
            near = difflib.get_close_matches(name, ANNOTATIONS, 1)
            wrong(
                f"unknown annotation @{name}",
                f"did you mean @{near[0]}?" if near else f"annotations are @{', @'.join(ANNOTATIONS)}",
                name,
            )
    name = said.get("id", "")
    if not _ID.match(name):
        wrong(
            f'@id("{name}") is no policy id' if name else "a policy without @id",
            'write @id("small-credit"): letters, digits, dots and hyphens, one of its own',
        )
    reason = " ".join(said.get("reason", "").split())
    if not reason:
        wrong(f"policy {name!r} has no @reason", 'write @reason("…"): one sentence that a customer may hear')
    obligations = _obligations(said, repo, wrong)
    _known_parties(policy, repo, wrong)
    roles: set[str] = set()
    conditions = [condition["body"] for condition in policy.get("conditions", ())]
    kinds = _principal(policy["principal"], roles)
    return PolicyMeta(
        id=name or f"the one at line {chunk.line}",
        effect=policy["effect"],
        reason=reason,
        file=chunk.file,
        line=chunk.line,
        owner=said.get("owner") or None,
        obligations=obligations,
        text=chunk.text,
        actions=_actions(policy["action"]),
        context=frozenset(_names(conditions, _CONTEXT)),
        input=frozenset(_names(conditions, _INPUT)),
        facts=frozenset(_names(conditions, _FACTS)),
        who=_asks_who(policy["resource"], conditions),
        roles=frozenset(roles),
        kinds=kinds,
    )


def _obligations(said: Mapping[str, str], repo: ControlRepo, wrong: Any) -> Obligations:
    def words(key: str) -> frozenset[str]:
        return frozenset(word.strip() for word in said.get(key, "").split(",") if word.strip())

    approvers = words("approvers")
    if "approvers" in said and not approvers:
        wrong("@approvers names no role", 'write @approvers("supervisor")', "approvers")
    for role in sorted(approvers - repo.roles.keys()):
        wrong(f"@approvers names the unknown role {role!r}", _near(role, repo.roles), "approvers")
    require = words("require")
    for duty in sorted(require):
        if duty not in ("four-eyes", "log") and not re.match(r"^redact:[A-Za-z0-9_.]+$", duty):
            wrong(
                f"unknown obligation {duty!r} in @require",
                "obligations are four-eyes, log and redact:<field>",
                "require",
            )
    expires: float | None = None
    if "expires" in said:
        try:
            expires = span(said["expires"]).total_seconds()
        except ValueError as problem:
            wrong(f"@expires: {problem}", 'write @expires("4h")', "expires")
    default = said.get("default", "refuse")
    role = default.removeprefix("escalate:")
    if default != "refuse" and (role == default or role not in repo.roles):
        wrong(
            f'@default("{default}") is not known', 'write @default("refuse") or @default("escalate:<role>")', "default"
        )
    return Obligations(
        approvers=approvers,
        approver_sets=(approvers,) if approvers else (),
        require=require,
        cites=words("cites"),
        expires_s=expires,
        default=default,
    )


def _near(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"


def _known_parties(policy: Mapping[str, Any], repo: ControlRepo, wrong: Any) -> None:
    """Cedar checks types of entities, not that they exist: a role that nobody has would never match."""
    for type_, id in sorted(_entities(policy)):
        if type_ == "Role" and id not in repo.roles:
            wrong(f"unknown role {id!r}", _near(id, repo.roles), id)
        elif type_ in {kind.cedar for kind in CallerKind} and f"{type_.lower()}:{id}" not in repo.callers:
            known = [c.id for c in repo.callers.values() if c.kind.cedar == type_]
            wrong(f"unknown {type_.lower()} {id!r}", _near(id, known), id)


def _entities(node: Any) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    if isinstance(node, Mapping):
        if isinstance(node.get("type"), str) and isinstance(node.get("id"), str) and len(node) == 2:
            found.add((node["type"], node["id"]))
        for value in node.values():
            found |= _entities(value)
    elif isinstance(node, list):
        for value in node:
            found |= _entities(value)
    return found


def _actions(scope: Mapping[str, Any]) -> frozenset[str] | None:
    if scope["op"] == "All":
        return None
    entities = scope.get("entities") or [scope["entity"]]
    return frozenset(e["id"] for e in entities)


def _principal(scope: Mapping[str, Any], roles: set[str]) -> frozenset[str]:
    """The kinds of callers in a policy's scope; its roles are added to `roles`."""
    inside = scope.get("in", {}).get("entity") if scope["op"] == "is" else scope.get("entity")
    if inside and inside["type"] == "Role":
        roles.add(inside["id"])
    if scope["op"] == "is":
        return frozenset({scope["entity_type"]})
    return frozenset({inside["type"]}) if inside and inside["type"] != "Role" else frozenset()


def _names(node: Any, of: Mapping[str, Any]) -> set[str]:
    """Names X of every `of.X` and `of has X`; `*` where the whole record, or the whole context, is used."""
    if isinstance(node, list):
        return {name for item in node for name in _names(item, of)}
    if not isinstance(node, Mapping):
        return set()
    if node in (of, _CONTEXT):
        return {ALL}
    for op in (".", "has"):
        inner = node.get(op)
        if isinstance(inner, Mapping) and "attr" in inner:
            if inner["left"] == of:
                return {inner["attr"]}
            if inner["left"] == _CONTEXT:  # another part of it
                return set()
    return {name for value in node.values() for name in _names(value, of)}


def _asks_who(scope: Mapping[str, Any], conditions: Any) -> bool:
    """Whether it matters which customer it is; attributes (`resource.X`, `resource has X`) are not meant."""
    anyone = scope["op"] == "All" or (scope["op"] == "is" and "in" not in scope)
    return not anyone or _mentions(conditions)


def _mentions(node: Any) -> bool:
    """The customer as a whole, in any way but to read an attribute."""
    if isinstance(node, list):
        return any(_mentions(item) for item in node)
    if not isinstance(node, Mapping):
        return False
    if node == _RESOURCE:
        return True
    for op in (".", "has"):
        inner = node.get(op)
        if isinstance(inner, Mapping) and inner.get("left") == _RESOURCE:
            return False
    return any(_mentions(value) for value in node.values())
