"""The bundled pipelines on real data that ships in packages."""

from __future__ import annotations

from typing import Any

# Each is a pipeline file without its name; `deploy/pipelines/` holds the same as files.
DEMOS: dict[str, dict[str, Any]] = {
    "flights": {
        "target": "arr_late",
        "source": {"kind": "demo", "name": "flights"},
        "time_column": "time_hour",
        "id_columns": ["flight_id"],
        # Known only once the flight has left, or landed.
        "exclude": ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"],
        "split": {"holdout": 0.2},
        "training": {"budget": "120s", "cv": 3},
        "metric": "roc_auc",
    },
    "digits": {
        "target": "label",
        "task": "multiclass",
        "source": {"kind": "demo", "name": "digits"},
        "metric": "log_loss",
    },
    "diabetes": {
        "target": "progression",
        "task": "regression",
        "source": {"kind": "demo", "name": "diabetes"},
        "metric": "rmse",
    },
    "breast_cancer": {
        "target": "diagnosis",
        "positive": "malignant",
        "source": {"kind": "demo", "name": "breast_cancer"},
        "metric": "roc_auc",
    },
    "credit": {
        "target": "status",
        "positive": "bad",
        "source": {"kind": "demo", "name": "credit"},
        "id_columns": ["row_id"],
        "metric": "roc_auc",
        # A lost loan costs five refused ones.
        "objective": {"cost": {"false_positive": 1, "false_negative": 5}},
        "training": {
            "candidates": ["logistic_regression", "random_forest", "lightgbm"],
            "calibrate": "auto",
            "ensemble": True,
        },
        "report": {"sensitive": ["marital"]},
    },
    "parkinsons": {
        "target": "class",
        "positive": "PD",
        "source": {"kind": "demo", "name": "parkinsons"},
        "id_columns": ["row_id"],
        "metric": "roc_auc",
        "training": {
            "candidates": ["logistic_regression", "random_forest", "lightgbm"],
            "calibrate": "auto",
        },
        "report": {"sensitive": ["gender"]},
    },
    "movielens": {
        "target": "rating",
        "task": "ranking",
        "source": {"kind": "demo", "name": "movielens"},
        "group": "list_id",
        "item": "movie_id",
        "relevant": 4.0,
        "time_column": "asked_at",
        "id_columns": ["list_id", "movie_id"],
        # Features describe what was known of the person; the number alone ranks nothing.
        "exclude": ["user_id"],
        "metric": "ndcg_at_10",
        "training": {
            "candidates": ["logistic_regression", "lightgbm"],
            "cv": 3,
            "cv_rows": 100_000,
        },
        "scoring": {"top_k": 10},
        "monitoring": {"window": "28d"},
    },
}
