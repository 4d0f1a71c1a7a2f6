"""What the README asks the server with curl is answered."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
COMMANDS = re.findall(r"^curl .*$", README.read_text("utf-8"), re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
@pytest.mark.parametrize("command", COMMANDS)
def test_curl_gets_what_the_readme_asks_for(server, command, tmp_path, sample_images):
    shutil.copy(sample_images / "mug-01-2.jpg", tmp_path / "photo.jpg")
    command = command.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        shlex.split(f"{command} --silent --show-error --fail"), cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["matches"][0]["id"].startswith("mug")


def test_the_readme_shows_the_ways_to_ask():
    assert len(COMMANDS) == 5
