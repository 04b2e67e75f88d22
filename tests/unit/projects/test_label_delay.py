"""The delay of labels is read off a table only where the table shows it."""

from __future__ import annotations

import numpy as np

from tasks.projects.label_delay import label_delay

TIMES = np.arange("2026-01-01", "2026-05-01", dtype="datetime64[h]")


def test_the_newest_rows_without_a_label_show_its_delay() -> None:
    shuffled = np.random.default_rng(0).permutation(TIMES)
    assert label_delay(shuffled, shuffled <= np.datetime64("2026-04-01")) == 30


def test_a_few_gaps_among_older_labels_do_not_hide_it() -> None:
    labelled = np.datetime64("2026-04-01") >= TIMES
    labelled[:2000:50] = False
    assert label_delay(TIMES, labelled) == 30


def test_labels_that_are_absent_anywhere_show_no_delay() -> None:
    labelled = np.random.default_rng(0).random(len(TIMES)) < 0.8
    assert label_delay(TIMES, labelled) == 0
    assert label_delay(TIMES, np.ones(len(TIMES), bool)) == 0
    assert label_delay(TIMES, np.zeros(len(TIMES), bool)) == 0


def test_few_rows_at_the_end_show_none() -> None:
    assert label_delay(TIMES, np.arange(len(TIMES)) < len(TIMES) - 29) == 0
