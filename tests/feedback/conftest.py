import pytest


@pytest.fixture
def secret():
    return bytes(range(32))
