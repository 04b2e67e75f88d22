"""The runner of the deployments: starts their flow runs, and looks after how they end.

`python -m deploy.runner.runner DESCRIPTOR STATE FILE…` writes a line to the descriptor every
two seconds while it is well: an empty one, or a message for the person who watches. It applies
edits of the pipeline files, writes keepfit's page anew after what was decided and every minute, and
on termination it cancels what runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.child_processes import TyingLoop, speaking
from deploy.prefect.automations import apply_automations
from deploy.prefect.deployments import runner_deployments
from deploy.prefect.flow_heartbeat import HEARTBEAT_SECONDS
from deploy.prefect.next_runs import next_runs
from deploy.runner.activity_log import Chronicle
from deploy.runner.file_watch import Edit, WatchedFiles
from deploy.runner.reaper import Reaper
from tasks.base.errors import ConfigError, InfrastructureError
from tasks.base.known_pipelines import pipeline_in_use
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.environment import RUNNER_VARIABLE
from tasks.base.runtime.temporary import temporary_folder
from tasks.dashboard.page import EVERY_SECONDS
from tasks.dashboard.refresh import refresh
from tasks.orchestration.prefect_api import check_configured

if TYPE_CHECKING:
    from prefect.runner import Runner

_LOGGER = logging.getLogger(__name__)
AT_ONCE = 3
_BEAT_SECONDS = 2.0
_REAP_SECONDS = 20.0
_WATCH_SECONDS = 2.0
_NEWS_SECONDS = 3.0
_PAGE_SHARE = 9.0  # seconds without the page's writing for each second of it
_API_SECONDS = 1_700.0
_CANCEL_SECONDS = 20.0


async def run(state: Path, pipelines: Sequence[Pipeline], say: Callable[[str], None]) -> None:
    """Bring deployments and automations in line with the files, then start what is due."""
    with temporary_folder() as folder:
        # Prefect leaves a folder in it. Of this process alone: paths of sockets are short.
        tempfile.tempdir = str(folder)
        await _run(state, pipelines, say)
    # Flow runs end with this process; a graceful end would wait for them.
    os._exit(0)


async def _run(state: Path, pipelines: Sequence[Pipeline], say: Callable[[str], None]) -> None:
    from prefect.runner import Runner  # defers prefect

    await _api_answers()
    files = await asyncio.to_thread(WatchedFiles, pipelines)
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
    reaper = Reaper(state, pipelines, os.getpid(), say)
    chronicle = await asyncio.to_thread(Chronicle, pipelines, say)
    stopping, news = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_soon(*_: object) -> None:
        loop.call_soon_threadsafe(stopping.set)

    # The runner's own signal handler abandons the runs.
    runner.handle_sigterm = stop_soon  # type: ignore[method-assign]
    signal.signal(signal.SIGTERM, stop_soon)
    await asyncio.to_thread(_looked, reaper)
    skipped = await asyncio.to_thread(reaper.skip_missed)
    if skipped:
        _LOGGER.warning("cancelled %d runs that were missed", skipped)
    tasks = [
        asyncio.create_task(_every(_BEAT_SECONDS, lambda: _done(say, ""))),
        asyncio.create_task(_every(_REAP_SECONDS, lambda: asyncio.to_thread(_looked, reaper))),
        asyncio.create_task(_every(_WATCH_SECONDS, lambda: _watch(runner, files, reaper, say))),
        asyncio.create_task(_every(_NEWS_SECONDS, lambda: _print_news(chronicle, files, news))),
        asyncio.create_task(_every(0.0, lambda: _page(files, news))),
    ]
    work = asyncio.create_task(runner.start())
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.is_set():
            await work
    finally:
        for task in tasks:
            task.cancel()
    await _cancel(reaper, say)


async def _cancel(reaper: Reaper, say: Callable[[str], None]) -> None:
    """Cancel what runs, as far as the server responds in time."""
    try:
        number = await asyncio.wait_for(asyncio.to_thread(reaper.cancel_open), _CANCEL_SECONDS)
        if number:
            say(f"cancelled {number} of its runs, requested again at the next start")
    except Exception:
        _LOGGER.exception("running flows could not be cancelled; the next start does it")


async def _done(action: Callable[..., object], *arguments: object) -> None:
    action(*arguments)


async def _every(seconds: float, action: Callable[[], Awaitable[Any]]) -> None:
    """Do something again and again; what goes wrong is logged, and tried again the next time."""
    while True:
        try:
            await action()
        except Exception:
            _LOGGER.exception("a regular task failed; it is tried again")
        await asyncio.sleep(seconds)


async def _watch(
    runner: Runner, files: WatchedFiles, reaper: Reaper, say: Callable[[str], None]
) -> None:
    """Apply edits of the pipeline files, or report why not."""
    for edit in await asyncio.to_thread(files.look):
        say(await _applied(runner, files, reaper, edit) if edit.accepted else edit.sentence)
        await asyncio.to_thread(refresh, files.pipelines[edit.place])


async def _applied(runner: Runner, files: WatchedFiles, reaper: Reaper, edit: Edit) -> str:
    """Bring the deployments of an edited file onto the server; return a message."""
    pipeline = files.pipelines[edit.place]
    try:
        for deployment in await asyncio.to_thread(runner_deployments, [pipeline]):
            await runner.aadd_deployment(deployment)
        await asyncio.to_thread(apply_automations, [pipeline])
    except Exception as error:
        _LOGGER.exception("an edited file could not be deployed")
        return f"{edit.sentence}; its schedules could not be changed ({type(error).__name__})"
    reaper.follow(files.pipelines)
    soon = [(run.at, run.deployment) for run in next_runs([pipeline]) if run.at is not None]
    if not soon:
        return f"{edit.sentence}; nothing of it is scheduled"
    at, first = min(soon)
    return f"{edit.sentence}; next: {first} {at:%a %d %b %H:%M %Z}"


async def _print_news(chronicle: Chronicle, files: WatchedFiles, news: asyncio.Event) -> None:
    """Print new decisions; the page is written anew where there were any."""
    if await asyncio.to_thread(chronicle.look, files.pipelines):
        news.set()


async def _page(files: WatchedFiles, news: asyncio.Event) -> None:
    """Write the page, and return when it is time to write it again."""
    # After news, in a minute at the latest, but never for more than a tenth of the time.
    news.clear()
    began = time.monotonic()
    await asyncio.to_thread(refresh, files.pipelines[0])
    pause = _PAGE_SHARE * (time.monotonic() - began)
    await asyncio.sleep(pause)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(news.wait(), max(0.0, EVERY_SECONDS - pause))


async def _api_answers() -> None:
    """Wait for the server, which is started at the same time."""
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


def _looked(reaper: Reaper) -> None:
    """Reap once; what goes wrong is logged, and tried again the next time."""
    try:
        reaped = reaper.reap()
        reaper.report()
    except Exception:
        _LOGGER.exception("dead runs could not be looked for")
        return
    for one in reaped:
        _LOGGER.warning("run %s died", one)


def _log_own_faults() -> None:
    """Print warnings of the runner's log; Prefect's console is silent."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name in ("__main__", "deploy", "tasks.dashboard"):
        logging.getLogger(name).addHandler(handler)


def _read(file: Path) -> Pipeline:
    """Return a pipeline as its file is now, or its last valid version where that is wrong."""
    try:
        return load_pipeline(file)
    except ConfigError:
        return pipeline_in_use(file)


def _main(descriptor: str, state: str, *files: str) -> None:
    os.environ[RUNNER_VARIABLE] = str(os.getpid())
    _log_own_faults()
    say = speaking(int(descriptor))
    # Prefect starts flow runs, which register that they end with this process only once their
    # imports are done and the server has answered: of a killed stack, minutes later or never.
    with asyncio.Runner(loop_factory=TyingLoop) as loop:
        loop.run(run(Path(state), [_read(Path(file)) for file in files], say))


if __name__ == "__main__":
    _main(*sys.argv[1:])
