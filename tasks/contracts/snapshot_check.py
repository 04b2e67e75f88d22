"""A snapshot checked against its contract, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from tasks.base.errors import ConfigError, ContractError, InfrastructureError, of_system
from tasks.base.runtime.environment import interrupts_kept_away, module_command
from tasks.base.runtime.files import changed_file, digest_of, write_whole
from tasks.base.text.commands import command
from tasks.base.training_records import ContractResult, RuleResult, Snapshot
from tasks.contracts.shared_checker import ask_standing, standing, whole_line

if TYPE_CHECKING:
    from expectations.contract import Contract
    from expectations.late_labels import LateLabels

_LOGGER = logging.getLogger(__name__)
_lock = threading.Lock()
_waiting: list[subprocess.Popen[str]] = []
_working: list[subprocess.Popen[str]] = []
_keeps = False


def start_checker(*, keep: bool = False) -> None:
    """Start the process that checks, so that its imports overlap with other work."""
    # Where one stands ready for many commands there is nothing to start. If kept, it stays for
    # further checks until `stop_checker`.
    global _keeps
    if standing():
        return
    with _lock:
        _keeps = keep
        if not _waiting:
            _waiting.append(_spawn())


def stop_checker() -> None:
    """End the process that was started and not needed, or whose reply is no longer awaited."""
    with _lock:
        while _waiting:
            _end(_waiting.pop())
        while _working:
            _working.pop().kill()


def check_snapshot(
    snapshot: Snapshot,
    contract: Contract,
    folder: Path,
    *,
    aside: Collection[str] = (),
    title: str = "",
    late: LateLabels | None = None,
    fresh: bool = False,
) -> ContractResult:
    """Check every rule of `contract` on the rows of `snapshot`."""
    # `folder` keeps the HTML page and the result by the digests of data and contract; an earlier
    # one is reused unless `fresh`. The contract is not about the columns `aside`: excluded, and
    # read for evaluation only. `late` rows need no label yet.
    stem = f"contract-{snapshot.digest[:16]}-{contract.digest()[:16]}"
    if late is not None:
        stem += f"-{late.until:%Y%m%dT%H%M%S}"
    page, kept = folder / f"{stem}.html", folder / f"{stem}.json"
    faults = folder / f"{stem}.npy"
    if not fresh and page.exists():
        known = _known(kept, snapshot.digest, contract.digest())
        if known is not None:
            return known.model_copy(update={"cached": True})
    outcome = _ask(
        {
            "snapshot": snapshot.path,
            "rows": snapshot.rows,
            "contract": contract.to_dict(),
            "kinds": dict(snapshot.kinds),
            "aside": [column for column in snapshot.kinds if column in aside],
            "page": str(page),
            "title": title,
            "faults": str(faults),
            "late": {**vars(late), "until": late.until.isoformat()} if late else None,
        }
    )
    result = ContractResult(
        **outcome,
        contract_digest=contract.digest(),
        data_digest=snapshot.digest,
        page=str(page),
        faults=str(faults) if outcome["aside"] else "",
        faults_digest=digest_of(faults) if outcome["aside"] else "",
    )
    write_whole(kept, result.model_dump_json(indent=1))
    return result


def _known(kept: Path, data: str, contract: str) -> ContractResult | None:
    """Return the result in a file, if it is of these digests and does not change with time."""
    try:
        result = ContractResult.model_validate_json(kept.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        result = None
    if result is None or (result.data_digest, result.contract_digest) != (data, contract):
        _LOGGER.warning("%s is not the result of this check; the contract is checked again", kept)
        return None
    return result if _still_true(result) else None


def _still_true(result: ContractResult) -> bool:
    """Return whether a result does not depend on when it was found."""
    timed = any(r.rule in {"future", "freshness"} and not r.passed for r in result.rules)
    if timed or not (result.passed or result.faults):
        return False
    faults = Path(result.faults)
    return not result.faults or not changed_file(faults.parent, {faults.name: result.faults_digest})


def require_passed(
    result: ContractResult,
    most: int = 12,
    *,
    file: Path | str = "",
    rows: str = "",
    scored: bool = False,
) -> None:
    """Stop when a rule of severity ``error`` did not hold, with a line for every broken rule."""
    # The pipeline `file` and the file of `rows` make the command that accepts the change into the
    # contract. Rows `scored` are for a champion: it needs its columns, whatever the contract.
    if result.passed:
        return
    broken = result.broken
    lines = [describe(rule) for rule in broken[:most]]
    if len(broken) > most:
        lines.append(f"  … and {len(broken) - most} more, on the page.")
    plural = "rule" if len(broken) == 1 else "rules"
    accepting = accept_command(file, [rule.name for rule in broken], rows)
    if scored and {rule.rule for rule in broken} & {"present", "kind"}:
        remedy = (
            "Fix the source: the champion needs these columns as they were. If the change is "
            f"intended: {accepting}; then train without them: {command('run', file=file)}"
        )
    else:
        remedy = f"Fix the source; or, if the change is intended: {accepting}"
    raise ContractError(
        f"The data broke {len(broken)} {plural} of its contract; nothing was fitted or scored.",
        f"The whole result: {result.page}. {remedy}",
        lines=lines,
        rules=broken,
        page=result.page,
        absent=result.lacking,
    )


def held(result: ContractResult) -> str:
    """Return one line on a contract that held."""
    known = ", unchanged" if result.cached else ""
    return f"held: {len(result.rules)} rules, {len(result.warnings)} warnings{known}"


def describe(rule: RuleResult, *, sample: bool = True) -> str:
    """Return one line on a rule that did not hold, with a `sample` of what broke it."""
    where = f"{rule.column}: " if rule.column else ""
    text = f"  {where}{rule.rule}: expected {rule.expected}; found {rule.observed}"
    if sample and rule.sample:
        text += f" e.g. {', '.join(rule.sample[:3])}"
    return text


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    # One that was killed, while it waited or worked, is started again once.
    line = ask_standing(request) or _ask_own(request) or _ask_own(request)
    if not line:
        raise InfrastructureError(
            "The process that checks the contract ended twice before it replied.",
            "It may have run out of memory; try a shorter `training.window`.",
        )
    reply: dict[str, Any] = json.loads(line)
    if "error" in reply:
        raise _error(reply["error"])
    outcome: dict[str, Any] = reply["outcome"]
    return outcome


def _ask_own(request: dict[str, Any]) -> str:
    """Return the reply of a process of this command; empty where it ended before."""
    with _lock:
        kept = _keeps and bool(_waiting)
        process = _waiting.pop() if _waiting else _spawn()
        _working.append(process)
    line = ""
    try:
        assert process.stdin is not None  # noqa: S101 - opened with a pipe
        assert process.stdout is not None  # noqa: S101 - opened with a pipe
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = whole_line(process.stdout)
    except BrokenPipeError:
        line = ""
    except OSError as error:
        raise InfrastructureError(f"The contract could not be checked: {error}.") from None
    finally:
        with _lock:
            stopped = process not in _working
            if not stopped:
                _working.remove(process)
            if kept and line and not _waiting and not stopped:
                _waiting.append(process)
            else:
                _end(process)
    if stopped:
        raise InfrastructureError("The contract's check was stopped with its run.")
    return line


def _error(error: dict[str, Any]) -> Exception:
    if error["type"] in {"ContractFileError", "ValidationError"}:
        return ConfigError(f"The contract cannot be used: {error['text']}")
    if error["type"] in {"DataError", "ContractError"}:
        return ContractError(error["text"])
    known = of_system(OSError(*error.get("system", {}).values()))
    return known or InfrastructureError(
        f"The contract could not be checked: {error['type']}: {error['text']}"
    )


def _spawn() -> subprocess.Popen[str]:
    with interrupts_kept_away():
        return subprocess.Popen(  # noqa: S603 - our own module, no shell
            module_command("tasks.contracts.checker_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            text=True,
            encoding="utf-8",
        )


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin and not process.stdin.closed:
        # Requests to a dead one cannot be flushed.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


_MOST_RULES = 4


def accept_command(file: Path | str, names: Sequence[str], rows: str = "") -> str:
    """Return the command that accepts rules into the contract; with many rules, all that differ."""
    named = [quote(name) for name in names] if len(names) <= _MOST_RULES else []
    given = ["--input", quote(rows)] if rows else []
    return " ".join(["keepfit contract accept", *named, quote(str(file)), *given])


def score_command(file: Path | str, rows: str) -> str:
    """Return the command that scores a file of rows."""
    return f"keepfit score {quote(str(file))} --input {quote(rows)}"
