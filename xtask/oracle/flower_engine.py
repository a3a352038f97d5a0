"""Flower's simulation engine with clients that do next to nothing: python flower_engine.py --clients N ...

One JSON line: client-rounds a second after warm-up, and with everything from the call on (Ray's start, too). Every client
is asked in every round (FedAvg, no evaluation), has a CPU of its own while it works, and moves what it is given a little
towards an optimum of its own: the same as a vehicle of `shoal sim` with `[trivial]`.
"""

import argparse
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

client = ClientApp()


@client.train()
def train(message, context):
    values = message.content["arrays"].to_numpy_ndarrays()[0]
    number = context.node_config["partition-id"]
    # An optimum of its own, from its number alone; half of the way there, as a vehicle goes.
    optimum = np.random.default_rng(number).random(values.shape, np.float32)
    moved = values + np.float32(0.5) * (optimum - values)
    content = RecordDict({
        "arrays": ArrayRecord([moved]),
        "metrics": MetricRecord({"num-examples": 1}),
    })
    return flwr.app.Message(content=content, reply_to=message)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warm", type=int, default=2, help="rounds before the clock starts")
    parser.add_argument("--values", type=int, default=1000)
    parser.add_argument("--cpus", type=int, default=os.cpu_count())
    args = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    ends = []
    server = ServerApp()

    def look(_round, _arrays):
        ends.append(time.perf_counter())
        return None

    @server.main()
    def serve(grid, _context):
        strategy = FedAvg(fraction_evaluate=0.0)
        start = ArrayRecord([np.zeros(args.values, np.float32)])
        result = strategy.start(grid=grid, initial_arrays=start, num_rounds=args.rounds, evaluate_fn=look)
        answered = len(result.train_metrics_clientapp)
        assert answered == args.rounds, f"{answered} rounds of {args.rounds} were answered"

    began = time.perf_counter()
    run_simulation(server, client, args.clients, backend_config={
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"num_cpus": args.cpus, "logging_level": "error", "log_to_driver": False},
    })
    # The end of every round, and before them the server's start.
    assert len(ends) == args.rounds + 1, f"{len(ends) - 1} rounds of {args.rounds} ended"
    timed = ends[-1] - ends[args.warm]
    print(json.dumps({
        "flwr": flwr.__version__,
        "ray": ray.__version__,
        "clients": args.clients,
        "rounds": args.rounds,
        "warm_rounds": args.warm,
        "values": args.values,
        "seconds": timed,
        "client_rounds_s": args.clients * (args.rounds - args.warm) / timed,
        "with_start_client_rounds_s": args.clients * args.rounds / (ends[-1] - began),
    }))


if __name__ == "__main__":
    main()
