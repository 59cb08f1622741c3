"""Sections as a page for a browser: one file, no script, nothing fetched; light and dark, to be read, linked and printed."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from html import escape

from cxplane.record.sections import Line, Section

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#fff;--block:#f6f8fa;--link:#0550ae;
--good:#116329;--bad:#a40e26;--wait:#7d4e00}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--paper:#0d1117;--block:#161b22;
--link:#79c0ff;--good:#56d364;--bad:#ff7b72;--wait:#e3b341}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:1.5rem 1rem 4rem}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem;background:var(--paper);padding:.5rem}
.over{color:var(--soft);margin:0 0 .25rem;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .75rem}
h2{font-size:1.1rem;line-height:1.35;margin:0 0 .5rem;overflow-wrap:anywhere}
h3{font-size:1rem;margin:.6rem 0 .1rem}
section{border-top:1px solid var(--line);padding:1rem 0 .25rem}section:first-of-type{border:0;padding-top:0}
p{margin:.2rem 0;overflow-wrap:anywhere}.d1{margin-left:1.25rem}.d2{margin-left:2.5rem}
dl{margin:.3rem 0;display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.15rem 1rem}
dt{color:var(--soft);overflow-wrap:anywhere}dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--block);border:1px solid var(--line);border-radius:.3rem;padding:.6rem .8rem;margin:.3rem 0 .6rem;
font:.875rem/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
a{color:var(--link)}a:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.good{color:var(--good)}.bad{color:var(--bad)}.wait{color:var(--wait)}
@media (max-width:34rem){dl{grid-template-columns:1fr}dd{margin:0 0 .4rem 1rem}}
@media print{main{max-width:none;padding:0}nav,.skip{display:none}section{break-inside:avoid-page}a{color:inherit}
body{font-size:10.5pt}}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "content-language": "en",
    "vary": "Accept",
}
_TONES = {
    **dict.fromkeys(("allow", "done", "approved", "same"), "good"),
    **dict.fromkeys(("refuse", "refused", "failed", "rejected", "expired", "cancelled", "different"), "bad"),
    **dict.fromkeys(("hold", "held", "open", "running", "waiting", "unknown", "stuck", "impossible"), "wait"),
}
_IDS = re.compile(r"\b(?:req|run|apr|tsk)_[0-9a-f]{32}\b")


def page(title: str, sections: Sequence[Section], links: Sequence[tuple[str, str]]) -> bytes:
    """The page. `links`: (address, words) at its foot. All text is escaped; ids link to their explanation."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        '<a class="skip" href="#content">To the content</a><main id="content">',
        f'<p class="over">{escape(title)}</p>',
        *(_section(n, one) for n, one in enumerate(sections)),
        '<nav aria-label="More"><section>',
        *(f'<p><a href="{escape(to, quote=True)}">{escape(words)}</a></p>' for to, words in links),
        "</section></nav></main></body></html>\n",
    ]
    return "".join(parts).encode()


def _section(n: int, one: Section) -> str:
    head = "h1" if n == 0 else "h2"
    tone = f' class="{_TONES[one.tone]}"' if one.tone in _TONES else ""
    return f'<section aria-labelledby="s{n}"><{head} id="s{n}"{tone}>{_text(one.title)}</{head}>{"".join(_lines(one.lines))}</section>'


def _lines(lines: Sequence[Line]) -> Iterator[str]:
    named: list[Line] = []
    for line in (*lines, None):
        if named and (line is None or not line.name or line.deep != named[0].deep):
            pairs = "".join(f"<dt>{escape(one.name)}</dt><dd>{_text(one.text)}</dd>" for one in named)
            yield f"<dl{_deep(named[0])}>{pairs}</dl>"
            named = []
        if line is None:
            return
        if line.name:
            named.append(line)
        elif line.head:
            yield f"<h3{_deep(line)}>{_text(line.text)}</h3>"
        elif line.code:
            yield f"<pre{_deep(line)}>{escape(line.text)}</pre>"
        else:
            yield f"<p{_deep(line)}>{_text(line.text)}</p>"


def _deep(line: Line) -> str:
    return f' class="d{min(line.deep, 2)}"' if line.deep else ""


def _text(text: str) -> str:
    """Escaped, with ids as links. The ids hold nothing that needs escaping."""
    return _IDS.sub(lambda found: f'<a href="../{found[0]}/explain">{found[0]}</a>', escape(text))
