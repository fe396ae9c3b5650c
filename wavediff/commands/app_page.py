"""The page of ``wavediff app``: a tab for each task, and what happens in it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from wavediff.commands.app_forecast import forecast
from wavediff.commands.app_jobs import Result
from wavediff.commands.app_models import Setting
from wavediff.commands.app_restore import RESTORATIONS, restore
from wavediff.commands.app_sound import NO_LIMIT, clean, vocode
from wavediff.commands.app_worker import Worker
from wavediff.errors import UserError, shorten
from wavediff.evaluation.web import RECORDING, RECORDING_STYLE, WEB, joined
from wavediff.inputs import TABLE_SUFFIXES
from wavediff.series.kinds import KINDS

KEPT_SECONDS = 3600  # that files are kept
CLEANED_SECONDS = 300  # from one removal of old files to the next
NO_GENERATOR = (
    "There is no model for this yet: restoring needs a generator, and none is bundled. Train one "
    "(<code>wavediff train recipe=kathleen_prior</code>), then start the page by <code>wavediff "
    "app --generator runs/kathleen_prior</code>."
)


@dataclass(frozen=True)
class Limits:
    """What the page takes.

    Attributes:
        megabytes: of an upload.
        job_seconds: that a job may take.
        waiting: jobs that may wait.
    """

    megabytes: float
    job_seconds: float
    waiting: int


class Page:
    """The page and its jobs.

    Args:
        worker: does the jobs.
        setting: of all jobs.
        limits: of uploads and jobs.
    """

    def __init__(self, worker: Worker, setting: Setting, limits: Limits) -> None:
        self.worker, self.setting, self.limits = worker, setting, limits

    def blocks(self) -> gr.Blocks:
        """The page as Gradio has it."""
        page = gr.Blocks(
            title="wavediff",
            analytics_enabled=False,
            delete_cache=(CLEANED_SECONDS, KEPT_SECONDS),
        )
        with page:
            gr.HTML(f"<h1>wavediff</h1><p>{self.rules()}</p>")
            with gr.Tabs():
                with gr.Tab("Clean"):
                    self.clean()
                with gr.Tab("Vocode"):
                    self.vocode()
                with gr.Tab("Restore"):
                    self.restore()
                with gr.Tab("Forecast"):
                    self.forecast()
        page.queue(max_size=self.limits.waiting, api_open=False)
        return page

    def rules(self) -> str:
        """What is taken."""
        from wavediff.evaluation.comparison import duration

        return (
            f"Recordings of up to {duration(self.setting.seconds)}, files of up to "
            f"{self.limits.megabytes:g} MB, jobs of up to {duration(self.limits.job_seconds)}, one "
            "at a time. Everything is computed on this machine; files are removed after an hour."
        )

    def clean(self) -> None:
        """Sound to clean sound."""
        gr.HTML(f"Denoises speech with {escape(self.setting.enhancer)}.")
        sound = self.sound()
        strength = gr.Slider(
            0,
            NO_LIMIT,
            NO_LIMIT,
            step=1,
            label=f"Attenuate noise by at most (dB; {NO_LIMIT:g} is no limit)",
        )
        self.job("Clean", clean, [sound, strength])

    def vocode(self) -> None:
        """Sound to its mel to sound."""
        gr.HTML(
            "Computes the mel spectrogram of a recording, and synthesises it again from that "
            f"alone with {escape(self.setting.vocoder)}: what a vocoder does for a TTS system."
        )
        self.job("Vocode", vocode, [self.sound()], downloads=2)

    def restore(self) -> None:
        """Fill gaps, extend the bandwidth, declip."""
        if self.setting.generator is None:
            gr.HTML(f"<p>{NO_GENERATOR}</p>", elem_classes="outcome")
            return
        gr.HTML("Samples what is missing from a generator, given what is there.")
        sound = self.sound()
        what = gr.Radio(RESTORATIONS, value=RESTORATIONS[0], label="What to do")
        gaps = gr.Textbox(
            label="Gaps, from second to second", placeholder="such as 1.2:1.5, 3.05:3.1"
        )
        cutoff = gr.Textbox(
            label="Complete up to (Hz)",
            placeholder="empty: 0.45 of its sample rate",
            visible=False,
        )
        threshold = gr.Textbox(
            label="Clipping level (0 to 1)", placeholder="empty: detected", visible=False
        )
        seed = gr.Number(label="Seed: each gives another result", value=0, precision=0)
        what.change(
            lambda chosen: [gr.update(visible=chosen == each) for each in RESTORATIONS],
            what,
            [gaps, cutoff, threshold],
            queue=False,
            api_visibility="private",
        )
        self.job("Restore", restore, [sound, what, gaps, cutoff, threshold, seed])

    def forecast(self) -> None:
        """A table to its forecast."""
        gr.HTML(
            "Forecasts the series of a table, and checks the forecast on their last windows beside "
            "seasonal naive (repeat the last season)."
        )
        table = gr.File(label="CSV or Parquet", file_types=list(TABLE_SUFFIXES))
        horizon = gr.Textbox(label="Steps to forecast", placeholder="empty: a season")
        with gr.Accordion("Columns", open=False):
            times = gr.Textbox(label="Column of times", placeholder="empty: detected")
            item = gr.Textbox(label="Column that names the series", placeholder="empty: detected")
            targets = gr.Textbox(
                label="Columns to forecast, separated by commas",
                placeholder="empty: all with numbers",
            )
            kind = gr.Radio(KINDS, value="auto", label="Values")
        self.job(
            "Forecast",
            forecast,
            [table, horizon, times, item, targets, kind],
            downloads=2,
        )

    def sound(self) -> gr.Audio:
        """The input of a recording."""
        return gr.Audio(
            sources=["upload", "microphone"], type="filepath", label="Recording", buttons=[]
        )

    def job(
        self,
        verb: str,
        function: Callable[..., Result],
        inputs: Sequence[Any],
        downloads: int = 1,
    ) -> None:
        """Buttons that start and stop a job, and its results."""
        with gr.Row():
            start = gr.Button(verb, variant="primary", scale=5)
            stop = gr.Button("Stop", scale=1, min_width=80)
        status = gr.HTML(elem_classes="outcome", min_height=48)
        shown = gr.HTML(apply_default_css=False, js_on_load=None)
        with gr.Row():
            files = [gr.DownloadButton(visible=False) for _ in range(downloads)]
        outputs = [status, shown, *files]
        hidden = [gr.DownloadButton(visible=False)] * downloads

        def work(*values: Any) -> Iterator[list[Any]]:
            # a text that was never on the screen has no value yet
            values = tuple("" if value is None else value for value in values)
            yield from self.work(partial(function, *values, self.setting), downloads)

        working = start.click(
            work,
            inputs,
            outputs,
            show_progress="full",  # the place in the queue
            show_progress_on=[status],
            concurrency_id="jobs",
            concurrency_limit=1,
            api_visibility="private",
        )
        stop.click(
            lambda: [say("Stopped."), "", *hidden],
            None,
            outputs,
            cancels=[working],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def work(self, job: Callable[..., Result], downloads: int) -> Iterator[list[Any]]:
        """Do a job; yields the status, what is shown, and the files, again and again."""
        same = [gr.skip()] * (1 + downloads)
        begun = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="wavediff-"))
        try:
            yield [busy(0), "", *[gr.DownloadButton(visible=False)] * downloads]
            run = self.worker.run(partial(job, folder), self.limits.job_seconds)
            result = None
            with closing(run):
                while result is None:
                    try:
                        share = next(run)
                    except StopIteration as end:
                        result = end.value
                    else:
                        yield [busy(share), *same]
            files = [
                gr.DownloadButton(f"Download {shorten(file.name, 40)}", file, visible=True)
                for file in result.files
            ]
            done = f"Done in {time.monotonic() - begun:.1f} s."
            yield [say(done, *result.notes), result.page, *files]  # the files are copied
        except UserError as error:
            yield [say(str(error), error=True), *same]
        except Exception as error:
            what = f"{type(error).__name__}: {shorten(error, 200)}"
            print(f"error: unexpected {what}", file=sys.stderr, flush=True)
            yield [say(f"this failed unexpectedly ({what})", error=True), *same]
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def say(*sentences: str, error: bool = False) -> str:
    """Sentences for the status of a tab."""
    attributes = 'class="refused" role="alert"' if error else 'role="status"'
    return "".join(f"<p {attributes}>{escape(sentence)}</p>" for sentence in sentences)


def busy(share: float) -> str:
    """A bar for the status of a tab; without a share it moves only."""
    value = f' value="{min(share, 1):.3f}"' if share > 0 else ""
    return f'<p role="status">Working ...</p><progress aria-label="Progress"{value}></progress>'


def head() -> str:
    """The scripts of the players."""
    return f'<script type="module">{joined(*RECORDING, WEB / "app.js")}</script>'


def style() -> str:
    """Of players and tables."""
    return joined(RECORDING_STYLE, WEB / "app.css")
