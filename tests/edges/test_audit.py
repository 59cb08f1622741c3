"""`cxplane audit` and `cxplane evidence`: what they write is verified by whoever does not believe it, without cxplane."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxplane.adapters.signing import Ed25519Signer, new_private_key, verify
from cxplane.domain.record import Entry
from cxplane.edges import verify_evidence
from cxplane.edges.cli.app import run
from cxplane.record.evidence import Disclosed, opens, opens_in, to_sign
from cxplane.record.note import Key, sign
from tests.loop.world import TENANT, world
from tests.record.sealed import SIGNER, STRANGER, key_of, line, sealed

KEY = new_private_key(f"cxplane/{TENANT}")
PUBLIC = str(Key(f"cxplane/{TENANT}", Ed25519Signer(KEY).public))
SCRIPT = Path(verify_evidence.__file__)


@dataclass
class Sealed:
    """A sealed record of one governed write, and the command line on it."""

    dsn: str
    folder: Path
    request: str
    capsys: pytest.CaptureFixture[str]

    def cx(self, *words: str, code: int = 0) -> Any:
        """The JSON that a command prints."""
        store = () if words[:2] == ("audit", "verify") else ("--dsn", self.dsn, "--tenant", TENANT)
        data = () if words[:2] == ("audit", "verify") else ("--data", str(self.folder))
        ended = run([*words, "--json", *store, *data])
        told = self.capsys.readouterr()
        assert ended == code, told
        return json.loads(told.out)

    def third_party(self, document: Any, *keys: str) -> tuple[int, str]:
        """What the published script says, on a Python that sees no package at all."""
        file = self.folder / "case.json"
        file.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        options = [word for key in keys or (PUBLIC,) for word in ("--key", key)]
        command = [sys.executable, "-I", "-S", str(SCRIPT), str(file), *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        return done.returncode, done.stdout + done.stderr


async def one_write(dsn: str) -> str:
    async with world(dsn) as here:
        await here.know()
        view = await here.ask()
        await here.ask(dispute="d2", amount=99_000)
        return view.id


@pytest.fixture
def record(dsn: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> Sealed:
    monkeypatch.setenv("CXPLANE_SEAL_KEY", KEY)
    made = Sealed(dsn, tmp_path, asyncio.run(one_write(dsn)), capsys)
    assert made.cx("audit", "seal")["new"] > 5
    return made


def test_an_export_is_verified_and_a_changed_entry_is_named(record: Sealed) -> None:
    out = record.folder / "proof"
    count = record.cx("audit", "export", str(out))["entries"]
    sink = record.folder / "seals" / TENANT / "checkpoints"
    told = record.cx("audit", "verify", str(out), "--key", PUBLIC, "--checkpoints", str(sink))
    assert told["good"] and told["sealed"] == count and told["key_given"]
    assert record.cx("audit", "verify", str(out))["key_given"] is False
    alone = record.cx("audit", "verify", str(out / "entries.jsonl"), "--key", PUBLIC, "--checkpoints", str(sink))
    assert alone["good"]
    lines = (out / "entries.jsonl").read_bytes().splitlines(keepends=True)
    at = next(n for n, one in enumerate(lines) if b'"type":"cxplane.decision"' in one)
    lines[at] = lines[at].replace(b"allow", b"refuse")
    (out / "entries.jsonl").write_bytes(b"".join(lines))
    found = record.cx("audit", "verify", str(out), "--key", PUBLIC, code=1)["finding"]
    assert (found["kind"], found["index"], found["position"]) == ("changed", at, json.loads(lines[at])["id"])


def test_verifying_needs_no_store_and_says_so_in_words(tmp_path: Path, capsys: Any) -> None:
    export = sealed([line(n) for n in range(1, 400)], [399])
    (tmp_path / "entries.jsonl").write_bytes(export.lines + line(400) + b"\n")
    (tmp_path / "checkpoints").write_text(export.checkpoints)
    key = str(key_of(SIGNER))
    assert run(["audit", "verify", str(tmp_path), "--key", key]) == 4
    assert "verified in part: 399 entries" in capsys.readouterr().out
    assert run(["audit", "verify", str(tmp_path), "--key", str(key_of(STRANGER))]) == 1
    assert "NOT VERIFIED" in capsys.readouterr().out
    (tmp_path / "checkpoints").write_text(export.checkpoints[:-9])
    assert run(["audit", "verify", str(tmp_path), "--key", key]) == 1
    assert run(["audit", "verify", str(tmp_path)]) == 2
    assert run(["audit", "verify", str(tmp_path / "entries.jsonl"), "--key", key]) == 2


def test_one_entry_and_two_checkpoints_are_proven_to_a_third_party(record: Sealed) -> None:
    size = record.cx("audit", "seal")["sealed"]
    asyncio.run(one_more(record.dsn))
    later = record.cx("audit", "seal")["sealed"]
    assert later > size
    proof = record.cx("audit", "prove", "3")
    assert record.third_party(proof)[0] == 0
    proof["entry"]["line"] = proof["entry"]["line"].replace('"id":"3"', '"id":"4"')
    assert record.third_party(proof)[0] == 1
    consistency = record.cx("audit", "consistency", str(size), str(later))
    code, said = record.third_party(consistency)
    assert code == 0 and "nothing was changed between" in said
    consistency["proof"][0] = b64encode(bytes(32)).decode()
    assert record.third_party(consistency)[0] == 1
    assert record.cx("audit", "prove", "100000", code=1)["error"] == "there is no entry at position 100000"
    assert "no checkpoint of 2 entries" in record.cx("audit", "consistency", "2", code=1)["error"]


async def one_more(dsn: str) -> None:
    async with world(dsn) as here:
        await here.ask(dispute="d3")


def test_what_is_not_sealed_yet_has_no_evidence_yet(record: Sealed) -> None:
    asyncio.run(one_more(record.dsn))
    link_ids = asyncio.run(requests(record.dsn))
    assert "not under a signed checkpoint" in record.cx("evidence", link_ids[-1], code=4)["error"]


async def requests(dsn: str) -> list[str]:
    link = await asyncpg.connect(dsn)
    try:
        return [r["id"] for r in await link.fetch("select id from cxplane.request order by at")]
    finally:
        await link.close()


def test_evidence_of_a_request_is_proven_on_a_machine_without_cxplane(record: Sealed) -> None:
    out = record.folder / "evidence.json"
    assert record.cx("evidence", record.request, "--out", str(out)) == {"file": str(out), "entries": 4, "signed": True}
    document = json.loads(out.read_text())
    kinds = [json.loads(e["line"])["type"].removeprefix("cxplane.") for e in document["entries"]]
    assert sorted(kinds) == ["decision", "outcome", "request", "seal.key"]
    assert "asked for billing.issue_credit" in document["explanation"] and "It was done" in document["explanation"]
    code, said = record.third_party(document)
    assert code == 0 and said.endswith("PROVEN\n") and "NOT" not in said
    assert record.third_party(document, str(key_of(STRANGER)))[0] == 1
    assert record.cx("evidence", record.request, "--out", str(out), code=1)["error"].endswith("is there already")
    assert "there is no request and no run" in record.cx("evidence", "req_x", code=1)["error"]


def test_who_had_personal_data_disclosed_is_on_record(record: Sealed) -> None:
    sealed_one = record.cx("evidence", record.request)
    record.cx("evidence", "req_nope", "--private", code=1)
    record.cx("evidence", record.request, "--private")
    kept = opened(record.dsn)
    assert [entry.body for entry in kept] == [{"how": "evidence", "case": record.request}]
    assert kept[0].actor.startswith("operator:")
    assert sealed_one["disclosed"] == []


def opened(dsn: str) -> list[Entry]:
    async def read() -> list[Entry]:
        async with world(dsn) as here:
            return list(await here.plane.entries(here.plane.caller("person:maria"), kind="data.opened"))

    return asyncio.run(read())


def test_evidence_of_a_changed_entry_is_not_made(record: Sealed) -> None:
    async def change() -> None:
        link = await asyncpg.connect(record.dsn)
        await link.execute("set session_replication_role = replica")
        await link.execute("update cxplane.entry set actor = 'agent:other' where kind = 'decision'")
        await link.close()

    asyncio.run(change())
    assert "is not the one that was signed" in record.cx("evidence", record.request, code=4)["error"]


def test_the_script_is_printed_as_it_is(capsys: Any) -> None:
    assert run(["evidence", "--verifier"]) == 0
    assert capsys.readouterr().out == SCRIPT.read_text()


# evidence in memory, to be tampered with -----------------------------------------------------------------------

SALT = hashlib.sha256(b"salt").digest()[:16]
OPENED = '{"amount":5,"name":"Müller"}'
CIPHER = (
    "cxe1:k1:"
    + urlsafe_b64encode(hashlib.sha256(SALT + OPENED.encode()).digest() + b"ciphertext").rstrip(b"=").decode()
)
VALUE = Disclosed(7, ("input",), SALT, OPENED)


def case_line(position: int, kind: str, private: Any = None) -> str:
    return json.dumps(
        {
            "id": str(position),
            "type": f"cxplane.{kind}",
            "subject": "req_1",
            "time": "2026-03-05T10:00:00.000000Z",
            "data": {"actor": "agent:fin", "body": {"text": "für"}, "private": private},
        },
        ensure_ascii=False,
    )


def document() -> dict[str, Any]:
    from cxplane.record import merkle, tiles
    from cxplane.record.note import Checkpoint

    lines = [case_line(n, "request", {"input": CIPHER} if n == 7 else None) for n in range(11)]
    leaves = [merkle.leaf_hash(one.encode()) for one in lines]
    root = merkle.root_of(leaves)
    proofs = {n: tiles.prove(merkle.inclusion_plan(n, 11), {(0, 0): b"".join(leaves)}) for n in (3, 7, 10)}
    told: dict[str, Any] = {
        "format": "cxplane-evidence/1",
        "tenant": "acme",
        "case": "req_1",
        "made_at": "2026-03-05T10:00:00+00:00",
        "checkpoint": str(sign(Checkpoint("cxplane/acme", 11, root).text, [(key_of(SIGNER), SIGNER.sign)])),
        "keys": [str(key_of(SIGNER))],
        "entries": [
            {"index": n, "line": lines[n], "proof": [b64encode(p).decode() for p in proof]}
            for n, proof in proofs.items()
        ],
        "disclosed": [
            {"position": "7", "path": ["input"], "salt": urlsafe_b64encode(SALT).decode().rstrip("="), "json": OPENED}
        ],
        "explanation": "It was done.",
    }
    return {**told, "signature": str(sign(to_sign(told), [(key_of(SIGNER), SIGNER.sign)]))}


GOOD = document()


def says(tmp_path: Path, changed: Any, *keys: str) -> int:
    file = tmp_path / "case.json"
    file.write_text(changed if isinstance(changed, str) else json.dumps(changed, ensure_ascii=False), encoding="utf-8")
    return verify_evidence.main([str(file), *(w for key in keys or (str(key_of(SIGNER)),) for w in ("--key", key))])


def test_good_evidence_with_a_disclosed_value_is_proven(tmp_path: Path, capsys: Any) -> None:
    assert says(tmp_path, GOOD) == 0
    assert "1 disclosed values" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"explanation": "It was not done."},
        {"case": "req_2"},
        {"signature": None},
        {"entries": GOOD["entries"][:2]},
        {"entries": []},
        {"disclosed": [{**GOOD["disclosed"][0], "json": OPENED.replace("5", "6")}]},
        {"disclosed": [{**GOOD["disclosed"][0], "path": ["other"]}]},
        {"format": "cxplane-evidence/9"},
        {"extra": 1},
    ],
    ids=lambda c: next(iter(c)),
)
def test_changed_evidence_is_not_proven(tmp_path: Path, change: dict[str, Any]) -> None:
    assert says(tmp_path, {**GOOD, **change}) == 1


def test_a_disclosed_value_is_checked_by_itself_even_where_the_document_is_signed_again(tmp_path: Path) -> None:
    lie = {**GOOD, "disclosed": [{**GOOD["disclosed"][0], "json": OPENED.replace("5", "6")}]}
    signed = {**lie, "signature": str(sign(to_sign(lie), [(key_of(SIGNER), SIGNER.sign)]))}
    assert says(tmp_path, signed) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_character_of_evidence_is_found(tmp_path: Path, data: st.DataObject) -> None:
    text = json.dumps(GOOD, ensure_ascii=False)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda c: c != text[at]))
    assert says(tmp_path, text[:at] + other + text[at + 1 :]) != 0


def test_evidence_is_not_read_in_two_ways(tmp_path: Path) -> None:
    text = json.dumps(GOOD, ensure_ascii=False)
    assert says(tmp_path, '{"explanation": "Other words.", ' + text[1:]) == 2


def test_the_script_and_cxplane_agree_on_signatures() -> None:
    for n in range(6):
        message = bytes(range(n * 7))
        good = SIGNER.sign(message)
        for signature in (good, good[:32] + bytes(32), bytes([good[0] ^ 1]) + good[1:], good[:63], b""):
            assert verify_evidence.ed25519_verify(SIGNER.public, signature, message) == verify(
                SIGNER.public, signature, message
            )


@pytest.mark.parametrize(  # RFC 8032, 7.1
    ("public", "message", "signature"),
    [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ],
)
def test_the_script_knows_the_signatures_of_rfc_8032(public: str, message: str, signature: str) -> None:
    parts = bytes.fromhex(public), bytes.fromhex(signature), bytes.fromhex(message)
    assert verify_evidence.ed25519_verify(*parts) and not verify_evidence.ed25519_verify(*parts[:2], b"x")


def test_a_sealed_value_opens_with_its_salt_and_text_only() -> None:
    assert opens(CIPHER, SALT, OPENED) and opens_in(case_line(7, "request", {"input": CIPHER}), VALUE)
    assert not opens(CIPHER, SALT, OPENED + " ") and not opens(CIPHER, SALT[:-1] + b"x", OPENED)
    assert not opens(CIPHER.replace("cxe1", "cxe2"), SALT, OPENED) and not opens("", SALT, OPENED)
    assert not opens_in(case_line(8, "request", {"input": CIPHER}), VALUE)
    assert not opens_in(case_line(7, "request", {"input": CIPHER}), replace(VALUE, path=("input", "x")))
