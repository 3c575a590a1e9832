"""The attacker of `tests.bench.attack`: trains on masked pictures of people whose names it knows, names others.

PCA with logistic regression, and nearest neighbours on the same features; several pictures of one track are combined by
the sum of their log-probabilities. Small on purpose: enough against blur and mosaic, so enough to judge a mask by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, cast

import numpy as np

from privacy.masking.frames import Plane
from tests.bench.gallery import Floats, Gallery, Whole

Split = Literal["later", "alternating"]
SPLITS: tuple[Split, ...] = ("later", "alternating")
PICTURES = (1, 5, 10)
TRAIN, TEST = 80, 18  # pictures of each person; where a track has fewer, some come twice
GAP = 7  # frames; one second of the clip
COMPONENTS, NOISE = 60, 1e-12
BLOCK, BLOCK_TRAIN, BLOCK_GAP = 28, 14, 4  # frames: train, gap, test, gap


def pick(gallery: Gallery, split: Split) -> tuple[Whole, Whole]:
    """Rows to train on (people x TRAIN) and to test on (people x TEST), the same number for each person, evenly in time.

    later        the first 60 % of a track, a gap of 10 % and at least a second, the rest
    alternating  two seconds, a gap of 0.6 s, 0.9 s of test, a gap, and so on
    """
    train, test = [], []
    for person in range(gallery.people):
        rows = np.flatnonzero(gallery.tracks == person)
        age = gallery.frames[rows] - gallery.frames[rows[0]]
        length = int(age[-1]) + 1
        if split == "later":
            first, second = age < 0.6 * length, age >= 0.6 * length + max(GAP, 0.1 * length)
        else:
            phase = age % BLOCK
            first, second = phase < BLOCK_TRAIN, (phase >= BLOCK_TRAIN + BLOCK_GAP) & (phase < BLOCK - BLOCK_GAP)
        train.append(_evenly(rows[first], TRAIN))
        test.append(_evenly(rows[second], TEST))
    return np.concatenate(train), np.concatenate(test)


def _evenly(rows: Whole, number: int) -> Whole:
    return cast(Whole, rows[np.linspace(0, len(rows) - 1, number).round().astype(int)])


class Learner(Protocol):
    """Told what and who; then asked for log-probabilities (m, people) of others."""

    def fit(self, what: Floats, who: Whole) -> None: ...
    def ask(self, what: Floats) -> Floats: ...


class Logistic:
    """Multinomial logistic regression with an L2 penalty, by Nesterov's accelerated gradient at step 1 / Lipschitz."""

    def __init__(self, penalty: float = 0.01, steps: int = 400) -> None:
        self._penalty, self._steps = penalty, steps

    def fit(self, what: Floats, who: Whole) -> None:
        inputs, truth = _with_one(what), np.eye(int(who.max()) + 1)[who]
        # The bias is hardly held back: it costs nothing to say how common somebody is.
        penalty = np.full((inputs.shape[1], 1), self._penalty)
        penalty[-1] = 1e-6
        rate = 1 / (0.5 * np.linalg.norm(inputs, 2) ** 2 / len(inputs) + self._penalty)
        weights = ahead = np.zeros((inputs.shape[1], truth.shape[1]))
        for step in range(self._steps):
            slope = inputs.T @ (np.exp(_log_softmax(inputs @ ahead)) - truth) / len(inputs) + penalty * ahead
            following = ahead - rate * slope
            ahead, weights = following + step / (step + 3) * (following - weights), following
        self._weights = weights

    def ask(self, what: Floats) -> Floats:
        return _log_softmax(_with_one(what) @ self._weights)


class Neighbours:
    """The five nearest training pictures vote; a tenth of a vote for everybody keeps the logarithm finite."""

    def __init__(self, nearest: int = 5) -> None:
        self._nearest = nearest

    def fit(self, what: Floats, who: Whole) -> None:
        self._what, self._who = what, who

    def ask(self, what: Floats) -> Floats:
        away = (self._what**2).sum(axis=1) - 2 * what @ self._what.T
        names = self._who[np.argsort(away, axis=1, kind="stable")[:, : self._nearest]]
        votes = np.eye(int(self._who.max()) + 1)[names].sum(axis=1) + 0.1
        return cast(Floats, np.log(votes / votes.sum(axis=1, keepdims=True)))


LEARNERS: dict[str, Callable[[], Learner]] = {"logistic": Logistic, "neighbours": Neighbours}


def _with_one(what: Floats) -> Floats:
    return np.hstack([what, np.ones((len(what), 1))])


def _log_softmax(scores: Floats) -> Floats:
    scores = scores - scores.max(axis=1, keepdims=True)
    return cast(Floats, scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))


