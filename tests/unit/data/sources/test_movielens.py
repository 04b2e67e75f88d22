"""MovieLens as lists: nothing in a list knows a rating of the list or of later."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.data.sources.movielens import LIST_ROWS, rating_lists


def ratings(rows: int = 900, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    films = rng.permuted(np.tile(np.arange(300), (6, 1)), axis=1)[:, : rows // 6].ravel()
    return pd.DataFrame(
        {
            "userId": np.repeat(np.arange(6), rows // 6),
            "movieId": films,
            "rating": rng.integers(1, 11, len(films)) / 2,
            "timestamp": rng.integers(1_000_000_000, 1_000_400_000, len(films)),
            "year": 1950.0 + films % 50,
            "genres": np.where(films % 2, "Drama|War", "Comedy"),
        }
    )


def test_a_list_is_twenty_ratings_of_one_person_with_one_time() -> None:
    frame = pd.DataFrame(rating_lists(ratings()))
    lists = frame.groupby("list_id")
    assert lists.size().max() == LIST_ROWS
    assert (lists["user_id"].nunique() == 1).all()
    assert (lists["asked_at"].nunique() == 1).all()
    assert frame["asked_at"].is_monotonic_increasing
    assert len(frame) == 900
    assert not frame.duplicated(["list_id", "movie_id"]).any()


def test_features_are_what_was_known_before_the_list() -> None:
    given = ratings()
    frame = pd.DataFrame(rating_lists(given))
    row = frame.iloc[600]
    asked = int(row["asked_at"].timestamp())
    before = given[given["timestamp"] < asked]
    mean = before["rating"].mean()
    film = before[before["movieId"] == row["movie_id"]]
    user = before[before["userId"] == row["user_id"]]
    assert row["film_ratings"] == len(film)
    assert row["user_ratings"] == len(user)
    assert row["film_mean"] == pytest.approx((film["rating"].sum() + 5 * mean) / (len(film) + 5))
    assert row["user_mean"] == pytest.approx((user["rating"].sum() + 5 * mean) / (len(user) + 5))


def test_no_feature_knows_a_rating_from_the_list_on() -> None:
    given = ratings()
    frame = pd.DataFrame(rating_lists(given))
    moment = frame["asked_at"].iloc[450]
    later = given["timestamp"] >= moment.timestamp()
    turned = given.assign(rating=given["rating"].where(~later, 5.5 - given["rating"]))

    again = pd.DataFrame(rating_lists(turned))

    until = frame["asked_at"] <= moment
    features = frame.columns.drop("rating")
    pd.testing.assert_frame_equal(frame.loc[until, features], again.loc[until, features])
    after = frame["asked_at"] > moment
    assert not frame.loc[after, "film_mean"].equals(again.loc[after, "film_mean"])
