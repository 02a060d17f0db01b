"""Inference: folded batch norm, precision, windows of any size, devices."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import tiny
from sarcodec import errors
from sarcodec.autoencoder import architecture, inference, variants
from sarcodec.autoencoder import network as autoencoder_network
from sarcodec.runtime import devices


def transform(precision: str = "float32", **options: str) -> inference.Transform:
    return inference.Transform(copy.deepcopy(tiny.trained()), precision=precision, **options)


def random_statistics() -> autoencoder_network.Autoencoder:
    torch.manual_seed(3)
    model = variants.build(tiny.CONFIG).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.5)
            nn.init.uniform_(layer.running_var, 0.2, 3)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias, 0, 0.5)
    return model


def test_folding_keeps_the_outputs() -> None:
    model = random_statistics()
    folded = copy.deepcopy(model)
    folded.encoder = inference.fold_batch_norm(folded.encoder)
    folded.decoder = inference.fold_batch_norm(folded.decoder)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    with torch.inference_mode():
        pixels = torch.rand(2, 1, 64, 48)
        restored, latent = model(pixels)
        torch.testing.assert_close(folded.encode(pixels), latent, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(folded.decode(latent), restored, rtol=1e-5, atol=1e-5)


def test_folding_leaves_other_layers() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2)).eval()
    kinds = [type(layer) for layer in inference.fold_batch_norm(network)]
    assert kinds == [nn.BatchNorm2d, nn.Conv2d, nn.ReLU, nn.BatchNorm2d]


def test_transform_is_the_model() -> None:
    scaled = tiny.BOUNDS.apply(tiny.db((96, 64)))
    model = tiny.trained()
    with torch.inference_mode():
        restored, latent = model(torch.from_numpy(scaled)[None, None])
    exact = transform()
    np.testing.assert_allclose(exact.encode(scaled), latent[0], atol=1e-4)
    np.testing.assert_allclose(exact.decode(latent[0].numpy()), restored[0, 0], atol=1e-5)
    assert (exact.stride, exact.margin) == (16, 32)


def test_bfloat16_is_close() -> None:
    """Outermost layers stay float32: pixels differ by far less than speckle, on average by 0.1 dB at most."""
    scaled = tiny.BOUNDS.apply(tiny.db((128, 128)))
    exact, fast = transform(), transform("bfloat16")
    latent = exact.encode(scaled)
    assert 0 < np.abs(fast.encode(scaled) - latent).mean() < 0.02 * latent.std()
    difference = np.abs(fast.decode(latent) - exact.decode(latent)) * tiny.BOUNDS.span
    assert 0 < difference.mean() < 0.1
    assert difference.max() < 0.5


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 300), (15, 17), (16, 16), (33, 64)], ids=lambda shape: f"{shape[0]}x{shape[1]}"
)
def test_windows_of_any_size(shape: tuple[int, int]) -> None:
    """Filled up with the last row and column: the same as the filled window."""
    scaled = tiny.BOUNDS.apply(tiny.db(shape))
    latent = transform().encode(scaled)
    assert latent.shape == (4, -(-shape[0] // 16), -(-shape[1] // 16))
    assert latent.dtype == np.float32
    rows, columns = (np.minimum(np.arange(-(-side // 16) * 16), side - 1) for side in shape)
    np.testing.assert_array_equal(transform().encode(scaled[np.ix_(rows, columns)]), latent)
    restored = transform().decode(latent)
    assert restored.shape == (latent.shape[1] * 16, latent.shape[2] * 16)
    assert restored.min() >= 0 and restored.max() <= 1


def test_bad_precision() -> None:
    with pytest.raises(errors.InputError, match=r"precision: got 'float16'.*bfloat16"):
        transform("float16")


def test_automatic_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for able in (True, False):
        monkeypatch.setattr(devices, "has_bfloat16", lambda device, able=able: able)
        assert transform("auto").bfloat16 is able
        assert transform("float32").bfloat16 is False


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "meta", ""])
def test_devices_that_do_not_work(name: str) -> None:
    with pytest.raises(errors.InputError, match=f"device: got '{name}'"):
        transform(device=name)


def test_numbered_device() -> None:
    """``cuda:1`` must work where there is one; the processor can be numbered too."""
    scaled = tiny.BOUNDS.apply(tiny.db((32, 32)))
    np.testing.assert_array_equal(transform(device="cpu:0").encode(scaled), transform().encode(scaled))


@pytest.mark.parametrize("arch", ["residual", "cbam"])
@pytest.mark.parametrize("shape", [(1, 1), (250, 40), (300, 530)])
def test_other_variants_run_on_any_size(arch: str, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = variants.build(architecture.ModelConfig(arch, 4, 8)).eval()
    scaled = np.random.default_rng(0).random(shape, np.float32)
    one = inference.Transform(model, precision="float32")
    latent = one.encode(scaled)
    assert latent.shape == (4, -(-shape[0] // 16), -(-shape[1] // 16))
    pixels = one.decode(latent)
    assert pixels.shape == (latent.shape[1] * 16, latent.shape[2] * 16)
    assert np.isfinite(pixels).all() and pixels.min() > 0


def test_a_model_that_pools_sees_windows_of_its_own_size() -> None:
    """An image of exactly one window is one window; a larger one is decoded piece by piece."""
    torch.manual_seed(0)
    model = variants.build(architecture.ModelConfig("cbam", 4, 8)).eval()
    windows = inference.Transform(model, precision="float32")
    sizes: list[tuple[int, int]] = []
    inner = windows._decode

    def seen(latent: np.ndarray) -> np.ndarray:
        sizes.append(latent.shape[1:])
        return inner(latent)

    windows._decode = seen  # type: ignore[method-assign]
    windows.decode(np.random.default_rng(1).random((4, 40, 40), np.float32))
    assert len(sizes) == 16
    assert max(max(size) for size in sizes) == 16
