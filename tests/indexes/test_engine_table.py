import subprocess
import sys
from pathlib import Path

import pytest

from vision_recs.errors import VisionRecsError
from vision_recs.indexes import ENGINES, build_index, open_index


def test_there_are_exact_and_approximate_engines():
    assert set(ENGINES) == {"exact", "flat", "hnsw", "ivf-pq", "faiss"}


@pytest.mark.parametrize("use", [build_index, open_index])
def test_an_unknown_engine_is_refused_with_the_names_that_exist(use, random_source, tmp_path):
    with pytest.raises(
        VisionRecsError, match=r"there is no engine 'annoy'; use one of exact, faiss, flat, hnsw, ivf-pq"
    ):
        use("annoy", random_source(1, 2), tmp_path)


def test_the_exact_engine_writes_nothing_and_needs_no_folder(random_source, tmp_path):
    source = random_source(3, 4)
    build_index("exact", source, tmp_path)
    assert list(tmp_path.iterdir()) == []
    (matches,) = open_index("exact", source, Path("/nowhere")).search(source.every[2:3], 1)
    assert [match.id for match in matches] == ["item2"]


def test_importing_the_engines_does_not_import_faiss():
    code = "import sys, vision_recs.indexes; print('faiss' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
