//! Gradients of cutting and joining: each value's gradient goes back to where the value came from.
//!
//! | operator | share |
//! |---|---|
//! | `Slice`, step 1; `Split` | `g` as a piece of the input (pieces side by side become one `Concat`) |
//! | `Slice`, other steps | `g` by index, see [`super::index`] |
//! | `Pad` with a constant | the middle of `g` |
//! | `Pad`, `edge` | the middle of `g`; its border gets the sums of the parts that repeat it |
//! | `Pad`, `reflect`, `wrap` | the middle of `g`, and what repeats parts of it, backwards where it is reflected |
//! | `Concat` | for each input its part of `g` |
//!
//! # Source
//! Every one is a linear map of 0 and 1; its adjoint is the transposed map.

use crate::onnx::infer::layout::slice_cuts;
use crate::onnx::{InferWhy, Value};

use super::accumulate::{self, Part};
use super::step::Step;
use super::{Reason, index, stored};

type Done = Result<(), Reason>;

/// The most runs that a padded axis is summed of; more, of an axis that is short beside its pads, are summed by index.
const RUNS_MAX: usize = 16;

pub(super) fn slice(step: &mut Step) -> Done {
    let (mut share, x) = (step.dy()?, step.x(0)?);
    let dims = step.emit.dims(&x);
    let list = |index| {
        let list = step.integers(index, "starts").ok().flatten();
        list.ok_or(InferWhy::NotConstant { index })
    };
    let cuts = slice_cuts(step.node, &dims, &list);
    let cuts = cuts.map_err(|why| Reason::Infer { why: why.to_string() })?;
    let mut begins = vec![0; dims.len()];
    for (axis, cut) in cuts.iter().enumerate() {
        if cut.step == 1 || cut.count <= 1 {
            begins[axis] = cut.first;
        } else {
            let read = (0..stored::fits(&[cut.count])? as i64).map(|at| at * cut.step);
            let read: Vec<i64> = read.map(|from_first| cut.first as i64 + from_first).collect();
            share = index::spread(step.emit, &share, axis, &read, dims[axis])?;
        }
    }
    step.give_piece(0, begins, share);
    Ok(())
}

pub(super) fn pad(step: &mut Step) -> Done {
    step.refuse(2, "constant_value")?;
    let (dy, x) = (step.dy()?, step.x(0)?);
    let dims = step.emit.dims(&x);
    let (before, after) = pads(step, dims.len())?;
    let mode = step.node.text("mode", "constant").to_owned();
    let share = match mode.as_str() {
        "constant" => pad_constant(step, &dy, &dims, (&before, &after))?,
        "edge" => pad_edge(step, &dy, &dims, (&before, &after))?,
        "reflect" | "wrap" => {
            let mut share = dy;
            for axis in 0..dims.len() {
                let pads = (before[axis], after[axis]);
                if pads != (0, 0) {
                    share = pad_repeating(step, &share, axis, dims[axis], (mode.as_str(), pads))?;
                }
            }
            share
        }
        _ => return Err(Reason::Attribute { name: "mode", value: mode }),
    };
    step.give(0, share);
    Ok(())
}

/// Pads before and after every axis; negative ones cut.
fn pads(step: &Step, rank: usize) -> Result<(Vec<i64>, Vec<i64>), Reason> {
    let pads = match step.attribute_or_input("pads", 1)? {
        Some(pads) => pads,
        None => return Err(Reason::Missing { index: 1 }),
    };
    let count = pads.len() / 2;
    let axes = step.integers(3, "axes")?.unwrap_or_else(|| (0..count as i64).collect());
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    for (at, &axis) in axes.iter().enumerate().take(count) {
        let axis = step.axis(axis, rank)?;
        (before[axis], after[axis]) = (pads[at], pads[at + count]);
    }
    Ok((before, after))
}

fn pad_constant(
    step: &mut Step,
    dy: &Value,
    dims: &[usize],
    (before, after): (&[i64], &[i64]),
) -> Result<Value, Reason> {
    let inside: Vec<usize> = before.iter().map(|&p| p.max(0) as usize).collect();
    let out = step.emit.dims(dy);
    let ends: Vec<usize> = (0..dims.len()).map(|i| out[i] - after[i].max(0) as usize).collect();
    let middle = step.emit.crop(dy, &inside, &ends)?;
    let cut = |pads: &[i64]| pads.iter().map(|&p| (-p).max(0) as usize).collect::<Vec<_>>();
    Ok(step.emit.pad(&middle, &cut(before), &cut(after))?)
}

