"""The listening study: what it proves by known answers; it loses and doubles nothing, and can be replayed."""

from __future__ import annotations

import csv
import json
import sqlite3
import threading

import pytest

from iminet_viz.errors import StudyError
from iminet_viz.study import (
    COLUMNS,
    Pair,
    Pool,
    Study,
    clean_name,
    fewest_answers,
    fits_pool,
    match_pool,
    pretrained_pool,
    replay,
    schedule,
    tally,
)


def pool_of(count: int, kind: str = "pretrained") -> Pool:
    return Pool(kind, tuple(Pair(f"good {k}", f"bad {k}") for k in range(count)))


def entry(model: str, layer: str, *roles: str) -> dict:
    return {"model": model, "layer": layer, "inputs": {role: {"sounds": {"griffin-lim": {}}} for role in roles}}


@pytest.fixture
def study(tmp_path) -> Study:
    return Study(tmp_path / "study.sqlite")


# --- statistics -----------------------------------------------------------------------------------------------------


def test_shares_intervals_and_p_are_those_of_the_textbook():
    own = tally("pretrained", 15, 20)
    assert own.share == 0.75
    assert own.wilson == pytest.approx((0.5313, 0.8881), abs=5e-5)  # (p + z²/2n ± z√(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    assert own.exact == pytest.approx((0.5090, 0.9134), abs=5e-5)  # quantiles of Beta(15, 6) and Beta(16, 5)
    assert own.p == pytest.approx(2 * sum([15504, 4845, 1140, 190, 20, 1]) / 2**20)  # two tails of Binomial(20, 1/2)


def test_the_ends_of_the_scale_have_intervals_within_it():
    assert tally("fits", 5, 5).exact == pytest.approx((0.025 ** (1 / 5), 1.0))
    assert tally("fits", 0, 5).exact == pytest.approx((0.0, 1 - 0.025 ** (1 / 5)))
    assert tally("fits", 0, 5).wilson[0] == 0.0


@pytest.mark.parametrize(
    ("right", "n", "said"),
    [
        (0, 0, "Nothing can be concluded yet: no answer yet"),
        (1, 1, "Nothing can be concluded yet: 1 answer,"),
        (5, 5, "Nothing can be concluded yet: 5 answers"),
        (6, 6, "Right more often than by chance"),
        (0, 6, "Right less often than by chance"),
        (14, 20, "Nothing can be concluded: 14 of 20 may well be chance"),
        (15, 20, "Right more often than by chance"),
    ],
)
def test_it_says_in_words_what_can_be_concluded(right, n, said):
    assert tally("fits", right, n, participants=n).verdict.startswith(said)


def test_six_answers_are_the_fewest_that_can_prove_anything():
    assert fewest_answers() == 6
    assert tally("fits", 5, 5).p > 0.05 > tally("fits", 6, 6).p


def test_several_answers_of_one_person_are_said_to_count_less():
    assert "same person" in tally("fits", 18, 20, participants=3).verdict
    assert "same person" not in tally("fits", 18, 20, participants=20).verdict


# --- the order of questions -----------------------------------------------------------------------------------------


def test_a_schedule_asks_each_pair_once_and_puts_the_right_one_on_either_side_equally_often():
    for count in (1, 2, 7, 40):
        own = schedule(pool_of(count), seed=3)
        assert sorted(item for item, _ in own) == list(range(count))
        assert abs(sum(1 if side == "A" else -1 for _, side in own)) == count % 2


def test_the_side_has_nothing_to_do_with_the_pair_or_the_place():
    draws = [schedule(pool_of(10), seed) for seed in range(400)]
    by_place = [sum(own[place][1] == "A" for own in draws) for place in range(10)]
    by_item = [sum(dict(own)[item] == "A" for own in draws) for item in range(10)]
    assert all(150 < count < 250 for count in (*by_place, *by_item))  # five standard deviations of 200


def test_a_seed_draws_the_same_again_and_another_seed_another_order():
    assert schedule(pool_of(40), 5) == schedule(pool_of(40), 5) != schedule(pool_of(40), 6)


# --- taking part ----------------------------------------------------------------------------------------------------


def test_a_reload_gets_the_same_question_until_it_is_answered(study):
    someone = study.join("Ann", seed=1)
    first = study.ask(someone, pool_of(3))
    assert study.ask(someone, pool_of(3)) == first == study.question(first.id)
    assert study.answer(first.id, "A")
    assert study.ask(someone, pool_of(3)).id != first.id


