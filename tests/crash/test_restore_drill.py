"""The drill of docs/how-to/back-up-and-restore.md as a stranger does it: the whole data folder is lost, the keys and an export are not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.edges.running import Running, set_up, until

CHECKPOINTS = "seals/northwind/checkpoints"


def good(running: Running, *args: str, **more: Any) -> Any:
    ended = running.cx(*args, **more)
    assert ended.code == 0, f"{args}: {ended.out}{ended.err}"
    return ended


def doctor(running: Running, name: str) -> dict[str, str]:
    return next(c for c in running.cx("doctor", "--json").json["checks"] if c["name"].startswith(name))


def public_key(running: Running) -> str:
    return str(good(running, "audit", "keys", "list", "--json").json["items"][0]["key"])


def proven(tmp_path: Path, case: Path, key: str) -> bool:
    """By the published script, where there is no cxplane."""
    script = [sys.executable, "-I", "-S", str(tmp_path / "verify_evidence.py"), str(case), "--key", key]
    return subprocess.run(script, env={}, capture_output=True, check=False).returncode == 0


def lose(running: Running, kept: Path) -> None:
    """Kill the plane and its Postgres, and take the data folder away, but for the keys."""
    postgres = int((running.data / "store" / "pg" / "postmaster.pid").read_text().split()[0])
    running.stop(signal.SIGKILL)
    os.kill(postgres, signal.SIGKILL)
    until(
        lambda: not Path(f"/proc/{postgres}").exists() or "Z" in Path(f"/proc/{postgres}/stat").read_text().split()[2]
    )
    shutil.move(running.data / "keys", kept / "keys")
    shutil.move(running.data / "seals", kept / "seals")
    shutil.rmtree(running.data)


@pytest.fixture
def running(tmp_path: Path) -> Any:
    found = set_up(tmp_path, {"keys": []})
    for order, customer in (("o-1", "c-1"), ("o-2", "c-1"), ("o-3", "c-2"), ("o-4", "c-1")):
        found.shop.order(order, customer)
    yield found
    if found.process is not None:
        found.stop()
    found.shop.close()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_after_a_restore_the_seal_waits_for_a_word_and_what_was_taken_away_is_taken_away_again(
    running: Running, tmp_path: Path
) -> None:
    sam, crm = "person:sam", "system:crm-sync"
    assert running.refund("o-1", 1500).json()["status"] == "done"
    assert (
        running.ask(customer="c-2", action="shop.refund_order", input={"order_id": "o-3", "amount": 500}).status_code
        == 200
    )
    held = running.refund("o-2", 9000).json()
    good(running, "audit", "seal")
    old = public_key(running)
    (tmp_path / "verify_evidence.py").write_text(good(running, "evidence", "--verifier").out)
    backup = tmp_path / "store.backup"
    good(running, "backup", str(backup))

    # what is lost with the store
    assert running.refund("o-4", 1200).json()["status"] == "done"
    good(running, "erase", "c-2", "--yes", by=sam)
    with running.http(crm) as http:
        said = {"purpose": "service", "granted": False, "source": "phone"}
        assert http.post("/v1/customers/c-1/consents", json=said).status_code == 200
    doomed = good(running, "keys", "create", "agent:helper", "--json").json["id"]
    known = [k["id"] for k in good(running, "keys", "list", "--json").json["items"] if k["caller"] == crm]
    for id in (doomed, *known):
        good(running, "keys", "revoke", id)
    good(running, "audit", "seal")
    good(running, "audit", "export", str(tmp_path / "proof"))
    case = running.refund("o-1", 1500, key="again").json()["id"]
    good(running, "audit", "seal")
    good(running, "evidence", case, "--out", str(tmp_path / "case.json"))
    record = tmp_path / "record"
    last = good(running, "export", str(record), "--json").json["last"]
    good(running, "hold", "c-1", "--reason", "case 12", by=sam)  # newer than the export: nobody knows of it
    lose(running, tmp_path)

    shown = good(running, "restore", str(backup)).out
    assert "cxplane store redo EXPORT" in shown and "--new-tree" in shown
    strange = running.cx("store", "redo", str(record), "--yes")  # a key was made, where there was none
    assert strange.code == 3 and "keys/data.key" in strange.err
    shutil.copytree(tmp_path / "keys", running.data / "keys", dirs_exist_ok=True)
    running.start()

    # the sealer stops, though the checkpoints kept apart are gone too, and says why and what to do
    until(lambda: "seal" in httpx.get(f"{running.url}/health/ready").json())
    ready = httpx.get(f"{running.url}/health/ready")
    assert ready.status_code == 200 and "set back" in ready.json()["seal"] and "--new-tree" in ready.json()["seal"]
    assert running.refund("o-4", 1200).json()["status"] == "done" and running.shop.done("o-4") == [1200]
    refused = running.cx("audit", "seal")
    assert refused.code == 1 and "--new-tree" in refused.err
    looked = {c["name"]: c for c in running.cx("doctor", "--json").json["checks"]}
    assert looked["seal of northwind"]["status"] == looked["restores of northwind"]["status"] == "fail"
    assert (
        "store redo" in looked["restores of northwind"]["next"] and "--new-tree" in looked["seal of northwind"]["next"]
    )

    # no export and no cursor goes on over two pasts
    resumed = running.cx("export", str(record), "--resume")
    assert resumed.code == 1 and "cxplane store redo" in resumed.err
    with running.http(sam) as http:
        for path in ("/v1/entries", "/v1/entries/lines", "/v1/entries/stream"):
            assert http.get(path, params={"after": last}).status_code == 409
        assert http.get("/v1/entries/stream", headers={"Last-Event-ID": str(last)}).status_code == 409
        assert http.get("/v1/entries/lines", params={"after": 3}).text.count("store.restored") == 1

    # what the lost time took away is taken away again, as far as somebody knows of it
    told = running.cx("store", "redo", str(record), "--json")
    assert told.code == 0, told.err
    assert {line.split()[0] for line in told.json["done"]} == {"erased", "withdrawn", "revoked"}
    assert good(running, "erase", "c-2", "--verify", by=sam).code == 0
    states = {k["id"]: k["state"] for k in good(running, "keys", "list", "--json").json["items"]}
    assert [states[id] for id in known] == ["revoked"] and doomed not in states
    until(lambda: doctor(running, "restores of")["status"] == "ok")
    assert "not set back since" in good(running, "store", "redo", str(record), "--yes").out

    # sealing goes on in another name
    good(running, "audit", "keys", "rotate", "--new-tree")
    running.stop()
    running.start()
    good(running, "audit", "seal")
    new = public_key(running)
    assert new.startswith("cxplane/northwind@2+") and doctor(running, "seal of")["status"] == "ok"
    assert "seal" not in httpx.get(f"{running.url}/health/ready").json()
    good(running, "audit", "export", str(tmp_path / "after"))
    verified = good(
        running,
        "audit",
        "verify",
        str(tmp_path / "after"),
        "--key",
        new,
        "--checkpoints",
        str(running.data / CHECKPOINTS),
    )
    assert "verified" in verified.out and "the store was set back at" in verified.out

    # and nothing that was proven is proven no more
    kept = str(tmp_path / CHECKPOINTS)
    good(running, "audit", "verify", str(tmp_path / "proof"), "--key", old, "--checkpoints", kept)
    assert proven(tmp_path, tmp_path / "case.json", old)
    good(running, "evidence", case, "--out", str(tmp_path / "case-after.json"))
    assert proven(tmp_path, tmp_path / "case-after.json", new)
    gone = running.cx("audit", "verify", str(tmp_path / "after"), "--key", old, "--checkpoints", kept, "--json")
    assert gone.code == 1 and gone.json["finding"]["kind"] in ("between", "removed") and gone.json["unsealed"] >= 0
    assert good(running, "approvals", "show", held["approval"], by=sam).code == 0
