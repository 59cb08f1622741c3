"""The evidence of a case holds everything that belongs to it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cxplane.adapters.clock import SystemClock
from cxplane.adapters.signing import Ed25519Signer, new_private_key, verify
from cxplane.adapters.sinks import FolderSink
from cxplane.adapters.telemetry import PrometheusTelemetry
from cxplane.domain.errors import Forbidden, NotFound, NotSealed
from cxplane.edges import verify_evidence
from cxplane.loop.evidence import evidence
from cxplane.loop.proving import Proving
from cxplane.loop.sealer import Sealer
from cxplane.ports.store import Store
from cxplane.record.evidence import Disclosed
from cxplane.record.note import Key
from tests.loop.journeys import country
from tests.loop.test_erasing import MAY_ERASE
from tests.loop.world import TENANT, world

SIGNER = Ed25519Signer(new_private_key(f"cxplane/{TENANT}"))
NOW = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)


async def seal(store: Store, folder: Path) -> None:
    await Sealer(TENANT, store, [SIGNER], FolderSink(folder), SystemClock(), PrometheusTelemetry(), verify).step()


def kinds(document: Any) -> list[tuple[str, str]]:
    events = [json.loads(entry["line"]) for entry in document["entries"]]
    return [(event["type"].removeprefix("cxplane."), event["subject"]) for event in events]


async def test_a_run_brings_what_it_asked_for_and_what_an_approver_put_in_its_place(dsn: str, tmp_path: Path) -> None:
    async with country(dsn) as here:
        run = await here.dispute(amount=9000)
        await here.until(run, "waiting")
        approvals, _ = await here.plane.approvals(here.maria, status="open")
        edited = {"account_id": "a1", "dispute_id": "d1", "amount": 4000}
        await here.plane.approve(here.maria, approvals[0].id, input=edited)
        await here.until(run)
        store = here.plane.store
        await seal(store, tmp_path)
        document = await evidence(store, TENANT, run, at=NOW, signers=[SIGNER], shown=True)
        found = kinds(document)
        assert ("run.started", run) in found and ("run.advanced", run) in found
        requests = {subject for kind, subject in found if kind == "request"}
        assert set(await store.runs.requests(TENANT, run)) <= requests and len(requests) >= 2
        for request in requests:
            expected = [(e.kind, e.stream) for e in await store.stream(TENANT, request)]
            assert [one for one in found if one[1] == request] == expected
        assert {kind for kind, _ in found} >= {"approval.opened", "approval.decided", "decision", "outcome"}
        assert "a person changed it" in document["explanation"].lower() and "amount = 4000" in document["explanation"]
        hidden = await evidence(store, TENANT, run, at=NOW)
        assert "amount = 4000" not in hidden["explanation"] and hidden["signature"] is None
        one = await evidence(store, TENANT, approvals[0].request, at=NOW)
        replaced = await store.request(TENANT, approvals[0].request)
        assert replaced is not None and replaced.replaced_by is not None
        assert {subject for _, subject in kinds(one)} >= {replaced.id, replaced.replaced_by}


async def test_over_the_plane_it_is_for_who_sees_the_record_and_told_in_the_words_of_the_release(
    dsn: str, tmp_path: Path
) -> None:
    async with world(dsn) as w:
        await w.know()
        view = await w.ask(1000, reason="the marker of Ursula")
        maria, fin = w.plane.caller("person:maria"), w.plane.caller("agent:fin")
        proving = Proving(TENANT, w.plane.store, w.plane.live, SystemClock(), w.plane.explaining, [SIGNER])
        with pytest.raises(NotSealed):
            await proving.evidence(maria, view.id, shown=True)
        await seal(w.plane.store, tmp_path)
        with pytest.raises(Forbidden):
            await proving.evidence(fin, view.id, shown=False)
        with pytest.raises(NotFound):
            await proving.evidence(maria, "req_nope", shown=True)
        document = await proving.evidence(maria, view.id, shown=False)
        assert verified(document, tmp_path).returncode == 0
        for words in ("Times are those of Europe/Berlin.", '| @id("small")', "(system billing, owner care)"):
            assert words in document["explanation"]
        assert "Ursula" not in json.dumps(document)
        assert await w.plane.entries(maria, kind="data.opened") == []
        shown = await proving.evidence(maria, view.id, shown=True)
        assert "Ursula" in shown["explanation"]
        assert len(shown["disclosed"]) == 3
        (entry,) = await w.plane.entries(maria, kind="data.opened")
        assert (entry.actor, entry.body) == ("person:maria", {"how": "evidence", "case": view.id})


async def test_a_value_that_was_not_sealed_there_is_not_disclosed(dsn: str, tmp_path: Path) -> None:
    async with country(dsn) as here:
        run = await here.dispute()
        await here.until(run)
        await seal(here.plane.store, tmp_path)
        (request, *_) = await here.plane.store.runs.requests(TENANT, run)
        first = (await here.plane.store.stream(TENANT, request))[0]
        lie = Disclosed(first.position, ("input",), b"salt", "{}")
        with pytest.raises(ValueError, match="not the one that was sealed"):
            await evidence(here.plane.store, TENANT, request, at=NOW, disclosed=[lie])


def verified(document: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    """By the script alone: no cxplane, no packages of others."""
    file = folder / "case.json"
    file.write_text(json.dumps(document))
    key = str(Key(SIGNER.name, SIGNER.public))
    command = [sys.executable, "-I", "-S", verify_evidence.__file__, str(file), "--key", key]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def test_disclosed_values_are_checked_by_a_third_party_and_after_an_erasure_the_proof_stands_without_them(
    dsn: str, tmp_path: Path
) -> None:
    async with world(dsn, plane=MAY_ERASE) as here:
        await here.know()
        request = (await here.ask(1234, reason="the marker of Ursula")).id
        store, maria = here.plane.store, here.plane.caller("person:maria")
        await seal(store, tmp_path)
        shown = await evidence(store, TENANT, request, at=NOW, signers=[SIGNER], shown=True)
        assert any("Ursula" in one["json"] and "1234" in one["json"] for one in shown["disclosed"])
        done = verified(shown, tmp_path)
        assert done.returncode == 0 and "disclosed values" in done.stdout, done.stdout + done.stderr
        lie = json.loads(json.dumps(shown).replace("1234", "9234"))
        assert verified(lie, tmp_path).returncode != 0
        await here.plane.erase(maria, "c1", reason="letter of 5 March")
        await seal(store, tmp_path)
        after = await evidence(store, TENANT, request, at=NOW, signers=[SIGNER], shown=True)
        assert after["disclosed"] == [] and "Ursula" not in json.dumps(after)
        assert [one["line"] for one in after["entries"][:4]] == [one["line"] for one in shown["entries"][:4]]
        done = verified(after, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
