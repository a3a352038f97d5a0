"""Runs an ONNX graph by PyTorch operators, so that autograd is an independent reference.

Only what the models of this repository need; an unknown operator is an error that names it.
LoRA is added by formula (a second weight, alpha / r * B A), not by editing the graph: nothing here
shares code or method with the Rust side that it checks.
"""

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper


def lora_sites(graph, targets, operators=("MatMul", "Gemm", "Conv")):
    """Weight initializer name -> node of one of these operators, in node order."""
    weights = {i.name for i in graph.initializer}
    sites = {}
    for node in graph.node:
        if node.op_type in operators and len(node.input) > 1:
            name = node.input[1]
            if name in weights and targets(name):
                sites[name] = node
    return sites


def factor_shapes(node, weight, rank):
    """Of A and B for the weight of a node, in PEFT's orientation."""
    if node.op_type.startswith("Conv"):
        return [rank, *weight.shape[1:]], [weight.shape[0], rank, 1, 1]
    transposed = node.op_type == "Gemm" and attributes(node).get("transB", 0)
    out, inp = weight.shape if transposed else reversed(weight.shape)
    return [rank, inp], [out, rank]


def delta(node, weight, a, b, scale):
    """The change of a weight, from factors in PEFT's orientation."""
    if node.op_type.startswith("Conv"):
        return scale * torch.einsum("or,rikl->oikl", b.flatten(1), a)
    out_in = scale * (b @ a)
    transposed = node.op_type == "Gemm" and attributes(node).get("transB", 0) == 1
    return out_in if transposed else out_in.T


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


