"""Commands around models: prepare, train, calibrate, evaluate."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import rich.markup
import typer
from rich.table import Table

from sarcodec import errors
from sarcodec.autoencoder import normalization
from sarcodec.cli import terminal

if TYPE_CHECKING:
    from sarcodec.training import prepared_run

Model = TypeVar("Model")
Coder = Annotated[
    str | None, typer.Option(help="A model, by path or name, of which all is kept but the restoring network.")
]
RestorerSteps = Annotated[int, typer.Option(help="Optimiser steps of the restoring network.")]


def prepare(
    inputs: Annotated[list[Path], typer.Argument(help="GeoTIFFs, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the patch set.")],
    size: Annotated[int, typer.Option(help="Side of a patch in pixels.")] = 256,
    stride: Annotated[int, typer.Option(help="Distance between patches in pixels.")] = 128,
    min_std: Annotated[float, typer.Option(help="Least standard deviation of a patch scaled to [0, 1].")] = 0.02,
    max_invalid: Annotated[float, typer.Option(help="Largest share of invalid or saturated pixels.")] = 0.01,
    clip: Annotated[
        tuple[str, float, float],
        typer.Option(help="percentile LOW HIGH, sigma BELOW ABOVE, or fixed LOW HIGH (dB)."),
    ] = ("percentile", 0.01, 99.99),
    validation: terminal.Validation = None,
    quantity: terminal.QuantityName = None,
    quiet: terminal.Quiet = False,
) -> None:
    """Cut GeoTIFFs into a patch set and fit its Normalizer on the training images."""
    from sarcodec import radiometry
    from sarcodec.training import patches
    from sarcodec.training import prepare as training_prepare

    steps = training_prepare.prepare(
        inputs,
        output,
        patches.PatchConfig(size, stride, min_std, max_invalid),
        clipping=normalization.Clipping(*clip),
        quantity=radiometry.Quantity.parse(quantity) if quantity else None,
        validation=validation or (),
    )
    with terminal.bar("{task.fields[note]}", quiet) as progress:
        task = progress.add_task("prepare", note="")
        for step in steps:
            total = 2 * step.images
            done = step.done + (step.images if step.stage == "cut" else 0)
            rate = step.megapixels / max(progress.tasks[task].elapsed or 0, 1e-9)
            note = f"{step.stage} {step.image} · {step.patches:,} patches · {rate:.0f} Mpx/s"
            progress.update(task, total=total, completed=done, note=note)
    manifest = patches.read_manifest(output)
    terminal.say(f"{output}: {manifest.count('train'):,} training and {manifest.count('val'):,} validation patches")


def models(
    latent_channels: terminal.LatentChannels = 16,
    memory: Annotated[bool, typer.Option(help="Measure training memory; takes a few seconds a model.")] = True,
    as_json: terminal.AsJson = False,
) -> None:
    """Say what each variant costs and sees: parameters, arithmetic, receptive field, latent, memory."""
    from sarcodec.autoencoder import census
    from sarcodec.autoencoder.architecture import ModelConfig

    rows = []
    for name, config in (
        ("A", ModelConfig("plain", latent_channels)),
        ("B", ModelConfig("residual", latent_channels)),
        ("C", ModelConfig("cbam", latent_channels)),
        ("A, 8×8", ModelConfig("plain", latent_channels, stages=5)),
        ("B, 8×8", ModelConfig("residual", latent_channels, stages=5)),
    ):
        figures = census.take(config)
        rows.append(
            {
                "variant": name,
                "arch": config.arch,
                "parameters": figures.parameters,
                "multiply_adds_per_pixel": round(figures.multiply_adds_per_pixel),
                "receptive_field": figures.receptive_field,
                "latent": "×".join(map(str, figures.latent_shape[::-1])),
                "latent_ratio": config.latent_ratio,
                "training_mib_batch_8": census.training_memory(config, 8) if memory else None,
                "training_mib_batch_16": census.training_memory(config, 16) if memory else None,
            }
        )
    if as_json:
        terminal.print_json(rows)
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("window" if v is None and k == "receptive_field" else _cell(v) for k, v in row.items()))
    terminal.say(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def train(
    context: typer.Context,
    patch_set: Annotated[Path | None, typer.Argument(help="A patch set; not needed with --resume.")] = None,
    output: terminal.RunFolder = None,
    resume: Annotated[
        Path | None, typer.Option(help="A run to continue; its settings stand, but for --epochs and --save-minutes.")
    ] = None,
    arch: Annotated[str, typer.Option(help="Architecture: plain, residual or cbam.")] = "plain",
    latent_channels: terminal.LatentChannels = 16,
    base_channels: Annotated[int, typer.Option(help="Channels of the first stage.")] = 64,
    stages: Annotated[int, typer.Option(help="Stride-2 stages; 5 makes an 8×8 latent of a 256² patch.")] = 4,
    shortcut: Annotated[
        str, typer.Option(help="What residual blocks add: rearranged (drops nothing) or strided.")
    ] = "rearranged",
    output_layer: Annotated[str, typer.Option(help="clamp or sigmoid.")] = "clamp",
    activation_first: Annotated[bool, typer.Option(help="Strided residual blocks with activations first.")] = False,
    bottleneck_blocks: Annotated[bool, typer.Option(help="Residual blocks of 1×1, 3×3, 1×1.")] = False,
    attention_at: Annotated[
        str, typer.Option(help="Where cbam attends: bottleneck, encoder, decoder or everywhere.")
    ] = "bottleneck",
    self_attention: Annotated[bool, typer.Option(help="Self-attention over the latent grid.")] = False,
    start: Annotated[
        str, typer.Option(help="Weights to begin with: linear (the best linear autoencoder), random, or auto.")
    ] = "auto",
    initialise_from: Annotated[
        Path | None, typer.Option(help="A checkpoint to start from, for example of a lower ratio.")
    ] = None,
    loss: Annotated[str, typer.Option(help="balanced, ssim-heavy, mse-heavy, mse, ms-ssim or edges.")] = "balanced",
    loss_weights: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(help="Weights of MSE, 1 − SSIM, 1 − MS-SSIM and gradient difference, instead of --loss."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="With --resume: the new end of the run.")] = 200,
    batch_size: Annotated[int, typer.Option()] = 8,
    crop: Annotated[int, typer.Option(help="Side of random windows of the patches; 0: whole patches.")] = 0,
    learning_rate: Annotated[float, typer.Option()] = 1e-4,
    optimizer: Annotated[str, typer.Option(help="adam, adamw, or muon (plain variants learn faster).")] = "adam",
    weight_decay: Annotated[float, typer.Option()] = 0.0,
    schedule: Annotated[str, typer.Option(help="cosine, plateau or constant.")] = "cosine",
    warmup_steps: Annotated[int, typer.Option()] = 200,
    clip_norm: Annotated[float, typer.Option(help="Largest gradient norm.")] = 1.0,
    patience: Annotated[int, typer.Option(help="Stop after so many epochs without progress; 0: never.")] = 0,
    precision: terminal.Precision = "auto",
    average: Annotated[float, typer.Option(help="Decay of the exponential mean of the weights; 0: none.")] = 0.998,
    seed: terminal.Seed = 0,
    save_minutes: Annotated[float, typer.Option(help="Minutes between checkpoints to resume from.")] = 3.0,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard logs into the run.")] = True,
    device: terminal.Device = "cpu",
    quiet: terminal.Quiet = False,
) -> None:
    """Train an autoencoder on a patch set, or continue a run exactly where it stopped."""
    from sarcodec.autoencoder import architecture
    from sarcodec.training import loop, losses, train_config

    if resume is not None:
        typed = _typed(context)
        if given := sorted(typed - {"resume", "epochs", "save_minutes", "device", "quiet"}):
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise errors.InputError(f"train: got {names} with --resume; the settings of a run stand, start a new one")
        folder = resume
        steps = loop.resume(
            resume,
            device,
            epochs=epochs if "epochs" in typed else None,
            save_minutes=save_minutes if "save_minutes" in typed else None,
        )
    else:
        if patch_set is None or output is None:
            raise errors.InputError("train: pass a patch set and --output RUN, or --resume RUN")
        if loss not in losses.PRESETS:
            raise errors.InputError(f"loss: got {loss!r}; pass one of {', '.join(losses.PRESETS)}")
        config = train_config.TrainConfig(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            optimizer=optimizer,
            weight_decay=weight_decay,
            schedule=schedule,
            warmup_steps=warmup_steps,
            clip_norm=clip_norm,
            patience=patience,
            loss=losses.LossWeights(*loss_weights) if loss_weights else losses.PRESETS[loss],
            precision=precision,
            seed=seed,
            save_minutes=save_minutes,
            tensorboard=tensorboard,
            start=start,
            crop=crop,
            average=average,
        )
        model = architecture.ModelConfig(
            arch=arch,
            latent_channels=latent_channels,
            base_channels=base_channels,
            stages=stages,
            activation_first=activation_first,
            bottleneck_blocks=bottleneck_blocks,
            self_attention=self_attention,
            attention_at=attention_at,
            shortcut=shortcut,
            output=output_layer,
        )
        folder = output
        steps = loop.start(output, patch_set, model, config, device, initial=initialise_from)
    with terminal.stoppable(f"saved; continue with: sarcodec train --resume {folder}") as stop:
        _follow(stop.watch(steps), quiet)
    terminal.say(f"{folder / 'best.ckpt'}: best checkpoint, calibrated")


def _typed(context: typer.Context) -> set[str]:
    """Return the names of the parameters that were given on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _follow(steps: Iterable[Any], quiet: bool) -> None:
    """Run a training to its end, with a bar for its steps and a line for each of its epochs."""
    with terminal.bar("{task.fields[note]}", quiet) as progress:
        task = progress.add_task("train", note="")
        for step in steps:
            if step.note:
                progress.console.print(rich.markup.escape(f"epoch {step.epoch}: {step.note}"))
            note = (
                f"epoch {step.epoch}/{step.epochs} · loss {step.loss:.4f} · PSNR {step.psnr:.2f} dB · "
                f"{step.patches_per_second:.1f} patches/s"
            )
            progress.update(task, total=step.steps, completed=step.step, note=note)
            if step.val is not None:
                progress.console.print(
                    f"epoch {step.epoch}: validation loss {step.val['loss']:.4f}, PSNR {step.val['psnr']:.2f} dB "
                    f"on [0, 1], RMSE {step.val['rmse_db']:.3f} dB"
                )


