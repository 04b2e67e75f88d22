"""Checks of `keepfit doctor`, one function each; each returns its finding."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import stat
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from packaging.requirements import Requirement

from deploy.prefect.api import connected, deployment_named, speaking_to
from deploy.prefect.automations import standing_automations
from deploy.prefect.deployments import DEPLOYED
from tasks.base.errors import InfrastructureError, KeepfitError
from tasks.base.pipeline_file import Pipeline
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.environment import turn_telemetry_off
from tasks.base.runtime.files import require_writable
from tasks.base.servers.stack_file import KEY, PROGRAMS, RunningStack
from tasks.base.text.commands import command, working_on
from tasks.base.text.phrases import plural
from tasks.base.training_records import Record
from tasks.ledger.ledger import ledger_of
from tasks.monitoring.alerts.apprise_channel import send as send_message
from tasks.monitoring.alerts.apprise_channel import unknown_channels
from tasks.monitoring.alerts.messages import Message
from tasks.orchestration.current_run import AUTO_SCHEDULED
from tasks.orchestration.libraries import filters, objects
from tasks.registry.mlflow.shared_stores import store_of

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


Status = Literal["ok", "warning", "failed"]

_PYTHON = ((3, 11), (3, 12))
_SCHEDULER_PATIENCE = 30.0  # seconds in which Prefect has scheduled what was deployed just now
_LEAST_FREE_BYTES = 200_000_000
_LITTLE_FREE_BYTES = 2_000_000_000
_SKEW_SECONDS = 5.0
_PRIVATE = (KEY, PROGRAMS, "stack.json", "ledger.db", "mlflow/mlflow.db", "prefect/prefect.db")


class Found(Record):
    """Finding of one check."""

    status: Status
    found: str
    remedy: str = ""  # the command or line that fixes it; empty where all is well


def ok(found: str) -> Found:
    """Return that all is well."""
    return Found(status="ok", found=found)


def warning(found: str, remedy: str) -> Found:
    """Return that something is odd and keepfit works all the same."""
    return Found(status="warning", found=found, remedy=remedy)


def failed(found: str, remedy: str) -> Found:
    """Return that something does not work."""
    return Found(status="failed", found=found, remedy=remedy)


def python_version() -> Found:
    """Compare Python with the tested versions."""
    here = sys.version.partition(" ")[0]
    first, last = _PYTHON
    if sys.version_info < first:
        return failed(f"Python {here}", f"Install Python {last[0]}.{last[1]}.")
    if sys.version_info[:2] > last:
        tested = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
        return warning(f"Python {here} is newer than the tested {tested}", "Use a tested one.")
    return ok(f"Python {here}")


def library_versions() -> Found:
    """Compare the installed libraries with the ranges that keepfit was tested with."""
    wrong, count = [], 0
    for line in requires("keepfit") or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            present = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is not installed")
            continue
        if not wanted.specifier.contains(present, prereleases=True):
            wrong.append(f"{wanted.name} {present} is outside {wanted.specifier}")
    if wrong:
        return failed(
            "; ".join(wrong), "Install keepfit again: `uv sync` or `pip install keepfit`."
        )
    main = ", ".join(f"{n} {version(n)}" for n in ("prefect", "mlflow", "scikit-learn"))
    return ok(f"{count} libraries in their tested ranges ({main})")


def telemetry() -> Found:
    """See that nothing is sent to the libraries' makers."""
    wanted: dict[str, str] = {}
    turn_telemetry_off(wanted)
    on = [name for name, value in wanted.items() if os.environ.get(name) != value]
    if on:
        return failed(f"on: {', '.join(on)}", "Run keepfit by its command; it turns them off.")
    return ok(f"off ({len(wanted)} switches)")


