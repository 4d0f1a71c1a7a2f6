"""Reading files of FAISS."""

import os
from pathlib import Path

import pytest

from vision_recs.errors import StoreError
from vision_recs.indexes.faiss_files import read_faiss


@pytest.mark.parametrize("mapped", [False, True])
def test_a_name_that_is_not_text_is_refused_with_a_sentence(mapped):
    with pytest.raises(StoreError, match="is not UTF-8, which FAISS needs; name another folder with --store"):
        read_faiss(Path(os.fsdecode(b"caf\xe9/index.faiss")), mapped=mapped)
