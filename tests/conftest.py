import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def state_folder() -> Iterator[None]:
    """Keep what services of the tests keep out of the home of whoever runs them."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", folder)
        patch.delenv("CDS_STATE", raising=False)
        yield
