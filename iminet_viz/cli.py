"""Command line: each verb parses, makes one library call and prints. Results on stdout, progress on stderr.

Heavy imports stay inside the verbs, so that ``--help`` is instant.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iminet_viz import __version__
from iminet_viz.errors import IminetVizError

if TYPE_CHECKING:
    from iminet_viz.index import Library
    from iminet_viz.retrieval import Answer

FOLDER = click.Path(path_type=Path)
ROLES = ("imitation", "recording")
SIDE_FILES = (".npy", ".flac", ".direct.flac")  # of a pattern

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
SEED = click.IntRange(0, 2**31 - 1)
STEPS = click.IntRange(1, 100_000)
seed_option = click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of every random draw.")
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto (the GPU if there is one)."
)
engine_option = click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: on the nodes of a cluster; needs iminet-viz[cluster].",
)
address_option = click.option(
    "--address", metavar="HOST:PORT", help="Of --engine ray: its head  [default: this machine alone]"
)
force_option = click.option("--force", is_flag=True, help="Replace what is there.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="iminet-viz")
def main() -> None:
    """Look into and listen to networks that search sounds by vocal imitation.

    Train IMINET's systems, find the inputs that excite their neurons, hear them, and browse them in a gallery.
    """


def run() -> None:
    """Entry point: a user's mistake is one sentence and exit status 1; 2 for usage; a traceback only for our bug."""
    # Before torch is loaded: threads that wait for each other shall sleep, not spin. On a machine that does something
    # else too, spinning made the same patterns take two to seven times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        main(standalone_mode=False)
    except IminetVizError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        click.echo(f"Error: {error.filename or 'the system'}: {error.strerror}", err=True)
        sys.exit(1)


# --- training and figures -------------------------------------------------------------------------------------------


@main.command()
@click.argument("model", type=click.Choice(["language-tower", "sound-tower", "tl-iminet", "aligned"]))
@click.option(
    "--data",
    type=FOLDER,
    required=True,
    help="Folder of speech-lid, esc10 or telephone-imitations; for aligned a table of pairs, as imitate makes it.",
)
@click.option("--test", type=FOLDER, help="language-tower: folder of voxforge-real, measured once at the end.")
@click.option("--out", type=FOLDER, required=True, help="Run folder; the model appears in OUT/model.")
@click.option("--sources", type=FOLDER, help="aligned: JSON, licence of each source of the sounds, for the card.")
@click.option("--recipe", type=FOLDER, help="JSON: a recipe, or a model's config.json, to train that again.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe; repeatable.")
@click.option("--seed", type=SEED, help="Seed of every random draw (default: the recipe's).")
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@device_option
@force_option
@json_option
def train(
    model: str,
    data: Path,
    test: Path | None,
    out: Path,
    sources: Path | None,
    recipe: Path | None,
    changes: tuple[str, ...],
    seed: int | None,
    resume: bool,
    device: str,
    force: bool,
    as_json: bool,
) -> None:
    """Train the language tower, the sound tower, TL-IMINET, or the aligned net.

    The built-in recipe of each model holds the paper's values; OUT/recipe.json keeps what was used. For a TL-IMINET
    with pre-trained layers: --set pretrained_layers=3 --set imitation_from=language-tower --set
    recording_from=sound-tower. The aligned net is not the paper's; it learns from your own pairs or from those that
    imitate makes.
    """
    from iminet_viz import contrastive, datasets, training
    from iminet_viz.checkpoint import read_json

    aligned = model == "aligned"
    values = _recipe_values(model, recipe, changes, seed)
    settings = contrastive.recipe_from_dict(values) if aligned else training.Recipe.from_dict(values)
    if sources is not None and not aligned:
        raise click.UsageError("--sources goes with aligned")
    if test is not None and model != "language-tower":
        raise click.UsageError("--test goes with language-tower")
    licences = None if sources is None else read_json(sources)
    options: dict[str, Any] = {"device": _device(device), "resume": resume}
    if isinstance(settings, contrastive.ContrastiveRecipe):
        with _progress("") as report:
            metrics = contrastive.train_aligned(settings, data, out, licences, force=force, report=report, **options)
        _print_metrics(metrics, as_json)
        click.echo(f"Model in {out / 'model'}", err=True)
        return
    # what is wrong with it is said before anything is removed
    datasets.find_dataset(training.DATA_OF[model]).load(data)
    if force and not resume:
        training.remove_run(out)
    if settings.model == "language-tower":
        metrics = training.train_language_tower(settings, data, test, out, **options)
    elif settings.model == "sound-tower":
        metrics = training.train_sound_tower(settings, data, out, **options)
    else:
        metrics = training.train_tl_iminet(settings, data, out, **options)
    _print_metrics(metrics, as_json)
    click.echo(f"Model in {out / 'model'}", err=True)


@main.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--data", type=FOLDER, required=True, help="Folder of sounds, those of the training.")
@click.option("--out", type=FOLDER, required=True, help="Folder of the joint model.")
@force_option
@json_option
def join(models: tuple[str, ...], data: Path, out: Path, force: bool, as_json: bool) -> None:
    """Join aligned nets that differ in their seed to one model.

    Their frames side by side are reduced to as many values as one net has, by principal components over the sounds: as
    good as the sum of their scores, at the price of one. voice-search is made so.
    """
    from iminet_viz import contrastive
    from iminet_viz.checkpoint import load_model

    with _progress("") as report:
        metrics = contrastive.join_aligned([load_model(name) for name in models], data, out, force, report)
    _print_metrics(metrics, as_json)
    click.echo(f"Model in {out}", err=True)


def _recipe_values(model: str, recipe: Path | None, changes: tuple[str, ...], seed: int | None) -> dict[str, Any]:
    """The built-in recipe or the given one, with changes."""
    import dataclasses

    from iminet_viz.checkpoint import read_json
    from iminet_viz.contrastive import RECIPES as CONTRASTIVE
    from iminet_viz.errors import TrainingError
    from iminet_viz.training import RECIPES

    if recipe is None:
        values = dataclasses.asdict(CONTRASTIVE[model] if model == "aligned" else RECIPES[model])
    else:
        values = read_json(recipe)
        if model == "aligned" and values.get("kind", model) not in (model, "joint"):
            raise TrainingError(f"{recipe}: is of a model of kind {values['kind']!r}, not {model}")
        values = dict(values.get("recipe", values))
        if model != "aligned" and values.get("model") != model:
            raise TrainingError(f"{recipe}: is a recipe for {values.get('model')!r}, not for {model}")
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise click.UsageError(f"--set {change}: expected KEY=VALUE")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text  # a bare word
    if seed is not None:
        values["seed"] = seed
    return values


