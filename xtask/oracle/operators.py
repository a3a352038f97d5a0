"""Records what PyTorch's autograd gives for generated cases: python operators.py CASES OUT

CASES is what `write_the_cases` of runtime/tract/tests/coverage.rs wrote: for each case an ONNX graph, its inputs,
and the target and weight of each output. OUT gets all gradients, one after the other, as float32; they are
computed in float64. Every rule here is PyTorch's own operator, or the formula of the ONNX document written in
PyTorch operators; nothing is shared with the Rust side that it checks.
"""

import math
import sys

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from safetensors import safe_open
from safetensors.numpy import save_file

from onnx_torch import attributes, ints

torch.set_default_dtype(torch.float64)


def tensor(array):
    value = torch.from_numpy(np.array(array))
    return value.double() if value.is_floating_point() else value


def run(graph, values, opset):
    """Evaluates a graph; `values` has its inputs and what it sees of the graphs around it."""
    values = {**values, **{i.name: tensor(numpy_helper.to_array(i)) for i in graph.initializer}, "": None}
    for node in graph.node:
        a = attributes(node)
        x = [values[i] for i in node.input]
        if node.op_type in CONTROL:
            result = CONTROL[node.op_type](x, a, node, values, opset)
        else:
            rule = RULES.get(node.op_type)
            if rule is None:
                raise NotImplementedError(node.op_type)
            result = rule(x, a, node, opset)
        if not isinstance(result, (tuple, list)):
            result = [result]
        values.update(zip(node.output, result))
    return [values[o.name] for o in graph.output]


# --- control flow

def branch(x, a, node, values, opset):
    return run(a["then_branch"] if bool(x[0]) else a["else_branch"], values, opset)


def loop(x, a, node, values, opset):
    body, state, rows = a["body"], list(x[2:]), []
    for i in range(int(x[0])):
        given = dict(zip([v.name for v in body.input], [torch.tensor(i), torch.tensor(True), *state]))
        result = run(body, {**values, **given}, opset)
        state = result[1:1 + len(state)]
        rows.append(result[1 + len(state):])
    return [*state, *[torch.stack(r) for r in zip(*rows)]]


def scan(x, a, node, values, opset):
    body, count = a["body"], a["num_scan_inputs"]
    state, sequences = list(x[:len(x) - count]), x[len(x) - count:]
    axes = a.get("scan_input_axes", [0] * count)
    backwards = a.get("scan_input_directions", [0] * count)
    parts = [list(torch.unbind(s, axis)) for s, axis in zip(sequences, axes)]
    parts = [p[::-1] if back else p for p, back in zip(parts, backwards)]
    rows = []
    for step in zip(*parts):
        result = run(body, {**values, **dict(zip([v.name for v in body.input], [*state, *step]))}, opset)
        state = result[:len(state)]
        rows.append(result[len(state):])
    outputs = [list(r) for r in zip(*rows)]
    directions = a.get("scan_output_directions", [0] * len(outputs))
    return [*state, *[torch.stack(r[::-1] if back else r) for r, back in zip(outputs, directions)]]


CONTROL = {"If": branch, "Loop": loop, "Scan": scan}


# --- helpers

def opt(x, i):
    return x[i] if len(x) > i else None


def axes_of(x, a, index=1):
    if "axes" in a:
        return list(a["axes"])
    given = opt(x, index)
    return None if given is None else ints(given)


def reducing(f):
    def rule(x, a, n, o):
        axes = axes_of(x, a)
        if not axes and a.get("noop_with_empty_axes", 0):
            return f(x[0].unsqueeze(0), [0], False)
        axes = list(range(x[0].dim())) if not axes else axes
        return f(x[0], axes, bool(a.get("keepdims", 1)))
    return rule


def softmaxing(f):
    def rule(x, a, n, o):
        if o >= 13:
            return f(x[0], a.get("axis", -1))
        axis = a.get("axis", 1) % x[0].dim()
        return f(x[0].flatten(axis), axis).reshape(x[0].shape)
    return rule


def chained(f):
    def rule(x, a, n, o):
        y = x[0]
        for other in x[1:]:
            y = f(y, other)
        return y
    return rule


def text(a, name, default):
    return a.get(name, default.encode()).decode()