def permissions(state: Path) -> Found:
    """See that the state folder is its owner's only."""
    if not state.exists():
        return ok(f"{state} is not made yet")
    open_ones = [
        path
        for path in (state, *(state / name for name in _PRIVATE))
        if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    try:
        require_writable(state)
    except InfrastructureError as error:
        return failed(error.message, error.remedy)
    if open_ones:
        names = ", ".join(str(path) for path in open_ones)
        return warning(f"others of this machine can read {names}", f"chmod -R go-rwx {state}")
    return ok(f"{state} is private")


def disk(state: Path) -> Found:
    """Check the free space for the state folder."""
    present = next(p for p in (state, *state.parents) if p.exists())
    free = shutil.disk_usage(present).free
    text = f"{free / 1e9:.1f} GB free for {state}"
    remedy = "Free some space, or name another state folder with KEEPFIT_STATE."
    if free < _LEAST_FREE_BYTES:
        return failed(text, remedy)
    return warning(text, remedy) if free < _LITTLE_FREE_BYTES else ok(text)


def pipeline_file(pipeline: Pipeline) -> Found:
    """Summarise the file; it is loaded, so it is right."""
    schedules = pipeline.config.schedules
    keys = ("training", "refit", "scoring", "monitoring")
    flows = [key for key in keys if getattr(schedules, key)]
    return ok(f"{pipeline.path} is right; scheduled: {', '.join(flows) or 'nothing'}")


def champion(pipeline: Pipeline) -> Found:
    """Load the champion, as scoring does."""
    name = pipeline.config.name
    if not _has_store(pipeline.state):
        return warning("no champion yet", command("run", file=pipeline.path))
    store = store_of(pipeline)
    with working_on(pipeline.path):
        found = store.champion(name)
        if found is None:
            return warning("no champion yet", command("run"))
        store.load(found, OwnCode.of(pipeline.config.hooks, pipeline.base))
    return ok(f"version {found.version} loads")


def mlflow_store(pipeline: Pipeline) -> Found:
    """Reach MLflow's store; it refuses a database whose migrations are not current."""
    if not _has_store(pipeline.state):
        return ok("not made yet")
    store = store_of(pipeline)
    store.champion("keepfit-doctor")
    return ok(f"{store.address} answers, migrations current")


def ledger(pipeline: Pipeline) -> Found:
    """Reach the ledger's database and read from it; its migrations are made on the way."""
    if pipeline.config.ledger.url is None and not (pipeline.state / "ledger.db").exists():
        return ok("not made yet")
    kept = ledger_of(pipeline, patience=5.0)
    latest = kept.decisions(pipeline.config.name, most=1)
    size = kept.size_bytes() / 1e6
    last = f"last decision {latest[0].at:%Y-%m-%d %H:%M}" if latest else "no decision yet"
    return ok(f"answers, migrations current, {size:.1f} MB, {last}")


def prefect_database(state: Path) -> Found:
    """Compare the migrations of Prefect's own database with those of the installed Prefect."""
    path = state / "prefect" / "prefect.db"
    if not path.exists():
        return ok("not made yet")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        present = {row[0] for row in connection.execute("SELECT version_num FROM alembic_version")}
    known, heads = _prefect_revisions()
    if present == heads:
        return ok(f"{path} has the current migrations, {path.stat().st_size / 1e6:.1f} MB")
    if present <= known:
        return ok(f"{path} is of an older Prefect; its server migrates it at the next start")
    return failed(
        f"{path} is of a newer Prefect than {version('prefect')}",
        "Install the keepfit that wrote it, or restore a backup: `keepfit restore`.",
    )


def _prefect_revisions() -> tuple[set[str], set[str]]:
    """Return the migrations of the installed Prefect for SQLite, and their heads."""
    from alembic.config import Config  # defers alembic
    from alembic.script import ScriptDirectory  # defers alembic

    spec = find_spec("prefect")
    if spec is None or spec.origin is None:
        raise RuntimeError("prefect is not installed")
    folder = Path(spec.origin).parent / "server" / "database" / "_migrations"
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("version_locations", str(folder / "versions" / "sqlite"))
    config.set_main_option("path_separator", "newline")
    scripts = ScriptDirectory.from_config(config)
    return {script.revision for script in scripts.walk_revisions()}, set(scripts.get_heads())


def ports(wanted: Sequence[int]) -> Found:
    """See whether the usual ports of the stack are free."""
    taken = []
    for port in wanted:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                taken.append(str(port))
    if taken:
        return warning(
            f"taken: {', '.join(taken)}",
            "`keepfit up` uses free ones instead; --prefect-port, --mlflow-port and --page-port "
            "name them.",
        )
    return ok(f"{', '.join(map(str, wanted))} are free")


def clock(state: Path, servers: Sequence[str]) -> Found:
    """Compare this machine's clock with its newest file and with the dates that servers send."""
    now = time.time()
    ahead = max((p.stat().st_mtime for p in _files(state)), default=now) - now
    if ahead > _SKEW_SECONDS:
        return failed(
            f"a file of {state} is {ahead:.0f} s newer than now", "Set the clock: timedatectl"
        )
    for address in servers:
        skew = _skew(address)
        if abs(skew) > _SKEW_SECONDS:
            return failed(
                f"the clock of {address} is {skew:+.0f} s off this one",
                "Let both follow a time server: timedatectl set-ntp true",
            )
    return ok("agrees with the servers and with the newest file")


def _skew(address: str) -> float:
    """Return by how many seconds the clock at `address` is ahead of this one."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - http(s) only
            stated = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        stated = error.headers.get("Date")
    return parsedate_to_datetime(stated).timestamp() - time.time() if stated else 0.0


def _files(state: Path) -> Iterator[Path]:
    if state.is_dir():
        yield from (p for p in state.iterdir() if p.is_file())


def _has_store(state: Path) -> bool:
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (state / "mlflow/mlflow.db").exists()


def alert_channels(pipeline: Pipeline, *, send: bool) -> Found:
    """Check that Apprise knows the alert addresses; with `send`, that they accept a message."""
    urls = [url.get_secret_value() for url in pipeline.config.alerts]
    if not urls:
        return warning(
            "alerts go nowhere", 'Name a channel: alerts: ["${KEEPFIT_ALERT_URL}"] (Apprise URLs)'
        )
    if not send:
        strange = unknown_channels(urls)
        if strange:
            return failed(
                f"channel {strange[0]} is no address that Apprise knows",
                "See https://github.com/caronc/apprise/wiki for how addresses are written.",
            )
        return ok(f"{plural(len(urls), 'known channel')}; --alerts sends a test message")
    text = "keepfit doctor: this channel works. Nothing happened."
    delivery = send_message(
        urls, Message(title="keepfit doctor", text=text, markdown=text, level="info")
    )
    if delivery.failed:
        return failed("; ".join(delivery.reasons), "Check the addresses in the environment.")
    return ok(f"{plural(delivery.sent, 'channel')} took a test message")


def answering(address: str, what: str) -> Found:
    """Check that a server of the stack responds."""
    began = time.monotonic()
    try:
        with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - our own loopback address
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return failed(f"{what} does not answer at {address}: {reason}", "Start `keepfit up` again.")
    return ok(f"{what} answers in {(time.monotonic() - began) * 1000:.0f} ms")


def explained(error: Exception) -> Found:
    """Return the failure of a check that could not be made."""
    if isinstance(error, KeepfitError):
        return failed(error.message, error.remedy)
    return failed(f"{type(error).__name__}: {error}"[:300], "KEEPFIT_TRACEBACK=1 shows where.")


def deployments(pipeline: Pipeline, stack: RunningStack) -> Found:
    """See that the stack holds the pipeline's deployments and automations, and that they are on."""
    name = pipeline.config.name
    with speaking_to(stack.prefect_api, stack.credentials), connected() as client:
        names = [f"{row.flow}/{name}" for row in DEPLOYED]
        paused = [n for n in names if deployment_named(client, n).paused]
        standing = standing_automations(client, name)
        idle = [
            f"{r.flow}/{name}"
            for r in DEPLOYED
            if any(getattr(pipeline.config.schedules, key) for key in r.schedules)
        ]
        deadline = time.monotonic() + _SCHEDULER_PATIENCE
        while idle := [
            n for n in idle if not _has_next_run(client, deployment_named(client, n).id)
        ]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
    off = [a.name for a in standing if not a.enabled]
    if paused or off or not standing:
        what = ", ".join(f"{one} is off" for one in (*paused, *off)) or "there are no automations"
        return failed(what, "Turn them on at the server's page, or start `keepfit up` again.")
    if idle:
        return failed(
            f"{', '.join(idle)} is scheduled and has no next run on the server",
            "Right after a start, try again in a minute; else look for errors of the scheduler in "
            "the log of Prefect's server.",
        )
    return ok(f"{len(names)} deployments and {len(standing)} automations stand")


def _has_next_run(client: SyncPrefectClient, deployment: UUID) -> bool:
    waiting = filters.FlowRunFilterState(
        type=filters.FlowRunFilterStateType(any_=[objects.StateType.SCHEDULED])
    )
    by_calendar = filters.FlowRunFilterTags(all_=[AUTO_SCHEDULED])
    found = client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(state=waiting, tags=by_calendar),
        deployment_filter=filters.DeploymentFilter(
            id=filters.DeploymentFilterId(any_=[deployment])
        ),
        limit=1,
    )
    return bool(found)
