"""The report of a comparison: one page beside its figures, which opens from the disk and needs no script.

::

    OUT/index.html            the page
    OUT/comparison.json       every number of it
    OUT/figures/*.png         claims, matching, CKA, twins
    OUT/.work/                activations and patterns already made, until the report is written

The same arguments give the same bytes on the same machine, also after an interruption.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np

from iminet_viz.audio import atomic_path
from iminet_viz.checkpoint import TrainedModel, read_json, write_json
from iminet_viz.comparison import (
    AS_RANDOM,
    CLAIMS,
    DOES_NOT_HOLD,
    HOLDS,
    MEASURES,
    RULE,
    TRAINING,
    UNDECIDED,
    CompareSettings,
    Comparison,
    Effect,
    Finding,
    Progress,
    compare,
)
from iminet_viz.errors import GalleryError, IminetVizError
from iminet_viz.plotting import plot_effects, plot_layers, plot_twins, save_chart, save_figure

WORK = ".work"
SHOWN_TWINS = 8  # of a layer

WORDS = {
    "edge_energy": "Mean squared difference of neighbouring cells of the picture, in units of what white noise has. "
    "Sharp edges raise it, but so does noise.",
    "coherent_edges": "The part of the edge energy that has one direction in its neighbourhood: all of it in stripes, "
    "a fifth in white noise. It is the sharpness that noise does not have.",
    "direction": "Share of the edge energy that has one direction in its neighbourhood. Stripes have all of it, white "
    "noise a fifth, however strong the edges are.",
    "order": "0 where all modulations have the same energy, 1 where a single one has it all. White noise is near 0, a "
    "texture or a row of harmonics above it.",
    "spectral_centroid_per_octave": "Where the energy of the picture's ripples along frequency lies, in cycles per "
    "octave (above 1 kHz, where the mel scale is logarithmic). Finer bands raise it, and so does noise, which is the "
    "finest of all.",
    "spectral_peak_per_octave": "The same, weighted by the square of the energy: where the strongest ripples along "
    "frequency are. Noise, spread over all modulations, counts for little.",
    "temporal_centroid_hz": "Where the energy of the picture's ripples along time lies, in cycles per second. Faster "
    "changes raise it, and so does noise.",
    "temporal_peak_hz": "The same, weighted by the square of the energy: where the strongest ripples along time are. "
    "Noise counts for little.",
    "band_concentration": "0 where every band has the same power, 1 where all power is in one band. The paper sees "
    "deep neurons concentrate on frequency ranges.",
    "realizable": "How much of a frame's mel spectrum the nearest spectrum of a sound reproduces: 1 for real clips. "
    "Neighbouring bands share frequencies, so not every picture is a spectrogram of something.",
    "real_modulations": "Correlation between the ripples of the picture and the mean of real clips', over octaves of "
    "temporal by octaves of spectral modulation. 1 is the texture of real spectrograms.",
    "verticality": "Share of the ripples that stand at least an octave high and pass within a quarter of a second, "
    "among ripples that both towers can show. White noise has 7 to 8 %.",
    "octave_cells": "How many octave-by-octave cells of modulation share the energy. 1 to 3 are one stripe, 14 "
    "to 18 white noise, more than 22 equal energy on every scale: structures within structures.",
    "envelope": "Correlation of the level (dB) of both sides over the time that both cover. It is compared with sides "
    "of different pairs, since all patterns have something in common.",
    "spectrum": "Correlation of the mean spectra (dB) of both sides over the frequencies that both cover. Also "
    "compared with sides of different pairs.",
    "envelope_over_spectrum": "The excess of the likeness in time over other pairs, less that of the likeness in "
    "spectrum. Above 0, sides agree in time more than in timbre.",
}
SAID = {
    "sharper": "Paper: with pre-training, patterns are “generally sharper”.",
    "finer": "Paper: with pre-training, patterns “contain more finer patterns”, which suggests more attention “to "
    "spectral details”.",
    "structure": "Paper, of fc1 pairs: with pre-training, “more detailed structures from the pairs can be observed”. "
    "Here of the towers too.",
    "spectrogram": "Paper: Conv3 neurons “recognize spectrogram-like patterns, with a concentration on different "
    "frequency ranges”. Here: the deepest layer against the first.",
    "strips": "Paper: Conv3 patterns of the recording tower “tend to learn vertical strips besides horizontal "
    "patterns”, dissimilar to Conv3 of the imitation tower.",
    "complexity": "Paper: “the same trend of pattern complexity from shallow layers to deep layers”, from edges to "
    "textures to hierarchical structures. Here: the deepest layer against the first.",
    "pair-time": "Paper: both sounds of a pair “are similar from the aspect of temporal evolution”.",
    "pair-timbre": "Paper: “but with timbre being different”. That sides are no more alike in spectrum than those of "
    "other pairs cannot be proved, so undecided here means: no likeness was found.",
}
BADGES = {HOLDS: "yes", DOES_NOT_HOLD: "no"}


def build_report(
    model_a: TrainedModel,
    model_b: TrainedModel,
    out: Path,
    clips: Path | None = None,
    settings: CompareSettings | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two nets and write the report; see :func:`iminet_viz.comparison.compare`.

    Args:
        model_a: the pre-trained one.
        model_b: the one from scratch.
        out: folder to make; an interrupted comparison there is continued.
        clips: folder of recordings.
        settings: how many neurons, seed, engine.
        force: replace a comparison in ``out``, once the new one is finished.
        progress: called with what is done, and how much of all.

    Raises:
        GalleryError: ``out`` holds a finished comparison or something else.
        IminetVizError: as for :func:`~iminet_viz.comparison.compare`; a folder that was made for it is removed.
    """
    _claim(out, force)
    work = out / WORK
    try:
        comparison = compare(model_a, model_b, clips, settings, work, progress)
    except IminetVizError:
        if not any(path.is_file() for path in work.rglob("*")):  # nothing was made that could be used again
            shutil.rmtree(work, ignore_errors=True)
            if not any(out.iterdir()):
                out.rmdir()
        raise
    write_report(out, comparison)
    shutil.rmtree(work, ignore_errors=True)
    return comparison


