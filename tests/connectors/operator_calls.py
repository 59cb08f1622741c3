"""Coroutines such as an operator would write for `via: {python: …}`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cxplane.domain.errors import FailureKind, SystemFailure

Secrets = Callable[[str], str]
seen: list[tuple[dict[str, Any], str | None]] = []


async def credit(input: dict[str, Any], key: str | None, secrets: Secrets) -> dict[str, Any]:
    assert secrets("BILLING_TOKEN")
    seen.append((dict(input), key))
    input["changed"] = True
    return {"credit_id": "cr-1"}


async def breaks(input: dict[str, Any], key: str | None, secrets: Secrets) -> dict[str, Any]:
    raise KeyError(f"{secrets('BILLING_TOKEN')} {input}")


async def refuses(input: dict[str, Any], key: str | None, secrets: Secrets) -> dict[str, Any]:
    raise SystemFailure("billing", "no such account", kind=FailureKind.REFUSED)


async def hangs(input: dict[str, Any], key: str | None, secrets: Secrets) -> dict[str, Any]:
    await asyncio.sleep(60)
    return {}


async def off_contract(input: dict[str, Any], key: str | None, secrets: Secrets) -> dict[str, Any]:
    return {"credit_id": float("nan")}


def not_async(input: dict[str, Any], key: str | None, secrets: Secrets) -> dict[str, Any]:
    return {}
