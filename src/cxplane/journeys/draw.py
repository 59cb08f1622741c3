"""Pictures of journeys and of one run's path: SVG text of our own, read at a glance and without a script.

Colour never speaks alone: what a step's state is, is told by a mark and by words too. Texts are real texts; what is too
long is cut, and stands in full in the step's `<title>`. The same journey and run give the same picture, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from itertools import pairwise
from typing import NamedTuple

from cxplane.domain.journey import AskPerson, Checkpoint, Goal, HandOver, Journey, Step, Try
from cxplane.domain.run import RunState, RunStatus, Token
from cxplane.journeys.layout import PAD, Layout
from cxplane.journeys.shapes import NAME, SMALL, Box, Dot, Point, Sheet, Way, Word, fit, width, wrap
from cxplane.journeys.theme import LEGEND, style
from cxplane.journeys.words import about, caught, steps_by_name, waits

MARGIN, TOP = 28.0, 20.0
_SAID = {
    "done": "done",
    "present": "here now",
    "stuck": "stuck",
    "failed": "failed",
    "undone": "undone",
    "passed": "passed by",
    "inside": "under way",
    "plain": "not reached",
}


class Pace(NamedTuple):
    """One step of a run's way: where, how it was left (as in `domain.run.Went`), and when."""

    step: str
    how: str
    at: datetime | str | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a run did with a step."""

    state: str = "plain"
    note: str = ""
    times: int = 1


def definition(journey: Journey) -> str:
    """The whole journey, as an SVG document."""
    return _Picture(journey, None, ()).svg()


def path(journey: Journey, state: RunState, went: Sequence[tuple[str, str, datetime | str | None]]) -> str:
    """The journey with what a run did, where it is and what it waits for. `went`: (step, how, at), oldest first."""
    return _Picture(journey, state, [Pace(*pace) for pace in went]).svg()


# what a run did ---------------------------------------------------------------------------------------


def _above(steps: Iterable[Step], over: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """The steps around each step, outermost first."""
    found: dict[str, tuple[str, ...]] = {}
    for step in steps:
        found[step.name] = over
        for body in step.bodies().values():
            found |= _above(body, (*over, step.name))
    return found


def _seen(
    journey: Journey, state: RunState, went: Sequence[Pace], above: Mapping[str, tuple[str, ...]]
) -> dict[str, _Seen]:
    steps = steps_by_name(journey)
    last = {pace.step: pace.how for pace in went}
    times: dict[str, int] = dict(state.visits)
    undone = {did.step for did in state.did if did.undone} - {did.step for did in state.did if not did.undone}
    seen: dict[str, _Seen] = {}
    for name in steps:
        how = last.get(name, "done" if name in state.steps or name in state.passed else "")
        seen[name] = _Seen(*_ended(how, name in undone), times.get(name, 1))
    error = state.error or {}
    if state.status is RunStatus.FAILED and error.get("step") in steps:
        name = error["step"]
        seen[name] = _Seen("failed", f"failed: {error.get('name', 'an error')}", times.get(name, 1))
    for token in state.tokens:
        if token.at not in steps or token.lost:
            continue
        for name in (*above[token.at], *([token.at] if _forks(state, token) else ())):
            seen[name] = _Seen("inside", "", times.get(name, 1))
    for token in state.tokens:
        if token.at not in steps or token.lost or _forks(state, token):
            continue
        now, note = "present", waits(token.wait, steps[token.at]) if token.wait else "is here"
        if token.wait and token.wait.kind == "person":
            now = "stuck"
        if state.status is RunStatus.SUSPENDED:
            note = "suspended here"
        seen[token.at] = _Seen(now, note, max(token.visit, times.get(token.at, 1)))
    return seen


def _forks(state: RunState, token: Token) -> bool:
    """Whether it only waits for its branches."""
    return any(t.parent == token.id for t in state.tokens) or (token.wait is not None and token.wait.kind == "fork")


def _ended(how: str, undone: bool) -> tuple[str, str]:
    if undone or how == "undone":
        return "undone", "undone"
    if how in ("passed by", "skipped"):
        return "passed", how
    if how == "failed":
        return "failed", "failed"
    if how in ("", "moved", "migrated"):
        return "plain", ""
    return "done", ""


# the picture ------------------------------------------------------------------------------------------


class _Picture:
    def __init__(self, journey: Journey, state: RunState | None, went: Sequence[Pace]) -> None:
        self._journey, self._state, self._went = journey, state, went
        self._above = _above(journey.steps)
        self._seen = _seen(journey, state, went, self._above) if state else {}
        self._reached, self._follows = self._trail()
        self._cases = Counter(pace.step for pace in went if pace.how == "taken")  # "SWITCH.CASE"
        self._chosen = Counter(case.partition(".")[0] for case in self._cases.elements())
        self._left = Counter(pace.step for pace in went if pace.how == "done")

    def _trail(self) -> tuple[set[str], set[tuple[str, str]]]:
        """The steps a run has been in, and which followed which."""
        reached = {name for name, seen in self._seen.items() if seen.state != "plain"}
        for name in list(reached):
            reached.update(self._above[name])
        for step in self._journey.walk():
            if isinstance(step, Try) and self._state:
                inside = any(s.name in reached for s in step.catch)
                if inside or any(p.step == step.name and p.how == "retried" for p in self._went):
                    reached.add(f"{step.name}!")
        follows: set[tuple[str, str]] = set()
        names = [pace.step for pace in self._went if pace.step in self._above]
        names += [t.at for t in self._state.tokens if t.at in self._above] if self._state else []
        for before, after in pairwise(names):
            follows |= {(source, after) for source in (before, *self._above[before])}
        return reached, follows

    def _took(self, way: Way) -> bool:
        """Whether the run came this way."""
        if not self._state or not all(name in self._reached for name in (*way.through, *way.over)):
            return False
        if any(self._seen[name].state in ("present", "stuck", "failed", "inside") for name in way.over):
            return False
        if not way.step:
            return True
        source, _, case = way.step.partition(">")
        if source in self._chosen and (case or way.kind == "way"):
            held = self._cases[f"{source}.{case}"] > 0 if case else self._left[source] > self._chosen[source]
            return held and (way.kind == "way" or self._went_on(way))
        if way.kind != "way":
            return self._went_on(way)
        return bool(way.through[1:]) or (
            self._seen[source].state == "done"
            and not any(source in self._above.get(name, ()) for name in self._reached)
        )

    def _went_on(self, way: Way) -> bool:
        """Whether the run went where a `then` leads: to another step, or to the end."""
        if len(way.through) > 1:
            return way.through in self._follows
        steps = [pace.step for pace in self._went if pace.step in self._above]
        over = self._state is not None and self._state.status is RunStatus.DONE
        return over and bool(steps) and steps[-1] == way.through[0]

    def svg(self) -> str:
        journey = self._journey
        notes = {name: seen.note for name, seen in self._seen.items() if seen.note}
        column = Layout(notes).column(journey.steps)
        sheet = Sheet()
        left, right = max(column.left, 230.0), max(column.right, 230.0)
        title = f"{journey.id}, version {journey.version}"
        if self._state:
            title += f": a run that is {self._state.status.value}"
        room = left + right
        summary = wrap(journey.summary, room, SMALL + 1, 2)
        x = MARGIN + left
        y = TOP + 34 + 18 * len(summary) + 18
        begin = y
        sheet.dots.append(Dot(x, begin, "start"))
        first = y + 36
        sheet.ways.append(Way(((x, begin + 9), (x, first)), column.first))
        column.put(sheet, x, first)
        y = first + column.height
        if column.flows:
            sheet.ways.append(Way(((x, y), (x, y + 28)), over=column.last))
            sheet.dots.append(Dot(x, y + 40, "end"))
            y += 54
        legend, tall = self._legend(MARGIN, y + 26, room) if self._state else ([], 0.0)
        y += MARGIN + tall
        wide = room + 2 * MARGIN
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" class="cxplane" lang="en" viewBox="0 0 {_n(wide)} {_n(y)}"'
            f' width="{_n(wide)}" height="{_n(y)}" aria-labelledby="cx-title cx-desc">',
            f'<title id="cx-title">{escape(title)}</title>',
            f'<desc id="cx-desc">{escape(self._desc())}</desc>',
            f"<style>{style()}</style>",
            f'<rect class="paper" width="{_n(wide)}" height="{_n(y)}"/>',
            _text(MARGIN, TOP + 18, fit(title, room, 17, True), "head"),
            *(_text(MARGIN, TOP + 42 + 18 * n, line, "sum") for n, line in enumerate(summary)),
        ]
        if journey.start:
            signals = "on demand, or on " + " or ".join(dict.fromkeys(s.signal for s in journey.start))
            out.append(_text(x + 18, begin + 4, fit(signals, right - 20, SMALL), "muted"))
        frames = [box for box in sheet.boxes if box.shape in ("frame", "catch", "body")]
        out += [self._box(box) for box in frames]
        ways = [(way, self._took(way)) for way in sheet.ways]
        out += [_way(way, took) for way, took in sorted(ways, key=lambda w: (w[1], w[0].kind != "way"))]
        out += [
            f'<rect class="bar" x="{_n(b.x)}" y="{_n(b.y)}" width="{_n(b.w)}" height="6" rx="3"/>' for b in sheet.bars
        ]
        out += [_word(word) for word in sheet.words]
        out += [self._box(box) for box in sheet.boxes if box.shape in ("box", "choice")]
        out += [_dot(dot) for dot in sheet.dots]
        return "\n".join([*out, *legend, "</svg>"]) + "\n"

    def _desc(self) -> str:
        said = [self._journey.summary] if self._journey.summary else []
        for step in self._journey.walk():
            line = f"{step.name} ({step.kind}): {about(step)}"
            if seen := self._seen.get(step.name):
                times = f", {seen.times} times" if seen.times > 1 else ""
                line += f" [{seen.note or _SAID[seen.state]}{times}]"
            said.append(line)
        return ". ".join(said)

    def _full(self, step: Step) -> str:
        said = [f"{step.name} ({step.kind})", step.summary, about(step)]
        if isinstance(step, Try):
            takes, does = caught(step)
            said.append(f"catch {takes}" + (f": {does}" if does else ""))
        if step.when is not None:
            said.append(f"only if {step.when}")
        if step.then is not None:
            said.append(f"then {step.then}")
        if seen := self._seen.get(step.name):
            said.append(seen.note or _SAID[seen.state])
        return "\n".join(text for text in said if text)

    def _box(self, box: Box) -> str:
        step = box.step
        if box.shape == "body":
            return (
                f'<rect class="body" x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.w)}" height="{_n(box.h)}" rx="8"/>'
            )
        seen = self._seen.get(step.name, _Seen()) if box.shape != "catch" else _Seen()
        kind = "people" if isinstance(step, (AskPerson, HandOver)) else ""
        kind = "watch" if isinstance(step, (Goal, Checkpoint)) else kind
        classes = " ".join(c for c in (box.shape, kind, seen.state if self._state else "") if c)
        choice = box.shape == "choice"
        inset = 20 if choice else 0
        name, word = (step.name, step.kind) if box.shape != "catch" else ("if it fails", "catch")
        chip = width(word, SMALL - 1) + 14
        room = box.w - 2 * PAD - chip - 8 - 2 * inset
        at = box.x + PAD + inset
        out = [f'<g class="{classes}">', f"<title>{escape(self._full(step))}</title>", _outline(box)]
        if kind or (box.shape == "box" and not choice):
            out.append(
                f'<rect class="edge" x="{_n(box.x + 7)}" y="{_n(box.y + 11)}" width="4" height="{_n(box.h - 22)}" rx="2"/>'
            )
        out.append(_text(at, box.y + 25, fit(name, room, NAME, True), "name"))
        right = (
            box.x + box.w - PAD + 6 - inset
            if box.shape != "frame"
            else at + width(fit(name, room, NAME, True), NAME, True) + 8 + chip
        )
        out.append(
            f'<rect class="chip" x="{_n(right - chip)}" y="{_n(box.y + 11)}" width="{_n(chip)}" height="18" rx="9"/>'
        )
        out.append(_text(right - chip / 2, box.y + 24, word, "word", "middle"))
        y = box.y + 45
        for line in box.lines:
            out.append(_text(at, y, line, "line"))
            y += 17
        for line in box.note:
            out.append(_text(at, y, line, "note"))
            y += 17
        if self._state and seen.state not in ("plain", "inside"):
            out.append(_badge(seen.state, box.x + (4 if not choice else 14), box.y + 2))
        if seen.times > 1:
            label = f"×{seen.times}"
            w = width(label, SMALL, True) + 12
            out.append(
                f'<rect class="count" x="{_n(box.x + box.w - w - 10)}" y="{_n(box.y - 12)}" width="{_n(w)}" height="18" rx="9"/>'
            )
            out.append(_text(box.x + box.w - w / 2 - 10, box.y + 1, label, "times", "middle"))
        return "".join([*out, "</g>"])

    def _legend(self, x: float, y: float, room: float) -> tuple[list[str], float]:
        out, at, down = [], x, y + 14
        for state, words in LEGEND:
            w = width(words, SMALL) + 40
            if at > x and at + w > x + room:
                at, down = x, down + 26
            out.append(f'<g class="{state}">{_badge(state, at + 9, down)}</g>')
            out.append(_text(at + 24, down + 4, words, "muted"))
            at += w
        return out, down - y + 20


# shapes -----------------------------------------------------------------------------------------------


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, text: str, kind: str, anchor: str = "") -> str:
    anchor = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}"{anchor}>{escape(text)}</text>'


def _outline(box: Box) -> str:
    x, y, w, h = box.x, box.y, box.w, box.h
    if box.shape == "choice":
        tip = 22.0
        points = (
            (x + tip, y),
            (x + w - tip, y),
            (x + w, y + h / 2),
            (x + w - tip, y + h),
            (x + tip, y + h),
            (x, y + h / 2),
        )
        listed = " ".join(f"{_n(a)},{_n(b)}" for a, b in points)
        return f'<polygon class="shape" points="{listed}"/>'
    tint = f" tint{box.depth % 2}" if box.shape == "frame" else ""
    return f'<rect class="shape{tint}" x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" rx="10"/>'


def _way(way: Way, took: bool) -> str:
    points = [p for n, p in enumerate(way.points) if n == 0 or p != way.points[n - 1]]
    if len(points) < 2:
        return ""
    drawn = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        near, far = _towards(corner, before), _towards(corner, after)
        drawn.append(f"L{_n(near[0])} {_n(near[1])}Q{_n(corner[0])} {_n(corner[1])} {_n(far[0])} {_n(far[1])}")
    drawn.append(f"L{_n(points[-1][0])} {_n(points[-1][1])}")
    kind = f"{way.kind} took" if took else way.kind
    line = f'<path class="way {kind}" d="{"".join(drawn)}"/>'
    return line + (_head(points[-2], points[-1], kind) if way.arrow else "")


def _towards(corner: Point, other: Point, by: float = 8.0) -> Point:
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    far = max(abs(dx), abs(dy)) or 1.0
    by = min(by, far / 2)
    return corner[0] + dx / far * by, corner[1] + dy / far * by


def _head(before: Point, tip: Point, kind: str) -> str:
    dx, dy = tip[0] - before[0], tip[1] - before[1]
    far = (dx * dx + dy * dy) ** 0.5 or 1.0
    ux, uy = dx / far, dy / far
    a = (tip[0] - 9 * ux + 5 * uy, tip[1] - 9 * uy - 5 * ux)
    b = (tip[0] - 9 * ux - 5 * uy, tip[1] - 9 * uy + 5 * ux)
    listed = " ".join(f"{_n(p)},{_n(q)}" for p, q in (tip, a, b))
    return f'<polygon class="tip {kind}" points="{listed}"/>'


def _word(word: Word) -> str:
    full = f"<title>{escape(word.full)}</title>" if word.full else ""
    w = word.w or width(word.text, SMALL, word.kind == "case") + 14
    back = f'<rect class="under" x="{_n(word.x - w / 2)}" y="{_n(word.y - 11)}" width="{_n(w)}" height="22" rx="11"/>'
    return f'<g class="on-way {word.kind}">{full}{back if word.kind != "error" else ""}{_text(word.x, word.y + 4, word.text, "say", "middle")}</g>'


def _dot(dot: Dot) -> str:
    at = f'cx="{_n(dot.x)}" cy="{_n(dot.y)}"'
    if dot.kind == "start":
        return f'<g class="dot"><title>It begins here</title><circle class="full" {at} r="9"/></g>'
    return f'<g class="dot"><title>It ends here</title><circle class="ring" {at} r="10"/><circle class="full" {at} r="5"/></g>'


def _badge(state: str, x: float, y: float) -> str:
    """The mark of a state: a tick, a cross, a dot, an arrow back or a dash in a disc."""
    a, b = _n(x), _n(y)
    marks = {
        "done": f'<path class="mark" d="M{_n(x - 4.5)} {_n(y + 0.5)}l3 3.5l6 -7"/>',
        "present": f'<path class="fill" d="M{_n(x - 3)} {_n(y - 4.5)}l7.5 4.5l-7.5 4.5z"/>',
        "undone": f'<path class="mark" d="M{_n(x - 1)} {_n(y - 5)}l-3.5 3l3.5 3M{_n(x - 4)} {_n(y - 2)}h4.5a3 3 0 0 1 0 6.5h-3"/>',
        "passed": f'<path class="mark" d="M{_n(x - 4)} {b}h8"/>',
    }
    cross = f'<path class="mark" d="M{_n(x - 3.5)} {_n(y - 3.5)}l7 7m0 -7l-7 7"/>'
    return f'<circle class="disc" cx="{a}" cy="{b}" r="9.5"/>{marks.get(state, cross)}'
