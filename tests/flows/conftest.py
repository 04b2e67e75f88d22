"""What the flows' tests share; their flows run without Prefect unless a test names its API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.checkers import checker_in


@pytest.fixture(scope="package", autouse=True)
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let every command of these tests have its contracts checked by one process.

    What a command does without one is tested where the program is run as a person runs it.
    """
    with checker_in(tmp_path_factory.mktemp("checker")):
        yield
