"""What a source is taken for, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sarcodec import errors, radiometry
from sarcodec.codec import layout as codec_layout
from sarcodec.codec import validity
from sarcodec.files import vsi
from sarcodec.raster import arrays, geotiff, labelled, safe
from sarcodec.raster import info as raster_info
from sarcodec.scene import transcoding
from sarcodec.text import numerals

Opened = (
    geotiff.RasterReader | safe.ProductReader | transcoding.FileSource | arrays.ArraySource | labelled.LabelledSource
)
"""A source that is open."""


@dataclass(frozen=True)
class Decision:
    """What a source was taken for: its quantity and why, its nodata value, and the count of its pixels."""

    quantity: radiometry.Quantity
    reason: str
    nodata: float | None = field(compare=False)  # NaN is not equal to itself
    tally: validity.Tally

    def __str__(self) -> str:
        """Return one line for people."""
        name = {"db": "dB", "dn": "amplitude DN"}.get(self.quantity.value, self.quantity.value)
        nodata = "none" if self.nodata is None else numerals.exact(self.nodata)
        valid = numerals.significant(100 * self.tally.valid_share)
        return f"quantity: {name} ({self.reason}), valid {valid} %, nodata {nodata}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        shares = {"valid_share": self.tally.valid_share, "lost_share": self.tally.lost_share}
        return {"quantity": self.quantity.value, "quantity_reason": self.reason, "nodata": self.nodata, **shares}


@dataclass(frozen=True)
class Size:
    """Size of a compressed file against its pixels."""

    bytes: int
    bands: int
    height: int
    width: int
    decision: Decision | None = None

    @property
    def bits_per_pixel(self) -> float:
        """8 × bytes of the whole file / (bands·H·W)."""
        return 8 * self.bytes / (self.bands * self.height * self.width)

    @property
    def ratio(self) -> float:
        """True compression ratio: 16 bits per pixel, as Sentinel-1 GRD stores them, over bits per pixel."""
        return 16 / self.bits_per_pixel


def layout_of(
    source: codec_layout.Source,
    info: raster_info.RasterInfo,
    quantity: radiometry.Quantity | None,
    file_name: str = "",
    *,
    accept_loss: bool = False,
) -> codec_layout.Layout:
    """Describe a source for the codec; detects its quantity when none is given, but that of a product is known.

    InputError for a picture, or a quantity that contradicts the source's own tags unless ``accept_loss``.
    """
    if isinstance(source, geotiff.RasterReader) and source.picture is not None:
        raise errors.InputError(
            f"source {source.name}: is {source.picture}, no backscatter; pass a raster of intensity, amplitude DN "
            "or dB"
        )
    reason = "as asked"
    if isinstance(source, safe.ProductReader | transcoding.FileSource) and quantity is None:
        quantity, reason = source.quantity, "product" if isinstance(source, safe.ProductReader) else "header"
    if isinstance(source, labelled.LabelledSource) and quantity is None:
        quantity, reason = source.told_quantity(), "attributes"
    if quantity is None:
        quantity, reason = radiometry.decide_quantity(source.sample(0), info.working_nodata, info.unit_text())
    elif not accept_loss:
        validity.check_named(quantity, info.unit_text())
    named = raster_info.polarisation_from_text(vsi.stem(file_name)) if info.count == 1 else ""
    layout = codec_layout.Layout(
        count=info.count,
        height=info.height,
        width=info.width,
        dtype=info.working_dtype,
        nodata=info.working_nodata,
        quantity=quantity,
        polarisations=tuple(info.polarisation(band) or named for band in range(info.count)),
        record=info.to_dict(),
        reason=reason,
    )
    if isinstance(source, safe.ProductReader):
        return replace(layout, product=source.product, files=source.files)
    if isinstance(source, transcoding.FileSource):
        history = {transcoding.HISTORY: source.history()}
        return replace(layout, product=source.product, files=source.files, extra=history)
    return layout
