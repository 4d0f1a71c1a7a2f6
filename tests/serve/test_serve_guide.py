"""The requests with curl in the guide are answered."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from vision_recs.store import Store

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "serving.md"
EVERY = re.findall(r"^curl .*$", GUIDE.read_text("utf-8"), re.MULTILINE)
CHANGES = [command for command in EVERY if "/v1/items:update" in command]
COMMANDS = [command for command in EVERY if command not in CHANGES]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
@pytest.mark.parametrize("command", COMMANDS)
def test_curl_gets_an_answer(server, command, tmp_path, sample_images):
    shutil.copy(sample_images / "mug-01-2.jpg", tmp_path / "photo.jpg")
    command = command.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        shlex.split(f"{command} --silent --show-error --fail"), cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["matches"][0]["id"].startswith("mug")


def test_the_guide_shows_the_kinds_of_requests():
    assert (len(COMMANDS), len(CHANGES)) == (5, 2)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_curl_changes_items(serve, sample_store, tmp_path):
    shutil.copytree(sample_store, tmp_path / "store")
    (tmp_path / "changes.jsonl").write_text(
        '{"id": "mug-01", "price": 12.9, "version": 6}\n{"id": "mug-02", "price": 8}\n'
    )
    answers = []
    with serve(tmp_path / "store", tmp_path / "log", VISREC_TOKEN="secret") as server:
        for command in CHANGES:
            here = command.replace("http://127.0.0.1:8000", server.url).replace("$VISREC_TOKEN", "secret")
            asked = [*shlex.split(here), "--silent", "--show-error", "--fail"]
            answers.append(json.loads(subprocess.run(asked, cwd=tmp_path, capture_output=True, check=True).stdout))
    assert [(each["made"], each["stale"]) for each in answers] == [(2, 0), (1, 1)]
    with Store.open(tmp_path / "store") as store:
        assert store.generation == answers[1]["generation"]
        assert (store.attributes("mug-01")["price"], store.attributes("mug-02")["price"]) == (11.9, 8)
        assert "lamp-05" not in store.items.ids()
