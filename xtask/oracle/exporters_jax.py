"""Exports JAX functions by jax2onnx and records their gradients: python exporters_jax.py OUT

OUT holds what exporters.py writes of PyTorch's exporters: for each function the ONNX graph, the inputs, the target and weight of
its output, and what jax.grad gives in float64 for the loss of operators.py. It has some whole models of Flax as well, as
`whole.NAME/model`: what they compute is their own business, that every command works on them is what is tested.
"""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax, nn
from jax2onnx import to_onnx
from safetensors.numpy import save_file

from recorded import differs, first_line, keep, keep_whole, told

warnings.simplefilter("ignore")
IMAGE, ROWS, TOKENS = (2, 6, 6, 4), (3, 5), (2, 3, 8)
NHWC = ("NHWC", "HWIO", "NHWC")


def conv(x, w, stride=1, padding="SAME", **more):
    return lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=NHWC, **more)


def norm(x, w, b, axes):
    return (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + 1e-3) * w + b


def pool(x, start, step, window, stride, padding):
    return lax.reduce_window(x, start, step, (1, window, window, 1), (1, stride, stride, 1), padding)


def scan(x, w, u):
    def body(h, row):
        h = jnp.tanh(row @ w + h @ u)
        return h, h
    return lax.scan(body, jnp.zeros((2, 5), x.dtype), x.swapaxes(0, 1))[1].swapaxes(0, 1)


def rounds(x, u):
    return lax.fori_loop(0, 3, lambda _i, h: jnp.tanh(h @ u), x)


def gru_cell(x, h, w, u):
    r, z, n = jnp.split(x @ w, 3, -1)
    a, b, c = jnp.split(h @ u, 3, -1)
    r, z = nn.sigmoid(r + a), nn.sigmoid(z + b)
    return (1 - z) * jnp.tanh(n + r * c) + z * h


def away(a):
    return jnp.abs(a) + 0.5