def test_an_answer_counts_once_and_the_first_one_stays(study):
    someone = study.join(seed=1)
    question = study.ask(someone, pool_of(3))
    side = "A" if question.A.startswith("good") else "B"
    assert study.answer(question.id, side) is True
    assert study.answer(question.id, "B" if side == "A" else "A") is False
    assert study.answer(question.id, side) is False
    (own,) = study.results()
    assert (own.n, own.right, study.count(someone)) == (1, 1, 1)


def test_a_skip_is_kept_but_not_counted(study):
    someone = study.join(seed=1)
    study.answer(study.ask(someone, pool_of(3)).id, "skip")
    (own,) = study.results()
    assert (own.n, own.right, own.skipped, own.share) == (0, 0, 1, None)
    assert own.verdict.startswith("Nothing can be concluded yet")


def test_the_end_skips_what_a_participant_did_not_answer_and_nothing_else(study):
    someone, other = study.join(seed=1), study.join(seed=2)
    assert not study.is_asked(someone) and not study.is_asked("nobody")
    study.answer(study.ask(someone, pool_of(3)).id, "A")
    assert not study.is_asked(someone)
    for pool in (pool_of(3), pool_of(2, "fits")):
        study.ask(someone, pool)
        study.ask(other, pool)
    assert study.is_asked(someone)
    study.end(someone)
    assert not study.is_asked(someone) and study.is_asked(other)
    choices = sorted(row["choice"] for row in study.rows() if row["participant"] == someone)
    assert choices == ["A", "skip", "skip"] and study.count(someone) == 1


def test_two_pages_that_ask_at_once_get_one_question_and_their_answers_count_once(study):
    someone = study.join(seed=1)
    pool = pool_of(5)
    asked, kept = [], []

    def page():
        question = study.ask(someone, pool)
        asked.append(question.id)
        kept.append(study.answer(question.id, "A"))

    threads = [threading.Thread(target=page) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 5 and sum(kept) == len(set(asked)) == study.count(someone)
    numbers = [row["number"] for row in study.rows()]
    assert sorted(numbers) == list(range(len(numbers)))


def test_everything_survives_that_the_file_is_opened_again(study):
    someone = study.join("Ann", seed=1)
    study.answer(study.ask(someone, pool_of(3)).id, "B", 2.5)
    again = Study(study.path)
    assert again.knows(someone) and not again.knows("nobody")
    assert again.rows() == study.rows() and again.rows()[0]["seconds"] == 2.5


def test_results_are_by_kind_and_by_participant(study):
    for seed, rights in ((1, 3), (2, 1)):
        someone = study.join(f"P{seed}", seed=seed)
        for k in range(4):
            question = study.ask(someone, pool_of(4))
            good = "A" if question.A.startswith("good") else "B"
            study.answer(question.id, good if k < rights else "AB".replace(good, ""))
    study.answer(study.ask(someone, pool_of(2, "fits")).id, "skip")
    assert [(own.kind, own.n, own.right, own.participants) for own in study.results()] == [
        ("pretrained", 8, 4, 2),
        ("fits", 0, 0, 1),
    ]
    each = study.results(by_participant=True)
    assert [(own.name, own.kind, own.right) for own in each] == [
        ("P1", "pretrained", 3),
        ("P2", "pretrained", 1),
        ("P2", "fits", 0),
    ]


def test_a_question_can_be_drawn_again_from_what_is_stored(study):
    pool = pool_of(12)
    for seed in (1, 2):
        someone = study.join(seed=seed)
        for choice in ("A", "B", "skip", "A"):
            study.answer(study.ask(someone, pool).id, choice)
    for row in study.rows():
        pair, side = replay(row, pool)
        assert (pair.right, pair.wrong, side) == (row["right_one"], row["wrong_one"], row["side"])
    with pytest.raises(StudyError, match="another pool"):
        replay(row, pool_of(11))


def test_when_all_pairs_were_judged_it_says_so(study):
    someone = study.join(seed=1)
    for _ in range(2):
        study.answer(study.ask(someone, pool_of(2)).id, "A")
    with pytest.raises(StudyError, match="all 2 pairs of this kind were judged"):
        study.ask(someone, pool_of(2))


def test_strangers_and_strange_answers_are_refused(study):
    with pytest.raises(StudyError, match="not known here"):
        study.ask("'; DROP TABLE answers; --", pool_of(2))
    question = study.ask(study.join(seed=1), pool_of(2))
    with pytest.raises(StudyError, match="choice 'C', expected one of: A, B, skip"):
        study.answer(question.id, "C")
    with pytest.raises(StudyError, match="never asked"):
        study.answer("' OR 1=1 --", "A")
    with pytest.raises(StudyError, match="nothing to ask"):
        study.ask(study.join(), Pool("fits", ()))
    with pytest.raises(StudyError, match="no kind of question 'taste'"):
        Pool("taste", ())
    assert study.results() == []


# --- pools ----------------------------------------------------------------------------------------------------------


def test_pools_compare_only_what_differs_in_the_question():
    entries = {
        "p/a/1": entry("p", "a", "imitation"),
        "p/a/2": entry("p", "a", "imitation"),
        "p/b/1": entry("p", "b", "recording"),
        "s/a/9": entry("s", "a", "imitation"),
        "s/fc1/9": entry("s", "fc1", "imitation", "recording"),
        "p/fc1/3": entry("p", "fc1", "imitation", "recording"),
    }
    assert {(pair.right, pair.wrong) for pair in pretrained_pool(entries, "p", "s").pairs} == {
        ("p/a/1 imitation", "s/a/9 imitation"),
        ("p/a/2 imitation", "s/a/9 imitation"),
        ("p/fc1/3 imitation", "s/fc1/9 imitation"),
        ("p/fc1/3 recording", "s/fc1/9 recording"),
    }
    percentiles = {"clip": {"p/a/1": 99.0, "p/a/2": 10.0, "p/b/1": 10.0, "s/a/9": 10.0}}
    assert fits_pool(entries, percentiles, 95, 50).pairs == (Pair("p/a/1 imitation", "p/a/2 imitation", "clip"),)
    assert fits_pool(entries, percentiles, 99.5, 50).pairs == ()


def test_hits_are_compared_within_one_search_or_between_two():
    assert match_pool("q", ["1", "2", "3", "4", "5"]).pairs == (Pair("1", "3", "q"), Pair("2", "4", "q"))
    assert match_pool("q", ["1", "2"], ["1", "3"]).pairs == (Pair("2", "3", "q"),)


# --- the file -------------------------------------------------------------------------------------------------------


def test_an_export_holds_everything(study, tmp_path):
    someone = study.join('=cmd("x")', seed=7)
    study.answer(study.ask(someone, pool_of(3)).id, "A", 1.5)
    study.ask(someone, pool_of(3))  # asked, not answered
    assert study.export(tmp_path / "out.json") == study.export(tmp_path / "out.csv") == 2
    whole = json.loads((tmp_path / "out.json").read_text())
    assert whole["questions"] == study.rows() and whole["results"][0]["n"] == 1
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS) == list(study.rows()[0])
    assert [row["choice"] for row in rows] == ["A", ""]
    assert rows[0]["name"] == '\'=cmd("x")'  # a spreadsheet must not calculate with a name
    with pytest.raises(StudyError, match=r"ends in \.csv or \.json"):
        study.export(tmp_path / "out.xlsx")


