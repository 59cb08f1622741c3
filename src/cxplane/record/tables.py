"""The record as flat tables: what `cxplane export-parquet` makes of exported lines, and what docs/reference/export-schema.md says.

Column expressions are DuckDB SQL over `line` (one row an entry: position, time, kind, stream, actor, release, cause, takes, body,
private). Columns may be added; what a column means and its type never change.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1

# One row an entry, from the JSON text `e` of its line.
LINE = """
select cast(e->>'id' as bigint) as position, cast(e->>'time' as timestamp) as time,
    split_part(e->>'source', '/', 3) as tenant, substr(e->>'type', 9) as kind, e->>'subject' as stream,
    e->'data'->>'actor' as actor, e->'data'->>'release' as release, e->'data'->>'cause' as cause,
    nullif(e->'data'->'takes', 'null') as takes, e->'data'->'body' as body, nullif(e->'data'->'private', 'null') as private
from source
"""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    sql: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`source`: SQL after `from`. Partitioned by `month` of the column `time`."""

    name: str
    text: str
    source: str
    columns: tuple[Column, ...]

    @property
    def query(self) -> str:
        chosen = ", ".join(f'cast({c.sql} as {c.type}) as "{c.name}"' for c in self.columns)
        return f"select {chosen} from {self.source}"  # noqa: S608 -- made of what is written here


def _text(name: str, text: str = "", path: str = "") -> Column:
    return Column(name, "VARCHAR", f"l.body->>'{path or name}'", text)


def _names(name: str, path: str, text: str) -> Column:
    """A list of texts."""
    return Column(name, "VARCHAR[]", f"l.body->>'{path}'", text)


POSITION = Column("position", "BIGINT", "l.position", "Place in the record; grows, never used twice.")
TIME = Column("time", "TIMESTAMP", "l.time", "UTC.")
RELEASE = Column("release", "VARCHAR", "l.release", "Hash of the release that decided; its files are in `control/`.")
REQUEST = _text("request", "The request's id.")
OF_REQUEST = Column("request", "VARCHAR", "l.stream", REQUEST.text)

