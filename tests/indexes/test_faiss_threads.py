"""The threads of FAISS sleep while they wait, and nobody else's do."""

import os
import subprocess
import sys

import pytest

ASK = """
import os
from vision_recs.indexes import flat
import faiss
print(os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize(("given", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_somebody_decided_otherwise(given, policy):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    environment["OMP_DISPLAY_ENV"] = "TRUE"  # OpenMP prints what it goes by
    ran = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{policy}'" in ran.stderr
    assert ran.stdout.strip() == str(given)  # programs that this one starts see what was there before