def same_pads(space, kernel, strides, dilations, auto):
    before, after = [], []
    for s, k, t, d in zip(space, kernel, strides, dilations):
        total = max((math.ceil(s / t) - 1) * t + (k - 1) * d + 1 - s, 0)
        less, more = total // 2, total - total // 2
        before.append(less if auto == "SAME_UPPER" else more)
        after.append(more if auto == "SAME_UPPER" else less)
    return before, after


def window(x, a, kernel):
    rank = len(kernel)
    strides, dilations = list(a.get("strides", [1] * rank)), list(a.get("dilations", [1] * rank))
    pads, auto = list(a.get("pads", [0] * 2 * rank)), text(a, "auto_pad", "NOTSET")
    before, after = pads[:rank], pads[rank:]
    if auto == "VALID":
        before, after = [0] * rank, [0] * rank
    elif auto != "NOTSET":
        before, after = same_pads(x.shape[2:], kernel, strides, dilations, auto)
    return strides, dilations, before, after


def around(x, before, after, value=0.0):
    flat = [p for pair in zip(reversed(before), reversed(after)) for p in pair]
    return F.pad(x, flat, value=value)


# --- operators

def conv(x, a, n, o):
    kernel = list(x[1].shape[2:])
    strides, dilations, before, after = window(x[0], a, kernel)
    f = [F.conv1d, F.conv2d, F.conv3d][len(kernel) - 1]
    return f(around(x[0], before, after), x[1], opt(x, 2), strides, 0, dilations, a.get("group", 1))


def conv_transpose(x, a, n, o):
    kernel = list(x[1].shape[2:])
    rank = len(kernel)
    strides, dilations = list(a.get("strides", [1] * rank)), list(a.get("dilations", [1] * rank))
    pads, auto = list(a.get("pads", [0] * 2 * rank)), text(a, "auto_pad", "NOTSET")
    extra = list(a.get("output_padding", [0] * rank))
    before, after = pads[:rank], pads[rank:]
    f = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][rank - 1]
    if auto == "VALID":
        before, after = [0] * rank, [0] * rank
    full = f(x[0], x[1], opt(x, 2), strides, 0, extra, a.get("group", 1), dilations)
    asked = a.get("output_shape")
    if asked or auto.startswith("SAME"):
        before, after = [], []
        for axis, (have, s, t) in enumerate(zip(full.shape[2:], x[0].shape[2:], strides)):
            total = max(have - (asked[axis] if asked else s * t), 0)
            less, more = total // 2, total - total // 2
            before.append(less if auto == "SAME_UPPER" else more)
            after.append(more if auto == "SAME_UPPER" else less)
    return around(full, [-b for b in before], [-b for b in after])


def windows(x, kernel, strides, dilations, out):
    """[n, c, out.., k..] of a padded x."""
    rank = len(kernel)
    index = []
    for axis in range(rank):
        at = torch.arange(out[axis])[:, None] * strides[axis] + torch.arange(kernel[axis])[None] * dilations[axis]
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = at.shape
        index.append(at.reshape(shape))
    return x[(slice(None), slice(None), *index)]


def pool(x, a, n, o):
    x, kernel = x[0], list(a["kernel_shape"])
    rank = len(kernel)
    strides, dilations, before, after = window(x, a, kernel)
    out, past = [], []
    for i in range(rank):
        reach = (kernel[i] - 1) * dilations[i] + 1
        room = x.shape[2 + i] + before[i] + after[i] - reach
        places = (math.ceil if a.get("ceil_mode", 0) else math.floor)(room / strides[i]) + 1
        if a.get("ceil_mode", 0) and (places - 1) * strides[i] >= x.shape[2 + i] + before[i]:
            places -= 1
        out.append(places)
        past.append(max((places - 1) * strides[i] + reach - x.shape[2 + i] - before[i] - after[i], 0))
    every = list(range(-rank, 0))
    if n.op_type == "MaxPool":
        low = around(around(x, before, after, -1e30), [0] * rank, past, -1e30)
        flat = windows(low, kernel, strides, dilations, out).flatten(2 + rank)
        return flat.max(dim=-1).values
    if n.op_type == "LpPool":
        padded = around(around(x, before, after), [0] * rank, past)
        flat = windows(padded, kernel, strides, dilations, out).flatten(2 + rank)
        return torch.linalg.vector_norm(flat, a.get("p", 2), -1)
    counted = torch.ones_like(x)
    counted = around(around(counted, before, after, float(a.get("count_include_pad", 0))), [0] * rank, past)
    sums = windows(around(around(x, before, after), [0] * rank, past), kernel, strides, dilations, out).sum(every)
    return sums / windows(counted, kernel, strides, dilations, out).sum(every)