@main.command()
@click.argument("index", type=FOLDER)
@click.argument("query", type=click.Path(path_type=Path))
@click.option("-k", "count", type=click.IntRange(1), default=10, show_default=True, help="Hits.")
@click.option("--text", default="", metavar="WORDS", help="Only files whose name, folders or label hold these words.")
@click.option("--model", help="Refuse an index that was made with another model  [default: the one it was made with]")
@click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True),
    help="Below 1: share of the first ten to find, for speed in big libraries; measured with sounds drawn from the "
    "library, which also choose what is left out  [default: exact]",
)
@click.option("--device", default="cpu", show_default=True, help="Where rows are scanned: cpu or cuda.")
@engine_option
@address_option
@click.option("--shards", type=click.IntRange(1), help="Of --engine ray: processes that scan  [default: one a node]")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--m3u", "as_m3u", is_flag=True, help="Print a playlist.")
@click.option("--export", type=FOLDER, help="Copy the hits to this folder, named by rank.")
@json_option
def search(
    index: Path,
    query: Path,
    count: int,
    text: str,
    model: str | None,
    recall: float | None,
    device: str,
    engine: str,
    address: str | None,
    shards: int | None,
    as_csv: bool,
    as_m3u: bool,
    export: Path | None,
    as_json: bool,
) -> None:
    """Find the sounds of INDEX that QUERY, a vocal imitation, means.

    Each file is found once, by its best window: the table says where that is. "stands out" is how many robust
    deviations the score is above a window of the library at random. In JSON and CSV, bytes of a path that are no UTF-8
    are U+FFFD, so that such a file cannot be opened by what they say; --m3u names it by a URI that opens it.
    """
    from iminet_viz import retrieval

    if as_csv + as_m3u + as_json > 1:
        raise click.UsageError("--json, --csv and --m3u exclude each other")
    if engine == "ray":
        from iminet_viz import cluster

        if device != "cpu":
            raise click.UsageError("--engine ray scans on the CPUs of its nodes")
        # what Ray says of nodes that are lost goes to stdout otherwise
        with (
            contextlib.redirect_stdout(sys.stderr),
            cluster.open_index(index, model, address=address, shards=shards) as shared,
        ):
            answer = shared.search(query, count, text, recall)
    else:
        if address is not None or shards is not None:
            raise click.UsageError("--address and --shards go with --engine ray")
        library = retrieval.open_index(index, model, device if device == "cpu" else _device(device))
        answer = library.search(query, count, text, recall)
    for warning in answer.query.warnings:
        click.echo(f"{answer.query.name}: {warning}", err=True)
    if export is not None:
        written = retrieval.export_hits(answer, export)
        click.echo(f"{len(written) - 1} sounds and hits.csv in {export}", err=True)
    if as_json or as_csv or as_m3u:
        write = retrieval.to_json if as_json else retrieval.to_csv if as_csv else retrieval.to_m3u
        click.echo(write(answer).rstrip("\n"))
    else:
        _print_hits(answer)
    if engine == "local":  # after the hits, which nobody shall wait for
        library.keep_copy()


