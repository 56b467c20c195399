"""From an imitation to ranked hits: exact, said where, whatever the query is like."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

import iminet_viz as iv
from iminet_viz import retrieval
from iminet_viz.audio import load_audio
from iminet_viz.checkpoint import untrained_model
from iminet_viz.errors import AudioError, LibraryError, SearchError
from iminet_viz.evaluation import reciprocal_ranks
from iminet_viz.retrieval import SoundLibrary, judge_query
from iminet_viz.scoring import Scorer, fuse, load_scorer, part_of

RATE = 16_000
MODELS = {
    "aligned": lambda: Scorer("aligned", (part_of(untrained_model("aligned", 0, {})),)),
    "tl-iminet": lambda: load_scorer("tl-iminet-conv123"),
    "mfcc": lambda: load_scorer("mfcc"),
    "mfcc+log-mel": lambda: load_scorer("mfcc+log-mel"),
}


def sound(seed: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A glide with a tremolo, as its seed says."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    low, high = rng.uniform(150, 1_500, 2)
    phase = 2 * np.pi * np.cumsum(np.linspace(low, high, len(t))) / rate
    tone = np.sin(phase) + 0.4 * np.sin(3 * phase) + 0.05 * rng.normal(size=len(t))
    return (0.3 * tone * (1 + 0.8 * np.sin(2 * np.pi * rng.uniform(2, 12) * t))).astype(np.float32)


def write(path: Path, waveform: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, rate)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """24 sounds in two folders, and a long file that holds the sixth at 20 s."""
    folder = tmp_path_factory.mktemp("sounds")
    for seed in range(24):
        write(folder / ("glides" if seed % 2 else "water drops") / f"sound {seed:02d}.wav", sound(seed))
    long = 0.01 * np.random.default_rng(99).normal(size=40 * RATE).astype(np.float32)
    long[20 * RATE : 21 * RATE] += sound(100)
    write(folder / "long" / "field recording.flac", long)
    return folder


@pytest.fixture(scope="module", params=MODELS)
def library(request, sounds, tmp_path_factory) -> SoundLibrary:
    library = iv.open_index(tmp_path_factory.mktemp("index") / "index", MODELS[request.param]())
    library.add([sounds], workers=0)
    return library


def test_hits_are_those_of_scoring_all_pairs(library, sounds, tmp_path):
    query = write(tmp_path / "query.wav", sound(200))
    answer = library.search(query, k=25)
    assert len(answer.hits) == answer.files == 25
    assert answer.exact
    assert [hit.rank for hit in answer.hits] == list(range(1, 26))
    scorer = library.scorer
    paths = [Path(hit.path) for hit in answer.hits if hit.label != "long"]  # whose windows are the whole sound
    kept = [scorer.keep(load_audio(path, RATE), RATE, "recording") for path in paths]
    expected = scorer.scores([scorer.keep(sound(200), RATE, "imitation")], kept)[0]
    order = np.argsort(-expected, kind="stable")
    if len(scorer.parts) == 1:  # a fusion is standardised over all windows, the long file's too
        scores = np.array([hit.score for hit in answer.hits if hit.label != "long"])
        tolerance = 0.02 if scorer.name == "aligned" else 1e-3  # frames are kept in int8; 16 bits of the file
        np.testing.assert_allclose(scores, expected, atol=tolerance)
    assert set(order[:3]) & {0, 1, 2}
    assert all(a.score >= b.score for a, b in zip(answer.hits, answer.hits[1:], strict=False))


def test_a_sound_that_is_in_the_library_is_first(library, sounds):
    if library.scorer.name == "tl-iminet-conv123":
        pytest.skip("two different towers: a recording is no imitation of itself")
    first = library.search(sounds / "glides" / "sound 05.wav", k=3).hits[0]
    assert Path(first.path).name == "sound 05.wav"
    assert (first.percentile, first.label) == (100, "glides")


@pytest.mark.parametrize("model", ["aligned", "tl-iminet"])
def test_near_copies_are_alike_and_other_sounds_are_not(tmp_path, model):
    library = iv.open_index(tmp_path / "i", MODELS[model]())
    for seed in range(3):
        write(tmp_path / f"s/{seed}.wav", sound(seed))
        soundfile.write(tmp_path / f"s/{seed} quieter.wav", 0.7 * sound(seed), RATE, subtype="PCM_24")
        write(tmp_path / f"s/{seed} resampled.wav", soxr.resample(sound(seed), RATE, 44_100), 44_100)
    library.add(tmp_path / "s", workers=0)
    groups = library.duplicates(0.999)  # the aligned net's bytes of scale and duration are none to compare
    assert [sorted({Path(path).name[0] for path in group}) for group in groups] == [["0"], ["1"], ["2"]]
    assert [len(group) for group in groups] == [3] * 3


def test_equal_sounds_score_more_than_the_same_files(tmp_path):
    library = iv.open_index(tmp_path / "i", load_scorer("mfcc"))
    for number in range(8):
        write(tmp_path / f"s/{number}.wav", sound(min(number, 5)))
    library.add(tmp_path / "s", workers=0)
    for k in (1, 2, 8):  # the third of the equal ones is no hit, and counts
        assert [hit.percentile for hit in library.search(tmp_path / "s/6.wav", k=k)][:3] == [500 / 7] * min(k, 3)


@pytest.mark.parametrize("weight", [1, 10])
def test_how_far_a_fusion_stands_out_does_not_depend_on_its_weights(sounds, tmp_path, weight):
    scorer = load_scorer(f"{weight}*mfcc+{weight}*log-mel")
    library = iv.open_index(tmp_path / "i", scorer)
    library.add(sounds, workers=0)
    query = library.hear(sounds / "glides" / "sound 05.wav")
    grids = [library.rows(part).scores(half)[None] for part, half in enumerate(query.halves)]
    fused = fuse(grids)[0]
    deviation = 1.4826 * np.median(np.abs(fused - np.median(fused)))
    best = library.search(query, k=1).hits[0]
    assert best.stands_out == pytest.approx((fused.max() - np.median(fused)) / deviation)


def test_a_hit_says_where_in_a_long_file(library, sounds, tmp_path):
    query = write(tmp_path / "query.wav", sound(100))
    hits = library.search(query, k=25).hits
    (long,) = [hit for hit in hits if hit.label == "long"]
    assert long.stop_s - long.start_s < 5
    if library.scorer.name == "aligned":
        assert long.start_s <= 20 < long.stop_s
    assert long.duration_s == 40


def test_words_and_voice_together(library, sounds):
    answer = library.search(sounds / "glides" / "sound 05.wav", k=30, text="water SOUND")
    assert answer.files == len(answer.hits) == 12
    assert {hit.label for hit in answer} == {"water drops"} and len(answer) == 12
    whole = {hit.path: hit for hit in library.search(sounds / "glides" / "sound 05.wav", k=30)}
    for hit in answer:  # words choose hits, and change no score
        assert (hit.score, hit.stands_out) == (whole[hit.path].score, whole[hit.path].stands_out)
    with pytest.raises(SearchError, match="no sound of the library has 'violin' in its name"):
        library.search(sounds / "glides" / "sound 05.wav", text="violin")


def test_the_same_query_gives_the_same_answer_and_can_be_heard_once(library, sounds):
    path = sounds / "glides" / "sound 07.wav"
    heard = library.hear(path)
    assert library.search(heard, k=5).hits == library.search(path, k=5).hits


@pytest.mark.parametrize(
    ("rate", "channels", "seconds"), [(8_000, 1, 0.7), (44_100, 2, 1.0), (96_000, 8, 1.0), (16_000, 1, 9.0)]
)
def test_queries_of_any_rate_width_and_length(library, tmp_path, rate, channels, seconds):
    waveform = sound(3, seconds, rate)
    query = write(tmp_path / "query.wav", np.repeat(waveform[:, None], channels, axis=1), rate)
    answer = library.search(query, k=4)
    assert len(answer.hits) == 4
    assert all(np.isfinite(hit.score) for hit in answer.hits)
    assert any("nothing above 4 kHz" in warning for warning in answer.query.warnings) == (rate == 8_000)
    assert (len(answer.query.spans) > 1) == (seconds > 4)


def test_a_longer_query_scores_as_its_best_window(library, tmp_path):
    if len(library.scorer.parts) > 1:
        pytest.skip("standardised scores of two queries cannot be compared")
    alone = library.search(write(tmp_path / "short.wav", sound(3)), k=25)
    twice = np.concatenate([sound(3), np.zeros(4 * RATE, np.float32), sound(8, 2.0)])
    longer = library.search(write(tmp_path / "long.wav", twice), k=25)
    assert len(longer.query.spans) >= 2
    best = {hit.path: hit.score for hit in longer.hits}
    if library.scorer.name == "aligned":  # the window that holds nothing but the short one is trimmed to it
        assert all(best[hit.path] >= hit.score - 0.05 for hit in alone.hits)


@pytest.mark.parametrize(
    ("waveform", "says"),
    [
        (np.zeros(RATE, np.float32), "is silent"),
        (np.zeros(0, np.float32), "no samples|empty|is silent|holds no"),
        (np.ones(1, np.float32), "too short"),
        (
            np.concatenate([np.zeros(61 * RATE), np.ones(RATE)]).astype(np.float32),
            "first 60 s, which are searched with",
        ),
    ],
)
def test_what_cannot_be_searched_with_is_said_in_one_sentence(library, tmp_path, waveform, says):
    with pytest.raises(AudioError, match=says) as caught:
        library.search(write(tmp_path / "query.wav", waveform))
    assert "\n" not in str(caught.value)


def test_other_mistakes(library, sounds, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioError, match="cannot be decoded"):
        library.search(tmp_path / "text.wav")
    with pytest.raises(AudioError, match="no such file"):
        library.search(tmp_path / "missing.wav")
    query = sounds / "glides" / "sound 05.wav"
    with pytest.raises(SearchError, match="0 hits were asked for"):
        library.search(query, k=0)
    with pytest.raises(SearchError, match=r"a recall of 1\.5"):
        library.search(query, recall=1.5)
    empty = iv.open_index(tmp_path / "empty", library.scorer)
    with pytest.raises(LibraryError, match="holds no sound yet"):
        empty.search(query)


def test_a_recording_is_judged():
    fine = sound(1)
    assert judge_query(fine, RATE) == []
    (clipped,) = judge_query(np.clip(4 * fine, -0.9, 0.9), RATE)
    assert "clipped" in clipped
    (quiet,) = judge_query(0.005 * fine, RATE)
    assert "quiet" in quiet
    (short,) = judge_query(fine[:800], RATE)
    assert "50 ms" in short
    (long,) = judge_query(np.tile(fine, 61), RATE)
    assert "first 60 s" in long


def test_exports(library, sounds, tmp_path):
    answer = library.search(write(tmp_path / "query.wav", sound(100)), k=25)
    values = json.loads(retrieval.to_json(answer))
    assert [hit["rank"] for hit in values["hits"]] == list(range(1, 26))
    rows = list(csv.DictReader(io.StringIO(retrieval.to_csv(answer))))
    assert [row["path"] for row in rows] == [hit.path for hit in answer.hits]
    playlist = retrieval.to_m3u(answer).splitlines()
    assert playlist[0] == "#EXTM3U"
    assert [line for line in playlist if not line.startswith("#")] == [hit.path for hit in answer.hits]
    written = retrieval.export_hits(answer, tmp_path / "out")
    assert len(written) == 26
    for hit, path in zip(answer.hits, written, strict=False):
        assert path.name.startswith(f"{hit.rank:02d} ")
        original, copy = soundfile.info(hit.path), soundfile.info(path)
        if hit.label == "long":  # what was found of it
            assert copy.duration == pytest.approx(hit.stop_s - hit.start_s, abs=0.01)
        else:
            assert copy.frames == original.frames
    with pytest.raises(SearchError, match="is not an empty folder"):
        retrieval.export_hits(answer, tmp_path / "out")


def test_odd_names_survive_the_playlist(sounds, tmp_path):
    odd = write(tmp_path / "odd" / "a\nb.wav", sound(1))
    library = iv.open_index(tmp_path / "index", MODELS["mfcc"]())
    library.add([odd.parent], workers=0)
    answer = library.search(odd, k=1)
    assert answer.hits[0].path == str(odd)
    assert retrieval.to_m3u(answer).splitlines()[-1] == odd.as_uri()
    retrieval.export_hits(answer, tmp_path / "out")


def test_added_sounds_are_found_after_a_refresh(sounds, tmp_path):
    reader = iv.open_index(tmp_path / "index", MODELS["mfcc"]())
    reader.add([sounds / "glides"], workers=0)
    query = sounds / "water drops" / "sound 04.wav"
    assert Path(reader.search(query, k=1).hits[0].path).parent.name == "glides"
    iv.open_index(tmp_path / "index", MODELS["mfcc"]()).add([sounds / "water drops"], workers=0)
    assert reader.search(query, k=1).files == 12  # the old version, whole
    assert reader.refresh()
    assert reader.search(query, k=1).hits[0].path == str(query)


@pytest.mark.slow
def test_people_find_through_the_index_what_they_find_by_scoring_all_pairs(data_folder, tmp_path):
    """MRR of the default on telephone-imitations through windows, int8 rows and the scan: that of its card, .406."""
    from iminet_viz.datasets import telephone

    folder = data_folder / telephone.NAME
    pairs = telephone.load(folder)
    library = iv.open_index(tmp_path / "index", "default")
    library.add(sorted({pair.recording for pair in pairs}))
    queries = list(dict.fromkeys(pair.imitation for pair in pairs))
    found, answers = [], []
    for query in queries:
        right = {str(pair.recording.resolve()) for pair in pairs if pair.imitation == query}
        hits = [h for h in library.search(query, k=1_000).hits if Path(h.path).resolve() != query.resolve()]
        answers.append([str(Path(h.path).resolve()) in right for h in hits])
        found.append([h.score for h in hits])
    width = max(map(len, found))
    scores = np.full((len(found), width), -np.inf)
    correct = np.zeros((len(found), width), bool)
    for row, (values, own) in enumerate(zip(found, answers, strict=True)):
        scores[row, : len(values)], correct[row, : len(own)] = values, own
    mrr = reciprocal_ranks(scores, correct).mean()
    print(f"MRR {mrr:.3f}, n {len(queries)}")
    assert mrr == pytest.approx(0.406, abs=0.015)


def test_a_query_on_a_full_disk_is_one_sentence(library, tmp_path, full_disk):
    with pytest.raises(
        AudioError, match=r"query\.wav: cannot be kept in .* while it is read \(No space left on device\)"
    ):
        library.search(write(tmp_path / "query.wav", sound(200)))


def test_a_query_is_read_once_and_a_long_one_needs_little_memory(tmp_path, monkeypatch):
    """Half an hour takes 115 MB."""
    import tracemalloc

    from iminet_viz import windows
    from iminet_viz.audio import read_blocks

    library = iv.open_index(tmp_path / "i", MODELS["aligned"]())
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        file.write(np.clip(6 * sound(1, 30), -0.5, 0.5))
        for _ in range(59):
            file.write(np.zeros(30 * RATE, np.float32))
        file.write(sound(2, 1))
    opened = []

    def reading(*arguments, **options):
        opened.append(arguments)
        return read_blocks(*arguments, **options)

    monkeypatch.setattr(windows, "read_blocks", reading)
    monkeypatch.setattr(windows, "IN_MEMORY", 1 << 20)
    monkeypatch.setattr(retrieval, "read_native", None)
    library.hear(write(tmp_path / "short.wav", sound(3)))  # loads what is loaded once
    tracemalloc.start()
    query = library.hear(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 25e6
    assert len(opened) == 2
    assert query.duration_s == 1801
    assert [warning.split(":")[0] for warning in query.warnings] == ["It is clipped", "It is long"]
    assert query.spans[-1][0] < 30 and len(query.spans) > 10


def test_what_a_recall_needs_is_found_once_for_a_version(sounds, tmp_path, monkeypatch):
    from iminet_viz.scan import aligned

    monkeypatch.setattr(aligned, "SKETCHED", 8)
    library = iv.open_index(tmp_path / "i", MODELS["aligned"]())
    library.add([sounds], workers=0)
    query = library.hear(write(tmp_path / "query.wav", sound(200)))
    first = library.search(query, 5, recall=0.5)
    assert not first.exact
    calibrate, calls = aligned.AlignedRows.calibrate, []

    def counted(self, *arguments):
        calls.append(arguments)
        return calibrate(self, *arguments)

    monkeypatch.setattr(aligned.AlignedRows, "calibrate", counted)
    again = iv.open_index(tmp_path / "i", library.scorer)
    answer = again.search(query, 5, recall=0.5)
    assert (answer.hits, answer.recall, calls) == (first.hits, first.recall, [])
    assert again.rows().calibrations == library.rows().calibrations
    again.search(query, 5, recall=0.6)  # another recall
    assert len(calls) == 1
    monkeypatch.setattr(retrieval, "CALIBRATED_BY", "other settings")
    iv.open_index(tmp_path / "i", library.scorer).search(query, 5, recall=0.5)
    assert len(calls) == 2
    write(tmp_path / "more" / "sound.wav", sound(300))
    again.add([tmp_path / "more"], workers=0)  # another version
    again.search(query, 5, recall=0.5)
    assert len(calls) == 3
