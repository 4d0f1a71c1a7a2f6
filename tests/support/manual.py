"""The examples of README.md and of the pages in docs/: commands and Python, and the output that stands below them.

python tests/support/manual.py PAGE...   run the examples of pages, and write what they print into the pages
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN_BY_CI = {"make demo", "make test", "make lint", "make docs", "make package"}

_FENCE = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*) -->\n\n?)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; *note* is the comment that stands above it."""

    kind: str
    text: str
    note: str

    @property
    def reason(self) -> str | None:
        """Why the examples of the block are not run, if they are not."""
        return self.note.removeprefix("not run: ") if self.note.startswith("not run: ") else None

    @property
    def file(self) -> str | None:
        """The name of the file that the block shows, if it shows one."""
        return self.note.removeprefix("file: ") if self.note.startswith("file: ") else None


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of *page*."""
    return [Block(found["kind"], found["text"], found["note"] or "") for found in _FENCE.finditer(page)]


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output below it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def prepare(folder: Path) -> None:
    """Make *folder* the one in which a reader stands who has the repository before him."""
    for name in ("sample_images", "docs"):
        (folder / name).symlink_to(ROOT / name)


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run *command* in *folder*."""
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )


def environment() -> dict[str, str]:
    """Return the variables of a reader, who has chosen neither a store nor an encoder."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("VISREC_STORE")}
    found.pop("VISREC_ENCODER", None)
    return {**found, "PATH": f"{Path(sys.executable).parent}:{found['PATH']}", "COLUMNS": "100"}


Runner = Callable[[list[str], Path], subprocess.CompletedProcess[str]]


def run_page(page: str, folder: Path, run: Runner = run) -> Iterator[tuple[Block, str, str, str]]:
    """Run the examples of *page* in *folder*, and yield for each: its block, itself, what it shows, what it printed.

    *run* runs a command in a folder. Raises AssertionError for one that fails.
    """

    def printed_by(command: list[str]) -> str:
        done = run(command, folder)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"
        return done.stdout

    found = blocks(page)
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block.reason is not None:
            continue
        if block.file is not None:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.kind == "console":
            for command, output in commands(block):
                if command not in RUN_BY_CI:
                    yield block, command, output, printed_by(shlex.split(command))
        elif block.kind == "python":
            shown = after.text if after is not None and after.kind == "text" and not after.note else ""
            yield block, block.text, shown, printed_by([sys.executable, "-c", block.text])


def record(path: Path) -> None:
    """Write what the examples of the page *path* print into the page, wherever it shows an output."""
    page = path.read_text("utf-8")
    done = 0  # how much of the page is up to date
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for block, example, shown, printed in list(run_page(page, Path(folder))):
            before = f"$ {example}\n" if block.kind == "console" else f"{example}```\n\n```text\n"
            start = page.find(before + shown, done) + len(before)
            if shown:
                output = printed.replace(f"{folder}/", "/shop/")
                page = page[:start] + output + page[start + len(shown) :]
                done = start + len(output)
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    assert shutil.which("visrec", path=str(Path(sys.executable).parent)), "install visrec into this environment first"
    for name in sys.argv[1:]:
        record(Path(name))
