"""Exports PyTorch functions by both of its exporters and records their gradients: python exporters.py OUT

OUT holds, for each function and exporter, the ONNX graph as it was written, the inputs, the target and weight of its
output, and what autograd gives in float64 for the loss of operators.py. It has some whole modules as well, as
`whole.NAME.EXPORTER/model`: that every command works on them, and calls their sites as their modules are called, is what is
tested.
"""

import io
import logging
import sys
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

from recorded import first_line, keep, keep_whole, told

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
torch.manual_seed(7)

IMAGE, ROWS, TOKENS = (2, 4, 6, 6), (3, 5), (2, 3, 8)


def lstm(x, *weights):
    zeros = torch.zeros(1, x.shape[1], 3, dtype=x.dtype)
    return torch.lstm(x, (zeros, zeros), list(weights), True, 1, 0.0, False, False, False)[0]


def gru(x, *weights):
    return torch.gru(x, torch.zeros(1, x.shape[1], 3, dtype=x.dtype), list(weights), True, 1, 0.0, False, False, False)[0]


def rms(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3) * w


# Name -> (function, shapes of its inputs)
FUNCTIONS = {
    "add": (lambda a, b: a + b, [ROWS, (5,)]), "sub": (lambda a, b: a - b, [ROWS, (3, 1)]),
    "mul": (lambda a, b: a * b, [ROWS, ROWS]), "div": (lambda a, b: a / (b.abs() + 0.5), [ROWS, (5,)]),
    "pow": (lambda a, b: (a.abs() + 0.5) ** b, [ROWS, (5,)]), "maximum": (torch.maximum, [ROWS, ROWS]),
    "minimum": (torch.minimum, [ROWS, ROWS]), "clamp": (lambda a: a.clamp(-0.4, 0.6), [ROWS]),
    **{name: ((lambda f: lambda a: f(a))(f), [ROWS]) for name, f in {
        "relu": F.relu, "leaky": lambda a: F.leaky_relu(a, 0.2), "elu": F.elu, "selu": F.selu, "celu": F.celu,
        "silu": F.silu, "mish": F.mish, "softplus": F.softplus, "softsign": F.softsign, "sigmoid": torch.sigmoid,
        "tanh": torch.tanh, "hardsigmoid": F.hardsigmoid, "hardswish": F.hardswish, "gelu": F.gelu,
        "gelu_tanh": lambda a: F.gelu(a, approximate="tanh"), "erf": torch.erf, "sin": torch.sin, "cos": torch.cos,
        "atan": torch.atan, "asin": lambda a: torch.asin(0.8 * a), "acos": lambda a: torch.acos(0.8 * a),
        "exp": torch.exp, "log": lambda a: torch.log(a.abs() + 0.5), "sqrt": lambda a: torch.sqrt(a.abs() + 0.5),
        "abs": torch.abs, "neg": torch.neg, "reciprocal": lambda a: 1 / (a.abs() + 0.5), "floor": lambda a: a * torch.floor(3 * a),
        "softmax": lambda a: torch.softmax(a, 0), "log_softmax": lambda a: torch.log_softmax(a, -1),
        "sum": lambda a: a.sum(1), "mean": lambda a: a.mean(0, keepdim=True), "amax": lambda a: a.amax(1),
        "amin": lambda a: a.amin(0), "norm": lambda a: torch.linalg.vector_norm(a, dim=1),
        "logsumexp": lambda a: torch.logsumexp(a, 1), "cumsum": lambda a: a.cumsum(1), "tril": torch.tril,
        "topk": lambda a: torch.topk(a, 2, 1).values, "where": lambda a: torch.where(a > 0.1, a, a * a),
        "flip": lambda a: a.flip(1), "repeat": lambda a: a.repeat(2, 1), "chunk": lambda a: a.chunk(2, 1)[0] * 2,
        "slice": lambda a: a[1:, ::2], "index": lambda a: a[:, [3, 0, 0]], "expand": lambda a: a[:, None].expand(3, 2, 5),
        "gather": lambda a: a.gather(1, torch.tensor([[0, 1], [4, 4], [2, 0]])),
        "scatter": lambda a: a.scatter(1, torch.tensor([[0], [3], [1]]), a[:, :1] * 3),
        "normalize": lambda a: F.normalize(a, dim=1), "std": lambda a: a.std(1),
    }.items()},
    "prelu": (F.prelu, [IMAGE, (4,)]), "linear": (F.linear, [ROWS, (4, 5), (4,)]), "matmul": (torch.matmul, [TOKENS, (8, 4)]),
    "bmm": (torch.bmm, [TOKENS, (2, 8, 3)]), "einsum": (lambda a, b: torch.einsum("bij,bkj->bik", a, b), [TOKENS, TOKENS]),
    "conv": (lambda x, w, b: F.conv2d(x, w, b, 2, 1), [IMAGE, (3, 4, 3, 3), (3,)]),
    "conv_dilated": (lambda x, w: F.conv2d(x, w, None, 1, 2, 2), [IMAGE, (3, 4, 3, 3)]),
    "conv_depthwise": (lambda x, w: F.conv2d(x, w, None, 1, 1, 1, 4), [IMAGE, (4, 1, 3, 3)]),
    "conv1d": (lambda x, w: F.conv1d(x, w, None, 1, 1), [(2, 3, 7), (2, 3, 3)]),
    "conv_transpose": (lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1), [(2, 4, 3, 3), (4, 2, 3, 3), (2,)]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (8,), w, b), [TOKENS, (8,), (8,)]),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [IMAGE, (4,), (4,)]),
    "instance_norm": (lambda x, w, b: F.instance_norm(x, None, None, w, b), [IMAGE, (4,), (4,)]),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, torch.full((4,), 0.1, dtype=x.dtype), torch.full((4,), 0.8, dtype=x.dtype), w, b),
                   [IMAGE, (4,), (4,)]),
    "rms_norm": (rms, [TOKENS, (8,)]),
    "max_pool": (lambda x: F.max_pool2d(x, 3, 2, 1), [IMAGE]), "max_pool_even": (lambda x: F.max_pool2d(x, 2), [IMAGE]),
    "avg_pool": (lambda x: F.avg_pool2d(x, 3, 2, 1), [IMAGE]), "global_pool": (lambda x: F.adaptive_avg_pool2d(x, 1), [IMAGE]),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2.0), [(1, 2, 3, 3)]),
    "bilinear": (lambda x: F.interpolate(x, size=(7, 5), mode="bilinear"), [(1, 2, 3, 3)]),
    "bilinear_corners": (lambda x: F.interpolate(x, size=(7, 5), mode="bilinear", align_corners=True), [(1, 2, 3, 3)]),
    "bicubic": (lambda x: F.interpolate(x, size=(7, 5), mode="bicubic"), [(1, 2, 4, 4)]),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), [IMAGE]), "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), [IMAGE]),
    "pad": (lambda x: F.pad(x, (1, 2)), [ROWS]), "pad_reflect": (lambda x: F.pad(x, (1, 2, 1, 1), mode="reflect"), [IMAGE]),
    "pad_edge": (lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"), [IMAGE]),
    "embedding": (lambda w: F.embedding(torch.tensor([[1, 0], [3, 1]]), w), [(5, 3)]),
    "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v), [(1, 2, 3, 4)] * 3),
    "attention_causal": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), [(1, 2, 3, 4)] * 3),
    "lstm": (lstm, [(3, 2, 2), (12, 2), (12, 3), (12,), (12,)]), "gru": (gru, [(3, 2, 2), (9, 2), (9, 3), (9,), (9,)]),
    "glu": (lambda a: F.glu(a, 1), [(3, 6)]), "cat": (lambda a, b: torch.cat([a, b * b, a], 1), [ROWS, ROWS]),
    "permute": (lambda a: a.permute(2, 0, 1) * 1.5, [TOKENS]), "flatten": (lambda a: torch.tanh(a.flatten(1)), [TOKENS]),
    "mse_like": (lambda a, b: ((a - b) ** 2).mean(-1), [TOKENS, TOKENS]),
}