def _print_hits(answer: Answer) -> None:
    from iminet_viz.audio import one_line

    rows = [("rank", "score", "percentile", "stands out", "from", "to", "file", "licence")]
    for hit in answer.hits:
        rows.append(
            (
                str(hit.rank),
                f"{hit.score:.3f}",
                f"{hit.percentile:.2f} %",
                "" if hit.stands_out is None else f"{hit.stands_out:.1f}",
                _clock(hit.start_s),
                _clock(hit.stop_s),
                one_line(Path(hit.path)),
                hit.licence,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    for row in rows:
        numbers = "  ".join(cell.rjust(width) for cell, width in zip(row[:6], widths, strict=True))
        click.echo(f"{numbers}  {'  '.join(row[6:])}".rstrip())
    how = "exact" if answer.exact else f"recall@10 of {answer.recall:.2f} measured on this library"
    click.echo(
        f"{answer.files:,} files, {answer.windows:,} windows; heard in {answer.seconds['query']:.2f} s, library "
        f"ready in {answer.seconds['library']:.2f} s, searched in {answer.seconds['scan']:.2f} s, {how}",
        err=True,
    )


def _clock(seconds: float) -> str:
    """1:02:03.4, without hours where there are none."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


@main.command()
@click.argument("model")
@click.option("--data", type=FOLDER, help="Data set that the model's recipe splits, or its test set.")
@click.option("--pairs", "table", type=FOLDER, help="CSV of pairs (imitation,recording[,category]), or a data set.")
@click.option(
    "--dataset",
    type=click.Choice(["pairs-table", "telephone-imitations", "vocalsketch", "demo"]),
    default="pairs-table",
    show_default=True,
    help="What the folder --pairs holds.",
)
@click.option("--candidates", type=FOLDER, help="Folder of sounds that are searched beside the recordings of --pairs.")
@click.option("--against", metavar="MODEL", help="Another model or baseline over the same queries.")
@device_option
@json_option
def evaluate(
    model: str,
    data: Path | None,
    table: Path | None,
    dataset: str,
    candidates: Path | None,
    against: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Compute the figures of MODEL's card again (--data), or those of searching by your own pairs (--pairs).

    MODEL is a shipped name, a folder, or default. With --pairs it can be an untrained baseline too (mfcc, log-mel, cqt,
    dtw-mfcc, dtw), or a fusion, a+b or 0.7*a+0.3*b: the sum of standardised scores (the paper's products of likelihoods
    are rows of experiment table1). Of several right answers for an imitation the best ranked counts.
    """
    if (data is None) == (table is None):
        raise click.UsageError("name either --data or --pairs")
    if data is not None:
        if candidates or against:
            raise click.UsageError("--candidates and --against go with --pairs")
        from iminet_viz.checkpoint import load_model
        from iminet_viz.training import evaluate_model

        _print_metrics(evaluate_model(load_model(model, _device(device)), data), as_json)
        return
    assert table is not None
    from iminet_viz import trials
    from iminet_viz.datasets import find_dataset
    from iminet_viz.evaluation import describe_metrics
    from iminet_viz.scoring import load_scorer

    names = [model] if against is None else [model, against]
    pairs = find_dataset(dataset).load(table)
    trials.require_searchable(pairs, table)
    scorers = [load_scorer(name, _device(device)) for name in names]
    with _progress("") as report:
        trial, scores = trials.run_trial(pairs, table, scorers, candidates, report)
    for _, reason in trial.left_out:
        click.echo(f"left out: {reason}", err=True)
    results = [trials.evaluate_trial(trial, grid).as_dict() for grid in scores]
    left_out = [{"file": str(path), "reason": reason} for path, reason in trial.left_out]
    figures = {"model": model, **results[0], "left_out": left_out}
    if against is not None:
        import dataclasses

        paired = dataclasses.asdict(trials.compare_trial(trial, scores[0], scores[1]))
        figures["against"] = {"model": against, **results[1]}
        figures["paired"] = paired
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    for name, result in zip(names, results, strict=True):
        within = result.get("within_category", {})
        parts = {f"within {category}": values for category, values in within.get("categories", {}).items()}
        first, *rest = describe_metrics({name: result, "within category": within, **parts})
        click.echo(first)
        click.echo("    " + ", ".join(f"recall@{k} {result[f'recall_at_{k}']:.3f}" for k in (1, 5, 10)))
        for line in rest:
            click.echo(f"    {line}")
    if against is not None:
        low, high = paired["interval"]
        click.echo(
            f"{model} over {against}: {paired['difference']:+.3f} [{low:+.3f}, {high:+.3f}] resampled by "
            f"{paired['clusters']} right answers; Wilcoxon p {paired['p']:.2g} over {paired['n']} queries"
        )


@main.group()
def experiment() -> None:
    """Train and compare systems on one corpus."""


@experiment.command("table1")
@click.option("--data", type=FOLDER, required=True, help="Corpus in the layout of VocalSketch v1.0.4, or the demo's.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Trainings of each system.")
@click.option("--systems", metavar="NAME,NAME", help="Train only these; fusions follow from them  [default: all]")
@click.option("--epochs", type=click.IntRange(1), help="At most so many of each training, to try it out.")
@click.option("--out", type=FOLDER, required=True, help="Folder to make; an interrupted experiment there is continued.")
@click.option("--workers", type=click.IntRange(1), help="Processes  [default: one a core]")
@device_option
@json_option
def experiment_table1(
    data: Path,
    seeds: int,
    systems: str | None,
    epochs: int | None,
    out: Path,
    workers: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Train every system of the paper and more on one corpus, and write its Table I and Figure 6.

    Half of the sounds train, half test. What OUT holds already is not trained again, and stays in the table. OUT gets
    table1.csv, table1.md, figure6.png, ranks.csv, config.json, split.json, and the models in runs/.
    """
    import shlex

    from iminet_viz import experiments
    from iminet_viz.checkpoint import read_json

    names = None if systems is None else [name.strip() for name in systems.split(",")]
    with _progress("% ") as report:
        config = experiments.run_table1(
            data, out, seeds, names, _device(device), workers, epochs, report, shlex.join(["iminet-viz", *sys.argv[1:]])
        )
    if short := read_json(out / "split.json")["fewer_imitations"]:
        click.echo(f"{len(short)} sounds have fewer than {experiments.IMITATIONS} imitations (split.json)", err=True)
    if as_json:
        click.echo(json.dumps(config, indent=2))
        return
    click.echo((out / "table1.md").read_text(encoding="utf-8"))
    click.echo(f"Written to {out}", err=True)


@main.command()
@json_option
def models(as_json: bool) -> None:
    """List the shipped models: what each is for, its data, size and results, and which one search takes."""
    from iminet_viz.cards import describe_model
    from iminet_viz.checkpoint import DEFAULT_SEARCH, shipped_models
    from iminet_viz.evaluation import describe_metrics

    names = shipped_models()
    rows = [describe_model(name) for name in names]
    default = DEFAULT_SEARCH if DEFAULT_SEARCH in names else None
    if as_json:
        click.echo(json.dumps({"default": default, "models": rows}, indent=2))
        return
    for row in rows:
        click.echo(
            f"{row['name']:<20} {row['parameters']:>9,} parameters  {row['bytes'] / 1e6:4.1f} MB  {row['role']}; "
            f"trained on {row['data']}"
        )
        for line in describe_metrics(row["metrics"]):
            click.echo(f"    {line}")
    if default:
        click.echo(f"default for search: {default}")


@main.command()
@click.argument("model")
@click.argument("folders", nargs=-1, required=True, type=FOLDER)
@click.option("--out", type=FOLDER, help="File to write (default: reference.safetensors in the model's folder).")
@click.option("--test", type=FOLDER, help="The sounds MODEL was trained on: each neuron's importance on its test part.")
@device_option
@force_option
def reference(
    model: str, folders: tuple[Path, ...], out: Path | None, test: Path | None, device: str, force: bool
) -> None:
    """Store the activations of MODEL's neurons on all recordings of FOLDERS; patterns are judged against them.

    Only numbers and file names are stored, never sound. What an older file of the same weights holds of unchanged
    recordings, and of importance, is taken over. With --test, the mean reciprocal rank that is lost without each neuron
    is stored too: some minutes more.
    """
    from iminet_viz.audio import find_audio, one_line
    from iminet_viz.checkpoint import load_model
    from iminet_viz.errors import CheckpointError, GalleryError
    from iminet_viz.patterns import evidence

    loaded = load_model(model, _device(device))
    assert loaded.folder is not None
    path = out or loaded.folder / evidence.FILE_NAME
    if path.is_dir():
        raise GalleryError(f"{one_line(path)}: is a folder, expected a file")
    if path.exists() and not force:
        raise GalleryError(f"{path}: is there already; --force replaces it")
    known = None
    with contextlib.suppress(CheckpointError):  # none, or of other weights
        known = evidence.load_references(path, loaded)
    files = [
        (f"{folder.resolve().name}/{file.relative_to(folder).as_posix()}", file)
        for folder in folders
        for file in find_audio(folder)
    ]
    failed: list[tuple[str, str]] = []
    with _progress("clips") as report:
        references = evidence.compute_references(loaded, files, lambda n, m: report("", n, m), failed, known)
    references = references.with_importance_of(known)
    if test is not None:
        from iminet_viz.patterns.importance import add_importance
        from iminet_viz.training import test_pairs

        with _progress("neurons") as report:
            references = add_importance(references, loaded, test_pairs(loaded, test), test.resolve().name, report)
    evidence.save_references(path, references)
    for _, reason in failed:
        click.echo(f"left out: {reason}", err=True)
    click.echo(f"{len(references.clips)} clips, {len(failed)} left out: {path}")
    if references.importance_of:
        click.echo(f"importance: {references.importance_of}")


@main.command()
@click.argument("sounds", nargs=-1, required=True, type=FOLDER)
@click.option("--count", type=click.IntRange(1), default=10, show_default=True, help="Imitations of each sound.")
@click.option("--out", type=FOLDER, required=True, help="Folder to make; an interrupted run there is continued.")
@seed_option
@click.option("--workers", type=click.IntRange(1), help="Processes  [default: one a core]")
@click.option(
    "--format",
    "audio_format",
    type=click.Choice(["wav", "flac"]),
    default="wav",
    show_default=True,
    help="Of the files.",
)
@click.option("--strategies", metavar="NAME,NAME", help="What the voices may do  [default: everything]")
@force_option
@json_option
def imitate(
    sounds: tuple[Path, ...],
    count: int,
    out: Path,
    seed: int,
    workers: int | None,
    audio_format: str,
    strategies: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make synthetic vocal imitations of SOUNDS, folders and files, and the table OUT/pairs.csv.

    The same seed gives the same files. A sound that cannot be imitated is left out with its reason; of long ones a
    minute is heard, from where the sound begins.
    """
    from iminet_viz.errors import ImitationError
    from iminet_viz.imitator import STRATEGIES, ImitatorConfig
    from iminet_viz.imitator.batch import HEARD_S, imitate_files

    config = ImitatorConfig()
    if strategies is not None:
        names = tuple(name.strip() for name in strategies.split(","))
        if unknown := [name for name in names if name not in STRATEGIES]:
            raise click.UsageError(f"--strategies: no {unknown[0]!r}, expected some of {','.join(STRATEGIES)}")
        config = ImitatorConfig(strategies=names)
    with _progress("imitations") as report:
        done = imitate_files(sounds, out, count, seed, config, workers, f".{audio_format}", force, report)
    for _, reason in done.left_out:
        click.echo(f"left out: {reason}", err=True)
    if done.shortened:
        long = f"longer than {HEARD_S:.0f} s: only so much was heard, from where their sound begins"
        click.echo(f"{len(done.shortened)} of {done.sounds} sounds are {long}", err=True)
    if not done.imitations:
        raise ImitationError(f"none of {done.sounds} sounds could be imitated")
    figures = {"sounds": done.sounds, "imitations": done.imitations, "made": done.made}
    if as_json:
        left_out = [{"sound": str(sound), "reason": reason} for sound, reason in done.left_out]
        shortened = [str(sound) for sound in done.shortened]
        more = {"left_out": left_out, "shortened": shortened, "table": str(done.table)}
        click.echo(json.dumps(figures | more, indent=2))
        return
    click.echo(
        f"{done.imitations} imitations of {done.sounds - len(done.left_out)} sounds, {done.made} of them made now, "
        f"{len(done.left_out)} sounds left out: {done.table}"
    )


# --- patterns -------------------------------------------------------------------------------------------------------


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of the engine, shared by the verbs that optimise."""
    for option in (
        click.option("--steps", type=STEPS, help="Most steps of gradient ascent  [default: 80]"),
        click.option(
            "--parameterization",
            type=click.Choice(["spectrum", "pixels", "fourier", "phase"]),
            help="[default: spectrum]",
        ),
        click.option("--slope", type=float, help="Of the leaky ReLU while optimising  [default: 0.3]"),
        click.option("--learning-rate", type=float, help="Of Adam  [default: 0.2]"),
        click.option(
            "--total-variation", type=float, help="Penalty on differences of neighbouring cells  [default: 0]"
        ),
        click.option("--l2", type=float, help="Penalty on squared values  [default: 0]"),
        click.option("--jitter", type=int, help="Roll the input by up to so many frames at each step  [default: 0]"),
        click.option("--unconstrained", is_flag=True, help="Also inputs that no sound can have."),
    ):
        command = option(command)
    return command


def _engine(values: dict[str, Any]) -> Any:
    from iminet_viz.patterns.engine import EngineConfig

    given = {key: value for key, value in values.items() if value is not None and key != "unconstrained"}
    return EngineConfig(**given, reachable=not values["unconstrained"])


class _Numbered(click.Command):
    """Says of -1 that it is no neuron, where click would say that it is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not error.option_name.lstrip("-").isdigit():
                raise
            raise click.UsageError("neurons count from 0, none is negative", ctx) from None


@main.command(cls=_Numbered)
@click.argument("model")
@click.argument("layer")
@click.argument("neuron", type=int)
@click.option("--unit", metavar="BAND,FRAME", help="One position of the feature map instead of its mean.")
@click.option("--out", type=FOLDER, required=True, help="Folder for pattern.png, sounds, arrays and pattern.json.")
@click.option(
    "--sound",
    type=click.Choice(["griffin-lim", "direct", "both"]),
    default="both",
    show_default=True,
    help="The picture made audible, a sound that excites the neuron itself, or both; direct starts from the other.",
)
@click.option("--exemplars", type=FOLDER, help="Folder of recordings to compare with; the strongest are copied to OUT.")
@seed_option
@device_option
@force_option
@json_option
@engine_options
def maximize(
    model: str,
    layer: str,
    neuron: int,
    unit: str | None,
    out: Path,
    sound: str,
    exemplars: Path | None,
    seed: int,
    device: str,
    force: bool,
    as_json: bool,
    **engine: Any,
) -> None:
    """Find an input that excites one neuron most, draw it and make it sound.

    LAYER is one of the model's: imitation.conv1 ... recording.conv3, or fc1 (a pair of inputs), of TL-IMINET. Of models
    whose inputs are no log-mel (IMINET, the aligned net) there is no sound. It is compared with the recordings of
    --exemplars, or with those whose activations are stored with the model.
    """
    import dataclasses

    from iminet_viz import assessment
    from iminet_viz import gallery as galleries
    from iminet_viz.audio import find_audio, one_line
    from iminet_viz.checkpoint import load_model
    from iminet_viz.patterns import engine as engines
    from iminet_viz.patterns import evidence, objectives

    earlier = _claim_pattern(out, force)
    config = _engine(engine)
    clips = [] if exemplars is None else [(str(x.relative_to(exemplars)), x) for x in find_audio(exemplars)]
    loaded = load_model(model, _device(device))
    if unit:
        try:
            band, frame = (int(part) for part in unit.split(","))
        except ValueError:
            raise click.UsageError(f"--unit {unit}: expected BAND,FRAME, for example 3,50") from None
        objective = objectives.unit(layer, neuron, (band, frame))
    else:
        objective = objectives.channel(layer, neuron)
    with _progress("steps") as report:

        def seen(step: int, values: Any, inputs: Any) -> None:
            report(f"{float(values[0]):.3f}", step + 1, config.steps)

        (pattern,) = engines.maximize_many(loaded, [objective], config, seed, seen)
    references = evidence.stored_references(loaded)
    failed: list[tuple[str, str]] = []
    if exemplars is not None:
        with _progress("clips") as report:
            own = evidence.compute_references(loaded, clips, lambda n, m: report("", n, m), failed, references)
        references = own.with_importance_of(references)
    with _progress("") as report:
        settings = assessment.AssessSettings(**_sounds(sound))
        assessed = assessment.assess(loaded, pattern, settings, references, report)
    wanted = assessment.METHODS if sound == "both" else (sound,)
    made = {method: own for method, own in assessed.sounds.items() if method in wanted}
    if assessment.GRIFFIN_LIM not in made:  # nothing is said of a sound that is not there
        judged = assessed.pattern.evidence
        judged = dataclasses.replace(judged, activation_kept=None, log_mel_error_db=None, crest_db=None)
        assessed = dataclasses.replace(assessed, pattern=dataclasses.replace(assessed.pattern, evidence=judged))
    _remove_pattern(out, earlier)
    copies = None if exemplars is None else (loaded, exemplars, out)
    entry = galleries.write_entry(out, dataclasses.replace(assessed, sounds=made), references, exemplars=copies)
    for _, reason in failed:
        click.echo(f"left out: {reason}", err=True)
    if as_json:
        click.echo(json.dumps(entry, indent=2))
        return
    click.echo(f"{entry['objective']} of {entry['model']}: activation {entry['activation']:.3f} on the ReLU network")
    for key, measure in evidence.MEASURES.items():
        value = entry["evidence"][key]
        if value is not None:
            click.echo(f"  {measure.label.lower()}: {_with_unit(value, measure.unit)}")
    if pair := entry["pair"]:
        alone = ", ".join(f"the {role} side {value:.3g}" for role, value in pair["alone"].items())
        click.echo(f"  alone, with silence on the other side: {alone}")
    for method, heard in made.items():
        kept = heard.activation_kept
        share = f"{kept:.0%} of the activation kept" if kept is not None else "no activation to keep"
        crests = " and ".join(f"{value:.1f}" for value in heard.crest_db.values())
        flat = " and ".join(f"{value:.2g}" for value in heard.flatness.values())
        click.echo(f"  {method} sound: {share}, crest {crests} dB, flatness {flat}")
    for role, side in entry["inputs"].items():
        if made and (real := side["real_sounds"]):
            (low, crest, high), (least, flatness, most) = real["crest_db"], real["flatness"]
            click.echo(
                f"  {real['n']} real clips, as the {role} side hears them: median crest {crest:.1f} dB ({low:.1f} to "
                f"{high:.1f}), flatness {flatness:.2g} ({least:.2g} to {most:.2g})"
            )
    for clip in entry["reference"]["top"] if entry["reference"] else ():
        names = " with ".join(clip[key] for key in ("clip", *ROLES) if key in clip)
        click.echo(f"  strongest real: {clip['activation']:.3g}, {one_line(Path(names))}")
    if not assessed.sounds:
        click.echo("  no sound: only log-mel inputs can be made to sound")
    for warning in entry["warnings"]:
        click.echo(f"  beware: {warning}")
    click.echo(f"  {out}")


def _claim_pattern(out: Path, force: bool) -> dict[str, Any]:
    """Check, before the work is done, that a pattern can be written to a folder; nothing is changed.

    Returns:
        The entry of the pattern that is there and shall be replaced; nothing where there is none.

    Raises:
        GalleryError: it holds a pattern already, or files of these names that are of none, or cannot be written to.
    """
    from iminet_viz.audio import one_line
    from iminet_viz.checkpoint import read_json
    from iminet_viz.errors import CheckpointError, GalleryError

    if out.exists() and not out.is_dir():
        raise GalleryError(f"{one_line(out)}: is a file, expected a folder")
    earlier: dict[str, Any] = {}
    with contextlib.suppress(CheckpointError):  # none, or somebody else's
        found = read_json(out / "pattern.json")
        if isinstance(found.get("files"), dict) and "fingerprint" in found:
            earlier = found
    own = {"pattern.json", *earlier["files"]} if earlier else set()
    names = ("pattern.json", "pattern.png", *(f"{role}{end}" for role in ROLES for end in SIDE_FILES))
    for name in names:
        if (out / name).exists() and name not in own:
            raise GalleryError(f"{one_line(out)}: holds {name}, which is of no pattern; name another folder")
    if earlier and not force:
        raise GalleryError(f"{one_line(out)}: holds a pattern already; --force replaces it")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise GalleryError(f"{one_line(out)}: cannot be written to")
    return earlier


def _remove_pattern(out: Path, entry: dict[str, Any]) -> None:
    """Delete an earlier pattern, which may have had another side, and the clips that it showed."""
    if not entry:
        return
    names = {"pattern.json", *entry["files"]}
    with contextlib.suppress(AttributeError, KeyError, TypeError):  # it showed none
        for clip in entry["reference"]["top"]:
            names |= set(clip.get("files", ()))
    for name in names:
        if (out / name).resolve().parent in (out.resolve(), out.resolve() / "exemplars"):
            (out / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not there, or something else is in it
        (out / "exemplars").rmdir()


def _sounds(choice: str) -> dict[str, Any]:
    """Settings that leave out the direct sounds, if so."""
    return {"direct": None} if choice == "griffin-lim" else {}


def _with_unit(value: float, unit: str) -> str:
    """A measure as text; its unit as :class:`iminet_viz.patterns.evidence.Measure` has it."""
    if unit == "%":
        return f"{value:.0%}" if abs(value) >= 0.1 else f"{value:.1%}"
    return f"{value:.3g}" + {"x": " times", "dB": " dB"}.get(unit, "")


@main.group()
def gallery() -> None:
    """Build and verify galleries of patterns."""


@gallery.command("build")
@click.option("--models", "names", multiple=True, help="Shipped name or folder; repeat, or several after one --models.")
@click.argument("more", nargs=-1)
@click.option(
    "--neurons",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Per layer and model; of fc1 as many pairs.",
)
@click.option("--all", "every", is_flag=True, help="Every neuron of every layer, and every fc1 pair.")
@click.option("--sound", type=click.Choice(["griffin-lim", "both"]), default="both", show_default=True)
@click.option("--no-stability", is_flag=True, help="No second patterns and no random net: a third of the time.")
@click.option("--out", type=FOLDER, required=True, help="Folder to make; an interrupted build there is continued.")
@click.option("--exemplars", type=FOLDER, help="Folder of recordings: shows those that excite each neuron most.")
@click.option("--manifest", type=FOLDER, help="Build again what this manifest.json describes.")
@seed_option
@device_option
@force_option
@json_option
@engine_options
def gallery_build(
    names: tuple[str, ...],
    more: tuple[str, ...],
    neurons: int,
    every: bool,
    sound: str,
    no_stability: bool,
    out: Path,
    exemplars: Path | None,
    manifest: Path | None,
    seed: int,
    device: str,
    force: bool,
    as_json: bool,
    **engine: Any,
) -> None:
    """Build the gallery of Figures 7, 8 and 9: pictures, sounds, evidence and one page.

    Example: iminet-viz gallery build --models tl-iminet-conv123 tl-iminet-scratch --out DIR
    """
    from iminet_viz import gallery as galleries
    from iminet_viz.assessment import AssessSettings
    from iminet_viz.checkpoint import read_json

    if manifest is not None:
        if names or more:
            raise click.UsageError("--manifest names the models itself")
        settings = galleries.GallerySettings.from_dict(read_json(manifest).get("settings", {}))
    else:
        if not names and not more:
            raise click.UsageError("name at least one model: --models NAME [NAME ...]")
        assess = AssessSettings(**_sounds(sound), stability=not no_stability)
        count = None if every else neurons
        settings = galleries.GallerySettings((*names, *more), count, seed, _engine(engine), assess)
    with _progress("patterns") as report:
        made = galleries.build(settings, out, exemplars, _device(device), force, report)
    beaten = [entry["reference"]["exceeds"] for entry in made["entries"] if entry["reference"]]
    doubtful = sum(bool(entry["warnings"]) for entry in made["entries"])
    if as_json:
        figures = {
            "entries": len(made["entries"]),
            "failed": made["failed"],
            "exceed_real": sum(beaten),
            "of": len(beaten),
            "doubtful": doubtful,
        }
        click.echo(json.dumps({**figures, "page": str(out / "index.html")}, indent=2))
    else:
        click.echo(
            f"{len(made['entries'])} patterns; "
            f"{sum(beaten)} of {len(beaten)} excite their neuron more than any real clip; "
            f"{doubtful} come with a warning that they are weak evidence"
        )
        for failure in made["failed"]:
            click.echo(f"failed: {failure['id']}: {failure['reason']}", err=True)
        click.echo(f"Open {(out / 'index.html').resolve().as_uri()}")


@gallery.command("verify")
@click.argument("folder", type=FOLDER)
@json_option
def gallery_verify(folder: Path, as_json: bool) -> None:
    """Check a gallery: hashes, activations computed anew, sounds decoded. Exit status 1 if anything is wrong."""
    from iminet_viz.checkpoint import read_json
    from iminet_viz.gallery import verify

    faults = verify(folder)
    count = len(read_json(folder / "manifest.json")["entries"])
    if as_json:
        click.echo(json.dumps({"entries": count, "faults": faults}, indent=2))
    else:
        for fault in faults:
            click.echo(fault)
        click.echo(f"{count} patterns, {len(faults)} faults")
    if faults:
        sys.exit(1)


@main.command()
@click.argument("model")
@click.argument("query", type=FOLDER)
@click.argument("candidate", type=FOLDER)
@click.option("--layer", help="Explain a neuron of this layer instead of the score.")
@click.option("--neuron", type=click.IntRange(0), help="Of the layer.")
@click.option("--steps", type=STEPS, default=64, show_default=True, help="Of the integral.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the page, numbers, pictures and sounds.")
@click.option("--gallery", type=FOLDER, help="Link the units' patterns in this gallery  [default: the shipped one]")
@click.option(
    "--patterns",
    type=click.IntRange(0),
    default=6,
    show_default=True,
    help="Of so many units that add most: what the gallery lacks is made, some seconds each.",
)
@seed_option
@device_option
@force_option
@json_option
def explain(
    model: str,
    query: Path,
    candidate: Path,
    layer: str | None,
    neuron: int | None,
    steps: int,
    out: Path,
    gallery: Path | None,
    patterns: int,
    seed: int,
    device: str,
    force: bool,
    as_json: bool,
) -> None:
    """Why does MODEL score the imitation QUERY and the recording CANDIDATE as it does?

    Draws which cells of both spectrograms speak for and against it, and makes audible what speaks for it, beside the
    clips; says how much either side gave, and whether the drawing can be believed. Of what aligns frames (default,
    dtw): which moments met, and what each meeting adds. OUT/index.html shows it all.
    """
    from iminet_viz import attribution, explanation
    from iminet_viz.alignment import AlignedExplanation
    from iminet_viz.checkpoint import TrainedModel, load_model
    from iminet_viz.errors import GalleryError

    if (layer is None) != (neuron is None):
        raise click.UsageError("--layer and --neuron go together")
    if gallery is not None and not (gallery / "index.html").is_file():
        raise GalleryError(f"{gallery}: is no gallery, it has no index.html")
    paths = dict(zip(ROLES, (query, candidate), strict=True))
    explanation.claim_folder(out, paths, force)
    settings = attribution.ExplainSettings(steps=steps, seed=seed)
    explained: attribution.Explanation | AlignedExplanation
    made = []
    gallery = gallery or explanation.shipped_gallery()
    if layer is None or neuron is None:
        loaded = attribution.load_explainable(model, _device(device))
        explained = attribution.explain_match(loaded, query, candidate, settings)
        if isinstance(loaded, TrainedModel) and isinstance(explained, attribution.Explanation):
            known = explanation.find_patterns(gallery, explained, out) if gallery else {}
            with _progress("patterns of units") as report:
                made = explanation.make_patterns(
                    loaded, explained, known, patterns, seed, lambda n, m: report("", n, m)
                )
    else:
        single = load_model(model, _device(device))
        roles = single.network.inputs_of(layer)
        clips = attribution.load_sides(single, query, candidate, roles)
        explained = attribution.explain_neuron(single, layer, neuron, clips, settings)
    heard = {role: paths[role] for role in explained.inputs}
    figures = explanation.write_explanation(out, explained, heard, model, gallery, force, made)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    if isinstance(explained, AlignedExplanation):
        for own in explained.alignments:
            click.echo(
                f"{own.part}: score {own.score:.3f}: {len(own.path)} meetings add {own.adds.sum():.3f}, the durations "
                f"{own.duration_adds:.3f}; better than {own.beaten:g} of {len(own.rotated)} times begun elsewhere"
            )
        for moment in figures["moments"]:
            spans = ", ".join(f"{role} {moment[role][0]:.2f} to {moment[role][1]:.2f} s" for role in ROLES)
            click.echo(f"  near: {spans}")
    else:
        click.echo(
            f"{explained.target} of {explained.model}: {explained.value:.3f}; of silence {explained.silence:.3f}"
        )
        for role, share in explained.shares.items():
            click.echo(f"  the {role} adds {share:+.3f}")
        for unit, added in explained.units[:5]:
            click.echo(f"  {explained.unit_layer} unit {unit} adds {added:+.3f}")
        for kind, name in (("random", "random masks"), ("level", "maps that know the level alone")):
            beaten = explained.faithfulness.beaten[kind]
            counts = ", ".join(f"in {test} {count:g}" for test, count in beaten.items())
            click.echo(f"  better than so many of {settings.controls} {name}: {counts}")
        click.echo(f"  infidelity {explained.infidelity:.3f}, convergence delta {explained.convergence_delta:+.4f}")
    for warning in (*explained.warnings, *figures["notes"]):
        click.echo(f"  {warning}")
    click.echo(f"Open {(out / 'index.html').resolve().as_uri()}")


@main.command()
@click.argument("pretrained")
@click.argument("scratch")
@click.option("--clips", type=FOLDER, help="Folder of recordings that neurons are matched by.")
@click.option("--out", type=FOLDER, required=True, help="Folder to make; an interrupted comparison is continued.")
@click.option("--neurons", type=click.IntRange(1), default=8, show_default=True, help="Drawn of each layer.")
@click.option("--best", type=click.IntRange(0), default=4, show_default=True, help="Best matched, shown beside them.")
@click.option("--random-nets", type=click.IntRange(0), default=3, show_default=True, help="Nets that never learned.")
@seed_option
@device_option
@force_option
@json_option
@engine_options
def compare(
    pretrained: str,
    scratch: str,
    clips: Path | None,
    out: Path,
    neurons: int,
    best: int,
    random_nets: int,
    seed: int,
    device: str,
    force: bool,
    as_json: bool,
    **engine: Any,
) -> None:
    """Compare the nets PRETRAINED and SCRATCH: do their neurons look as the paper says?

    Matches their neurons, finds inputs that excite them, and judges each claim of the paper's section VII by an effect
    size with an interval, beside nets with random weights. OUT gets a page (index.html), its figures and
    comparison.json. Without --clips the reference activations stored with both models serve.
    """
    from iminet_viz import comparison_report
    from iminet_viz.checkpoint import load_model
    from iminet_viz.comparison import CompareSettings

    settings = CompareSettings(neurons, best, random_nets, seed, _engine(engine))
    models = [load_model(name, _device(device)) for name in (pretrained, scratch)]
    with _progress("% ") as report:

        def share(what: str, done: int, total: int) -> None:
            report(what, 100 * done // max(total, 1), 100)

        found = comparison_report.build_report(models[0], models[1], out, clips, settings, force, share)
    if as_json:
        click.echo(json.dumps({**found.as_dict(), "page": str(out / "index.html")}, indent=2))
        return
    for line in comparison_report.describe(found):
        click.echo(line)
    for layer in found.layers:
        low, high = layer.cka_interval
        click.echo(
            f"  {layer.layer}: {len(layer.twins)} pairs of neurons, correlation {layer.median:.2f} (clips shuffled "
            f"{layer.shuffled:.2f}), CKA {layer.cka:.2f} [{low:.2f}, {high:.2f}]"
        )
    for line in comparison_report.describe_left_out(found):
        click.echo(f"left out: {line}", err=True)
    click.echo(f"Open {(out / 'index.html').resolve().as_uri()}")


study_option = click.option(
    "--study", "study_file", type=FOLDER, help="File of the listening test  [default: in the user's data folder]"
)

# --- the app --------------------------------------------------------------------------------------------------------


@main.command()
@click.option("--index", type=FOLDER, help="Sound library to search  [default: the demo library]")
@click.option("--gallery", type=FOLDER, help="Gallery to browse  [default: the shipped one]")
@click.option(
    "--model", default="default", show_default=True, help="Shipped name or folder of the model that searches."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Another one needs --auth.")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: the first free one from 7860]")
@click.option("--auth", metavar="USER:PASSWORD", help="Ask everybody for it.")
@click.option("--max-upload", type=click.IntRange(1), default=100, show_default=True, help="MB of a sound.")
@study_option
@click.option("--no-browser", is_flag=True, help="Do not open one.")
def app(
    index: Path | None,
    gallery: Path | None,
    model: str,
    host: str,
    port: int | None,
    auth: str | None,
    max_upload: int,
    study_file: Path | None,
    no_browser: bool,
) -> None:
    """Open the app in a browser: search by voice, browse and make patterns, compare, explain.

    It works without a network, and only this machine can reach it, unless --host says otherwise.
    """
    from iminet_viz.app import AppSettings, launch
    from iminet_viz.errors import AppError

    user, colon, password = (auth or "").partition(":")
    if auth is not None and not (user.strip() and colon and password):
        raise AppError("--auth: expected USER:PASSWORD, neither of them empty")
    pair = None if auth is None else (user.strip(), password)
    launch(AppSettings(index, gallery, model, host, port, pair, max_upload, study=study_file, browser=not no_browser))


@main.group()
def study() -> None:
    """Get what the listening test of the app was answered."""


@study.command("export")
@click.argument("out", type=FOLDER)
@study_option
@force_option
def study_export(out: Path, study_file: Path | None, force: bool) -> None:
    """Write every question and answer to OUT, a .csv or .json; the .json holds the results too."""
    from iminet_viz.errors import StudyError
    from iminet_viz.study import KINDS, Study, default_path

    path = study_file or default_path()
    if not path.is_file():
        raise StudyError(f"{path}: no such file; the listening test of the app makes it")
    if out.exists() and not force:
        raise StudyError(f"{out}: exists already; --force replaces it")
    kept = Study(path)
    count = kept.export(out)
    for row in kept.results():
        click.echo(f"{KINDS[row.kind]} {row.right} of {row.n} right. {row.verdict}")
    click.echo(f"{count} questions in {out}")


# --- data sets ------------------------------------------------------------------------------------------------------


@main.group()
def data() -> None:
    """List, fetch and check data sets."""


@data.command("list")
@json_option
def data_list(as_json: bool) -> None:
    """List the data sets that can be read, with licence, citation and where they come from."""
    from iminet_viz.datasets import DATASETS, Remote

    rows = []
    for name, module in DATASETS.items():
        by_command = isinstance(module.SOURCE, Remote)
        source = module.SOURCE.url if by_command else module.SOURCE
        checksums = {}
        if by_command:
            checksums = {module.SOURCE.file_name: module.SOURCE.checksum or None, **module.SOURCE.contents}
        rows.append(
            {
                "name": name,
                "what": str(module.__doc__).splitlines()[0],
                "licence": module.LICENCE,
                "citation": module.CITATION,
                "download": by_command,
                "source": source,
                "checksums": checksums,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['name']}: {row['what']}")
        click.echo(f"    licence: {row['licence']}")
        click.echo(f"    cite: {row['citation']}")
        click.echo(f"    {'download' if row['download'] else 'by hand'}: {row['source']}")
        for file, checksum in row["checksums"].items():
            click.echo(f"    checksum of {file}: {checksum or 'none is published'}")


@data.command("check")
@click.argument("name")
@click.argument("root", type=FOLDER)
@click.option("--subset", "subsets", multiple=True, help="vocalsketch: check only this subset; repeatable.")
@json_option
def data_check(name: str, root: Path, subsets: tuple[str, ...], as_json: bool) -> None:
    """Check the data set NAME in the folder ROOT: every table, and every sound file decoded.

    Each fault is one line. Exit status 1 if there is any.
    """
    from iminet_viz import datasets

    dataset = datasets.find_dataset(name)
    if subsets and not hasattr(dataset, "SUBSETS"):
        raise click.UsageError(f"--subset: {name} has no subsets")
    options = {"subsets": subsets} if subsets else {}
    with _progress("files") as report:
        found = datasets.check(dataset, root, report, **options)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        for fault in found.faults:
            click.echo(f"{fault.file}: {fault.reason}")
        for note in found.notes:
            click.echo(f"note: {note}")
        shortest, median, longest = found.duration_s
        click.echo(f"{found.items} clips or pairs of {found.named} files; {found.files} sound files are there")
        click.echo(f"{found.hours:.2f} hours; {shortest:.2f} to {longest:.2f} s, median {median:.2f} s")
        for what, counts in (("Hz", found.rates), ("channels", found.channels), ("labels", found.labels)):
            click.echo(f"{what}: {', '.join(f'{value} ({count})' for value, count in counts.items()) or 'none'}")
        click.echo(f"{len(found.faults)} faults")
    if found.faults:
        sys.exit(1)


@data.command("download")
@click.argument("name")
@click.argument("root", type=FOLDER)
def data_download(name: str, root: Path) -> None:
    """Fetch the published archive of the data set NAME and unpack it to the new folder ROOT.

    A download that was cut continues when the same command runs again. The archive's checksum is checked, but for
    esc50 and esc10: GitHub packs their archive anew from time to time, so the checksum of its table meta/esc50.csv and
    the CRC-32 of each file in it are checked instead. Of a data set that must be fetched by hand the command says
    where.
    """
    from iminet_viz import datasets

    dataset = datasets.find_dataset(name)
    with _progress("MB") as report:
        datasets.download(dataset, root, lambda what, n, m: report(what, n // 10**6, m // 10**6))
    click.echo(f"{root}: {name}, licence {dataset.LICENCE}; cite {dataset.CITATION}")


@data.command("unpack")
@click.argument("archives", nargs=-1, required=True, type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Folder in which each archive becomes a folder.")
def data_unpack(archives: tuple[Path, ...], out: Path) -> None:
    """Unpack ARCHIVES (zip, tar, tgz), each to a folder of its name in OUT; those that are there already stay.

    No file is written outside of OUT, no link is made, and no folder is left half unpacked.
    """
    from iminet_viz import datasets

    skipped = 0
    with _progress("archives") as report:
        for number, archive in enumerate(archives, start=1):
            target = out / datasets.archive_stem(archive)
            if target.is_dir() and any(target.iterdir()):
                skipped += 1
            else:
                datasets.unpack(archive, target)
            report("", number, len(archives))
    click.echo(f"{len(archives) - skipped} archives unpacked, {skipped} were there: {out}")


@main.group()
def corpus() -> None:
    """Make the demo corpus, a library of synthesised sounds with vocal imitations."""


@corpus.command("make")
@click.argument("folder", type=FOLDER)
@click.option("--count", type=click.IntRange(1), default=10, show_default=True, help="Imitations of each sound.")
@click.option("--workers", type=click.IntRange(1), help="Processes  [default: one a core]")
@seed_option
@force_option
@json_option
def corpus_make(folder: Path, count: int, workers: int | None, seed: int, force: bool, as_json: bool) -> None:
    """Synthesise 240 sounds and their vocal imitations into FOLDER, in the layout of VocalSketch; offline.

    The same seed gives the same files. A run that was interrupted is continued.
    """
    from iminet_viz.datasets import demo

    with _progress("imitations") as report:
        made = demo.make_corpus(folder, seed, count, workers, force, report)
    if as_json:
        figures = {"folder": str(made.folder), "sounds": made.sounds, "imitations": made.imitations}
        new = {"sounds_made": made.sounds_made, "imitations_made": made.imitations_made}
        click.echo(json.dumps(figures | new, indent=2))
        return
    click.echo(
        f"{made.sounds} sounds ({made.sounds_made} made now) and {made.imitations} vocal imitations "
        f"({made.imitations_made} made now): {made.folder}"
    )


# --- the sound library ----------------------------------------------------------------------------------------------


@main.group()
def index() -> None:
    """Make a library of sounds that can be searched by voice, and keep it up."""


@index.command("add")
@click.argument("index_folder", metavar="INDEX", type=FOLDER)
@click.argument("folders", nargs=-1, required=True, type=FOLDER)
@click.option("--model", help="What will search it  [default: that of the index; the default model for a new one]")
@click.option("--workers", type=click.IntRange(0), help="Processes that decode; 0: in this one  [default: one a core]")
@click.option("--licence", metavar="TEXT", help="Of all these sounds  [default: from LICENSE or sources.json by them]")
@click.option("--retry", is_flag=True, help="Try files again that could not be indexed.")
@device_option
@engine_option
@address_option
@json_option
def index_add(
    index_folder: Path,
    folders: tuple[Path, ...],
    model: str | None,
    workers: int | None,
    licence: str | None,
    retry: bool,
    device: str,
    engine: str,
    address: str | None,
    as_json: bool,
) -> None:
    """Add the sounds of FOLDERS to INDEX, a folder that is made if need be.

    A folder that is an index itself stands for the files it lists, with their licences: so another model can search
    them too.

    What is there and unchanged is not read; what was changed is replaced; what cannot be indexed is listed with the
    reason. An interrupted run goes on when the same command runs again. Files that were deleted stay until index
    remove --missing.
    """
    from iminet_viz.index import is_index, open_index

    if device not in ("auto", "cpu"):
        _device(device)  # loads torch, which nothing needs where nothing is new
    if model is None and not is_index(index_folder):
        model = "default"
    with contextlib.ExitStack() as closing:
        if engine == "ray":
            from iminet_viz import cluster

            if device not in ("auto", "cpu"):
                raise click.UsageError("--engine ray embeds on the CPUs of its nodes")
            closing.enter_context(contextlib.redirect_stdout(sys.stderr))  # what Ray says of nodes that are lost
            library: Library = closing.enter_context(cluster.open_index(index_folder, model, address=address))
        elif address is not None:
            raise click.UsageError("--address goes with --engine ray")
        else:
            library = open_index(index_folder, model, device)
        report = closing.enter_context(_progress(""))
        added = library.add(folders, workers=workers, licence=licence, retry=retry, report=report)
    figures = added.as_dict()
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        for failure in (*figures["failures"], *figures["unlisted"]):
            click.echo(f"not indexed: {failure['file']}: {failure['reason']}", err=True)
        click.echo(
            f"{added.found} files: {added.new} new, {added.replaced} replaced, {added.touched} touched, "
            f"{added.unchanged} unchanged, {added.failed} not indexed; {added.windows} windows embedded"
        )
        if added.windows:
            rates = f"{figures['files_per_s']:.1f} files/s, {figures['audio_s_per_s']:.0f} s of sound a second"
            share = "" if engine == "ray" else f", {figures['network_share']:.0%} of it in the network"
            click.echo(f"{added.wall_s:.1f} s, {rates}{share}")
    if added.interrupted:
        click.echo("Interrupted; what is finished is in the index, the same command goes on from there.", err=True)
        sys.exit(130)


@index.command("status")
@click.argument("index_folder", metavar="INDEX", type=FOLDER)
@json_option
def index_status(index_folder: Path, as_json: bool) -> None:
    """Count what INDEX holds, and what could not be indexed, by reason."""
    from iminet_viz.index import open_index

    figures = open_index(index_folder).status()
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    settings = figures["settings"]
    click.echo(f"{figures['files']} files, {figures['windows']} windows, {figures['hours']:.2f} hours, ", nl=False)
    click.echo(f"{figures['labels']} labels, {figures['bytes'] / 1e6:.1f} MB, version {figures['version']}")
    click.echo(f"model {settings['model']} ({settings['fingerprint']}), windows of {settings['window_s']:.2f} s")
    click.echo(f"{figures['failed']} files not indexed")
    for row in figures["reasons"]:
        click.echo(f"    {row['files']}: {row['reason']}; {', '.join(row['examples'])}")


@index.command("remove")
@click.argument("index_folder", metavar="INDEX", type=FOLDER)
@click.argument("paths", nargs=-1, type=FOLDER)
@click.option("--missing", is_flag=True, help="What is not on the disk any more, below PATHS where there are any.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@json_option
def index_remove(index_folder: Path, paths: tuple[Path, ...], missing: bool, dry_run: bool, as_json: bool) -> None:
    """Remove files, and all below folders, from INDEX; nothing is deleted but its rows."""
    from iminet_viz.audio import one_line
    from iminet_viz.index import open_index

    if not paths and not missing:
        raise click.UsageError("name PATHS, or --missing")
    removed = open_index(index_folder).remove(paths, missing=missing, dry_run=dry_run)
    names = [one_line(Path(path)) for path in removed]
    if as_json:
        click.echo(json.dumps({"removed": names, "dry_run": dry_run}, indent=2))
        return
    for name in names:
        click.echo(name)
    click.echo(f"{len(names)} files {'would be ' if dry_run else ''}removed", err=True)


@index.command("verify")
@click.argument("index_folder", metavar="INDEX", type=FOLDER)
@click.option("--deep", is_flag=True, help="Decode every file, compare its samples, embed some windows again.")
@json_option
def index_verify(index_folder: Path, deep: bool, as_json: bool) -> None:
    """Check that every row of INDEX is complete and the files are as they were; each problem is one line.

    Exit status 1 if there is any.
    """
    from iminet_viz.index import open_index

    with _progress("files") as report:
        problems = open_index(index_folder).verify(deep=deep, report=report)
    if as_json:
        click.echo(json.dumps({"problems": problems}, indent=2))
    else:
        for problem in problems:
            click.echo(problem)
        click.echo(f"{len(problems)} problems", err=True)
    if problems:
        sys.exit(1)


@index.command("compact")
@click.argument("index_folder", metavar="INDEX", type=FOLDER)
@click.option(
    "--keep-minutes",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Age of versions that are kept, for those who read them now.",
)
@json_option
def index_compact(index_folder: Path, keep_minutes: float, as_json: bool) -> None:
    """Join the small files of INDEX and delete its old versions."""
    from datetime import timedelta

    from iminet_viz.index import open_index

    figures = open_index(index_folder).compact(timedelta(minutes=keep_minutes))
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    click.echo(f"{figures['bytes_before'] / 1e6:.1f} MB before, {figures['bytes_after'] / 1e6:.1f} MB now")


@index.command("duplicates")
@click.argument("index_folder", metavar="INDEX", type=FOLDER)
@click.option(
    "--similar",
    type=click.FloatRange(0, 1, min_open=True),
    help="Also group what the model hears alike: the least cosine of stored values. 0.995 finds copies in "
    "other rates and formats.",
)
@json_option
def index_duplicates(index_folder: Path, similar: float | None, as_json: bool) -> None:
    """Group the files of INDEX that hold the same samples, whatever they are called and however they are packed."""
    from iminet_viz.audio import one_line
    from iminet_viz.index import open_index

    groups = [[one_line(Path(x)) for x in group] for group in open_index(index_folder).duplicates(similar)]
    if as_json:
        click.echo(json.dumps({"groups": groups}, indent=2))
        return
    for number, group in enumerate(groups):
        click.echo("\n".join(group) + ("\n" if number < len(groups) - 1 else ""))
    click.echo(f"{len(groups)} groups", err=True)


# --- shared ---------------------------------------------------------------------------------------------------------


def _device(name: str) -> str:
    import torch

    from iminet_viz.errors import TrainingError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError):
        raise TrainingError(f"device {name!r} is not available here") from None
    return name


class _progress:  # noqa: N801 (used as a function)
    """A bar with the time left on stderr; call it with (what, done, all)."""

    def __init__(self, unit: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit}  {{task.description}}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task("", total=None)

    def __enter__(self) -> _progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        self.bar.start()  # not before there is something to show
        self.bar.update(self.task, description=what, completed=done, total=total)


def _print_metrics(metrics: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(metrics, indent=2))
        return
    from iminet_viz.evaluation import describe_metrics

    for line in describe_metrics(metrics):
        click.echo(line)


if __name__ == "__main__":
    run()
