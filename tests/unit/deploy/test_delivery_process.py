"""The process beside the prediction server delivers for each file that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.serving import delivery_process
from deploy.serving.delivery_process import Deliveries
from tests.unit.serving.served import pipeline_file


def test_a_file_that_cannot_be_read_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    delivered: list[str] = []
    monkeypatch.setattr(delivery_process, "open_pipeline", lambda found: found)

    def deliver(pipeline: Any) -> None:
        delivered.append(pipeline.path.parent.name)

    monkeypatch.setattr(delivery_process, "deliver", deliver)
    for name in ("broken", "whole"):
        (tmp_path / name).mkdir()
        pipeline_file(tmp_path / name)
    broken, whole = (tmp_path / name / "keepfit.yaml" for name in ("broken", "whole"))
    text = broken.read_text()
    broken.write_text("name: [")
    deliveries = Deliveries([str(broken), str(whole)])

    deliveries.once()
    broken.write_text(text)
    deliveries.once()

    assert delivered == ["whole", "broken", "whole"]
    assert str(broken) in caplog.text
