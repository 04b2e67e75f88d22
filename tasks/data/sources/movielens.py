"""MovieLens as lists to rank: a person's ratings of the next films, predicted from earlier ones.

A person's ratings, in time order, are cut into lists of twenty. A list is one question: which of
the films that this person rates next will they like best? Every feature is made of ratings given
before the list's first one, by anybody, and of the film's own year and genres; `asked_at` is the
time of that first rating. So no feature uses a rating of its own list, and none of a later one;
rows of a list have one time, and a split by time never cuts a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Floats, Ints
from tasks.base.runtime.libraries import pd

LIST_ROWS = 20
_NO_GENRE = "(no genres listed)"
_PRIOR = 5.0
"""Ratings that the mean of all counts for beside a mean of few (Bayesian average)."""


def rating_lists(ratings: pd.DataFrame) -> dict[str, Any]:
    """Return the columns of the demo, rows in the order of their lists' times."""
    # `ratings` has a row a rating: ``userId``, ``movieId``, ``rating`` (0.5 to 5 in half steps),
    # ``timestamp`` (seconds since 1970), ``year`` and ``genres`` (separated by ``|``).
    # ``genre_affinity`` is what a person gave films of these genres beyond what they gave films at
    # all; means of few ratings lean on the mean of all.
    frame = ratings.sort_values(["userId", "timestamp", "movieId"], kind="stable")
    user, film = _codes(frame["userId"]), _codes(frame["movieId"])
    when, rating = frame["timestamp"].to_numpy(np.int64), frame["rating"].to_numpy(np.float64)
    lists, asked_at = _lists(user, when)
    everyone = np.zeros(len(frame), np.int64)
    moment, year = asked_at.astype("datetime64[s]"), frame["year"].to_numpy(np.float64)
    genres = _genres(frame["genres"])
    overall = _means(*known_before(everyone, when, rating, everyone, asked_at))
    film_count, film_sum = known_before(film, when, rating, film, asked_at)
    user_count, user_sum = known_before(user, when, rating, user, asked_at)
    user_mean = _shrunk(user_count, user_sum, overall)
    a_year_ago, _ = known_before(film, when, rating, film, asked_at - 365 * 86_400)
    columns = {
        "list_id": lists,
        "user_id": frame["userId"].to_numpy(np.int64),
        "movie_id": frame["movieId"].to_numpy(np.int64),
        "asked_at": moment.astype("datetime64[us]"),
        "film_year": year,
        "film_age": 1970.0 + moment.astype("datetime64[Y]").astype(np.int64) - year,
        "film_genre": genres.first,
        "film_genres": genres.sizes,
        "film_ratings": film_count,
        "film_ratings_of_year": film_count - a_year_ago,
        "film_mean": _shrunk(film_count, film_sum, overall),
        "user_ratings": user_count,
        "user_mean": user_mean,
        "genre_mean": _of_genres(genres, everyone, when, rating, asked_at, overall),
        "genre_affinity": _of_genres(genres, user, when, rating, asked_at, user_mean) - user_mean,
        "rating": rating,
    }
    order = np.lexsort((lists, asked_at))
    return {name: np.asarray(values)[order] for name, values in columns.items()}


def known_before(
    keys: Ints, times: Ints, values: Floats, wanted: Ints, moments: Ints
) -> tuple[Ints, Floats]:
    """Return count and sum of each `wanted` key's values at times strictly before its moment.

    >>> keys, times, values = np.array([0, 0, 1]), np.array([5, 7, 6]), np.array([1.0, 2.0, 4.0])
    >>> known_before(keys, times, values, np.array([0, 0, 1]), np.array([7, 8, 6]))
    (array([1, 2, 0]), array([1., 3., 0.]))
    """
    first = min(int(times.min()), int(moments.min()))
    span = max(int(times.max()), int(moments.max())) - first + 1
    place = keys * span + (times - first)
    order = np.argsort(place, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(values[order])])
    start = np.searchsorted(place[order], wanted * span)
    end = np.searchsorted(place[order], wanted * span + (moments - first))
    return end - start, sums[end] - sums[start]


def _codes(column: pd.Series[Any]) -> Ints:
    return np.unique(column.to_numpy(), return_inverse=True)[1].astype(np.int64).ravel()


def _lists(user: Ints, when: Ints) -> tuple[Ints, Ints]:
    """Return the list of each row and its first time; rows of a user lie together."""
    new = np.r_[True, user[1:] != user[:-1]]
    begun = np.flatnonzero(new)
    within = np.arange(len(user)) - begun[np.cumsum(new) - 1]
    lists = np.cumsum(new | (within % LIST_ROWS == 0)) - 1
    starts = np.flatnonzero(np.r_[True, lists[1:] != lists[:-1]])
    return lists.astype(np.int64), when[starts][lists]


def _means(count: Ints, total: Floats) -> Floats:
    means: Floats = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return means


def _shrunk(count: Ints, total: Floats, prior: Floats) -> Floats:
    """Return means that lean on `prior` where they are of few; null before the first rating."""
    mean: Floats = (total + _PRIOR * prior) / (count + _PRIOR)
    return mean


@dataclass(frozen=True)
class _Genres:
    """The first genre of each row, how many it has, and a pair of row and genre for each."""

    first: Array
    sizes: Ints
    row: Ints
    genre: Ints
    n_genres: int


def _genres(column: pd.Series[Any]) -> _Genres:
    texts, place = np.unique(
        column.fillna(_NO_GENRE).to_numpy(dtype=object).astype(str), return_inverse=True
    )
    parts = [text.split("|") for text in texts.tolist()]
    names = sorted({name for names in parts for name in names})
    number = {name: k for k, name in enumerate(names)}
    coded = [np.array([number[name] for name in given], np.int64) for given in parts]
    sizes = np.array([len(given) for given in coded], np.int64)[place]
    return _Genres(
        first=np.array([given[0] for given in parts], dtype=object)[place],
        sizes=sizes,
        row=np.repeat(np.arange(len(place)), sizes),
        genre=np.concatenate([coded[k] for k in place]),
        n_genres=len(names),
    )


def _of_genres(
    genres: _Genres, keys: Ints, when: Ints, rating: Floats, asked_at: Ints, prior: Floats
) -> Floats:
    """Return the mean, over a film's genres, of what the key had given films of the genre."""
    row = genres.row
    pair = keys[row] * genres.n_genres + genres.genre
    count, total = known_before(pair, when[row], rating[row], pair, asked_at[row])
    mean = _shrunk(count, total, prior[row])
    of_row: Floats = np.bincount(row, mean, minlength=len(genres.sizes)) / genres.sizes
    return of_row
