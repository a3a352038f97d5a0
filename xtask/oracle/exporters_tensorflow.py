"""Exports TensorFlow functions by tf2onnx and records their gradients: python exporters_tensorflow.py OUT

OUT holds what exporters.py writes of PyTorch's exporters: for each function the ONNX graph, the inputs, the target and weight of
its output, and what tf.GradientTape gives in float64 for the loss of operators.py. It has some whole models of Keras as well, as
`whole.NAME/model`: what they compute is their own business, that every command works on them is what is tested.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import logging  # noqa: E402

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from recorded import differs, first_line, keep, keep_whole, told  # noqa: E402

logging.disable(logging.WARNING)
OPSETS = (13, 18)
IMAGE, ROWS, TOKENS = (2, 6, 6, 4), (3, 5), (2, 3, 8)
nn, image = tf.nn, tf.image


def norm(x, w, b, axes):
    mean, variance = nn.moments(x, axes, keepdims=True)
    return nn.batch_normalization(x, mean, variance, b, w, 1e-3)


def batch_norm(x, w, b):
    return nn.batch_normalization(x, tf.cast(0.1, x.dtype), tf.cast(0.8, x.dtype), b, w, 1e-3)


def rounds(x, w, u):
    """What Keras' SimpleRNN does, as the loop that it becomes."""
    def body(i, h):
        return i + 1, tf.tanh(x[:, i] @ w + h @ u)
    return tf.while_loop(lambda i, _h: i < 4, body, (0, tf.zeros((2, 5), x.dtype)))[1]


