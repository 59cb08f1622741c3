"""Read the pages of docs/ as a reader does: type what they say, and look whether the screen shows what they show.

A block ```console is typed line by line: `$ ` begins a command, the lines below are its screen. `…` stands for anything: in
a line, as a line of its own for any number of lines, and in a command (`req_…`, `run_…`, `tsk_…` …) for the last such id that
the screen showed; `--from …` is the release that was live before, as `cxplane release` says it. A comment before a block says more: `<!-- file: PATH -->` writes the block to a file, `<!-- exit: N -->`
is how its last command ends, `<!-- not run -->` is only to be read.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"(?:^<!-- (?P<note>[^\n]+?) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
_IDS = {
    **{prefix: rf"\b{prefix}[0-9a-f]{{32}}\b" for prefix in ("req_", "apr_", "run_", "tsk_", "sig_")},
    "cxp_": r"\bcxp_[0-9a-f]{12}_[0-9a-f]{48}\b",
    "--from ": r"(?<=; before: )[0-9a-f]{12}\b",
}
_READY = ("http://", "working; stop with")  # what a program that goes on running says when it is there


@dataclass(frozen=True, slots=True)
class Block:
    kind: str  # console, yaml, cedar …
    text: str
    note: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        yield Block(found["kind"], found["text"], found["note"] or "", text.count("\n", 0, found.start("text")) + 1)


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block with the screen that is shown below it."""
    command, screen = "", list[str]()
    more = False
    for line in block.text.splitlines():
        if more:
            command += "\n" + line
        elif line.startswith("$ "):
            if command:
                yield command, screen
            command, screen = line[2:], []
        else:
            screen.append(line)
        more = (more and line.endswith("\\")) or (line.startswith("$ ") and line.endswith("\\"))
    if command:
        yield command, screen


def free_port() -> int:
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Terminal:
    """A shell in a folder of its own, with a plane and a shop on ports of their own."""

    def __init__(self, folder: Path, *, dsn: str | None = None) -> None:
        self.folder, self.port, shop = folder, free_port(), free_port()
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("CXPLANE_", "OTEL_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "CXPLANE_URL": f"http://127.0.0.1:{self.port}",
            "CXPLANE_SYSTEM_SHOP_URL": f"http://127.0.0.1:{shop}",
            "SHOP_PORT": str(shop),
            "REPO": str(ROOT),
            "NO_COLOR": "1",
            **({"CXPLANE_DSN": dsn, "CXPLANE_DATA_KEY": os.environ["CXPLANE_DATA_KEY"]} if dsn else {}),
        }
        self.seen: dict[str, str] = {}
        self._running: list[subprocess.Popen[bytes]] = []

    def forget(self, *names: str) -> None:
        """Let the surroundings say these again, not what was exported before."""
        state = self.folder / ".shell"
        if state.exists():
            lines = state.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if not line.startswith(tuple(f"declare -x {name}=" for name in names))]
            state.write_text("".join(kept), encoding="utf-8")

    def read(self, page: Path) -> None:
        """Do everything that the page says. AssertionError names page and line."""
        for block in blocks(page):
            if block.note.startswith("file: "):
                place = self.folder / block.note.removeprefix("file: ")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(block.text, encoding="utf-8")
            elif block.kind == "console" and block.note != "not run":
                self._console(block, f"{page.relative_to(ROOT)}:{block.line}")

    def _console(self, block: Block, where: str) -> None:
        typed = list(commands(block))
        assert typed, f"{where}: no line begins with `$ `"
        for n, (command, screen) in enumerate(typed):
            code, told = self.type(command)
            ends = 0
            if n == len(typed) - 1 and (said := re.match(r"exit: (\d+)", block.note)):
                ends = int(said[1])
            assert code == ends, f"{where}: `{command}` ended with {code}, not {ends}:\n{told}"
            assert shows(told, screen), f"{where}: `{command}` shows\n{told}\nand the page says\n" + "\n".join(screen)

    def type(self, command: str) -> tuple[int, str]:
        """Its exit code, and what it shows on both streams. A command that ends with & goes on running."""
        for prefix in _IDS:
            if f"{prefix}…" in command:
                assert prefix in self.seen, f"`{command}`: no {prefix}… was shown before"
                command = command.replace(f"{prefix}…", self.seen[prefix])
        if command.endswith("&"):
            return self._start(command[:-1])
        state = self.folder / ".shell"
        script = f"[ -f {state} ] && . {state}\n{command}\ncode=$?; export -p > {state}; exit $code"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        return done.returncode, self._screen(done.stdout.decode())

    def _start(self, command: str) -> tuple[int, str]:
        if command.startswith("cxplane serve"):
            command += f" --port {self.port}"
        log = self.folder / f".log{len(self._running)}"
        state = self.folder / ".shell"
        script = f"[ -f {state} ] && . {state}\nexec {command}"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", script], cwd=self.folder, env=self.env, stdout=file, stderr=subprocess.STDOUT
            )
        self._running.append(process)
        until = time.monotonic() + 60
        while not any(said in (told := log.read_text()) for said in _READY):
            assert process.poll() is None, f"`{command}` ended:\n{told}"
            assert time.monotonic() < until, f"`{command}` does not get ready:\n{told}"
            time.sleep(0.05)
        time.sleep(0.1)
        return 0, self._screen(log.read_text())

    def _screen(self, text: str) -> str:
        for prefix, shape in _IDS.items():
            if found := re.findall(shape, text):
                self.seen[prefix] = found[-1] if found[-1].startswith(prefix) else prefix + found[-1]
        return text

    def close(self) -> None:
        for process in reversed(self._running):
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def shows(told: str, screen: Sequence[str]) -> bool:
    """Whether the screen shows these lines, one after the other; more may stand between them."""
    lines = [line.rstrip() for line in told.splitlines()]
    place = 0
    for wanted in (line.rstrip() for line in screen):
        if wanted in ("", "…"):
            continue
        shape = re.compile(r"\s+".join(".*?".join(map(re.escape, word.split("…"))) for word in wanted.split()) + r"\s*")
        place = next((n + 1 for n in range(place, len(lines)) if shape.fullmatch(lines[n].strip())), -1)
        if place < 0:
            return False
    return True
