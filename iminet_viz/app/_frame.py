"""The frame of the app: header, tabs, the links between them, and the server."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import json
import secrets
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
from gradio import route_utils
from starlette.middleware import Middleware

from iminet_viz.app._context import Context, Hook, in_a_sentence, tag
from iminet_viz.app._gate import LOCAL, Gate
from iminet_viz.app._theme import make_theme, read_asset
from iminet_viz.errors import IminetVizError

NAME = "iminet-viz"
PURPOSE = "Look into and listen to networks that search sounds by voice."
TABS = {  # module, which is also the tab's name in addresses: title
    "search": "Search",
    "patterns": "Patterns",
    "make": "Make a pattern",
    "compare": "Compare",
    "explain": "Explain",
    "study": "Listen test",
}
CLEAN_S, OLD_S = 600, 3600  # how often uploads are looked through, and at which age they go
MOST_AT_ONCE = 2  # of each function that does not say otherwise
MOST_PAGES = 200  # whose state is kept: gradio copies the settings of all components for each, and never forgets them


class OwnUpload(route_utils.GradioUploadFile):
    """An upload in a folder of its own: gradio puts equal files in one, and who used theirs would remove another's."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.sha.update(secrets.token_bytes(16))


route_utils.GradioUploadFile = OwnUpload  # type: ignore[misc]


def build_app(context: Context) -> gr.Blocks:
    """Put the header and the tabs together, and wire the links between them."""
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    present = [name for name in TABS if importlib.util.find_spec(f"iminet_viz.app.{name}")]
    with gr.Blocks(title=NAME, analytics_enabled=False, delete_cache=(CLEAN_S, OLD_S), fill_width=True) as app:
        gr.HTML(_header(), elem_id="iv-header", js_on_load=None)
        tabs = gr.Tabs(elem_id="iv-tabs")
        with tabs:
            for name in present:
                with gr.Tab(TABS[name], id=name, elem_id=f"iv-tab-{name}") as tab:
                    importlib.import_module(f"iminet_viz.app.{name}").build(context)
                # a reload comes back to the tab; a link, which names more than it, stays
                tab.select(None, js=f"() => {{ if (window.ivSelected) window.ivSelected({json.dumps(name)}); }}")
                for hook in context.hooks:
                    if (hook.moment, hook.tab) == ("select", name):
                        tab.select(in_a_sentence(hook.function), list(hook.inputs), list(hook.outputs), **quiet)
        address = gr.HTML(
            "", visible="hidden", js_on_load=read_asset("address.js").replace("__TABS__", json.dumps(present))
        )

        def select(event: gr.EventData) -> Any:
            return gr.Tabs(selected=_query_of(event)["tab"])

        address.visit(select, None, tabs, queue=False, **quiet)
        for hook in context.hooks:
            if hook.moment == "visit" and hook.tab in present:
                _wire(address, hook)
            elif hook.moment == "open":
                app.load(hook.function, None, list(hook.outputs), **quiet)
            elif hook.moment == "leave":
                app.unload(hook.function)

        def leave(request: gr.Request) -> None:
            context.uploads.leave(str(request.session_hash))

        app.unload(leave)
    app.queue(max_size=context.settings.queue_size, default_concurrency_limit=MOST_AT_ONCE)
    return app


def _wire(address: Any, hook: Hook) -> None:
    function = in_a_sentence(hook.function)

    def arrive(event: gr.EventData) -> Any:
        return function(_query_of(event))

    def arrive_by_and_by(event: gr.EventData) -> Any:
        yield from function(_query_of(event))

    arrived = arrive_by_and_by if inspect.isgeneratorfunction(hook.function) else arrive
    listener = getattr(address, hook.tab)
    listener(arrived, None, list(hook.outputs), show_progress="hidden", api_visibility="private")


def _query_of(event: Any) -> dict[str, str]:
    return dict(parse_qsl(str(event._data.get("query", "")).lstrip("?"), max_num_fields=20))


def _header() -> str:
    button = tag("button", "◐", type="button", data_iv="theme", class_="iv-icon", aria_label="Light or dark theme")
    return tag(
        "header",
        tag("div", tag("h1", NAME), tag("p", PURPOSE), class_="iv-titles"),
        button,
        tag("p", class_="iv-sr", id="iv-said", role="status"),
        class_="iv-header",
    )


def start_app(app: gr.Blocks, context: Context) -> None:
    """Serve the app from threads of its own; only what the context serves can be had."""
    settings = context.settings
    gate: dict[str, Any] = {"roots": context.roots, "uploads": context.folder / "uploads", "finders": context.finders}
    hosts = {*LOCAL, settings.host} if settings.auth is None else ()
    app.launch(
        server_name=settings.host,
        server_port=settings.port,
        auth=settings.auth,
        inbrowser=settings.browser,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        _frontend=False,  # it would ask itself for its page, which takes time, and on a busy machine give up
        show_error=False,  # messages for users are gr.Error; others may name paths
        state_session_capacity=MOST_PAGES,
        max_file_size=f"{settings.max_upload_mb}mb",
        allowed_paths=context.allowed,  # the same list: a folder may be added while the app runs
        blocked_paths=[],
        enable_monitoring=False,
        run_history=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        favicon_path=Path(__file__).with_name("icon.png"),
        footer_links=["api"],  # its settings hold a theme, which our button does, and offers to record the screen
        app_kwargs={"middleware": [Middleware(Gate, **gate, hosts=hosts)]},
        theme=make_theme(),
        css=read_asset("app.css") + read_asset("judge.css"),
        head=f"<script>{read_asset('app.js')}</script>",
    )
    threading.Thread(target=_warm_up, args=(context,), daemon=True).start()


def _warm_up(context: Context) -> None:
    for hook in context.hooks:
        if hook.moment == "start":
            with contextlib.suppress(IminetVizError):  # said again to whoever asks for it
                hook.function()
