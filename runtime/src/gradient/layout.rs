//! Gradients of operators that move or repeat values without changing them: the way back.
//!
//! | operator | share |
//! |---|---|
//! | `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze` | `g` in the input's dimensions |
//! | `Transpose` | `g` in the inverse order |
//! | `DepthToSpace`, `SpaceToDepth` | the other one |
//! | `Expand` | `g` summed over the repeated axes |
//! | `Tile` | `g` summed over the copies |
//! | `Trilu`, `CumSum` | `g` with the same triangle; its sum from the other end |
//! | `ReverseSequence` | `g`, turned round as far |
//! | `Cast` between floats | `g` cast back |
//! | `Identity`, `Dropout` (of inference) | `g` |
//!
//! # Source
//! A permutation's adjoint is its inverse.

use crate::onnx::{Attr, Value};

use super::Reason;
use super::step::Step;

type Done = Result<(), Reason>;

pub(super) fn same_values(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let dims = step.emit.dims(&x);
    let share = step.emit.reshape(&dy, &dims)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn identity(step: &mut Step) -> Done {
    let trains = match step.opt(2) {
        Some(_) => step.constant(2, "training_mode")?.to_f64s().iter().any(|&v| v != 0.0),
        None => false,
    };
    if trains {
        return Err(Reason::Attribute { name: "training_mode", value: "true".into() });
    }
    let dy = step.dy()?;
    step.give(0, dy);
    Ok(())
}

pub(super) fn transpose(step: &mut Step) -> Done {
    let dy = step.dy()?;
    let rank = step.emit.dims(&dy).len();
    let mut inverse = vec![0; rank];
    match step.node.ints("perm") {
        Some(perm) => {
            for (to, &from) in perm.iter().enumerate() {
                inverse[step.axis(from, rank)?] = to;
            }
        }
        None => inverse = (0..rank).rev().collect(),
    }
    let share = step.emit.transpose(&dy, &inverse)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn expand(step: &mut Step) -> Done {
    let dy = step.dy()?;
    step.give_unbroadcast(0, &dy)
}

pub(super) fn tile(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let (dims, out) = (step.emit.dims(&x), step.emit.dims(&dy));
    let split: Vec<usize> = dims.iter().zip(&out).flat_map(|(&d, &o)| [o / d.max(1), d]).collect();
    let copies: Vec<usize> = (0..dims.len()).map(|axis| 2 * axis).collect();
    let share = step.emit.reshape(&dy, &split)?;
    let share = step.emit.reduce_sum(&share, &copies, false)?;
    let share = step.emit.reshape(&share, &dims)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn triangle(step: &mut Step) -> Done {
    let dy = step.dy()?;
    let upper = [("upper", Attr::Int(step.node.int("upper", 1)))];
    let share = match step.opt(1) {
        Some(shift) => step.emit.op("Trilu", &[&dy, &shift], &upper)?,
        None => step.emit.op("Trilu", &[&dy], &upper)?,
    };
    step.give(0, share);
    Ok(())
}

pub(super) fn cumulative(step: &mut Step) -> Done {
    let (dy, axis) = (step.dy()?, step.x(1)?);
    let attrs = [
        ("exclusive", Attr::Int(step.node.int("exclusive", 0))),
        ("reverse", Attr::Int(i64::from(step.node.int("reverse", 0) == 0))),
    ];
    let share = step.emit.op("CumSum", &[&dy, &axis], &attrs)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn reverse_sequence(step: &mut Step) -> Done {
    let (dy, lengths) = (step.dy()?, step.x(1)?);
    let attrs = [
        ("batch_axis", Attr::Int(step.node.int("batch_axis", 1))),
        ("time_axis", Attr::Int(step.node.int("time_axis", 0))),
    ];
    let share = step.emit.op("ReverseSequence", &[&dy, &lengths], &attrs)?;
    step.give(0, share);
    Ok(())
}

pub(super) fn cast(step: &mut Step) -> Done {
    let (dy, x) = (step.dy()?, step.x(0)?);
    let share = step.emit.cast(&dy, step.emit.element(&x))?;
    step.give(0, share);
    Ok(())
}

pub(super) fn depth_to_space(step: &mut Step) -> Done {
    let (dy, block) = (step.dy()?, block(step)?);
    let share = if step.node.text("mode", "DCR") == "CRD" {
        columns_first(step, &dy, block)?
    } else {
        step.emit.op("SpaceToDepth", &[&dy], &[("blocksize", Attr::Int(block as i64))])?
    };
    step.give(0, share);
    Ok(())
}

pub(super) fn space_to_depth(step: &mut Step) -> Done {
    let (dy, block) = (step.dy()?, block(step)?);
    let mode = Attr::Str(step.node.text("mode", "DCR").to_owned());
    let attrs = [("blocksize", Attr::Int(block as i64)), ("mode", mode)];
    let share = step.emit.op("DepthToSpace", &[&dy], &attrs)?;
    step.give(0, share);
    Ok(())
}

fn block(step: &Step) -> Result<usize, Reason> {
    let block = step.node.int("blocksize", 0);
    let valid = usize::try_from(block).ok().filter(|&b| b > 0);
    valid.ok_or(Reason::Attribute { name: "blocksize", value: block.to_string() })
}

/// `SpaceToDepth`, and its channels (row, column, channel) in the order of CRD (channel, row, column).
fn columns_first(step: &mut Step, dy: &Value, block: usize) -> Result<Value, Reason> {
    let attrs = [("blocksize", Attr::Int(block as i64))];
    let deep = step.emit.op("SpaceToDepth", &[dy], &attrs)?;
    let (all, places) = (step.emit.dims(&deep)[1], block * block);
    let channels = all / places;
    step.emit.pick(&deep, 1, all, |to| (to % places * channels + to / places) as i64)
}
