"""Training: exact continuation, schedules, stops, what it refuses and what it leaves behind."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from runs import FILES, config, history
from sarcodec import errors
from sarcodec.autoencoder import architecture, checkpoint, network, variants
from sarcodec.training import batches, beginning, loop, losses, patches, run_folder, train_config, validation

FLAT = {"loss": 0.5, "psnr": 10.0, "rmse_db": 3.0, "contrast": 1.0}


@pytest.fixture
def patch_set(tmp_path: Path) -> Path:
    return tiny.patch_set(tmp_path / "patches")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def train(run: Path, patch_set: Path, **changes: Any) -> list[loop.Progress]:
    return list(loop.start(run, patch_set, tiny.CONFIG, config(**changes)))


def position(run: Path) -> dict[str, Any]:
    return checkpoint.load(run / "last.ckpt").training["position"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[loop.Progress], dict[str, bytes]]:
    """An uninterrupted run of three epochs of four steps: its progress and its files."""
    folder = tmp_path_factory.mktemp("whole")
    progress = train(folder / "run", tiny.patch_set(folder / "patches"))
    return progress, {name: (folder / "run" / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("stop", [2, 6, 8])
def test_interrupted_run_continues_exactly(run: Path, patch_set: Path, whole: Any, stop: int) -> None:
    """Stopped in the first epoch, in the middle of the second, and at its end: the same files bit for bit."""
    steps = loop.start(run, patch_set, tiny.CONFIG, config())
    while next(steps).step < stop:
        pass
    steps.close()
    assert (position(run)["step"], position(run)["epoch"]) == (stop, (stop - 1) // 4)
    rest = list(loop.resume(run))
    assert {name: (run / name).read_bytes() for name in FILES} == whole[1]
    assert [p.step for p in rest if p.val is None] == list(range(stop + 1, 13))


def test_run_killed_between_two_files_continues_exactly(
    run: Path, patch_set: Path, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History and best.ckpt of the second epoch are written, last.ckpt is still that of the first."""
    save = loop.save_last

    def killed(*args: Any) -> None:
        if (run / "last.ckpt").exists():
            raise KeyboardInterrupt
        save(*args)

    monkeypatch.setattr(loop, "save_last", killed)
    with pytest.raises(KeyboardInterrupt):
        train(run, patch_set)
    assert len(history(run)) == 2
    monkeypatch.undo()
    list(loop.resume(run))
    assert {name: (run / name).read_bytes() for name in FILES} == whole[1]


def test_finished_run_has_nothing_to_continue(run: Path, patch_set: Path, whole: Any) -> None:
    train(run, patch_set)
    assert list(loop.resume(run)) == []
    assert {name: (run / name).read_bytes() for name in FILES} == whole[1]


def test_other_seed_is_another_run(run: Path, patch_set: Path, whole: Any) -> None:
    train(run, patch_set, seed=1)
    assert (run / "best.ckpt").read_bytes() != whole[1]["best.ckpt"]


def test_progress_and_history(whole: Any) -> None:
    progress, files = whole
    steps, epochs = ([p for p in progress if (p.val is None) == inner] for inner in (True, False))
    assert [p.step for p in steps] == list(range(1, 13))
    assert [(p.epoch, p.step, p.steps, p.epochs) for p in epochs] == [(1, 4, 12, 3), (2, 8, 12, 3), (3, 12, 12, 3)]
    lines = [json.loads(line) for line in files["history.jsonl"].splitlines()]
    assert [{"epoch": p.epoch, "step": p.step, **p.val} for p in epochs] == lines
    assert lines[-1]["rmse_db"] == pytest.approx(35 * 10 ** (-lines[-1]["psnr"] / 20), rel=1e-4)  # bounds span 35 dB


def test_loss_goes_down_and_best_is_calibrated(run: Path, patch_set: Path) -> None:
    train(run, patch_set, epochs=12, learning_rate=5e-3, loss=losses.PRESETS["mse"])
    values = [line["loss"] for line in history(run)]
    assert values[-1] < 0.8 * values[0]
    best = checkpoint.load(run / "best.ckpt")
    assert best.metrics["val"] == {k: v for k, v in min(history(run), key=lambda h: h["loss"]).items() if k in FLAT}
    assert sorted(best.coder().tables) == [1, 2, 4, 8]
    assert 0 <= best.metrics["train_psnr_float"] - best.metrics["train_psnr_quantised"] < 0.1
    assert best.state == {}
    assert best.normalizer == tiny.NORMALIZER


