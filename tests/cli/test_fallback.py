"""Where PyTorch has to take the place of OpenVINO, a person sees it: while the run begins, and in its report."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from vision_recs.encoders import openvino_runtime
from visrec_cli.main import main

def refuse(*_):
    raise RuntimeError("no such operation")

openvino_runtime.convert = refuse
main()
"""
WARNING = (
    "visrec: efficientnet-lite0 runs on PyTorch, which may be ten times slower: "
    "OpenVINO cannot run it (RuntimeError: no such operation)"
)


@pytest.fixture
def index(sample_images, tmp_path):
    pytest.importorskip("openvino")
    (tmp_path / "shop").mkdir()
    for name in ("mug-01-1.jpg", "mug-02-1.jpg"):
        (tmp_path / "shop" / name).symlink_to(sample_images / name)

    def index(*options):
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, "index", "shop", "--device", "cpu", *options],
            cwd=tmp_path,
            env={**os.environ, "VISREC_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )

    return index


def test_a_person_reads_it_at_once_and_in_the_report(index):
    done = index()
    assert done.stderr.count(WARNING) == 1
    assert (
        "computed by torch f32, which may be ten times slower: OpenVINO cannot run it (RuntimeError: no such operation)"
        in done.stdout.splitlines()
    )
    assert "computed by" not in index().stdout  # nothing was embedded


def test_a_program_reads_it_in_the_report(index):
    done = index("--json", "--quiet")
    report = json.loads(done.stdout)
    assert (report["runtime"], report["fallback"]) == (
        "torch f32",
        "OpenVINO cannot run it (RuntimeError: no such operation)",
    )
    assert done.stderr == f"{WARNING}\n"
