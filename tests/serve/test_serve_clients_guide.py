"""The requests of the guide for clients are answered: with curl, in Python and in JavaScript, of every route."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from demo_shop import demo_store
from manual import ROOT, blocks

from vision_recs.serve.app import ROUTES

GUIDE = (ROOT / "docs" / "guides" / "clients.md").read_text("utf-8")
NOT_SHOWN = {
    "/",
    "/page/{file}",
    "/v1/session",
    "/healthz",
    "/openapi.json",
    "/v1/thumbnails/{digest}",
    "/v1/items/{id}",
}
PRINTED = """\
['mug-04', 'bottle-05']
True
['mug-04', 'bottle-02']
mug-01
5 ['mug-04', 'mug-05']
['mug-01-1.jpg', 'mug-01-2.jpg', 'mug-01-3.jpg', 'mug-01-4.jpg']
[['mug', 5]]
1
1
3
ready 60
there is no parameter 'limitt'; the nearest is 'limit'
"""


@pytest.fixture(scope="module")
def server(serve, sample_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    store = demo_store(sample_store, folder / "store")
    with serve(store, folder / "log", "--events", folder / "events", "--preload", VISREC_TOKEN="secret") as server:
        yield server


@pytest.fixture
def run(sample_images, tmp_path):
    """Run a program in a folder with a photo."""
    shutil.copy(sample_images / "mug-01-2.jpg", tmp_path / "photo.jpg")

    def run(command):
        done = subprocess.run(
            command, cwd=tmp_path, env={"VISREC_TOKEN": "secret"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


def program(kind, server):
    return "\n".join(block.text for block in blocks(GUIDE) if block.kind == kind).replace(
        "http://127.0.0.1:8000", server.url
    )


def test_python_calls_every_route(run, server):
    assert run([sys.executable, "-c", program("python", server)]).stdout == PRINTED


def test_javascript_does_the_same(run, server, tmp_path):
    driver = pytest.importorskip("playwright._impl._driver")
    node, *_ = driver.compute_driver_executable()
    (tmp_path / "client.mjs").write_text(program("js", server))
    printed = run([node, "client.mjs"]).stdout
    plain = re.sub(r"\s+", " ", printed.replace("true", "True"))
    assert plain.replace("[ ", "[").replace(" ]", "]") == re.sub(r"\s+", " ", PRINTED)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_curl_does_too(run, server):
    commands = [line for block in blocks(GUIDE) if block.kind == "sh" for line in block.text.splitlines()]
    for command in commands:
        done = run(
            [
                *shlex.split(command.replace("http://127.0.0.1:8000", server.url).replace("$VISREC_TOKEN", "secret")),
                *("--silent", "--show-error", "--write-out", "\n%{http_code}"),
            ]
        )
        status = int(done.stdout.rsplit("\n", 1)[1])
        assert status == (400 if "limitt" in command else 202 if "update" in command or "events" in command else 200)
    shown = " ".join(commands)
    paths = {re.sub(r":any}", "}", route.path) for route in ROUTES} - NOT_SHOWN
    assert [path for path in paths if re.sub(r"\{.*?\}", "", path) not in shown] == []


def test_the_guide_is_a_page_of_the_manual():
    assert "guides/clients.md" in Path(ROOT / "mkdocs.yml").read_text("utf-8")
