"""Neural networks that stop early on a validation part of their own choosing.

scikit-learn's own early stopping draws that part at random, which looks into the future where rows
have a time, and judges classifiers by accuracy, which says little about rare classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.class_weight import compute_sample_weight

from tasks.models.folds import inner_part, inner_share, thin


class _StopsEarly:
    """Epochs of ``partial_fit`` until the loss on the validation part no longer falls.

    Attributes
    ----------
    epochs_
        Epochs of the weights that were kept.
    training_losses_, validation_losses_
        Loss after each epoch on rows that are learnt from, of which as many are asked as validate,
        and on the validation part; empty if `early` is False.
    """

    def _forget(self) -> None:
        """Drop what an earlier fit left: ``partial_fit`` would go on from there."""
        for name in [n for n in vars(self) if n.endswith("_") or n == "_optimizer"]:
            delattr(self, name)

    def _learn(
        self,
        y: NDArray[Any],
        step: Callable[[NDArray[np.int64]], None],
        loss: Callable[[NDArray[np.int64]], float],
        groups: NDArray[np.int64] | None,
        *,
        classification: bool,
    ) -> None:
        model: Any = self
        # Every call of `partial_fit` draws its batches from the seed again, always in one order.
        rng = np.random.default_rng(model.random_state)
        if not model.early:
            for _ in range(model.max_iter):
                step(rng.permutation(len(y)))
            self.epochs_, self.training_losses_, self.validation_losses_ = model.max_iter, [], []
            del model._optimizer
            return
        part = inner_part(
            y,
            inner_share(len(y)),
            ordered=model.ordered,
            classification=classification,
            seed=model.random_state or 0,
            groups=groups,
        )
        own = part.train[thin(len(part.train), len(part.valid))]
        losses: list[float] = []
        own_losses: list[float] = []
        kept: tuple[list[Any], list[Any]] | None = None
        for epoch in range(model.max_iter):
            step(rng.permutation(part.train))
            losses.append(loss(part.valid))
            own_losses.append(loss(own))
            if losses[-1] <= min(losses) or kept is None:
                kept = [w.copy() for w in model.coefs_], [b.copy() for b in model.intercepts_]
                self.epochs_ = epoch + 1
            elif epoch + 1 - self.epochs_ >= model.patience:
                break
        assert kept is not None  # noqa: S101 - the first epoch is always kept
        model.coefs_, model.intercepts_ = kept
        self.training_losses_, self.validation_losses_ = own_losses, losses
        del model._optimizer  # twice the size of the weights, and of no use to predict


class EarlyMLPClassifier(_StopsEarly, MLPClassifier):  # type: ignore[misc]
    """A network for classes, stopped by its log loss.

    Parameters
    ----------
    max_iter
        Epochs at most, or exactly, if `early` is False.
    early
        Whether a part of the rows is set aside to stop on.
    ordered
        Whether that part is the last rows instead of random ones.
    patience
        Epochs without a better loss after which training stops.
    """

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
    ) -> None:
        super().__init__(
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

    def fit(
        self, X: NDArray[np.float32], y: NDArray[Any], groups: NDArray[np.int64] | None = None
    ) -> Self:
        """Fit on `X` of shape (n_rows, n_columns) and labels `y`."""
        from sklearn.metrics import log_loss

        self._forget()
        labels = np.unique(y)
        weights = compute_sample_weight(self.class_weight, y) if self.class_weight else None

        def step(rows: NDArray[np.int64]) -> None:
            weight = None if weights is None else weights[rows]
            self.partial_fit(X[rows], y[rows], sample_weight=weight, classes=labels)

        def loss(rows: NDArray[np.int64]) -> float:
            weight = None if weights is None else weights[rows]
            return float(
                log_loss(y[rows], self.predict_proba(X[rows]), sample_weight=weight, labels=labels)
            )

        self._learn(y, step, loss, groups, classification=True)
        return self


class EarlyMLPRegressor(_StopsEarly, MLPRegressor):  # type: ignore[misc]
    """A network for numbers, stopped by its squared error; parameters as the classifier's."""

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
    ) -> None:
        super().__init__(
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

    def fit(
        self, X: NDArray[np.float32], y: NDArray[Any], groups: NDArray[np.int64] | None = None
    ) -> Self:
        """Fit on `X` of shape (n_rows, n_columns) and numbers `y`."""
        self._forget()

        def step(rows: NDArray[np.int64]) -> None:
            self.partial_fit(X[rows], y[rows])

        def loss(rows: NDArray[np.int64]) -> float:
            return float(np.mean((self.predict(X[rows]) - y[rows]) ** 2))

        self._learn(y, step, loss, groups, classification=False)
        return self
