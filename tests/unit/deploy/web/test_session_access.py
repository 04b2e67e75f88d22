"""Who may use a stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.web.session_access import running_access
from tasks.base.errors import UsageError


def test_without_a_stack_the_command_that_starts_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as none:
        running_access(tmp_path, Path("mine/keepfit.yaml"))
    assert "`keepfit up mine`" in none.value.remedy
