"""One training of a pipeline at a time, and only if the policy admits its cause."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Literal

from tasks.base.errors import NoNewerRowsError
from tasks.base.monitoring_records import Cause, PolicyDecision
from tasks.base.runtime.progress import Step, report
from tasks.ledger.single_flight import Busy
from tasks.policy.admission import admit, record_skip
from tasks.registry.open_pipeline import OpenPipeline
from tasks.training.interrupted_promotion import record_left

_POLL_SECONDS = 0.5


@contextmanager
def admitted(
    pipeline: OpenPipeline, cause: Cause, *, refit: bool = False
) -> Iterator[PolicyDecision]:
    """Hold the pipeline's flight and yield the policy's decision on `cause`."""
    # A person's run while another training goes on waits for it, and then finds its work done; an
    # alarm or the calendar does not wait: the refusal is recorded.
    with ExitStack() as held:
        if not _take_off(pipeline, cause, held):
            why = "another training of this pipeline is going on."
            yield _withheld(pipeline, cause, "running", why)
            return
        # Of the process that was waited for.
        record_left(pipeline)
        yield admit(pipeline, cause, datetime.now(UTC), refit=refit)


def hold_back(pipeline: OpenPipeline, cause: Cause, error: NoNewerRowsError) -> PolicyDecision:
    """Record that a refit waits for rows; return the decision."""
    return _withheld(pipeline, cause, "rows", error.message)


def _take_off(pipeline: OpenPipeline, cause: Cause, held: ExitStack) -> bool:
    reported = False
    while True:
        try:
            held.enter_context(pipeline.ledger.flight(pipeline.config.name))
        except Busy as busy:
            if cause.kind != "manual":
                return False
            if not reported:
                report(Step("wait", busy.message, 0, 1))
                reported = True
            time.sleep(_POLL_SECONDS)
        else:
            return True


def _withheld(
    pipeline: OpenPipeline, cause: Cause, by: Literal["rows", "running"], why: str
) -> PolicyDecision:
    decision = PolicyDecision(
        retrain=False, reasons=cause.reasons, withheld=by, sentence=f"Not trained: {why}"
    )
    record_skip(pipeline, cause, decision, datetime.now(UTC))
    return decision
