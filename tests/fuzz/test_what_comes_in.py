"""Bodies, events, cursors, tokens, settings, exports, evidence: what is no good is refused in the one way that is documented."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxplane.adapters.identity import check_claims, public_keys, token_header
from cxplane.adapters.postgres.rows import cursor, from_cursor, time_cursor
from cxplane.domain.errors import CallerUnknown, CxplaneError, Malformed, SystemFailure
from cxplane.edges.http import routes
from cxplane.edges.http.cloudevents import events
from cxplane.edges.http.limits import HttpLimits
from cxplane.edges.http.strict_json import parse, shaped
from cxplane.edges.verify_evidence import main
from cxplane.record.note import Key, NoteError, parse_checkpoint, parse_note, split_notes
from cxplane.wiring import settings_from_env
from tests.edges.test_identity import AUDIENCE, ISSUER, PUBLIC, claims, token, who
from tests.fuzz.nasty import TEXTS, scratched, spoilt, texts, values
from tests.fuzz.profile import bounded
from tests.record.sealed import SIGNER, key_of, line, report_of, sealed

BODIES = {route.name: route for route in routes.ROUTES if route.body is not None and not route.media}
EVENT = {"specversion": "1.0", "id": "e", "source": "/s", "type": "t", "subject": "k", "time": "2026-01-05T10:00:00Z"}
TOKEN = token()
raw = st.binary(max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
marks = st.sampled_from(
    [
        b'{"a":1,"a":2}',
        b"NaN",
        b"[1e999]",
        b'"\\ud800"',
        b"[" * 9000,
        b'{"a":' * 9000,
        b"9" * 9000,
        b"\xef\xbb\xbf{}",
        b"\xff",
    ]
)


def as_json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


@bounded(300)
@given(raw | marks | values.map(as_json))
def test_a_body_is_json_of_the_strict_kind_or_malformed(body: bytes) -> None:
    with contextlib.suppress(Malformed):
        json.dumps(parse(body), allow_nan=False)


@pytest.mark.parametrize("name", sorted(BODIES))
@bounded(25)
@given(st.data())
def test_a_body_has_its_shape_or_is_malformed(name: str, data: st.DataObject) -> None:
    route = BODIES[name]
    body = data.draw(values | spoilt(route.example) if route.example is not None else values)
    with contextlib.suppress(Malformed):
        shaped(parse(as_json(body)), route.body)


@bounded(200)
@given(
    st.sampled_from(["application/cloudevents+json", "application/cloudevents-batch+json", "application/json"]),
    st.dictionaries(
        st.sampled_from([f"ce-{name}" for name in EVENT] + ["ce-", "ce-customer", "ce-data"]), texts, max_size=7
    ),
    values | spoilt({**EVENT, "data": {"a": 1}, "data_base64": "e30="}) | st.lists(spoilt(EVENT), max_size=3),
)
def test_an_event_is_one_or_malformed(media: str, headers: dict[str, str], sent: Any) -> None:
    with contextlib.suppress(Malformed):
        assert all(place == "" or place[0] == "/" for place, _ in events(media, headers, parse(as_json(sent))))


encoded = (
    (values | st.lists(texts, min_size=1, max_size=2)).map(as_json).map(base64.urlsafe_b64encode).map(bytes.decode)
)


@bounded(300)
@given(texts | encoded | st.text(string.ascii_letters + "-_", max_size=40))
def test_a_cursor_is_ours_or_malformed(text: str) -> None:
    with contextlib.suppress(Malformed):
        at, _ = time_cursor(text)
        assert at.tzinfo is not None
    with contextlib.suppress(Malformed):
        assert "\x00" not in from_cursor(text, 1)[0]


@pytest.mark.parametrize(
    "at", ["2026-01-05T10:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-W01-1", "now"]
)
def test_a_cursor_with_an_odd_time_is_malformed(at: str) -> None:
    with pytest.raises(Malformed):
        time_cursor(cursor(at, "req_1"))


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.sampled_from(["none", "None", "nOnE", "HS256", "RS256", "ES256", "EdDSA", "RS1", "A128KW", "dir"])
        | values,
        "kid": st.sampled_from(["rsa-1", "ec-1", "../../dev/null", "' or 1=1 --", "x" * 9000]) | values,
        "jwk": values,
        "jku": st.just("http://127.0.0.1:1/keys"),
        "x5u": st.just("http://127.0.0.1:1/cert"),
        "crit": st.sampled_from([["b64"], ["exp"], [], {}]) | values,
        "b64": st.booleans(),
        "zip": st.just("DEF"),
        "enc": st.just("A128GCM"),
        "typ": values,
    },
)


@bounded(250)
@given(
    HEADERS,
    spoilt(claims()),
    st.sampled_from(["", TOKEN.split(".")[2]]) | texts.map(lambda t: b64(t.encode("utf-8", "replace"))),
)
def test_no_token_that_we_did_not_sign_names_a_caller(header: dict[str, Any], body: Any, signature: str) -> None:
    """Whatever header, claims and signature: alg none, another's key id, a good token's signature on other claims."""
    with pytest.raises(CallerUnknown):
        asyncio.run(who(f"{b64(as_json(header))}.{b64(as_json(body))}.{signature}"))


@bounded(250)
@given(texts | st.text(string.ascii_letters + "._-", max_size=80) | scratched(TOKEN))
def test_the_header_of_a_token_is_read_or_nobody_is_known(text: str) -> None:
    with contextlib.suppress(CallerUnknown):
        assert isinstance(token_header(text), dict)


@bounded(200)
@given(spoilt({"iss": ISSUER, "aud": AUDIENCE, "sub": "agent:fin", "exp": 2e9, "nbf": 1, "iat": 1}))
def test_claims_name_a_subject_or_nobody_is_known(told: Any) -> None:
    with contextlib.suppress(CallerUnknown):
        assert check_claims(told if isinstance(told, dict) else {}, issuer=ISSUER, audience=AUDIENCE, now=1e9)


@pytest.mark.parametrize("exp", [10**400, float("nan"), float("inf"), True, "2e9", None])
def test_a_token_does_not_live_for_ever_by_an_odd_number(exp: Any) -> None:
    told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "agent:fin", "exp": exp}
    with pytest.raises(CallerUnknown):
        check_claims(told, issuer=ISSUER, audience=AUDIENCE, now=1e9)


@bounded(120)
@given(texts | values.map(json.dumps) | spoilt(PUBLIC).map(lambda value: json.dumps(value, default=str)))
def test_a_key_set_is_one_or_the_issuer_failed(text: str) -> None:
    with contextlib.suppress(SystemFailure):
        public_keys(text)


NAMES = ["DSN", "DATA", "NOW", "LEASE", "DRAIN", "SEAL_EVERY", "SEAL_SINK", "TENANT", "CONTROL", "SYSTEM_SHOP_URL"]
LIMITS = ["HTTP_RATE", "HTTP_BURST", "HTTP_QUEUE", "HTTP_IN_FLIGHT", "HTTP_PATIENCE", "HTTP_WAITING"]
SECRET = "hunter2-hunter2"


@bounded(250)
@given(
    st.dictionaries(
        st.sampled_from(NAMES + LIMITS).map("CXPLANE_{}".format),
        st.sampled_from([*TEXTS, "10s", "-5s", "1e400h", "inf", "nan", "0", "1e9"]) | texts,
        max_size=5,
    ),
    st.sampled_from(["DSN", "NOW", "LEASE", "HTTP_RATE", "HTTP_QUEUE"]).map("CXPLANE_{}".format),
)
def test_settings_are_read_or_the_variable_is_named(environ: dict[str, str], odd: str) -> None:
    """And what was put into the wrong variable is not repeated: it may be a secret."""
    environ = {**environ, odd: f"postgres://u:{SECRET}@[::bad"}
    for reader in (settings_from_env, HttpLimits.from_env):
        told = ""
        try:
            assert SECRET not in repr(reader(environ))
        except (ValueError, CxplaneError) as error:
            told = str(error)
        assert "CXPLANE_" in told or not told
        assert SECRET not in told


EXPORT = sealed([line(n, amount=n) for n in range(20)], [7, 20])


@bounded(200)
@given(st.data())
def test_a_note_is_read_or_said_to_be_none(data: st.DataObject) -> None:
    text = data.draw(texts | scratched(EXPORT.checkpoints))
    for read in (parse_note, parse_checkpoint, lambda text: list(split_notes(text)), Key.parse):
        with contextlib.suppress(NoteError):
            read(text)


@bounded(150)
@given(st.data())
def test_an_export_that_was_torn_is_never_good(data: st.DataObject) -> None:
    text = data.draw(scratched(EXPORT.lines.decode()))
    report = report_of(EXPORT.changed(lines=text.encode("utf-8", "surrogatepass")))
    assert report.good == (text.encode("utf-8", "surrogatepass") == EXPORT.lines)


@bounded(150)
@given(
    st.data(),
    st.sampled_from(["cxplane-evidence/1", "cxplane-inclusion/1", "cxplane-consistency/1"]),
)
def test_evidence_is_proven_or_not_and_nothing_else(tmp_path_factory: Any, data: st.DataObject, form: str) -> None:
    shape = {
        "format": form,
        "entry": {"line": line(0).decode(), "index": 0, "proof": ["AAAA"]},
        "entries": [{"line": line(0).decode(), "index": 0, "proof": ["AAAA"]}],
        "checkpoint": EXPORT.checkpoints.split("\n\n\n")[0],
        "old": EXPORT.checkpoints,
        "new": EXPORT.checkpoints,
        "proof": ["AAAA"],
        "disclosed": [{"index": 0, "salt": "AAAA", "text": "x"}],
        "keys": [],
        "signatures": "",
        "explanation": "x",
    }
    written = data.draw(
        spoilt(shape).map(json.dumps) | texts | st.sampled_from(["[" * 100_000, '{"a":' * 100_000, "9" * 9000])
    )
    file = Path(tmp_path_factory.getbasetemp()) / "evidence.json"
    file.write_bytes(written.encode("utf-8", "surrogatepass"))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main([str(file), "--key", str(key_of(SIGNER))]) in (1, 2)
