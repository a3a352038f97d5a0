//! Compression of what a vehicle sends: some entries by chance, of these the largest, these in few bits, the rest kept for later.

use crate::chance::Draws;
use crate::input::{InputError, run, within};
use crate::merge::by_magnitude;

/// Constants of [`Cocktail`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CocktailSettings {
    /// Share of entries drawn by chance, above 0 to 1. The receiver draws the same, so that this costs no bytes.
    pub drawn: f64,
    /// Share of the drawn entries that are sent, the largest, above 0 to 1.
    pub sent: f64,
    /// Bits of an entry with its sign, 2 to 16.
    pub bits: u8,
}

impl CocktailSettings {
    /// One of the paper's mixtures: a tenth by chance, of it the larger fifth, in 4 bits.
    pub const USUAL: Self = Self { drawn: 0.1, sent: 0.2, bits: 4 };
}

/// What was sent of one update.
#[derive(Clone, Debug, PartialEq)]
pub struct Sparse {
    /// Values of the whole update.
    pub dim: usize,
    /// Entries that were drawn; an index costs as many bits as it takes to name one of these.
    pub candidates: usize,
    /// Of the entries that are sent, in rising order.
    pub indices: Vec<u32>,
    /// Of the same, −(2^(bits−1) − 1) to 2^(bits−1) − 1.
    pub codes: Vec<i16>,
    /// What a code is multiplied with.
    pub scale: f32,
    /// Bits of a code.
    pub bits: u8,
}

/// One sender, with what it did not send yet.
///
/// ```text
/// u = update + residual
/// sent = quantise(top-k(random part of u))
/// residual ← u − sent
/// ```
///
/// Codes are nearest multiples of the largest magnitude / (2^(bits−1) − 1). Nothing is lost, only late: what was sent so far and
/// the residual sum to all updates.
///
/// # Source
/// CocktailSGD, ICML 2023 (PMLR 202): its three compressors in its order, with error feedback; one scale a message instead of one
/// a bucket, and none of its overlap of transfer and training.
#[derive(Clone, Debug, PartialEq)]
pub struct Cocktail {
    settings: CocktailSettings,
    residual: Vec<f32>,
}

impl Sparse {
    /// The update as the receiver has it: 0 where nothing was sent, `[dim]`.
    pub fn decompressed(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.dim];
        for (index, code) in self.indices.iter().zip(&self.codes) {
            if let Some(value) = values.get_mut(*index as usize) {
                *value = self.scale * f32::from(*code);
            }
        }
        values
    }

    /// Bytes on the air: seed 8, scale 4, the codes, and which of the drawn entries they are: the number of each or a bit for
    /// every drawn one, whichever is less.
    pub fn bytes(&self) -> usize {
        let index_bits = usize::BITS - self.candidates.saturating_sub(1).leading_zeros();
        let entries = self.indices.len();
        let which = (entries * index_bits as usize).min(self.candidates);
        12 + (entries * usize::from(self.bits) + which).div_ceil(8)
    }
}

impl Cocktail {
    /// A sender of updates of so many values that owes nothing.
    ///
    /// # Errors
    /// [`InputError`] if a setting is out of its range, or there are more than 2³² values.
    pub fn new(dim: usize, settings: CocktailSettings) -> Result<Self, InputError> {
        let share = f64::MIN_POSITIVE..=1.0;
        within("drawn", settings.drawn, share.clone(), "above 0, at most 1")?;
        within("sent", settings.sent, share, "above 0, at most 1")?;
        within("bits", f64::from(settings.bits), 2.0..=16.0, "2 to 16")?;
        within("values", dim as f64, ..=f64::from(u32::MAX), "at most 2³² − 1")?;
        Ok(Self { settings, residual: vec![0.0; dim] })
    }

    /// What is not sent yet, `[dim]`.
    pub fn residual(&self) -> &[f32] {
        &self.residual
    }