ENTRIES = Table(
    "entries",
    "Every entry, whole.",
    "line l",
    (
        POSITION,
        TIME,
        Column("tenant", "VARCHAR", "l.tenant"),
        Column("kind", "VARCHAR", "l.kind", "See [entries](entries.md)."),
        Column("stream", "VARCHAR", "l.stream", "What it is about: a request, run, customer, conversation, release …"),
        Column("actor", "VARCHAR", "l.actor", "Who did it: a caller, or `cxplane`."),
        RELEASE,
        Column("cause", "VARCHAR", "l.cause", "The request or approval that led to it."),
        Column("takes", "JSON", "l.takes", "What its write took: a claim, reservations."),
        Column("body", "JSON", "l.body"),
        Column("private", "JSON", "l.private", "Personal data: sealed, unless the lines were exported with `--open`."),
    ),
)
REQUESTS = Table(
    "requests",
    "What was asked for.",
    "line l where l.kind = 'request'",
    (
        POSITION,
        TIME,
        _text("request", "Its id.", "id"),
        _text("action"),
        Column("version", "INTEGER", "l.body->>'version'", "Of the action's contract."),
        _text("caller"),
        _names("roles", "$.roles[*]", "Of the caller."),
        _text("team"),
        _text("customer"),
        _text("conversation"),
        _text("channel"),
        _text("purpose"),
        Column("confidence", "DOUBLE", "l.body->>'confidence'", "What the agent said of itself, 0 to 1."),
        _text("key", "The business key."),
        Column("dry_run", "BOOLEAN", "coalesce(l.body->>'dry_run', 'false')"),
        _text("replaces", "The request that an approver edited."),
        _text("undoes", "The request that it takes back."),
        _text("run", "The run of a journey that asked."),
    ),
)
DECISIONS = Table(
    "decisions",
    "What was decided, one row a decision; a request that was held has several.",
    "line l left join line q on q.kind = 'request' and q.stream = l.stream where l.kind = 'decision'",
    (
        POSITION,
        TIME,
        OF_REQUEST,
        _text("verdict", "allow, hold or refuse."),
        _text("status", "Of the request from here on."),
        _text("determined_by", "rule, policy, model or person."),
        RELEASE,
        Column(
            "key",
            "VARCHAR",
            "case when l.body->>'verdict' <> 'refuse' then coalesce(l.body->>'key', q.body->>'key') end",
            "The business key that it took; where only the request tells it, and is not in these lines, empty.",
        ),
        Column("due", "TIMESTAMP", "l.body->>'due'", "Allowed: from when on its outcome is looked for; UTC."),
        _text("mode", "act, shadow …; empty: act."),
        Column("money", "BIGINT", "l.body->>'money'", "In minor units."),
        _text("approver"),
        Column("took_ms", "DOUBLE", "l.body->>'took_ms'"),
        _names("reasons", "$.reasons[*].code", "Their codes."),
        _names("policies", "$.reasons[*].policy", "Ids of the policies among them."),
        Column("facts", "VARCHAR[]", "json_keys(l.body->'facts')", "Names of the facts that it was decided on."),
        Column("approver_sets", "JSON", "l.body->'approver_sets'", "Held: one of each set must approve."),
        Column("expires_at", "TIMESTAMP", "l.body->>'expires_at'", "Held: until when; UTC."),
    ),
)
OUTCOMES = Table(
    "outcomes",
    "What came of it, one row each time that something was known. The last of a request counts.",
    "line l where l.kind = 'outcome'",
    (
        POSITION,
        TIME,
        OF_REQUEST,
        _text("status", "done, failed, unknown or stuck."),
        _text("confirmed_by"),
        _text("error"),
        _text("error_kind", path="kind"),
        Column("attempts", "INTEGER", "coalesce(json_array_length(l.body->'attempts'), 0)"),
        Column(
            "took_ms",
            "DOUBLE",
            "list_sum(cast(l.body->>'$.attempts[*].took_ms' as double[]))",
            "All attempts together.",
        ),
        RELEASE,
    ),
)
APPROVALS = Table(
    "approvals",
    "One row an approval, with its decision where that is in the lines too.",
    "line l left join line d on d.kind = 'approval.decided' and d.body->>'approval' = l.body->>'approval'"
    " where l.kind = 'approval.opened'",
    (
        POSITION,
        Column("time", "TIMESTAMP", "l.time", "When it was opened; UTC."),
        _text("approval", "Its id."),
        REQUEST,
        _text("action"),
        _text("customer"),
        _text("proposed_by"),
        Column("four_eyes", "BOOLEAN", "coalesce(l.body->>'four_eyes', 'false')"),
        Column("expires_at", "TIMESTAMP", "l.body->>'expires_at'", "UTC."),
        Column(
            "status", "VARCHAR", "coalesce(d.body->>'status', 'open')", "open, approved, rejected, edited or expired."
        ),
        Column("decided_by", "VARCHAR", "d.body->>'decided_by'"),
        Column("decided_at", "TIMESTAMP", "d.time", "UTC."),
        Column(
            "replaced_by", "VARCHAR", "d.body->>'replaced_by'", "The request that took its place, if it was edited."
        ),
        Column("waited_s", "DOUBLE", "epoch_us(d.time - l.time) / 1e6", "Seconds from opened to decided."),
    ),
)
RUNS = Table(
    "runs",
    "One row a run of a journey that was started in these lines, as it stands at their end.",
    "line l left join (select stream, count(*) as legs, max(time) as at, arg_max(body->>'status', position) as status,"
    " arg_max(body->>'error', position) as error from line where kind = 'run.advanced' group by stream) a"
    " on a.stream = l.stream where l.kind = 'run.started'",
    (
        POSITION,
        Column("time", "TIMESTAMP", "l.time", "When it was started; UTC."),
        _text("run", "Its id."),
        _text("journey"),
        RELEASE,
        _text("key"),
        _text("customer"),
        _text("conversation"),
        _text("parent", "The run that waits for it."),
        _text("started_by"),
        Column("status", "VARCHAR", "coalesce(a.status, 'ready')", "ready, waiting, stuck, done, failed, cancelled …"),
        Column("updated_at", "TIMESTAMP", "coalesce(a.at, l.time)", "UTC."),
        Column("legs", "INTEGER", "coalesce(a.legs, 0)", "How often it went on."),
        Column("error", "VARCHAR", "a.error", "Of the last leg."),
    ),
)
TABLES = (ENTRIES, REQUESTS, DECISIONS, OUTCOMES, APPROVALS, RUNS)
