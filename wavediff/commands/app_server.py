"""Serving the page, on one address, with nothing loaded from another."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wavediff.errors import UserError, shorten

# Gradio's own scripts need eval; nothing may come from, or go to, another server.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; "
    "form-action 'self'; base-uri 'self'"
)
LAST_SECONDS = 1  # that open connections have at the end
OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


def listening(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 chooses one.

    Raises:
        UserError: if the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen()
    except (OSError, OverflowError, UnicodeError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot serve at {shorten(host)} port {port}: {shorten(reason)}. Give another --host "
            "or --port."
        ) from error
    return found


def require_gradio() -> None:
    """See that Gradio is installed, and keep it from the network.

    Raises:
        UserError: where it is not.
    """
    os.environ.update(OFFLINE)  # before it is imported
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(
            'wavediff app needs the package gradio: pip install "wavediff[app]"'
        ) from error


@contextmanager
def upload_folder() -> Iterator[None]:
    """Have Gradio, when it is imported, keep uploads and results in a folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="wavediff-app-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["GRADIO_TEMP_DIR"]


def application(page: Any, style: str, head: str, megabytes: float) -> Any:
    """The web application of a page."""
    import gradio as gr
    from fastapi import FastAPI, Request

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def policy(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    return gr.mount_gradio_app(
        app,
        page,
        "/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=int(megabytes * (1 << 20)),
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(font=fonts[0], font_mono=fonts[1]),
        css=style,
        head=head,
    )


def serve(app: Any, place: socket.socket) -> None:
    """Serve an application until Ctrl-C or SIGTERM."""
    import uvicorn

    # a job that is stopped leaves an asynchronous generator of Gradio's behind, which is reported
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        # pages that are open at the end are reported with tracebacks
        log_level="error" if os.environ.get("WAVEDIFF_DEBUG") else "critical",
        access_log=False,
        timeout_graceful_shutdown=LAST_SECONDS,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[place])
