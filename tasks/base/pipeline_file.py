"""The pipeline file: found, read, checked, every error with its line."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError, UsageError
from tasks.base.runtime.files import require_trusted
from tasks.base.settings.document_validation import validate_document
from tasks.base.settings.object_addresses import is_object, store_secrets
from tasks.base.settings.scoring import ContractConfig
from tasks.base.settings.sources import FilesSource
from tasks.base.settings.yaml_document import Document, Location, read_yaml
from tasks.base.text.commands import DEFAULT_FILE as DEFAULT_FILE
from tasks.base.text.commands import command
from tasks.base.text.redaction import redact

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_HOME = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Pipeline:
    """A checked pipeline file."""

    config: PipelineConfig  # the file's values
    document: Document
    path: Path  # path, base, root: the file, its folder, the folder that paths may not leave
    base: Path
    root: Path
    state: Path  # where everything that keepfit keeps of it lives
    digest: str  # SHA-256 (hex) of what decides a training: not state and schedules
    # Values from the environment, and what it holds to open object stores; never printed or stored.
    secrets: tuple[str, ...] = field(default=(), repr=False)
    fault: str = ""  # what is wrong with the file, where this is its last valid version

    def line_of(self, *location: str | int) -> int:
        """Return the line on which the value at `location` stands."""
        return self.document.line_of(location)

    @property
    def contract_path(self) -> Path | None:
        """The contract file, or None when the pipeline names none."""
        path = self.contract.path
        return None if path is None else confined(path, self, "contract")

    @property
    def quarantines(self) -> bool:
        """Whether rows that break the contract are set aside and the rest is scored."""
        return self.contract.on_error == "quarantine"

    @property
    def contract(self) -> ContractConfig:
        """The contract's file, and the handling of rows that break it."""
        stated = self.config.contract
        if isinstance(stated, ContractConfig):
            return stated
        return ContractConfig(path=stated)

    @property
    def key(self) -> str:
        """The name in the letters that keys of artifacts allow."""
        return self.config.name.replace("_", "-")

    @property
    def work(self) -> Path:
        """The folder of this pipeline's snapshots, fits and reports."""
        return self.state / "pipelines" / self.config.name


def find_file(path: Path | None) -> Path:
    """Return the pipeline file that `path` means: itself, one in that folder, or the default."""
    found = path if path is not None else Path(DEFAULT_FILE)
    if found.is_dir():
        found = found / DEFAULT_FILE
    if not found.exists():
        raise ConfigError(
            f"{found}: no such pipeline file.",
            "Write one with `keepfit init mine --data my.csv --target y`, or try "
            "`keepfit init demo --demo flights`.",
        )
    return found


def load_pipeline(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    contract_exists: bool = True,
) -> Pipeline:
    """Read and check a pipeline file and, if required, its contract's presence; creates nothing."""
    # Raises ConfigError with file, line, what was wrong, what is allowed and the nearest name.
    return pipeline_of(read_yaml(find_file(path)), environ, contract_exists=contract_exists)


def load_pipelines(files: Sequence[Path]) -> list[Pipeline]:
    """Read the files named, or the default one; UsageError when two name their pipeline alike."""
    found: dict[str, Pipeline] = {}
    for file in files or (None,):
        pipeline = load_pipeline(file)
        first = found.setdefault(pipeline.config.name, pipeline)
        if first.path.resolve() != pipeline.path.resolve():
            raise UsageError(
                f"{first.path} and {pipeline.path} name their pipeline {pipeline.config.name!r}.",
                "Each pipeline needs a name of its own: rename one.",
            )
    return list(found.values())