# Name -> (function, shapes of its inputs)
FUNCTIONS = {
    "add": (lambda a, b: a + b, [ROWS, (5,)]), "sub": (lambda a, b: a - b, [ROWS, (3, 1)]),
    "mul": (lambda a, b: a * b, [ROWS, ROWS]), "div": (lambda a, b: a / away(b), [ROWS, (5,)]),
    "pow": (lambda a, b: away(a) ** b, [ROWS, (5,)]), "maximum": (jnp.maximum, [ROWS, ROWS]),
    "minimum": (jnp.minimum, [ROWS, ROWS]), "arctan2": (lambda a, b: jnp.arctan2(a, away(b)), [ROWS, ROWS]),
    "stack": (lambda a, b: jnp.stack([a, b * b], 1), [ROWS, ROWS]), "concat": (lambda a, b: jnp.concatenate([a, b * b, a], 1), [ROWS, ROWS]),
    "logaddexp": (jnp.logaddexp, [ROWS, ROWS]), "hypot": (lambda a, b: jnp.sqrt(a * a + b * b + 0.1), [ROWS, ROWS]),
    **{name: ((lambda f: lambda a: f(a))(f), [ROWS]) for name, f in {
        "relu": nn.relu, "relu6": lambda a: nn.relu6(8 * a), "leaky_relu": lambda a: nn.leaky_relu(a, 0.2), "elu": nn.elu,
        "selu": nn.selu, "celu": nn.celu, "silu": nn.silu, "mish": nn.mish, "softplus": nn.softplus, "soft_sign": nn.soft_sign,
        "sigmoid": nn.sigmoid, "log_sigmoid": nn.log_sigmoid, "tanh": jnp.tanh, "hard_tanh": nn.hard_tanh, "hard_sigmoid": nn.hard_sigmoid,
        "hard_swish": nn.hard_swish, "gelu": lambda a: nn.gelu(a, approximate=False), "gelu_tanh": nn.gelu, "glu": lambda a: nn.glu(a[:, :4], 1),
        "erf": lax.erf, "sin": jnp.sin, "cos": jnp.cos, "tan": jnp.tan, "arctan": jnp.arctan, "arcsin": lambda a: jnp.arcsin(0.8 * a),
        "arccos": lambda a: jnp.arccos(0.8 * a), "sinh": jnp.sinh, "cosh": jnp.cosh, "exp": jnp.exp, "expm1": jnp.expm1,
        "log": lambda a: jnp.log(away(a)), "log1p": lambda a: jnp.log1p(away(a)), "sqrt": lambda a: jnp.sqrt(away(a)),
        "rsqrt": lambda a: lax.rsqrt(away(a)), "square": jnp.square, "cube": lambda a: a ** 3, "abs": jnp.abs, "neg": jnp.negative,
        "reciprocal": lambda a: 1 / away(a), "clip": lambda a: jnp.clip(a, -0.4, 0.6), "floor": lambda a: a * jnp.floor(3 * a),
        "softmax": nn.softmax, "log_softmax": lambda a: nn.log_softmax(a, 0), "sum": lambda a: a.sum(1), "mean": lambda a: a.mean(0, keepdims=True),
        "max": lambda a: a.max(1), "min": lambda a: a.min(0), "prod": lambda a: away(a).prod(1), "logsumexp": lambda a: nn.logsumexp(a, 1),
        "norm": lambda a: jnp.linalg.norm(a, axis=1), "std": lambda a: a.std(1), "var": lambda a: a.var(0), "cumsum": lambda a: jnp.cumsum(a, axis=1),
        "top_k": lambda a: lax.top_k(a, 2)[0], "where": lambda a: jnp.where(a > 0.1, a, a * a), "flip": lambda a: jnp.flip(a, 1),
        "tile": lambda a: jnp.tile(a, (2, 1)), "repeat": lambda a: jnp.repeat(a, 2, 1), "roll": lambda a: jnp.roll(a, 2, 1),
        "split": lambda a: jnp.split(a, (2,), 1)[1] * 2, "strided": lambda a: a[1:, ::2], "take": lambda a: a[:, jnp.array([3, 0, 0])],
        "gather": lambda a: jnp.take_along_axis(a, jnp.array([[0, 1], [4, 4], [2, 0]]), 1), "set": lambda a: a.at[1].set(a[0] * 3),
        "add_at": lambda a: a.at[jnp.array([0, 2])].add(1.5), "tril": jnp.tril, "broadcast": lambda a: jnp.broadcast_to(a[:, None], (3, 2, 5)),
        "pad": lambda a: jnp.pad(a, ((0, 1), (2, 0))), "pad_edge": lambda a: jnp.pad(a, ((1, 0), (0, 2)), mode="edge"),
        "dynamic_slice": lambda a: lax.dynamic_slice(a, (1, 2), (2, 3)) * 2, "one_hot": lambda a: a * nn.one_hot(jnp.array([0, 3, 2]), 5, dtype=a.dtype),
        "cond": lambda a: lax.cond(True, lambda x: x * x, lambda x: x, a),
    }.items()},
    "matmul": (jnp.matmul, [TOKENS, (2, 8, 3)]), "dense": (lambda x, w, b: x @ w + b, [TOKENS, (8, 4), (4,)]),
    "dot_turned": (lambda a, b: a @ b.T, [ROWS, (4, 5)]), "einsum": (lambda a, b: jnp.einsum("bij,bkj->bik", a, b), [TOKENS, TOKENS]),
    "outer": (lambda a, b: jnp.einsum("bi,bj->bij", a, b), [ROWS, ROWS]),
    "conv": (lambda x, w, b: conv(x, w, 2) + b, [IMAGE, (3, 3, 4, 3), (3,)]), "conv_valid": (lambda x, w: conv(x, w, 1, "VALID"), [IMAGE, (3, 2, 4, 3)]),
    "conv_dilated": (lambda x, w: conv(x, w, rhs_dilation=(2, 2)), [IMAGE, (3, 3, 4, 3)]),
    "conv_depthwise": (lambda x, w: conv(x, w, feature_group_count=4), [IMAGE, (3, 3, 1, 4)]),
    "conv_transpose": (lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=NHWC), [(2, 3, 3, 4), (3, 3, 4, 2)]),
    "layer_norm": (lambda x, w, b: norm(x, w, b, -1), [TOKENS, (8,), (8,)]), "instance_norm": (lambda x, w, b: norm(x, w, b, (1, 2)), [IMAGE, (4,), (4,)]),
    "rms_norm": (lambda x, w: x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-3) * w, [TOKENS, (8,)]),
    "max_pool": (lambda x: nnx.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding="SAME"), [IMAGE]), "max_pool_valid": (lambda x: nnx.max_pool(x, window_shape=(2, 2), strides=(2, 2)), [IMAGE]),
    "avg_pool": (lambda x: nnx.avg_pool(x, window_shape=(2, 2), strides=(2, 2)), [IMAGE]), "window_sum": (lambda x: pool(x, 0.0, lax.add, 2, 2, "VALID") / 4, [IMAGE]), "global_pool": (lambda x: x.mean((1, 2)), [IMAGE]),
    "nearest": (lambda x: jax.image.resize(x, (2, 12, 12, 4), "nearest"), [IMAGE]),
    "bilinear": (lambda x: jax.image.resize(x, (2, 9, 12, 4), "bilinear"), [IMAGE]),
    "flatten": (lambda x: jnp.tanh(x.reshape(2, -1)), [IMAGE]), "transpose": (lambda x: x.transpose(0, 3, 1, 2) * 1.5, [IMAGE]),
    "embedding": (lambda w: w[jnp.array([[1, 0], [3, 1]])], [(5, 3)]), "attention": (lambda q, k, v: nn.dot_product_attention(q, k, v), [(1, 3, 2, 4)] * 3),
    "attention_causal": (lambda q, k, v: nn.dot_product_attention(q, k, v, is_causal=True), [(1, 3, 2, 4)] * 3),
    "scan": (scan, [(2, 4, 3), (3, 5), (5, 5)]), "fori": (rounds, [(2, 5), (5, 5)]), "gru_cell": (gru_cell, [(2, 3), (2, 4), (3, 12), (4, 12)]),
}


