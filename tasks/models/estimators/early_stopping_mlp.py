"""Neural networks with early stopping on a validation part that respects time and groups.

scikit-learn's own early stopping draws that part at random, which looks into the future where rows
have a time, and judges classifiers by accuracy, which is insensitive to rare classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.class_weight import compute_sample_weight

from tasks.base.arrays import Array, Ints, Matrix, subsample_evenly
from tasks.base.runtime.libraries import sklearn
from tasks.models.estimators.fit_context import Watched
from tasks.models.splitters import Fold, inner_part, inner_share

_LEFT = ("_optimizer", "_on_the_way")

Weights = tuple[list[Any], list[Any]]
"""Coefficients and intercepts, layer by layer."""


class _StopsEarly:
    """Epochs of ``partial_fit`` until the loss on the validation part no longer falls."""

    # Where rows are watched, all are learnt from, and every epoch's weights are kept until `wind`
    # chooses. ``epochs_`` are those of the weights kept; ``training_losses_`` (on a sample as large
    # as the validation part) and ``validation_losses_`` follow each epoch and are empty if `early`
    # is False; ``part_losses_`` are those on each part of the watched rows.

    usual = 0
    class_weight: str | None = None
    """Of models that were saved before there were such arguments."""

    def __init__(
        self,
        hidden_layer_sizes: tuple[int, ...] = (64, 32),
        alpha: float = 1e-4,
        batch_size: int = 256,
        learning_rate_init: float = 1e-3,
        max_iter: int = 100,
        random_state: int | None = None,
        early: bool = True,
        ordered: bool = False,
        patience: int = 5,
        class_weight: str | None = None,
        usual: int = 0,
    ) -> None:
        super().__init__(  # type: ignore[call-arg]
            hidden_layer_sizes=hidden_layer_sizes,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            random_state=random_state,
        )
        self.early = early
        self.ordered = ordered
        self.patience = patience
        self.class_weight = class_weight
        self.usual = usual

    def _forget(self) -> None:
        """Drop the state of an earlier fit: ``partial_fit`` would continue from there."""
        for name in [n for n in vars(self) if n.endswith("_") or n in _LEFT]:
            delattr(self, name)

    def _learn(
        self,
        X: Matrix,
        y: Array,
        step: Callable[[Ints], None],
        loss: Callable[[Matrix, Array], float],
        groups: Ints | None,
        watched: Watched | None,
        *,
        classification: bool,
    ) -> None:
        model: Any = self
        # Every call of `partial_fit` draws its batches from the seed again, always in one order.
        rng = np.random.default_rng(model.random_state)
        self.training_losses_: list[float] = []
        self.validation_losses_: list[float] = []
        if not model.early:
            for _ in range(model.max_iter):
                step(rng.permutation(len(y)))
            self.epochs_ = model.max_iter
            del model._optimizer
            return
        if watched is None:
            part = inner_part(
                y,
                inner_share(len(y)),
                ordered=model.ordered,
                classification=classification,
                seed=model.random_state or 0,
                groups=groups,
            )
            held = [(X[part.valid], y[part.valid])]
        else:
            everything = np.arange(len(y), dtype=np.int64)
            part = Fold(everything, everything[: len(watched.y)])
            held = [(watched.X[rows], watched.y[rows]) for rows in watched.parts]
        own = part.train[subsample_evenly(len(part.train), len(part.valid))]
        least = 0 if watched is None else model.usual
        on_parts: list[list[float]] = [[] for _ in held]
        kept: list[Weights] = []
        for epoch in range(model.max_iter):
            step(rng.permutation(part.train))
            for losses, (theirs, truth) in zip(on_parts, held, strict=True):
                losses.append(loss(theirs, truth))
            self.validation_losses_.append(float(np.mean([losses[-1] for losses in on_parts])))
            self.training_losses_.append(loss(X[own], y[own]))
            best = self.validation_losses_[-1] <= min(self.validation_losses_)
            if best or not kept:
                self.epochs_ = epoch + 1
            if watched is not None or self.epochs_ == epoch + 1:
                weights = [w.copy() for w in model.coefs_], [b.copy() for b in model.intercepts_]
                kept = [weights] if watched is None else [*kept, weights]
            if not best and epoch + 1 >= max(least, self.epochs_ + model.patience):
                break
        if watched is None:
            model.coefs_, model.intercepts_ = kept[-1]
        else:
            self._on_the_way, self.part_losses_ = kept, on_parts
            self.wind(self.epochs_)
        del model._optimizer  # twice the size of the weights, and of no use to predict

    def wind(self, epochs: int) -> None:
        """Take the weights after so many epochs, or the last ones where there are fewer."""
        model: Any = self
        model.coefs_, model.intercepts_ = self._on_the_way[min(epochs, len(self._on_the_way)) - 1]


class EarlyMLPClassifier(_StopsEarly, MLPClassifier):  # type: ignore[misc]
    """A network for classes, stopped by its log loss.

    ``max_iter`` bounds the epochs, or states them if `early` is False; else rows are set aside to
    stop on: the last if `ordered`, or random ones. It stops after `patience` epochs without a
    better loss, and where rows are watched not before `usual` epochs.
    """

    def fit(
        self, X: Matrix, y: Array, groups: Ints | None = None, watched: Watched | None = None
    ) -> Self:
        """Fit on `X` of shape (n_rows, n_columns) and labels `y`."""
        self._forget()
        labels = np.unique(y)
        weights = compute_sample_weight(self.class_weight, y) if self.class_weight else None

        def step(rows: Ints) -> None:
            weight = None if weights is None else weights[rows]
            self.partial_fit(X[rows], y[rows], sample_weight=weight, classes=labels)

        heavy = None if weights is None else dict(zip(y.tolist(), weights.tolist(), strict=True))

        def loss(theirs: Matrix, truth: Array) -> float:
            weight = None if heavy is None else [heavy[label] for label in truth.tolist()]
            stated = self.predict_proba(theirs)
            return float(
                sklearn.metrics.log_loss(truth, stated, sample_weight=weight, labels=labels)
            )

        self._learn(X, y, step, loss, groups, watched, classification=True)
        return self


class EarlyMLPRegressor(_StopsEarly, MLPRegressor):  # type: ignore[misc]
    """A network for numbers, stopped by its squared error; parameters as the classifier's."""

    def fit(
        self, X: Matrix, y: Array, groups: Ints | None = None, watched: Watched | None = None
    ) -> Self:
        """Fit on `X` of shape (n_rows, n_columns) and numbers `y`."""
        self._forget()

        def step(rows: Ints) -> None:
            self.partial_fit(X[rows], y[rows])

        def loss(theirs: Matrix, truth: Array) -> float:
            return float(np.mean((self.predict(theirs) - truth) ** 2))

        self._learn(X, y, step, loss, groups, watched, classification=False)
        return self
