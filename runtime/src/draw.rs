//! Inputs for a model of which nothing is known but its file: values that its graph can take, drawn from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::onnx::proto::NodeProto;
use crate::onnx::{Element, Folded, Tensor, TensorType};

/// The share of a range by which a perturbed value differs at most.
pub const PERTURBATION: f64 = 0.1;
/// How many of a perturbed input's indices are drawn again: one in so many.
pub const REDRAWN: u32 = 8;

/// What the values of an input may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// Reals from low to high.
    Real {
        /// The lowest.
        low: f32,
        /// The highest.
        high: f32,
    },
    /// Places in a table of this length.
    Index {
        /// Entries of the table.
        count: usize,
    },
    /// Everything an integer of 8 or 16 bits can be: pixels, quantised values.
    Whole,
    /// One, or true: masks, lengths and switches, of which nothing else is known to make sense.
    One,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range::Real { low, high } => write!(f, "uniform in {low} to {high}"),
            Range::Index { count } => write!(f, "uniform in the {count} entries of its table"),
            Range::Whole => f.write_str("uniform in all values of its type"),
            Range::One => f.write_str("all 1"),
        }
    }
}

/// A graph input, and what is drawn for it.
#[derive(Clone, Debug, PartialEq)]
pub struct InputRange {
    /// Its name.
    pub input: String,
    /// Its type.
    pub ty: TensorType,
    /// What its values may be.
    pub range: Range,
}

/// One input, drawn twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// Its name.
    pub input: String,
    /// The values.
    pub clean: Tensor,
    /// The same, perturbed: reals by at most [`PERTURBATION`] of their range, within it, one in [`REDRAWN`] indices another one.
    pub perturbed: Tensor,
}

/// What the inputs of a graph may be, as far as the file tells: indices from the tables they look up, reals from
/// `Image.NominalPixelRange` where the file has it, else 0 to 1.
///
/// # Source
/// ONNX `MetadataProps.md` (Image.NominalPixelRange).
pub fn ranges(folded: &Folded) -> Vec<InputRange> {
    let graph = folded.model.graph();
    let mut readers: BTreeMap<&str, Vec<&NodeProto>> = BTreeMap::new();
    for node in &graph.node {
        node.input.iter().for_each(|name| readers.entry(name).or_default().push(node));
    }
    let pixels = pixel_range(folded);
    let typed = graph.input.iter().filter_map(|i| Some((i.name(), folded.types.get(i.name())?)));
    typed
        .map(|(name, ty)| {
            let range = match (table(folded, &readers, name), ty.element) {
                (Some(count), _) => Range::Index { count },
                (None, Element::F32 | Element::F64 | Element::F16 | Element::Bf16) => {
                    pixels.filter(|_| ty.rank() >= 3).unwrap_or(Range::Real { low: 0.0, high: 1.0 })
                }
                (None, Element::U8 | Element::I8 | Element::U16 | Element::I16) => Range::Whole,
                (
                    None,
                    Element::I64 | Element::I32 | Element::U64 | Element::U32 | Element::Bool,
                ) => Range::One,
            };
            InputRange { input: name.to_owned(), ty: ty.clone(), range }
        })
        .collect()
}

fn pixel_range(folded: &Folded) -> Option<Range> {
    let mut said = folded.model.proto.metadata_props.iter();
    let (low, high) = match said.find(|p| p.key() == "Image.NominalPixelRange")?.value() {
        "NominalRange_0_255" => (0.0, 255.0),
        "NominalRange_16_235" => (16.0, 235.0),
        "Normalized_0_1" => (0.0, 1.0),
        "Normalized_1_1" => (-1.0, 1.0),
        _ => return None,
    };
    Some(Range::Real { low, high })
}

