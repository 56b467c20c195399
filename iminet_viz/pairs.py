"""Splits without leakage, and the positive and negative pairs that a Siamese network is trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from iminet_viz.datasets import Clip, Pair
from iminet_viz.errors import DatasetError

SPLIT_SEED = 0  # of an experiment: split and negative pairs are the same for every seed of the training


@dataclasses.dataclass(frozen=True)
class PairSplit:
    """Pairs for training, for choosing the best epoch, and for the test."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]


def split_chains(pairs: list[Pair], test_chains: tuple[str, ...], validation_share: float, seed: int) -> PairSplit:
    """Hold out whole chains for the test, and whole subtrees of the others for validation.

    Training and validation share the first sound of a chain (as the paper's do); the test shares nothing.

    Raises:
        DatasetError: a test chain is unknown, or a part would be empty.
    """
    chains = sorted({pair.chain for pair in pairs})
    if unknown := [chain for chain in test_chains if chain not in chains]:
        raise DatasetError(f"no chain {', '.join(unknown)} in the data, expected some of {', '.join(chains)}")
    rng = np.random.default_rng(seed)
    held: set[str] = set()
    for chain in chains:
        if chain in test_chains:
            continue
        subtrees = sorted({pair.subtree for pair in pairs if pair.chain == chain})
        count = sum(pair.chain == chain for pair in pairs)
        taken = 0
        for index in rng.permutation(len(subtrees)):
            # whole subtrees until the share is reached, but never all of a chain
            size = sum(pair.subtree == subtrees[index] for pair in pairs)
            if taken + size <= max(validation_share * count, 1) and size < count:
                held.add(subtrees[index])
                taken += size
    test = [pair for pair in pairs if pair.chain in test_chains]
    validation = [pair for pair in pairs if pair.subtree in held and pair.chain not in test_chains]
    train = [pair for pair in pairs if pair.subtree not in held and pair.chain not in test_chains]
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        if not part:
            raise DatasetError(f"the {name} part of the split is empty ({len(pairs)} pairs in {len(chains)} chains)")
    return PairSplit(train, validation, test)


def split_sounds(pairs: list[Pair], seed: int, imitations: int = 10) -> PairSplit:
    """The paper's split: of each category half of the sounds for the test, of the others 3 in 10 imitations aside.

    Of a sound with more imitations than wanted some are drawn, over sorted file names; with fewer all are taken, and at
    least one is for validation. Training and validation share their sounds (as the paper's do), the test shares none.

    Args:
        pairs: each imitation once.
        seed: of the draws.
        imitations: wanted of each sound.

    Raises:
        DatasetError: fewer than two sounds, a category with fewer than four (half must leave two to choose from), or a
            sound with fewer than two imitations.
    """
    by_category: dict[str, dict[Path, list[Pair]]] = {}
    for pair in sorted(pairs, key=lambda pair: pair.imitation.name):
        by_category.setdefault(pair.category, {}).setdefault(pair.recording, []).append(pair)
    rng = np.random.default_rng(seed)
    split = PairSplit([], [], [])
    if sum(map(len, by_category.values())) < 2:
        raise DatasetError(f"the data have one sound only, {pairs[0].recording.name}; a search needs at least two")
    for category, sounds in sorted(by_category.items()):
        if len(sounds) < 4:
            raise DatasetError(
                f"the category {category!r} has {len(sounds)} sounds, expected at least 4: half of them are for the "
                "test, and a search needs two"
            )
        order = rng.permutation(len(sounds))
        for place, index in enumerate(order):
            recording = sorted(sounds)[index]
            own = sounds[recording]
            if len(own) < 2:
                raise DatasetError(
                    f"{recording.name} has one imitation, expected at least 2, one of them to validate by"
                )
            drawn = [own[number] for number in rng.permutation(len(own))[:imitations]]
            if place >= len(sounds) // 2:
                split.test.extend(drawn)
                continue
            aside = max(1, 3 * len(drawn) // 10)
            split.validation.extend(drawn[:aside])
            split.train.extend(drawn[aside:])
    return split


@dataclasses.dataclass(frozen=True)
class LabelledPair:
    """Two files and whether the first imitates the second."""

    imitation: Path
    recording: Path
    positive: bool


def label_pairs(pairs: list[Pair], seed: int) -> list[LabelledPair]:
    """Each positive pair, and one negative for it: the same imitation with another recording of the same part.

    The negative is drawn once, uniformly from the recordings that this imitation does not imitate
    (paper.md, section 4); an imitation is never paired with itself.

    Raises:
        DatasetError: fewer than two recordings.
    """
    rng = np.random.default_rng(seed)
    recordings = sorted({pair.recording for pair in pairs})
    right: dict[Path, set[Path]] = {}
    for pair in pairs:
        right.setdefault(pair.imitation, {pair.imitation}).add(pair.recording)
    labelled = []
    for pair in pairs:
        others = [path for path in recordings if path not in right[pair.imitation]]
        if not others:
            raise DatasetError(f"no negative for {pair.imitation}: the part has only {len(recordings)} recordings")
        labelled.append(LabelledPair(pair.imitation, pair.recording, True))
        labelled.append(LabelledPair(pair.imitation, others[rng.integers(len(others))], False))
    return labelled


def split_collections(clips: list[Clip], held_out: tuple[str, ...]) -> tuple[list[Clip], list[Clip]]:
    """Training and validation clips, whole collections held out.

    Raises:
        DatasetError: a collection is unknown, a part is empty, or a part lacks a label of the other.
    """
    collections = sorted({clip.collection for clip in clips})
    if unknown := [name for name in held_out if name not in collections]:
        raise DatasetError(f"no collection {', '.join(unknown)}, expected some of {', '.join(collections)}")
    train = [clip for clip in clips if clip.collection not in held_out]
    validation = [clip for clip in clips if clip.collection in held_out]
    labels = {clip.label for clip in clips}
    for name, part in (("training", train), ("validation", validation)):
        if lacking := sorted(labels - {clip.label for clip in part}):
            raise DatasetError(f"the {name} part has no clip of {', '.join(lacking)}")
    return train, validation