def test_the_verb_exports_and_says_what_is_missing(call, study, tmp_path):
    status, _, err = call("study", "export", tmp_path / "out.csv", "--study", tmp_path / "none.sqlite")
    assert status == 1 and "no such file" in err and not (tmp_path / "none.sqlite").exists()
    study.answer(study.ask(study.join(), pool_of(3)).id, "A")
    status, out, err = call("study", "export", tmp_path / "out.csv", "--study", study.path)
    assert (status, err) == (0, "") and "Nothing can be concluded yet: 1 answer" in out
    assert call("study", "export", tmp_path / "out.csv", "--study", study.path)[0] == 1
    assert call("study", "export", tmp_path / "out.csv", "--study", study.path, "--force")[0] == 0


def test_a_damaged_file_is_told_in_one_sentence_and_left_as_it_is(tmp_path, study):
    garbage = tmp_path / "garbage.sqlite"
    garbage.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StudyError, match=r"garbage\.sqlite: is no study, or damaged"):
        Study(garbage)
    assert garbage.read_bytes() == b"this is no database at all" * 100
    study.join()
    whole = bytearray(study.path.read_bytes())
    whole[100:3000] = bytes(2900)
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(whole)
    with pytest.raises(StudyError, match=r"damaged|cannot be read"):
        Study(broken).join()
    with pytest.raises(StudyError, match="cannot be opened"):
        Study(garbage / "inside.sqlite")


def test_another_database_and_a_later_version_are_refused(tmp_path, study):
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    with pytest.raises(StudyError, match="of no study"):
        Study(other)
    with sqlite3.connect(study.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StudyError, match="of version 99"):
        Study(study.path)


def test_the_file_is_written_ahead_and_knows_its_version(study):
    db = sqlite3.connect(study.path)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()


def test_names_are_one_line_of_text():
    assert clean_name("  Ann\n\x00\t Lee ") == "Ann Lee"
    assert len(clean_name("x" * 1000)) == 60
