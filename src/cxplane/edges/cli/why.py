"""Why it was decided so, and whether it comes out the same when it is made once more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from cxplane.edges.cli.api import Api, plane_options, segment
from cxplane.edges.cli.local import for_me_alone
from cxplane.edges.cli.show import emit, json_option, table, when, working

HTML = "text/html"
_LINK, _MORE = re.compile(r'<a href="\.\./[^"]*">([^<]*)</a>'), re.compile(r"<nav .*?</nav>", re.S)
SHOWN = 20  # requests that are listed one by one
html_option = click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Write it as a page for a browser to this file."
)
RESULTS = ("same", "different", "unknown", "impossible")


@click.command(short_help="Why it was decided so, in plain words.")
@click.argument("id")
@html_option
@json_option
@plane_options
def explain(api: Api, id: str, html: Path | None, as_json: bool) -> None:
    """Explain what ID names: a request or its approval; a run or one of its tasks.

    Who asked for what, the facts with source and age, which policy decided (with its file, line and text), budgets, approval,
    call, receipt, and how long each took.

    \b
    Examples:
      cxplane explain req_0f3c…
      cxplane explain run_0194…
      cxplane explain req_0f3c… --html why.html
      cxplane explain req_0f3c… --json | jq .decision
    """
    path = f"/v1/decisions/{segment(id)}/explain"
    if html is not None:
        _write(api.text(path, HTML), html)
        return
    told = api.get(path)
    if as_json:
        emit(told)
    else:
        click.echo(told["text"])


@click.command(short_help="Make decisions once more, from the record.")
@click.argument("id", required=False)
@click.option("--release", help="Under this release instead of its own: the beginning of its hash, or live.")
@click.option(
    "--control",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Under the control repo in this folder, before it is released. Opens the store itself.",
)
@click.option("--last", type=click.IntRange(1, 1_000_000), help="The last so many requests, instead of one.")
@click.option("--since", help="Requests asked at this time or later, like 2026-01-05T10:00:00Z.")
@click.option("--until", help="Requests asked before this time.")
@click.option("--action", help="Of those, only this action.")
@click.option("--verdict", type=click.Choice(["allow", "hold", "refuse"]), help="Of those, only these.")
@html_option
@json_option
@plane_options
def replay(
    api: Api,
    id: str | None,
    release: str | None,
    control: Path | None,
    last: int | None,
    html: Path | None,
    as_json: bool,
    **filters: str | None,
) -> int:
    """Make the decision on request ID once more, from the record alone, and say whether it is the same.

    Nothing is read from a system and nothing is done. With --release or --control it is hypothetical: what would have been
    decided there. Exit code 0 if all is the same, else 1.

    \b
    Examples:
      cxplane replay req_0f3c…
      cxplane replay req_0f3c… --release 4be1
      cxplane replay --last 1000
      cxplane replay --since 2026-01-05T00:00:00Z --control control/
    """
    several = last is not None or filters["since"] is not None or filters["until"] is not None
    if (id is None) == (not several):
        raise click.UsageError("name one request, or say which by --last, --since or --until")
    if release is not None and control is not None:
        raise click.UsageError("--release and --control are two ways to say under what; take one")
    if control is not None and html is not None:
        raise click.UsageError("--html asks the plane, which does not know what is in --control; take one")
    for name in ("since", "until"):
        _moment(name, filters[name])
    if several:
        if html is not None:
            raise click.UsageError("--html is for one request")
        wanted = {name: value for name, value in filters.items() if value is not None}
        with working("replay") as tell:
            if control is not None:
                replays = _local(control, wanted, last, tell)
            else:
                replays = _counted(_remote(api, release, wanted, last), last, tell)
        return _summary(replays, release or (str(control) if control else None), as_json)
    assert id is not None
    if any(filters.values()):
        raise click.UsageError("--action and --verdict are for many requests")
    if html is not None:
        query = f"?release={segment(release)}" if release else ""
        _write(api.text(f"/v1/decisions/{segment(id)}/replay{query}", HTML), html)
        return 0
    told = _one_local(control, id) if control else api.get(f"/v1/decisions/{segment(id)}/replay", release=release)
    emit(told) if as_json else click.echo(told["text"])
    return 0 if told["result"] == "same" else 1


def _write(text: str, path: Path) -> None:
    """A page in a file has no others beside it: what links to them becomes words."""
    text = _LINK.sub(r"\1", _MORE.sub("", text))
    try:
        with for_me_alone():
            path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise click.UsageError(f"{path} cannot be written: {problem.strerror or problem}") from None
    click.echo(f"written to {path}", err=True)


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise click.UsageError(f"--{name} is written like 2026-01-05T10:00:00Z, not {text!r}")
    return at


# many ---------------------------------------------------------------------------------------------------------

Replay = Mapping[str, Any]
Tell = Callable[[int, int, str], None]


def _remote(api: Api, release: str | None, filters: Mapping[str, str], last: int | None) -> Iterator[Replay]:
    yield from api.items("/v1/replays", most=last or 1_000_000, release=release, **filters)


def _counted(replays: Iterator[Replay], last: int | None, tell: Tell) -> list[Replay]:
    found: list[Replay] = []
    for one in replays:
        found.append(one)
        tell(len(found), max(last or 0, len(found)), when(one["at"]))
    return found


def _summary(replays: Sequence[Replay], under: str | None, as_json: bool) -> int:
    counts = Counter(one["result"] for one in replays)
    flips = Counter(
        (one["action"], decision["verdict"], decision["would_be"])
        for one in replays
        for decision in one["decisions"]
        if decision.get("would_be") not in (None, decision["verdict"])
    )
    odd = [one for one in replays if one["result"] != "same"]
    if as_json:
        emit(
            {
                "under": under,
                "requests": len(replays),
                **{name: counts[name] for name in RESULTS},
                "flips": [
                    {"action": action, "then": then, "would_be": now, "decisions": n}
                    for (action, then, now), n in sorted(flips.items(), key=lambda kv: -kv[1])
                ],
                "items": odd,
            }
        )
    else:
        where = f"under {under}, hypothetically" if under else "each under its own release"
        said = ", ".join(f"{counts[name]} {name}" for name in RESULTS if counts[name]) or "none"
        click.echo(f"{len(replays)} requests made once more, {where}: {said}")
        if flips:
            rows = [(*flip, n) for flip, n in sorted(flips.items(), key=lambda kv: -kv[1])]
            table(("action", "then", "would be", "decisions"), rows, nothing="")
        if odd:
            table(
                ("request", "action", "at", "result", "what"),
                [(o["request"], o["action"], when(o["at"]), o["result"], _what(o)) for o in odd[:SHOWN]],
                nothing="",
                whole=("request",),
            )
        if len(odd) > SHOWN:
            click.echo(f"… and {len(odd) - SHOWN} more: see --json")
    return 0 if not odd else 1


def _what(replay: Replay) -> str:
    found: list[str] = []
    for decision in replay["decisions"]:
        found += [str(d["what"]) for d in decision.get("differences", ())]
        found += [*decision.get("unknown", ()), *([decision["why"]] if "why" in decision else [])]
    return ", ".join(dict.fromkeys(found))


# under a control repo that is no release yet -----------------------------------------------------------------


def _one_local(control: Path, id: str) -> dict[str, Any]:
    from cxplane.edges.cli.local import run
    from cxplane.loop.replays import Replayed
    from cxplane.wiring import open_replays

    async def work() -> Replayed:
        async with open_replays(_settings(), control) as (replays, other):
            return Replayed(await replays.one(id, other))

    told = run(work())
    return {"id": id, "result": told.told["result"], "text": told.text, "replay": dict(told.told)}


def _local(control: Path, filters: Mapping[str, str], last: int | None, tell: Tell) -> list[Replay]:
    from cxplane.edges.cli.local import run
    from cxplane.wiring import open_replays

    wanted: dict[str, Any] = {**filters}
    wanted |= {name: _moment(name, filters[name]) for name in ("since", "until") if name in filters}

    async def work() -> list[Replay]:
        found: list[Replay] = []
        async with open_replays(_settings(), control) as (replays, other):
            async for one in replays.many(other, most=last, **wanted):
                found.append(one)
                tell(len(found), max(last or 0, len(found)), when(one["at"]))
        return found

    return run(work())


def _settings() -> Any:
    """Of the store that the plane uses: the folder of --data, or CXPLANE_DSN."""
    from cxplane.edges.cli.local import settings_of

    return settings_of(data=click.get_current_context().params["data_folder"])
