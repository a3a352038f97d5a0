"""FedAvg of LoRA on the default world model in Flower's simulation engine: python flower_training.py MODEL NIGHTS ...

NIGHTS is what `cargo run -p shoal-sim --example nights` wrote: the batches of every night of every vehicle, so both sides
train on the same numbers. The network is sepflow.py's, in PyTorch, one thread a client; the recipe is the one of
`shoal_shadow::tune`. A client keeps its network from round to round, which favours Flower. One JSON line: seconds of the
rounds after the warm ones, CPU seconds of clients and server in them (not of Ray's own processes), seconds of all with
Ray's start, and how far the adapters of the first round are from those that
`shoal sim` kept in RESULTS for the same nights.
"""

import argparse
import glob
import json
import logging
import os
import time

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Its workers give way to everything else on the machine otherwise, and ours do not.
os.environ["RAY_worker_niceness"] = "0"

import flwr
import numpy as np
import ray
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

STORED_HEAD = 8 + 32
WARM_UP_STEPS, AVERAGE = 5, 0.95


class Clients:
    """What a client needs, made once a process."""

    def __init__(self, model, nights, rate):
        self.model, self.nights, self.rate, self.network = model, nights, rate, None

    def open(self):
        if self.network is not None:
            return
        import torch

        import sepflow

        torch.set_num_threads(1)
        self.network = sepflow.Sepflow().load(self.model).graft()
        layers = self.network.layers
        with open(f"{self.nights}/factors.json") as file:
            factors = json.load(file)
        self.factors = []
        for name, dims in factors:
            layer, letter = name.removeprefix("lora.").rsplit(".", 1)
            layer = layer.removesuffix(".weight").replace(".", "_")
            weight = getattr(layers[layer], letter.lower()).weight
            assert list(weight.shape) == dims, f"{name}: {list(weight.shape)}, not {dims}"
            self.factors.append(weight)
        trained = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        assert trained == sum(weight.numel() for weight in self.factors)

    def night(self, values, vehicle, window):
        import torch

        self.open()
        place = 0
        with torch.no_grad():
            for weight in self.factors:
                part = torch.from_numpy(values[place:place + weight.numel()].copy())
                weight.copy_(part.reshape(weight.shape))
                place += weight.numel()
        optimiser = torch.optim.AdamW(self.factors, lr=self.rate, betas=(0.9, 0.99), weight_decay=0.0)
        average = [weight.detach().clone() for weight in self.factors]
        load = lambda what: np.load(f"{self.nights}/{vehicle}-{window}-{what}.npy", mmap_mode="c")
        frames, motion, target, weights = map(load, ("frames", "motion", "target", "weight"))
        for step in range(1, len(frames) + 1):
            one = [torch.from_numpy(of[step - 1]) for of in (frames, motion, target, weights)]
            optimiser.param_groups[0]["lr"] = self.rate * min(step / WARM_UP_STEPS, 1.0)
            optimiser.zero_grad()
            error = ((self.network(one[0], one[1]) - one[2]) ** 2).flatten(1).mean(1)
            (one[3] * error).mean().backward()
            torch.nn.utils.clip_grad_norm_(self.factors, 1.0)
            optimiser.step()
            keep = min(AVERAGE, (1 + step) / (10 + step))
            with torch.no_grad():
                for kept, weight in zip(average, self.factors):
                    kept.mul_(keep).add_(weight, alpha=1 - keep)
        return torch.cat([kept.flatten() for kept in average]).numpy()


def opened(clients):
    """Those of this process: a worker of Ray's is handed a copy with every message."""
    import flower_training

    kept = getattr(flower_training, "KEPT", None)
    if kept is None:
        kept = flower_training.KEPT = clients
    return kept


def client_app(clients):
    client = ClientApp()

    @client.train()
    def train(message, context):
        values = message.content["arrays"].to_numpy_ndarrays()[0]
        vehicle = context.node_config["partition-id"]
        window = message.content["config"]["server-round"]
        began = time.process_time()
        tuned = opened(clients).night(values, vehicle, window)
        content = RecordDict({
            "arrays": ArrayRecord([tuned]),
            "metrics": MetricRecord({"num-examples": 1, "cpu": time.process_time() - began}),
        })
        return flwr.app.Message(content=content, reply_to=message)

    return client


def apart(clients, start, vehicles, results):
    """|ours − theirs| ÷ |theirs − start|, of the first night of each vehicle, the worst."""
    stored = []
    for path in glob.glob(f"{results}/**/*", recursive=True):
        if os.path.isfile(path) and os.path.getsize(path) == STORED_HEAD + start.nbytes:
            stored.append(np.fromfile(path, np.float32, offset=STORED_HEAD))
    assert stored, f"no adapters in {results}"
    worst = 0.0
    for vehicle in range(vehicles):
        ours = clients.night(start, vehicle, 1)
        nearest = min(stored, key=lambda theirs: np.linalg.norm(theirs - ours))
        worst = max(worst, np.linalg.norm(nearest - ours) / np.linalg.norm(nearest - start))
    return float(worst)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("nights")
    parser.add_argument("--results")
    parser.add_argument("--vehicles", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--warm", type=int, default=1, help="rounds before the clock starts")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--cpus", type=int, default=os.cpu_count())
    args = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    here = os.path.dirname(os.path.abspath(__file__))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    clients = Clients(os.path.abspath(args.model), os.path.abspath(args.nights), args.rate)
    start = np.load(f"{args.nights}/start.npy")
    ends, cpu, nights = [], [], {}
    server = ServerApp()

    def look(_round, _arrays):
        ends.append(time.perf_counter())
        cpu.append(time.process_time())
        return None

    @server.main()
    def serve(grid, _context):
        strategy = FedAvg(fraction_evaluate=0.0)
        start_arrays = ArrayRecord([start])
        result = strategy.start(grid=grid, initial_arrays=start_arrays, num_rounds=args.rounds, evaluate_fn=look)
        nights.update(result.train_metrics_clientapp)

    began = time.perf_counter()
    run_simulation(server, client_app(clients), args.vehicles, backend_config={
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"num_cpus": args.cpus, "logging_level": "error", "log_to_driver": False},
    })
    assert len(ends) == args.rounds + 1, f"{len(ends) - 1} rounds of {args.rounds} ended"
    import torch
    print(json.dumps({
        "flwr": flwr.__version__,
        "ray": ray.__version__,
        "torch": torch.__version__,
        "seconds": ends[-1] - ends[args.warm],
        # What is told of a round is the mean over clients.
        "cpu_seconds": cpu[-1] - cpu[args.warm]
        + sum(args.vehicles * of["cpu"] for window, of in nights.items() if window > args.warm),
        "with_start_seconds": ends[-1] - began,
        "apart": apart(clients, start, args.vehicles, args.results) if args.results else None,
    }))


if __name__ == "__main__":
    main()
