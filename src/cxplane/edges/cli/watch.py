"""A run, watched: live on a terminal, line by line elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from cxplane.edges.cli.api import Api
from cxplane.edges.cli.run_words import ENDED, line_of, waits_for
from cxplane.edges.cli.show import COLOURS, console, minute

if TYPE_CHECKING:
    from rich.console import RenderableType

QUIET_S = 5.0  # a run that waits for a system, with nothing new for so long, waits
ON_ITS_WAY = {"call", "undo", "retry", None}
Look = tuple[Mapping[str, Any], list[dict[str, Any]]]


def watch(api: Api, id: str, *, every: float, to_the_end: bool, as_json: bool) -> int:
    """Until it ends, or (unless `to_the_end`) waits for something outside. The exit code of how it stands then."""
    look: Look | None = None
    with _shown(as_json) as show:
        for look in looks(api, id, every=every, to_the_end=to_the_end):
            show(look)
    assert look is not None
    told = look[0]
    status = told["run"]["status"]
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(f"{status}: {told['next']}")
        if status not in ENDED:
            click.echo(f"  cxplane runs show {told['run']['id']}     see what it waits for and what frees it")
    return ENDED.get(status, 4)


def looks(api: Api, id: str, *, every: float, to_the_end: bool) -> Iterator[Look]:
    """How it stands, again and again; the last one is how it stays for now."""
    seen, since = None, time.monotonic()
    while True:
        told = api.get(f"/v1/runs/{id}")
        items = api.get(f"/v1/runs/{id}/timeline")["items"]
        now = (told["run"]["status"], len(items))
        if now != seen:
            seen, since = now, time.monotonic()
        yield told, items
        if told["run"]["status"] in ENDED or (not to_the_end and _rests(told, time.monotonic() - since)):
            return
        time.sleep(every)


def _rests(told: Mapping[str, Any], quiet_s: float) -> bool:
    if told["run"]["status"] in ("stuck", "suspended"):
        return True
    if told["run"]["status"] != "waiting":
        return False
    return quiet_s > QUIET_S or all(t.get("waits_for") not in ON_ITS_WAY for t in told["tokens"])


@contextmanager
def _shown(as_json: bool) -> Iterator[Callable[[Look], None]]:
    if as_json or not sys.stdout.isatty():
        yield _lines(as_json)
        return
    from rich.live import Live

    with Live(console=console(), auto_refresh=False, transient=False) as live:
        yield lambda look: live.update(_picture(look), refresh=True)


def _lines(as_json: bool) -> Callable[[Look], None]:
    """What is new since the last look, a line each."""
    shown: set[str] = set()

    def show(look: Look) -> None:
        for item in look[1]:
            text = json.dumps(item, ensure_ascii=False)
            if text not in shown:
                click.echo(text if as_json else line_of(item))
                shown.add(text)
        sys.stdout.flush()

    return show


def _picture(look: Look) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    told, items = look
    run = told["run"]
    head = Text(f"{run['journey']}  {run['id']}  ")
    head.append(run["status"], style=COLOURS.get(run["status"], "cyan"))
    way = Text("\n".join(line_of(item) for item in items[-20:]))
    here = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for name in ("at", "waits for", "due"):
        here.add_column(name, overflow="fold")
    for token in told["tokens"]:
        here.add_row(token["step"] or "(end)", waits_for(token), minute(token.get("due")))
    return Group(head, Text(), way, Text(), here) if told["tokens"] else Group(head, Text(), way)
