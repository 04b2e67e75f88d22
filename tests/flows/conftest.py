"""One running Prefect API for the flows' tests; a test that wants none unsets its address.

It ends with them: whatever is tested next starts what it needs itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.checkers import checker_in
from tests.prefect_api import prefect_api_in


@pytest.fixture(scope="package", autouse=True)
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a Prefect API, which every command of these tests then uses."""
    with prefect_api_in(tmp_path_factory.mktemp("prefect")) as url:
        yield url


@pytest.fixture(scope="package", autouse=True)
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let every command of these tests have its contracts checked by one process.

    What a command does without one is tested where the program is run as a person runs it.
    """
    with checker_in(tmp_path_factory.mktemp("checker")):
        yield
