"""A process that checks tables: Great Expectations is imported beside the work, not before it.

It reads one request a line from its standard input, writes one line for each, and ends with its
input, and so with the process that started it.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import expectations.check
import expectations.suite
from expectations.column_batches import check_in_parts
from expectations.contract import Contract
from expectations.failing_rows import find_faults
from expectations.late_labels import LateLabels
from expectations.page import render_page
from tasks.base.runtime.environment import collect_rarely, return_freed_memory, turn_telemetry_off
from tasks.base.runtime.files import write_whole
from tasks.base.runtime.libraries import pd
from tasks.data.snapshots import read_frame

if TYPE_CHECKING:
    from collections.abc import Sequence


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Check the snapshot that `request` names and return the outcome as plain values."""
    # Where the request names a file for them, the positions of the rows at fault are written there.
    contract = Contract.model_validate(request["contract"])
    path = request["snapshot"]

    def read(columns: Sequence[str]) -> pd.DataFrame:
        return read_frame(path, columns=columns)

    outcome = check_in_parts(
        read,
        read_frame(path, rows=np.empty(0, dtype=np.int64)).drop(columns=request["aside"]),
        request["rows"],
        contract,
        kinds=request["kinds"],
        late=LateLabels(**{**late, "until": datetime.fromisoformat(late["until"])})
        if (late := request.get("late"))
        else None,
    )
    write_whole(Path(request["page"]), render_page(outcome, contract, title=request["title"]))
    whole, aside = False, 0
    if request.get("faults"):
        faults = find_faults(read, request["rows"], contract, outcome)
        whole, aside = faults.whole, int(faults.rows.sum())
        if aside:
            buffer = io.BytesIO()
            np.save(buffer, np.flatnonzero(faults.rows).astype(np.int64))
            write_whole(Path(request["faults"]), buffer.getvalue())
    return {
        "whole": whole,
        "aside": aside,
        "passed": outcome.passed,
        "rows": outcome.rows,
        "seconds": outcome.seconds,
        "rules": [asdict(result) for result in outcome.results],
    }


def reply_to(line: str) -> str:
    """Return the reply line to a request; it carries any error."""
    reply: dict[str, Any]
    try:
        reply = {"outcome": answer(json.loads(line))}
    except Exception as error:  # noqa: BLE001 - the caller raises it with its kind
        found = {n: getattr(error, n, None) for n in ("errno", "strerror", "filename")}
        reply = {"error": {"type": type(error).__name__, "text": str(error), "system": found}}
    return json.dumps(reply, default=str)


def _end_with(parent: int) -> None:
    """End this process soon after the one that started it, whatever it is doing."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def main() -> None:
    """Reply to requests until the input ends."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    turn_telemetry_off()
    collect_rarely()
    return_freed_memory()
    out = sys.stdout
    sys.stdout = sys.stderr
    expectations.suite.warm_up()
    for line in sys.stdin:
        out.write(f"{reply_to(line)}\n")
        out.flush()


if __name__ == "__main__":
    main()
