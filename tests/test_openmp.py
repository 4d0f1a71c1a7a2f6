"""The threads of FAISS and of PyTorch sleep while they wait, and nobody else's do."""

import os
import re
import subprocess
import sys

import pytest

AT_ONCE, SOON, SPINS = "0", "50000", "30000000000"
"""How many times a thread looks before it sleeps, by what OpenMP prints."""
DECIDED = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
ASK = """
import os
import vision_recs.{}
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("module", "given", "looks"),
    [
        ("indexes.flat", None, AT_ONCE),
        ("indexes.flat", "ACTIVE", SPINS),
        ("encoders.backbone", None, SOON),
        pytest.param("encoders.backbone", "ACTIVE", SPINS, marks=pytest.mark.nightly),
    ],
)
def test_threads_sleep_while_they_wait_unless_somebody_decided_otherwise(module, given, looks):
    environment = {name: value for name, value in os.environ.items() if name not in DECIDED}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    environment["OMP_DISPLAY_ENV"] = "VERBOSE"  # OpenMP prints what it goes by
    code = ASK.format(module)
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert re.findall("GOMP_SPINCOUNT = '(.*)'", ran.stderr) == [looks]
    assert ran.stdout.strip() == f"{given} None"  # programs that this one starts see what was there before