    /// What to send of this update. Draws: one an entry.
    ///
    /// # Errors
    /// [`InputError`] if the update has another length or a value is not finite; the residual then stays.
    pub fn compress(&mut self, update: &[f32], draws: &mut Draws) -> Result<Sparse, InputError> {
        run("values of an update", update, self.residual.len())?;
        let CocktailSettings { drawn, sent, bits } = self.settings;
        for (residual, update) in self.residual.iter_mut().zip(update) {
            *residual += update;
        }
        let all = 0..self.residual.len();
        let candidates: Vec<usize> = all.filter(|_index| draws.happens(drawn)).collect();
        let values: Vec<f32> = candidates.iter().map(|index| self.residual[*index]).collect();
        let kept = libm::ceil(sent * values.len() as f64) as usize;
        let largest = by_magnitude(&values).into_iter().take(kept);
        let mut chosen: Vec<usize> = largest.map(|index| candidates[index]).collect();
        chosen.sort_unstable();
        let most = chosen.iter().map(|index| self.residual[*index].abs()).fold(0.0, f32::max);
        let levels = f32::from((1_i16 << (bits - 1)).wrapping_sub(1));
        let scale = most / levels;
        let code = |index: &usize| {
            let steps = if scale > 0.0 { self.residual[*index] / scale } else { 0.0 };
            libm::roundf(steps).clamp(-levels, levels) as i16
        };
        let codes: Vec<i16> = chosen.iter().map(code).collect();
        for (index, code) in chosen.iter().zip(&codes) {
            self.residual[*index] -= scale * f32::from(*code);
        }
        let indices = chosen.into_iter().map(|index| index as u32).collect();
        let (dim, candidates) = (self.residual.len(), candidates.len());
        Ok(Sparse { dim, candidates, indices, codes, scale, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(seed: u64) -> Vec<f32> {
        let mut draws = Draws::new(seed, 7);
        (0..200).map(|_index| draws.normal() as f32).collect()
    }

    #[test]
    fn what_was_sent_and_the_residual_sum_to_all_updates() {
        for bits in [2, 4, 8, 16] {
            let settings = CocktailSettings { drawn: 0.5, sent: 0.3, bits };
            let mut sender = Cocktail::new(200, settings).unwrap();
            let (mut all, mut received) = (vec![0.0_f64; 200], vec![0.0_f64; 200]);
            for round in 0..50 {
                let update = update(round);
                let sent = sender.compress(&update, &mut Draws::new(round, 0)).unwrap();
                let add = |sums: &mut [f64], values: &[f32]| {
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
                };
                add(&mut all, &update);
                add(&mut received, &sent.decompressed());
            }
            for (index, all) in all.iter().enumerate() {
                let have = received[index] + f64::from(sender.residual()[index]);
                assert!((have - all).abs() < 1e-3, "{bits} bits, {index}: {have} {all}");
            }
            let late: f64 = sender.residual().iter().map(|value| f64::from(value.abs())).sum();
            assert!(late > 1.0, "something is always late");
        }
    }

    #[test]
    fn the_largest_of_the_drawn_are_sent_as_near_as_bits_allow() {
        let settings = CocktailSettings { drawn: 1.0, sent: 0.5, bits: 8 };
        let mut sender = Cocktail::new(4, settings).unwrap();
        let sent = sender.compress(&[1.0, -8.0, 0.1, 3.0], &mut Draws::new(1, 0)).unwrap();
        assert_eq!((sent.indices.as_slice(), sent.codes[0]), ([1, 3].as_slice(), -127));
        let values = sent.decompressed();
        assert!((values[3] - 3.0).abs() <= 8.0 / 127.0 / 2.0, "{values:?}");
        assert_eq!(sender.residual()[0], 1.0);
    }

    #[test]
    fn chance_decides_first() {
        let settings = CocktailSettings { drawn: 0.5, sent: 1.0, bits: 8 };
        let mut sender = Cocktail::new(1000, settings).unwrap();
        let sent = sender.compress(&[1.0; 1000], &mut Draws::new(1, 0)).unwrap();
        assert!((430..570).contains(&sent.indices.len()), "{}", sent.indices.len());
        assert_eq!(sent.candidates, sent.indices.len());
    }

    #[test]
    fn bytes_are_those_of_codes_and_indices() {
        let settings = CocktailSettings { drawn: 1.0, sent: 0.1, bits: 4 };
        let mut sender = Cocktail::new(1000, settings).unwrap();
        let update: Vec<f32> = (0..1000).map(|value| value as f32).collect();
        let sent = sender.compress(&update, &mut Draws::new(1, 0)).unwrap();
        // 100 entries of 4 bits, each one of 1000.
        assert_eq!((sent.indices.len(), sent.bytes()), (100, 12 + 175));
        let half = CocktailSettings { sent: 0.5, ..settings };
        let mut sender = Cocktail::new(1000, half).unwrap();
        let sent = sender.compress(&update, &mut Draws::new(1, 0)).unwrap();
        // A bit for each of the 1000 is less than ten bits for each of the 500.
        assert_eq!((sent.indices.len(), sent.bytes()), (500, 12 + 250 + 125));
    }

    #[test]
    fn nothing_to_send_is_no_harm() {
        let mut sender = Cocktail::new(3, CocktailSettings::USUAL).unwrap();
        let sent = sender.compress(&[0.0; 3], &mut Draws::new(1, 0)).unwrap();
        assert_eq!(sent.decompressed(), [0.0; 3]);
        assert!(sender.compress(&[0.0; 2], &mut Draws::new(1, 0)).is_err());
        for bits in [1, 17] {
            let settings = CocktailSettings { bits, ..CocktailSettings::USUAL };
            assert!(Cocktail::new(3, settings).is_err());
        }
    }
}
