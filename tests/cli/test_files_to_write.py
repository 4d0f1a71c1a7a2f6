"""Files that are written at the end of a command are looked at before its work."""

import pytest


@pytest.mark.parametrize(
    "command",
    [
        ("similar", "mug-01", "--html"),
        ("duplicates", "--html"),
        ("duplicates", "--csv"),
        ("evaluate", "--labels", "category", "--html"),
        ("outcomes", "--html"),
        ("replay", "--plain", "--html"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_any_work(visrec, tmp_path, command):
    for place, why in (
        ("nowhere/page.csv", "there is no folder nowhere; make it"),
        (".", ". is a folder; name a file"),
    ):
        done = visrec(*command, place, cwd=tmp_path)  # which has no store
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
