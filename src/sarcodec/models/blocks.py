"""Building blocks that the variants share; none is written twice."""

from __future__ import annotations

import torch
from torch import nn


def down(channels_in: int, channels_out: int) -> nn.Sequential:
    """Halve each side: 5×5 convolution of stride 2, batch norm, LeakyReLU(0.2)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.LeakyReLU(0.2, inplace=True),
    )


def up(channels_in: int, channels_out: int) -> nn.Sequential:
    """Double each side: 4×4 transposed convolution of stride 2, batch norm, ReLU."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """A residual block (He et al. 2016, 10.1109/CVPR.2016.90), of any stride, after or before activation.

    ``y = act(F(x) + S(x))``, or ``y = F(x) + S(x)`` with activations inside F first (pre-activation, He et al. 2016,
    10.1007/978-3-319-46493-0_38). F is two 3×3 convolutions, or 1×1, 3×3, 1×1 over a quarter of the channels
    (bottleneck block). S is the identity where shapes agree, else a 1×1 convolution, strided or transposed.

    Parameters
    ----------
    channels_in, channels_out : int
        Channels of input and output.
    resample : str
        ``"keep"``, ``"down"`` (halve each side) or ``"up"`` (double; by a 4×4 transposed convolution).
    activation_first, bottleneck_block : bool
        Which of the forms above.
    slope : float
        Negative slope of the LeakyReLU; 0 is ReLU.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        resample: str = "keep",
        activation_first: bool = False,
        bottleneck_block: bool = False,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        inner = max(channels_out // 4, 1) if bottleneck_block else channels_out
        convolutions: list[nn.Module] = [_resampling(inner if bottleneck_block else channels_in, inner, resample)]
        if bottleneck_block:
            convolutions.insert(0, nn.Conv2d(channels_in, inner, 1, bias=False))
            convolutions.append(nn.Conv2d(inner, channels_out, 1, bias=False))
        else:
            convolutions.append(nn.Conv2d(inner, channels_out, 3, padding=1, bias=False))
        layers: list[nn.Module] = []
        for convolution in convolutions:
            if activation_first:
                layers += [nn.BatchNorm2d(convolution.in_channels), nn.LeakyReLU(slope), convolution]  # type: ignore[arg-type]
            else:
                layers += [convolution, nn.BatchNorm2d(convolution.out_channels), nn.LeakyReLU(slope)]  # type: ignore[arg-type]
        self.main = nn.Sequential(*(layers if activation_first else layers[:-1]))
        self.shortcut = _shortcut(channels_in, channels_out, resample)
        self.activation = nn.Identity() if activation_first else nn.LeakyReLU(slope)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, Cin, H, W) to (N, Cout, H', W')."""
        y: torch.Tensor = self.activation(self.main(x) + self.shortcut(x))
        return y


def _resampling(channels_in: int, channels_out: int, resample: str) -> nn.Module:
    if resample == "up":
        return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)
    return nn.Conv2d(channels_in, channels_out, 3, stride=2 if resample == "down" else 1, padding=1, bias=False)


def _shortcut(channels_in: int, channels_out: int, resample: str) -> nn.Module:
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

    Average pooling over the whole window, two fully connected layers with a ``reduction`` between, sigmoid.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """Return the channel weights (N, C, 1, 1) in (0, 1)."""
        gate: torch.Tensor = self.gate(x)
        return gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale (N, C, H, W) channel by channel."""
        return x * self.weights(x)


class SpatialAttention(nn.Module):
    """Scale positions by a 7×7 convolution over the mean and maximum of the channels, sigmoid (Woo et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 7, padding=3)

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """Return the position weights (N, 1, H, W) in (0, 1)."""
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.convolution(summary))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale (N, C, H, W) position by position."""
        return x * self.weights(x)


class Cbam(nn.Sequential):
    """Convolutional block attention (Woo et al. 2018, 10.1007/978-3-030-01234-2_1): channels, then positions."""

    def __init__(self, channels: int) -> None:
        super().__init__(ChannelAttention(channels), SpatialAttention())


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
        nn.init.zeros_(self.project_out.weight)
        nn.init.zeros_(self.project_out.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to the same shape."""
        n, _, h, w = x.shape
        query, key, value = self.project_in(x).reshape(n, 3, self.HEADS, self.WIDTH // self.HEADS, h * w).unbind(1)
        mixed = nn.functional.scaled_dot_product_attention(query.mT, key.mT, value.mT)
        attended: torch.Tensor = self.project_out(mixed.mT.reshape(n, self.WIDTH, h, w))
        return x + attended
