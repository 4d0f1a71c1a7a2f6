import pytest
from web_site import Site


@pytest.fixture
def site():
    found = Site()
    found.start()
    yield found
    found.stop()