fn pad_edge(
    step: &mut Step,
    dy: &Value,
    dims: &[usize],
    (before, after): (&[i64], &[i64]),
) -> Result<Value, Reason> {
    let mut share = dy.clone();
    for axis in 0..dims.len() {
        let (first, last) = (before[axis], after[axis]);
        if first < 0 || last < 0 {
            let value = format!("{before:?}, {after:?}");
            return Err(Reason::Attribute { name: "pads", value });
        }
        if (first, last) != (0, 0) {
            let edges = (first as usize, last as usize);
            share = fold_edges(step, &share, axis, dims[axis], edges)?;
        }
    }
    Ok(share)
}

/// Along one axis: the first and last value get the sums of what repeated them.
fn fold_edges(
    step: &mut Step,
    dy: &Value,
    axis: usize,
    dim: usize,
    (first, last): (usize, usize),
) -> Result<Value, Reason> {
    if dim == 1 {
        return Ok(step.emit.reduce_sum(dy, &[axis], true)?);
    }
    let out = step.emit.dims(dy);
    let ranges =
        [(0, first + 1), (first + 1, first + dim - 1), (first + dim - 1, first + dim + last)];
    let mut parts = Vec::new();
    for (start, end) in ranges.into_iter().filter(|(start, end)| start < end) {
        let (mut starts, mut ends) = (vec![0; out.len()], out.clone());
        (starts[axis], ends[axis]) = (start, end);
        let part = step.emit.crop(dy, &starts, &ends)?;
        // The middle is neither the first nor the last range; it is not summed.
        let part = if start == 0 || end == out[axis] {
            step.emit.reduce_sum(&part, &[axis], true)?
        } else {
            part
        };
        parts.push(part);
    }
    Ok(step.emit.concat(&parts, axis)?)
}

/// Along one axis that is reflected or wrapped: every run of values goes back to where it was read, the other way round where
/// it was read backwards.
fn pad_repeating(
    step: &mut Step,
    dy: &Value,
    axis: usize,
    dim: usize,
    (mode, pads): (&str, (i64, i64)),
) -> Result<Value, Reason> {
    if mode == "wrap" && (pads.0 < 0 || pads.1 < 0) {
        // Whether what is cut off is wrapped, too, the operator's document does not say.
        return Err(Reason::Attribute { name: "pads", value: format!("{pads:?}") });
    }
    if dim == 1 {
        return Ok(step.emit.reduce_sum(dy, &[axis], true)?);
    }
    let out = step.emit.dims(dy);
    let Some(runs) = runs(mode == "wrap", dim, pads) else {
        stored::fits(&[out[axis], dim])?;
        let source = repeated(mode, dim, pads.0, pads.1);
        return index::spread(step.emit, dy, axis, &source, dim);
    };
    let (mut at, mut parts) = (0, Vec::new());
    for run in runs {
        let (mut starts, mut ends) = (vec![0; out.len()], out.clone());
        (starts[axis], ends[axis]) = (at, at + run.length);
        at += run.length;
        let mut part = step.emit.crop(dy, &starts, &ends)?;
        if run.backwards {
            let last = run.length - 1;
            part = step.emit.pick(&part, axis, run.length, |at| (last - at) as i64)?;
        }
        starts[axis] = run.first;
        parts.push(Part::piece(part, starts));
    }
    let mut dims = out;
    dims[axis] = dim;
    accumulate::sum(step.emit, &dims, &parts)?.ok_or(Reason::Empty)
}

/// Values side by side on a padded axis that are side by side on the axis itself.
struct Run {
    /// The lowest index that is read.
    first: usize,
    length: usize,
    /// Read from the highest index to the lowest.
    backwards: bool,
}

