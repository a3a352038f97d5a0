"""Times PyTorch's LoRA step of the default world model: python step.py MODEL --threads N [--compile]

One JSON line: median and quartiles of user CPU and wall milliseconds a step (forward, backward, clip,
AdamW; batch 8, rank 8), and peak memory of the process beyond what it had after loading, in MiB.
Memory is the high water mark of resident memory, as the Rust side measures it.
"""

import argparse
import json
import resource
import statistics
import time

import torch

import sepflow


def resident_mib():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return float(lines["VmRSS"].split()[0]) / 1024, float(lines["VmHWM"].split()[0]) / 1024


def reset_high_water():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = sepflow.Sepflow().load(args.model).graft()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99))
    frames, motion = torch.rand(8, 4, 3, 64, 128), torch.zeros(8, 2)
    target, weight = torch.rand(8, 3, 64, 128), torch.ones(8)
    run = torch.compile(model) if args.compile else model

    def step():
        optimiser.zero_grad()
        error = ((run(frames, motion) - target) ** 2).flatten(1).mean(1)
        loss = (weight * error).mean()
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
        "threads": args.threads,
        "user_ms": {"q1": quartiles[0], "median": quartiles[1], "q3": quartiles[2]},
        "wall_ms": {"median": statistics.median(wall)},
        "peak_mib": peak - loaded,
    }))


if __name__ == "__main__":
    main()
