"""Where what is derived is kept."""

import os
import pwd
from pathlib import Path

import pytest

from vision_recs.cache_dir import cache_dir
from vision_recs.encoders import list_encoders
from vision_recs.errors import CacheError


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """No home in the environment, and none in the passwd file, as in a container that runs under any user id."""

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("VISREC_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"VISREC_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/visrec"),
        ({"HOME": "/c"}, "/c/.cache/visrec"),
    ],
)
@pytest.mark.usefixtures("homeless")
def test_the_first_that_is_named_counts(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)


def test_without_a_home_it_is_a_folder_of_ones_own_among_the_temporary_ones(homeless):
    expected = homeless / f"visrec-{os.getuid()}"
    assert cache_dir() == expected
    assert expected.stat().st_mode & 0o777 == 0o700
    assert cache_dir() == expected


@pytest.mark.parametrize("taken", ["file", "link", "open to others"])
def test_a_folder_that_others_can_write_is_not_trusted(homeless, taken):
    path = homeless / f"visrec-{os.getuid()}"
    if taken == "file":
        path.write_bytes(b"")
    elif taken == "link":
        path.symlink_to(homeless)
    else:
        path.mkdir()
        path.chmod(0o777)
    with pytest.raises(CacheError, match="name a folder for the cache in VISREC_CACHE"):
        cache_dir()


@pytest.mark.usefixtures("homeless")
def test_encoders_are_listed_without_a_home():
    assert "efficientnet-lite0" in [info.name for info in list_encoders()]
