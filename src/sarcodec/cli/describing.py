"""The command info."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import rich.markup
import typer
from rich.table import Table

from sarcodec import errors
from sarcodec.cli import terminal
from sarcodec.files import vsi
from sarcodec.runtime import devices
from sarcodec.text import numerals


def info(
    paths: Annotated[list[str], typer.Argument(help=".sarc files, also by URL, checkpoints or patch sets.")],
    as_json: terminal.AsJson = False,
    as_stac: Annotated[
        bool, typer.Option("--stac", help="Print a STAC item of a .sarc file, to lie beside it; of several a list.")
    ] = False,
) -> None:
    """Say what .sarc files, checkpoints or patch sets hold; as JSON a list where there are several."""
    if as_stac:
        terminal.print_json(_items(paths))
        return
    records = [_describe(path) for path in paths]
    if as_json:
        named = [{"file": vsi.public(path)} | record for path, record in zip(paths, records, strict=True)]
        terminal.print_json(records[0] if len(records) == 1 else named)
        return
    for path, record in zip(paths, records, strict=True):
        table = Table("", rich.markup.escape(vsi.public(path)), show_header=True, box=None)
        for key, value in _flat(record):
            table.add_row(key, rich.markup.escape(value))
        terminal.say(table)


def _items(paths: list[str]) -> dict[str, Any]:
    """Return the STAC item of a file, or the collection of those of several."""
    from sarcodec.stac import item

    for path in paths:
        if vsi.is_virtual(path):
            raise errors.InputError(f"stac: got {vsi.public(path)}; an item lies beside its file, pass local files")
    found = [item.item(Path(path)) for path in paths]
    return found[0] if len(found) == 1 else {"type": "FeatureCollection", "features": found}


def stac(
    archive: Annotated[Path, typer.Argument(help="A folder of .sarc files.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the catalogue. Default: ARCHIVE/stac")
    ] = None,
    overwrite: terminal.Overwrite = False,
    as_json: terminal.AsJson = False,
) -> None:
    """Write a static STAC catalogue of an archive: catalog.json and an item a file, with relative links."""
    from sarcodec.stac import catalogue

    written = catalogue.write(archive, output, overwrite=overwrite)
    if as_json:
        terminal.print_json({"catalogue": str(written.path), "items": written.items, "faults": written.faults})
    else:
        terminal.say(f"{written.path}: {written.items} items")
    for fault in written.faults:
        terminal.fail(fault)
    if written.faults:
        raise typer.Exit(1)


def _describe(name: str) -> dict[str, Any]:
    """Tell what a path is by what it holds, and return its description; a URL is that of a .sarc file."""
    from sarcodec.training import patches

    if vsi.is_url(name):
        return _describe_file(name)
    path = Path(name)
    if path.is_dir():
        manifest = patches.read_manifest(path)
        counts = {split: manifest.count(split) for split in ("train", "val")}
        return {"kind": "patch set", "patches": counts} | manifest.to_dict()
    try:
        with path.open("rb") as stream:
            magic = stream.read(2)
    except OSError as cause:
        raise errors.FormatError(f"{path}: {cause.strerror}") from cause
    if magic == b"PK":
        return _describe_file(name)
    _refuse_strangers(path)
    from sarcodec.files import modelfile
    from sarcodec.lapped import model as lapped_model
    from sarcodec.variable import model as variable_model

    kind = modelfile.kind(path)
    if kind in (lapped_model.FORMAT, variable_model.FORMAT):
        if kind == lapped_model.FORMAT:
            lapped = lapped_model.load(path)
            return {"kind": "lapped model"} | _of_model(lapped, lapped.restorer.weights)
        variable = variable_model.load(path)
        latents = {"latents": variable.transform.count}
        return {"kind": "variable-rate autoencoder"} | _of_model(variable, variable.weights()) | latents
    devices.require_torch()
    from sarcodec.autoencoder import checkpoint

    model = checkpoint.load(path)
    parameters = sum(value.numel() for value in model.weights.values() if value.is_floating_point())
    return {
        "kind": "checkpoint",
        "identity": model.identity,
        "package_version": model.package_version,
        "parameters": parameters,
        "latent_ratio": model.config.latent_ratio,
        "config": model.config.to_dict(),
        "normalizer": model.normalizer.to_dict(),
        "step_multipliers": sorted(model.coder().tables) if model.tables else [],
        "training": dict(model.training),
        "metrics": dict(model.metrics),
    }


def _describe_file(name: str) -> dict[str, Any]:
    """Return the description of a .sarc file."""
    from sarcodec.container import archive

    with archive.Reader(name) as reader:
        bands, height, width = reader.header.shape
        sizes = reader.sizes()
        bpp = 8 * sizes["total"] / (bands * height * width)
        rate = {"bits_per_pixel": bpp, "ratio_to_16_bit": 16 / bpp, "bytes": sizes}
        return {"kind": "sarc file"} | _in_words(reader.header) | rate | reader.header.to_dict()


def _of_model(model: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a model is that codes at all rates."""
    return {
        "identity": model.identity,
        "package_version": model.package_version,
        "parameters": sum(value.size for value in weights.values()),
        "training": dict(model.training),
    }


def _in_words(header: Any) -> dict[str, Any]:
    """Say of a header what people ask: quality, model, guaranteed error, whether speckle can be rendered."""
    from sarcodec.entropy import scale
    from sarcodec.scene import model_store

    names = {identity: name for name, identity in model_store.IDENTITIES.items()}
    said: dict[str, Any] = {"model_name": names.get(header.model, f"{header.architecture}, not shipped")}
    if header.promised_error_db is not None:
        bound = numerals.significant(header.promised_error_db)
        said = {"model_name": "none needed", "quality": f"every valid pixel within {bound} dB"}
    elif not header.clips:
        quality = (11 - header.step / scale.STEPS_PER_OCTAVE) / 0.08
        step = numerals.significant(scale.step_db(header.step), 3)
        said["quality"] = f"{numerals.significant(quality, 3)} (step {step} dB)"
    return said | {"speckle_can_be_rendered": header.seed is not None}


def _refuse_strangers(path: Path) -> None:
    """Raise FormatError for a file of a kind that is known and not ours, and say which it is."""
    kinds = {
        b"II*\0": "a TIFF",
        b"MM\0*": "a TIFF",
        b"II+\0": "a BigTIFF",
        b"\x89PNG": "a PNG",
        b"\xff\xd8\xff": "a JPEG",
        b"CDF": "a NetCDF file",
        b"\x89HDF": "an HDF5 file",
    }
    with path.open("rb") as stream:
        begin = stream.read(4)
    for magic, kind in kinds.items():
        if begin.startswith(magic):
            raise errors.FormatError(
                f"{path}: is {kind}, no .sarc file, checkpoint or patch set; see it with gdalinfo"
            )


def _flat(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and len(str(value)) > 200:
            yield f"{prefix}{key}", f"{len(value):,} entries"
        else:
            yield f"{prefix}{key}", _plain(key, value)


def _plain(key: str, value: Any) -> str:
    """Write a value for people; what may be typed again keeps its digits as they are."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain('', item) for item in value)}]"
    if isinstance(value, float):
        return numerals.exact(value) if key in ("", "nodata") else numerals.significant(value, 5)
    if type(value) is int and key not in ("", "seed", "step", "tile"):
        return f"{value:,}"
    return str(value)