def coordinates(mode, size, out, scale):
    at = torch.arange(out, dtype=torch.float64)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and out > 1):
        return (at + 0.5) / scale - 0.5
    if mode == "tf_half_pixel_for_nn":
        return (at + 0.5) / scale
    if mode == "asymmetric":
        return at / scale
    if mode == "align_corners" and out > 1:
        return at * (size - 1) / (out - 1)
    return torch.zeros(out)


def weights(kind, a, size, places, nearest):
    """The matrix [out, size] of one axis."""
    m = torch.zeros(len(places), size)
    for row, p in enumerate(places.tolist()):
        if kind == "nearest":
            rounded = {"round_prefer_floor": math.ceil(p - 0.5), "round_prefer_ceil": math.floor(p + 0.5),
                       "floor": math.floor(p), "ceil": math.ceil(p)}[nearest]
            m[row, min(max(rounded, 0), size - 1)] = 1
        elif kind == "linear":
            p = min(max(p, 0.0), size - 1.0)
            low = min(math.floor(p), size - 1)
            m[row, low] += 1 - (p - low)
            m[row, min(low + 1, size - 1)] += p - low
        else:
            c, t = a.get("cubic_coeff_a", -0.75), p - math.floor(p)
            four = [((c * (t + 1) - 5 * c) * (t + 1) + 8 * c) * (t + 1) - 4 * c,
                    ((c + 2) * t - (c + 3)) * t * t + 1,
                    ((c + 2) * (1 - t) - (c + 3)) * (1 - t) * (1 - t) + 1,
                    ((c * (2 - t) - 5 * c) * (2 - t) + 8 * c) * (2 - t) - 4 * c]
            reads = [math.floor(p) + i for i in (-1, 0, 1, 2)]
            if a.get("exclude_outside", 0):
                four = [w if 0 <= r < size else 0.0 for w, r in zip(four, reads)]
                four = [w / sum(four) for w in four]
            for w, r in zip(four, reads):
                m[row, min(max(r, 0), size - 1)] += w
    return m


def resize(x, a, n, o):
    data, kind = x[0], text(a, "mode", "nearest")
    old = o < 11
    scales = opt(x, 1 if old else 2)
    scales = scales.tolist() if scales is not None and scales.numel() else None
    sizes = None if old or opt(x, 3) is None else ints(x[3])
    mode = "asymmetric" if old else text(a, "coordinate_transformation_mode", "half_pixel")
    nearest = "floor" if old else text(a, "nearest_mode", "round_prefer_floor")
    for at, axis in enumerate(a.get("axes", range(data.dim()))):
        size = data.shape[axis]
        out = sizes[at] if scales is None else math.floor(np.float32(size) * np.float32(scales[at]))
        scale = out / size if scales is None else scales[at]
        if out == size and scale == 1.0:
            continue
        m = weights(kind, a, size, coordinates(mode, size, out, scale), nearest)
        data = torch.movedim(torch.tensordot(data, m, dims=([axis], [1])), -1, axis)
    return data


def pad(x, a, n, o):
    rank, mode = x[0].dim(), text(a, "mode", "constant")
    pads = list(a["pads"]) if o < 11 else ints(x[1])
    value = a.get("value", 0.0) if o < 11 else (0.0 if opt(x, 2) is None else float(x[2]))
    y = x[0]
    for axis in range(rank):
        before, after = pads[axis], pads[axis + rank]
        size = y.shape[axis]
        at = torch.arange(-before, size + after)
        if mode == "edge":
            y = y.index_select(axis, at.clamp(0, size - 1))
        elif mode == "wrap":
            y = y.index_select(axis, at % size)
        elif mode == "reflect":
            around_ = at % (2 * (size - 1))
            y = y.index_select(axis, torch.minimum(around_, 2 * (size - 1) - around_))
        else:
            flat = [0, 0] * (rank - 1 - axis) + [before, after]
            y = F.pad(y, flat, value=value)
    return y


