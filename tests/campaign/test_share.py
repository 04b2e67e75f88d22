"""The share of the campaign that the gate runs; `python -m tests.campaign` runs all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_share_of_the_campaign_breaks_no_invariant(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"

    done = subprocess.run(
        [sys.executable, "-m", "tests.campaign", "--share", "--json", str(rows)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    parts = {row["part"] for row in json.loads(rows.read_text())}
    wanted = {"kills", "failpoints", "races", "configurations", "mutations", "stateful"}
    assert wanted <= parts
