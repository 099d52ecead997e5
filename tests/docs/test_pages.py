"""Carries out the pages of ``docs/`` that show commands, each in a folder of its own.

Its fenced blocks are what an author does: a block with a ``title`` is a whole file, a ``diff`` is
an edit of the file that its first line names, and in a ``console`` block each line after ``$`` is
a command, with what it prints below it. ``…`` stands for what the tutorial leaves out.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from msgspec import Struct

CHECKOUT = Path(__file__).parents[2]
DAY = date(2026, 11, 24)
"""The day on which the pages were written, in what they show."""

_BLOCK = re.compile(r"^```(?P<kind>\w+)(?: +(?P<told>[^\n]*))?\n(?P<text>.*?)^```$", re.M | re.S)


class Block(Struct, frozen=True):
    """A fenced block of a page, and the line on which it begins."""

    kind: str
    told: str
    text: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(found["kind"], found["told"] or "", found["text"], line)


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what it is shown to print."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, _, shown = part.replace("\\\n", "\x00").partition("\n")
        yield command.replace("\x00", "\\\n"), shown


def fits(shown: str, printed: str) -> bool:
    """Whether what was printed is what is shown, with anything where ``…`` stands.

    Alone in a line ``…`` is any number of lines, in a line it is any text. Blanks that end a line
    count for nothing.
    """
    lines = [line.rstrip() for line in printed.splitlines()]
    reached = {0}  # how many lines may have been matched so far
    for line in shown.splitlines():
        if line == "…":
            reached = set(range(min(reached, default=len(lines) + 1), len(lines) + 1))
            continue
        pattern = re.compile(".*?".join(map(re.escape, line.rstrip().split("…"))))
        reached = {n + 1 for n in reached if n < len(lines) and pattern.fullmatch(lines[n])}
    return len(lines) in reached


class Workplace:
    """A folder with the rules, the examples and the program, in which commands are carried out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[str]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CDS_", "GIT_"))}
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "CDS_PORT": self.port,
            "PYTHONPATH": str(folder),  # whose rules and examples it then takes for its own
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            **{f"GIT_{who}_NAME": "An Author" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "author@hospital.example" for who in ("AUTHOR", "COMMITTER")},
        }
        for name in ("cds", "rules", "fhir_examples"):
            shutil.copytree(
                CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        self.run("git init -q -b main && git add rules fhir_examples && git commit -q -m 'Begin'")

    def run(self, command: str) -> str:
        """What a command prints, on both streams."""
        done = subprocess.run(
            ["bash", "-c", self._here(command)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return self._as_told(done.stdout)

    def run_until(self, command: str, shown: str) -> str:
        """What a command prints once that is what is shown, or half a minute later."""
        end = time.monotonic() + 30
        while True:
            printed = self.run(command)
            if fits(shown, printed) or time.monotonic() > end:
                return printed
            time.sleep(0.2)  # until the service has looked at its files again

    def start(self, command: str) -> str:
        """Start a command that goes on, and wait for what it says when it is ready."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec env {self._here(command)}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.running.append(process)
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += "" if line.startswith("{") else line  # without its log
            if "Stop with" in line:
                break
        return self._as_told(printed)

    def talk(self, command: str, shown: str) -> str:
        """What a terminal shows of a command that asks, when its questions are answered as shown.

        An answer is what the page shows in the line after what has been printed so far.
        """
        child, terminal = pty.fork()
        if child == 0:  # pragma: no cover  # the new process
            os.chdir(self.folder)
            os.execvpe("bash", ["bash", "-c", command], self.environment)
        seen, end = "", time.monotonic() + 60
        try:
            while time.monotonic() < end:
                if not select.select([terminal], [], [], 0.05)[0]:
                    if shown.startswith(seen) and seen.endswith(": "):
                        answer = shown[len(seen) :].partition("\n")[0]
                        os.write(terminal, f"{answer}\n".encode())
                    continue
                try:
                    printed = os.read(terminal, 65536)
                except OSError:  # it has ended
                    break
                if not printed:
                    break
                seen += printed.decode().replace("\r\n", "\n")
        finally:
            os.close(terminal)
            if time.monotonic() >= end:
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        return self._as_told(seen)

    def stop(self) -> None:
        """End what still runs."""
        for process in self.running:
            process.terminate()
            process.communicate(timeout=30)

    def _here(self, command: str) -> str:
        return command.replace(":8000", f":{self.port}")

    def _as_told(self, printed: str) -> str:
        """What was printed, with the port, the folder and the days of the page."""
        today = date.today()
        return (
            printed.replace("\u202f", " ")  # before %, which pages have as a blank
            .replace(f":{self.port}", ":8000")
            .replace(f"{self.folder}/", "")
            .replace(str(today), str(DAY))
            .replace(str(today.replace(year=today.year + 1)), str(DAY.replace(year=DAY.year + 1)))
        )


def edit(folder: Path, diff: str) -> None:
    """Make the edit that a diff shows, in the file that its first line names."""
    first, *lines = diff.splitlines(keepends=True)
    path = folder / first.removeprefix("+++ ").strip()
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    text = path.read_text(encoding="utf-8")
    assert f"\n{text}".count(f"\n{old}") == 1, f"{path.name} does not hold this once:\n{old}"
    path.write_text(f"\n{text}".replace(f"\n{old}", f"\n{new}")[1:], encoding="utf-8")


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    """A folder to carry a page out in; what still runs in the end is ended."""
    made = Workplace(tmp_path)
    yield made
    made.stop()


@pytest.mark.parametrize("name, least", [("tutorial.md", 20), ("three-values.md", 3)])
def test_a_page_can_be_carried_out_as_it_is_written(
    name: str, least: int, workplace: Workplace
) -> None:
    """Every file, edit and command of a page, in order, gives what the page shows."""
    carried_out = 0
    for block in blocks((CHECKOUT / "docs" / name).read_text(encoding="utf-8")):
        where = f"docs/{name}:{block.line}"
        if block.kind == "diff":
            edit(workplace.folder, block.text)
        elif titled := re.search(r'title="([^"]+)"', block.told):
            path = workplace.folder / titled[1]
            assert path.parent.is_dir(), where
            path.write_text(block.text, encoding="utf-8")
        elif block.kind == "console":
            for command, shown in commands(block):
                printed = carry_out(command, shown, block.told, workplace)
                assert fits(shown, printed), f"{where}: {command}\n{printed}"
                carried_out += 1
    assert carried_out >= least


def carry_out(command: str, shown: str, told: str, workplace: Workplace) -> str:
    """What a command prints; ``told`` says whether it goes on, or is repeated until it fits."""
    if "background" in told:
        return workplace.start(command)
    if "until" in told:
        return workplace.run_until(command, shown)
    if command == "cds rules new":
        return workplace.talk(command, shown)
    return workplace.run(command)


def test_what_a_page_leaves_out_is_marked() -> None:
    """Only ``…`` lets an output differ from what is shown."""
    assert fits("a\n…\nb … d\n", "a\nx\ny\nb c d\n")
    assert not fits("a\nb\n", "a\nx\nb\n")
    assert not fits("a\n…\nb\n", "a\nx\n")
    assert not fits("a\n", "a\nb\n")
