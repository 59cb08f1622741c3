"""The pictures: nothing overlaps, everything is there, and no state is told by colour alone."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from itertools import combinations
from xml.etree import ElementTree

import pytest

from cxplane.adapters.cel import CelExpressions
from cxplane.domain.journey import Journey
from cxplane.domain.run import (
    Answered,
    AskAction,
    Did,
    Event,
    OpenTask,
    Run,
    RunState,
    RunStatus,
    Settled,
    Started,
    Token,
    Wait,
)
from cxplane.journeys.advance import advance
from cxplane.journeys.draw import definition, path
from cxplane.journeys.layout import Layout
from cxplane.journeys.program import Program
from cxplane.journeys.shapes import Box, Sheet, fit, width
from cxplane.journeys.theme import DARK, LIGHT, Palette
from tests.journeys.samples import ALL, DEEP, DISPUTE, EVERYTHING, LONG_NAMES, wide

SVG = "{http://www.w3.org/2000/svg}"
EVERY = pytest.mark.parametrize("journey", [*ALL, wide(60)], ids=lambda j: j.id[:20])


def laid(journey: Journey) -> Sheet:
    sheet = Sheet()
    Layout().column(journey.steps).put(sheet, 0, 0)
    return sheet


def apart(a: Box, b: Box) -> bool:
    return a.x + a.w <= b.x or b.x + b.w <= a.x or a.y + a.h <= b.y or b.y + b.h <= a.y


def within(a: Box, b: Box) -> bool:
    return b.x <= a.x and a.x + a.w <= b.x + b.w and b.y <= a.y and a.y + a.h <= b.y + b.h


@EVERY
def test_no_two_steps_overlap(journey: Journey) -> None:
    for a, b in combinations(laid(journey).boxes, 2):
        boxed = {"frame", "catch", "body"}
        nested = (a.shape in boxed and within(b, a)) or (b.shape in boxed and within(a, b))
        assert apart(a, b) or nested, (a.step.name, b.step.name)


@EVERY
def test_no_arrow_runs_through_a_step_or_a_word(journey: Journey) -> None:
    sheet = laid(journey)
    solid = [(b.x, b.y, b.w, b.h, b.step.name) for b in sheet.boxes if b.shape in ("box", "choice")]
    pills = [(w.x - w.w / 2, w.y - 11, w.w, 22.0, w.text) for w in sheet.words if w.kind == "pill"]
    for way in sheet.ways:
        for (ax, ay), (bx, by) in zip(way.points, way.points[1:], strict=False):
            for x, y, w, h, name in solid + pills:
                left, right = sorted((ax, bx))
                top, low = sorted((ay, by))
                crosses = left < x + w - 1 and right > x + 1 and top < y + h - 1 and low > y + 1
                assert not crosses, (way, name)


@EVERY
def test_texts_fit_into_their_boxes(journey: Journey) -> None:
    for box in laid(journey).boxes:
        for line in box.lines:
            assert width(line, 12) <= box.w - 30


@EVERY
def test_every_step_is_in_the_picture_with_its_name_in_full(journey: Journey) -> None:
    root = ElementTree.fromstring(definition(journey))
    titles = [t.text or "" for t in root.iter(f"{SVG}title")]
    for step in journey.walk():
        assert any(t.startswith(f"{step.name} ({step.kind})") for t in titles)


@EVERY
def test_everything_is_on_the_paper(journey: Journey) -> None:
    root = ElementTree.fromstring(definition(journey))
    wide_, tall = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        assert x >= 0 and x + float(rect.attrib["width"]) <= wide_
        assert y >= 0 and y + float(rect.attrib["height"]) <= tall
    for points in root.iter(f"{SVG}path"):
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", points.attrib["d"]):
            assert 0 <= float(x) <= wide_ and 0 <= float(y) <= tall


def test_it_is_told_to_who_cannot_see_it() -> None:
    root = ElementTree.fromstring(definition(DISPUTE))
    assert root.attrib["role"] == "img"
    assert root[0].tag == f"{SVG}title" and root[0].text == "billing_dispute, version 2"
    assert root[1].tag == f"{SVG}desc" and "credit (call): billing.issue_credit" in (root[1].text or "")


def test_texts_are_escaped_and_nothing_is_fetched_or_run() -> None:
    told = definition(LONG_NAMES) + definition(EVERYTHING)
    assert "<with>" not in told and "&lt;with&gt;" in told
    assert not re.search(r"<script|<image|href|@import|url\(|\son\w+=", told)
    assert set(re.findall(r"https?://[^\"]+", told)) == {"http://www.w3.org/2000/svg"}


def test_the_same_journey_gives_the_same_picture() -> None:
    assert definition(EVERYTHING) == definition(EVERYTHING)


def test_two_hundred_steps_are_drawn_in_a_tenth_of_a_second() -> None:
    journey = wide(200)
    assert sum(1 for _ in journey.walk()) >= 200
    took = []
    for _ in range(5):
        began = time.perf_counter()
        definition(journey)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.1


def test_a_way_back_is_drawn_as_one() -> None:
    assert definition(EVERYTHING).count('class="way back"') == 1
    assert "back to each_document" in definition(EVERYTHING)
    assert definition(DEEP).count('class="way back"') == 1


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(palette: Palette) -> None:
    """At least 4.5:1, as WCAG 2.2 asks (1.4.3)."""
    papers = ("paper", "box", "chip", "tint0", "tint1", "body", "catch", *(n for n in palette if n.endswith("-fill")))
    pairs = [(ink, paper) for ink in ("ink", "muted") for paper in papers]
    pairs += [(s, f"{s}-fill") for s in ("done", "present", "stuck", "undone", "passed")]
    pairs += [(s, p) for s in ("done", "present", "stuck", "undone", "passed") for p in ("tint0", "tint1", "on")]
    low = {pair: contrast(palette[pair[0]], palette[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}


def contrast(a: str, b: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        r, g, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * blue

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_long_text_is_cut_and_says_so() -> None:
    assert fit("a_step_whose_name_goes_on", 80, 14, True).endswith("…")
    assert width(fit("a_step_whose_name_goes_on", 80, 14, True), 14, True) <= 80
    assert fit("short", 80, 14) == "short"


# a run's path ---------------------------------------------------------------------------------------


def classes(told: str) -> dict[str, set[str]]:
    """Name of each step -> the classes of its group."""
    found: dict[str, set[str]] = {}
    for group in ElementTree.fromstring(told).iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if (
            title is not None
            and (name := re.match(r"(\w+) \(\w+\)", title.text or ""))
            and "catch" not in group.attrib["class"]
        ):
            found[name[1]] = set(group.attrib["class"].split())
    return found


WAITING = RunState(
    status=RunStatus.WAITING,
    tokens=(
        Token(1, "book", wait=Wait(kind="fork")),
        Token(2, "credit", visit=2, wait=Wait(kind="call", request="req_1"), parent=1, branch="billing"),
    ),
    did=(Did("note_opened", "req_0", "cases.add_note"), Did("flag", "req_2", "crm.flag")),
    visits={"credit": 2},
)
WENT = [
    ("note_opened", "done", None),
    ("tell_customer", "done", None),
    ("size.large", "taken", None),
    ("judge", "waits", None),
    ("judge", "done", None),
    ("size", "done", None),
    ("flag", "waits", None),
    ("credit", "waits", None),
    ("flag", "done", None),
]


def test_a_path_shows_what_is_done_where_it_is_and_what_is_left() -> None:
    told = path(DISPUTE, WAITING, WENT)
    seen = classes(told)
    assert "done" in seen["note_opened"] and "done" in seen["flag"]
    assert "present" in seen["credit"]
    assert "inside" in seen["book"] and "inside" in seen["settle"]
    assert "plain" in seen["accept"] and "plain" in seen["by_hand"]
    assert "waits for billing.issue_credit" in told and "×2" in told
    assert "a run that is waiting" in told


def test_every_state_has_a_mark_and_words_beside_its_colour() -> None:
    state = RunState(
        status=RunStatus.STUCK,
        tokens=(Token(1, "pay_out", wait=Wait(kind="person", error="checkpoint")),),
        did=(Did("open_claim", "req_0", "claims.open", undone=True),),
    )
    told = path(EVERYTHING, state, [("sanctions", "done", None), ("count", "passed by", None)])
    seen = classes(told)
    expected = {"sanctions": "done", "count": "passed", "open_claim": "undone", "pay_out": "stuck"}
    root = ElementTree.fromstring(told)
    for name, how in expected.items():
        assert how in seen[name]
        group = next(g for g in root.iter(f"{SVG}g") if (g.findtext(f"{SVG}title") or "").startswith(f"{name} ("))
        assert group.find(f"{SVG}circle[@class='disc']") is not None
        assert group.find(f"{SVG}path") is not None
    for words in ("stuck: checkpoint", ">undone<", ">passed by<", "stuck or failed"):
        assert words in told


def test_the_way_a_run_took_is_told_from_the_others() -> None:
    root = ElementTree.fromstring(path(DISPUTE, WAITING, WENT))
    took = [p for p in root.iter(f"{SVG}path") if "took" in p.attrib["class"]]
    left = [p for p in root.iter(f"{SVG}path") if p.attrib["class"] == "way way"]
    assert len(took) >= 9
    assert left
    back = path(EVERYTHING, RunState(tokens=(Token(1, "ask_for_it", visit=2),)), BACK)
    assert 'class="way back took"' in back
    assert 'class="way back took"' not in path(EVERYTHING, RunState(tokens=(Token(1, "iban"),)), BACK[:-2])


BACK = [
    *((name, "done", None) for name in ("sanctions", "intake", "each_document", "both_reports", "assess")),
    ("which_way.more_documents", "taken", None),
    ("which_way", "done", None),
    ("each_document", "entered", None),
]


def test_steps_of_an_older_definition_do_not_break_the_picture() -> None:
    state = RunState(
        tokens=(Token(1, "gone"),), did=(Did("gone_too", "req_0", "a.b"),), error={"name": "x", "step": "gone"}
    )
    assert "billing_dispute" in path(DISPUTE, state, [("gone", "done", None), ("", "failed", None)])


def test_the_way_that_the_machine_itself_tells_is_drawn() -> None:
    program = Program.compile(DISPUTE, CelExpressions())
    now = datetime(2026, 11, 21, 10, tzinfo=UTC)
    run = Run("run_1", "t", DISPUTE.id, "r", now, {"dispute_id": "D-7", "amount": 120.0, "case_id": "c"}, customer="c1")
    went: list[tuple[str, str, datetime]] = []
    asked: dict[str, str] = {}
    tasks: dict[str, str] = {}

    def happens(event: Event) -> dict[str, set[str]]:
        nonlocal run
        advanced = advance(program, run, event, now)
        run = run.changed(state=advanced.state)
        went.extend((w.step, w.how, now) for w in advanced.went)
        asked.update({e.step: e.request for e in advanced.effects if isinstance(e, AskAction)})
        tasks.update({e.step: e.task for e in advanced.effects if isinstance(e, OpenTask)})
        return classes(path(DISPUTE, run.state, went))

    assert "present" in happens(Started())["note_opened"]
    happens(Settled(asked["note_opened"], "done", output={}))
    seen = happens(Settled(asked["tell_customer"], "done", output={}))
    assert "present" in seen["judge"] and "inside" in seen["size"] and "done" in seen["tell_customer"]
    seen = happens(Answered(tasks["judge"], {"approved": True}, "person:ada"))
    assert "done" in seen["size"] and "present" in seen["credit"] and "present" in seen["flag"]
    assert "inside" in seen["book"] and "inside" in seen["settle"]
    seen = happens(Settled(asked["credit"], "refused", reasons=("above the limit",)))
    assert "stuck" in seen["credit"] and "plain" in seen["let_it_book"]
    told = path(DISPUTE, run.state, went)
    assert "stuck: refused" in told
    root = ElementTree.fromstring(told)
    assert sum("took" in p.attrib["class"] for p in root.iter(f"{SVG}path")) >= 7
