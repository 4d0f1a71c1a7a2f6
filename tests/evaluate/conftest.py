import pytest
from fake_shop import FakeEncoder


@pytest.fixture
def encoder():
    return FakeEncoder()
