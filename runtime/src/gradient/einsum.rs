//! The gradient of `Einsum` by one operand: an `Einsum` of `g` and the other operands, whose result has that
//! operand's letters.
//!
//! A letter that only that operand has was summed over: its share is repeated along it. A letter twice in one
//! operand (a diagonal) has no rule.
//! # Source
//! The sum over index letters, differentiated by hand.

use crate::onnx::infer::linear::einsum_terms;
use crate::onnx::{Attr, Value};

use super::Reason;
use super::step::Step;

pub(super) fn einsum(step: &mut Step) -> Result<(), Reason> {
    let dy = step.dy()?;
    let equation = step.node.text("equation", "").to_owned();
    let mut operands = Vec::new();
    for index in 0..step.inputs.len() {
        operands.push(step.x(index)?);
    }
    let ranks: Vec<usize> = operands.iter().map(|x| step.emit.dims(x).len()).collect();
    let refusal = || Reason::Attribute { name: "equation", value: equation.clone() };
    let (terms, right) = einsum_terms(&equation, &ranks).ok_or_else(refusal)?;
    let twice = |term: &[char]| (1..term.len()).any(|at| term[..at].contains(&term[at]));
    if terms.iter().any(|term| twice(term)) {
        return Err(refusal());
    }
    let wanted = step.wanted.clone();
    for index in (0..operands.len()).filter(|&index| wanted[index]) {
        let mut values: Vec<&Value> = vec![&dy];
        let mut left = vec![right.clone()];
        for other in (0..operands.len()).filter(|&other| other != index) {
            values.push(&operands[other]);
            left.push(terms[other].clone());
        }
        let term = &terms[index];
        let has = |letter: &char| left.iter().any(|other| other.contains(letter));
        let shared: Vec<char> = term.iter().copied().filter(has).collect();
        let text = |letters: &[char]| letters.iter().collect::<String>();
        let sources: Vec<String> = left.iter().map(|letters| text(letters)).collect();
        let equation = format!("{}->{}", sources.join(","), text(&shared));
        let share = step.emit.op("Einsum", &values, &[("equation", Attr::Str(equation))])?;
        // Letters that only this operand has get an axis of one value, which is repeated.
        let dims = step.emit.dims(&share);
        let mut given = dims.iter();
        let spread: Vec<usize> = term
            .iter()
            .map(|l| if has(l) { given.next().copied().unwrap_or(1) } else { 1 })
            .collect();
        let share = step.emit.reshape(&share, &spread)?;
        let own = step.emit.dims(&operands[index]);
        let share = step.emit.unbroadcast(&share, &broadcast_to(&spread, &own))?;
        step.give(index, share);
    }
    Ok(())
}

/// The operand's dimensions, but 1 where its share is repeated.
fn broadcast_to(spread: &[usize], own: &[usize]) -> Vec<usize> {
    spread.iter().zip(own).map(|(&s, &o)| if s == 1 { 1 } else { o }).collect()
}
