"""Building blocks that the variants share; none is written twice."""

from __future__ import annotations

import torch
from torch import nn

SLOPE = 0.2
"""Negative slope of the activations of encoders."""


def down(channels_in: int, channels_out: int) -> nn.Sequential:
    """Halve each side: 5×5 convolution of stride 2, batch norm, LeakyReLU(0.2)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def up(channels_in: int, channels_out: int) -> nn.Sequential:
    """Double each side: 4×4 transposed convolution of stride 2, batch norm, ReLU."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """A residual block (He et al. 2016, 10.1109/CVPR.2016.90), of any stride.

    F is two 3×3 convolutions, or 1×1, 3×3, 1×1 over a quarter of the channels (bottleneck block). S is the identity
    where shapes agree, else what ``shortcut`` says:

    ``"rearranged"``
        ``y = F(x) + S(x)`` with activations inside F first (pre-activation, He et al. 2016,
        10.1007/978-3-319-46493-0_38). S is space to depth and a 1×1 convolution on the way down, a convolution and
        depth to space on the way up (Shi et al. 2016, 10.1109/CVPR.2016.207): every pixel counts. No norm anywhere;
        the last convolution of F starts at zero, so that an untrained block is its shortcut.
    ``"strided"``
        As networks for recognition have it: S is a 1×1 convolution, strided or transposed, that sees one position in
        four or writes one in four, and a batch norm. ``y = act(F(x) + S(x))``, or with ``activation_first`` as above.

    Parameters
    ----------
    channels_in, channels_out : int
        Channels of input and output.
    resample : str
        ``"keep"``, ``"down"`` (halve each side) or ``"up"`` (double; by a 4×4 transposed convolution).
    shortcut : str
        Which of the forms above.
    activation_first, bottleneck_block : bool
        Whether strided blocks have their activations first; whether F is a bottleneck.
    slope : float
        Negative slope of the LeakyReLU; 0 is ReLU.
    kernel : int
        Side of the convolution of a rearranged shortcut on the way up, odd.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        resample: str = "keep",
        shortcut: str = "rearranged",
        activation_first: bool = False,
        bottleneck_block: bool = False,
        slope: float = SLOPE,
        kernel: int = 1,
    ) -> None:
        super().__init__()
        self.resample = resample
        rearranged = shortcut == "rearranged"
        first = rearranged or activation_first
        inner = max(channels_out // 4, 1) if bottleneck_block else channels_out
        convolutions = [_resampling(inner if bottleneck_block else channels_in, inner, resample, bias=rearranged)]
        if bottleneck_block:
            convolutions.insert(0, nn.Conv2d(channels_in, inner, 1, bias=rearranged))
            convolutions.append(nn.Conv2d(inner, channels_out, 1, bias=rearranged))
        else:
            convolutions.append(nn.Conv2d(inner, channels_out, 3, padding=1, bias=rearranged))
        layers: list[nn.Module] = []
        for convolution in convolutions:
            channels = convolution.in_channels if first else convolution.out_channels
            norm = [] if rearranged else [nn.BatchNorm2d(channels)]
            around = [*norm, nn.LeakyReLU(slope)]
            layers += [*around, convolution] if first else [convolution, *around]
        self.main = nn.Sequential(*(layers if first else layers[:-1]))
        self.shortcut = (
            _rearranged_shortcut(channels_in, channels_out, resample, kernel)
            if rearranged
            else _strided_shortcut(channels_in, channels_out, resample)
        )
        self.activation = nn.Identity() if first else nn.LeakyReLU(slope)
        if rearranged:
            zero(convolutions[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, Cin, H, W) to (N, Cout, H', W')."""
        y: torch.Tensor = self.activation(self.main(x) + self.shortcut(x))
        return y


def zero(convolution: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Set weights and bias of a convolution to zero."""
    nn.init.zeros_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


def _resampling(channels_in: int, channels_out: int, resample: str, bias: bool) -> nn.Conv2d | nn.ConvTranspose2d:
    if resample == "up":
        return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=bias)
    return nn.Conv2d(channels_in, channels_out, 3, stride=2 if resample == "down" else 1, padding=1, bias=bias)


def _rearranged_shortcut(channels_in: int, channels_out: int, resample: str, kernel: int) -> nn.Module:
    if resample == "down":
        return nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels_in, channels_out, 1, bias=False))
    if resample == "up":
        wide = nn.Conv2d(channels_in, 4 * channels_out, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(wide, nn.PixelShuffle(2))
    return nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1, bias=False)


