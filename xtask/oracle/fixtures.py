"""Records what PyTorch's autograd computes for whole models: python fixtures.py MODEL KIND OUT

KIND is `world` or `tinyphysics`. OUT is a safetensors file with every input, every factor, the loss
and the gradient of every factor (and, for `world`, of every weight), float32; its metadata names the
SHA-256 of the model file that it belongs to.
"""

import fnmatch
import hashlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file

import onnx_torch

RANK, ALPHA = 8, 16.0


def excluded(name, patterns):
    return any(fnmatch.fnmatch(name, p) for p in patterns)


def factors(sites, weights, generator):
    """Random A and B in PEFT's orientation; B is not zero, or A's gradient would be."""
    made = {}
    for name, node in sites.items():
        a, b = onnx_torch.factor_shapes(node, weights[name], RANK)
        fan = float(np.prod(a[1:]))
        made[f"lora.{name}.A"] = (torch.rand(a, generator=generator) * 2 - 1) * (3.0 / fan) ** 0.5
        made[f"lora.{name}.B"] = torch.randn(b, generator=generator) * 0.02
    return made


def world_inputs(generator):
    """Two clips of smooth moving patterns, as frames in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(128.0), indexing="ij")
    frames = torch.zeros(2, 5, 3, 64, 128)
    for b in range(2):
        for _ in range(24):
            wave = torch.rand(4, generator=generator)
            colour = torch.rand(3, generator=generator) - 0.5
            for t in range(5):
                phase = (0.05 + wave[0]) * (x - t * (6 * wave[2] - 3)) + (0.05 + wave[1]) * (y - t * (4 * wave[3] - 2))
                frames[b, t] += 0.15 * colour[:, None, None] * torch.sin(phase)[None]
    frames = (frames + 0.5).clamp(0, 1)
    motion = torch.rand(2, 2, generator=generator)
    inputs = {"frames": frames[:, :4].contiguous(), "motion": motion}
    return inputs, {"target.next": frames[:, 4].contiguous(), "weight.next": torch.tensor([0.7, 1.9])}


def tinyphysics_inputs(generator):
    states = torch.randn(2, 20, 4, generator=generator) * torch.tensor([0.1, 0.0, 5.0, 0.5])
    states[..., 2] += 25
    tokens = torch.randint(480, 540, (2, 20), generator=generator)
    target = torch.randint(480, 540, (2, 20), generator=generator)
    weight = torch.rand(2, 20, generator=generator)
    return {"states": states, "tokens": tokens}, {"target.output": target, "weight.output": weight}


def loss_world(outputs, labels):
    error = ((outputs["next"] - labels["target.next"]) ** 2).flatten(1).mean(1)
    return (labels["weight.next"] * error).mean()


def loss_tinyphysics(outputs, labels):
    logs = torch.log_softmax(outputs["output"], -1)
    picked = logs.gather(-1, labels["target.output"][..., None])[..., 0]
    return (labels["weight.output"] * -picked).mean()


KINDS = {
    "world": (world_inputs, loss_world, ["*.const", "motion.*"], True),
    "tinyphysics": (tinyphysics_inputs, loss_tinyphysics, [], False),
}


def main(path, kind, out):
    make, loss_of, skip, all_weights = KINDS[kind]
    generator = torch.Generator().manual_seed(20261120)
    graph = onnx_torch.Graph(path)
    inputs, labels = make(generator)
    sites = onnx_torch.lora_sites(graph.graph, lambda name: not excluded(name, skip))
    made = factors(sites, graph.weights, generator)
    for value in made.values():
        value.requires_grad_()
    replaced = {
        name: graph.weights[name]
        + onnx_torch.delta(node, graph.weights[name], made[f"lora.{name}.A"], made[f"lora.{name}.B"], ALPHA / RANK)
        for name, node in sites.items()
    }
    loss = loss_of(graph.run(inputs, replaced), labels)
    loss.backward()
    record = {**inputs, **labels, "loss": loss.detach().reshape(1)}
    for name, value in made.items():
        record[name] = value.detach().contiguous()
        record[f"grad.{name}"] = value.grad.contiguous()
    if all_weights:
        learnt = {n: w.clone().requires_grad_() for n, w in graph.weights.items()
                  if w.dtype == torch.float32 and w.dim() > 0 and (n.endswith(".weight") or n.endswith(".bias"))}
        loss = loss_of(graph.run(inputs, learnt), labels)
        loss.backward()
        record["loss.weights"] = loss.detach().reshape(1)
        for name, value in learnt.items():
            record[f"grad.weight.{name}"] = value.grad.contiguous()
    sha = hashlib.sha256(open(path, "rb").read()).hexdigest()
    save_file(record, out, metadata={"model_sha256": sha, "torch": torch.__version__})
    print(f"{out}: {len(made)} factors, loss {loss.item():.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