def test_batch_norm_learns_from_training_steps_only(run: Path, patch_set: Path) -> None:
    train(run, patch_set)
    weights = checkpoint.load(run / "last.ckpt").weights
    counts = {int(value) for name, value in weights.items() if name.endswith("num_batches_tracked")}
    assert counts == {12}


def test_batches_are_shuffled_and_turned_anew_in_every_epoch(patch_set: Path) -> None:
    split = patches.PatchSet(patch_set, "train")
    epochs = [torch.cat(list(batches.epoch(split, config(batch_size=5), epoch)))[:, 0] for epoch in (0, 1, 0)]
    assert torch.equal(epochs[0], epochs[2])
    turns = {patches.augment(split.scaled(i), k).tobytes(): (i, k) for i in range(16) for k in range(8)}
    seen = [[turns[patch.numpy().tobytes()] for patch in epoch] for epoch in epochs[:2]]
    for epoch in seen:
        assert len({index for index, _ in epoch}) == len(epoch) == 15  # none twice; the incomplete batch is dropped
        assert len({turn for _, turn in epoch}) > 3
    assert [index for index, _ in seen[0]] != [index for index, _ in seen[1]]


def test_bfloat16_trains_too(run: Path, patch_set: Path, whole: Any) -> None:
    progress = train(run, patch_set, precision="bfloat16", optimizer="adamw", weight_decay=0.01)
    assert progress[-1].val["loss"] == pytest.approx(whole[0][-1].val["loss"], rel=0.1)


def test_config_round_trip() -> None:
    made = config(loss=losses.LossWeights(0.3, 0.7), schedule="plateau", patience=5)
    assert train_config.TrainConfig.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_config_refuses_unknown_keys() -> None:
    record = config().to_dict()
    for bad in (record | {"momentum": 0.9}, record | {"loss": {"mse": 1.0, "psnr": 1.0}}, {}):
        with pytest.raises(errors.FormatError, match="training configuration"):
            train_config.TrainConfig.from_dict(bad)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", "sgd"),
        ("schedule", "linear"),
        ("precision", "float16"),
        ("epochs", 0),
        ("batch_size", -1),
        ("learning_rate", math.nan),
        ("clip_norm", 0.0),
        ("patience", -1),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("seed", -1),
        ("epochs", 1.5),
        ("epochs", "9"),
        ("batch_size", True),
        ("seed", 2**80),
        ("learning_rate", math.inf),
        ("tensorboard", 1),
        ("schedule", ["cosine"]),
        ("loss", {"mse": 1.0}),
    ],
)
def test_config_refuses_bad_values(name: str, value: Any) -> None:
    with pytest.raises(errors.InputError, match=name):
        config(**{name: value})


def rates(settings: train_config.TrainConfig, steps: list[int], total: int, factor: float = 1.0) -> list[float]:
    at = [run_folder.Position(step=step, factor=factor) for step in steps]
    return [loop.rate_at(settings, p, total) for p in at]


def test_warm_up_and_cosine() -> None:
    settings = config(learning_rate=1.0, warmup_steps=10)
    found = rates(settings, [0, 4, 9, 10, 60, 110], 110)
    assert found == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5, 0.0])
    assert rates(settings, [35], 110) == pytest.approx([0.5 + 0.5 * math.cos(math.pi / 4)])
    assert rates(config(learning_rate=1.0, warmup_steps=0), [0, 5], 10) == pytest.approx([1.0, 0.5])


def test_constant_and_plateau_rates() -> None:
    assert rates(config(learning_rate=1.0, schedule="constant", warmup_steps=2), [0, 2, 99], 100) == [0.5, 1.0, 1.0]
    assert rates(config(learning_rate=1.0, schedule="plateau", warmup_steps=2), [0, 2], 100, 0.25) == [0.5, 0.25]


