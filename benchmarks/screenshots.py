"""Pictures of every tab of the app, light, dark and as wide as a phone, in Debian's Chromium.

What is searched, explained and judged is the demo library, so nothing in a picture is anybody's recording. Three of
them are those of the README (``--docs``).

::

    .venv/bin/python benchmarks/screenshots.py --out SHOTS
    .venv/bin/python benchmarks/screenshots.py --docs
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from app_server import CHROMIUM, CHROMIUM_FLAGS, running_app  # noqa: E402

WIDE, PHONE = {"width": 1280, "height": 860}, {"width": 400, "height": 850}
LOOKS = {"light": (WIDE, "light"), "dark": (WIDE, "dark"), "phone": (PHONE, "light")}
DOCS = {"search": "light", "patterns": "dark", "explain": "light"}
LARGEST = 300_000  # bytes of a picture in the documentation
NEURON = "tl-iminet-conv123/recording.conv3/17"
IMITATED = "hen_clucking.flac"
WAIT_MS = 180_000


def make_demo(folder: Path) -> tuple[Path, Path, Path]:
    """The demo library as an index, a sound of it, and a synthetic voice whose imitation finds this sound first."""
    from iminet_viz.app._sounds import make_demo_sound
    from iminet_viz.audio import find_audio, read_native, save_audio
    from iminet_viz.datasets._demo.concepts import CONCEPTS
    from iminet_viz.imitator import SAMPLE_RATE, analyse, imitate
    from iminet_viz.retrieval import open_index

    sounds, index = folder / "sounds", folder / "Demo library"
    for concept in CONCEPTS:
        make_demo_sound(sounds, concept)
    library = open_index(index, "voice-search")
    library.add(sounds, workers=0)
    (sound,) = (path for path in find_audio(sounds) if path.name == IMITATED)
    voice = folder / "my voice.wav"
    for seed in range(50):  # what is shown is a search that succeeds
        imitated = imitate(analyse(*read_native(sound)), seed).waveform
        save_audio(voice, imitated / max(1.0, float(np.abs(imitated).max())), SAMPLE_RATE)
        if Path(library.search(voice, 1).hits[0].path).name == IMITATED:
            return index, sound, voice
    raise click.ClickException(f"no imitation of {IMITATED} is found")


def search(page: Any, voice: Path, sound: Path) -> None:
    page.wait_for_selector("#iv-shelf code")
    page.set_input_files("#iv-recorder input[type=file]", voice)
    page.wait_for_selector("#iv-hits .iv-hit")
    page.wait_for_function("document.querySelectorAll('#iv-hits .iv-outline path').length >= 6")


def patterns(page: Any, voice: Path, sound: Path) -> None:
    page.wait_for_selector("#iv-pattern h2")
    page.wait_for_function("[...document.querySelectorAll('#iv-pattern img')].every((image) => image.complete)")


def make(page: Any, voice: Path, sound: Path) -> None:
    page.wait_for_selector("#iv-make")
    page.click("#iv-make")
    page.wait_for_selector("#iv-made .iv-play")
    page.wait_for_selector("text=Done.")


def compare(page: Any, voice: Path, sound: Path) -> None:
    page.wait_for_selector(".iv-twin")


def explain(page: Any, voice: Path, sound: Path) -> None:
    for place, clip in (("query", voice), ("candidate", sound)):
        page.set_input_files(f"#iv-explain-{place} input[type=file]", clip)
        page.wait_for_selector(f"#iv-explain-{place} #waveform", state="attached")
    page.click("#iv-explain-run")
    page.wait_for_selector(".iv-explained")


def study(page: Any, voice: Path, sound: Path) -> None:
    page.click("#iv-study-start")
    page.wait_for_selector("[data-question]")


TABS: dict[str, Callable[[Any, Path, Path], None]] = {
    own.__name__: own for own in (search, patterns, make, compare, explain, study)
}


def shoot(browser: Any, url: str, tab: str, look: str, voice: Path, sound: Path, out: Path, whole: bool) -> None:
    size, scheme = LOOKS[look]
    context = browser.new_context(viewport=size, color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(f"{url}?tab={tab}" + f"&id={NEURON}" * (tab == "patterns"))
    page.wait_for_selector("#iv-header h1")
    if whole:
        page.wait_for_timeout(1000)
        page.screenshot(path=out / f"{tab}-{look}-empty.png", full_page=True)
    TABS[tab](page, voice, sound)
    page.wait_for_timeout(700)  # transitions of the theme
    if tab == "explain" and not whole:
        page.locator(".iv-explained h2").evaluate("title => { title.scrollIntoView(); scrollBy(0, -24); }")
    page.screenshot(path=out / f"{tab}-{look}.png", full_page=whole)
    context.close()


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder of all pictures, whole pages.")
@click.option("--docs", is_flag=True, help="Make those of the README, in docs/.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder of the demo library, to be used again.")
@click.option("--tab", "tabs", multiple=True, type=click.Choice(list(TABS)), help="Only these.")
def main(out: Path | None, docs: bool, work: Path | None, tabs: tuple[str, ...]) -> None:
    """Start the app on the demo library and take pictures."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    wanted = [(tab, look) for tab in tabs or TABS for look in LOOKS] if out else []
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        folder = work.absolute() if work else Path(temporary)
        index, sound, voice = make_demo(folder)
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)
        with running_app("--index", index) as app:
            for tab, look in wanted:
                assert out is not None
                out.mkdir(parents=True, exist_ok=True)
                shoot(browser, app.url, tab, look, voice, sound, out, True)
                click.echo(f"{tab} {look}")
            for tab, look in DOCS.items() if docs else ():
                shoot(browser, app.url, tab, look, voice, sound, Path(temporary), False)
                path = ROOT / "docs" / f"app-{tab}.png"
                with Image.open(Path(temporary) / f"{tab}-{look}.png") as image:
                    image.convert("RGB").save(path, optimize=True)
                    if path.stat().st_size > LARGEST:
                        image.convert("RGB").quantize(256).save(path, optimize=True)
                if path.stat().st_size > LARGEST:
                    raise click.ClickException(f"{path.name} has {path.stat().st_size} bytes, at most {LARGEST}")


if __name__ == "__main__":
    main()
