"""A listening study: blind choices between A and B, kept so that none is lost or counted twice, and what they prove.

Each kind of question has a pool of pairs, one side of which is right. A participant has a seed; it decides in which
order the pool is asked and on which side the right one is (:func:`schedule`), so each question can be drawn again from
what is stored (:func:`replay`). A question is written before it is shown: who loads the page anew gets the same one
again, and the first answer to a question is the one that counts.

::

    study = Study(path)
    someone = study.join("Ann")
    question = study.ask(someone, "pretrained", pool)      # question.A, question.B: what to show
    study.answer(question.id, "A", seconds=4.2)
    for row in study.results(): print(row.kind, row.share, row.verdict)

The file is SQLite (write-ahead log, one connection a call), so several processes may use it at once.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from iminet_viz.audio import atomic_path, one_line
from iminet_viz.errors import StudyError

SCHEMA = 1  # of the file
MARK = 0x49_4D_4E_53  # application id of the file, "IMNS"
CHANCE = 0.5
LEVEL = 0.05
WAIT_S = 20.0  # for another process that writes
NAME_LENGTH = 60
CHOICES = ("A", "B", "skip")

KINDS = {
    "pretrained": "Which pattern is from the pre-trained net?",
    "fits": "Which pattern fits this clip?",
    "match": "Which hit matches your imitation better?",
}
RIGHT = {
    "pretrained": "the pattern of the pre-trained net; the other is of the one trained from scratch, of the same layer",
    "fits": "the pattern of the neuron that the clip excites more; the other is of the same layer, hardly excited",
    "match": "the hit that the search ranks higher; the listener is the truth, so this says how often the search "
    "agrees",
}

_TABLES = """
CREATE TABLE participants (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, seed INTEGER NOT NULL, joined TEXT NOT NULL
) STRICT;
CREATE TABLE questions (
    id TEXT PRIMARY KEY,
    participant TEXT NOT NULL REFERENCES participants (id),
    kind TEXT NOT NULL,
    pool TEXT NOT NULL,      -- digest of all its pairs
    pairs INTEGER NOT NULL,  -- how many it holds
    number INTEGER NOT NULL, -- of this participant in this pool, from 0
    item INTEGER NOT NULL,   -- place in the pool
    right_one TEXT NOT NULL, -- what was compared
    wrong_one TEXT NOT NULL,
    about TEXT NOT NULL,     -- clip or query that the question is about
    side TEXT NOT NULL,      -- where the right one was, A or B
    asked TEXT NOT NULL,
    UNIQUE (participant, kind, pool, number)
) STRICT;
CREATE TABLE answers (
    question TEXT PRIMARY KEY REFERENCES questions (id),
    choice TEXT NOT NULL,
    seconds REAL,
    answered TEXT NOT NULL
) STRICT;
"""
_OPEN = (
    "SELECT q.id FROM questions q LEFT JOIN answers a ON a.question = q.id "
    "WHERE q.participant = ? AND a.question IS NULL"
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """What is compared, by names that only the file holds, never a page; ``about`` is the clip or query."""

    right: str
    wrong: str
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Pool:
    """All pairs that one kind of question can be asked of."""

    kind: str
    pairs: tuple[Pair, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise StudyError(f"no kind of question {self.kind!r}, expected one of: {', '.join(KINDS)}")

    @property
    def digest(self) -> str:
        """Names the pool: the same pairs in the same order."""
        text = json.dumps([self.kind, [dataclasses.astuple(pair) for pair in self.pairs]])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Question:
    """One choice; ``A`` and ``B`` name what is shown there, and nothing but the file says which is right."""

    id: str
    kind: str
    number: int  # of this participant in the pool, from 0
    pairs: int  # in the pool
    A: str
    B: str
    about: str


@dataclasses.dataclass(frozen=True)
class Tally:
    """Answers of one kind, of all participants or of one.

    Attributes:
        kind: of question.
        who: participant, "" for all.
        name: of the participant.
        n: answers that chose a side.
        right: of these.
        skipped: answers that chose none.
        participants: how many gave them.
        wilson: interval of the share, 95 % (Wilson 1927).
        exact: the same by Clopper and Pearson (1934), never too narrow.
        p: of the exact two-sided binomial test against chance.
    """

    kind: str
    who: str
    name: str
    n: int
    right: int
    skipped: int
    participants: int
    wilson: tuple[float, float]
    exact: tuple[float, float]
    p: float

    @property
    def share(self) -> float | None:
        """Of right answers; None without any."""
        return self.right / self.n if self.n else None

    @property
    def verdict(self) -> str:
        """What can be concluded, in a sentence."""
        if self.n < fewest_answers():
            more = f"{self.n} answer{'s' * (self.n != 1)}" if self.n else "no answer yet"
            return (
                f"Nothing can be concluded yet: {more}, and even if all of fewer than {fewest_answers()} were right, "
                "that happens by chance too often."
            )
        low, high = self.wilson
        between = f"between {low:.0%} and {high:.0%}"
        if self.p >= LEVEL:
            return (
                f"Nothing can be concluded: {self.right} of {self.n} may well be chance; the true share is {between}."
            )
        more = "more" if self.right > self.n / 2 else "less"
        once = " If several answers are of the same person, they count as less than they seem." * (
            self.n > self.participants
        )
        return f"Right {more} often than by chance: the true share is {between}.{once}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self) | {"share": self.share, "chance": CHANCE, "verdict": self.verdict}


def fewest_answers() -> int:
    """Answers that, all right, are rarer by chance than one time in twenty: 6."""
    count = 1
    while 2 * CHANCE**count >= LEVEL:
        count += 1
    return count


def tally(
    kind: str, right: int, n: int, skipped: int = 0, participants: int = 1, who: str = "", name: str = ""
) -> Tally:
    """Count answers up; without any the interval is everything and p is 1."""
    if not n:
        return Tally(kind, who, name, 0, 0, skipped, participants, (0.0, 1.0), (0.0, 1.0), 1.0)
    from scipy.stats import binomtest

    test = binomtest(right, n, CHANCE)
    intervals = []
    for method in ("wilson", "exact"):
        interval = test.proportion_ci(0.95, method)
        intervals.append((max(0.0, float(interval.low)), min(1.0, float(interval.high))))
    return Tally(kind, who, name, n, right, skipped, participants, intervals[0], intervals[1], float(test.pvalue))


def schedule(pool: Pool, seed: int) -> list[tuple[int, str]]:
    """In which order a participant is asked the pairs of a pool, and on which side the right one is.

    The right one is on A as often as on B, but for one question.
    """
    rng = np.random.default_rng([seed, int(pool.digest, 16)])
    count = len(pool.pairs)
    order = rng.permutation(count)
    sides = rng.permutation(np.resize(rng.permutation(["A", "B"]), count))
    return [(int(item), str(side)) for item, side in zip(order, sides, strict=True)]


class Study:
    """The file of a study; it is made where there is none."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file.

        Raises:
            StudyError: it is no study, of a later version, damaged, or cannot be written to.
        """
        self.path = Path(path)
        with self._open() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            mark = db.execute("PRAGMA application_id").fetchone()[0]
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if tables and mark != MARK:
                raise StudyError(f"{one_line(self.path)}: is a database, but of no study; name another file")
            if version > SCHEMA:
                raise StudyError(
                    f"{one_line(self.path)}: is of version {version}, this program reads up to {SCHEMA}; update it"
                )
            if not tables:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("BEGIN IMMEDIATE")
                if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:  # another process was first
                    for statement in _TABLES.split(";"):
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id = {MARK}")
                    db.execute(f"PRAGMA user_version = {SCHEMA}")
                db.execute("COMMIT")

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise StudyError(f"{one_line(self.path)}: cannot be opened ({_reason(error)})") from None
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA synchronous = FULL")  # an answer that was taken survives a power cut
            yield db
        except sqlite3.OperationalError as error:
            raise StudyError(f"{one_line(self.path)}: cannot be read or written ({_reason(error)})") from None
        except sqlite3.DatabaseError as error:
            raise StudyError(f"{one_line(self.path)}: is no study, or damaged ({_reason(error)})") from None
        finally:
            db.close()

    # --- taking part ------------------------------------------------------------------------------------------------

    def join(self, name: str = "", seed: int | None = None) -> str:
        """Take a participant in; answers a random id. Without a seed one is drawn."""
        someone = secrets.token_urlsafe(9)
        seed = secrets.randbits(31) if seed is None else seed
        with self._open() as db:
            db.execute("INSERT INTO participants VALUES (?, ?, ?, ?)", (someone, clean_name(name), seed, _now()))
        return someone

    def knows(self, participant: str) -> bool:
        """Whether there is such a participant."""
        with self._open() as db:
            return db.execute("SELECT 1 FROM participants WHERE id = ?", (participant,)).fetchone() is not None

    def rename(self, participant: str, name: str) -> None:
        """Change a participant's name."""
        with self._open() as db:
            db.execute("UPDATE participants SET name = ? WHERE id = ?", (clean_name(name), participant))

    def ask(self, participant: str, pool: Pool) -> Question:
        """The participant's next question, or again the one that was asked and not answered.

        Raises:
            StudyError: no such participant, an empty pool, or all of its pairs were asked.
        """
        if not pool.pairs:
            raise StudyError(f"there is nothing to ask: {KINDS[pool.kind]}")
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")  # two pages of one participant get the same question
            try:
                row = db.execute("SELECT seed FROM participants WHERE id = ?", (participant,)).fetchone()
                if row is None:
                    raise StudyError("this participant is not known here; begin anew")
                where = (participant, pool.kind, pool.digest)
                open_one = db.execute(
                    "SELECT q.* FROM questions q LEFT JOIN answers a ON a.question = q.id "
                    "WHERE q.participant = ? AND q.kind = ? AND q.pool = ? AND a.question IS NULL",
                    where,
                ).fetchone()
                if open_one is not None:
                    return _question(open_one)
                number = db.execute(
                    "SELECT count(*) FROM questions WHERE participant = ? AND kind = ? AND pool = ?", where
                ).fetchone()[0]
                if number >= len(pool.pairs):
                    raise StudyError(f"all {len(pool.pairs)} pairs of this kind were judged; thank you")
                item, side = schedule(pool, row["seed"])[number]
                pair = pool.pairs[item]
                own = (secrets.token_urlsafe(9), participant, pool.kind, pool.digest, len(pool.pairs), number, item)
                db.execute(
                    "INSERT INTO questions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*own, pair.right, pair.wrong, pair.about, side, _now()),
                )
                return _question(db.execute("SELECT * FROM questions WHERE id = ?", (own[0],)).fetchone())
            finally:
                db.execute("COMMIT")

    def question(self, id: str) -> Question | None:
        """A question that was asked."""
        with self._open() as db:
            row = db.execute("SELECT * FROM questions WHERE id = ?", (id,)).fetchone()
        return None if row is None else _question(row)

    def answer(self, question: str, choice: str, seconds: float | None = None) -> bool:
        """Keep an answer; False where this question had one already, which stays.

        Args:
            question: its id.
            choice: ``A``, ``B`` or ``skip``.
            seconds: that the participant took.

        Raises:
            StudyError: no such question or choice.
        """
        if choice not in CHOICES:
            raise StudyError(f"choice {choice!r}, expected one of: {', '.join(CHOICES)}")
        took = None if seconds is None or not 0 <= seconds < 1e6 else float(seconds)
        with self._open() as db:
            if db.execute("SELECT 1 FROM questions WHERE id = ?", (question,)).fetchone() is None:
                raise StudyError("this question was never asked here")
            done = db.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?) ON CONFLICT (question) DO NOTHING",
                (question, choice, took, _now()),
            )
            return done.rowcount == 1

    def is_asked(self, participant: str) -> bool:
        """Whether a question waits for the participant's answer."""
        with self._open() as db:
            return db.execute(_OPEN, (participant,)).fetchone() is not None

    def end(self, participant: str) -> None:
        """Skip what the participant was asked and did not answer."""
        with self._open() as db:
            db.execute(
                f"INSERT INTO answers SELECT id, 'skip', NULL, ? FROM ({_OPEN}) WHERE true "
                "ON CONFLICT (question) DO NOTHING",
                (_now(), participant),
            )

    def count(self, participant: str) -> int:
        """Answers that a participant gave, skipped ones aside."""
        with self._open() as db:
            return int(
                db.execute(
                    "SELECT count(*) FROM answers a JOIN questions q ON q.id = a.question "
                    "WHERE q.participant = ? AND a.choice != 'skip'",
                    (participant,),
                ).fetchone()[0]
            )

    # --- what comes of it -------------------------------------------------------------------------------------------

    def results(self, by_participant: bool = False) -> list[Tally]:
        """Count the answers of each kind, of all participants or of each."""
        who = "q.participant" if by_participant else "''"
        with self._open() as db:
            rows = db.execute(
                f"SELECT q.kind, {who} AS who, max(p.name) AS name, count(DISTINCT q.participant) AS people, "
                "sum(a.choice = q.side) AS right, sum(a.choice != 'skip') AS n, sum(a.choice = 'skip') AS skipped "
                "FROM answers a JOIN questions q ON q.id = a.question JOIN participants p ON p.id = q.participant "
                "GROUP BY 1, 2 ORDER BY min(p.joined), 2"
            ).fetchall()
        found = [
            tally(
                row["kind"],
                row["right"],
                row["n"],
                row["skipped"],
                row["people"],
                row["who"],
                row["name"] * by_participant,
            )
            for row in rows
        ]
        return sorted(found, key=lambda own: list(KINDS).index(own.kind))

    def rows(self) -> list[dict[str, Any]]:
        """Everything: each question with its answer, if it has one, and what was on either side."""
        with self._open() as db:
            rows = db.execute(
                "SELECT q.id AS question, q.participant, p.name, p.seed, p.joined, q.kind, q.pool, q.pairs, q.number, "
                "q.item, q.right_one, q.wrong_one, q.about, q.side, q.asked, a.choice, a.seconds, a.answered, "
                "CASE WHEN a.choice IN ('A', 'B') THEN a.choice = q.side END AS correct "
                "FROM questions q JOIN participants p ON p.id = q.participant LEFT JOIN answers a ON a.question = q.id "
                "ORDER BY q.asked, q.id"
            ).fetchall()
        return [dict(row) for row in rows]

    def export(self, out: Path) -> int:
        """Write everything to a ``.csv`` or ``.json``; returns the number of questions.

        Raises:
            StudyError: another suffix, or the file cannot be written.
        """
        if out.suffix.lower() not in (".csv", ".json"):
            raise StudyError(f"{one_line(out)}: expected a name that ends in .csv or .json")
        rows = self.rows()
        try:
            with atomic_path(out) as temporary:
                if out.suffix.lower() == ".json":
                    whole = {
                        "format": SCHEMA,
                        "kinds": KINDS,
                        "right": RIGHT,
                        "results": [own.as_dict() for own in self.results()],
                        "by_participant": [own.as_dict() for own in self.results(by_participant=True)],
                        "questions": rows,
                    }
                    temporary.write_text(json.dumps(whole, indent=1), encoding="utf-8")
                else:
                    with temporary.open("w", newline="", encoding="utf-8") as file:
                        table = csv.DictWriter(file, COLUMNS)
                        table.writeheader()
                        table.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
        except OSError as error:
            raise StudyError(f"{one_line(out)}: cannot be written ({error.strerror})") from None
        return len(rows)