class Function(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


class Block(torch.nn.Module):
    """Of a transformer, as nanoGPT has it: one projection for query, key and value."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.attn = torch.nn.ModuleDict({"qkv": torch.nn.Linear(width, 3 * width, bias=False), "proj": torch.nn.Linear(width, width)})
        self.mlp = torch.nn.Sequential(torch.nn.Linear(width, 2 * width), torch.nn.GELU(), torch.nn.Linear(2 * width, width))

    def forward(self, x):
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.attn["qkv"](self.ln_1(x)).chunk(3, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["proj"](y.transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


class Tokens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Linear(4, 8)
        self.blocks = torch.nn.ModuleList([Block(8, 2) for _ in range(2)])
        self.head = torch.nn.Linear(8, 6, bias=False)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Unet(torch.nn.Module):
    """Of frames: convolutions with their normalisation folded or not, one that leads up, and what skips it."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.GroupNorm(2, 6), nn.SiLU())
        self.wide = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        near = self.stem(x)
        far = self.up(self.wide(self.down(near)))
        return torch.sigmoid(self.head(torch.cat([near, far], 1)))


class Drive(torch.nn.Module):
    """Of frames in a row: convolutions, a recurrent layer over what they see, two heads."""

    def __init__(self, cell):
        super().__init__()
        self.see = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ELU(), torch.nn.Conv2d(4, 4, 3, 2), torch.nn.Flatten())
        self.remember = cell(16, 5, batch_first=True)
        self.steer, self.throttle = torch.nn.Linear(5, 1), torch.nn.Linear(5, 1)

    def forward(self, x):
        seen = self.see(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        last = self.remember(seen)[0][:, -1]
        return torch.cat([self.steer(last), torch.tanh(self.throttle(last))], 1)


class Looks(torch.nn.Module):
    """PyTorch's own layer of a transformer."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True)
        self.value = torch.nn.Linear(8, 1)

    def forward(self, x):
        return self.value(self.layer(x))


# Name -> (module, shape of its input)
MODULES = {
    "tokens": (Tokens, (2, 5, 4)), "unet": (Unet, (2, 3, 8, 12)), "lstm": (lambda: Drive(torch.nn.LSTM), (2, 3, 3, 11, 11)),
    "gru": (lambda: Drive(torch.nn.GRU), (2, 3, 3, 11, 11)), "looks": (Looks, (2, 5, 8)),
}


def untraced(model):
    """Without the places of this file that made each node: they are of one computer."""
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        kept = [entry for entry in node.metadata_props if entry.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    return model


def export(module, inputs, dynamo):
    names = [f"x{i}" for i in range(len(inputs))]
    if dynamo:
        program = torch.onnx.export(module.eval(), tuple(inputs), input_names=names, output_names=["y0"], dynamo=True,
                                    opset_version=21, verbose=False)
        return untraced(program.model_proto).SerializeToString()
    file = io.BytesIO()
    torch.onnx.export(module.eval(), tuple(inputs), file, input_names=names, output_names=["y0"], dynamo=False,
                      opset_version=17)
    return file.getvalue()


def whole(tensors, failed):
    for name, (module, shape) in MODULES.items():
        module, x = module().eval(), torch.rand(shape)
        for dynamo in (False, True):
            case = f"{name}.{'dynamo' if dynamo else 'torchscript'}"
            try:
                model = export(module, [x], dynamo)
            except Exception as error:
                failed.append(f"{case}: {type(error).__name__}: {first_line(error)}")
                continue
            keep_whole(tensors, case, model)


def main(out):
    tensors, failed = {}, []
    for name, (function, shapes) in FUNCTIONS.items():
        inputs = [torch.rand(shape) * 2 - 1 for shape in shapes]
        wide = [x.double().requires_grad_() for x in inputs]
        y = function(*wide)
        target, weight = torch.rand(y.shape) * 2 - 1, torch.rand(y.shape[0]) + 0.5
        rows = ((y - target.double()) ** 2).reshape(len(weight), -1).mean(1)
        loss = (weight.double() * rows).sum() / len(weight)
        gradients = torch.autograd.grad(loss, wide)
        for dynamo in (False, True):
            case = f"{name}.{'dynamo' if dynamo else 'torchscript'}"
            try:
                model = export(Function(function), inputs, dynamo)
            except Exception as error:
                failed.append(f"{case}: {type(error).__name__}: {first_line(error)}")
                continue
            keep(tensors, case, model, [x.numpy() for x in inputs], [g.numpy() for g in gradients], (target.numpy(), weight.numpy()))
    whole(tensors, failed)
    save_file(tensors, out)
    told(tensors, failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
