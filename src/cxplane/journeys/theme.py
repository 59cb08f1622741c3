"""The colours of a journey's picture, light and dark, and what they stand for."""

from __future__ import annotations

from collections.abc import Mapping

Palette = Mapping[str, str]

LIGHT: Palette = {
    "paper": "#ffffff",
    "ink": "#17202c",
    "muted": "#4b5868",
    "box": "#ffffff",
    "rim": "#6f7d90",
    "way": "#6f7d90",
    "chip": "#e3e8ef",
    "tint0": "#f5f7fa",
    "tint1": "#eef2f7",
    "body": "#ffffff",
    "catch": "#fdf3ef",
    "catch-rim": "#b4694a",
    "edge": "#4272b8",
    "people": "#7a46b5",
    "watch": "#0f766e",
    "done": "#14662c",
    "done-fill": "#edf8f0",
    "present": "#0b50c2",
    "present-fill": "#e6f0fe",
    "stuck": "#b3231d",
    "stuck-fill": "#fdecea",
    "undone": "#8a4500",
    "undone-fill": "#fff3e3",
    "passed": "#5b6674",
    "passed-fill": "#f6f7f9",
    "on": "#ffffff",
}
DARK: Palette = {
    "paper": "#11161d",
    "ink": "#e8edf3",
    "muted": "#b3becb",
    "box": "#1b222c",
    "rim": "#7f8da1",
    "way": "#8b99ac",
    "chip": "#2b3440",
    "tint0": "#171d26",
    "tint1": "#1e2530",
    "body": "#11161d",
    "catch": "#2a1d19",
    "catch-rim": "#c98467",
    "edge": "#7fa8e6",
    "people": "#c39bf0",
    "watch": "#5cc4b8",
    "done": "#6fd08c",
    "done-fill": "#14271a",
    "present": "#8bb8ff",
    "present-fill": "#14243d",
    "stuck": "#ff9a92",
    "stuck-fill": "#33191a",
    "undone": "#f2b36b",
    "undone-fill": "#2e2213",
    "passed": "#a6b1be",
    "passed-fill": "#171c23",
    "on": "#11161d",
}
LEGEND = (
    ("done", "done"),
    ("present", "here now"),
    ("stuck", "stuck or failed"),
    ("undone", "undone"),
    ("passed", "passed by"),
)

_STATES = (("done", "done", 2.0), ("present", "present", 3.0), ("stuck", "stuck", 3.0), ("failed", "stuck", 2.0))
_RULES = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:var(--ink)}"
    ".head{font-size:17px;font-weight:700}.sum{font-size:13px;fill:var(--muted)}"
    ".muted,.line{fill:var(--muted)}.name{font-size:14px;font-weight:700}.word{font-size:11px;fill:var(--muted)}"
    ".paper{fill:var(--paper)}.shape{fill:var(--box);stroke:var(--rim);stroke-width:1.5}"
    ".tint0{fill:var(--tint0)}.tint1{fill:var(--tint1)}.frame>.shape{stroke-width:1}"
    ".body{fill:var(--body);stroke:var(--rim);stroke-width:1;stroke-dasharray:2 4}"
    ".catch>.shape{fill:var(--catch);stroke:var(--catch-rim);stroke-width:1}"
    ".edge{fill:var(--edge)}.people>.edge{fill:var(--people)}.watch>.edge{fill:var(--watch)}.chip{fill:var(--chip)}"
    ".way{fill:none;stroke:var(--way);stroke-width:1.5}.tip{fill:var(--way);stroke:none}"
    ".back{stroke-dasharray:6 4}.tip.back{stroke-dasharray:none}"
    ".way.error{stroke:var(--catch-rim);stroke-dasharray:6 4}.tip.error{fill:var(--catch-rim)}"
    ".way.took{stroke:var(--done);stroke-width:3}.tip.took{fill:var(--done)}"
    ".bar,.full{fill:var(--ink)}.ring{fill:none;stroke:var(--ink);stroke-width:2}"
    ".under{fill:var(--paper);stroke:var(--rim);stroke-width:1}.case .say{font-weight:700}.pill>.under{fill:var(--chip)}"
    ".error .say{fill:var(--stuck)}.label .say{fill:var(--muted)}"
    ".disc{stroke:var(--paper);stroke-width:1.5}.mark{fill:none;stroke:var(--on);stroke-width:2;stroke-linecap:round;stroke-linejoin:round}"
    ".fill{fill:var(--on)}.count{fill:var(--ink)}.times{fill:var(--paper);font-weight:700}.note{font-weight:700}"
)


def style() -> str:
    """The style sheet. Variables carry the palette, so the dark one is told once."""

    def root(palette: Palette) -> str:
        return ".cxplane{" + ";".join(f"--{name}:{colour}" for name, colour in palette.items()) + "}"

    states = "".join(
        f".{state}>.shape{{stroke:var(--{c});stroke-width:{w:g}}}.{state}>.note{{fill:var(--{c})}}"
        f".{state}>.disc{{fill:var(--{c})}}.{state}>.edge{{fill:var(--{c})}}"
        f".box.{state}>.shape,.choice.{state}>.shape{{fill:var(--{c}-fill)}}"
        for state, c, w in (*_STATES, ("undone", "undone", 2.0), ("passed", "passed", 1.5))
    )
    more = (
        ".inside>.shape{stroke:var(--present);stroke-width:2}.passed>.shape{stroke-dasharray:5 4}"
        ".passed>.name,.passed>.line{fill:var(--passed)}.undone>.name{text-decoration:line-through}"
        ".present>.name{fill:var(--present)}.stuck>.name,.failed>.name{fill:var(--stuck)}"
    )
    return f"{root(LIGHT)}{_RULES}{states}{more}@media (prefers-color-scheme:dark){{{root(DARK)}}}"
