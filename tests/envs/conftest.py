"""A cache of warm-ups that is the tests' own."""

from collections.abc import Iterator

import pytest

import memsim.jit  # its own cache must not move with XDG_CACHE_HOME

assert memsim.jit.CACHE_FOLDER


@pytest.fixture(scope="session", autouse=True)
def starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests' warm-ups together, apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