def slice_(x, a, n, o):
    if o < 10:
        starts, ends, axes, steps = a["starts"], a["ends"], a["axes"], [1] * len(a["axes"])
    else:
        starts, ends, steps = ints(x[1]), ints(x[2]), ints(x[4])
        axes = range(len(starts)) if x[3] is None else ints(x[3])
    y = x[0]
    for start, end, axis, step in zip(starts, ends, axes, steps):
        if end < -(1 << 20):
            end = None
        at = torch.tensor(list(range(y.shape[axis]))[slice(start, end, step)], dtype=torch.long)
        y = y.index_select(axis, at)
    return y


def split(x, a, n, o):
    axis, count = a.get("axis", 0), len(n.output)
    sizes = list(a["split"]) if "split" in a else (ints(x[1]) if opt(x, 1) is not None else None)
    return torch.split(x[0], sizes or math.ceil(x[0].shape[axis] / count), dim=axis)


def depth_to_space(x, a, n, o):
    b, c, h, w = x[0].shape
    k = a["blocksize"]
    if text(a, "mode", "DCR") == "CRD":
        return F.pixel_shuffle(x[0], k)
    return x[0].reshape(b, k, k, c // k**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c // k**2, h * k, w * k)


def space_to_depth(x, a, n, o):
    b, c, h, w = x[0].shape
    k = a["blocksize"]
    return x[0].reshape(b, c, h // k, k, w // k, k).permute(0, 3, 5, 1, 2, 4).reshape(b, c * k * k, h // k, w // k)


def gather(x, a, n, o):
    axis = a.get("axis", 0)
    index = x[1] % x[0].shape[axis]
    y = x[0].index_select(axis, index.reshape(-1))
    return y.reshape([*x[0].shape[:axis], *index.shape, *x[0].shape[axis + 1:]])


def gather_nd(x, a, n, o):
    batch, depth = a.get("batch_dims", 0), x[1].shape[-1]
    lead = []
    for axis in range(batch):
        shape = [1] * (x[1].dim() - 1)
        shape[axis] = -1
        lead.append(torch.arange(x[0].shape[axis]).reshape(shape).expand(x[1].shape[:-1]))
    return x[0][tuple(lead + [x[1][..., i] for i in range(depth)])]


def scatter_elements(x, a, n, o):
    axis = a.get("axis", 0)
    index = x[1] % x[0].shape[axis]
    add = text(a, "reduction", "none") == "add"
    return x[0].scatter_add(axis, index, x[2]) if add else x[0].scatter(axis, index, x[2])


def scatter_nd(x, a, n, o):
    where = tuple(x[1][..., i] for i in range(x[1].shape[-1]))
    return x[0].index_put(where, x[2], accumulate=text(a, "reduction", "none") == "add")


def one_hot(x, a, n, o):
    depth = int(x[1])
    hot = F.one_hot(x[0] % depth, depth)
    return torch.where(hot != 0, x[2][1], x[2][0])


def prod(t, axes, keep):
    for axis in axes:
        t = t.prod(axis, keepdim=True)
    return t if keep else t.squeeze(tuple(axes))


def response(x, a, n, o):
    size, channels = a["size"], x[0].shape[1]
    square = F.pad(x[0] ** 2, (0, 0, 0, 0, (size - 1) // 2, size // 2))
    sums = sum(square[:, at:at + channels] for at in range(size))
    return x[0] / (a.get("bias", 1.0) + a.get("alpha", 1e-4) / size * sums) ** a.get("beta", 0.75)


def grid_sample(x, a, n, o):
    mode = text(a, "mode", "linear")
    mode = "bilinear" if mode == "linear" else mode
    return F.grid_sample(x[0], x[1], mode, text(a, "padding_mode", "zeros"), bool(a.get("align_corners", 0)))


def reverse_sequence(x, a, n, o):
    time, batch = a.get("time_axis", 0), a.get("batch_axis", 1)
    rows = []
    for row, length in zip(x[0].unbind(batch), ints(x[1])):
        axis = time - (batch < time)
        head, tail = row.split([length, row.shape[axis] - length], axis)
        rows.append(torch.cat([head.flip(axis), tail], axis))
    return torch.stack(rows, batch)


def cum_sum(x, a, n, o):
    axis = int(x[1])
    y = x[0].flip(axis) if a.get("reverse", 0) else x[0]
    total = y.cumsum(axis)
    y = total - y if a.get("exclusive", 0) else total
    return y.flip(axis) if a.get("reverse", 0) else y


def reshape(x, a, n, o):
    return x[0].reshape([x[0].shape[i] if d == 0 else d for i, d in enumerate(ints(x[1]))])


def unsqueeze(x, a, n, o):
    y = x[0]
    for axis in sorted(axes_of(x, a)):
        y = y.unsqueeze(axis)
    return y


def squeeze(x, a, n, o):
    return x[0].squeeze(tuple(axes_of(x, a)))


def flatten(x, a, n, o):
    axis = a.get("axis", 1)
    return x[0].reshape(math.prod(x[0].shape[:axis]), -1)


def gemm(x, a, n, o):
    left = x[0].T if a.get("transA", 0) else x[0]
    right = x[1].T if a.get("transB", 0) else x[1]
    y = a.get("alpha", 1.0) * (left @ right)
    return y if opt(x, 2) is None else y + a.get("beta", 1.0) * x[2]


def layer_norm(x, a, n, o):
    axis = a.get("axis", -1) % x[0].dim()
    return F.layer_norm(x[0], x[0].shape[axis:], x[1], opt(x, 2), a["epsilon"])


def rms_norm(x, a, n, o):
    axis = a.get("axis", -1) % x[0].dim()
    return F.rms_norm(x[0], x[0].shape[axis:], x[1], a["epsilon"])


def group_norm(x, a, n, o):
    groups, channels = a["num_groups"], x[0].shape[1]
    each = channels // x[1].shape[0]
    return F.group_norm(x[0], groups, x[1].repeat_interleave(each), x[2].repeat_interleave(each), a["epsilon"])


def mean_variance(x, a, n, o):
    axes = list(a.get("axes", [0, 2, 3]))
    centred = x[0] - x[0].mean(axes, keepdim=True)
    return centred / (x[0].var(axes, correction=0, keepdim=True).sqrt() + 1e-9)


def attention(x, a, n, o):
    q, k, v = x[:3]
    packed = q.dim() == 3
    if packed:
        heads = lambda t, count: t.reshape(t.shape[0], t.shape[1], count, -1).transpose(1, 2)
        q, k, v = heads(q, a["q_num_heads"]), heads(k, a["kv_num_heads"]), heads(v, a["kv_num_heads"])
    if opt(x, 4) is not None:
        k, v = torch.cat([x[4], k], 2), torch.cat([x[5], v], 2)
    present = [k, v]
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    scale, mask, cap = a.get("scale", 1 / math.sqrt(q.shape[-1])), opt(x, 3), a.get("softcap", 0.0)
    if a.get("is_causal", 0):
        # All of the past is seen; no case has a mask beside it.
        past = 0 if opt(x, 4) is None else x[4].shape[2]
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(past)
    if cap:
        scores = cap * torch.tanh(scale * (q @ k.transpose(-1, -2)) / cap)
        scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
        y = torch.softmax(scores, -1) @ v
    else:
        y = F.scaled_dot_product_attention(q, k, v, mask, scale=scale)
    return [y.transpose(1, 2).flatten(2) if packed else y, *present]


def recurrent(x, a, n, o):
    """PyTorch's own cells; gates are put in PyTorch's order."""
    kind, hidden = n.op_type, a["hidden_size"]
    order = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}[kind]
    gates = len(order)
    reorder = lambda w: torch.cat([w[i * hidden:(i + 1) * hidden] for i in order])
    seq, directions = x[0], x[1].shape[0]
    text_ = text(a, "direction", "forward")
    ys, hs, cs = [], [], []
    for d in range(directions):
        w, r = reorder(x[1][d]), reorder(x[2][d])
        bias = opt(x, 3)
        zeros = torch.zeros(gates * hidden)
        wb, rb = (zeros, zeros) if bias is None else (reorder(bias[d][:gates * hidden]), reorder(bias[d][gates * hidden:]))
        h = torch.zeros(seq.shape[1], hidden) if opt(x, 5) is None else x[5][d]
        c = torch.zeros(seq.shape[1], hidden) if opt(x, 6) is None else x[6][d]
        back = text_ == "reverse" or d == 1
        steps, rows = (reversed(range(len(seq))) if back else range(len(seq))), {}
        for t in steps:
            if kind == "RNN":
                h = torch.rnn_tanh_cell(seq[t], h, w, r, wb, rb)
            elif kind == "GRU" and a.get("linear_before_reset", 0):
                h = torch.gru_cell(seq[t], h, w, r, wb, rb)
            elif kind == "GRU":
                gx = seq[t] @ w.T + wb + rb
                reset = torch.sigmoid(gx[:, :hidden] + h @ r[:hidden].T)
                keep = torch.sigmoid(gx[:, hidden:2 * hidden] + h @ r[hidden:2 * hidden].T)
                new = torch.tanh(gx[:, 2 * hidden:] + (reset * h) @ r[2 * hidden:].T)
                h = (1 - keep) * new + keep * h
            elif opt(x, 7) is None:
                h, c = torch.lstm_cell(seq[t], (h, c), w, r, wb, rb)
            else:
                pi, po, pf = x[7][d].split(hidden)
                i, f, g, out = (seq[t] @ w.T + h @ r.T + wb + rb).split(hidden, 1)
                c = torch.sigmoid(f + pf * c) * c + torch.sigmoid(i + pi * c) * torch.tanh(g)
                h = torch.sigmoid(out + po * c) * torch.tanh(c)
            rows[t] = h
        ys.append(torch.stack([rows[t] for t in range(len(seq))]))
        hs.append(h)
        cs.append(c)
    return [torch.stack(ys, 1), torch.stack(hs), torch.stack(cs)]


def along(x, parameter, a):
    shape = [1] * x.dim()
    if parameter.numel() > 1:
        shape[a.get("axis", 1)] = -1
    return parameter.reshape(shape)


LIMITS = {torch.uint8: (0, 255), torch.int8: (-128, 127)}


def quantise(x, a, n, o):
    """What stands for the integers is the real value, in units of the scale: autograd cannot see integers."""
    scale, zero = along(x[0], x[1], a), along(x[0], x[2], a)
    low, high = LIMITS[x[2].dtype]
    ratio = x[0] / scale
    place = torch.round(ratio) + zero
    inside = (place >= low) & (place <= high)
    through = torch.where(inside, ratio - ratio.detach(), 0.0)
    return place.clamp(low, high).detach() + through


def dequantise(x, a, n, o):
    return (x[0] - along(x[0], x[2], a)) * along(x[0], x[1], a)


def clip(x, a, n, o):
    if o < 11:
        return torch.clamp(x[0], a.get("min"), a.get("max")) if a else x[0] * 1
    low, high = opt(x, 1), opt(x, 2)
    return x[0] * 1 if low is None and high is None else torch.clamp(x[0], low, high)


def elu(x, alpha):
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


def shrink(x, a, n, o):
    bound, bias = a.get("lambd", 0.5), a.get("bias", 0.0)
    return torch.where(x[0] < -bound, x[0] + bias, torch.where(x[0] > bound, x[0] - bias, 0.0))


def extreme(f):
    return chained(f)


def logical(f):
    return lambda x, a, n, o: f(x[0], x[1])


def one(f):
    return lambda x, a, n, o: f(x[0])


RULES = {
    **{k: one(f) for k, f in {
        "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin, "Asinh": torch.asinh,
        "Atan": torch.atan, "Atanh": torch.atanh, "Ceil": torch.ceil, "Cos": torch.cos, "Cosh": torch.cosh,
        "Dropout": lambda t: t, "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor, "Identity": lambda t: t * 1,
        "HardSwish": F.hardswish, "Log": torch.log, "Mish": F.mish, "Neg": torch.neg, "Not": torch.logical_not,
        "Reciprocal": torch.reciprocal, "Relu": F.relu, "Round": torch.round, "Sigmoid": torch.sigmoid,
        "Sign": torch.sign, "Sin": torch.sin, "Sinh": torch.sinh, "Softplus": F.softplus, "Softsign": F.softsign,
        "Sqrt": torch.sqrt, "Tan": torch.tan, "Tanh": torch.tanh,
        "GlobalAveragePool": lambda t: t.mean(tuple(range(2, t.dim())), keepdim=True),
        "GlobalMaxPool": lambda t: t.amax(tuple(range(2, t.dim())), keepdim=True),
        "Shape": lambda t: torch.tensor(list(t.shape)),
    }.items()},
    **{k: logical(f) for k, f in {
        "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Pow": torch.pow, "MatMul": torch.matmul,
        "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor, "Equal": torch.eq,
        "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le,
        "Mod": torch.fmod, "PRelu": lambda t, s: torch.where(t > 0, t, s * t),
    }.items()},
    "Attention": attention,
    "AveragePool": pool,
    "BatchNormalization": lambda x, a, n, o: (
        (x[0] - along(x[0], x[3], {})) / torch.sqrt(along(x[0], x[4], {}) + a["epsilon"]) * along(x[0], x[1], {})
        + along(x[0], x[2], {})),
    "Cast": lambda x, a, n, o: x[0].double(),
    "CastLike": lambda x, a, n, o: x[0],
    "Celu": lambda x, a, n, o: F.celu(x[0], a.get("alpha", 1.0)),
    "Clip": clip,
    "Concat": lambda x, a, n, o: torch.cat(x, a["axis"]),
    "Constant": lambda x, a, n, o: tensor(numpy_helper.to_array(a["value"])),
    "ConstantOfShape": lambda x, a, n, o: torch.full(ints(x[0]), float(numpy_helper.to_array(a["value"])[0])),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "CumSum": cum_sum,
    "DepthToSpace": depth_to_space,
    "DequantizeLinear": dequantise,
    "Einsum": lambda x, a, n, o: torch.einsum(a["equation"].decode(), *x),
    "Elu": lambda x, a, n, o: elu(x[0], a.get("alpha", 1.0)),
    "Expand": lambda x, a, n, o: x[0] * torch.ones(ints(x[1])),
    "Flatten": flatten,
    "GRU": recurrent,
    "Gather": gather,
    "GatherElements": lambda x, a, n, o: x[0].gather(a.get("axis", 0), x[1] % x[0].shape[a.get("axis", 0)]),
    "GatherND": gather_nd,
    "Gelu": lambda x, a, n, o: F.gelu(x[0], approximate=text(a, "approximate", "none")),
    "Gemm": gemm,
    "GlobalLpPool": lambda x, a, n, o: torch.linalg.vector_norm(
        x[0], a.get("p", 2), tuple(range(2, x[0].dim())), keepdim=True),
    "GridSample": grid_sample,
    "GroupNormalization": group_norm,
    "HardSigmoid": lambda x, a, n, o: torch.clamp(a.get("alpha", 0.2) * x[0] + a.get("beta", 0.5), 0, 1),
    "InstanceNormalization": lambda x, a, n, o: F.instance_norm(x[0], None, None, x[1], x[2], True, 0.0, a["epsilon"]),
    "LSTM": recurrent,
    "LayerNormalization": layer_norm,
    "LeakyRelu": lambda x, a, n, o: F.leaky_relu(x[0], a.get("alpha", 0.01)),
    "LogSoftmax": softmaxing(torch.log_softmax),
    "LpNormalization": lambda x, a, n, o: F.normalize(x[0], a.get("p", 2), a.get("axis", -1)),
    "LpPool": pool,
    "LRN": response,
    "Max": chained(torch.maximum),
    "MaxPool": pool,
    "Mean": lambda x, a, n, o: chained(torch.add)(x, a, n, o) / len(x),
    "MeanVarianceNormalization": mean_variance,
    "Min": chained(torch.minimum),
    "OneHot": one_hot,
    "Pad": pad,
    "QuantizeLinear": quantise,
    "RMSNormalization": rms_norm,
    "RNN": recurrent,
    "Range": lambda x, a, n, o: x[0] + x[2] * torch.arange(math.ceil((x[1] - x[0]) / x[2])),
    "ReduceL1": reducing(lambda t, d, k: torch.linalg.vector_norm(t, 1, d, k)),
    "ReduceL2": reducing(lambda t, d, k: torch.linalg.vector_norm(t, 2, d, k)),
    "ReduceLogSum": reducing(lambda t, d, k: t.sum(d, k).log()),
    "ReduceLogSumExp": reducing(torch.logsumexp),
    "ReduceMax": reducing(torch.amax),
    "ReduceMean": reducing(torch.mean),
    "ReduceMin": reducing(torch.amin),
    "ReduceProd": reducing(prod),
    "ReduceSum": reducing(torch.sum),
    "ReduceSumSquare": reducing(lambda t, d, k: (t * t).sum(d, k)),
    "Reshape": reshape,
    "Resize": resize,
    "ReverseSequence": reverse_sequence,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Selu": lambda x, a, n, o: a.get("gamma", 1.0507009873554805) * elu(x[0], a.get("alpha", 1.6732632423543772)),
    "Shrink": shrink,
    "Slice": slice_,
    "Softmax": softmaxing(torch.softmax),
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Sum": chained(torch.add),
    "Swish": lambda x, a, n, o: x[0] * torch.sigmoid(a.get("alpha", 1.0) * x[0]),
    "ThresholdedRelu": lambda x, a, n, o: F.threshold(x[0], a.get("alpha", 1.0), 0.0),
    "Tile": lambda x, a, n, o: x[0].repeat(ints(x[1])),
    "TopK": lambda x, a, n, o: torch.topk(x[0], int(x[1]) if len(x) > 1 else a["k"], a.get("axis", -1), bool(a.get("largest", 1))),
    "Transpose": lambda x, a, n, o: x[0].permute(list(a["perm"]) if "perm" in a else list(reversed(range(x[0].dim())))),
    "Trilu": lambda x, a, n, o: (torch.triu if a.get("upper", 1) else torch.tril)(
        x[0], 0 if opt(x, 1) is None else int(x[1])),
    "Unsqueeze": unsqueeze,
    "Upsample": resize,
    "Where": lambda x, a, n, o: torch.where(x[0], x[1], x[2]),
}


def gradients(model, inputs, wanted):
    opset = max(i.version for i in model.opset_import if i.domain in ("", "ai.onnx"))
    values = {name: tensor(value) for name, value in inputs.items()}
    for name in wanted:
        values[name].requires_grad_()
    names = [o.name for o in model.graph.output]
    loss = 0
    for name, y in zip(names, run(model.graph, values, opset)):
        target, weight = values[f"target.{name}"], values[f"weight.{name}"]
        rows = len(weight)
        loss = loss + (weight * ((y - target) ** 2).reshape(rows, -1).mean(1)).sum() / rows
    return torch.autograd.grad(loss, [values[name] for name in wanted], allow_unused=True, materialize_grads=True)


def main(cases, out):
    found, failed = [], []
    with safe_open(cases, "numpy") as file:
        metadata = file.metadata()
        parts = {}
        for key in file.keys():
            case, kind, *name = key.split("/", 2)
            parts.setdefault(case, {})[(kind, *name)] = file.get_tensor(key)
    for case in metadata["order"].split():
        held = parts[case]
        model = onnx.load_from_string(held[("model",)].tobytes())
        wanted = sorted((key[1] for key in held if key[0] == "wanted"), key=lambda name: int(name[1:]))
        inputs = {key[1]: value for key, value in held.items() if len(key) > 1}
        try:
            made = gradients(model, inputs, wanted)
        except Exception as error:
            failed.append(f"{case}: {type(error).__name__} {error}")
            continue
        found += [g.reshape(-1) for g in made]
    if failed:
        sys.exit("\n".join(failed[:60]) + f"\n{len(failed)} cases have no reference")
    flat = torch.cat(found)
    if not torch.isfinite(flat).all():
        sys.exit("a gradient is not finite")
    save_file({"gradients": flat.float().numpy()}, out, metadata={"cases": metadata["cases"]})
    print(f"{len(parts)} cases, {len(flat)} values")


if __name__ == "__main__":
    main(*sys.argv[1:])
