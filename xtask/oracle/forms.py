"""Forms of a model that ONNX Runtime's own tools write: fused by its optimiser, quantised by its quantiser.

forms.py MODEL FOLDER: FOLDER/FORM.onnx of each form that the tools make of the model; says which they refuse.
"""

import logging
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

BATCHES = 4
# What open axes get: the batch, height and width, others.
OPEN = {0: 1, 2: 64, 3: 64}


def drawn(session, generator):
    """Inputs as `shoal model train` draws them: floats from 0 to 1, integers from few."""
    feeds = {}
    for given in session.get_inputs():
        dims = [d if isinstance(d, int) else OPEN.get(axis, 16) for axis, d in enumerate(given.shape)]
        if "float" in given.type:
            feeds[given.name] = generator.random(dims).astype(numpy.float32)
        else:
            feeds[given.name] = generator.integers(0, 64, dims).astype(numpy.int64)
    return feeds


class Drawn(CalibrationDataReader):
    def __init__(self, model):
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        generator = numpy.random.default_rng(0)
        self.batches = iter([drawn(session, generator) for _batch in range(BATCHES)])

    def get_next(self):
        return next(self.batches, None)


def fused(model, to):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(to)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def static(model, to, form, per_channel, activation=QuantType.QUInt8):
    quantize_static(
        str(model),
        str(to),
        Drawn(str(model)),
        quant_format=form,
        per_channel=per_channel,
        reduce_range=True,
        activation_type=activation,
        weight_type=QuantType.QInt8,
    )


def dynamic(model, to):
    # Convolutions too, which it leaves out unless asked.
    quantize_dynamic(
        str(model), str(to), op_types_to_quantize=["MatMul", "Gemm", "Conv"], reduce_range=True
    )


def main(model, folder):
    logging.disable(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "ready.onnx"
    quant_pre_process(str(model), str(ready), skip_symbolic_shape=True)
    operator, pairs = QuantFormat.QOperator, QuantFormat.QDQ
    forms = {
        "fused": lambda to: fused(model, to),
        "qoperator": lambda to: static(ready, to, operator, False),
        "qoperator.channels": lambda to: static(ready, to, operator, True),
        "qoperator.signed": lambda to: static(ready, to, operator, False, QuantType.QInt8),
        "qdq": lambda to: static(ready, to, pairs, False),
        "qdq.channels": lambda to: static(ready, to, pairs, True),
        "qdq.fused": lambda to: fused(folder / "qdq.onnx", to),
        "dynamic": lambda to: dynamic(ready, to),
        "dynamic.fused": lambda to: fused(folder / "dynamic.onnx", to),
    }
    for name, make in forms.items():
        to = folder / f"{name}.onnx"
        try:
            make(to)
            onnx.load(str(to))
        except Exception as why:  # The tools raise whatever they like.
            to.unlink(missing_ok=True)
            print(f"{name}: not made: {str(why).splitlines()[0]}")
    ready.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
