"""ONNX's own conformance suite as files: python conformance.py FOLDER

Of every case FOLDER/NAME/model.onnx, the graph; constant.onnx, the same with its inputs stored; wanted.onnx, whose stored tensors are what it is
to give. Cases of sequences, optional values and strings are left out; prints how many there are, and how many were left out.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases


def stored(values, named):
    """The values as tensors of these names; None where one of them is no tensor of numbers."""
    tensors = []
    for value, name in zip(values, named):
        if not isinstance(value, onnx.TensorProto):
            is_one = isinstance(value, (np.ndarray, np.generic, int, float, bool))
            if not is_one or np.asarray(value).dtype.kind not in "biufV":
                return None
            value = onnx.numpy_helper.from_array(np.asarray(value))
        if value.data_type == onnx.TensorProto.STRING:
            return None
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
        tensor.name = name.name
        tensors.append(tensor)
    return tensors


def main(folder):
    warnings.simplefilter("ignore")
    cases = [case for case in collect_testcases(None) if case.model is not None and case.data_sets]
    left_out = 0
    for case in cases:
        graph = case.model.graph
        given, wanted = case.data_sets[0]
        given, wanted = stored(given, graph.input), stored(wanted, graph.output)
        standard = any(opset.domain in ("", "ai.onnx") for opset in case.model.opset_import)
        if given is None or wanted is None or not standard:
            left_out += 1
            continue
        place = folder / case.name
        place.mkdir(parents=True, exist_ok=True)
        onnx.save(case.model, place / "model.onnx")
        constant = onnx.ModelProto()
        constant.CopyFrom(case.model)
        del constant.graph.input[:]
        constant.graph.initializer.extend(given)
        onnx.save(constant, place / "constant.onnx")
        graph = onnx.helper.make_graph([], "wanted", [], [], initializer=wanted)
        onnx.save(onnx.helper.make_model(graph), place / "wanted.onnx")
    print(len(cases), left_out)


main(Path(sys.argv[1]))
