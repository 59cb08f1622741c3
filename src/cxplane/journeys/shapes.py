"""What a journey's picture is made of: shapes with coordinates in pixels, and texts cut to fit. No colours, no markup."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from cxplane.domain.journey import Step

NAME, SMALL, LINE = 14.0, 12.0, 17.0  # sizes of type, height of a line
_EM = {
    c: em
    for em, chars in ((0.33, "iIljJ.,:;'|! "), (0.42, "ftr()[]-/"), (0.57, 'ckszvxy_"'), (0.96, "mMwW@%"))
    for c in chars
}


Point = tuple[float, float]


@lru_cache(maxsize=8192)
def width(text: str, size: float, bold: bool = False) -> float:
    """How wide the text is at most, in the wider of the common sans-serif faces."""
    em = sum(_EM.get(c) or (0.72 if c.isupper() else 0.64) for c in text)
    return em * size * (1.1 if bold else 1.0)


def fit(text: str, room: float, size: float, bold: bool = False) -> str:
    """The text, or its beginning and an ellipsis."""
    if width(text, size, bold) <= room:
        return text
    room -= size
    while text and width(text, size, bold) > room:
        text = text[:-1]
    return text.rstrip(" _.,") + "…"


def wrap(text: str, room: float, size: float, lines: int) -> list[str]:
    """At most so many lines; what is too long for them ends in an ellipsis."""
    told: list[str] = []
    words = text.split()
    while words and len(told) < lines:
        line = words.pop(0)
        while words and width(f"{line} {words[0]}", size) <= room:
            line += f" {words.pop(0)}"
        told.append(line)
    if words:
        told[-1] = f"{told[-1]} {' '.join(words)}"
    return [fit(line, room, size) for line in told]


@dataclass(frozen=True, slots=True)
class Box:
    """A step. `shape`: box | choice (a switch) | frame (with what is inside) | catch | body (of a try)."""

    x: float
    y: float
    w: float
    h: float
    shape: str
    step: Step
    lines: tuple[str, ...] = ()  # below the name, already cut to fit
    note: tuple[str, ...] = ()  # lines again: what a run does here
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """An arrow or line. A run that came this way has been in the steps `through`, and is done with those `over`.

    `kind`: way | on | back | error.
    """

    points: tuple[Point, ...]
    through: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    kind: str = "way"
    arrow: bool = True
    step: str = ""  # "STEP>CASE": the way of a `then`, or of a case without steps


@dataclass(frozen=True, slots=True)
class Word:
    """Text in the middle of (x, y), on an arrow. `full` where `text` was cut."""

    x: float
    y: float
    text: str
    kind: str = "label"  # label | pill
    full: str = ""
    w: float = 0.0


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    w: float


@dataclass(frozen=True, slots=True)
class Dot:
    """Where it begins or ends."""

    x: float
    y: float
    kind: str  # start | end


@dataclass(slots=True)
class Sheet:
    boxes: list[Box] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
