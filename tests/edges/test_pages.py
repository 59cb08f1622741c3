"""Explanations and replays as words, JSON and pages, over HTTP and at the terminal, from a plane that runs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cxplane.edges.http.negotiate import preferred
from cxplane.edges.http.page import page
from cxplane.record.sections import Line, Section
from tests.edges.running import Running, set_up

VOID = {"meta", "br", "link"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = set_up(tmp_path_factory.mktemp("plane"), {"keys": []})
    yield running
    if running.process is not None:
        running.stop()
    running.shop.close()


@pytest.fixture
def refund(plane: Running, request: pytest.FixtureRequest) -> str:
    order = plane.shop.order(f"o-{abs(hash(request.node.name)) % 10**9}")
    return str(plane.refund(order, 2500, reason="<script>alert('x')</script> & \"quoted\"").json()["id"])


class Outline(HTMLParser):
    """Checks that tags are closed in order, and keeps what a reader meets."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(html: str) -> Outline:
    found = Outline()
    found.feed(html)
    found.close()
    assert found.open == []
    return found


@pytest.mark.parametrize("what", ["explain", "replay"])
def test_a_page_is_whole_escaped_and_needs_nothing_from_elsewhere(plane: Running, refund: str, what: str) -> None:
    with plane.http("agent:helper", Accept="text/html,application/xhtml+xml,*/*;q=0.8") as http:
        reply = http.get(f"/v1/decisions/{refund}/{what}")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["vary"] == "Accept"
    found = outline(reply.text)
    names = [tag for tag, _ in found.tags]
    assert "script" not in names
    assert names.count("h1") == 1
    assert not {"img", "link", "iframe", "form", "object"} & set(names)
    assert all("on" not in name[:2] and name != "style" for _, attrs in found.tags for name in attrs)
    assert [attrs for tag, attrs in found.tags if tag == "html"] == [{"lang": "en"}]
    style = re.search(r"<style>(.*?)</style>", reply.text, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = reply.headers["content-security-policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "unsafe" not in policy
    other = "replay" if what == "explain" else "explain"
    assert {"href": f"../{refund}/{other}"} in [attrs for tag, attrs in found.tags if tag == "a"]
    if what == "explain":
        assert "<script>alert" in found.text  # as text
        assert "<script>" not in reply.text


def test_ids_in_a_page_lead_to_their_own_explanation() -> None:
    id = "req_" + "0a" * 16
    html = page(
        "t", [Section("Head", (Line(f"see {id} & <b>"), Line("a\n  b", code=True), Line("v", name="n")))], []
    ).decode()
    assert f'<p>see <a href="../{id}/explain">{id}</a> &amp; &lt;b&gt;</p>' in html
    assert "<pre>a\n  b</pre>" in html
    assert "<dl><dt>n</dt><dd>v</dd></dl>" in html
    outline(html)


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/plain", "text/plain"),
        ("text/*;q=0.5, application/json;q=0.1", "text/plain"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("TEXT/HTML; level=1", "text/html"),
        ("image/png", "application/json"),
        ("text/html, application/json", "text/html"),
        ("text/html;q=0, text/plain;q=0.1", "text/plain"),
        ("text/html;q=nonsense", "application/json"),
        (",;,", "application/json"),
    ],
)
def test_the_caller_says_what_it_would_rather_have(accept: str, best: str) -> None:
    assert preferred(accept, ("application/json", "text/plain", "text/html")) == best


def test_a_replay_is_the_same_over_http_and_at_the_terminal(plane: Running, refund: str) -> None:
    with plane.http("agent:helper") as http:
        told = http.get(f"/v1/decisions/{refund}/replay").json()
        words = http.get(f"/v1/decisions/{refund}/replay", headers={"Accept": "text/plain"}).text
        assert (told["id"], told["result"], told["text"]) == (refund, "same", words)
        gone = http.get("/v1/decisions/req_nope/replay")
        assert (gone.status_code, gone.json()["next"][:19]) == (404, "`cxplane decisions`")
        assert http.get(f"/v1/decisions/{refund}/replay?release=live").status_code == 403
        assert http.get("/v1/replays?since=yesterday").status_code == 422
    shown = plane.cx("replay", refund, by="agent:helper")
    assert (shown.code, shown.out.strip()) == (0, words.strip())
    with plane.http("person:sam") as http:
        live = http.get(f"/v1/decisions/{refund}/replay?release=live").json()
    assert (live["result"], live["replay"]["hypothetical"]) == ("same", True)


def test_many_are_replayed_with_a_summary_and_flips(plane: Running, refund: str, tmp_path: Path) -> None:
    done = plane.cx("replay", "--last", "5", by="person:sam")
    assert done.code == 0
    assert "requests made once more, each under its own release" in done.out
    control = tmp_path / "control"
    for file in plane.control.rglob("*"):
        if file.is_file():
            target = control / file.relative_to(plane.control)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes().replace(b"<= 5000", b"<= 50"))
    flipped = plane.cx("replay", "--last", "5", "--control", str(control), "--json")
    assert flipped.code == 1, flipped.err
    assert {"action": "shop.refund_order", "then": "allow", "would_be": "hold"}.items() <= flipped.json["flips"][
        0
    ].items()
    assert refund in {item["request"] for item in flipped.json["items"]}
    one = plane.cx("replay", refund, "--control", str(control))
    assert one.code == 1
    assert "It would be: hold" in one.out
    table = plane.cx("replay", "--last", "5", "--control", str(control))
    assert "allow" in table.out
    assert "hypothetically" in table.out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["replay"], "name one request"),
        (["replay", "req_1", "--last", "3"], "name one request"),
        (["replay", "req_1", "--release", "a", "--control", "."], "take one"),
        (["replay", "--since", "yesterday"], "--since is written like"),
        (["replay", "req_1", "--verdict", "allow"], "for many requests"),
        (["replay", "--last", "2", "--html", "x.html"], "--html is for one"),
    ],
)
def test_wrong_usage_of_replay_is_told(plane: Running, args: list[str], says: str) -> None:
    ended = plane.cx(*args)
    assert ended.code == 2
    assert says in ended.err


def test_pages_are_written_to_files(plane: Running, refund: str, tmp_path: Path) -> None:
    for command in ("explain", "replay"):
        target = tmp_path / f"{command}.html"
        assert plane.cx(command, refund, "--html", str(target), by="agent:helper").code == 0
        found = outline(target.read_text())
        assert found.tags[0][0] == "html"
        assert target.stat().st_mode & 0o077 == 0
        assert refund in found.text
        assert [attrs["href"] for tag, attrs in found.tags if tag == "a"] == [
            "#content"
        ]  # nothing lies beside the file
    missing = plane.cx("explain", "req_nope", by="agent:helper")
    assert missing.code == 1
    assert "nothing on record has the id" in missing.err
    assert "cxplane runs list" in missing.err
    assert json.loads(plane.cx("explain", refund, "--json", by="agent:helper").out)["decision"]["stands"] == "done"