def pipeline_of(
    document: Document, environ: Mapping[str, str] | None = None, *, contract_exists: bool = True
) -> Pipeline:
    """Return the pipeline that the text of a file describes."""
    variables = os.environ if environ is None else environ
    file = document.path
    if not isinstance(document.values, dict):
        raise ConfigError(f"{file}, line 1: a pipeline file holds keys and values.")
    secrets: list[str] = []
    values = _interpolate(document.values, (), document, variables, secrets)
    try:
        config = validate_document(PipelineConfig, values, document, "keepfit config explain")
    except ConfigError as error:
        raise ConfigError(redact(error.message, secrets), error.remedy) from None
    base = file.resolve().parent
    root = _root_of(base)
    state = _state_of(config, base, root, variables, file, document)
    require_trusted_state(state, file)
    for source in (config.source, config.scoring.source, config.monitoring.labels):
        if isinstance(source, FilesSource) and is_object(source.path):
            source.keep_copies_in(state)
    pipeline = Pipeline(
        config=config, document=document, path=file, base=base, root=root, state=state,
        digest=_digest(config), secrets=(*secrets, *store_secrets(variables)),
    )  # fmt: skip
    _check_paths(pipeline, contract_exists)
    return pipeline


def require_trusted_state(
    state: Path,
    file: Path | None = None,
    remedy: str = "name another state folder with KEEPFIT_STATE",
) -> None:
    """Refuse a folder that another account than that of the pipeline file can write."""
    # Who owns the file runs code as this process already.
    owners = [file.stat().st_uid] if file is not None and file.exists() else []
    require_trusted(state, remedy, owners)


def confined(path: str, pipeline: Pipeline, key: str) -> Path:
    """Return `path` resolved against the file's folder; it may not leave the project."""
    resolved = (pipeline.base / path).resolve()
    if not Path(path).is_absolute() and not resolved.is_relative_to(pipeline.root):
        raise ConfigError(
            f"{pipeline.path}, line {pipeline.line_of(*key.split('.'))}: "
            f"`{key}` leaves the project's folder: {path}.",
            f"Name a path inside {pipeline.root}, or write it as an absolute path.",
        )
    return resolved


def require_columns(
    pipeline: Pipeline, available: Iterable[str], promised: Iterable[str] = ()
) -> None:
    """Refuse columns that the file names and the source lacks, with line and nearest name."""
    # Where a `promised` column, one of the contract, is gone, the contract check reports it.
    names = list(available)
    config = pipeline.config
    named: list[tuple[Location, str]] = [(("target",), config.target)]
    if config.time_column:
        named.append((("time_column",), config.time_column))
    named += [((key,), c) for key, c in (("group", config.group), ("item", config.item)) if c]
    named += [(("id_columns", i), c) for i, c in enumerate(config.id_columns)]
    named += [(("exclude", i), c) for i, c in enumerate(config.exclude)]
    named += [(("kinds", c), c) for c in config.kinds]
    if config.hooks.features is None:
        named += _evaluated(config)
    _refuse_absent(pipeline, named, names, promised)


def require_evaluated(pipeline: Pipeline, available: Iterable[str]) -> None:
    """Refuse columns to group, judge or report by that are neither read nor made by a hook."""
    _refuse_absent(pipeline, _evaluated(pipeline.config), list(available), ())


def _evaluated(config: PipelineConfig) -> list[tuple[Location, str]]:
    named: list[tuple[Location, str]] = []
    if config.split.group is not None:
        named.append((("split", "group"), config.split.group))
    named += [(("gate", "slices", i), c) for i, c in enumerate(config.gate.slices)]
    named += [(("report", "by", i), c) for i, c in enumerate(config.report.by)]
    named += [(("report", "sensitive", i), c) for i, c in enumerate(config.report.sensitive)]
    return named + [
        (("monitoring", "segments", i), c) for i, c in enumerate(config.monitoring.segments)
    ]


def _refuse_absent(
    pipeline: Pipeline,
    named: Iterable[tuple[Location, str]],
    names: Sequence[str],
    promised: Iterable[str],
) -> None:
    known = {*names, *promised}
    for location, column in named:
        if column not in known:
            line = f"{pipeline.path}, line {pipeline.line_of(*location)}: "
            raise ConfigError(
                # `init` has not written the file yet.
                f"{line if pipeline.path.exists() else ''}`{_key_of(location)}` names the column "
                f"{column!r}, which the source does not have.",
                nearest(column, names),
            )


