"""CHANGELOG.md, assembled from changes/: one file a change, so that two changes never meet in one line.

changes/unreleased/<words>.md     first line: Added | Changed | Fixed | Removed | Security; then the text
changes/<version>/<words>.md      the same, once released; `version.txt` holds the date

python scripts/changelog.py             write it
python scripts/changelog.py 0.2.0       move what is unreleased to that version, dated today, and write it
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHANGES = ROOT / "changes"
KINDS = ("Added", "Changed", "Fixed", "Removed", "Security")


def changelog() -> str:
    """The text of CHANGELOG.md. ValueError names a change that cannot be read."""
    lines = ["# Changelog", "", "<!-- Assembled from changes/ by scripts/changelog.py. Do not edit. -->", ""]
    versions = sorted((d for d in CHANGES.iterdir() if d.is_dir() and d.name != "unreleased"), key=_order, reverse=True)
    for folder in [CHANGES / "unreleased", *versions]:
        told = _section(folder)
        if told:
            date = folder / "version.txt"
            title = f"{folder.name} – {date.read_text(encoding='utf-8').strip()}" if date.exists() else "Unreleased"
            lines += [f"## {title}", "", *told]
    return "\n".join(lines).rstrip() + "\n"


def _section(folder: Path) -> list[str]:
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for file in sorted(folder.glob("*.md")):
        kind, _, text = file.read_text(encoding="utf-8").partition("\n")
        if kind.strip() not in found or not text.strip():
            raise ValueError(f"{file.relative_to(ROOT)}: the first line is one of {', '.join(KINDS)}; the text follows")
        found[kind.strip()].append("- " + " ".join(text.split()))
    return [line for kind, items in found.items() if items for line in (f"### {kind}", "", *items, "")]


def _order(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.name.split("."))


def release(version: str) -> None:
    """Move what is unreleased to a version."""
    target = CHANGES / version
    target.mkdir()
    for file in (CHANGES / "unreleased").glob("*.md"):
        file.rename(target / file.name)
    (target / "version.txt").write_text(f"{datetime.now(UTC):%Y-%m-%d}\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        release(sys.argv[1])
    (ROOT / "CHANGELOG.md").write_text(changelog(), encoding="utf-8")
