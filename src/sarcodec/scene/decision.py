"""What a source is taken for, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sarcodec import errors, radiometry
from sarcodec.codec import layout as codec_layout
from sarcodec.codec import validity
from sarcodec.files import vsi
from sarcodec.raster import info as raster_info
from sarcodec.raster import source as raster_source
from sarcodec.text import numerals


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
    source: raster_source.Raster, quantity: radiometry.Quantity | None, *, accept_loss: bool = False
) -> codec_layout.Layout:
    """Describe a source for the codec; where no quantity is given it is what the source knows, else it is detected.

    InputError for a picture, or a quantity that contradicts the source's own tags unless ``accept_loss``.
    """
    info = source.info
    if source.picture is not None:
        raise errors.InputError(
            f"source {source.name}: is {source.picture}, no backscatter; pass a raster of intensity, amplitude DN "
            "or dB"
        )
    known = source.known_quantity() if quantity is None else (quantity, "as asked")
    if known is None:
        known = radiometry.decide_quantity(source.sample(0), info.working_nodata, info.unit_text())
    elif not accept_loss:
        validity.check_named(known[0], info.unit_text())
    found, reason = known
    named = raster_info.polarisation_from_text(vsi.stem(source.name)) if info.count == 1 else ""
    return codec_layout.Layout(
        count=info.count,
        height=info.height,
        width=info.width,
        dtype=info.working_dtype,
        nodata=info.working_nodata,
        quantity=found,
        polarisations=tuple(info.polarisation(band) or named for band in range(info.count)),
        record=info.to_dict(),
        product=source.product,
        files=source.files,
        reason=reason,
        extra=source.extra(),
    )
