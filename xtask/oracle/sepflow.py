"""The default world model as a PyTorch user would write it, with weights read from the ONNX file.

Used as the speed peer of the bench (eager and torch.compile) and as a second opinion on the graph.
"""

import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import numpy_helper


class Lora(nn.Module):
    """A convolution with a rank-r branch: k x k to r channels, then 1 x 1, as PEFT does."""

    def __init__(self, conv, rank, alpha):
        super().__init__()
        self.base = conv.requires_grad_(False)
        self.a = nn.Conv2d(conv.in_channels, rank, conv.kernel_size, conv.stride, conv.padding, bias=False)
        self.b = nn.Conv2d(rank, conv.out_channels, 1, bias=False)
        nn.init.zeros_(self.b.weight)
        self.scale = alpha / rank

    def forward(self, x):
        return self.base(x) + self.b(self.a(x)) * self.scale


class Sepflow(nn.Module):
    def __init__(self, channels=(40, 88, 128), pairs_half=3, pairs_full=2, differences=False):
        super().__init__()
        fine, middle, coarse = channels
        self.pairs_half, self.pairs_full, self.differences = pairs_half, pairs_full, differences
        conv = nn.Conv2d
        self.layers = nn.ModuleDict({
            "enc_patch": conv(12 if differences else 3, fine, 4, 4),
            "enc_match": conv(49 * (pairs_half + pairs_full), fine, 1, bias=False),
            "enc1_0": conv(fine, fine, 3, padding=1),
            "down1": conv(fine, middle, 2, 2),
            "enc2_0": conv(middle, middle, 3, padding=1),
            "enc2_1": conv(middle, middle, 3, padding=1),
            "down2": conv(middle, coarse, 2, 2),
            "enc3_0": conv(coarse, coarse, 3, padding=1),
            "up2": conv(coarse, 4 * middle, 1),
            "dec2_0": conv(middle, middle, 3, padding=1),
            "up1": conv(middle, 4 * fine, 1),
            "dec1_0": conv(fine, fine, 3, padding=1),
            "head": conv(fine, 48 + 104, 1),
        })
        self.motion = nn.Linear(2, coarse)
        self.register_buffer("shift", torch.eye(49).reshape(49, 1, 7, 7))

    def load(self, path):
        weights = {i.name: torch.from_numpy(np.array(numpy_helper.to_array(i)))
                   for i in onnx.load(path).graph.initializer}
        with torch.no_grad():
            for name, layer in self.layers.items():
                onnx_name = name.replace("_patch", ".patch").replace("_match", ".match")
                onnx_name = onnx_name.replace("_0", ".0").replace("_1", ".1")
                layer.weight.copy_(weights[f"{onnx_name}.weight"])
                if layer.bias is not None:
                    layer.bias.copy_(weights[f"{onnx_name}.bias"])
            self.motion.weight.copy_(weights["motion.weight"].T)
            self.motion.bias.copy_(weights["motion.bias"])
        return self

    def graft(self, rank=8, alpha=16.0):
        self.requires_grad_(False)
        for name in list(self.layers):
            self.layers[name] = Lora(self.layers[name], rank, alpha)
        return self

    def match(self, newer, older, stride):
        shifted = F.conv2d(F.pad(older, (3, 3, 3, 3), mode="replicate"), self.shift, stride=stride)
        volume = F.avg_pool2d((shifted - newer[..., ::stride, ::stride]).abs(), 2)
        return 10 * (volume - volume.mean(1, keepdim=True))

    def cost(self, past):
        half = [F.avg_pool2d(f.mean(1, keepdim=True), 2) for f in reversed(past)]
        full = [f.mean(1, keepdim=True) for f in reversed(past)]
        volumes = [self.match(half[i], half[i + 1], 1) for i in range(self.pairs_half)]
        volumes += [self.match(full[i], full[i + 1], 2) for i in range(self.pairs_full)]
        return torch.cat(volumes, 1)

    def residual(self, name, x):
        return x + 0.5 * F.silu(self.layers[name](x))

    def forward(self, frames, motion):
        past = [frames[:, i] for i in range(4)]
        last = past[3]
        with torch.no_grad():
            cost = self.cost(past)
            feature = [last - 0.5] + ([3 * (last - p) for p in past[:3]] if self.differences else [])
            feature = torch.cat(feature, 1)
        layer = self.layers
        a = self.residual("enc1_0", F.silu(layer["enc_patch"](feature) + layer["enc_match"](cost)))
        x = F.silu(layer["down1"](a))
        b = self.residual("enc2_1", self.residual("enc2_0", x))
        x = F.silu(layer["down2"](b)) + self.motion(motion)[:, :, None, None]
        x = self.residual("enc3_0", x)
        x = self.residual("dec2_0", F.pixel_shuffle(layer["up2"](x), 2) + b)
        x = self.residual("dec1_0", F.pixel_shuffle(layer["up1"](x), 2) + a)
        head = layer["head"](x)
        kernels = F.pixel_shuffle(head[:, 48:], 2)
        wx = F.interpolate(torch.softmax(kernels[:, :15], 1), scale_factor=2, mode="nearest")
        wy = F.interpolate(torch.softmax(kernels[:, 15:], 1), scale_factor=2, mode="nearest")
        height, width = last.shape[-2:]
        padded = F.pad(last, (7, 7, 0, 0), mode="replicate")
        y = sum(wx[:, i:i + 1] * padded[..., i:i + width] for i in range(15))
        tall = F.pad(last, (0, 0, 5, 5), mode="replicate") + F.pad(y - last, (0, 0, 5, 5))
        z = sum(wy[:, j:j + 1] * tall[..., j:j + height, :] for j in range(11))
        residual = F.pixel_shuffle(head[:, :48], 2)
        return z + 0.1 * unfold(residual)


def unfold(x):
    """Channels in the order (row parity, colour, column parity) back to pixels."""
    b, _, h, w = x.shape
    return x.reshape(b, 2, 3, 2, h, w).permute(0, 2, 4, 1, 5, 3).reshape(b, 3, 2 * h, 2 * w)
