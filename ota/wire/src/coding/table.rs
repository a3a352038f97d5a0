//! Frequencies of levels, from integers alone (SPEC.md §6.4).

/// Frequencies of one table add up to `2^TOTAL_BITS`.
pub(super) const TOTAL_BITS: u32 = 15;
const TOTAL: u32 = 1 << TOTAL_BITS;
/// Classes of magnitudes, at most: the last stands for all that are larger.
const CLASSES_MAX: usize = 32;
/// Weights below this are not given a class of their own.
const WEIGHT_MIN: u32 = 4;
/// Numbers of the grid.
pub(super) const GRID: u32 = 58;
/// Numbers of the bend.
pub(super) const BENDS: u32 = 4;
/// Numbers of the low bits.
pub(super) const LOW_BITS: u32 = 4;

/// Which table: 16 bits on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Index into the grid: the share of zeros.
    pub(super) zero: u32,
    /// Index into the grid: the ratio of the second class to the first.
    pub(super) ratio: u32,
    /// How the ratio goes on from class to class: it rises (heavy tails), stays (Laplace), falls by half as
    /// much as a class (close to Gauss), or as much.
    pub(super) bend: u32,
    /// Low bits of a magnitude that are written as they are.
    pub(super) low_bits: u32,
}

impl Shape {
    /// Only 1 and -1.
    pub(super) const SIGNS: Self = Self { zero: 0, ratio: 0, bend: 0, low_bits: 0 };

    pub(super) const fn number(self) -> u32 {
        self.zero << 10 | self.ratio << 4 | self.bend << 2 | self.low_bits
    }

    /// `None`: no such table.
    pub(super) const fn from_number(number: u32) -> Option<Self> {
        let (zero, ratio) = (number >> 10, number >> 4 & 63);
        let (bend, low_bits) = (number >> 2 & 3, number & 3);
        if zero < GRID && ratio < GRID { Some(Self { zero, ratio, bend, low_bits }) } else { None }
    }
}

/// A share of 2^16: 0, then four steps to each doubling up to a half, then the same mirrored.
pub(super) const fn grid(index: u32) -> u32 {
    match index {
        0 => 0,
        1..=28 => low(index.wrapping_sub(1)),
        29 => 1 << 15,
        30..=57 => (1_u32 << 16).wrapping_sub(low(57_u32.wrapping_sub(index))),
        58.. => 0,
    }
}

const fn low(index: u32) -> u32 {
    (4 | index & 3) << (index >> 2) << 6
}

/// The levels of one class and sign hold `freq` places from `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) start: u16,
    pub(super) freq: u16,
}

/// Where the classes lie among `2^TOTAL_BITS` places: zero first, then class by class the positive levels and
/// the negative ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// Places of zero, from place 0.
    pub(super) zero: u32,
    classes: [Places; CLASSES_MAX],
    len: usize,
}

impl Table {
    pub(super) fn new(shape: Shape) -> Self {
        let zero = grid(shape.zero) >> 1;
        let of_one_sign = TOTAL.wrapping_sub(zero) >> 1;
        let (weights, len) = weights(shape);
        let total: u32 = weights.iter().take(len).fold(0, |sum, weight| sum.wrapping_add(*weight));
        let count = u32::try_from(len).unwrap_or_default();
        let spare = of_one_sign.wrapping_sub(count);
        let factor = (spare << 16).checked_div(total).unwrap_or_default();
        let mut table = Self { zero, classes: [Places { start: 0, freq: 0 }; CLASSES_MAX], len };
        let mut left = of_one_sign;
        for (places, weight) in table.classes.iter_mut().zip(weights).take(len) {
            let freq = (weight.wrapping_mul(factor) >> 16).wrapping_add(1);
            places.freq = low16(freq);
            left = left.wrapping_sub(freq);
        }
        // What rounding left goes to the first class.
        if let Some(first) = table.classes.first_mut() {
            first.freq = first.freq.wrapping_add(low16(left));
        }
        let mut start = low16(zero);
        for places in table.classes.iter_mut().take(len) {
            places.start = start;
            start = start.wrapping_add(places.freq.wrapping_mul(2));
        }
        table
    }

    /// The classes of magnitudes, from the smallest; the larger magnitudes are past them.
    pub(super) fn own(&self) -> &[Places] {
        let len = if self.len > 1 { self.len.wrapping_sub(1) } else { self.len };
        self.classes.get(..len).unwrap_or_default()
    }

    /// What stands for all magnitudes past the classes; none if there is one class alone.
    pub(super) fn past(&self) -> Option<&Places> {
        self.classes.get(..self.len).and_then(|classes| match classes {
            [] | [_] => None,
            [.., past] => Some(past),
        })
    }
}

