"""Records what PyTorch's autograd computes, in float64, for models as others trained them: python models.py OUT NAME=FILE...

Only gradients are recorded, of two factors at every MatMul, Gemm, Conv and ConvTranspose with a stored weight: inputs, factors,
targets and weights are numbers that the test makes, too (`numbers`). OUT is a safetensors file of `NAME/loss` and
`NAME/grad.lora.<weight>.A` and `.B`, float32; its metadata names the SHA-256 of each file.
"""

import hashlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file

import onnx_torch

RANK, ALPHA = 2, 4.0
CLASSES = 500
SITES = ("MatMul", "Gemm", "Conv", "ConvTranspose")


def numbers(name, shape):
    """Between 0 and 1: the same for a name and a place wherever they are made."""
    salt = sum(name.encode())
    places = np.arange(int(np.prod(shape)), dtype=np.int64)
    return ((places * 7919 + salt * 104729) % 1009).reshape(shape) / 1009


def floats(values):
    """As the engines read them: float32."""
    return torch.from_numpy(np.asarray(values, dtype=np.float32)).double()


def factors(name, weight, node):
    a, b = onnx_torch.factor_shapes(node, weight, RANK)
    wide = (numbers(f"lora.{name}.A", a) - 0.5) * (2 * np.sqrt(3 / np.prod(a[1:])))
    narrow = (numbers(f"lora.{name}.B", b) - 0.5) * 0.04
    return floats(wide).requires_grad_(), floats(narrow).requires_grad_()


def weights(name, shape):
    return floats(numbers(f"weight.{name}", shape) + 0.5)


def regression(each):
    """A loss of values, from what each of them costs: weighed by sample."""
    def loss(tensors, name):
        y = tensors[name]
        target = floats(numbers(f"target.{name}", list(y.shape)))
        return (weights(name, [y.shape[0]]) * each(tensors, y, target).flatten(1).mean(1)).mean()
    return loss


def cross_entropy(tensors, name):
    y = tensors[name]
    rows = list(y.shape[:-1])
    target = torch.from_numpy((numbers(f"target.{name}", rows) * CLASSES).astype(np.int64))
    picked = torch.log_softmax(y, -1).gather(-1, target[..., None])[..., 0]
    return (weights(name, rows) * -picked).mean()


def nll(log_variance):
    def each(tensors, y, target):
        s = tensors[log_variance]
        return 0.5 * (s + (y - target) ** 2 * torch.exp(-s))
    return regression(each)


mse = regression(lambda _, y, target: (y - target) ** 2)
charbonnier = regression(lambda _, y, target: torch.sqrt((y - target) ** 2 + 1e-6))

# The batch, and the loss at each tensor. The classifier's is where its most likely class is taken from.
KINDS = {
    "dave_small": (1, {"20": mse}),
    "pilotnet_classifier512": (1, {"onnx::ArgMax_78": cross_entropy}),
    "pilotnet_mae": (1, {"78": mse}),
    "pilotnet_vanilla": (2, {"78": charbonnier}),
    "pilotnet_gray": (2, {"output": mse}),
    "twinlitenet": (1, {"da": nll("ll"), "ll": mse}),
    "yolox_nano": (1, {"output": mse}),
    "world": (2, {"next": charbonnier}),
    "policy": (2, {"action": cross_entropy}),
}


def inputs(graph, batch):
    made = {}
    for value in graph.graph.input:
        if value.name in graph.weights:
            continue
        dims = [d.dim_value or batch for d in value.type.tensor_type.shape.dim]
        made[value.name] = floats(numbers(value.name, dims))
    return made


def record(name, path):
    batch, losses = KINDS[name]
    graph = onnx_torch.Graph(path, dtype=torch.float64)
    sites = onnx_torch.lora_sites(graph.graph, lambda _: True, SITES)
    made = {site: factors(site, graph.weights[site], node) for site, node in sites.items()}
    replaced = {
        site: graph.weights[site] + onnx_torch.delta(node, graph.weights[site], *made[site], ALPHA / RANK)
        for site, node in sites.items()
    }
    tensors = graph.run(inputs(graph, batch), replaced, keep=list(losses))
    loss = sum(loss_of(tensors, tensor) for tensor, loss_of in losses.items())
    loss.backward()
    yield f"{name}/loss", loss.detach().reshape(1)
    for site, (a, b) in made.items():
        # What no loss depends on has none.
        if a.grad is not None:
            yield f"{name}/grad.lora.{site}.A", a.grad
            yield f"{name}/grad.lora.{site}.B", b.grad


def main(out, *models):
    recorded, about = {}, {"torch": torch.__version__}
    for name, path in (model.split("=", 1) for model in models):
        about[f"sha256.{name}"] = hashlib.sha256(open(path, "rb").read()).hexdigest()
        of_this = {key: value.float().contiguous() for key, value in record(name, path)}
        print(f"{name}: {len(of_this) // 2} sites, loss {of_this[name + '/loss'].item():.6f}", flush=True)
        recorded.update(of_this)
    save_file(recorded, out, metadata=about)


if __name__ == "__main__":
    main(*sys.argv[1:])
