"""The command evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import rich.markup
import typer
from rich.table import Table

from sarcodec.cli import terminal
from sarcodec.text import numerals

if TYPE_CHECKING:
    pass


def evaluate(
    model: Annotated[str, typer.Argument(help="A checkpoint, or the name of a shipped model.")],
    images: Annotated[
        list[Path], typer.Argument(help="GeoTIFFs, or folders of them; .sarc files stand for the images they hold.")
    ],
    steps: Annotated[list[int] | None, typer.Option("--step", help="The model's step; may be given again.")] = None,
    peers: Annotated[bool, typer.Option(help="JPEG 2000 and JPEG XL at the same bytes beside it.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the rows as CSV or JSON.")] = None,
    overwrite: terminal.Overwrite = False,
    as_json: terminal.AsJson = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Measure a model on images: every band to a real file and back, all metrics, and the bytes."""
    from sarcodec.evaluation import roundtrip
    from sarcodec.scene import transcoding

    if output is not None:
        roundtrip.check_output(output, overwrite=overwrite)
    rows = []
    with terminal.bar("{task.fields[note]}", quiet or as_json) as progress:
        task = progress.add_task("evaluate", note="", total=None)
        for row in roundtrip.evaluate(model, images, steps=steps or [None], with_peers=peers):
            rows.append(row)
            progress.update(task, advance=1, note=f"{row.image} {row.band} · {row.codec}")
    for path in filter(transcoding.is_file, images):
        terminal.warn(f"{path}: is measured as it was coded, which is easier to code again than its original")
    if output is not None:
        roundtrip.write_rows(output, rows, overwrite=overwrite)
    if as_json:
        terminal.print_json([row.to_dict() for row in rows])
        return
    terminal.say(_evaluation_table(rows + roundtrip.means(rows)))


def _evaluation_table(rows: list[Any]) -> Table:
    columns = ("psnr_db", "ssim", "enl_ratio", "epi", "gradient_correlation", "bias_median_abs_db", "water_iou")
    table = Table("image", "band", "codec", "step", "bpp", "ratio", *columns)
    for row in rows:
        values = row.metrics.to_dict()
        table.add_row(
            rich.markup.escape(row.image),
            rich.markup.escape(row.band),
            row.codec,
            str(row.step),
            numerals.fixed(row.bits_per_pixel, 3),
            f"{row.ratio:,.1f}",
            *(numerals.fixed(values[name], 3) for name in columns),
        )
    return table