def test_plateau_halves_the_rate(run: Path, patch_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first epoch is the best; after every three without progress the rate is halved."""
    monkeypatch.setattr(validation, "validate", lambda *_: dict(FLAT))
    train(run, patch_set, epochs=7, schedule="plateau", patience=9, batch_size=16)
    assert position(run)["factor"] == 0.25
    assert (position(run)["best_epoch"], position(run)["stale"]) == (1, 6)


def test_early_stop(run: Path, patch_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "validate", lambda *_: dict(FLAT))
    train(run, patch_set, epochs=50, patience=2, batch_size=16)
    assert [line["epoch"] for line in history(run)] == [1, 2, 3]
    assert checkpoint.load(run / "best.ckpt").training["epoch"] == 1
    assert list(loop.resume(run)) == []  # a run that has stopped stays stopped


def poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Make the loss of some training steps not a number, counted from 1."""
    combined, calls = losses.combined, []

    def poisoned(*args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        loss, mse = combined(*args)
        calls.append(torch.is_grad_enabled())
        return (loss * math.nan if calls[-1] and sum(calls) in steps else loss), mse

    monkeypatch.setattr(losses, "combined", poisoned)


def test_a_loss_that_is_not_a_number_goes_back(run: Path, patch_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third step of the second epoch: the epoch ends, its weights are those of the first, and it is said."""
    poison(monkeypatch, {7})
    progress = train(run, patch_set)
    assert [p.step for p in progress if p.val is None] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    notes = {p.epoch: p.note for p in progress if p.note}
    assert list(notes) == [2] and "spike" in notes[2] and "half the learning rate" in notes[2]
    assert (position(run)["spikes"], position(run)["factor"]) == (1, 0.5)
    first, second, third = history(run)
    assert {**first, "epoch": 2, "step": 6} == second and third["loss"] != first["loss"]


def test_a_spike_goes_back(run: Path, patch_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation loss of more than twice the best is not kept, what was before it is."""
    validate, calls = validation.validate, []

    def spiking(of: Any) -> dict[str, float]:
        calls.append(0)
        found = validate(of)
        return found | {"loss": 9 * found["loss"]} if len(calls) == 2 else found

    monkeypatch.setattr(validation, "validate", spiking)
    progress = train(run, patch_set)
    assert [p.epoch for p in progress if "spike" in p.note] == [2]
    first, second, _ = history(run)
    assert {**first, "epoch": 2, "step": 8} == second


def test_too_many_spikes(run: Path, patch_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, set(range(6, 100)))
    with pytest.raises(errors.TrainingError, match=rf"spike number 4.*{run / 'best.ckpt'}"):
        train(run, patch_set, epochs=9)
    best = checkpoint.load(run / "best.ckpt")
    assert all(bool(torch.isfinite(value).all()) for value in best.weights.values())


def test_loss_that_never_was_a_number(run: Path, patch_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, set(range(100)))
    with pytest.raises(errors.TrainingError, match=r"spike number 4"):
        train(run, patch_set, epochs=9)


def test_one_process_at_a_time(run: Path, patch_set: Path) -> None:
    steps = loop.start(run, patch_set, tiny.CONFIG, config())
    next(steps)
    with pytest.raises(errors.InputError, match=r"another process is training it"):
        next(loop.resume(run))
    steps.close()
    assert list(loop.resume(run))[-1].step == 12


def test_a_run_is_extended_or_refused(run: Path, patch_set: Path) -> None:
    train(run, patch_set, epochs=2)
    with pytest.raises(errors.InputError, match=r"epochs: got 1.*has done 2"):
        loop.resume(run, epochs=1)
    rest = list(loop.resume(run, epochs=4, save_minutes=7))
    assert [p.step for p in rest if p.val is None] == list(range(9, 17))
    settings = json.loads((run / "run.json").read_text())["training"]
    assert (settings["epochs"], settings["save_minutes"]) == (4, 7)
    assert [line["epoch"] for line in history(run)] == [1, 2, 3, 4]


def test_averaged_weights_are_validated_and_kept(run: Path, patch_set: Path) -> None:
    """The mean of step n is 1 - d of the weights and d of the mean before, with d = min(0.5, n / (n + 10))."""
    train(run, patch_set, epochs=1, average=0.5, batch_size=16)
    last, best = checkpoint.load(run / "last.ckpt"), checkpoint.load(run / "best.ckpt")
    torch.manual_seed(0)
    begin = variants.build(tiny.CONFIG).state_dict()
    for name, value in best.weights.items():
        if value.is_floating_point() and not name.startswith("level"):
            expected = begin[name].lerp(last.weights[name], 1 - 1 / 11)
            assert torch.allclose(value, expected, atol=1e-6), name
    train(run.with_name("plain"), patch_set, epochs=1, average=0.0, batch_size=16)
    last, best = (checkpoint.load(run.with_name("plain") / name) for name in ("last.ckpt", "best.ckpt"))
    assert tiny.tensors_equal(last.weights, best.weights)


def test_windows_of_patches(patch_set: Path) -> None:
    """As many pixels an epoch as the set has, every window a part of a patch."""
    split = patches.PatchSet(patch_set, "train")
    settings = config(crop=32, batch_size=8)
    seen = list(batches.epoch(split, settings, 0))
    assert len(seen) == batches.count(split, settings) == 16 * 4 // 8
    assert {tuple(batch.shape) for batch in seen} == {(8, 1, 32, 32)}
    known = {value for i in range(16) for value in split.scaled(i).ravel().tolist()}
    assert set(torch.cat(seen).flatten().tolist()) <= known
    rest = list(batches.epoch(split, settings, 0, skip=5))
    assert len(rest) == 3 and torch.equal(rest[0], seen[5])


def test_collapsed_output(run: Path, patch_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = network.Autoencoder.decode
    monkeypatch.setattr(network.Autoencoder, "decode", lambda self, latent: decode(self, latent) * 1e-3 + 0.5)
    with pytest.raises(errors.TrainingError, match=r"collapsed.*best\.ckpt.*learning rate"):
        train(run, patch_set, epochs=9)
    assert len(history(run)) == 3  # not in the first steps, where an output may still be flat
    checkpoint.load(run / "best.ckpt").build()


def test_existing_run_is_kept(run: Path, patch_set: Path) -> None:
    train(run, patch_set, epochs=1)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(errors.InputError, match=r"exists already.*--resume"):
        train(run, patch_set, epochs=2)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [({"batch_size": 17}, "16 training and 4 validation.*batch of 17"), ({"device": "abacus"}, "device.*abacus")],
)
def test_nothing_is_begun_that_cannot_run(run: Path, patch_set: Path, change: Any, message: str) -> None:
    device = change.pop("device", "cpu")
    with pytest.raises(errors.InputError, match=message):
        list(loop.start(run, patch_set, tiny.CONFIG, config(**change), device))
    assert not run.exists()


def test_unusable_folders(run: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.FormatError, match=r"manifest\.json"):
        train(run, tmp_path)
    with pytest.raises(errors.FormatError, match=r"run\.json"):
        loop.resume(run)
    run.mkdir()
    for text in ("{", "[]", "{}"):
        (run / "run.json").write_text(text)
        with pytest.raises(errors.FormatError, match=r"run\.json"):
            loop.resume(run)


def test_checkpoint_without_position(run: Path, patch_set: Path) -> None:
    train(run, patch_set, epochs=1)
    (run / "last.ckpt").write_bytes((run / "best.ckpt").read_bytes())
    with pytest.raises(errors.FormatError, match=r"last\.ckpt.*resume"):
        loop.resume(run)


def test_tensorboard(run: Path, patch_set: Path, whole: Any) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(run, patch_set, epochs=2, batch_size=1, tensorboard=True)
    log = event_accumulator.EventAccumulator(str(run / "tensorboard"), {"histograms": 0, "images": 0, "scalars": 0})
    log.Reload()
    tags = log.Tags()
    assert set(tags["scalars"]) == {f"val/{name}" for name in FLAT} | {
        "train/loss",
        "train/psnr",
        "train/learning_rate",
        "train/gradient_norm",
    }
    assert tags["images"] == ["val/original_and_restored"]
    assert set(tags["histograms"]) == {f"latent/{channel}" for channel in range(4)}
    assert [event.step for event in log.Scalars("val/loss")] == [16, 32]
    assert [event.value for event in log.Scalars("val/loss")] == pytest.approx([h["loss"] for h in history(run)])
    assert [event.step for event in log.Scalars("train/loss")] == [20]


def test_no_tensorboard_unless_asked(run: Path, patch_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    train(run, patch_set, epochs=1)
    assert not (run / "tensorboard").exists()
    with pytest.raises(errors.MissingExtra, match=r"tensorboard.*sarcodec\[train\]"):
        train(run.with_name("other"), patch_set, epochs=1, tensorboard=True)


def test_trains_without_gdal() -> None:
    code = "import sys, sarcodec.training.loop; sys.exit(int('rasterio' in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arch", ["residual", "cbam"])
@pytest.mark.parametrize("shortcut", ["rearranged", "strided"])
def test_other_variants_train(tmp_path: Path, arch: str, shortcut: str) -> None:
    """Strided 1×1 convolutions, channels last, once corrupted the heap in their backward pass."""
    data = tiny.patch_set(tmp_path / "patches", train=8, val=2)
    settings = config(epochs=12, warmup_steps=0, learning_rate=3e-3, precision="bfloat16", loss=losses.PRESETS["mse"])
    model = architecture.ModelConfig(arch, latent_channels=4, base_channels=8, shortcut=shortcut)
    seen = [p.loss for p in loop.start(tmp_path / "run", data, model, settings) if p.val is None]
    assert len(seen) == 24
    assert sum(seen[-4:]) < (0.97 if shortcut == "rearranged" else 0.9) * sum(seen[:4])  # from a linear start little
    assert checkpoint.load(tmp_path / "run" / "best.ckpt").config == model


def test_a_first_epoch_worse_than_the_start_is_a_spike(tmp_path: Path) -> None:
    """What a linear start carries is not lost to a rate too high for it: the run goes back, at half the rate."""
    data = tiny.patch_set(tmp_path / "patches", train=8, val=2)
    settings = config(epochs=1, warmup_steps=0, learning_rate=3.0, clip_norm=1e3, loss=losses.PRESETS["mse"])
    model = architecture.ModelConfig("residual", latent_channels=4, base_channels=8)
    last = list(loop.start(tmp_path / "run", data, model, settings))[-1]
    assert "spike" in last.note and last.val is not None
    best = checkpoint.load(tmp_path / "run" / "best.ckpt")
    assert best.training["epoch"] == 0 and best.metrics["val"]["loss"] == last.val["loss"]


def test_what_an_interruption_found_spoiled_is_gone_back_from(tmp_path: Path) -> None:
    """The state in the middle of an epoch is no good one: the best model's weights are."""
    data = tiny.patch_set(tmp_path / "patches", train=16, val=2)
    settings = config(epochs=2, warmup_steps=0, learning_rate=3.0, clip_norm=1e3, loss=losses.PRESETS["mse"])
    model = architecture.ModelConfig("residual", latent_channels=4, base_channels=8)
    running = loop.start(tmp_path / "run", data, model, settings)
    for _ in range(3):
        next(running)
    running.close()
    first = next(progress for progress in loop.resume(tmp_path / "run") if progress.val is not None)
    assert "spike" in first.note
    best = checkpoint.load(tmp_path / "run" / "best.ckpt")
    assert best.training["epoch"] == 0 and best.metrics["val"]["loss"] == first.val["loss"]


def test_starting_from_a_checkpoint_of_another_width(tmp_path: Path) -> None:
    """Weights are copied as far as shapes overlap: the first latent channels, and all of the other layers."""
    data = tiny.patch_set(tmp_path / "patches", train=8, val=2)
    config = train_config.TrainConfig(epochs=1, batch_size=4, tensorboard=False, seed=5)
    for _ in loop.start(tmp_path / "wide", data, architecture.ModelConfig("plain", 6, 8), config):
        pass
    wide = checkpoint.load(tmp_path / "wide" / "best.ckpt").weights
    narrow = beginning.fresh(
        data, architecture.ModelConfig("plain", 4, 8), config, tmp_path / "wide" / "best.ckpt"
    ).weights
    assert torch.equal(narrow["to_latent.weight"], wide["to_latent.weight"][:4])
    assert torch.equal(narrow["encoder.0.0.weight"], wide["encoder.0.0.weight"])
    fresh = beginning.fresh(data, architecture.ModelConfig("plain", 4, 8), config, None).weights
    assert not torch.equal(fresh["encoder.0.0.weight"], wide["encoder.0.0.weight"])