/// What a place says of a magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magnitude {
    Zero,
    /// One of this class, from 0.
    Class(u32),
    /// Past the classes.
    Past,
}

/// The symbol that holds a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) magnitude: Magnitude,
    pub(super) negative: bool,
    pub(super) start: u32,
    pub(super) freq: u32,
}

/// A table as its reader wants it: from a place to the symbol.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    table: Table,
    /// By the highest bits of a place: how many classes start at or below the first place with these.
    hints: [u8; 1 << HINT_BITS],
}

const HINT_BITS: u32 = 7;

impl Finder {
    pub(super) fn new(table: Table) -> Self {
        let mut hints = [0; 1 << HINT_BITS];
        let mut starts = table.classes.iter().take(table.len).map(|places| places.start).peekable();
        let mut below = 0_u8;
        for (place, hint) in (0_u32..).step_by(1 << (TOTAL_BITS - HINT_BITS)).zip(&mut hints) {
            while starts.next_if(|start| u32::from(*start) <= place).is_some() {
                below = below.wrapping_add(1);
            }
            *hint = below;
        }
        Self { table, hints }
    }

    /// Count of the classes that have their own places.
    pub(super) fn own(&self) -> u32 {
        u32::try_from(self.table.own().len()).unwrap_or_default()
    }

    #[inline]
    pub(super) fn find(&self, place: u32) -> Found {
        let hint = self.hints.get((place >> (TOTAL_BITS - HINT_BITS)) as usize).copied();
        let mut below = usize::from(hint.unwrap_or_default());
        let classes = self.table.classes.get(..self.table.len).unwrap_or_default();
        while classes.get(below).is_some_and(|next| u32::from(next.start) <= place) {
            below = below.wrapping_add(1);
        }
        let Some((class, places)) = below.checked_sub(1).and_then(|c| Some((c, classes.get(c)?)))
        else {
            let freq = self.table.zero;
            return Found { magnitude: Magnitude::Zero, negative: false, start: 0, freq };
        };
        let (start, freq) = (u32::from(places.start), u32::from(places.freq));
        let negative = place.wrapping_sub(start) >= freq;
        let start = if negative { start.wrapping_add(freq) } else { start };
        let past = classes.len() > 1 && below == classes.len();
        let class = u32::try_from(class).unwrap_or_default();
        let magnitude = if past { Magnitude::Past } else { Magnitude::Class(class) };
        Found { magnitude, negative, start, freq }
    }
}

/// Relative weights of the classes, the first 2^16.
fn weights(shape: Shape) -> ([u32; CLASSES_MAX], usize) {
    // Less than 2^16, so that no product below reaches 2^32.
    let mut ratio = grid(shape.ratio);
    let first = ratio;
    let mut weights = [0; CLASSES_MAX];
    let mut len = 0_usize;
    let mut weight = 1_u32 << 16;
    for place in &mut weights {
        *place = weight;
        len = len.wrapping_add(1);
        // One class alone holds everything and needs none for the larger.
        if weight < WEIGHT_MIN || ratio == 0 && len == 1 {
            break;
        }
        weight = weight.wrapping_mul(ratio) >> 16;
        ratio = match shape.bend {
            0 => ratio.wrapping_add((1_u32 << 16).wrapping_sub(ratio) >> 3),
            1 => ratio,
            2 => ratio.wrapping_mul((1_u32 << 16).wrapping_add(first) >> 1) >> 16,
            3.. => ratio.wrapping_mul(first) >> 16,
        };
    }
    (weights, len)
}

const fn low16(value: u32) -> u16 {
    let [low, high, _, _] = value.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> impl Iterator<Item = Table> {
        let shapes = (0..GRID * GRID * BENDS).map(|index| Shape {
            zero: index % GRID,
            ratio: index / GRID % GRID,
            bend: index / GRID / GRID,
            low_bits: 0,
        });
        shapes.map(Table::new)
    }

    #[test]
    fn every_table_shares_out_every_place_once() {
        for table in tables() {
            let mut next = table.zero;
            for places in table.classes.iter().take(table.len) {
                assert!(u32::from(places.start) == next && places.freq > 0);
                next += 2 * u32::from(places.freq);
            }
            assert_eq!(next, TOTAL);
        }
    }

    #[test]
    fn the_finder_finds_the_symbol_that_holds_a_place() {
        for table in tables().step_by(97) {
            let finder = Finder::new(table);
            for place in 0..TOTAL {
                let found = finder.find(place);
                assert!((found.start..found.start + found.freq).contains(&place));
                assert_eq!(found.magnitude == Magnitude::Zero, place < table.zero);
            }
        }
    }

    #[test]
    fn a_number_names_one_table() {
        for number in 0..1 << 16 {
            let shape = Shape::from_number(number);
            assert!(shape.is_none_or(|shape| shape.number() == number));
        }
    }
}
