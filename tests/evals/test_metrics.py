import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.evals.metrics import exact_match, proportion, ratio, word_errors

words = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6).map(" ".join)


def edits(said: list[str], meant: list[str]) -> int:
    """The textbook recursion, as a reference."""
    if not said or not meant:
        return len(said) + len(meant)
    return min(
        edits(said[1:], meant[1:]) + (said[0] != meant[0]),
        edits(said[1:], meant) + 1,
        edits(said, meant[1:]) + 1,
    )


@given(words, words)
def test_word_errors_equal_the_textbook_recursion(said: str, meant: str):
    assert word_errors(said, meant) == edits(said.split(), meant.split())


def test_an_exact_match_ignores_case_width_and_closing_punctuation():
    assert exact_match(" Two  CATS. ", "two cats") == 1
    assert exact_match("ｃａｔ", "cat") == 1
    assert exact_match("two cat", "two cats") == 0


def test_wilson_intervals_equal_published_values():
    # Newcombe 1998, Statistics in Medicine 17: 81 of 263 gives 0.2553 to 0.3662.
    estimate = proportion(81, 263)
    assert estimate.low == pytest.approx(0.2553, abs=1e-4)
    assert estimate.high == pytest.approx(0.3662, abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share(case: tuple[int, int]):
    estimate = proportion(*case)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_wilson_intervals_cover_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    hits = rng.binomial(200, 0.3, size=2000)
    covered = [proportion(int(h), 200).low <= 0.3 <= proportion(int(h), 200).high for h in hits]
    assert 0.93 < np.mean(covered) < 0.97


def test_bootstrapped_ratios_cover_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        whole = rng.integers(1, 10, 80).astype(float)
        part = whole * rng.uniform(0, 1, 80)
        low, high = ratio(list(part), list(whole))[1:]
        covered.append(low <= 0.5 <= high)
    assert 0.88 < np.mean(covered) < 0.99


def test_nothing_measured_is_refused():
    with pytest.raises(ValueError, match="at least one trial"):
        proportion(0, 0)
    with pytest.raises(ValueError, match="more than zero"):
        ratio([], [])
