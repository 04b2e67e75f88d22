from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tasks.base.errors import ModelRefusedError
from tasks.base.training_records import ModelVersion


def version(**tags: str) -> ModelVersion:
    return ModelVersion(
        name="churn", version="7", run_id="r", tags={f"keepfit.{k}": v for k, v in tags.items()}
    )


@pytest.mark.parametrize(
    ("read", "tag"),
    [
        (lambda v: v.roles, "schema"),
        (lambda v: v.trained_until, "trained_until"),
        (lambda v: v.promoted_at, "promoted_at"),
        (lambda v: v.score, "score"),
        (lambda v: v.read_mapping("keepfit.hooks"), "hooks"),
    ],
)
@pytest.mark.parametrize("text", ["{", "[1]", "soon", "\x00"])
def test_a_tag_that_cannot_be_read_is_an_error_that_names_version_and_tag(
    read: Callable[[ModelVersion], object], tag: str, text: str
) -> None:
    with pytest.raises(ModelRefusedError) as found:
        read(version(**{tag: text}))

    assert "churn version 7" in found.value.message
    assert f"keepfit.{tag}" in found.value.message
    assert "Promote another version" in found.value.remedy


def test_a_version_without_the_roles_of_its_columns_is_an_error_that_names_the_tag() -> None:
    with pytest.raises(ModelRefusedError, match=r"churn version 7 has no tag keepfit\.schema"):
        version().roles  # noqa: B018 - reading it raises


def test_what_need_not_be_recorded_may_be_absent() -> None:
    bare = version(score="None")

    assert (bare.trained_until, bare.promoted_at, bare.score) == (None, None, None)
    assert bare.read_mapping("keepfit.hooks") == {}


def test_tags_are_read_as_they_were_written() -> None:
    stated = version(trained_until="2026-03-01T10:00:00+01:00 included", score="0.75")

    assert stated.trained_until == datetime(2026, 3, 1, 9, tzinfo=UTC)
    assert stated.score == 0.75
