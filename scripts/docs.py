"""Write the pages that are made from the code, or see that nothing in the docs is out of date.

python scripts/docs.py            write the reference pages and the changelog
python scripts/docs.py --check    name everything that is stale, broken or missing; ends with 1 if there is anything
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from changelog import changelog
from reference import PAGES, ROOT

REQUIREMENTS = ROOT / "docs" / "requirements.md"
LAST = 152  # the highest R-number
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
_TEST = re.compile(r"tests/[\w/.-]+\.py(?:::\w+)?")


def made() -> dict[Path, str]:
    """Every page that is made, with its text as it must be now."""
    pages = {ROOT / path: make() for path, make in PAGES.items()}
    pages[ROOT / "CHANGELOG.md"] = changelog()
    return pages


def stale() -> Iterator[str]:
    for path, text in made().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield f"{path.relative_to(ROOT)}: not as the code says; run `make docs`"


def written() -> list[Path]:
    """All Markdown that people read."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changes").glob("*.md")]
    pages += [*(ROOT / "examples").glob("*/*.md"), *(ROOT / "benchmarks").glob("**/README.md")]
    return sorted(pages)


@cache
def anchors(page: Path) -> frozenset[str]:
    """What can be linked to in a page: its headings, and named places."""
    text = page.read_text(encoding="utf-8")
    found = set(re.findall(r'<a id="([^"]+)"', text))
    for heading in re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return frozenset(found)


def broken() -> Iterator[str]:
    """Links that lead nowhere. Addresses of other sites are not visited."""
    for page in written():
        text = _FENCE.sub(lambda m: "\n" * m[0].count("\n"), page.read_text(encoding="utf-8"))
        for found in _LINK.finditer(text):
            target = found[1] or found[2]
            if re.match(r"[a-z]+:", target):
                continue
            where = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}"
            path, _, anchor = target.partition("#")
            place = (page.parent / path).resolve() if path else page
            if not place.exists():
                yield f"{where}: {target} leads nowhere"
            elif anchor and place.suffix == ".md" and anchor not in anchors(place):
                yield f"{where}: {path or page.name} has no place #{anchor}"


def unreachable() -> Iterator[str]:
    """Pages of docs/ that nobody comes to from the README."""
    ahead, seen = [ROOT / "README.md"], set[Path]()
    while ahead:
        page = ahead.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        for found in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
            target = (found[1] or "").partition("#")[0]
            if target and not re.match(r"[a-z]+:", target):
                ahead.append((page.parent / target).resolve())
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if page not in seen:
            yield f"{page.relative_to(ROOT)}: no way leads here from README.md"


def requirements() -> Iterator[str]:
    """One line for each R; the tests that it names exist."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    numbers = [int(n) for n in re.findall(r"^\| R(\d+) \|", text, re.M)]
    for number in range(1, LAST + 1):
        if numbers.count(number) != 1:
            yield f"docs/requirements.md: R{number} has {numbers.count(number)} lines, not one"
    for name in sorted(set(_TEST.findall(text))):
        file, _, test = name.partition("::")
        if not (ROOT / file).exists():
            yield f"docs/requirements.md: there is no {file}"
        elif test and not re.search(rf"def {test}\b", (ROOT / file).read_text(encoding="utf-8")):
            yield f"docs/requirements.md: {file} has no {test}"


def main() -> int:
    if "--check" not in sys.argv[1:]:
        for path, text in made().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    found = [*stale(), *broken(), *unreachable(), *requirements()]
    for line in found:
        print(line)
    print(f"docs: {len(found)} to mend" if found else "docs: nothing to mend")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
