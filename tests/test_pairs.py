"""Splits share nothing that they must not share; negatives are wrong on purpose and never right by accident."""

import random
from collections import Counter
from pathlib import Path

import pytest

from iminet_viz.datasets import Clip, Pair, esc10, speech_lid, telephone
from iminet_viz.errors import DatasetError
from iminet_viz.pairs import PairSplit, label_pairs, split_chains, split_collections

CHAINS = ("dog", "glass", "tear", "water")


def made_pairs() -> list[Pair]:
    """Four chains, each with a seed sound and six first imitations of one to three generations."""
    pairs = []
    for chain in CHAINS:
        for first in range(6):
            parent = Path(f"{chain}-seed.wav")
            for generation in range(1 + first % 3):
                imitation = Path(f"{chain}-{first}-{generation}.wav")
                pairs.append(Pair(imitation, parent, chain, f"{chain}/{first}"))
                parent = imitation
    return pairs


@pytest.fixture(scope="module", params=["made", "real"])
def pairs(request):
    if request.param == "made":
        return made_pairs()
    return telephone.load(request.getfixturevalue("data_folder") / "telephone-imitations")


@pytest.fixture(scope="module")
def held_chain(pairs):
    return sorted({pair.chain for pair in pairs})[1]


def files(part: list[Pair]) -> set[Path]:
    return {path for pair in part for path in (pair.imitation, pair.recording)}


@pytest.mark.parametrize("seed", range(5))
def test_the_test_shares_no_clip_with_the_rest(pairs, held_chain, seed):
    split = split_chains(pairs, (held_chain,), 0.2, seed)
    assert {pair.chain for pair in split.test} == {held_chain}
    assert not files(split.test) & (files(split.train) | files(split.validation))


@pytest.mark.parametrize("seed", range(5))
def test_validation_shares_first_sounds_only(pairs, held_chain, seed):
    split = split_chains(pairs, (held_chain,), 0.2, seed)
    assert not {pair.subtree for pair in split.train} & {pair.subtree for pair in split.validation}
    imitations = {pair.imitation for pair in pairs}
    shared = files(split.train) & files(split.validation)
    assert shared  # as in the paper
    assert not shared & imitations  # the first sounds of the chains imitate nothing


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_every_pair_is_in_one_part_and_the_share_is_kept(pairs, held_chain, share):
    split = split_chains(pairs, (held_chain,), share, seed=0)
    assert Counter(split.train + split.validation + split.test) == Counter(pairs)
    for chain in {pair.chain for pair in pairs} - {held_chain}:
        held = sum(pair.chain == chain for pair in split.validation)
        count = sum(pair.chain == chain for pair in pairs)
        assert held <= max(share * count, 1)
        assert held < count


def test_a_chain_of_one_pair_stays_in_training():
    alone = Pair(Path("cat-0.wav"), Path("cat-seed.wav"), "cat", "cat/0")
    assert alone in split_chains([*made_pairs(), alone], ("dog",), 0.4, seed=0).train


def test_splits_follow_their_seed(pairs, held_chain):
    splits = [split_chains(pairs, (held_chain,), 0.2, seed) for seed in (0, 0, 1, 2, 3)]
    assert splits[0] == splits[1]
    assert any(split.validation != splits[0].validation for split in splits[2:])
    assert all(split.test == splits[0].test for split in splits)


def test_the_order_of_the_table_does_not_move_a_pair(pairs, held_chain):
    shuffled = random.Random(0).sample(pairs, len(pairs))
    one, other = (split_chains(table, (held_chain,), 0.2, seed=0) for table in (pairs, shuffled))
    assert set(one.train) == set(other.train)
    assert set(one.validation) == set(other.validation)


def test_several_chains_can_be_held_out(pairs):
    chains = sorted({pair.chain for pair in pairs})
    split = split_chains(pairs, tuple(chains[:3]), 0.2, seed=0)
    assert {pair.chain for pair in split.test} == set(chains[:3])
    assert {pair.chain for pair in split.train} == {chains[3]}


@pytest.mark.parametrize(
    ("test_chains", "share", "reason"),
    [
        (("cat",), 0.2, "no chain cat in the data, expected some of dog, glass, tear, water"),
        ((), 0.2, "the test part of the split is empty"),
        (CHAINS, 0.2, "the training part of the split is empty"),
    ],
)
def test_empty_parts_are_refused(test_chains, share, reason):
    with pytest.raises(DatasetError, match=reason):
        split_chains(made_pairs(), test_chains, share, seed=0)


