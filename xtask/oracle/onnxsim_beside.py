"""What onnxsim's LoRA makes of a model: python onnxsim_beside.py MODEL

Prints one line of JSON: how many operators it differentiates, the weights that get factors of rank 8, whether ten steps at all of them
lower the loss, or why not, and the seconds of a step. Open axes are 1, as for Shoal; the target is the model's own first output, moved.
"""

import json
import sys
import time

import numpy as np
import onnx
import onnxsim
from onnxsim import graph_grad, lora, qat


def drawn(value, random):
    dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
    if value.type.tensor_type.elem_type == onnx.TensorProto.INT64:
        return random.integers(0, 1000, dims)
    return random.random(dims, dtype=np.float32)


def trained(model, adapter, steps):
    random = np.random.default_rng(0)
    data = [{value.name: drawn(value, random) for value in model.graph.input}]
    start, end = model.graph.input[0].name, model.graph.output[0].name
    wanted = qat._capture(model, [end], data, None)[end] * 1.1 + 0.1
    losses, begun = [], time.perf_counter()
    lora.train_lora(model, adapter, start, end, target_data=[wanted], calibration_data=data, num_iterations=steps, losses=losses)
    return losses, time.perf_counter() - begun


def main(path):
    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_value = dim.dim_value or 1
    simplified, _ = onnxsim.simplify(model)
    injected, adapter = onnxsim.inject_lora(simplified, rank=8, alpha=16.0)
    said = {"rules": len(graph_grad.supported_ops()), "sites": [target.weight_name for target in adapter.targets]}
    try:
        losses, _ = trained(injected, adapter, 10)
        said["learns"] = bool(losses[-1] < losses[0])
        said["step_s"] = (trained(injected, adapter, 420)[1] - trained(injected, adapter, 20)[1]) / 400
    except graph_grad.UnsupportedOpError as error:
        said["why"] = str(error).removeprefix("the block contains ").split(", which")[0]
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
