"""The part of a matrix that the suite runs."""

import itertools

from tests.builders.pairwise import pairs, pairwise

FACTORS = ("abcd", (1, 2, 8), (False, True), (False, True), (0.0, 0.1), (1, 4))


def test_every_two_values_meet_and_most_combinations_are_left_out():
    chosen = pairwise(*FACTORS)
    everything = list(itertools.product(*FACTORS))
    assert {pair for each in chosen for pair in pairs(each)} == {pair for each in everything for pair in pairs(each)}
    assert len(chosen) < len(everything) / 8
    assert set(chosen) <= set(everything)


def test_it_chooses_the_same_ones_every_time():
    assert pairwise(*FACTORS) == pairwise(*FACTORS)


def test_a_single_pair_of_factors_is_taken_whole():
    assert sorted(pairwise("ab", (1, 2))) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