def _key_of(location: Location) -> str:
    whole = location[0] in ("gate", "monitoring", "report", "split")
    return ".".join(str(part) for part in location[: 2 if whole else 1])


def nearest(name: str, allowed: Iterable[str], most: int = 12) -> str:
    """Return a sentence with the nearest of the `allowed` names and the first few of them."""
    names = list(allowed)
    near = get_close_matches(name, names, n=1) or get_close_matches(
        name.lower(), [n for n in names if n.islower()], n=1
    )
    shown = ", ".join(names[:most]) + (f" … {len(names) - most} more" if len(names) > most else "")
    return (f"Did you mean {near[0]!r}? " if near else "") + f"It has: {shown}."


def _interpolate(
    value: Any,
    location: Location,
    document: Document,
    variables: Mapping[str, str],
    secrets: list[str],
) -> Any:
    if isinstance(value, dict):
        return {
            k: _interpolate(v, (*location, k), document, variables, secrets)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [
            _interpolate(v, (*location, i), document, variables, secrets)
            for i, v in enumerate(value)
        ]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        where = f"{document.path}, line {document.line_of(location)}"
        if not _VARIABLE_NAME.match(name):
            raise ConfigError(f"{where}: ${{{name}}} is no name of an environment variable.")
        if name not in variables:
            raise ConfigError(
                f"{where}: the environment variable {name} is not set.",
                f"Set it before the command: export {name}=…",
            )
        secrets.append(variables[name])
        return variables[name]

    return _VARIABLE.sub(replace, value)


def _root_of(base: Path) -> Path:
    if base.is_relative_to(_HOME / "deploy"):
        return _HOME
    for folder in (base, *base.parents):
        if (folder / ".git").exists() or (folder / "pyproject.toml").exists():
            return folder
    return base


def _state_of(
    config: PipelineConfig,
    base: Path,
    root: Path,
    variables: Mapping[str, str],
    file: Path,
    document: Document,
) -> Path:
    stated = variables.get("KEEPFIT_STATE")
    try:
        if stated:
            return Path(stated).expanduser().resolve()
        resolved = (base / config.state).resolve()
    except RuntimeError as error:  # a loop of links, or ~ of an unknown account
        raise ConfigError(
            f"The state folder {stated or config.state} cannot be resolved: {error}.",
            "Name another with `state:` in the file or KEEPFIT_STATE.",
        ) from None
    if not Path(config.state).is_absolute() and not resolved.is_relative_to(root):
        raise ConfigError(
            f"{file}, line {document.line_of(('state',))}: `state` leaves the project's folder: "
            f"{config.state}.",
            "Name a path inside it, an absolute path, or set KEEPFIT_STATE.",
        )
    return resolved


def _check_paths(pipeline: Pipeline, contract_exists: bool) -> None:
    contract = pipeline.contract_path
    if contract_exists and contract is not None and not contract.is_file():
        raise ConfigError(
            f"{pipeline.path}, line {pipeline.line_of('contract')}: no such contract file: "
            f"{pipeline.contract.path}.",
            f"Write it with `{command('contract', 'infer', file=pipeline.path)}`, or remove the "
            "line.",
        )
    sink = pipeline.config.scoring.sink
    if sink is not None and sink.kind != "sql" and not is_object(sink.path):
        confined(sink.path, pipeline, "scoring.sink.path")


def _digest(config: PipelineConfig) -> str:
    values = config.model_dump(
        mode="json",
        exclude={
            "state",
            "schedules",
            "alerts",
            "monitoring",
            "policy",
            "scoring",
            "ledger",
            "retention",
            "contract",
        },
    )
    stated = config.contract
    values["contract"] = stated.path if isinstance(stated, ContractConfig) else stated
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