def lstm_cell(x, h, c, w, u, b):
    i, f, g, o = tf.split(x @ w + h @ u + b, 4, -1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(c)


def attention(q, k, v):
    return tf.einsum("bhqk,bhkd->bhqd", nn.softmax(tf.einsum("bhqd,bhkd->bhqk", q, k) * 0.5), v)


def away(a):
    return tf.abs(a) + 0.5


# Name -> (function, shapes of its inputs)
FUNCTIONS = {
    "add": (lambda a, b: a + b, [ROWS, (5,)]), "sub": (lambda a, b: a - b, [ROWS, (3, 1)]),
    "mul": (lambda a, b: a * b, [ROWS, ROWS]), "div": (lambda a, b: a / away(b), [ROWS, (5,)]),
    "pow": (lambda a, b: away(a) ** b, [ROWS, (5,)]), "maximum": (tf.maximum, [ROWS, ROWS]),
    "minimum": (tf.minimum, [ROWS, ROWS]), "squared_difference": (tf.math.squared_difference, [ROWS, ROWS]),
    "atan2": (lambda a, b: tf.atan2(a, away(b)), [ROWS, ROWS]), "floormod": (lambda a: tf.math.floormod(a, 0.7), [ROWS]),
    "add_n": (lambda a, b: tf.add_n([a, b, a]), [ROWS, ROWS]), "stack": (lambda a, b: tf.stack([a, b * b], 1), [ROWS, ROWS]),
    **{name: ((lambda f: lambda a: f(a))(f), [ROWS]) for name, f in {
        "relu": nn.relu, "relu6": lambda a: nn.relu6(8 * a), "leaky_relu": lambda a: nn.leaky_relu(a, 0.2), "elu": nn.elu,
        "selu": nn.selu, "swish": nn.swish, "softplus": nn.softplus, "softsign": nn.softsign, "sigmoid": tf.sigmoid,
        "tanh": tf.tanh, "gelu_tanh": lambda a: nn.gelu(a, approximate=True), "erf": tf.math.erf, "sin": tf.sin, "cos": tf.cos,
        "atan": tf.atan, "asin": lambda a: tf.asin(0.8 * a), "acos": lambda a: tf.acos(0.8 * a), "exp": tf.exp,
        "log": lambda a: tf.math.log(away(a)), "sqrt": lambda a: tf.sqrt(away(a)), "rsqrt": lambda a: tf.math.rsqrt(away(a)),
        "square": tf.square, "abs": tf.abs, "neg": tf.negative, "reciprocal": lambda a: tf.math.reciprocal(away(a)),
        "sinh": tf.sinh, "cosh": tf.cosh, "clip": lambda a: tf.clip_by_value(a, -0.4, 0.6),
        "softmax": nn.softmax, "log_softmax": nn.log_softmax, "sum": lambda a: tf.reduce_sum(a, 1),
        "mean": lambda a: tf.reduce_mean(a, 0, keepdims=True), "reduce_max": lambda a: tf.reduce_max(a, 1),
        "reduce_min": lambda a: tf.reduce_min(a, 0), "reduce_prod": lambda a: tf.reduce_prod(away(a), 1),
        "logsumexp": lambda a: tf.reduce_logsumexp(a, 1), "norm": lambda a: tf.norm(a, axis=1), "std": lambda a: tf.math.reduce_std(a, 1),
        "l2_normalize": lambda a: nn.l2_normalize(a, 1), "cumsum": lambda a: tf.cumsum(a, 1),
        "cumsum_back": lambda a: tf.cumsum(a, 1, exclusive=True, reverse=True), "top_k": lambda a: nn.top_k(a, 2).values,
        "where": lambda a: tf.where(a > 0.1, a, a * a), "reverse": lambda a: tf.reverse(a, [1]), "tile": lambda a: tf.tile(a, [2, 1]),
        "split": lambda a: tf.split(a, [2, 3], 1)[1] * 2, "unstack": lambda a: tf.unstack(a)[1] * 2, "strided": lambda a: a[1:, ::2],
        "backwards": lambda a: a[:, ::-1] * 3, "gather": lambda a: tf.gather(a, [3, 0, 0], axis=1),
        "gather_nd": lambda a: tf.gather_nd(a, [[0, 1], [2, 4]]), "roll": lambda a: tf.roll(a, 2, 1),
        "scatter": lambda a: tf.tensor_scatter_nd_update(a, [[1], [2]], a[:2] * 3), "band": lambda a: tf.linalg.band_part(a, -1, 0),
        "expand": lambda a: tf.broadcast_to(a[:, None], (3, 2, 5)), "pad": lambda a: tf.pad(a, [[0, 1], [2, 0]]),
        "pad_reflect": lambda a: tf.pad(a, [[1, 0], [2, 1]], "REFLECT"), "one_hot": lambda a: a * tf.one_hot([0, 3, 2], 5, dtype=a.dtype),
        "reverse_sequence": lambda a: tf.reverse_sequence(a, [5, 2, 3], 1),
    }.items()},
    "matmul": (tf.matmul, [TOKENS, (2, 8, 3)]), "dense": (lambda x, w, b: tf.tensordot(x, w, 1) + b, [TOKENS, (8, 4), (4,)]),
    "matmul_turned": (lambda a, b: tf.matmul(a, b, transpose_b=True), [TOKENS, TOKENS]),
    "einsum": (lambda a, b: tf.einsum("bij,bkj->bik", a, b), [TOKENS, TOKENS]), "prelu": (lambda a, w: nn.relu(a) - w * nn.relu(-a), [ROWS, (5,)]),
    "conv": (lambda x, w, b: nn.bias_add(nn.conv2d(x, w, 2, "SAME"), b), [IMAGE, (3, 3, 4, 3), (3,)]),
    "conv_valid": (lambda x, w: nn.conv2d(x, w, [1, 2, 1, 1], "VALID"), [IMAGE, (3, 2, 4, 3)]),
    "conv_dilated": (lambda x, w: nn.convolution(x, w, 1, "SAME", dilations=2), [IMAGE, (3, 3, 4, 3)]),
    "conv_depthwise": (lambda x, w: nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME"), [IMAGE, (3, 3, 4, 1)]),
    "conv1d": (lambda x, w: nn.conv1d(x, w, 1, "SAME"), [(2, 7, 3), (3, 3, 2)]),
    "conv_transpose": (lambda x, w: nn.conv2d_transpose(x, w, (2, 6, 6, 2), 2, "SAME"), [(2, 3, 3, 4), (3, 3, 2, 4)]),
    "batch_norm": (batch_norm, [IMAGE, (4,), (4,)]), "layer_norm": (lambda x, w, b: norm(x, w, b, [-1]), [TOKENS, (8,), (8,)]),
    "instance_norm": (lambda x, w, b: norm(x, w, b, [1, 2]), [IMAGE, (4,), (4,)]),
    "max_pool": (lambda x: nn.max_pool2d(x, 3, 2, "SAME"), [IMAGE]), "max_pool_valid": (lambda x: nn.max_pool2d(x, 2, 2, "VALID"), [IMAGE]),
    "avg_pool": (lambda x: nn.avg_pool2d(x, 3, 2, "SAME"), [IMAGE]), "global_pool": (lambda x: tf.reduce_mean(x, [1, 2]), [IMAGE]),
    "lrn": (lambda x: nn.lrn(tf.cast(x, tf.float32), 1, alpha=0.7, beta=0.6), [IMAGE]),
    "bilinear": (lambda x: image.resize(x, (7, 9)), [IMAGE]), "bilinear_half": (lambda x: image.resize(x, (3, 3)), [IMAGE]),
    "nearest": (lambda x: image.resize(x, (12, 12), "nearest"), [IMAGE]),
    "depth_to_space": (lambda x: nn.depth_to_space(x, 2), [IMAGE]), "space_to_depth": (lambda x: nn.space_to_depth(x, 2), [IMAGE]),
    "batch_to_space": (lambda x: tf.batch_to_space(x, [2, 1], [[0, 0], [0, 0]]), [IMAGE]),
    "flatten": (lambda x: tf.tanh(tf.reshape(x, (2, -1))), [IMAGE]), "transpose": (lambda x: tf.transpose(x, (0, 3, 1, 2)) * 1.5, [IMAGE]),
    "embedding": (lambda w: nn.embedding_lookup(w, [[1, 0], [3, 1]]), [(5, 3)]), "attention": (attention, [(1, 2, 3, 4)] * 3),
    "concat": (lambda a, b: tf.concat([a, b * b, a], 1), [ROWS, ROWS]), "rounds": (rounds, [(2, 4, 3), (3, 5), (5, 5)]),
    "lstm_cell": (lstm_cell, [(2, 3), (2, 4), (2, 4), (3, 16), (4, 16), (16,)]),
}


def keras_models():
    """Name -> a model with layers that driving models have, and that become loops."""
    from keras import Input, Model, layers as at, ops

    def chain(shape, *layers):
        x = first = Input(shape)
        for layer in layers:
            x = layer(x)
        return Model(first, x)

    yield "simple_rnn", chain((4, 3), at.SimpleRNN(5, return_sequences=True), at.SimpleRNN(4), at.Dense(2))
    yield "masked_lstm", chain((4, 3), at.Masking(), at.LSTM(5), at.Dense(2))
    yield "gru", chain((4, 3), at.Bidirectional(at.GRU(4, return_sequences=True)), at.GRU(4, reset_after=False), at.Dense(2))
    yield "conv_lstm", chain((3, 8, 10, 2), at.ConvLSTM2D(3, 3, padding="same"), at.Conv2D(2, 3, padding="same", activation="sigmoid"))
    frames = [at.Conv2D(4, 3, 2, activation="elu"), at.Conv2D(6, 3, 2, activation="elu"), at.Flatten()]
    yield "frames_lstm", chain((3, 16, 20, 3), *[at.TimeDistributed(layer) for layer in frames], at.LSTM(6), at.Dense(2))
    x = first = Input((5, 8))
    x = x + at.MultiHeadAttention(2, 4)(at.LayerNormalization()(x), x, use_causal_mask=True)
    yield "attention", Model(first, at.Dense(3)(ops.silu(at.Dense(12)(x))))
    x = first = Input((8, 12, 6))
    near = at.Conv2D(4, 3, padding="same", activation="relu")(x)
    far = at.LeakyReLU()(at.GroupNormalization(2)(at.Conv2D(6, 3, 2, padding="same")(near)))
    far = at.UpSampling2D(2, interpolation="bilinear")(at.Conv2DTranspose(4, 3, padding="same")(far))
    yield "unet", Model(first, at.Conv2D(3, 1, activation="sigmoid")(at.Concatenate()([near, far])))


def whole(model):
    spec = [tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32, name="x")]
    function = tf.function(lambda x: model(x, training=False), input_signature=spec)
    return tf2onnx.convert.from_function(function, spec, opset=18)[0].SerializeToString()


def export(function, inputs, opset):
    spec = [tf.TensorSpec(x.shape, tf.float32, name=f"x{i}") for i, x in enumerate(inputs)]
    named = tf.function(lambda *x: tf.identity(function(*x), name="y0"), input_signature=spec)
    model, _weights = tf2onnx.convert.from_function(named, spec, opset=opset)
    # The output is called after the function's result.
    old = model.graph.output[0].name
    model.graph.output[0].name = "y0"
    for node in model.graph.node:
        node.output[:] = ["y0" if name == old else name for name in node.output]
        node.input[:] = ["y0" if name == old else name for name in node.input]
    return model.SerializeToString()


def main(out):
    random, tensors, failed = np.random.default_rng(7), {}, []
    for name, (function, shapes) in FUNCTIONS.items():
        inputs = [(random.random(shape) * 2 - 1).astype(np.float32) for shape in shapes]
        wide = [tf.Variable(x.astype(np.float64)) for x in inputs]
        with tf.GradientTape() as tape:
            y = function(*[tf.convert_to_tensor(x) for x in wide])
            target = (random.random(y.shape) * 2 - 1).astype(np.float32)
            weight = (random.random(y.shape[0]) + 0.5).astype(np.float32)
            # Some operators give float32 whatever they are given, or know nothing else.
            rows = tf.reduce_mean(tf.reshape((tf.cast(y, tf.float64) - target) ** 2, (len(weight), -1)), 1)
            loss = tf.reduce_sum(weight * rows) / len(weight)
        gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, wide)]
        for opset in OPSETS:
            case = f"{name}.tf2onnx{opset}"
            try:
                model = export(function, inputs, opset)
            except Exception as error:
                failed.append(f"{case}: {type(error).__name__}: {first_line(error)}")
                continue
            wrong = differs(model, inputs, function(*[tf.constant(x) for x in inputs]).numpy())
            if wrong:
                failed.append(f"{case}: {wrong}")
                continue
            keep(tensors, case, model, inputs, gradients, (target, weight))
    keras.utils.set_random_seed(7)
    for name, model in keras_models():
        keep_whole(tensors, name, whole(model))
    save_file(tensors, out)
    told(tensors, failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
