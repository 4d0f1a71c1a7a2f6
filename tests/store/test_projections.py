"""The file of a projection."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vision_recs.errors import StoreDamaged
from vision_recs.store.projections import Part, Projection, read_projection

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


def test_a_diagonal_multiplies_each_number():
    projection = Projection(MEAN, np.arange(1, len(MEAN) + 1, dtype=np.float32))
    vectors = np.random.default_rng(2).normal(size=(3, len(MEAN))).astype(np.float32)
    assert projection.apply(vectors) == pytest.approx((vectors - MEAN) * np.arange(1, len(MEAN) + 1))
    assert projection.dim == len(MEAN)


def test_the_mean_stands_for_a_part_that_a_vector_lacks(tmp_path):
    mean = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    projection = Projection(mean, np.eye(4, dtype=np.float32), parts=(Part(1, 0.6), Part(3, 0.8)))
    vectors = np.array([[0.6, 0, 0.8, 0], [1, 0, 0, 0], [0, 0, 0, -1], [np.nan, 0.8, 0, 0]], np.float32)
    wanted = [[0.6, 0, 0.8, 0], [0.6, 0.2, 0.3, 0.4], [0.1, 0, 0, -0.8], [0.1, 0.8, 0, 0]]
    assert projection.completed(vectors) == pytest.approx(np.array(wanted))
    data = projection.to_bytes()
    path = tmp_path / "p"
    path.write_bytes(data)
    read = read_projection(path, digest=hashlib.sha256(data).hexdigest(), dim=4)
    assert read.parts == projection.parts