/// The length of the shortest table that an input looks up, through nodes that only move or cast its values.
fn table(folded: &Folded, readers: &BTreeMap<&str, Vec<&NodeProto>>, name: &str) -> Option<usize> {
    let mut found: Option<usize> = None;
    let (mut open, mut seen) = (vec![name], BTreeSet::new());
    while let Some(name) = open.pop() {
        for node in readers.get(name).into_iter().flatten() {
            let at = node.input.iter().position(|input| input == name).unwrap_or(0);
            let rows = looked_up(folded, node, at);
            found = match (found, rows) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let moves = at == 0 || node.is("Concat");
            if rows.is_none() && moves && MOVING.iter().any(|op| node.is(op)) {
                open.extend(node.output.iter().map(String::as_str).filter(|o| seen.insert(*o)));
            }
        }
    }
    found.filter(|&count| count > 0)
}

const MOVING: [&str; 12] = [
    "Identity",
    "Cast",
    "Reshape",
    "Unsqueeze",
    "Squeeze",
    "Flatten",
    "Transpose",
    "Expand",
    "Slice",
    "Concat",
    "Split",
    "Gather",
];

/// The length of the axis that a node's input `at` holds places of.
fn looked_up(folded: &Folded, node: &NodeProto, at: usize) -> Option<usize> {
    if node.is("OneHot") && at == 0 {
        let depth = node.input_name(1)?;
        let stored = folded.model.graph().initializer.iter().find(|t| t.name() == depth)?;
        return Tensor::from_proto(stored).ok()?.to_f64s().first().map(|&d| d as usize);
    }
    if at != 1 {
        return None;
    }
    let data = &folded.types.get(node.input_name(0)?)?.dims;
    if node.is("GatherND") {
        return data.iter().skip(node.int("batch_dims", 0).try_into().ok()?).min().copied();
    }
    let along = ["Gather", "GatherElements", "ScatterElements"].iter().any(|op| node.is(op));
    let axis = crate::onnx::infer::axis_of(node.int("axis", 0), data.len()).ok()?;
    data.get(axis).copied().filter(|_| along)
}

/// Draws every input. Words of ChaCha8 with key SHA-256(`shoal/draw` ‖ seed u64 ‖ batch u32 ‖ input u32,
/// little-endian), row-major: first those of the values, then those of the perturbation.
pub fn draw(ranges: &[InputRange], seed: u64, batch: u32) -> Vec<Drawn> {
    ranges
        .iter()
        .enumerate()
        .map(|(number, of)| {
            let mut key = Sha256::new();
            key.update(b"shoal/draw");
            key.update(seed.to_le_bytes());
            key.update(batch.to_le_bytes());
            key.update((number as u32).to_le_bytes());
            let mut random = ChaCha8Rng::from_seed(key.finalize().into());
            let count = of.ty.values();
            let clean: Vec<f64> = (0..count).map(|_| value(of, &mut random)).collect();
            let perturbed: Vec<f64> =
                clean.iter().map(|&x| perturbed(of, x, &mut random)).collect();
            Drawn {
                input: of.input.clone(),
                clean: Tensor::from_f64s(of.ty.element, &of.ty.dims, &clean),
                perturbed: Tensor::from_f64s(of.ty.element, &of.ty.dims, &perturbed),
            }
        })
        .collect()
}

/// A number in [0, 1).
fn unit(random: &mut ChaCha8Rng) -> f64 {
    f64::from(random.next_u32()) / 4_294_967_296.0
}

/// The lowest and the highest value.
fn bounds(of: &InputRange) -> (f64, f64) {
    match (of.range, of.ty.element) {
        (Range::Real { low, high }, _) => (f64::from(low), f64::from(high)),
        (Range::Index { count }, _) => (0.0, count.saturating_sub(1) as f64),
        (Range::One, _) => (1.0, 1.0),
        (Range::Whole, element) => element.narrow_bounds().unwrap_or((0.0, 255.0)),
    }
}

fn value(of: &InputRange, random: &mut ChaCha8Rng) -> f64 {
    let (low, high) = bounds(of);
    match of.range {
        Range::Real { .. } => low + (high - low) * unit(random),
        Range::Index { .. } | Range::Whole => low + ((high - low + 1.0) * unit(random)).floor(),
        Range::One => 1.0,
    }
}