class Graph:
    """A loaded model; `run` evaluates it with given inputs and replaced weights. Its float32 is `dtype` here."""

    def __init__(self, path, device="cpu", dtype=torch.float32):
        self.model = onnx.load(path)
        self.dtype = dtype
        self.graph = self.model.graph
        self.opset = max(o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx"))
        self.weights = {
            i.name: self.wide(torch.from_numpy(np.array(numpy_helper.to_array(i))).to(device))
            for i in self.graph.initializer
        }

    def wide(self, value):
        return value.to(self.dtype) if value.dtype == torch.float32 else value

    def run(self, inputs, replaced=None, keep=()):
        """The outputs, and the tensors to keep, by name."""
        values = dict(self.weights)
        values.update(replaced or {})
        values.update(inputs)
        values[""] = None
        for node in self.graph.node:
            if all(o in values for o in node.output):
                continue
            result = evaluate(node, [values[i] for i in node.input], self.opset)
            if not isinstance(result, (tuple, list)):
                result = [result]
            values.update(zip(node.output, map(self.wide, result)))
        return {name: values[name] for name in [*(o.name for o in self.graph.output), *keep]}


class Adapted(torch.nn.Module):
    """A graph with LoRA at the constant weight of every MatMul, Gemm and Conv, as PEFT adds it: a branch beside the layer. Grouped
    convolutions have B A added to their weight. What does not depend on the inputs is computed once, and what nothing reads any
    more is let go."""

    def __init__(self, path, inputs, rank=8, alpha=16.0):
        super().__init__()
        graph = Graph(path)
        self.scale = alpha / rank
        self.outputs = [o.name for o in graph.graph.output]
        self.inputs = list(inputs)
        known, nodes = self.constants(graph, inputs)
        self.known = {name: value for name, value in known.items() if name not in inputs}
        sites = lora_sites(graph.graph, lambda name: True)
        last = {name: at for at, node in enumerate(nodes) for name in node.input}
        self.steps = []
        for at, node in enumerate(nodes):
            site = None
            if sites.get(node.input[1] if len(node.input) > 1 else "") is node:
                site = f"site{len(self.steps)}"
                a, b = self.factors(node, graph.weights[node.input[1]], rank)
                self.register_parameter(site + "a", torch.nn.Parameter(a))
                self.register_parameter(site + "b", torch.nn.Parameter(b))
            done = [name for name in set(node.input)
                    if last[name] == at and name not in self.known and name not in self.outputs]
            self.steps.append((node, RULES[node.op_type], attributes(node), site, done))

    @staticmethod
    def constants(graph, inputs):
        """All values that these inputs do not decide (shapes they do not), and the nodes that are left."""
        known, open_, nodes = {**graph.weights, "": None}, set(inputs), []
        values = {**known, **inputs}
        for node in graph.graph.node:
            x = [values[name] for name in node.input]
            result = evaluate(node, x, graph.opset)
            result = result if isinstance(result, (tuple, list)) else [result]
            values.update(zip(node.output, result))
            if node.op_type != "Shape" and any(name in open_ for name in node.input):
                open_.update(node.output)
                nodes.append(node)
            else:
                known.update(zip(node.output, result))
        return known, nodes

    @staticmethod
    def factors(node, w, rank):
        a, b = factor_shapes(node, w, rank)
        return torch.randn(a) * (1.0 / np.prod(a[1:])) ** 0.5, torch.zeros(b)

    def forward(self, *inputs):
        values = {**self.known, **dict(zip(self.inputs, inputs))}
        for node, rule, attrs, site, done in self.steps:
            x = [values[name] for name in node.input]
            if site is None:
                result = rule(list(x), attrs, node)
            else:
                a, b = getattr(self, site + "a"), getattr(self, site + "b")
                result = self.adapted(node, rule, attrs, x, a, b)
            result = result if isinstance(result, (tuple, list)) else [result]
            values.update(zip(node.output, result))
            for name in done:
                del values[name]
        return [values[name] for name in self.outputs]

    def adapted(self, node, rule, attrs, x, a, b):
        if node.op_type == "Conv" and attrs.get("group", 1) > 1:
            merged = x[1] + self.scale * torch.einsum("or,rikl->oikl", b.flatten(1), a)
            return rule([x[0], merged, *x[2:]], attrs, node)
        if node.op_type == "Conv":
            return rule(list(x), attrs, node) + self.scale * F.conv2d(conv([x[0], a], attrs, node), b)
        return rule(list(x), attrs, node) + self.scale * ((x[0] @ a.T) @ b.T)


def evaluate(node, x, opset):
    rule = RULES.get(node.op_type)
    if rule is None:
        raise NotImplementedError(f"operator {node.op_type} (node '{node.name}')")
    return rule(x, attributes(node), node)


def ints(t):
    return [int(v) for v in t.reshape(-1).tolist()]


def conv(x, a, _):
    pads = list(a.get("pads", [0, 0, 0, 0]))
    if pads[:2] != pads[2:]:
        x[0] = F.pad(x[0], [pads[1], pads[3], pads[0], pads[2]])
        pads = [0, 0, 0, 0]
    return F.conv2d(x[0], x[1], x[2] if len(x) > 2 else None, stride=list(a.get("strides", [1, 1])),
                    padding=pads[:2], dilation=list(a.get("dilations", [1, 1])), groups=a.get("group", 1))


def conv_transpose(x, a, _):
    pads = list(a.get("pads", [0, 0, 0, 0]))
    if pads[:2] != pads[2:] or a.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in a:
        raise NotImplementedError("ConvTranspose with uneven pads")
    return F.conv_transpose2d(x[0], x[1], x[2] if len(x) > 2 else None, stride=list(a.get("strides", [1, 1])),
                              padding=pads[:2], output_padding=list(a.get("output_padding", [0, 0])),
                              groups=a.get("group", 1), dilation=list(a.get("dilations", [1, 1])))


def batch_norm(x, a, _):
    """The form of inference: by the statistics that the model carries."""
    return F.batch_norm(x[0], x[3], x[4], x[1], x[2], False, 0.0, a.get("epsilon", 1e-5))


def gemm(x, a, _):
    left = x[0].T if a.get("transA", 0) else x[0]
    right = x[1].T if a.get("transB", 0) else x[1]
    y = a.get("alpha", 1.0) * (left @ right)
    return y if len(x) < 3 or x[2] is None else y + a.get("beta", 1.0) * x[2]


def slice_(x, a, _):
    if "starts" in a:
        starts, ends, axes = a["starts"], a["ends"], a.get("axes", range(len(a["starts"])))
        steps = [1] * len(starts)
    else:
        starts, ends = ints(x[1]), ints(x[2])
        axes = ints(x[3]) if len(x) > 3 and x[3] is not None else range(len(starts))
        steps = ints(x[4]) if len(x) > 4 and x[4] is not None else [1] * len(starts)
    y = x[0]
    for start, end, axis, step in zip(starts, ends, axes, steps):
        index = [slice(None)] * y.dim()
        index[axis] = slice(start, min(end, y.shape[axis]) if end >= 0 else end, step)
        y = y[tuple(index)]
    return y


def pad(x, a, _):
    mode = a.get("mode", b"constant").decode()
    pads = ints(x[1])
    rank = x[0].dim()
    if mode == "constant":
        flat = []
        for axis in reversed(range(rank)):
            flat += [pads[axis], pads[axis + rank]]
        return F.pad(x[0], flat, value=float(x[2]) if len(x) > 2 and x[2] is not None else 0.0)
    flat = [pads[3], pads[3 + rank], pads[2], pads[2 + rank]]
    return F.pad(x[0], flat, mode={"edge": "replicate", "reflect": "reflect"}[mode])


def max_pool(x, a, _):
    pads = a.get("pads", [0, 0, 0, 0])
    return F.max_pool2d(x[0], list(a["kernel_shape"]), list(a["strides"]), padding=pads[:2])


def resize(x, a, _):
    """By whole factors, to the nearest."""
    if a.get("mode", b"nearest") != b"nearest":
        raise NotImplementedError("Resize between values")
    if len(x) > 3 and x[3] is not None:
        size = ints(x[3])[2:]
    else:
        size = [int(n * s) for n, s in zip(x[0].shape[2:], x[2].reshape(-1).tolist()[2:])]
    return F.interpolate(x[0], size=size, mode="nearest")


def reduce_mean(x, a, _):
    axes = a.get("axes") or (ints(x[1]) if len(x) > 1 else None)
    return x[0].mean(dim=list(axes), keepdim=bool(a.get("keepdims", 1)))


def reduce_max(x, a, _):
    axes = a.get("axes") or (ints(x[1]) if len(x) > 1 else range(x[0].dim()))
    return x[0].amax(dim=list(axes), keepdim=bool(a.get("keepdims", 1)))


def expand(x, _a, _n):
    return torch.broadcast_to(x[0], list(torch.broadcast_shapes(x[0].shape, ints(x[1]))))


def reshape(x, a, _):
    dims = [x[0].shape[i] if d == 0 else d for i, d in enumerate(ints(x[1]))]
    return x[0].reshape(dims)


def depth_to_space(x, a, _):
    b, c, h, w = x[0].shape
    k = a["blocksize"]
    if a.get("mode", b"DCR") == b"CRD":
        return x[0].reshape(b, c // k**2, k, k, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // k**2, h * k, w * k)
    return x[0].reshape(b, k, k, c // k**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c // k**2, h * k, w * k)


def unsqueeze(x, a, _):
    y = x[0]
    for axis in sorted(a["axes"] if "axes" in a else ints(x[1])):
        y = y.unsqueeze(axis)
    return y


def split(x, a, node):
    axis = a.get("axis", 0)
    sizes = ints(x[1]) if len(x) > 1 else a.get("split") or x[0].shape[axis] // len(node.output)
    return torch.split(x[0], sizes, dim=axis)


def gather(x, a, _):
    axis = a.get("axis", 0)
    index = x[1].long()
    index = torch.where(index < 0, index + x[0].shape[axis], index)
    y = torch.index_select(x[0], axis, index.reshape(-1))
    return y.reshape(list(x[0].shape[:axis]) + list(index.shape) + list(x[0].shape[axis + 1:]))


def divide(x, a, _):
    if x[0].dtype.is_floating_point:
        return x[0] / x[1]
    return torch.div(x[0], x[1], rounding_mode="trunc")


TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}
RULES = {
    "Abs": lambda x, a, n: x[0].abs(),
    "Add": lambda x, a, n: x[0] + x[1],
    "ArgMax": lambda x, a, n: x[0].argmax(dim=a.get("axis", 0), keepdim=bool(a.get("keepdims", 1))),
    "Atan": lambda x, a, n: torch.atan(x[0]),
    "AveragePool": lambda x, a, n: F.avg_pool2d(x[0], list(a["kernel_shape"]), list(a["strides"])),
    "BatchNormalization": batch_norm,
    "Cast": lambda x, a, n: x[0].to(TYPES[a["to"]]),
    "Concat": lambda x, a, n: torch.cat(x, dim=a["axis"]),
    "Constant": lambda x, a, n: torch.from_numpy(np.array(numpy_helper.to_array(a["value"]))),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "Div": divide,
    "Expand": expand,
    "Flatten": lambda x, a, n: x[0].reshape(int(np.prod(x[0].shape[:a.get("axis", 1)])), -1),
    "Gather": gather,
    "Gemm": gemm,
    "Identity": lambda x, a, n: x[0],
    "LeakyRelu": lambda x, a, n: F.leaky_relu(x[0], a.get("alpha", 0.01)),
    "MatMul": lambda x, a, n: x[0] @ x[1],
    "MaxPool": max_pool,
    "Mul": lambda x, a, n: x[0] * x[1],
    "Not": lambda x, a, n: ~x[0],
    "Pad": pad,
    "PRelu": lambda x, a, n: torch.where(x[0] < 0, x[0] * x[1], x[0]),
    "Pow": lambda x, a, n: x[0] ** x[1],
    "Range": lambda x, a, n: torch.arange(x[0].item(), x[1].item(), x[2].item()).to(x[0].dtype),
    "ReduceMax": reduce_max,
    "ReduceMean": reduce_mean,
    "Relu": lambda x, a, n: F.relu(x[0]),
    "Reshape": reshape,
    "Resize": resize,
    "Shape": lambda x, a, n: torch.tensor(list(x[0].shape)),
    "Sigmoid": lambda x, a, n: torch.sigmoid(x[0]),
    "Slice": slice_,
    "Softmax": lambda x, a, n: torch.softmax(x[0], dim=a.get("axis", -1)),
    "Split": split,
    "Sqrt": lambda x, a, n: x[0].sqrt(),
    "Sub": lambda x, a, n: x[0] - x[1],
    "Tanh": lambda x, a, n: torch.tanh(x[0]),
    "Transpose": lambda x, a, n: x[0].permute(list(a["perm"])),
    "Unsqueeze": unsqueeze,
    "Where": lambda x, a, n: torch.where(x[0], x[1], x[2]),
}
