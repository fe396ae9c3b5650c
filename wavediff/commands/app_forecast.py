"""What the page does with a table: forecast its series."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from wavediff.commands.app_jobs import Result, optional, result, uploaded
from wavediff.commands.app_models import Progress, Setting, chosen_device
from wavediff.errors import UserError

QUANTILES = (0.1, 0.5, 0.9)
PLOTTED = 8  # panels of a plot, as in wavediff.series.plot
LISTED = 200  # rows of the table on the page
MOST_HORIZON = 1000


def forecast(
    upload: str,
    horizon: str,
    time: str,
    item: str,
    targets: str,
    kind: str,
    setting: Setting,
    folder: Path,
    progress: Progress,
) -> Result:
    """Forecast the series of a CSV or Parquet file.

    Args:
        horizon: steps; empty for a season.
        time, item, targets, kind: of ``Forecaster``; names that are empty are detected.
    """
    from wavediff.series.forecaster import Forecaster
    from wavediff.series.writing import as_columns, write_table

    source = uploaded(upload, "a CSV or Parquet file")
    steps = optional("the number of steps", horizon, 0, MOST_HORIZON)
    if steps is not None and steps != int(steps):
        raise UserError(f"the number of steps is {steps:g}: give a whole number, or nothing")
    wanted = [name.strip() for name in targets.split(",") if name.strip()]
    forecaster = Forecaster(
        None if steps is None else int(steps),
        checkpoint=setting.forecaster,
        time=time.strip() or None,
        item=item.strip() or None,
        targets=wanted or None,
        kind=kind,  # type: ignore[arg-type]
        device=str(chosen_device(setting)),
        progress=False,
    )
    samples = forecaster.sample(source)
    assert forecaster.series is not None
    frame = forecaster.frame(samples, QUANTILES, as_written=True)
    table = result(folder, source, "forecast", ".csv")
    write_table(as_columns(frame, forecaster.series), table)
    plot = result(folder, source, "forecast", ".png")
    forecaster.plot(samples, plot)
    notes = list(forecaster.notes)
    count = samples.shape[1] * samples.shape[3]
    if count > PLOTTED:
        notes.append(f"the plot shows the first {PLOTTED} of {count} series")
    if len(frame) > LISTED:
        notes.append(f"the table shows the first {LISTED} of {len(frame)} rows")
    assessed = forecaster.assessment
    sentences = [] if assessed is None else assessed.sentences()
    return Result(shown(sentences, plot, table), [table, plot], notes)


def shown(sentences: Sequence[str], plot: Path, table: Path) -> str:
    """The forecast as HTML: what is known of it, the plot, and the first rows of the table."""
    from wavediff.evaluation.comparison import Parts, escaped
    from wavediff.evaluation.web import base64

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f"<{tag}>{escaped(text)}</{tag}>" for text in texts)

    with open(table, encoding="utf-8", newline="") as file:
        head, *rows = islice(csv.reader(file), LISTED + 1)
    return Parts("forecast.html")(
        "forecast",
        sentences="".join(f"<p>{escaped(sentence)}</p>" for sentence in sentences),
        picture=base64(plot.read_bytes()),
        head=cells("th", head),
        rows="".join(f"<tr>{cells('td', row)}</tr>" for row in rows),
    )
