"""Champion and challenger of equal age: the champion's recipe fitted on the challenger's rows.

A champion is fitted once more on the whole window after its verdict. A challenger that is judged on
the newest rows has not learnt from them; where it ends before the champion, the two differ by what
they know of the newest days, not by how well they learn, and under drift the older one cannot win.
Once promoted it would be fitted on the whole window too: so both are compared as of one day.
"""

from __future__ import annotations

from pathlib import Path

from tasks.base.config import PipelineConfig
from tasks.base.errors import KeepfitError, TransientError
from tasks.base.training_records import Basis, CandidateResult, ModelVersion
from tasks.base.utc_times import as_utc
from tasks.models.fitting import objective_of
from tasks.models.recipe import fit_recipe
from tasks.registry.mlflow.store import Store
from tasks.registry.version_files.version_recipes import recipe_of_version


def ends_before(basis: Basis, champion: ModelVersion) -> bool:
    """Return whether the challenger's newest row is older than the champion's."""
    until, boundary = champion.trained_until, basis.split.boundary
    if basis.split.rule != "time" or boundary is None or until is None:
        return False
    return as_utc(boundary) < until


def fit_twin(
    store: Store, config: PipelineConfig, champion: ModelVersion, basis: Basis
) -> tuple[CandidateResult | None, str]:
    """Return the champion's recipe fitted on the challenger's rows, or why there is none."""
    # The predictions are of today's holdout, classes in the order of today's schema.
    why = f"Champion v{champion.version} was trained on newer rows than the challenger, and "
    recipe, theirs, today = recipe_of_version(store, champion), champion.roles, basis.roles
    if recipe is None:
        return None, f"{why}kept no recipe by which the two could be compared at equal age."
    same = (theirs.target, theirs.task, theirs.classes) == (today.target, today.task, today.classes)
    if not same or not basis.snapshot.kinds.keys() >= theirs.features.keys():
        return None, f"{why}cannot be fitted on today's columns."
    roles = today.model_copy(update={"features": theirs.features})
    folder = Path(basis.prepared.folder) / f"champion-v{champion.version}"
    rows = (basis.snapshot.path, basis.split, roles, config.competing, basis.prepared.metric)
    try:
        return fit_recipe(*rows, recipe, folder, objective=objective_of(config)), ""
    except TransientError:
        raise
    except KeepfitError as error:
        return None, f"{why}cannot be fitted on older ones: {error.message}"