def train_lapped(
    inputs: Annotated[list[Path] | None, typer.Argument(help="GeoTIFFs, or folders of them.")] = None,
    output: terminal.RunFolder = None,
    resume: Annotated[Path | None, typer.Option(help="A run to continue; its settings stand.")] = None,
    validation: terminal.Validation = None,
    seed: terminal.Seed = 0,
    coder: Coder = None,
    restorer_steps: RestorerSteps = 8000,
    prepare_only: Annotated[bool, typer.Option(help="Write the run's images and stop; train with --resume.")] = False,
    device: terminal.Device = "cpu",
) -> None:
    """Train the lapped codec, the default of compress, or continue a run exactly where it stopped."""
    from sarcodec.lapped import model as lapped_model
    from sarcodec.training import lapped_codec

    config = lapped_codec.LappedConfig(seed=seed, restorer_steps=restorer_steps)
    if resume is None:
        resume = _checked("train-lapped", inputs, output)
        kept = _kept(coder, lapped_model.LappedModel)
        images = _filled_images(inputs or [], validation or [])
        lapped_codec.start(resume, images, config, kept.coder if kept else None)
    _train_on(resume, prepare_only, lapped_codec.resume(resume, device))


def train_variable(
    inputs: Annotated[list[Path] | None, typer.Argument(help="GeoTIFFs, or folders of them.")] = None,
    output: terminal.RunFolder = None,
    resume: Annotated[Path | None, typer.Option(help="A run to continue; its settings stand.")] = None,
    validation: terminal.Validation = None,
    seed: terminal.Seed = 0,
    coder: Coder = None,
    restorer_steps: RestorerSteps = 8000,
    prepare_only: Annotated[bool, typer.Option(help="Write the run's images and stop; train with --resume.")] = False,
    device: terminal.Device = "cpu",
) -> None:
    """Train a variable-rate residual autoencoder, one model for all rates, or continue a run where it stopped."""
    from sarcodec.training import variable_rate
    from sarcodec.variable import model as variable_model

    config = variable_rate.VariableRateConfig(seed=seed, restorer_steps=restorer_steps)
    if resume is None:
        resume = _checked("train-variable", inputs, output)
        kept = _kept(coder, variable_model.VariableModel)
        images = _filled_images(inputs or [], validation or [])
        variable_rate.start(resume, images, config, (kept.transform, kept.coder) if kept else None)
    _train_on(resume, prepare_only, variable_rate.resume(resume, device))


