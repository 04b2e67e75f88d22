"""The runner of the deployments: starts their flow runs, and looks after those that died.

`python -m deploy.runner DESCRIPTOR PARENT STATE FILE…` writes a byte to the descriptor every two
seconds while it is well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.processes import beating, end_with
from tasks.base.environment import RUNNER_VARIABLE
from tasks.base.pipeline_file import Pipeline, load_pipeline

if TYPE_CHECKING:
    from deploy.reaping import Reaper

_LOGGER = logging.getLogger(__name__)
AT_ONCE = 3
_BEAT_SECONDS = 2.0
_REAP_SECONDS = 20.0
_API_SECONDS = 170.0


async def run(state: Path, pipelines: Sequence[Pipeline], beat: Callable[[], None]) -> None:
    """Make the deployments and automations what the files say, then start what is due."""
    from prefect.runner import Runner

    from deploy.automations import apply_automations
    from deploy.deployments import runner_deployments
    from deploy.reaping import Reaper
    from deploy.surroundings import HEARTBEAT_SECONDS

    await _api_answers()
    runner = Runner(
        name="keepfit",
        limit=AT_ONCE,
        heartbeat_seconds=HEARTBEAT_SECONDS,
        # A stopped stack misses runs; its schedules stay as they are.
        pause_on_shutdown=False,
    )
    for deployment in await asyncio.to_thread(runner_deployments, pipelines):
        await runner.aadd_deployment(deployment)
    await asyncio.to_thread(apply_automations, pipelines)
    reaper = Reaper(state, pipelines, os.getpid())
    await asyncio.to_thread(_looked, reaper)
    skipped = await asyncio.to_thread(reaper.skip_missed)
    if skipped:
        _LOGGER.warning("cancelled %d runs that were missed", skipped)
    tasks = [asyncio.create_task(_beat(beat)), asyncio.create_task(_reap(reaper))]
    try:
        await runner.start()
    finally:
        for task in tasks:
            task.cancel()


async def _api_answers() -> None:
    """Wait for the server, which is started at the same time."""
    from flows.orchestrator import check_configured
    from tasks.base.errors import InfrastructureError

    deadline = time.monotonic() + _API_SECONDS
    while True:
        try:
            await asyncio.to_thread(check_configured, os.environ["PREFECT_API_URL"])
        except InfrastructureError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def _beat(beat: Callable[[], None]) -> None:
    while True:
        beat()
        await asyncio.sleep(_BEAT_SECONDS)


async def _reap(reaper: Reaper) -> None:
    while True:
        await asyncio.sleep(_REAP_SECONDS)
        await asyncio.to_thread(_looked, reaper)


def _looked(reaper: Reaper) -> None:
    """Reap once; what goes wrong is logged, and tried again the next time."""
    try:
        reaped = reaper.reap()
    except Exception:
        _LOGGER.exception("dead runs could not be looked for")
        return
    for one in reaped:
        _LOGGER.warning("run %s died", one)


def _main(descriptor: str, parent: str, state: str, *files: str) -> None:
    end_with(int(parent))
    os.environ[RUNNER_VARIABLE] = str(os.getpid())
    beat = beating(int(descriptor))
    asyncio.run(run(Path(state), [load_pipeline(Path(file)) for file in files], beat))


if __name__ == "__main__":
    _main(*sys.argv[1:])