class Principal:
    """Principal components of crops (m, 3, 28, 12), learned on the training ones and their mirror images.

    Weighted towards the middle (the edge of a box is mostly surroundings) and towards colour (clothes); components scaled
    by the fourth root of their variance: between as they are and all alike, with the first at one.
    """

    def __init__(self, crops: Plane) -> None:
        down, across = (np.linspace(-1, 1, size) for size in crops.shape[2:])
        colour = np.array([1, 3, 3])[:, None, None] / 255
        self._weight = np.exp(-(down[:, None] ** 2) - across[None, :] ** 2) * colour
        known = self._flat(np.concatenate([crops, crops[..., ::-1]]))
        self._middle = known.mean(axis=0)
        variance, axes = np.linalg.eigh(np.cov((known - self._middle).T))
        variance, axes = variance[::-1][:COMPONENTS], axes[:, ::-1][:, :COMPONENTS]
        kept = variance > NOISE
        self._axes = axes[:, kept] * variance[kept] ** -0.25 * variance[0] ** -0.25 if kept.any() else axes[:, :1] * 0

    def __call__(self, crops: Plane) -> Floats:
        return cast(Floats, (self._flat(crops) - self._middle) @ self._axes)

    def _flat(self, crops: Plane) -> Floats:
        return cast(Floats, (crops * self._weight).reshape(len(crops), -1))


class Geometry:
    """(m, 20): place, size and time of boxes, standardised on the training ones, with their squares and products."""

    def __init__(self, boxes: Floats) -> None:
        self._middle, self._spread = boxes.mean(axis=0), boxes.std(axis=0)

    def __call__(self, boxes: Floats) -> Floats:
        plain = (boxes - self._middle) / self._spread
        pairs = [plain[:, i] * plain[:, j] for i in range(plain.shape[1]) for j in range(i, plain.shape[1])]
        return np.hstack([plain, np.stack(pairs, axis=1)])


@dataclass(frozen=True)
class Rate:
    """How often an attacker names the right person: share of tries, with a 95 % interval (bootstrap over people)."""

    mask: str
    split: Split
    learner: str
    box: bool
    pictures: int
    rate: float
    low: float
    high: float


def attack(gallery: Gallery, mask: str, split: Split, box: bool) -> list[Rate]:
    """Train on masked pictures, name others. With `box`, the attacker is also told place, size and time of each box."""
    train, test = pick(gallery, split)
    crops = gallery.looks[mask]
    look = Principal(crops[train])
    known = [look(crops[train]), look(crops[train][..., ::-1])]
    asked = look(crops[test])
    if box:
        place = Geometry(gallery.boxes[train])
        known = [np.hstack([part, place(gallery.boxes[train])]) for part in known]
        asked = np.hstack([asked, place(gallery.boxes[test])])
    who = np.tile(gallery.tracks[train], 2)
    rates = []
    for name, make in LEARNERS.items():
        learner = make()
        learner.fit(np.concatenate(known), who)
        answers = learner.ask(asked)
        rates += [Rate(mask, split, name, box, n, *interval(hits(answers, gallery.people, n))) for n in PICTURES]
    return rates


def hits(answers: Floats, people: int, pictures: int) -> Floats:
    """(people,): share of tries in which a person is named from so many pictures; a tie between k names is 1/k of a hit.

    answers  (people * tries, people) log-probabilities, person by person in order of time. A try takes pictures that
             follow each other among the tries of one person, from the last on to the first.
    """
    of_person = answers.reshape(people, -1, people)
    tries = of_person.shape[1]
    window = (np.arange(tries)[:, None] + np.arange(pictures)) % tries
    total = of_person[:, window].sum(axis=2)
    best = total >= total.max(axis=2, keepdims=True) - 1e-9
    right = np.take_along_axis(best, np.arange(people)[:, None, None], axis=2)[..., 0]
    return cast(Floats, (right / best.sum(axis=2)).mean(axis=1))


def interval(shares: Floats, draws: int = 2000) -> tuple[float, float, float]:
    """Mean over people, and the 2.5th and 97.5th percentile of means over people drawn with replacement."""
    drawn = np.random.default_rng(0).integers(0, len(shares), (draws, len(shares)))
    low, high = np.percentile(shares[drawn].mean(axis=1), [2.5, 97.5])
    return float(shares.mean()), float(low), float(high)


@dataclass(frozen=True)
class Luck:
    """What the same attacker reaches on pictures of random noise: how far from chance a figure may lie by luck."""

    split: Split
    learner: str
    pictures: int
    mean: float
    highest: float


def luck(gallery: Gallery, split: Split, draws: int = 12) -> list[Luck]:
    shape = next(iter(gallery.looks.values())).shape
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for seed in range(draws):
        crops = np.random.default_rng(seed).integers(160, 176, shape).astype(np.uint8)
        for rate in attack(replace(gallery, looks={"noise": crops}), "noise", split, False):
            found[rate.learner, rate.pictures].append(rate.rate)
    return [Luck(split, name, n, sum(rates) / draws, max(rates)) for (name, n), rates in found.items()]
