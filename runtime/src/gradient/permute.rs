//! Writes a change of the order of axes as swaps of two neighbouring blocks of axes.
//!
//! ONNX Runtime's CPU provider moves one axis at a time by blocks, and everything else value by value: an
//! image folded into patches (six axes) took 1.5 ms where two swaps take 0.2.

use std::collections::{BTreeMap, BTreeSet};

/// `[before, left, right, after]` → `[before, right, left, after]`, in values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Swap {
    pub(super) before: usize,
    pub(super) left: usize,
    pub(super) right: usize,
    pub(super) after: usize,
}

/// Axes beyond this many are left to the engine; the search looks at every order of them.
const AXES_MAX: usize = 6;
/// Cost of moving values one by one by an order that is no swap, in units of one fast pass.
const SLOW: u32 = 70;

/// The cheapest swaps that bring axes of `dims` into the order `perm`; `None` where the engine's own way is
/// as good: it already is one move of one axis, or values move in long blocks.
pub(super) fn swaps(dims: &[usize], perm: &[usize]) -> Option<Vec<Swap>> {
    if is_one_move(perm) {
        return None;
    }
    let (dims, goal) = merged(dims, perm);
    let kept = goal.iter().enumerate().rev().take_while(|&(at, &axis)| at == axis).count();
    let block: usize = dims[dims.len() - kept..].iter().product();
    if dims.len() > AXES_MAX || dims.len() < 2 {
        return None;
    }
    let (cost, path) = cheapest(&dims, &goal)?;
    let direct = if block >= 32 { 10 } else { SLOW };
    (cost < direct || path.len() == 1).then_some(path)
}

/// Whether the order only moves one axis elsewhere.
fn is_one_move(perm: &[usize]) -> bool {
    (0..perm.len()).any(|from| {
        (0..perm.len()).any(|to| {
            let mut order: Vec<usize> = (0..perm.len()).collect();
            let axis = order.remove(from);
            order.insert(to, axis);
            order == perm
        })
    })
}

/// The same order over fewer axes: those of one value are dropped, those that stay together are one.
fn merged(dims: &[usize], perm: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let perm: Vec<usize> = perm.iter().copied().filter(|&axis| dims[axis] != 1).collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for axis in perm {
        let follows = groups
            .last()
            .and_then(|group| group.last())
            .is_some_and(|&last| last < axis && (last + 1..axis).all(|between| dims[between] == 1));
        match groups.last_mut() {
            Some(group) if follows => group.push(axis),
            _ => groups.push(vec![axis]),
        }
    }
    let mut sorted: Vec<&Vec<usize>> = groups.iter().collect();
    sorted.sort();
    let sizes = sorted.iter().map(|group| group.iter().map(|&axis| dims[axis]).product()).collect();
    let place = |group: &Vec<usize>| sorted.iter().position(|s| *s == group).unwrap_or(0);
    (sizes, groups.iter().map(place).collect())
}

/// Dijkstra over the orders of at most six axes.
fn cheapest(dims: &[usize], goal: &[usize]) -> Option<(u32, Vec<Swap>)> {
    let start: Vec<usize> = (0..dims.len()).collect();
    let mut best: BTreeMap<Vec<usize>, (u32, Vec<Swap>)> = BTreeMap::new();
    let mut open = BTreeSet::from([(0, start.clone())]);
    best.insert(start, (0, Vec::new()));
    while let Some((cost, order)) = open.pop_first() {
        let path = best.get(&order)?.1.clone();
        if order == goal {
            return Some((cost, path));
        }
        for (next, swap) in neighbours(dims, &order) {
            let cost = cost + price(swap);
            if best.get(&next).is_none_or(|(known, _)| cost < *known) {
                let longer = path.iter().copied().chain([swap]).collect();
                best.insert(next.clone(), (cost, longer));
                open.insert((cost, next));
            }
        }
    }
    None
}

/// Every order that one swap of neighbouring blocks gives.
fn neighbours(dims: &[usize], order: &[usize]) -> Vec<(Vec<usize>, Swap)> {
    let size = |axes: &[usize]| axes.iter().map(|&axis| dims[axis]).product();
    let mut found = Vec::new();
    for first in 0..order.len() {
        for middle in first + 1..order.len() {
            for end in middle + 1..=order.len() {
                let (left, right) = (&order[first..middle], &order[middle..end]);
                let next = [&order[..first], right, left, &order[end..]].concat();
                let swap = Swap {
                    before: size(&order[..first]),
                    left: size(left),
                    right: size(right),
                    after: size(&order[end..]),
                };
                found.push((next, swap));
            }
        }
    }
    found
}

/// Cost of a pass: long blocks are copied, single values transposed; short blocks are the worst of both.
fn price(swap: Swap) -> u32 {
    match swap.after {
        1 => 12,
        2..=7 => 40,
        8..=31 => 16,
        _ => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::constant;
    use crate::onnx::Tensor;

    fn apply(tensor: Tensor, swaps: &[Swap]) -> Tensor {
        swaps.iter().fold(tensor, |tensor, s| {
            let tensor = constant::reshape(tensor, &[s.before, s.left, s.right, s.after]);
            constant::transpose(&tensor, &[0, 2, 1, 3])
        })
    }

    #[test]
    fn swaps_move_every_value_where_the_order_says() {
        let orders: [(&[usize], &[usize]); 5] = [
            (&[2, 3, 4, 2, 3, 2], &[0, 1, 3, 5, 2, 4]),
            (&[2, 3, 2, 2, 4, 3], &[0, 1, 4, 2, 5, 3]),
            (&[2, 3, 4, 2, 5, 2], &[0, 3, 1, 5, 2, 4]),
            (&[2, 1, 3, 4], &[2, 3, 0, 1]),
            (&[3, 2, 4, 5], &[3, 1, 2, 0]),
        ];
        for (dims, perm) in orders {
            let count: usize = dims.iter().product();
            let values: Vec<f32> = (0..count).map(|v| v as f32).collect();
            let tensor = Tensor::f32(dims, &values);
            let moved = apply(tensor.clone(), &swaps(dims, perm).unwrap());
            assert_eq!(moved.data, constant::transpose(&tensor, perm).data, "{dims:?} {perm:?}");
        }
    }

    #[test]
    fn patches_take_two_swaps_and_single_moves_are_left_alone() {
        assert_eq!(swaps(&[8, 26, 16, 2, 32, 2], &[0, 1, 3, 5, 2, 4]).unwrap().len(), 2);
        assert_eq!(swaps(&[8, 26, 16, 32], &[0, 2, 3, 1]), None);
        assert_eq!(swaps(&[8, 26, 16], &[0, 2, 1]), None);
    }
}
