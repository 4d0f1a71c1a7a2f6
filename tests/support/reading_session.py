"""Commands of the program one after the other in this process; what each of them did is a line of JSON in a file.

A command that ends the process leaves no line. The command `serve` asks a server for a few answers. Where the file
`deltas` lies in the folder, also few items become a delta of the generation before.
"""

import contextlib
import io
import json
import logging
import re
import sys
import traceback
from pathlib import Path

from fake_shop import FakeEncoder

REQUESTS = (
    "/v1/similar?id=item03&k=3",
    "/v1/similar?id=item03&k=3&where=price<9",
    "/v1/items?limit=3",
    "/v1/items/item03",
    "/v1/items?q=mug&limit=3",
    "/v1/facets",
    "/v1/info",
)


def main(arguments, _shim):
    commands, target = json.loads(arguments[0]), Path(arguments[1])
    from vision_recs.encoders import store_encoder
    from vision_recs.store import writer

    store_encoder.LoadOptions.load = lambda *_: FakeEncoder()
    if Path("deltas").exists():
        writer._FEW_ITEMS, writer._MOST_CHANGED = 0, 50
    with target.open("w") as file:
        for command in commands:
            file.write(json.dumps(serve(command) if command[0] == "serve" else run(command)) + "\n")
            file.flush()


def run(command):
    """Run the program as `visrec *command*`, and return its status, what it printed and an error that came through."""
    from visrec_cli import main as program

    out, err = io.StringIO(), io.StringIO()
    warnings = program._Warnings(logging.WARNING)
    sys.argv = ["visrec", *command]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        logging.getLogger().addHandler(warnings)
        try:
            status = program._run()
        except BaseException:  # noqa: BLE001 - the program would have ended with it
            status = traceback.format_exc()
        finally:
            logging.getLogger().removeHandler(warnings)
    return {"command": command, "status": status, "out": out.getvalue(), "err": err.getvalue()}


def lasting(text):
    """Return *text* without what the server finds out beside its answers, and tells once it knows."""
    return re.sub(r'"weak_below":[0-9.]+,', "", text)


def serve(command):
    """Start a server of the store that *command* names, and return the answers, or why it refuses to start."""
    from starlette.testclient import TestClient

    from vision_recs.errors import VisionRecsError
    from vision_recs.serve import ServeOptions, create_app

    store = Path(command[command.index("--store") + 1])
    try:
        with TestClient(create_app(ServeOptions(store)), raise_server_exceptions=False) as client:
            answers = [[path, response.status_code, lasting(response.text)] for path, response in asked(client)]
    except (VisionRecsError, OSError) as error:
        return {"command": command, "status": 1, "out": "", "err": f"visrec: {error}\n"}
    except Exception:  # noqa: BLE001 - whatever it is, it is what the trial found
        return {"command": command, "status": traceback.format_exc(), "out": "", "err": ""}
    return {"command": command, "status": 0, "out": json.dumps(answers), "err": ""}


def asked(client):
    return [(path, client.get(path)) for path in REQUESTS]
