"""The recipe of a version, kept beside it: how the same model is fitted on newer rows."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import ValidationError

from tasks.base.runtime.files import digest_of_bytes, read_unchanged
from tasks.base.training_records import Basis, CandidateResult, ModelVersion, Recipe
from tasks.models.persistence.artifacts import kept
from tasks.models.recipe import recipe_of
from tasks.registry.mlflow.store import Store

FILE = "recipe.json"
DIGEST_TAG = "keepfit.recipe_digest"
_LOGGER = logging.getLogger(__name__)


def recipe_for(basis: Basis, winner: CandidateResult) -> Recipe:
    """Return the recipe of a training's winner: the one it was fitted by, or what it found."""
    if basis.prepared.mode.recipe is not None:
        return basis.prepared.mode.recipe
    folder = Path(basis.prepared.folder) / "candidates"
    # The final fit used other rows than the search.
    return recipe_of(kept(folder, winner.candidate) or winner, folder)


def keep_recipe(store: Store, run_id: str, recipe: Recipe) -> dict[str, str]:
    """Store `recipe` under the challenger's run; return tags for the version."""
    text = recipe.model_dump_json(indent=1)
    store.log_text(run_id, FILE, text)
    return {DIGEST_TAG: digest_of_bytes(text.encode())}


def recipe_of_version(store: Store, version: ModelVersion) -> Recipe | None:
    """Return the recipe for fitting a version again; None without one, or of a later keepfit."""
    digest = version.tags.get(DIGEST_TAG, "")
    path = store.artifact(version.run_id, FILE) if digest else None
    if path is None:
        return None
    content = read_unchanged(path, digest, f"{version.name} version {version.version}")
    try:
        return Recipe.model_validate_json(content)
    except ValidationError:
        named = version.name, version.version
        _LOGGER.warning("%s version %s: its recipe is of another keepfit", *named)
        return None
