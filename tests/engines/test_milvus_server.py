"""A real Milvus, version 2.3.5, in a network namespace of its own: the tests of all engines, of which it gets some."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]

TESTS = Path(__file__).parent.parent
PACKAGE = Path(sys.prefix) / "milvus-2.3.5"
RUNNER = TESTS / "support" / "milvus_server.py"
ALONE = ["unshare", "--net", "--pid", "--fork", "--kill-child"]
"""What runs behind it has a network of its own, with nobody else in it, and ends with it."""

FILES = [
    *(TESTS / "engines" / f"test_{name}.py" for name in ("filters_in_engines", "publishing", "answers_from_engines")),
    TESTS / "contract" / "test_index_contract.py",
]
ASKED = [
    *("leaves_the_items_that_a_filter", "never_dropped", "fetches_until"),
    *(
        "exactly_its_difference",
        "every_batch",
        "one_generation and index",
        "drift",
        "rollback_goes_to_the",
        "another_encoder",
    ),
    *("a_switch_never", "a_way_back_never", "several_who_swap"),
    *("answers_are_those_of_the_store", "what_is_unknown", "above_the_exact_scan"),
    *("far_from_the_query", "ties_are_ordered", "of_many_images_hides"),
]
"""Parts of the names of the tests that the server is asked; each takes it up to a minute."""


def test_a_real_server_does_what_every_engine_does(tmp_path):
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace can be made here: that takes root, and util-linux")
    if not (PACKAGE / "milvus").is_dir():
        pytest.skip("no server here; `make nightly` installs milvus 2.3.5 beside the environment")
    names = " or ".join(f"({name})" for name in ASKED)
    command = [*ALONE, sys.executable, RUNNER, PACKAGE, tmp_path / "data", *FILES, "-k", f"milvus_server and ({names})"]
    command += ["-p", "no:randomly", "-n", "0", "-ra", "--timeout", "1800", "-m", "", "--durations", "20"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=TESTS.parent)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    outcome = done.stdout.splitlines()[-1]
    assert f"{len(ASKED)} passed" in outcome
    assert "skipped" not in outcome
