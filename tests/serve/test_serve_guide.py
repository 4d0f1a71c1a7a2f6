"""The requests with curl in the guide are answered."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "serving.md"
COMMANDS = re.findall(r"^curl .*$", GUIDE.read_text("utf-8"), re.MULTILINE)


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
    assert len(COMMANDS) == 5