class Pilot(nnx.Module):
    def __init__(self, rngs):
        self.convs = nnx.List([nnx.Conv(3, 4, (5, 5), strides=2, padding="VALID", rngs=rngs), nnx.Conv(4, 6, (3, 3), strides=2, rngs=rngs)])
        self.norm, self.out = nnx.BatchNorm(6, use_running_average=True, rngs=rngs), nnx.Linear(6, 1, rngs=rngs)

    def __call__(self, x):
        for conv in self.convs:
            x = nnx.elu(conv(x))
        return self.out(self.norm(x).mean((1, 2)))


class Block(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = nnx.LayerNorm(8, rngs=rngs), nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 8, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.first(x))
        return x + self.down(nnx.gelu(self.up(self.second(x))))


class Lstm(nnx.Module):
    """A recurrent layer as lax.scan, as flax.nnx.RNN has it."""

    def __init__(self, rngs):
        self.w, self.u, self.out = nnx.Linear(3, 20, rngs=rngs), nnx.Linear(5, 20, use_bias=False, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x):
        def body(state, row):
            h, c = state
            i, f, g, o = jnp.split(self.w(row) + self.u(h), 4, -1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h
        zeros = jnp.zeros((x.shape[0], 5))
        return self.out(lax.scan(body, (zeros, zeros), x.swapaxes(0, 1))[1][-1])


class Cells(nnx.Module):
    """A recurrent cell that is called step by step."""

    def __init__(self, rngs):
        self.cell, self.out = nnx.GRUCell(3, 5, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x):
        h = jnp.zeros((x.shape[0], 5))
        for step in range(x.shape[1]):
            h, _ = self.cell(h, x[:, step])
        return self.out(h)


# Name -> (module, shape of its input)
MODELS = {"pilot": (Pilot, (2, 20, 24, 3)), "block": (Block, (2, 5, 8)), "lstm": (Lstm, (2, 4, 3)), "cells": (Cells, (2, 4, 3))}


def export(function, inputs):
    spec = [jax.ShapeDtypeStruct(x.shape, jnp.float32) for x in inputs]
    model = to_onnx(function, spec, input_names=[f"x{i}" for i in range(len(inputs))], output_names=["y0"])
    return model.SerializeToString()


def main(out):
    random, tensors, failed = np.random.default_rng(7), {}, []
    for name, (function, shapes) in FUNCTIONS.items():
        inputs = [(random.random(shape) * 2 - 1).astype(np.float32) for shape in shapes]
        jax.config.update("jax_enable_x64", True)
        wide = [jnp.asarray(x, jnp.float64) for x in inputs]
        shape = jax.eval_shape(function, *wide).shape
        target = (random.random(shape) * 2 - 1).astype(np.float32)
        weight = (random.random(shape[0]) + 0.5).astype(np.float32)

        def loss(*x):
            rows = ((function(*x) - target.astype(np.float64)) ** 2).reshape(len(weight), -1).mean(1)
            return (weight * rows).sum() / len(weight)

        gradients = jax.grad(loss, tuple(range(len(wide))))(*wide)
        jax.config.update("jax_enable_x64", False)
        case = f"{name}.jax2onnx"
        try:
            model = export(function, inputs)
        except Exception as error:
            failed.append(f"{case}: {type(error).__name__}: {first_line(error)}")
            continue
        wrong = differs(model, inputs, function(*[jnp.asarray(x) for x in inputs]))
        if wrong:
            failed.append(f"{case}: {wrong}")
            continue
        keep(tensors, case, model, inputs, gradients, (target, weight))
    for name, (module, shape) in MODELS.items():
        model = export(module(nnx.Rngs(7)), [np.zeros(shape, np.float32)])
        keep_whole(tensors, name, model)
    save_file(tensors, out)
    told(tensors, failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
