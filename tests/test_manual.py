"""The examples of the README and of the manual run and print what the pages show; what is generated is up to date."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from manual import PAGES, ROOT, RUN_BY_CI, blocks, commands, environment, prepare, run, run_page
from program import PROGRAM

SHOWN_KINDS = {"text", "json", "toml", "csv", "html", "yaml", "mermaid"}
"""What a page only shows."""


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_numbers(text: str) -> str:
    """Mask what differs between machines: numbers, the catalog's place, and the width of a table."""
    text = re.sub(r"^(catalog +).*", r"\1...", text, flags=re.MULTILINE)
    text = re.sub(r"^(created +).*", r"\1...", text, flags=re.MULTILINE)
    text = re.sub(r"\[[0-9a-f]{16}\]", "[...]", text)
    text = re.sub(r"^(fingerprint +)[0-9a-f]{16}", r"\1...", text, flags=re.MULTILINE)
    text = re.sub(r"(bottleneck is) .*", r"\1 ...", text)
    return re.sub(r" +", " ", re.sub(r"\d[\d.,]*", "#", text))


def has_examples(path: Path) -> bool:
    return any(
        block.kind in {"console", "python"} and block.reason is None for block in blocks(path.read_text("utf-8"))
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader of each page stands in turn."""
    return tmp_path_factory.mktemp("manual") / "shop"


@pytest.fixture(scope="module")
def run_quickly(folder, forked_program):
    """Run a command in the folder, the program and Python by forks; what most pages begin with is run once."""
    store, kept = folder / ".visrec", folder.with_name("kept")
    index = ["visrec", "index", "sample_images/catalog.csv"]
    programs = {"visrec": PROGRAM, "python": sys.executable, sys.executable: sys.executable}
    done = []

    def fork(command, folder):
        if command[0] not in programs:
            return run(command, folder)
        return forked_program.run(command[1:], folder, environment(), programs[command[0]])

    def run_quickly(command, folder):
        if command != index or store.exists():
            return fork(command, folder)
        if done:
            shutil.copytree(kept, store)
            return done[0]
        found = fork(command, folder)
        if found.returncode == 0:
            shutil.copytree(store, kept)
            done.append(found)
        return found

    return run_quickly


@pytest.mark.parametrize("path", [path for path in PAGES if has_examples(path)], ids=page_id)
def test_the_examples_of_a_page_print_what_it_shows(path, folder, run_quickly):
    """Those of the README are run as they stand; those of other pages are run by forks, see `program`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    prepare(folder)
    runner = run if path.name == "README.md" else run_quickly
    for _, example, shown, printed in run_page(path.read_text("utf-8"), folder, runner):
        if shown:
            assert without_numbers(printed) == without_numbers(shown), example


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_an_example_that_is_not_run_says_why(path):
    for block in blocks(path.read_text("utf-8")):
        if block.kind in {"console", "python"}:
            continue
        is_request = block.kind == "sh" and all(line.startswith("curl ") for line in block.text.splitlines())
        assert block.kind in SHOWN_KINDS or is_request or block.reason or block.file, block.text


def test_ci_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    readme = blocks((ROOT / "README.md").read_text("utf-8"))
    named = {command for block in readme if block.kind == "console" for command, _ in commands(block)} & RUN_BY_CI
    assert {"make demo", "make test"} <= named <= {line.strip() for line in script.splitlines()}


def test_the_links_of_the_readme_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        text = (ROOT / name).read_text("utf-8")
        links = re.findall(r"\]\(([^)#]+)[^)]*\)|(?:src|href)=\"([^\"#]+)", text)
        for link in ("".join(pair) for pair in links):
            assert link.startswith("https://") or (ROOT / link).exists(), f"{name}: {link}"


def test_the_readme_leads_to_every_page_of_the_manual():
    text = (ROOT / "README.md").read_text("utf-8")
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages - set(re.findall(r"\]\((docs/[^)#]+)\)", text)) == set()


@pytest.mark.parametrize(("page", "write"), [("cli.md", "command_line"), ("http.md", "http")])
def test_a_generated_page_is_what_the_program_says(page, write):
    assert (ROOT / "docs" / "reference" / page).read_text("utf-8") == getattr(generator(), write)(), (
        "run `python docs/generate.py`"
    )


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
