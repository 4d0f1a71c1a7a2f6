"""The file of a projection."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vision_recs.errors import StoreDamaged
from vision_recs.store.projections import Projection, read_projection

MEAN = np.array([0.5, -1.0, 2.0], np.float32)
MATRIX = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]], np.float32)
PROVENANCE = {"learned_from": "pairs", "created": "2026-01-01", "encoder": "fake", "where": "", "steps": "7"}

WRITE = """
import sys
import numpy as np
from vision_recs.store.projections import Projection
names = sys.argv[1].split(",")
mean, matrix = np.array([.5, -1, 2], np.float32), np.array([[1, 2], [0, 1], [3, -1]], np.float32)
sys.stdout.buffer.write(Projection(mean, matrix, {name: name for name in names}).to_bytes())
"""


def test_vectors_minus_the_mean_times_the_matrix(tmp_path):
    projection = Projection(MEAN, MATRIX)
    assert projection.dim == 2
    assert projection.apply(np.array([[1.5, 0.0, 2.0]], np.float32)).tolist() == [[1.0, 3.0]]
    data = projection.to_bytes()
    (tmp_path / "file").write_bytes(data)
    read = read_projection(tmp_path / "file", digest=hashlib.sha256(data).hexdigest(), dim=3)
    assert (read.mean.tolist(), read.matrix.tolist(), read.provenance) == (MEAN.tolist(), MATRIX.tolist(), {})


def test_where_it_comes_from_is_in_the_metadata(tmp_path):
    data = Projection(MEAN, MATRIX, PROVENANCE).to_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["provenance"]) == PROVENANCE
    (tmp_path / "file").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    assert read_projection(tmp_path / "file", digest=digest, dim=3).provenance == PROVENANCE


def test_equal_projections_give_equal_bytes_in_every_process():
    def bytes_of(names):
        command = [sys.executable, "-c", WRITE, ",".join(names)]
        return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=True).stdout

    names = sorted(PROVENANCE)
    assert len({bytes_of(names), bytes_of(names[::-1]), bytes_of(names)}) == 1


def test_a_projection_of_other_vectors_is_refused(tmp_path):
    data = Projection(MEAN, MATRIX).to_bytes()
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(StoreDamaged, match="takes vectors of 3 columns, and those of the store have 4"):
        read_projection(tmp_path / "file", digest=hashlib.sha256(data).hexdigest(), dim=4)
    (tmp_path / "file").write_bytes(data[:-1] + b"\1")
    with pytest.raises(StoreDamaged, match="was altered; run `visrec tune --undo`"):
        read_projection(tmp_path / "file", digest=hashlib.sha256(data).hexdigest(), dim=3)
