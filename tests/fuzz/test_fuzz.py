"""Whatever bytes a file of a store or an image has: what reads it returns, or says why it cannot in a sentence.

Here the seeds are read, and changed a little; `make nightly` lets atheris, which follows the code, look for more.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import fuzz_targets
import pytest
from parts import part_of_time

IN_CI = 40
"""Changed seeds of a target."""

NIGHTLY_S = 300

every_target = pytest.mark.parametrize("name", fuzz_targets.TARGETS)


@every_target
def test_seeds_and_a_few_changes_of_them_are_read_or_refused(name):
    draw, seeds = random.Random(name), list(fuzz_targets.seeds(name))
    assert seeds
    for seed in seeds:
        fuzz_targets.run(name, seed)
    for _ in range(IN_CI):
        fuzz_targets.run(name, changed(draw.choice(seeds), draw))


def test_nothing_is_no_file():
    for name in fuzz_targets.TARGETS:
        fuzz_targets.run(name, b"")


def changed(seed, draw):
    data = bytearray(seed)
    for _ in range(draw.choice([1, 1, 2, 8])):
        place = draw.randrange(len(data) + 1)
        stop = place + draw.choice([0, 1, 1, 4, len(data)])
        data[place:stop] = draw.choice([b"", draw.randbytes(1), draw.randbytes(8), b"\0" * (stop - place), b"\xff" * 4])
    return bytes(data)


@pytest.mark.nightly
@every_target
def test_a_fuzzer_finds_nothing(name, tmp_path):
    pytest.importorskip("atheris", reason="atheris has wheels for Linux on x86-64 only, up to Python 3.13")
    fuzz = Path(__file__).with_name("fuzz.py")
    options = [f"-max_total_time={part_of_time(NIGHTLY_S):.0f}", f"-artifact_prefix={tmp_path}/"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # the fuzzer ends its process, which then tidies nothing
    command = [sys.executable, fuzz, name, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
