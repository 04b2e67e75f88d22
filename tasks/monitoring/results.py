"""Performance where labels have arrived: of the window, and of earlier ones that matured since."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from tasks.base.errors import KeepfitError, TransientError
from tasks.base.loop import Decision, Performance, Window
from tasks.base.own_code import OwnCode
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import ModelVersion
from tasks.monitoring.passes import Look, trained_until
from tasks.registry.stores import store_of

if TYPE_CHECKING:
    import pandas as pd

_WINDOWS_BACK = 12


def performances_of(
    pipeline: Pipeline, look: Look, earlier: Sequence[Decision], now: datetime
) -> tuple[Performance, ...]:
    """Return how the champion did on this window and on those whose labels were not mature.

    Parameters
    ----------
    earlier
        Decisions of kind ``monitored``, newest first.
    """
    if look.window is None and pipeline.config.scoring.source is None:
        # Without a time nothing tells these rows from those of the training.
        return ()
    windows = [*(w for w in _unsettled(earlier, look) if w != look.window), look.window]
    return tuple(_performance(pipeline, look.champion, window, now) for window in windows)


def _unsettled(earlier: Sequence[Decision], look: Look) -> list[Window]:
    """Return earlier windows of this champion whose last statement was not final, oldest first."""
    settled: dict[Window, bool] = {}
    for decision in earlier:
        if decision.version != look.champion.version:
            continue
        for stated in decision.evidence.get("performance") or []:  # type: ignore[union-attr]
            performance = Performance.model_validate(stated)
            if performance.window is not None and performance.window not in settled:
                settled[performance.window] = performance.mature
    open_windows = [window for window, final in settled.items() if not final]
    return sorted(open_windows, key=lambda w: w.start)[-_WINDOWS_BACK:]


def _performance(
    pipeline: Pipeline, champion: ModelVersion, window: Window | None, now: datetime
) -> Performance:
    from tasks.ledger.labels import collect_labels
    from tasks.monitoring.performance import assess_window
    from tasks.registry.holdouts import holdout_of

    config = pipeline.config
    roles = champion.roles.running(OwnCode.of(config.hooks, pipeline.base))
    metric = champion.tags.get("keepfit.metric", config.metric or "")
    span = (window.start, window.end) if window else (None, None)
    problem = ""
    try:
        collect_labels(pipeline, roles, *span)
    except TransientError:
        raise
    except KeepfitError as error:
        problem = f" Labels could not be read: {error.message}"
    rows, version = judged_rows(pipeline, champion, window)
    found = assess_window(
        rows,
        roles=roles,
        metric=metric,
        version=version.version,
        window=window,
        holdout=holdout_of(store_of(pipeline.state), version),
        label_delay=config.monitoring.label_delay,
        now=now,
        false_alarms=config.monitoring.false_alarms,
        length=config.monitoring.window,
        seed=config.training.seed,
        min_rows=config.monitoring.min_rows,
    )
    return found.model_copy(update={"sentence": found.sentence + problem}) if problem else found


def judged_rows(
    pipeline: Pipeline, champion: ModelVersion, window: Window | None
) -> tuple[pd.DataFrame, ModelVersion]:
    """Return the predictions that were served in the window, with labels, and who made most.

    Where fewer than half of the rows were scored in their time, the champion's own predictions
    of them are taken. Rows that the version was trained on are left out.
    """
    from tasks.ledger.ledger import ledger_of

    ledger, name, roles = ledger_of(pipeline), pipeline.config.name, champion.roles
    served = ledger.window_rows(name, window, roles)
    own = ledger.window_rows(name, window, roles, role="shadow", version=champion.version)
    version = champion
    if 2 * len(served) >= len(own) and len(served):
        most = str(served["version"].astype(str).mode().iloc[0])
        served = served[served["version"].astype(str) == most]
        version = store_of(pipeline.state).version(name, most) or champion
    rows = served if 2 * len(served) >= len(own) else own
    version = version if rows is served else champion
    return unseen_rows(rows, version), version


def unseen_rows(rows: pd.DataFrame, version: ModelVersion) -> pd.DataFrame:
    """Return the rows that `version` was not trained on."""
    import pandas as pd

    until = trained_until(version)
    if until is None or not len(rows):
        return rows
    times = pd.to_datetime(rows["time"], utc=True)
    included = version.tags.get("keepfit.trained_until", "").endswith("included")
    return rows[times > until] if included else rows[times >= until]
