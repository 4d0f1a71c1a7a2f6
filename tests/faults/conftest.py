"""Processes whose calls to the kernel fail, and the places in which they run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault_points import Trials
from fault_scenarios import make_places
from faulty_process import FaultyProcess


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """The library that is preloaded, built here."""
    if sys.platform != "linux":
        pytest.skip("the library that is preloaded is written for Linux")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("there is no C compiler, without which no call can be made to fail")
        pytest.skip("there is no C compiler")
    built = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", built, source], check=True)
    return built


@pytest.fixture(scope="session")
def process(shim):
    with FaultyProcess(shim) as process:
        yield process


@pytest.fixture(scope="session")
def places(process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    make_places(folder, process)
    return folder


@pytest.fixture(scope="session")
def trials(process, places, tmp_path_factory):
    return Trials(process, places, tmp_path_factory.mktemp("trials"))