fn perturbed(of: &InputRange, x: f64, random: &mut ChaCha8Rng) -> f64 {
    let (low, high) = bounds(of);
    // What would leave the range goes back into it, so that no more values lie on its ends, where a logarithm has none, than are
    // drawn there.
    let moved = |random: &mut _| {
        let to = x + PERTURBATION * (high - low) * (2.0 * unit(random) - 1.0);
        if to < low {
            2.0 * low - to
        } else if to > high {
            2.0 * high - to
        } else {
            to
        }
    };
    match of.range {
        Range::Real { .. } => moved(random),
        Range::Whole => moved(random).round(),
        Range::Index { .. } => {
            let (again, other) = (random.next_u32(), value(of, random));
            if again.is_multiple_of(REDRAWN) { other } else { x }
        }
        Range::One => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Attr, Builder};

    #[test]
    fn indices_stay_in_their_table_through_nodes_that_move_them() {
        let mut b = Builder::new(17);
        let tokens = b.input("tokens", TensorType::new(Element::I32, &[3, 50]));
        let table = b.initializer("table", &Tensor::f32(&[7, 2], &[0.5; 14]));
        let flat = b.op("Flatten", &[&tokens], &[("axis", Attr::Int(0))]).unwrap();
        let wide = b.op("Cast", &[&flat], &[("to", Attr::Int(7))]).unwrap();
        let y = b.op("Gather", &[&table, &wide], &[]).unwrap();
        b.output("y", &y);
        let ranges = ranges(&b.finish());
        assert_eq!(ranges[0].range, Range::Index { count: 7 });
        let drawn = draw(&ranges, 3, 0);
        for tensor in [&drawn[0].clean, &drawn[0].perturbed] {
            assert!(tensor.to_i64s().unwrap().iter().all(|i| (0..7).contains(i)));
        }
        assert_ne!(drawn[0].clean, drawn[0].perturbed);
    }

    #[test]
    fn what_is_drawn_repeats_from_its_seed_and_differs_by_batch() {
        let ty = TensorType::f32(&[2, 3]);
        let range = Range::Real { low: -1.0, high: 1.0 };
        let ranges = [InputRange { input: "x".into(), ty, range }];
        assert_eq!(draw(&ranges, 1, 0), draw(&ranges, 1, 0));
        assert_ne!(draw(&ranges, 1, 0), draw(&ranges, 1, 1));
        let drawn = draw(&ranges, 1, 0).swap_remove(0);
        let (clean, moved) = (drawn.clean.to_f64s(), drawn.perturbed.to_f64s());
        let far = clean.iter().zip(&moved).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far > 0.0 && far <= 0.2 + 1e-6, "{far}");
    }

    #[test]
    fn what_is_perturbed_stays_in_its_range_and_does_not_gather_at_its_ends() {
        let ty = TensorType::f32(&[1 << 14]);
        let range = Range::Real { low: 0.0, high: 1.0 };
        let drawn = draw(&[InputRange { input: "x".into(), ty, range }], 1, 0).swap_remove(0);
        let (clean, moved) = (drawn.clean.to_f64s(), drawn.perturbed.to_f64s());
        assert!(moved.iter().all(|value| (0.0..=1.0).contains(value)));
        let ends = |values: &[f64]| values.iter().filter(|&&x| x == 0.0 || x == 1.0).count();
        assert_eq!(ends(&moved), ends(&clean));
        let far = clean.iter().zip(&moved).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far > 0.0 && far <= PERTURBATION + 1e-6, "{far}");
    }

    #[test]
    fn a_file_that_says_its_range_of_pixels_gets_them() {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[1, 3, 2, 2]));
        let y = b.op("Relu", &[&x], &[]).unwrap();
        b.output("y", &y);
        let mut folded = b.finish();
        assert_eq!(ranges(&folded)[0].range, Range::Real { low: 0.0, high: 1.0 });
        folded.model.proto.metadata_props.push(crate::onnx::proto::StringStringEntryProto {
            key: Some("Image.NominalPixelRange".into()),
            value: Some("NominalRange_0_255".into()),
        });
        assert_eq!(ranges(&folded)[0].range, Range::Real { low: 0.0, high: 255.0 });
    }
}