def _kept(model: str | None, kind: type[Model]) -> Model | None:
    """Load the model whose coder is kept; InputError where it is of another kind."""
    from sarcodec.scene import model_store

    if model is None:
        return None
    found = model_store.load_model(model)
    if not isinstance(found, kind):
        raise errors.InputError(f"coder: {model!r} is not of the kind that this command trains; pass one that is")
    return found


def _checked(command: str, inputs: list[Path] | None, output: Path | None) -> Path:
    """Return the folder of a new run; InputError where it, or images for it, are not named."""
    if not inputs or output is None:
        raise errors.InputError(f"{command}: pass images and --output RUN, or --resume RUN")
    return output


def _filled_images(inputs: list[Path], validation: list[str]) -> list[prepared_run.Image]:
    """Read every band; invalid pixels take the mean of the valid ones."""
    from sarcodec import radiometry
    from sarcodec.evaluation import chips
    from sarcodec.training import prepared_run

    found = []
    for chip in chips.read(inputs):
        if chip.valid.any():
            held_out = any(fnmatch.fnmatch(chip.image, pattern) for pattern in validation)
            db = radiometry.fill_with_mean(chip.db, chip.valid)
            found.append(prepared_run.Image(chip.name, db, held_out))
    return found


def _train_on(run: Path, prepare_only: bool, lines: Iterator[str]) -> None:
    """Train a run that has begun to its end, which ``lines`` does and tells, unless it was to be prepared alone."""
    if prepare_only:
        terminal.say(f"{run}: prepared; train it with --resume {run}")
        return
    for line in lines:
        terminal.say(line)


def calibrate(
    model: Annotated[Path, typer.Argument(help="A checkpoint; it is changed in place.")],
    patch_set: Annotated[Path, typer.Argument(help="The patch set it was trained on.")],
    loss_limit: Annotated[float, typer.Option(help="Largest loss of PSNR by quantisation, in dB.")] = 0.09,
) -> None:
    """Fit quantisation steps and entropy tables of a checkpoint on its training patches."""
    from sarcodec.training import calibrated

    identity = calibrated.calibrate(model, patch_set, loss_limit_db=loss_limit)
    terminal.say(f"{model}: calibrated, now model {identity}")
