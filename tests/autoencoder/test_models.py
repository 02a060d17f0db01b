"""Autoencoders: configuration, shapes, the recipe of variant A, and how far a window looks."""

import pytest
import torch
from torch import nn

from sarcodec import errors
from sarcodec.autoencoder import architecture, network, variants


def tiny(**changes: int) -> network.Autoencoder:
    torch.manual_seed(0)
    return variants.build(architecture.ModelConfig(**{"base_channels": 8, "latent_channels": 4, **changes})).eval()


def test_config_round_trip() -> None:
    config = architecture.ModelConfig("plain", 8, 32, 3)
    assert architecture.ModelConfig.from_dict(config.to_dict()) == config
    assert (config.stride, config.latent_ratio) == (8, 8.0)


@pytest.mark.parametrize(
    "change",
    [
        {"latent_channels": 0},
        {"latent_channels": 1025},
        {"base_channels": 2.5},
        {"stages": 7},
        {"stages": "4"},
        {"arch": ["plain"]},
    ],
)
def test_config_refuses_bad_values(change: dict[str, object]) -> None:
    with pytest.raises(errors.InputError, match=next(iter(change))):
        architecture.ModelConfig(**change)  # type: ignore[arg-type]
    with pytest.raises(errors.FormatError, match=next(iter(change))):
        architecture.ModelConfig.from_dict(architecture.ModelConfig().to_dict() | change)


def test_config_refuses_unknown_keys() -> None:
    with pytest.raises(errors.FormatError, match="depth"):
        architecture.ModelConfig.from_dict({"depth": 3})


def test_unknown_architecture() -> None:
    with pytest.raises(errors.InputError, match=r"'fancy'.*plain"):
        variants.build(architecture.ModelConfig(arch="fancy"))


