"""Where PyTorch has to take the place of OpenVINO, a person sees it: while the run begins, and in its report."""

import json
import os
from pathlib import Path

import pytest
from program import Program

SCRIPT = Path(__file__).parents[1] / "support" / "without_openvino.py"
WARNING = (
    "visrec: efficientnet-lite0 runs on PyTorch, which may be ten times slower: "
    "OpenVINO cannot run it (RuntimeError: no such operation)"
)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    pytest.importorskip("vision_recs.encoders.openvino_runtime")
    with Program(tmp_path_factory.mktemp("program"), SCRIPT) as program:
        yield program


@pytest.fixture
def index(program, sample_images, tmp_path):
    (tmp_path / "shop").mkdir()
    for name in ("mug-01-1.jpg", "mug-02-1.jpg"):
        (tmp_path / "shop" / name).symlink_to(sample_images / name)

    def index(*options):
        environment = {**os.environ, "VISREC_CACHE": str(tmp_path / "cache")}
        done = program.run(["index", "shop", "--device", "cpu", *options], tmp_path, environment)
        assert done.returncode == 0, done.stderr
        return done

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