COLUMNS = (
    *("question", "participant", "name", "seed", "joined", "kind", "pool", "pairs", "number", "item"),
    *("right_one", "wrong_one", "about", "side", "asked", "choice", "seconds", "answered", "correct"),
)


def replay(row: Mapping[str, Any], pool: Pool) -> tuple[Pair, str]:
    """Draw a stored question again from its seed and pool: the pair, and the side of the right one.

    Raises:
        StudyError: the pool is another one.
    """
    if row["pool"] != pool.digest:
        raise StudyError(f"question {row['question']}: was drawn from another pool, {row['pool']}")
    item, side = schedule(pool, row["seed"])[row["number"]]
    return pool.pairs[item], side


def default_path() -> Path:
    """In the user's data folder."""
    from platformdirs import user_data_path

    return user_data_path("iminet-viz", appauthor=False) / "study.sqlite"


def clean_name(name: str) -> str:
    """A name as one line of text, not longer than it may be."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:NAME_LENGTH]


# --- pools ----------------------------------------------------------------------------------------------------------


def pretrained_pool(entries: Mapping[str, Mapping[str, Any]], pretrained: str, scratch: str) -> Pool:
    """Patterns of the one net against those of the other, of the same layer and side: ``entry side``.

    Args:
        entries: of a gallery, by id.
        pretrained: name of the net with pre-training.
        scratch: of the net without.
    """
    pairs = [
        Pair(f"{right} {role}", f"{wrong} {role}")
        for right, layer, role in _heard(entries, pretrained)
        for wrong, other_layer, other_role in _heard(entries, scratch)
        if (layer, role) == (other_layer, other_role)
    ]
    return Pool("pretrained", tuple(pairs))


def fits_pool(
    entries: Mapping[str, Mapping[str, Any]], percentiles: Mapping[str, Mapping[str, float]], high: float, low: float
) -> Pool:
    """Patterns of neurons that a clip excites much against such that it hardly excites, of the same net and layer.

    Args:
        entries: of a gallery, by id.
        percentiles: for each clip, by entry: per cent of the reference clips that excite the neuron less.
        high: at least so much is "much".
        low: at most so much is "hardly".
    """
    pairs = []
    heard = {id: (entries[id]["model"], layer, role) for id, layer, role in _heard(entries) if layer != "fc1"}
    for clip, reached in percentiles.items():
        for right in (id for id in heard if reached.get(id, -1.0) >= high):
            for wrong in (id for id in heard if 0 <= reached.get(id, -1.0) <= low):
                if heard[right] == heard[wrong]:
                    role = heard[right][2]
                    pairs.append(Pair(f"{right} {role}", f"{wrong} {role}", clip))
    return Pool("fits", tuple(pairs))


def match_pool(query: str, hits: Sequence[str], others: Sequence[str] = ()) -> Pool:
    """Hits of one search, the first half against the second; or the first ones of two searches, place by place.

    Args:
        query: what was searched with.
        hits: from the best on.
        others: of another model; what it found too at the same place is no choice.
    """
    if others:
        pairs = [Pair(mine, other, query) for mine, other in zip(hits, others, strict=False) if mine != other]
    else:
        half = len(hits) // 2
        pairs = [Pair(high, low, query) for high, low in zip(hits[:half], hits[half : 2 * half], strict=True)]
    return Pool("match", tuple(pairs))


def _heard(entries: Mapping[str, Mapping[str, Any]], model: str | None = None) -> list[tuple[str, str, str]]:
    """Id, layer and side of all that can be seen and heard."""
    return [
        (id, str(entry["layer"]), role)
        for id, entry in sorted(entries.items())
        if model is None or entry["model"] == model
        for role, side in entry["inputs"].items()
        if side.get("sounds")
    ]


def _question(row: sqlite3.Row) -> Question:
    a, b = (row["right_one"], row["wrong_one"])[:: 1 if row["side"] == "A" else -1]
    return Question(row["id"], row["kind"], row["number"], row["pairs"], a, b, row["about"])


def _plain(value: object) -> object:
    """Of a table that a spreadsheet opens: text that begins like a formula stays text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else value


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
