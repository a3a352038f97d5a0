"""What the exporters' scripts keep of a case, and whether a graph is the function that it was written of."""

import numpy as np


def differs(model, inputs, want):
    """Why the graph does not give what the function gives, by ONNX Runtime."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        got = session.run(None, {f"x{i}": x for i, x in enumerate(inputs)})[0]
    except Exception as error:
        return f"not run: {first_line(error)}"
    return None if np.allclose(got, want, 1e-3, 1e-4) else "computes something else"


def first_line(error):
    return str(error).strip().splitlines()[0][:150]


def keep(tensors, case, model, inputs, gradients, labels):
    """The graph, its inputs, the gradients by them one behind the other, and the target and weight of its output."""
    target, weight = labels
    tensors[f"{case}/model"] = np.frombuffer(model, dtype=np.uint8)
    for i, x in enumerate(inputs):
        tensors[f"{case}/wanted/x{i}"] = np.asarray(x)
    tensors[f"{case}/gradients"] = np.concatenate([np.asarray(g).reshape(-1) for g in gradients]).astype(np.float32)
    tensors[f"{case}/read/target.y0"] = np.asarray(target)
    tensors[f"{case}/read/weight.y0"] = np.asarray(weight)


def keep_whole(tensors, name, model):
    tensors[f"whole.{name}/model"] = np.frombuffer(model, dtype=np.uint8)


def told(tensors, failed):
    print(f"{len({key.split('/')[0] for key in tensors})} graphs; not exported: {failed}")
