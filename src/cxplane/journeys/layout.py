"""Where everything of a journey's picture stands.

Every list of steps is a column along one axis; what has parts (a switch, a fork, a try) is a block of columns side by
side. A block is measured first and put second, so parts never overlap. Ways that leave the column (`then`) run in lanes
beside it: backwards on the left, forwards on the right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cxplane.domain.journey import Case, Do, For, Fork, Raise, Step, Switch, Try
from cxplane.journeys.shapes import LINE, SMALL, Bar, Box, Dot, Point, Sheet, Way, Word, fit, wrap
from cxplane.journeys.words import about, caught

WIDE, PAD, GAP, BESIDE, LANE = 280.0, 18.0, 34.0, 30.0, 16.0
LABEL, PILL, BETWEEN, IN, OUT = 156.0, 180.0, 64.0, 26.0, 24.0
Ports = dict[str, Point]  # "" or the name of a case -> where the way to its `then` begins


@dataclass(frozen=True, slots=True)
class Block:
    """Something measured. `put(sheet, x, y)` draws it with its axis at x and its top at y.

    `entry`: how far down a way from beside comes in, and how far left and right of the axis. `first`, `last`: the steps
    that a run has been in if it came in at the top, or left at the bottom.
    """

    left: float
    right: float
    height: float
    put: Callable[[Sheet, float, float], Ports]
    flows: bool = True  # whether one goes on below it
    entry: tuple[float, float, float] = (22.0, WIDE / 2, WIDE / 2)
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Jump:
    """A `then` within a list: from its n-th step (of a switch: from this case) to another. `side`: -1 back, 1 on."""

    start: int
    case: str
    end: int
    lane: int = 0

    @property
    def side(self) -> int:
        return -1 if self.end <= self.start else 1


class Layout:
    """`notes`: what else to say in a step (name -> text), for a run."""

    def __init__(self, notes: Mapping[str, str] | None = None) -> None:
        self._notes = notes or {}

    # lists ------------------------------------------------------------------------------------------

    def column(self, steps: Sequence[Step], depth: int = 0) -> Block:
        index = {step.name: n for n, step in enumerate(steps)}
        jumps = _in_lanes(
            [_Jump(n, "", index[s.then]) for n, s in enumerate(steps) if s.then in index]
            + [
                _Jump(n, case.name, index[case.then])
                for n, s in enumerate(steps)
                if isinstance(s, Switch)
                for case in s.cases
                if case.then in index
            ]
        )
        back = {(j.start, j.case) for j in jumps if j.side < 0}
        aimed = {j.end for j in jumps if j.side > 0}
        blocks = [self._block(s, depth, {c for a, c in back if a == n}, n in aimed) for n, s in enumerate(steps)]
        tops: list[float] = []
        y = 0.0
        for n, block in enumerate(blocks):
            if n and steps[n - 1].then in index:
                y += GAP + 22  # room for the way out, or for "if not"
            elif n:
                y += GAP
            tops.append(y)
            y += block.height
        left = max((b.left for b in blocks), default=0.0)
        right = max((b.right for b in blocks), default=0.0)
        lanes = {
            side: max((14 + LANE * (j.lane + 1) for j in jumps if j.side == side), default=0.0) for side in (-1, 1)
        }

        def put(sheet: Sheet, x: float, top: float) -> Ports:
            ports = [block.put(sheet, x, top + at) for block, at in zip(blocks, tops, strict=True)]
            for n in range(1, len(blocks)):
                if blocks[n - 1].flows:
                    low = top + tops[n - 1] + blocks[n - 1].height
                    sheet.ways.append(Way(((x, low), (x, top + tops[n])), blocks[n].first, blocks[n - 1].last))
                    if steps[n - 1].when is not None and steps[n - 1].then is not None:
                        sheet.words.append(Word(x, (low + top + tops[n]) / 2 - 3, "if not"))
            for j in jumps:
                source, (px, py) = steps[j.start], ports[j.start][j.case]
                inside = not j.case and not source.bodies()
                start = (px + j.side * WIDE / 2, py) if inside else (px, py)
                lane = x + j.side * ((left if j.side < 0 else right) + 14 + LANE * j.lane)
                dy, *halves = blocks[j.end].entry
                end = (x + j.side * halves[j.side > 0], top + tops[j.end] + dy)
                turn = [(px, py + 20)] if source.bodies() and not j.case else []
                points = (start, *turn, (lane, turn[0][1] if turn else py), (lane, end[1]), end)
                kind = "back" if j.side < 0 else "on"
                sheet.ways.append(
                    Way(points, (source.name, steps[j.end].name), kind=kind, step=f"{source.name}>{j.case}")
                )
            return {}

        return Block(
            left + lanes[-1],
            right + lanes[1],
            y,
            put,
            flows=blocks[-1].flows if blocks else True,
            first=blocks[0].first if blocks else (),
            last=blocks[-1].last if blocks else (),
        )

    def _block(self, step: Step, depth: int, back: set[str], aimed: bool) -> Block:
        """`back`: the cases that lead backwards. `aimed`: a way comes in from the right, where else its end would be."""
        match step:
            case Switch():
                made = self._switch(step, depth, back)
            case Fork():
                made = self._fork(step, depth)
            case Try():
                made = self._try(step, depth)
            case Do() | For():
                made = self._frame(step, depth)
            case _ if step.then != "end" or not aimed:
                return self._leaf(step)
            case _:
                made = self._leaf(step, aside=False)
        return made if step.then is None else _leaving(made, step)

    # one step ---------------------------------------------------------------------------------------

    def _box(self, step: Step, x: float, y: float, w: float, h: float, shape: str, depth: int = 0) -> Box:
        return Box(x, y, w, h, shape, step, *self._said(step, w - 2 * PAD), depth)

    def _said(self, step: Step, room: float = WIDE - 2 * PAD) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The lines below the name, and those of the note."""
        room -= 40 if isinstance(step, Switch) else 0
        said = [step.summary] if step.summary else []
        if not (said and isinstance(step, (Do, Switch, Try))):  # there, it only says what one sees
            said.append(about(step))
        if step.when is not None:
            said.append(f"only if {step.when}")
        lines = tuple(line for text in said for line in wrap(text, room, SMALL, 2))
        return lines, tuple(wrap(self._notes.get(step.name, ""), room / 1.1, SMALL, 2))

    def _tall(self, step: Step, room: float = WIDE - 2 * PAD) -> float:
        lines, note = self._said(step, room)
        return 38 + LINE * (len(lines) + len(note))

    def _leaf(self, step: Step, aside: bool = True) -> Block:
        tall, half = self._tall(step), WIDE / 2
        ends = step.then == "end" and aside

        def put(sheet: Sheet, x: float, y: float) -> Ports:
            sheet.boxes.append(self._box(step, x - half, y, WIDE, tall, "box"))
            if ends:
                way = ((x + half, y + tall / 2), (x + half + 26, y + tall / 2))
                sheet.ways.append(Way(way, (step.name,), kind="on", step=f"{step.name}>"))
                sheet.dots.append(Dot(x + half + 38, y + tall / 2, "end"))
            return {"": (x, y + tall - 16)}

        stops = isinstance(step, Raise) or step.then is not None
        right = half + (54 if ends else 0)
        here = (step.name,)
        return Block(half, right, tall, put, not stops or step.when is not None, first=here, last=here)

    # blocks -----------------------------------------------------------------------------------------

    def _frame(self, step: Do | For, depth: int) -> Block:
        inner = self.column(step.steps, depth + 1)
        left, right = max(inner.left, WIDE / 2) + PAD, max(inner.right, WIDE / 2) + PAD
        head = self._tall(step, left + right - 2 * PAD)
        tall = head + IN + inner.height + OUT
        low = tall - OUT

        def put(sheet: Sheet, x: float, y: float) -> Ports:
            sheet.boxes.append(self._box(step, x - left, y, left + right, tall, "frame", depth))
            if step.steps:
                sheet.ways.append(Way(((x, y + head), (x, y + head + IN)), (step.name, *inner.first)))
            inner.put(sheet, x, y + head + IN)
            if step.steps and inner.flows:
                sheet.ways.append(Way(((x, y + low), (x, y + tall)), over=inner.last, arrow=False))
            return {"": (x, y + tall)}

        here = (step.name,)
        return Block(left, right, tall, put, entry=(22, left, right), first=here, last=here)

    def _switch(self, step: Switch, depth: int, back: set[str]) -> Block:
        """The choice, and its cases side by side: those that lead back on the left, those that lead elsewhere on the right."""

        def place(case: Case | None) -> int:
            if case is None:
                return 1
            return 0 if case.name in back else 2 if case.then else 1

        cases: list[Case | None] = sorted(step.cases, key=place)
        if all(case.when is not None for case in step.cases):
            cases.insert(sum(case is not None and place(case) < 2 for case in cases), None)  # no case holds
        head = self._tall(step) + 6
        columns = [self.column(case.steps if case else (), depth) for case in cases]
        words = ["otherwise" if case is None else case.name for case in cases]
        pills = [
            f"{'back' if c.name in back else 'on'} to {c.then}" if c and c.then and c.then != "end" else ""
            for c in cases
        ]
        halves = [
            (max(c.left, LABEL / 2, PILL / 2 if p else 0), max(c.right, LABEL / 2, PILL / 2 if p else 0))
            for c, p in zip(columns, pills, strict=True)
        ]
        places, left, right = _beside(halves, WIDE / 2 + 4)
        fan = head + 18
        body = fan + 48
        lows = [
            body + c.height + (IN if c.height and case and case.then else 0)
            for c, case in zip(columns, cases, strict=True)
        ]
        for order in (range(len(cases)), reversed(range(len(cases)))):  # an inner way out goes below the outer ones
            floor = 0.0
            for n in order:
                case = cases[n]
                if case and case.then and (case.name in back) == isinstance(order, range):
                    lows[n] = max(lows[n], floor)
                    floor = lows[n] + 36
        flows = [c.flows and not (case and case.then) for c, case in zip(columns, cases, strict=True)]
        tall = max(low + (40 if case and case.then else 0) for low, case in zip(lows, cases, strict=True)) + 18

        def put(sheet: Sheet, x: float, y: float) -> Ports:
            sheet.boxes.append(self._box(step, x - WIDE / 2, y, WIDE, head, "choice"))
            ports: Ports = {"": (x, y + tall)}
            for n, (case, column, at) in enumerate(zip(cases, columns, places, strict=True)):
                cx, name = x + at, f"{step.name}>{case.name if case else ''}"
                low, leaves = y + lows[n], bool(case and case.then)
                start: tuple[Point, ...] = ((x, y + head), (x, y + fan), (cx, y + fan))
                end = y + body if column.height else low if leaves else y + tall
                last = () if column.height or leaves else ((x, y + tall),)
                took = (step.name, *column.first)
                sheet.ways.append(Way((*start, (cx, end), *last), took, arrow=not last, step=name))
                full = f"{case.name}: {case.when or 'otherwise'}" if case else "no case holds"
                word = fit(words[n], LABEL - 16, SMALL, True)
                sheet.words.append(Word(cx, y + fan + 20, word, "case" if case else "label", full))
                column.put(sheet, cx, y + body)
                if column.height and leaves and column.flows:
                    sheet.ways.append(Way(((cx, y + body + column.height), (cx, low)), over=column.last))
                elif column.height and flows[n]:
                    path = ((cx, y + body + column.height), (cx, y + tall), (x, y + tall))
                    sheet.ways.append(Way(path, over=column.last, arrow=False))
                if case and case.then == "end":
                    sheet.dots.append(Dot(cx, low + 12, "end"))
                elif case and leaves:
                    side = -1 if case.name in back else 1
                    sheet.words.append(Word(cx, low + 13, fit(pills[n], PILL - 16, SMALL), "pill", pills[n], PILL))
                    ports[case.name] = (cx + side * PILL / 2, low + 13)
            return ports

        here = (step.name,)
        return Block(left, right, tall, put, any(flows), first=here, last=here)

    def _fork(self, step: Fork, depth: int) -> Block:
        columns = [self.column(b.steps, depth) for b in step.branches]
        halves = [(max(c.left, LABEL / 2), max(c.right, LABEL / 2)) for c in columns]
        places, left, right = _beside(halves, WIDE / 2)
        head = self._tall(step)
        split = head + 16
        body = split + 50
        join = body + max((c.height for c in columns), default=0.0) + 22
        tall = join + 6
        bar = (places[0] - 40, places[-1] + 40) if len(places) > 1 else (-60.0, 60.0)

        def put(sheet: Sheet, x: float, y: float) -> Ports:
            sheet.boxes.append(self._box(step, x - WIDE / 2, y, WIDE, head, "box"))
            sheet.ways.append(Way(((x, y + head), (x, y + split)), (step.name,), arrow=False))
            for at in (split, join):
                sheet.bars.append(Bar(x + bar[0], y + at, bar[1] - bar[0]))
            for branch, column, at in zip(step.branches, columns, places, strict=True):
                cx = x + at
                sheet.ways.append(Way(((cx, y + split + 6), (cx, y + body)), (step.name, *column.first)))
                word = fit(branch.name, LABEL - 16, SMALL, True)
                sheet.words.append(Word(cx, y + split + 24, word, "case", branch.name))
                column.put(sheet, cx, y + body)
                if column.flows:
                    sheet.ways.append(Way(((cx, y + body + column.height), (cx, y + join)), over=column.last))
            return {"": (x, y + tall)}

        here = (step.name,)
        return Block(left, right, tall, put, first=here, last=here)

    def _try(self, step: Try, depth: int) -> Block:
        """What is tried in a box on the axis, what catches its errors to the right of it."""
        tried, catch = self.column(step.steps, depth + 1), self.column(step.catch, depth + 1)
        takes, does = caught(step)
        room = max(catch.left, WIDE / 2) + max(catch.right, WIDE / 2)
        says = [line for text in (takes, does) for line in wrap(text, room, SMALL, 3)]
        catch_head = 38 + LINE * len(says)
        left, right = max(tried.left, WIDE / 2) + PAD, max(tried.right, WIDE / 2) + PAD
        c_left, c_right = max(catch.left, WIDE / 2) + PAD, max(catch.right, WIDE / 2) + PAD
        cx = right + BETWEEN + c_left
        wide = left + PAD + cx + c_right + PAD
        head = self._tall(step, wide - 2 * PAD)
        body = IN + tried.height + OUT
        c_body = catch_head + (IN + catch.height + OUT if step.catch else 0)
        joins = catch.flows
        tall = head + max(body, c_body) + PAD + (8 if joins else 0)

        def put(sheet: Sheet, x: float, y: float) -> Ports:
            sheet.boxes.append(self._box(step, x - left - PAD, y, wide, tall, "frame", depth))
            sheet.boxes.append(Box(x - left, y + head, left + right, body, "body", step, depth=depth + 1))
            area = (x + cx - c_left, y + head, c_left + c_right, c_body)
            sheet.boxes.append(Box(*area, "catch", step, tuple(says), depth=depth + 1))
            way = ((x + right, y + head + 28), (x + cx - c_left, y + head + 28))
            sheet.ways.append(Way(way, (step.name, f"{step.name}!"), kind="error"))
            sheet.words.append(Word(x + right + BETWEEN / 2 - 3, y + head + 16, "error", "error"))
            if step.steps:
                sheet.ways.append(Way(((x, y + head), (x, y + head + IN)), (step.name, *tried.first)))
            tried.put(sheet, x, y + head + IN)
            if step.steps and tried.flows:
                start = y + head + body - OUT
                sheet.ways.append(Way(((x, start), (x, y + tall)), over=tried.last, arrow=False))
            if step.catch:
                top = y + head + catch_head
                sheet.ways.append(Way(((x + cx, top), (x + cx, top + IN)), (f"{step.name}!", *catch.first)))
                catch.put(sheet, x + cx, top + IN)
            if joins:
                start = y + head + c_body - (OUT if step.catch else 0)
                low = y + tall - 8
                way_out = ((x + cx, start), (x + cx, low), (x, low))
                sheet.ways.append(Way(way_out, (f"{step.name}!",), catch.last, arrow=False))
            return {"": (x, y + tall)}

        here = (step.name,)
        out = (left + PAD, cx + c_right + PAD)
        return Block(*out, tall, put, tried.flows or joins, entry=(22, *out), first=here, last=here)


