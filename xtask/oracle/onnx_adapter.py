"""Adapter files of ONNX Runtime's own making, and its runs with ours: python onnx_adapter.py record FOLDER, or
python onnx_adapter.py check BAKED GRAFTED ADAPTER AGAIN

`record` writes what runtime/tests/onnx_adapter.rs reads: a convolution `enc.weight` of rank 3 and a matrix `head` of rank 4,
values (i / 64 - 1) in flat order, in float32 and float16. `check` runs the grafted model with the adapter active in the run's
options, and the baked one, on the same drawn inputs; says how far apart they are, and writes the adapter again as AGAIN, whose versions say nothing.
"""

import os
import sys

import numpy as np
import onnxruntime as ort


def record(folder):
    factors = {
        "lora.enc.weight.A": (3, 2, 2, 2),
        "lora.enc.weight.B": (3, 3, 1, 1),
        "lora.head.A": (4, 27),
        "lora.head.B": (5, 4),
    }
    for name, dtype in [("float32", np.float32), ("float16", np.float16)]:
        at, parameters = 0, {}
        for factor, shape in factors.items():
            count = int(np.prod(shape))
            values = (np.arange(at, at + count) / 64 - 1).reshape(shape).astype(dtype)
            parameters[factor] = ort.OrtValue.ortvalue_from_numpy(values)
            at += count
        file = ort.AdapterFormat()
        file.set_adapter_version(1)
        file.set_model_version(1)
        file.set_parameters(parameters)
        file.export_adapter(os.path.join(folder, name + ".onnx_adapter"))


def draw(session, without, generator):
    """Inputs in [0, 1) by the types that models here have."""
    drawn = {}
    for port in session.get_inputs():
        if port.name in without:
            continue
        shape = [length if isinstance(length, int) else 1 for length in port.shape]
        if port.type == "tensor(float)":
            drawn[port.name] = generator.random(shape, dtype=np.float32)
        else:
            raise SystemExit(f"input {port.name} is {port.type}: floats are drawn here")
    return drawn


def check(baked, grafted, path, written):
    options = ort.SessionOptions()
    # It warns of every factor that it has a value of its own.
    options.log_severity_level = 3
    # As little as possible rearranged: what is compared is the weights.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    baked = ort.InferenceSession(baked, options, providers=["CPUExecutionProvider"])
    grafted = ort.InferenceSession(grafted, options, providers=["CPUExecutionProvider"])
    parameters = ort.AdapterFormat.read_adapter(path).get_parameters()
    assert parameters, "the adapter has no parameters"
    adapter = ort.LoraAdapter()
    adapter.Load(path)
    run = ort.RunOptions()
    run.add_active_adapter(adapter)
    factors = {name: value.numpy() for name, value in parameters.items()}
    worst, without = 0.0, 0.0
    generator = np.random.default_rng(0)
    for _ in range(3):
        inputs = draw(baked, factors, generator)
        names = [port.name for port in baked.get_outputs()]
        want = baked.run(names, inputs)
        got = grafted.run(names, inputs, run)
        base = grafted.run(names, inputs)
        for want, got, base in zip(want, got, base):
            scale = float(np.abs(want).max()) or 1.0
            worst = max(worst, float(np.abs(want - got).max()) / scale)
            without = max(without, float(np.abs(want - base).max()) / scale)
    again = ort.AdapterFormat()
    again.set_parameters(ort.AdapterFormat.read_adapter(path).get_parameters())
    again.export_adapter(written)
    print(f"{len(factors)} parameters: {worst:.1e} apart with the adapter active, {without:.1e} without it")
    assert worst <= 1e-5, "the grafted model with the adapter is not the baked one"
    assert without > 1e-4, "the adapter changes nothing: nothing was compared"


if __name__ == "__main__":
    {"record": record, "check": check}[sys.argv[1]](*sys.argv[2:])
