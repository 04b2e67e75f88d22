"""The process environment that keeps telemetry off and stores in the state folder."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from tasks.base.runtime.mapped_files import let_mapped_pages_go

RUNNER_VARIABLE = "KEEPFIT_RUNNER"
"""Set in flow runs that a runner of keepfit starts."""
REGISTERED_VARIABLE = "KEEPFIT_PIPELINES"
"""Pipeline files that flow runs accept, and no other: a JSON object of paths and SHA-256 digests.

An empty digest stands for the version that the stack took up last.
"""
_PR_SET_PDEATHSIG = 1
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 4 << 20
_PRIVATE = 0o077
_UMASK_VARIABLE = "KEEPFIT_UMASK"

_TELEMETRY_OFF = {
    "DO_NOT_TRACK": "true",  # MLflow ignores "1"
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
}


_RUN_MODULE = (
    "import sys, runpy; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of keepfit in a process of its own."""
    # The working folder, a person's, is not searched (-P): a file there may be named as a package.
    root = str(Path(__file__).resolve().parents[3])
    return [sys.executable, "-P", "-c", _RUN_MODULE, root, module, *arguments]


@contextlib.contextmanager
def interrupts_kept_away() -> Iterator[None]:
    """Start processes that an interrupt does not reach: the process that starts them decides."""
    # Ctrl-C in a terminal and a notebook's stop button send SIGINT to the whole process group. A
    # process that handles it only once it runs would still be hit while it imports.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def turn_telemetry_off(environ: MutableMapping[str, str] | None = None) -> None:
    """Turn off what Prefect, MLflow and Great Expectations would send; call before importing them.

    Overrides what is set: no telemetry leaves a machine that runs keepfit.
    """
    (os.environ if environ is None else environ).update(_TELEMETRY_OFF)


def collect_rarely() -> None:
    """Look for garbage less often; call before importing libraries, which makes next to none."""
    # Python's default of 700 takes a sixth of the time in which MLflow is imported.
    gc.set_threshold(10_000)


def return_freed_memory() -> None:
    """Give large blocks back to the system as they are freed; call before pyarrow is imported."""
    # Left to themselves the allocators keep what they had at most: reading 500 MB into a table then
    # takes 900 MB, and they stay with the process. Applies to glibc only.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        # Stated, the threshold stays; else glibc raises it to the largest block freed so far.
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_ARENA_MAX, 2)


def give_back_memory() -> None:
    """Give small blocks and mapped pages back too, after a step that used many of them."""
    let_mapped_pages_go()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_prefect_in(state: Path, environ: MutableMapping[str, str] | None = None) -> None:
    """Keep Prefect's database and results in `state`, unless the environment sets another place."""
    target = os.environ if environ is None else environ
    profiles = Path("~/.prefect/profiles.toml").expanduser()
    if "PREFECT_HOME" not in target and profiles.exists():
        # The person's active profile may name an API and how to log in.
        target.setdefault("PREFECT_PROFILES_PATH", str(profiles))
    target.setdefault("PREFECT_HOME", str(state / "prefect"))
    # The CLI reports failures once; the whole log stands in the Prefect run.
    target.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    target.setdefault("PREFECT_RESULTS_DEFAULT_SERIALIZER", "json")
    target.setdefault("PREFECT_CLI_PROMPT", "false")
    # Prefect's own patience with a server that it starts, 20 s, is short on a busy machine.
    target.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
    reach_loopback_directly(target)


def reach_loopback_directly(environ: MutableMapping[str, str]) -> None:
    """Let no proxy stand between keepfit and the servers that it starts on this machine."""
    for name in ("NO_PROXY", "no_proxy"):
        named = [host for host in environ.get(name, "").split(",") if host]
        if "*" not in named:
            environ[name] = ",".join(dict.fromkeys((*named, "127.0.0.1", "localhost")))


def keep_private() -> None:
    """Let what this process makes from now on, and its children, be readable by its owner only."""
    os.environ.setdefault(_UMASK_VARIABLE, f"{os.umask(_PRIVATE):o}")
    os.umask(_PRIVATE)


def mode_beside(folder: Path) -> int:
    """Return the mode of a requested output file: as open as `folder` and the umask are."""
    umask = int(os.environ.get(_UMASK_VARIABLE, f"{_PRIVATE:o}"), 8)
    return folder.stat().st_mode & 0o666 & ~umask | 0o600


def end_with(parent: int) -> None:
    """Let the kernel end this process when `parent`, which started it, ends however it ends."""
    # Of a parent with several threads it counts as the end when the one ends that started this.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It ended before this process could register to end with it.
        os._exit(1)