def _strided_shortcut(channels_in: int, channels_out: int, resample: str) -> nn.Module:
    if resample == "keep" and channels_in == channels_out:
        return nn.Identity()
    projection, norm = nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)
    if resample == "down":
        return nn.Sequential(Subsample(), projection, norm)
    return nn.Sequential(projection, ZeroInsertion(), norm) if resample == "up" else nn.Sequential(projection, norm)


class Subsample(nn.Module):
    """Keep every second row and column; before a 1×1 convolution the same as one of stride 2.

    Written so because the backward pass of a strided 1×1 convolution on channels-last tensors corrupts the heap in
    torch 2.13 on CPUs.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C, ceil(H/2), ceil(W/2))."""
        return x[..., ::2, ::2]


class ZeroInsertion(nn.Module):
    """Put zeros between rows and columns; after a 1×1 convolution the same as a transposed one of stride 2."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C, 2H, 2W)."""
        n, c, h, w = x.shape
        y = x.new_zeros(n, c, 2 * h, 2 * w).contiguous(memory_format=torch.channels_last)
        y[..., ::2, ::2] = x
        return y


class ChannelAttention(nn.Module):
    """Squeeze and excitation (Hu et al. 2018, 10.1109/CVPR.2018.00745): scale channels by what their means say.

    Average pooling over the whole window, two fully connected layers with a ``reduction`` between, sigmoid. A
    ``neutral`` one has twice the sigmoid and a last layer that starts at zero: an untrained one changes nothing.
    """

    def __init__(self, channels: int, reduction: int = 16, *, neutral: bool = True) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.highest = 2.0 if neutral else 1.0
        last = nn.Conv2d(hidden, channels, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.ReLU(), last, nn.Sigmoid()
        )
        if neutral:
            zero(last)

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """Return the channel weights (N, C, 1, 1), above 0 and below 2 (neutral) or 1."""
        gate: torch.Tensor = self.highest * self.gate(x)
        return gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale (N, C, H, W) channel by channel."""
        return x * self.weights(x)


class SpatialAttention(nn.Module):
    """Scale positions by a 7×7 convolution over the mean and maximum of the channels, sigmoid (Woo et al. 2018).

    ``neutral`` as in :class:`ChannelAttention`.
    """

    def __init__(self, *, neutral: bool = True) -> None:
        super().__init__()
        self.highest = 2.0 if neutral else 1.0
        self.convolution = nn.Conv2d(2, 1, 7, padding=3)
        if neutral:
            zero(self.convolution)

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """Return the position weights (N, 1, H, W), above 0 and below 2 (neutral) or 1."""
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return self.highest * torch.sigmoid(self.convolution(summary))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale (N, C, H, W) position by position."""
        return x * self.weights(x)


class Cbam(nn.Sequential):
    """Convolutional block attention (Woo et al. 2018, 10.1007/978-3-030-01234-2_1): channels, then positions."""

    def __init__(self, channels: int, *, neutral: bool = True) -> None:
        super().__init__(ChannelAttention(channels, neutral=neutral), SpatialAttention(neutral=neutral))


class GridAttention(nn.Module):
    """Multi-head self-attention over all positions of a window's latent grid, added to its input.

    Queries, keys and values have 64 channels in 4 heads (Vaswani et al. 2017, arXiv:1706.03762); the output
    projection starts at zero, so an untrained block changes nothing.
    """

    WIDTH, HEADS = 64, 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project_in = nn.Conv2d(channels, 3 * self.WIDTH, 1)
        self.project_out = nn.Conv2d(self.WIDTH, channels, 1)
        zero(self.project_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to the same shape."""
        n, _, h, w = x.shape
        query, key, value = self.project_in(x).reshape(n, 3, self.HEADS, self.WIDTH // self.HEADS, h * w).unbind(1)
        mixed = nn.functional.scaled_dot_product_attention(query.mT, key.mT, value.mT)
        attended: torch.Tensor = self.project_out(mixed.mT.reshape(n, self.WIDTH, h, w))
        return x + attended
