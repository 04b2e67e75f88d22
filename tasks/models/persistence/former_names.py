"""Former module names of keepfit's own classes: model files written under them must still load."""

from __future__ import annotations

FORMER_MODULES = {
    "tasks.models.calibrating": "tasks.models.postprocessing.adjusted_classifier",
    "tasks.models.columns": "tasks.models.features.columns",
    "tasks.models.dates": "tasks.models.features.datetime_features",
    "tasks.models.ensembling": "tasks.models.ensemble.weighted_ensemble",
    "tasks.models.estimators": "tasks.models.estimators.early_stopping_mlp",
    "tasks.models.popularity": "tasks.models.estimators.popularity",
    "tasks.models.postprocessing.calibration": "tasks.models.postprocessing.adjusted_classifier",
    "tasks.models.preprocessing": "tasks.models.features.preprocessing",
    "tasks.models.scaling": "tasks.models.features.scaling",
    "tasks.models.texts": "tasks.models.features.text_features",
}
"""Name in a file to today's name; entries are added when a class moves, and never removed."""