def test_an_empty_validation_is_refused():
    whole_chains = [pair for pair in made_pairs() if pair.subtree.endswith("/2")]  # one subtree of three a chain
    with pytest.raises(DatasetError, match="the validation part of the split is empty"):
        split_chains(whole_chains, ("dog",), 0.5, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_negatives_are_other_recordings_of_the_part(pairs, seed):
    right = {(pair.imitation, pair.recording) for pair in pairs}
    recordings = {pair.recording for pair in pairs}
    labelled = label_pairs(pairs, seed)
    assert [(pair.imitation, pair.recording) for pair in labelled if pair.positive] == [
        (pair.imitation, pair.recording) for pair in pairs
    ]
    negatives = [pair for pair in labelled if not pair.positive]
    assert Counter(pair.imitation for pair in negatives) == Counter(pair.imitation for pair in pairs)
    for pair in negatives:
        assert (pair.imitation, pair.recording) not in right
        assert pair.imitation != pair.recording
        assert pair.recording in recordings


def test_negatives_of_a_split_stay_in_their_part(pairs, held_chain):
    split: PairSplit = split_chains(pairs, (held_chain,), 0.2, seed=0)
    for part in (split.train, split.validation, split.test):
        assert {pair.recording for pair in label_pairs(part, 0)} <= {pair.recording for pair in part}


def test_negatives_follow_their_seed(pairs):
    assert label_pairs(pairs, 0) == label_pairs(pairs, 0) != label_pairs(pairs, 1)


def test_negatives_are_drawn_uniformly():
    pairs = [Pair(Path(f"i{n}"), Path(f"r{n}"), "c", f"c/{n}") for n in range(5)]
    drawn = Counter(
        pair.recording.name
        for seed in range(400)
        for pair in label_pairs(pairs, seed)
        if pair.imitation == Path("i0") and not pair.positive
    )
    assert set(drawn) == {"r1", "r2", "r3", "r4"}
    assert min(drawn.values()) > 70  # 100 expected, deviation 8.7


def test_an_imitation_of_two_recordings_gets_neither_as_negative():
    pairs = [Pair(Path("i"), Path(name), "c", "c/1") for name in ("r1", "r2")] + [
        Pair(Path("j"), Path("r3"), "c", "c/2")
    ]
    for seed in range(20):
        wrong = {
            pair.recording for pair in label_pairs(pairs, seed) if pair.imitation == Path("i") and not pair.positive
        }
        assert wrong == {Path("r3")}


def test_one_recording_gives_no_negative():
    with pytest.raises(DatasetError, match=r"no negative for i: the part has only 1 recordings"):
        label_pairs([Pair(Path("i"), Path("r"), "c", "c/1")], 0)
    with pytest.raises(DatasetError, match=r"no negative for i"):  # the other recording is the imitation itself
        label_pairs([Pair(Path("i"), Path("r"), "c", "c/1"), Pair(Path("j"), Path("i"), "c", "c/1")], 0)


CLIPS = [Clip(Path(f"{c}{label}"), label, c) for c in "abc" for label in ("de", "nl")]


def test_collections_are_held_out_whole():
    train, validation = split_collections(CLIPS, ("b",))
    assert {clip.collection for clip in train} == {"a", "c"}
    assert {clip.collection for clip in validation} == {"b"}
    assert sorted(train + validation, key=str) == sorted(CLIPS, key=str)


@pytest.mark.parametrize(
    ("clips", "held_out", "reason"),
    [
        (CLIPS, ("d",), "no collection d, expected some of a, b, c"),
        (CLIPS, (), "the validation part has no clip of de, nl"),
        (CLIPS, ("a", "b", "c"), "the training part has no clip of de, nl"),
        (CLIPS[1:], ("a",), "the validation part has no clip of de"),
    ],
)
def test_collections_that_leave_a_part_without_a_label_are_refused(clips, held_out, reason):
    with pytest.raises(DatasetError, match=reason):
        split_collections(clips, held_out)


def test_real_collections_can_be_held_out(data_folder):
    train, validation = split_collections(esc10.load(data_folder / "esc10"), ("3",))
    assert (len(train), len(validation)) == (320, 80)
    speech = speech_lid.load(data_folder / "speech-lid")
    with pytest.raises(DatasetError, match="has no clip of"):
        split_collections(speech, (speech[0].collection,))  # no collection has all seven languages
