"""The share of the campaign that the gate runs; `python -m tests.campaign` runs all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HALVES = ("failpoints,kills", "races,configurations,mutations,stateful")
"""Parts that share one process each; the two run side by side."""


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_share_of_the_campaign_breaks_no_invariant(tmp_path: Path) -> None:
    campaign = [sys.executable, "-m", "tests.campaign", "--share"]
    rows = [tmp_path / f"{number}.json" for number in range(len(HALVES))]
    running = [
        subprocess.Popen(
            [*campaign, "--only", parts, "--json", str(file)], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for parts, file in zip(HALVES, rows, strict=True)
    ]  # fmt: skip

    out = [process.communicate()[0] for process in running]

    assert [process.returncode for process in running] == [0, 0], "\n".join(out)
    tried = {row["part"] for file in rows for row in json.loads(file.read_text()) if row["trials"]}
    assert tried == {part for parts in HALVES for part in parts.split(",")}