def write_report(out: Path, comparison: Comparison) -> None:
    """Write figures, ``comparison.json`` and, last, the page; each file appears whole or not at all."""
    figures = _draw(out / "figures", comparison)
    for path in (out / "figures").glob("*"):
        if path.name not in figures:  # of an earlier report
            path.unlink()
    write_json(out / "comparison.json", _rounded(comparison.as_dict()))
    template = package_files("iminet_viz").joinpath("comparison_page.html").read_text(encoding="utf-8")
    page = template.replace("__TITLE__", escape(_title(comparison))).replace("__BODY__", _body(comparison, figures))
    with atomic_path(out / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def describe(comparison: Comparison) -> list[str]:
    """One line for each claim: its verdict, and how many measurements say so."""
    return [
        f"{CLAIMS[claim]}: {comparison.verdict_of(claim)} ({_tally(comparison, claim)})"
        for claim in CLAIMS
        if _of(comparison, claim)
    ]


def say_tally(tally: Mapping[str, int]) -> str:
    """In words: how many measurements say what; see :meth:`iminet_viz.comparison.Comparison.tally`."""
    words = {HOLDS: "for it", DOES_NOT_HOLD: "against it"}
    return ", ".join(f"{count} {words.get(saying, saying)}" for saying, count in tally.items() if count)


def describe_left_out(comparison: Comparison) -> list[str]:
    """One line for each thing that was left out, with the reason; neurons of one layer together."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for entry in comparison.left_out:
        place, _, neuron = entry["id"].rpartition("/")
        own = neuron.isdigit()
        grouped.setdefault((place if own else entry["id"], entry["reason"]), []).extend([neuron] * own)
    return [
        place + (f", neurons {', '.join(neurons)}" if neurons else "") + f": {reason}"
        for (place, reason), neurons in grouped.items()
    ]


# --- the folder -----------------------------------------------------------------------------------------------------


def _claim(out: Path, force: bool) -> None:
    """Make the folder ours, or refuse: a finished comparison is replaced on request only, strangers' files never."""
    if out.exists() and not out.is_dir():
        raise GalleryError(f"{out}: is a file, expected a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / WORK).is_dir():
        if not _is_comparison(out):
            raise GalleryError(f"{out}: holds something that is no comparison, it is left alone")
        if not force:
            raise GalleryError(f"{out}: holds a comparison already; --force replaces it")
    (out / WORK).mkdir(parents=True, exist_ok=True)


def _is_comparison(folder: Path) -> bool:
    try:
        return read_json(folder / "comparison.json").get("kind") == "comparison"
    except IminetVizError:
        return False


def _rounded(value: Any) -> Any:
    """Six digits, as many as mean anything."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


# --- figures --------------------------------------------------------------------------------------------------------


def _draw(folder: Path, comparison: Comparison) -> dict[str, tuple[int, int]]:
    """Write all figures; their names and sizes in pixels."""
    first, second = comparison.models
    layers = [layer.layer for layer in comparison.layers]
    matched = [[twin[2] for twin in layer.twins] for layer in comparison.layers]
    charts = {
        "matching": plot_layers(
            layers,
            {
                f"{first} with {second}": matched,
                f"{first} with random nets": [layer.random for layer in comparison.layers],
                "random nets with each other": [layer.random_pairs for layer in comparison.layers],
                "clips shuffled": [[layer.shuffled] for layer in comparison.layers],
            },
            "correlation of matched neurons (marks: each, symbol: median)",
        ),
        "cka": plot_layers(
            layers,
            {
                f"{first} with {second}": [[layer.cka] for layer in comparison.layers],
                f"{first} with random nets": [layer.cka_random for layer in comparison.layers],
                "random nets with each other": [layer.cka_random_pairs for layer in comparison.layers],
            },
            "linear CKA, debiased (1 is alike)",
            {f"{first} with {second}": [layer.cka_interval for layer in comparison.layers]},
        ),
    }
    for claim in CLAIMS:
        if found := _of(comparison, claim):
            rows = [
                (
                    f"{finding.where}\n{_short(finding.measure)}",
                    finding.effect.delta,
                    finding.effect.interval,
                    (finding.random.delta, finding.random.interval) if finding.random else None,
                )
                for finding in found
            ]
            charts[f"claim-{claim}"] = plot_effects(rows, "Cliff's delta (above 0: as claimed)")
    sizes = {}
    for name, figure in charts.items():
        path = folder / f"{name}.png"
        save_chart(path, figure)
        sizes[path.name] = _png_size(path)
    for layer in layers:
        twins = _shown(comparison, layer)
        if not twins:
            continue
        rows_of_twins = [
            (f"r {twin.correlation:.2f}" + (", drawn" if twin.drawn else ""), *twin.patterns) for twin in twins
        ]
        path = folder / f"twins-{layer}.png"
        save_figure(path, plot_twins(rows_of_twins, comparison.models, f"{layer}: twins"), dpi=100)
        sizes[path.name] = _png_size(path)
    return sizes


def _shown(comparison: Comparison, layer: str) -> list[Any]:
    """The best matched, and of those drawn some at even steps from the best to the worst matched."""
    twins = [twin for twin in comparison.twins if twin.layer == layer]
    best = [twin for twin in twins if not twin.drawn]
    limit = SHOWN_TWINS if layer != "fc1" else SHOWN_TWINS // 2
    drawn = [twin for twin in twins if twin.drawn]  # best matched first
    count = min(limit - len(best[: limit // 2]), len(drawn))
    spread = np.linspace(0, len(drawn) - 1, count).round().astype(int)
    chosen = best[: limit // 2] + [drawn[place] for place in spread]
    return [twin for twin in twins if twin in chosen]


def _png_size(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[16:24]  # width and height in the IHDR chunk
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


# --- the page -------------------------------------------------------------------------------------------------------


def _title(comparison: Comparison) -> str:
    return f"{comparison.models[0]} and {comparison.models[1]}"


def _body(comparison: Comparison, figures: dict[str, tuple[int, int]]) -> str:
    parts = [
        _header(comparison),
        "<main class='wrap'>",
        _summary(comparison),
        _reading(comparison.settings.random_nets),
        _matching(comparison, figures),
        *(_claim_section(comparison, claim, figures) for claim in CLAIMS if _of(comparison, claim)),
        _pairs(comparison),
        _twins(comparison, figures),
        _left_out(comparison),
        "</main>",
        "<footer class='wrap'><p>Every number of this page is in <a href='comparison.json'>comparison.json</a>. Paper: "
        "Zhang, Pardo, Duan, Siamese Style Convolutional Neural Networks for Sound Search by Vocal Imitation, IEEE/ACM "
        "TASLP 2018, section VII.</p></footer>",
    ]
    return "\n".join(part for part in parts if part)


def _header(comparison: Comparison) -> str:
    settings, clips = comparison.settings, comparison.clips
    first, second = comparison.models
    facts = {
        "with pre-training": f"{_name(first)} <span class='quiet'>{comparison.fingerprints[0]}</span>",
        "from scratch": f"{_name(second)} <span class='quiet'>{comparison.fingerprints[1]}</span>",
        "clips": f"{clips['n']} <span class='quiet name'>{escape(clips['source'])}</span>",
        "neurons drawn of each layer": f"{settings.neurons}, seed {settings.seed}",
        "random nets": f"{settings.random_nets} of the same architecture",
        "gradient ascent": f"at most {settings.engine.steps} steps, {escape(settings.engine.parameterization)}",
    }
    return (
        f"<header class='wrap'><h1>{_name(first)} and <span class='name'>{escape(second)}, side by side</span></h1>"
        "<p class='lead'>The authors of the paper looked at the inputs that excite single neurons and said what they "
        "saw. Here each of their claims is a number: measured on patterns of these two nets, neuron by matched neuron, "
        "with an interval, and beside it the same number for nets whose weights are random. What random nets show too "
        "was not learned.</p><dl class='facts'>"
        + "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in facts.items())
        + "</dl></header>"
    )


def _summary(comparison: Comparison) -> str:
    rows = []
    for claim, text in CLAIMS.items():
        if not _of(comparison, claim):
            continue
        verdict = comparison.verdict_of(claim)
        rows.append(
            f"<div class='claim'><h3><a href='#claim-{claim}'>{text}</a></h3>{_badge(verdict)}"
            f"<p>{escape(_sentence(comparison, claim))}</p></div>"
        )
    return (
        f"<section id='claims'><h2>What holds</h2><p>{RULE}</p>"
        + _plainly(comparison)
        + f"<div class='claims'>{''.join(rows)}</div></section>"
    )


def _plainly(comparison: Comparison) -> str:
    """In words: what the paper saw and these nets do not show."""
    by_verdict: dict[str, list[str]] = {}
    for claim, text in CLAIMS.items():
        if _of(comparison, claim):
            by_verdict.setdefault(comparison.verdict_of(claim), []).append(f"“{text}”")
    parts = []
    for verdict, words in (
        (HOLDS, "Most measurements say so, beyond what random nets show:"),
        ("mixed", "Some measurements say yes, others the contrary:"),
        (DOES_NOT_HOLD, "Most say the contrary, beyond what random nets show:"),
        (AS_RANDOM, "Nets with random weights show or differ as much, so it is no proof of learning:"),
        (UNDECIDED, "No majority of measurements says so, or the contrary, beyond what random nets show:"),
    ):
        if found := by_verdict.get(verdict):
            parts.append(f"{words} {_listed(found)}.")
    return f"<ul class='plain'>{''.join(f'<li>{part}</li>' for part in parts)}</ul>"


def _reading(random_nets: int) -> str:
    chance = random_nets * (random_nets - 1) // 2 + 1
    words = {
        "Effect size": "Cliff’s delta: how much more often a value of the one is larger than one of the other, from -1 "
        "to 1. Between twins, each neuron is compared with its own twin only.",
        "Verdict": "The bar is a 95 % bootstrap interval over neurons, drawn within layers: all above 0 is “holds”, "
        "all below 0 “does not hold”, else “undecided”. Of twenty measurements of nothing one would look decided, so "
        "no single one decides a claim.",
        "Random nets": "The same architecture with random weights, through the same pipeline, in grey. They show a "
        "measurement too if theirs has the same verdict. For what compares pre-trained with scratch, grey is the "
        "difference of those two random nets that differ most, and they show it too if they differ as much, whichever "
        "way: nets differ by chance, and an interval over neurons does not know that."
        + f" A difference larger than all of theirs still happens by chance in one measurement of {chance}."
        * (chance > 1),
    }
    return (
        "<section id='reading'><h2>How to read it</h2><dl class='words'>"
        + "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in words.items())
        + "</dl></section>"
    )


def _matching(comparison: Comparison, figures: dict[str, tuple[int, int]]) -> str:
    first, second = comparison.models
    with_random = any(layer.random for layer in comparison.layers)
    rows = [
        [
            layer.layer,
            str(len(layer.twins)),
            f"{len(layer.dead[0])} / {len(layer.dead[1])}",
            f"{layer.median:.2f} {_range(layer.interval)}",
            *([_mean(layer.random), _mean(layer.random_pairs)] * with_random),
            f"{layer.shuffled:.2f}",
            f"{layer.cka:.2f} {_range(layer.cka_interval)}",
            *([_mean(layer.cka_random), _mean(layer.cka_random_pairs)] * with_random),
        ]
        for layer in comparison.layers
    ]
    nulls = ("first with random nets", "random nets") * with_random
    head = (
        *("layer", "pairs", "dead (first / second)", "matched correlation, median"),
        *nulls,
        *("clips shuffled", "CKA"),
        *nulls,
    )
    absent = (
        "<p>Random nets have no activations stored on these clips; with a folder of clips (<code>--clips</code>) they "
        "are matched too. Only the shuffled clips say here what matching finds in nothing.</p>"
        if not with_random
        else ""
    )
    deepest = comparison.layers[-1].layer
    return (
        "<section id='matching'><h2>Which neurons correspond</h2>"
        f"<p>Neuron 7 of one net has nothing to do with neuron 7 of another. So the neurons of {_name(first)} and "
        f"{_name(second)} are paired one to one (Hungarian method) so that the sum of the correlations of their mean "
        "activations on the same clips is largest. Pairing finds some correlation in anything: the nulls say how much."
        "</p>"
        "<p>CKA compares whole layers: do two clips that are alike in one net look alike in the other? It is linear, "
        "on the mean activation of each map per clip, debiased; its interval comes from halves of the clips.</p>"
        f"{absent}<p>{escape(_likeness_of_layers(comparison))}</p>"
        + _figure("matching.png", figures, f"Correlation of matched neurons, from the first layer to {deepest}.")
        + _figure("cka.png", figures, "CKA of each layer; the bar is its 95 % interval over clips.")
        + _table("Matching and CKA of each layer; intervals are 95 %", head, rows)
        + "</section>"
    )


def _likeness_of_layers(comparison: Comparison) -> str:
    """In words: where the nets are more alike than with nets that learned nothing."""
    layers = comparison.layers
    first, second = comparison.models
    if not any(layer.random for layer in layers):
        above = [layer.layer for layer in layers if layer.interval[0] > layer.shuffled]
        return f"Above what shuffled clips give: {_listed(above) if above else 'no layer'}."
    matched = [layer.layer for layer in layers if layer.interval[0] > max(layer.random)]
    alike = [layer.layer for layer in layers if layer.cka_interval[0] > max(layer.cka_random)]
    text = (
        f"{first} and {second} match better than {first} and a random net (interval above the best of them) in "
        f"{_listed(matched) if matched else 'no layer'}; by CKA they are more alike in "
        f"{_listed(alike) if alike else 'no layer'}."
    )
    if len(matched) < len(layers):
        text += (
            " In the others, most of what matched neurons share is there before any training: how loud, long or "
            "broad a clip is moves all neurons."
        )
    return text


def _claim_section(comparison: Comparison, claim: str, figures: dict[str, tuple[int, int]]) -> str:
    found = _of(comparison, claim)
    sides = {finding.sides for finding in found}
    same = next(iter(sides)) if len(sides) == 1 else None
    head = (
        *("where", "measure", "verdict", "effect", "random nets", "n"),
        *((f"median of {same[0]}", f"median of {same[1]}") if same else ("claimed larger: median", "against: median")),
    )
    rows = [
        [
            finding.where,
            _short(finding.measure),
            finding.verdict + f", {AS_RANDOM}" * finding.also_random,
            _effect(finding.effect),
            _effect(finding.random) if finding.random else "",
            f"{finding.effect.n[0]} pairs" if finding.effect.paired else " / ".join(map(str, finding.effect.n)),
            *(
                ("" if same else f"{side}: ") + _number(median)
                for side, median in zip(finding.sides, finding.effect.medians, strict=True)
            ),
        ]
        for finding in found
    ]
    measures = list(dict.fromkeys(finding.measure for finding in found))
    words = "".join(f"<div><dt>{escape(MEASURES[m])}</dt><dd>{escape(WORDS[m])}</dd></div>" for m in measures)
    return (
        f"<section id='claim-{claim}'><div class='head'><h2>{CLAIMS[claim]}</h2>{_badge(comparison.verdict_of(claim))}"
        f"</div><p>{SAID[claim]} {escape(_sentence(comparison, claim))}</p><dl class='words'>{words}</dl>"
        + _figure(f"claim-{claim}.png", figures, "Effect of each measurement with its interval; random nets in grey.")
        + _table(f"Every measurement of “{CLAIMS[claim]}”", head, rows, left=3, kind=" class='findings'")
        + "</section>"
    )


def _pairs(comparison: Comparison) -> str:
    studies = {name: comparison.pairs[name] for name in comparison.models if name in comparison.pairs}
    if not studies:
        return ""
    rows = []
    for name, study in comparison.pairs.items():
        own = [pair for pair in study.pairs if pair.activation > 0]
        share = [pair.shares["imitation"] / (pair.activation - pair.silence or 1) for pair in own]
        kept = {
            role: [value for pair in own if (value := pair.kept[role]) is not None]
            for role in ("imitation", "recording")
        }
        worst = max((abs(p.synergy_before_relu) / max(p.activation, 1e-9) for p in own), default=0.0)
        rows.append(
            [
                name,
                str(len(study.pairs)),
                _median(share, percent=True),
                _median(kept["imitation"], percent=True),
                _median(kept["recording"], percent=True),
                _median([pair.synergy / pair.activation for pair in own], percent=True),
                f"{worst:.0e}" if worst else "0",
            ]
        )
    likeness = [
        [
            name,
            {"envelope": "level over time, dB", "spectrum": "mean spectrum, dB"}.get(
                measure, "level over time, power" if measure == "envelope_power" else "mean spectrum, power"
            ),
            str(value.n),
            f"{value.own:.2f}",
            f"{value.others:.2f}",
            f"{value.excess:+.2f} {_range(value.interval, sign=True)}",
            f"{value.p:.2g}",
        ]
        for name, study in comparison.pairs.items()
        for measure, value in study.likeness.items()
    ]
    return (
        "<section id='pairs'><h2>Pairs of inputs of fc1</h2>"
        "<p>A unit of fc1 sees an imitation and a recording; both were optimised together. A side’s share is its exact "
        "Shapley value, with silence in place of an absent side. The swap test puts another pair’s side in its place: "
        "what is left of the activation says how little it mattered which. Synergy is what both do together beyond "
        "what each does alone: before the ReLU it is 0, since fc1 adds its two halves.</p>"
        + _table(
            "Medians over pairs, as shares of the activation",
            (
                "net",
                "pairs",
                "share of the imitation",
                "left with another imitation",
                "left with another recording",
                "synergy",
                "synergy before the ReLU, largest",
            ),
            rows,
        )
        + _table(
            "Correlation of both sides, against sides of different pairs of the same net; p by permutation",
            ("net", "of", "pairs", "own sides", "other sides", "excess", "p"),
            likeness,
            left=2,
        )
        + "<p>dB is judged, since it is what the nets see and about what is heard; of power one loud frame decides "
        "alone.</p></section>"
    )


def _twins(comparison: Comparison, figures: dict[str, tuple[int, int]]) -> str:
    first, second = comparison.models
    parts: list[str] = []
    for layer in comparison.layers:
        name = f"twins-{layer.layer}.png"
        if name not in figures:
            continue
        shown = _shown(comparison, layer.layer)
        lines = ", ".join(f"{t.neurons[0]} and {t.neurons[1]} (r {t.correlation:.2f})" for t in shown)
        drawn = [twin for twin in comparison.twins if twin.layer == layer.layer and twin.drawn]
        count = sum(twin.drawn for twin in shown)
        of = "" if count == len(drawn) else f" {count} of the {len(drawn)} drawn, from the best to the worst matched."
        caption = f"{layer.layer}: {first} left, {second} right; neurons {lines}.{of} White is more energy."
        parts.append(
            f"<details{' open' if not parts else ''}><summary>{escape(layer.layer)}</summary>"
            f"<div>{_figure(name, figures, caption, wide=True)}</div></details>"
        )
    if not parts:
        return ""
    return (
        "<section id='twins'><h2>Twins side by side</h2><p>The inputs that excite matched neurons most, the best "
        "matched first. The measures above are of the neurons drawn at random only: the best matched are no fair "
        "sample.</p>"
        f"{''.join(parts)}</section>"
    )


def _left_out(comparison: Comparison) -> str:
    items = "".join(f"<li class='name'>{escape(line)}</li>" for line in describe_left_out(comparison))
    return f"<section id='left-out'><h2>Left out</h2><ul class='plain'>{items}</ul></section>" if items else ""


def _sentence(comparison: Comparison, claim: str) -> str:
    """How many measurements say what, and what random nets do."""
    found = _of(comparison, claim)
    tally = _tally(comparison, claim)
    text = f"{tally[0].upper()}{tally[1:]}."
    nulls = [finding for finding in found if finding.random]
    if nulls and claim not in TRAINING:
        shown = sum(finding.random is not None and finding.random.verdict == HOLDS for finding in nulls)
        text += f" Random nets show it in {shown} of {len(nulls)}."
    elif not nulls:
        text += " Without random nets beside them nobody knows whether it was learned."
    opposite = [finding for finding in found if finding.says == DOES_NOT_HOLD]
    if opposite:
        strongest = min(opposite, key=lambda finding: finding.effect.delta)
        text += (
            f" Clearest against it: {_short(strongest.measure)}, {strongest.where} "
            f"({_number(strongest.effect.medians[0])} against {_number(strongest.effect.medians[1])})."
        )
    return text


def _tally(comparison: Comparison, claim: str) -> str:
    tally = comparison.tally(claim)
    total, said = sum(tally.values()), say_tally(tally)
    if total in tally.values() and total > 1:
        return f"all {total} measurements {said.removeprefix(f'{total} ')}"
    return f"of {total} measurements {said}" if total > 1 else f"one measurement, {said.removeprefix('1 ')}"


def _of(comparison: Comparison, claim: str) -> list[Finding]:
    return [finding for finding in comparison.findings if finding.claim == claim]


def _short(measure: str) -> str:
    return MEASURES[measure].split(" (")[0]


def _badge(verdict: str) -> str:
    return f"<span class='badge {BADGES.get(verdict, '')}'>{verdict}</span>"


def _name(name: str) -> str:
    return f"<span class='name'>{escape(name)}</span>"


def _figure(name: str, figures: dict[str, tuple[int, int]], caption: str, wide: bool = False) -> str:
    width, height = figures[name]
    return (
        f"<figure{' class=wide' if wide else ''}><a class='plate' href='figures/{escape(name)}'>"
        f"<img src='figures/{escape(name)}' width='{width}' height='{height}' loading='lazy' alt='{escape(caption)}'>"
        f"</a><figcaption>{escape(caption)}</figcaption></figure>"
    )


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, kind: str = "") -> str:
    def side(index: int) -> str:
        return " class='left'" if index < left else ""

    cells = "".join(f"<th scope='col'{side(i)}>{escape(text)}</th>" for i, text in enumerate(head))
    body = "".join(
        f"<tr><th scope='row' class='left'>{escape(row[0])}</th>"
        + "".join(f"<td{side(i)}>{escape(text)}</td>" for i, text in enumerate(row[1:], start=1))
        + "</tr>"
        for row in rows
    )
    return (
        f"<div class='scroll' role='region' tabindex='0' aria-label='{escape(caption)}'><table{kind}><caption>"
        f"{escape(caption)}</caption><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _effect(effect: Effect) -> str:
    return f"{effect.delta:+.2f} {_range(effect.interval, sign=True)}"


def _range(interval: tuple[float, float], sign: bool = False) -> str:
    style = "+.2f" if sign else ".2f"
    return f"[{interval[0]:{style}}, {interval[1]:{style}}]"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f}" if len(values) else ""


def _median(values: Sequence[float], percent: bool = False) -> str:
    if not len(values):
        return ""
    return f"{100 * np.median(values):.0f} %" if percent else f"{np.median(values):.2f}"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
