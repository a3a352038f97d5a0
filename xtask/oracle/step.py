"""Times PyTorch's LoRA step: python step.py MODEL --batch N --threads N [--device cuda] [--compile]

The default world model is a PyTorch module of its own (sepflow.py), any other graph is run operator by operator (onnx_torch.py).
One JSON line: median and quartiles of user CPU and wall milliseconds a step (forward, backward, clip,
AdamW; rank 8), and peak memory of the process beyond what it had after loading, in MiB.
On an accelerator everything of a step is there, in float32 without TF32; a step ends when its loss is here.
Memory is the high water mark of resident memory, as the Rust side measures it.
"""

import argparse
import ctypes
import json
import resource
import statistics
import time

import onnx
import torch

import onnx_torch
import sepflow


def resident_mib():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return float(lines["VmRSS"].split()[0]) / 1024, float(lines["VmHWM"].split()[0]) / 1024


def reset_high_water():
    # What the first run took and gave back is not held to be loaded.
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def world(path, batch, device):
    """The model, its inputs, and the loss of its outputs."""
    model = sepflow.Sepflow().load(path).graft()
    inputs = torch.rand(batch, 4, 3, 64, 128), torch.zeros(batch, 2)
    target, weight = torch.rand(batch, 3, 64, 128, device=device), torch.ones(batch, device=device)
    return model, inputs, lambda y: (weight * ((y - target) ** 2).flatten(1).mean(1)).mean()


def graph(path, batch, device):
    """The same of any graph; its open dimensions are the batch. Loss: mean squared error of every output of floats."""
    inputs = {}
    proto = onnx.load(path).graph
    weights = {i.name for i in proto.initializer}
    for port in proto.input:
        if port.name not in weights:
            tensor = port.type.tensor_type
            dims = [d.dim_value or batch for d in tensor.shape.dim]
            kind = onnx_torch.TYPES[tensor.elem_type]
            inputs[port.name] = torch.rand(dims) if kind == torch.float32 else torch.zeros(dims, dtype=kind)
    model = onnx_torch.Adapted(path, inputs)
    with torch.no_grad():
        targets = [torch.rand_like(y).to(device) for y in model(*inputs.values())]
    # Integers are shapes and axes, which are read on the host.
    here = (torch.int64, torch.int32)
    model.known = {name: y if y is None or y.dtype in here else y.to(device) for name, y in model.known.items()}

    def loss(outputs):
        return sum(((y - t) ** 2).mean() for y, t in zip(outputs, targets))

    return model, list(inputs.values()), loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    names = {i.name for i in onnx.load(args.model).graph.initializer}
    model, inputs, measure = (world if "enc.patch.weight" in names else graph)(args.model, args.batch, args.device)
    model, inputs = model.to(args.device), [x.to(args.device) for x in inputs]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99))
    run = torch.compile(model) if args.compile else model

    def step():
        optimiser.zero_grad()
        loss = measure(run(*inputs))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        return loss.item()

    reset_high_water()
    loaded, _ = resident_mib()
    for _ in range(5):
        step()
    if args.compile:
        reset_high_water()
    user, wall = [], []
    for _ in range(args.steps):
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.perf_counter()
        step()
        user.append(1e3 * (resource.getrusage(resource.RUSAGE_SELF).ru_utime - before))
        wall.append(1e3 * (time.perf_counter() - start))
    _, peak = resident_mib()
    quartiles = statistics.quantiles(user, n=4)
    print(json.dumps({
        "what": "torch.compile" if args.compile else "torch eager",
        "version": torch.__version__,
        "device": torch.cuda.get_device_name() if args.device == "cuda" else args.device,
        "batch": args.batch,
        "threads": args.threads,
        "parameters": sum(p.numel() for p in parameters),
        "user_ms": {"q1": quartiles[0], "median": quartiles[1], "q3": quartiles[2]},
        "wall_ms": {"median": statistics.median(wall)},
        "peak_mib": peak - loaded,
    }))


if __name__ == "__main__":
    main()
