"""The part of a catalog entry that conformance tests, as a hash: a tested entry that changes must be tested again."""

from __future__ import annotations

from dataclasses import asdict

from cxplane.domain.catalog import Action, HttpCall
from cxplane.domain.values import digest


def contract_hash(action: Action) -> str:
    """64 hex digits over effect, input, output, key, way, confirm and undo. Texts, owners, policies and limits do not count."""
    way = asdict(action.via) | {"kind": "http" if isinstance(action.via, HttpCall) else "python"}
    if isinstance(action.via, HttpCall):
        way["refused"] = sorted(action.via.refused)
        for name in ("query", "body", "output"):
            way[name] = None if way[name] is None else dict(way[name])
    return digest(
        {
            "id": action.id,
            "effect": action.effect.value,
            "input": dict(action.input),
            "output": dict(action.output),
            "key": list(action.key),
            "via": way,
            "confirm": None
            if action.confirm is None
            else {
                "read": action.confirm.read,
                "with": dict(action.confirm.with_),
                "expect": action.confirm.expect,
                "when": action.confirm.when.value,
            },
            "undo": None
            if action.undo is None
            else {"call": action.undo.call, "with": dict(action.undo.with_), "none": action.undo.none},
        }
    )
