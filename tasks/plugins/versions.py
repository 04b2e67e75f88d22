"""Plugin code that a version needs, by its tags, and whether the file allows it."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.base.config import PipelineConfig
from tasks.base.errors import ModelRefusedError
from tasks.base.plugin_settings import HooksConfig
from tasks.plugins.features import hooks_identity
from tasks.plugins.modules import digest_of, path_of

if TYPE_CHECKING:
    from tasks.base.training_records import ModelVersion

HOOKS_TAG = "keepfit.hooks"
_LOGGER = logging.getLogger(__name__)


def code_identity(hooks: HooksConfig, base: Path) -> str:
    """Return an identity of all hooks' code; empty without hooks."""
    calls = {name: hook.call for name, hook in hooks.of_estimators.items()}
    calls |= {name: hook.call for name, hook in hooks.metrics.items()}
    parts = [f"{name} {call} {_digest(call, base)}" for name, call in sorted(calls.items())]
    return "\n".join(part for part in (hooks_identity(hooks, base), *parts) if part)


def _digest(call: str, base: Path) -> str:
    return digest_of(path_of(call.partition(":")[0], base))


def hooks_tags(
    hooks: HooksConfig, base: Path, candidates: Collection[str] = (), given: str = ""
) -> dict[str, str]:
    """Return the tag that names the hooks that a version made of `candidates` needs."""
    # `given`: what the feature function was given at the training, see `Snapshot.given`.
    needed: dict[str, object] = {}
    if hooks.features is not None:
        needed = {"features": hooks.features, "digest": hooks_identity(hooks, base)}
        needed |= {"given": given} if given else {}
    own = {n: hook.call for n, hook in hooks.of_estimators.items() if n in candidates}
    if own:
        needed["estimators"] = own
        needed["digests"] = {call: _digest(call, base) for call in own.values()}
    return {HOOKS_TAG: json.dumps(needed)} if needed else {}


def require_hooks(config: PipelineConfig, base: Path, version: ModelVersion) -> None:
    """Refuse a version that needs a hook which the running file does not name."""
    # A hook whose code has changed since is used, with a warning.
    needed = version.read_mapping(HOOKS_TAG)
    _require_features(config, base, version, needed)
    estimators, digests = _texts(needed.get("estimators")), _texts(needed.get("digests"))
    named = {hook.call for hook in config.hooks.of_estimators.values()}
    for name, call in estimators.items():
        if call not in named:
            raise ModelRefusedError(
                f"{version.name} version {version.version} was fitted by "
                f"`hooks.estimators: {{{name}: {call}}}`; the pipeline file does not name "
                f"{call}, and nothing of it is imported.",
                f"Write `hooks: {{estimators: {{{name}: '{call}'}}}}` into it, or train again.",
            )
        if digests.get(call) != _digest(call, base):
            _changed(call, version)


def given_to_features(version: ModelVersion) -> str:
    """Return the feature function's input columns at the training; empty where not known."""
    return str(version.read_mapping(HOOKS_TAG).get("given", ""))


def _require_features(
    config: PipelineConfig, base: Path, version: ModelVersion, needed: Mapping[str, object]
) -> None:
    named = config.hooks.features
    wanted = needed.get("features")
    if wanted != named:
        needs = f"features of `hooks.features: {wanted}`" if wanted else "no feature hook"
        raise ModelRefusedError(
            f"{version.name} version {version.version} was trained with {needs}; the pipeline "
            f"file names {named or 'none'}.",
            f"Write `hooks: {{features: {wanted}}}` into it, or train again."
            if wanted
            else "Take `hooks` out of it, or train again.",
        )
    if wanted and needed.get("digest") != hooks_identity(config.hooks, base):
        _changed(str(wanted), version)


def _changed(call: str, version: ModelVersion) -> None:
    _LOGGER.warning(
        "the code of hook %s has changed since version %s was trained", call, version.version
    )


def _texts(value: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}