/// What a padded axis of at least two values reads, in its order; `None` if that is more than [`RUNS_MAX`] runs.
fn runs(wraps: bool, dim: usize, (before, after): (i64, i64)) -> Option<Vec<Run>> {
    // An edge is not reflected with the rest.
    let length_max = if wraps { dim } else { dim - 1 };
    let beyond = |pad: i64| usize::try_from(pad).unwrap_or(0);
    let count = |pad: i64| beyond(pad).div_ceil(length_max);
    if count(before).saturating_add(count(after)) >= RUNS_MAX {
        return None;
    }
    let run = |number: usize, pad: i64, is_before: bool| {
        let length = length_max.min(beyond(pad) - number * length_max);
        let backwards = !wraps && number.is_multiple_of(2);
        // Away from the axis, indices go up from its start and down from its end.
        let ascends = if wraps { !is_before } else { is_before == backwards };
        let first = match (wraps, ascends) {
            (true, true) => 0,
            (true, false) => dim - length,
            (false, true) => 1,
            (false, false) => dim - 1 - length,
        };
        Run { first, length, backwards }
    };
    let cut = |pad: i64| beyond(pad.saturating_neg()).min(dim);
    let middle = Run {
        first: cut(before),
        length: dim.saturating_sub(cut(before) + cut(after)),
        backwards: false,
    };
    let mut runs: Vec<Run> = (0..count(before)).rev().map(|at| run(at, before, true)).collect();
    runs.push(middle);
    runs.extend((0..count(after)).map(|at| run(at, after, false)));
    runs.retain(|run| run.length > 0);
    Some(runs)
}

/// Where each value of a padded axis comes from.
fn repeated(mode: &str, dim: usize, before: i64, after: i64) -> Vec<i64> {
    let dim = dim as i64;
    (-before..dim + after)
        .map(|at| match mode {
            "wrap" => at.rem_euclid(dim),
            _ if dim == 1 => 0,
            _ => {
                let period = 2 * (dim - 1);
                let at = at.rem_euclid(period);
                at.min(period - at)
            }
        })
        .collect()
}

pub(super) fn concat(step: &mut Step) -> Done {
    let dy = step.dy()?;
    let out = step.emit.dims(&dy);
    let axis = step.axis(step.node.int("axis", 1), out.len())?;
    let mut at = 0;
    for input in 0..step.inputs.len() {
        let dim = step.emit.dims(&step.x(input)?)[axis];
        if step.wants(input) {
            let (mut starts, mut ends) = (vec![0; out.len()], out.clone());
            (starts[axis], ends[axis]) = (at, at + dim);
            let share = step.emit.crop(&dy, &starts, &ends)?;
            step.give(input, share);
        }
        at += dim;
    }
    Ok(())
}

pub(super) fn split(step: &mut Step) -> Done {
    let dims = step.emit.dims(&step.x(0)?);
    let axis = step.axis(step.node.int("axis", 0), dims.len())?;
    let mut at = 0;
    for output in 0..step.outputs.len() {
        let y = step.outputs[output].clone().ok_or(Reason::Output)?;
        if let Some(dy) = step.dys[output].clone() {
            let mut starts = vec![0; dims.len()];
            starts[axis] = at;
            step.give_piece(0, starts, dy);
        }
        at += step.emit.dims(&y)[axis];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_read_what_is_read_by_index() {
        for mode in ["reflect", "wrap"] {
            for dim in 2..6 {
                let length = dim as i64;
                let amounts = (-length..8).flat_map(|b| (-length..8).map(move |a| (b, a)));
                for pads in amounts.filter(|(b, a)| length + b.min(&0) + a.min(&0) >= 0) {
                    let Some(runs) = runs(mode == "wrap", dim, pads) else { panic!("{pads:?}") };
                    let read = runs.iter().flat_map(|run| {
                        let at = move |i: usize| if run.backwards { run.length - 1 - i } else { i };
                        (0..run.length).map(move |i| (run.first + at(i)) as i64)
                    });
                    let read: Vec<i64> = read.collect();
                    assert_eq!(read, repeated(mode, dim, pads.0, pads.1), "{mode} {dim} {pads:?}");
                }
            }
        }
        assert!(runs(true, 2, (0, 32)).is_none() && runs(true, 1 << 20, (3, 3)).is_some());
    }

    #[test]
    fn reflected_and_wrapped_axes_read_what_onnx_says() {
        assert_eq!(repeated("reflect", 4, 2, 3), [2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(repeated("wrap", 3, 1, 2), [2, 0, 1, 2, 0, 1]);
    }
}