def _beside(halves: Sequence[tuple[float, float]], least: float) -> tuple[list[float], float, float]:
    """Where the axes of columns side by side are, from their middle, and how far it all reaches left and right of that."""
    axes: list[float] = []
    edge = 0.0
    for left, right in halves:
        axes.append(edge + left)
        edge += left + right + BESIDE
    edge -= BESIDE
    if not axes:
        return [], least, least
    middle = axes[len(axes) // 2] if len(axes) % 2 else (axes[0] + axes[-1]) / 2
    return [a - middle for a in axes], max(middle, least), max(edge - middle, least)


def _in_lanes(jumps: Sequence[_Jump]) -> list[_Jump]:
    """Short ways in the lanes close by, long ones further out; two that overlap never share one."""
    taken: list[_Jump] = []
    for jump in sorted(jumps, key=lambda j: (abs(j.end - j.start), j.start, j.case)):
        low, high = sorted((jump.start, jump.end))
        used = {
            j.lane for j in taken if j.side == jump.side and min(j.start, j.end) <= high and max(j.start, j.end) >= low
        }
        taken.append(replace(jump, lane=next(n for n in range(len(jumps)) if n not in used)))
    return taken


def _leaving(block: Block, step: Step) -> Block:
    """A block whose `then` leads elsewhere: nothing goes on below it, unless it may be passed by."""
    if step.then != "end":
        return replace(block, flows=step.when is not None)

    def put(sheet: Sheet, x: float, y: float) -> Ports:
        ports = block.put(sheet, x, y)
        low = y + block.height
        way = ((x, low), (x, low + 14), (x + 30, low + 14))
        sheet.ways.append(Way(way, (step.name,), kind="on", step=f"{step.name}>"))
        sheet.dots.append(Dot(x + 42, low + 14, "end"))
        return ports

    return replace(block, height=block.height + 28, put=put, flows=step.when is not None)
