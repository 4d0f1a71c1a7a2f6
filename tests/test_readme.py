"""Every command and every Python example of the README runs, and prints what the README says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
RUN_BY_CI = {"make demo", "make test"}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command of the README with the output that it shows."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def without_numbers(text: str) -> str:
    """Mask what differs between machines: figures, the catalog's place, and the width of a table."""
    text = re.sub(r"^(catalog +).*", r"\1...", text, flags=re.MULTILINE)
    text = re.sub(r"^(created +).*", r"\1...", text, flags=re.MULTILINE)
    text = re.sub(r"(bottleneck is) .*", r"\1 ...", text)
    return re.sub(r" +", " ", re.sub(r"\d[\d.,]*", "#", text))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "sample_images").symlink_to(ROOT / "sample_images")
    return tmp_path


def run(command: list[str], shop: Path) -> str:
    programs = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if name not in ("VISREC_STORE", "VISREC_ENCODER")}
    environment |= {"PATH": f"{programs}:{environment['PATH']}", "COLUMNS": "100"}
    done = subprocess.run(command, cwd=shop, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_print_what_the_readme_shows(shop: Path) -> None:
    shown = [(command, output) for command, output in commands() if command not in RUN_BY_CI]
    assert len(shown) >= 8
    for command, output in shown:
        printed = run(shlex.split(command), shop)
        if output:
            assert without_numbers(printed) == without_numbers(output), command
    assert (shop / "similar.html").stat().st_size > 10_000


def test_the_python_example_prints_what_the_readme_shows(shop: Path) -> None:
    (example,) = blocks("python")
    (output,) = blocks("text")
    assert run([sys.executable, "-c", example], shop) == output


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert set(script.splitlines()) >= RUN_BY_CI
    assert {command for command, _ in commands()} >= RUN_BY_CI