@pytest.mark.parametrize(("channels", "ratio"), [(64, 4), (32, 8), (16, 16), (8, 32), (4, 64)])
def test_shapes_and_latent_ratio(channels: int, ratio: int) -> None:
    model = tiny(latent_channels=channels)
    assert model.config.latent_ratio == ratio
    for height, width in ((16, 16), (48, 16), (32, 80)):
        pixels = torch.rand(2, 1, height, width)
        restored, latent = model(pixels)
        assert latent.shape == (2, channels, height // 16, width // 16)
        assert restored.shape == pixels.shape
        assert pixels.numel() / latent.numel() == ratio


@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_other_depths(stages: int) -> None:
    model = tiny(stages=stages)
    restored, latent = model(torch.rand(1, 1, 64, 64))
    assert latent.shape == (1, 4, 64 >> stages, 64 >> stages)
    assert restored.shape == (1, 1, 64, 64)


@pytest.mark.parametrize("channels", [4, 16, 64])
def test_parameters_of_the_full_size(channels: int) -> None:
    model = variants.build(architecture.ModelConfig(latent_channels=channels))
    assert 1.5e6 <= sum(p.numel() for p in model.parameters()) <= 5e6


def test_recipe_of_variant_a() -> None:
    """5×5 stride 2 + batch norm + LeakyReLU(0.2) down; 4×4 stride 2 transposed + batch norm + ReLU up."""
    model = variants.build(architecture.ModelConfig())
    assert [type(layer) for stage in model.encoder for layer in stage] == 3 * [
        nn.Conv2d,
        nn.BatchNorm2d,
        nn.LeakyReLU,
    ]
    assert [type(layer) for stage in model.decoder for layer in stage] == 3 * [
        nn.ConvTranspose2d,
        nn.BatchNorm2d,
        nn.ReLU,
    ]
    downs = [stage[0] for stage in model.encoder] + [model.to_latent]
    ups = [stage[0] for stage in model.decoder] + [model.to_pixels]
    assert [(c.in_channels, c.out_channels) for c in downs] == [(1, 64), (64, 128), (128, 256), (256, 16)]
    assert [(c.in_channels, c.out_channels) for c in ups] == [(16, 256), (256, 128), (128, 64), (64, 1)]
    assert all(c.kernel_size == (5, 5) and c.stride == (2, 2) for c in downs)
    assert all(c.kernel_size == (4, 4) and c.stride == (2, 2) for c in ups)
    assert all(stage[2].negative_slope == 0.2 for stage in model.encoder)
    # a bias before a batch norm would do nothing
    assert all((c.bias is None) == (c not in (model.to_latent, model.to_pixels)) for c in downs + ups)


def test_ranges_of_latent_and_output() -> None:
    model = tiny()
    latent = model.encode(torch.rand(4, 1, 64, 64))
    assert (latent < 0).any() and (latent > 0).any()
    pixels = model.decode(50 * torch.randn(4, 4, 4, 4))
    assert pixels.min() >= 0 and pixels.max() <= 1
    assert pixels.std() > 0.01


def test_outer_layers_stay_float32_under_autocast() -> None:
    model = tiny()
    pixels = torch.rand(1, 1, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        restored, latent = model(pixels)
    assert restored.dtype == latent.dtype == torch.float32
    assert not torch.equal(restored, restored.bfloat16().float())


@pytest.mark.parametrize("stages", [1, 3, 4])
def test_margin_of_the_encoder(stages: int) -> None:
    """Pixels beyond the margin of a window of latents do not touch it, to the last bit; nearer ones do."""
    model = tiny(stages=stages)
    stride, first, last = model.config.stride, 4, 6
    near = slice((first - model.margin) * stride, (last + model.margin) * stride)
    pixels = torch.rand(1, 1, 10 * stride, 10 * stride)
    other = torch.rand_like(pixels)
    other[..., near, near] = pixels[..., near, near]
    with torch.inference_mode():
        window = model.encode(pixels)[..., first:last, first:last]
        assert torch.equal(model.encode(other)[..., first:last, first:last], window)
        for pixel in (first * stride - 2 * (stride - 1), (last - 1) * stride + 2 * (stride - 1)):
            touched = pixels.clone()
            touched[..., first * stride, pixel] += 1
            assert not torch.equal(model.encode(touched)[..., first:last, first:last], window)


@pytest.mark.parametrize("stages", [1, 3, 4])
def test_margin_of_the_decoder(stages: int) -> None:
    """Latents more than the margin away from a cell of pixels do not touch it; its neighbours do."""
    model = tiny(stages=stages)
    stride, first, last = model.config.stride, 4, 6
    cell = (..., slice(first * stride, last * stride), slice(first * stride, last * stride))
    near = slice(first - model.margin, last + model.margin)
    latent = torch.randn(1, 4, 10, 10)
    other = torch.randn_like(latent)
    other[..., near, near] = latent[..., near, near]
    with torch.inference_mode():
        window = model.decode(latent)[cell]
        assert torch.equal(model.decode(other)[cell], window)
        for position in (first - 1, last):
            touched = latent.clone()
            touched[..., first, position] += 1
            assert not torch.equal(model.decode(touched)[cell], window)


VARIANTS = [
    {"arch": "residual"},
    {"arch": "residual", "shortcut": "strided"},
    {"arch": "residual", "shortcut": "strided", "activation_first": True},
    {"arch": "cbam", "shortcut": "strided", "output": "sigmoid"},
    {"arch": "residual", "bottleneck_blocks": True},
    {"arch": "residual", "self_attention": True},
    {"arch": "cbam"},
    {"arch": "cbam", "attention_at": "encoder"},
    {"arch": "cbam", "attention_at": "decoder"},
    {"arch": "cbam", "attention_at": "everywhere", "self_attention": True, "activation_first": True},
    {"arch": "residual", "stages": 5},
]


@pytest.mark.parametrize("change", VARIANTS, ids=str)
def test_residual_and_attention_variants(change: dict[str, object]) -> None:
    config = architecture.ModelConfig(base_channels=8, latent_channels=4, **change)
    assert architecture.ModelConfig.from_dict(config.to_dict()) == config
    torch.manual_seed(0)
    model = variants.build(config)
    pixels = torch.rand(2, 1, 96, 64)
    restored, latent = model(pixels)
    assert latent.shape == (2, 4, 96 // config.stride, 64 // config.stride)
    assert restored.shape == pixels.shape
    restored.sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert silent == []
    assert (model.window is not None) == ("cbam" in change.values() or "self_attention" in change)


@pytest.mark.parametrize(
    "change",
    [
        {"arch": "plain", "activation_first": True},
        {"arch": "plain", "self_attention": True},
        {"arch": "residual", "attention_at": "everywhere"},
        {"arch": "cbam", "attention_at": "nowhere"},
    ],
    ids=str,
)
def test_options_that_an_architecture_does_not_have(change: dict[str, object]) -> None:
    with pytest.raises(errors.InputError, match=r"arch|attention_at"):
        architecture.ModelConfig(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("arch", ["residual", "cbam"])
def test_parameters_of_variants_b_and_c(arch: str) -> None:
    count = sum(p.numel() for p in variants.build(architecture.ModelConfig(arch)).parameters())
    assert 5e6 <= count <= 9e6


@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_margin_of_the_residual_variant(direction: str) -> None:
    """What lies beyond the margin does not matter, to rounding; what lies inside does."""
    model = tiny(arch="residual")
    torch.manual_seed(1)
    cells, first, last = 14, 6, 8
    stride = 16 if direction == "encode" else 1
    shape = (1, 1, cells * 16, cells * 16) if direction == "encode" else (1, 4, cells, cells)
    one, other = torch.rand(shape), torch.rand(shape)
    near = slice((first - model.margin) * stride, (last + model.margin) * stride)
    other[..., near, near] = one[..., near, near]
    out = 1 if direction == "encode" else 16
    core = slice(first * out, last * out)
    with torch.inference_mode():
        a, b = (getattr(model, direction)(x)[..., core, core] for x in (one, other))
        assert torch.allclose(a, b, atol=1e-6)
        other[..., near.start, near] += 1
        other[..., first * stride, near] += 1
        assert not torch.allclose(a, getattr(model, direction)(other)[..., core, core], atol=1e-6)


def test_attention_gates_by_channel_and_by_position() -> None:
    from sarcodec.autoencoder import blocks

    x = torch.rand(2, 16, 8, 8)
    channel, spatial = blocks.ChannelAttention(16, neutral=False), blocks.SpatialAttention(neutral=False)
    assert channel.weights(x).shape == (2, 16, 1, 1)
    assert spatial.weights(x).shape == (2, 1, 8, 8)
    assert torch.equal(channel(x), x * channel.weights(x))
    assert ((spatial.weights(x) > 0) & (spatial.weights(x) < 1)).all()
    assert torch.equal(blocks.GridAttention(16)(x), x)


def test_neutral_attention_begins_as_the_identity() -> None:
    from sarcodec.autoencoder import blocks

    x = torch.randn(2, 16, 8, 8)
    attention = blocks.Cbam(16)
    assert torch.equal(attention(x), x)
    torch.nn.init.constant_(attention[0].gate[3].bias, 50.0)
    assert torch.allclose(attention(x), 2 * x)
    assert not torch.equal(blocks.Cbam(16, neutral=False)(x), x)


def test_rearranged_shortcuts_drop_nothing() -> None:
    """Down, then up by the transposed maps, gives every pixel back: 4 values fit into 8 channels, 16 into 16."""
    from sarcodec.autoencoder import blocks

    torch.manual_seed(0)
    x = torch.randn(2, 4, 12, 8)
    down = blocks.Residual(4, 16, resample="down")
    up = blocks.Residual(16, 4, resample="up")
    basis = torch.linalg.qr(torch.randn(16, 16))[0]
    with torch.no_grad():
        down.shortcut[1].weight.copy_(basis[:, :, None, None])
        up.shortcut[0].weight.copy_(basis.T[:, :, None, None])
        assert torch.allclose(up(down(x)), x, atol=1e-5)
        assert torch.equal(blocks.Residual(4, 4)(x), x)


def test_records_from_before_the_choice_of_shortcut() -> None:
    record = architecture.ModelConfig("residual").to_dict()
    del record["shortcut"], record["output"]
    old = architecture.ModelConfig.from_dict(record)
    assert (old.shortcut, old.output) == ("strided", "sigmoid")
    assert architecture.ModelConfig.from_dict(architecture.ModelConfig("residual").to_dict()).shortcut == "rearranged"


def test_level_of_a_clamped_output() -> None:
    """Pixels are standardised going in; coming out they are cut off at 0 and 1, but for training."""
    model = tiny()
    model.level.mean.fill_(0.3)
    model.level.deviation.fill_(0.2)
    assert torch.allclose(model.level.remove(torch.tensor([0.3, 0.5])), torch.tensor([0.0, 1.0]))
    latent = torch.randn(2, 4, 4, 4)
    with torch.no_grad():
        for bias, end in ((-100, 0.0), (100, 1.0)):
            model.to_pixels.bias.fill_(bias)
            assert set(model.decode(latent).flatten().tolist()) == {end}
        model.train()
        assert model.decode(latent).min() > 1
    assert tiny(output="sigmoid").level is None


def test_projections_are_strided_and_transposed_one_by_one_convolutions() -> None:
    from sarcodec.autoencoder import blocks

    torch.manual_seed(0)
    x = torch.rand(2, 6, 10, 12)
    narrow = nn.Conv2d(6, 4, 1, bias=False)
    strided = nn.functional.conv2d(x, narrow.weight, stride=2)
    assert torch.allclose(narrow(blocks.Subsample()(x)), strided, atol=1e-6)
    transposed = nn.functional.conv_transpose2d(x, narrow.weight.transpose(0, 1), stride=2, output_padding=1)
    assert torch.allclose(blocks.ZeroInsertion()(narrow(x)), transposed, atol=1e-6)
