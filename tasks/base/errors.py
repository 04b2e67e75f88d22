"""Every error keepfit raises on purpose.

KeepfitError                 exit status, kind, message, remedy
├── UsageError               2  the command line is wrong
├── ConfigError              2  the pipeline file or a contract file is wrong
│   └── OwnMetricError       2  a custom metric fails
├── SourceError              2  the source cannot be read as configured
├── DataError                3  the rows cannot be trained or scored
│   └── ContractError        3  the rows broke their contract
├── FitError                 3  no candidate could be fitted and validated
├── EvidenceError            1  a number a decision needs is absent
│   └── NoNewerRowsError     0  too few rows are newer than the champion's: it stays, which is done
├── ModelRefusedError        1  a version is not what was signed, or holds a type not allowed
│   └── UnsignedVersionError 1  it carries no signature
├── Busy                     1  another process trains this pipeline (tasks/ledger/single_flight.py)
└── InfrastructureError      1  a store, server or disk failed
    └── TransientError       1  ... and may work on the next try
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pydantic import BaseModel

    from expectations.results import CheckResult


class KeepfitError(Exception):
    """An error: the rule that was broken with the value received, and the remedy."""

    exit_status: ClassVar[int] = 1
    kind: ClassVar[str] = "error"

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(KeepfitError):
    """The command line is wrong."""

    exit_status = 2
    kind = "usage"


class ConfigError(KeepfitError):
    """The pipeline file or a contract file is wrong."""

    exit_status = 2
    kind = "configuration"


class OwnMetricError(ConfigError):
    """A person's metric fails, or gives no finite number: no candidate can be compared by it."""


class SourceError(KeepfitError):
    """The source cannot be read as the pipeline file configures it."""

    exit_status = 2
    kind = "source"


class DataError(KeepfitError):
    """The rows cannot be trained or scored."""

    exit_status = 3
    kind = "data"


class ContractError(DataError):
    """The rows broke their contract; `lines` are the rules that a person should read of."""

    kind = "contract"
    noted = False  # whether the stop was recorded and reported

    def __init__(
        self,
        message: str,
        remedy: str = "",
        *,
        lines: Iterable[str] = (),
        rules: Sequence[CheckResult] = (),  # all that were broken
        page: str = "",  # of the whole result
        aside: BaseModel | None = None,  # a `SetAside`: what was kept of them
        absent: Collection[str] = (),  # columns that the message names, with the files lacking them
    ) -> None:
        super().__init__("\n".join((message, *lines)), remedy)
        self.head, self.rules, self.page = message, tuple(rules), page
        self.aside = aside
        self.absent = frozenset(absent)


class FitError(KeepfitError):
    """No candidate could be fitted and validated."""

    exit_status = 3
    kind = "fit"


class EvidenceError(KeepfitError):
    """A number that a decision needs is absent or not finite."""

    kind = "evidence"


class NoNewerRowsError(EvidenceError):
    """Too few labelled rows are newer than those that the champion was trained on."""

    exit_status = 0
    kind = "rows"


class ModelRefusedError(KeepfitError):
    """A version is not what was signed, or its model holds a type that is not on the allow-list."""

    kind = "model"


class UnsignedVersionError(ModelRefusedError):
    """A version carries no signature; a person may accept it by name."""


class InfrastructureError(KeepfitError):
    """A store, a server or the disk failed."""

    kind = "infrastructure"


class TransientError(InfrastructureError):
    """An infrastructure failure that may work on the next try; tasks retry only these."""

    kind = "transient"


_MISSING = ("A file or folder vanished", "See that nothing removes the state folder; run again.")
_REFUSED = ("Not permitted", "Check the folder's owner and mode.")
_FULL = ("The disk is full", "Free some space; run again.")
_STATED = {
    errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EPERM: _REFUSED, errno.EACCES: _REFUSED,
    errno.ENOENT: _MISSING, errno.ENOTDIR: _MISSING, errno.ESTALE: _MISSING,
    errno.EROFS: ("The file system is read-only", "Mount it for writing, or set KEEPFIT_STATE."),
    errno.ENOMEM: ("Memory ran out", "Give it more, or train on fewer rows: training.window."),
    errno.EMFILE: ("Too many files are open", "Raise the limit: ulimit -n 4096."),
    errno.ENAMETOOLONG: ("A name is too long", "Name a shorter path."),
    errno.EIO: ("The disk failed", "See the system's log."),
}  # fmt: skip


def of_system(error: OSError) -> InfrastructureError | None:
    """Return an error of the operating system with its remedy; None for one without."""
    what, remedy = _STATED.get(error.errno or 0, ("", ""))
    if not what:
        return None
    return InfrastructureError(f"{what}: {error.filename or error.strerror}.", remedy)
