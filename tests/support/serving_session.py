"""A server from its start over a new generation to its end, in this process, while its calls fail."""

import ctypes
import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

from fake_shop import image
from starlette.testclient import TestClient

from vision_recs.errors import VisionRecsError
from vision_recs.serve import ServeOptions, create_app, reloader

POLL_S = 0.02
PATIENCE_S = 60.0  # a busy machine is slow

BY_WORDS = "/v1/items?q=mug&limit=3"
NEW_IN_THE_SECOND = "/v1/items?q=item16&limit=1"


def requests():
    """Return the paths to ask for; nothing here may open a file, since that call could be the one that fails."""
    digest = hashlib.sha256(image(3)).hexdigest()
    return [
        "/healthz",
        "/readyz",
        "/v1/similar?id=item03&k=3",
        "/v1/similar?id=item03&k=3&where=price<9",
        "/v1/items?limit=3",
        "/v1/items/item03",
        BY_WORDS,
        "/v1/facets",
        f"/v1/thumbnails/{digest}",
        "/metrics",
    ]


def ask(client):
    answers = []
    for path in requests():
        response = client.get(path)
        told = response.status_code >= 400 or path in {"/healthz", "/readyz", BY_WORDS}
        text = response.text if told else hashlib.sha256(response.content).hexdigest()
        answers.append([path, response.status_code, "" if path == "/metrics" and not told else text])
    return answers


def generation(client):
    response = client.get("/v1/info")
    return response.json().get("generation") if response.status_code == 200 else None


def wait_for(client, wanted, patience_s):
    until = time.monotonic() + patience_s
    while generation(client) != wanted and time.monotonic() < until:
        time.sleep(POLL_S)
    return generation(client)


def wait_until_settled(client):
    """Wait until the server has tried again what failed: at its next poll, and what the page needs a little later."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        facets, ready, new = (client.get(path) for path in ("/v1/facets", "/readyz", NEW_IN_THE_SECOND))
        is_taken = facets.status_code == 200 and facets.json()["generation"] == 2
        if is_taken and "reload_error" not in ready.json() and new.status_code == 200 and new.json()["total"]:
            return
        time.sleep(POLL_S)


def main(arguments, shim):
    """Tell what is answered; the server has so many seconds for the new generation before calls fail no more."""
    (patience,) = map(float, arguments)
    assert reloader._RETRY_S
    reloader._RETRY_S = 0.1
    pause, arm = shim.fault_pause, shim.fault_arm
    pause(1)
    newest = Path("store/CURRENT").read_bytes()
    shutil.copy("../old_current", "store/CURRENT")
    pause(0)
    told = {}
    try:
        app = create_app(ServeOptions(Path("store"), poll_interval_s=POLL_S))
    except (VisionRecsError, OSError) as error:  # of both the program makes a sentence
        sys.stdout.write(json.dumps({"refused": str(error)}) + "\n")
        sys.exit(1)
    with TestClient(app, raise_server_exceptions=False) as client:
        told["first"] = ask(client)
        pause(1)
        Path("store/next").write_bytes(newest)
        Path("store/next").rename("store/CURRENT")
        pause(0)
        told["taken"] = wait_for(client, 2, patience)
        told["second"] = ask(client)
        arm(b"/nowhere", ctypes.c_long(0), ctypes.c_long(0), 0, 0, -1, None)
        told["generation"] = wait_for(client, 2, PATIENCE_S)
        wait_until_settled(client)
        told["last"] = ask(client)
    sys.stdout.write(json.dumps(told) + "\n")
