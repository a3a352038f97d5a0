//! What becomes of a step on its way between a vehicle and a server: how much of it arrives, in how many bytes, and what is kept
//! back for the next time.

use shoal_soup::chance::Draws;
use shoal_soup::input::InputError;
use shoal_soup::server::{Cocktail, CocktailSettings};
use shoal_vehicle::exchange::weights::{About, code};
use shoal_wire::coding::Quality;
use shoal_wire::v1::Role;
use shoal_wire::{LayoutHash, ModelHash};

use super::MethodError;
use super::carried::Carried;
use crate::lab::Base;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Vehicle(usize),
    Server,
}

/// A way there, with what each sender kept back.
pub(super) trait Link {
    /// A step with what was kept back before, where that is added by whoever sends.
    fn meant(&self, from: Sender, step: Vec<f32>) -> Vec<f32>;

    /// What was kept back of this sender's is forgotten.
    fn forget(&mut self, from: Sender);

    /// Sends it: what is received, and its messages.
    ///
    /// # Errors
    /// [`MethodError`].
    fn send(
        &mut self,
        from: Sender,
        meant: Vec<f32>,
        window: u32,
    ) -> Result<(Vec<f32>, Carried), MethodError>;
}

/// The coder of the vehicles.
pub(super) struct Coder<'a> {
    base: &'a Base,
    tensors: Vec<u32>,
}

/// What came of a run of values that was coded.
pub(super) struct Sent {
    pub(super) received: Vec<f32>,
    /// What was meant less what is received.
    pub(super) kept: Vec<f32>,
    pub(super) carried: Carried,
}

impl<'a> Coder<'a> {
    pub(super) fn new(base: &'a Base) -> Self {
        Coder { base, tensors: base.tensors() }
    }

    /// Codes a run at so many bits a value; 32: not at all.
    pub(super) fn code(&self, meant: Vec<f32>, bits: u8, window: u32) -> Result<Sent, MethodError> {
        let Some(quality) = Quality::new(bits) else {
            let (kept, carried) = (vec![0.0; meant.len()], Carried::raw(meant.len()));
            return Ok(Sent { received: meant, kept, carried });
        };
        let about = About {
            role: Role::Contribution,
            window,
            base_model: ModelHash::new(self.base.hash),
            layout: LayoutHash::new(self.base.layout.hash()),
            anchor: None,
            inputs: Vec::new(),
        };
        let coded = code(about, meant, &self.tensors, quality)?;
        let header = postcard::to_stdvec(coded.header.fields()).map_or(0, |bytes| bytes.len());
        let carried = Carried::coded(header, coded.chunks.iter().map(Vec::len));
        Ok(Sent { received: coded.received, kept: coded.remainder, carried })
    }
}

/// Every value in a few bits.
pub(super) struct Quantised<'a> {
    coder: Coder<'a>,
    up_bits: u8,
    down_bits: u8,
    feedback: bool,
    vehicles: Vec<Vec<f32>>,
    server: Vec<f32>,
}

impl<'a> Quantised<'a> {
    /// For so many vehicles; with feedback, what coding lost is added to what is coded next.
    pub(super) fn new(
        base: &'a Base,
        vehicles: u32,
        (up_bits, down_bits): (u8, u8),
        feedback: bool,
    ) -> Self {
        let none = vec![0.0; base.layout.values()];
        Quantised {
            coder: Coder::new(base),
            up_bits,
            down_bits,
            feedback,
            vehicles: vec![none.clone(); vehicles as usize],
            server: none,
        }
    }
}

impl Link for Quantised<'_> {
    fn meant(&self, from: Sender, mut step: Vec<f32>) -> Vec<f32> {
        let kept = match from {
            Sender::Vehicle(number) => self.vehicles.get(number).map_or(&[][..], Vec::as_slice),
            Sender::Server => &self.server,
        };
        if self.feedback {
            step.iter_mut().zip(kept).for_each(|(step, kept)| *step += kept);
        }
        step
    }

    fn forget(&mut self, from: Sender) {
        match from {
            Sender::Vehicle(number) => {
                self.vehicles.get_mut(number).into_iter().for_each(|kept| kept.fill(0.0));
            }
            Sender::Server => self.server.fill(0.0),
        }
    }

    fn send(
        &mut self,
        from: Sender,
        meant: Vec<f32>,
        window: u32,
    ) -> Result<(Vec<f32>, Carried), MethodError> {
        let (bits, kept) = match from {
            Sender::Vehicle(number) => (self.up_bits, self.vehicles.get_mut(number)),
            Sender::Server => (self.down_bits, Some(&mut self.server)),
        };
        let sent = self.coder.code(meant, bits, window)?;
        if let Some(kept) = kept {
            *kept = sent.kept;
        }
        Ok((sent.received, sent.carried))
    }
}

/// CocktailSGD's: entries drawn by chance (the same for all in a window, so that nobody has to send which), of these the
/// largest, these in few bits; what was not sent is kept.
pub(super) struct Sparse {
    seed: u64,
    vehicles: Vec<Cocktail>,
    server: Cocktail,
    /// Of who has kept nothing back.
    fresh: Cocktail,
}

impl Sparse {
    pub(super) fn new(
        values: usize,
        vehicles: u32,
        settings: CocktailSettings,
        seed: u64,
    ) -> Result<Self, InputError> {
        let fresh = Cocktail::new(values, settings)?;
        let vehicles = vec![fresh.clone(); vehicles as usize];
        Ok(Sparse { seed, vehicles, server: fresh.clone(), fresh })
    }
}

impl Link for Sparse {
    /// Its sender adds what it kept itself.
    fn meant(&self, _from: Sender, step: Vec<f32>) -> Vec<f32> {
        step
    }

    fn forget(&mut self, from: Sender) {
        let kept = match from {
            Sender::Vehicle(number) => self.vehicles.get_mut(number),
            Sender::Server => Some(&mut self.server),
        };
        kept.into_iter().for_each(|kept| kept.clone_from(&self.fresh));
    }

    fn send(
        &mut self,
        from: Sender,
        meant: Vec<f32>,
        window: u32,
    ) -> Result<(Vec<f32>, Carried), MethodError> {
        // One stream up and one down a window.
        let (sender, stream) = match from {
            Sender::Vehicle(number) => (self.vehicles.get_mut(number), 2 * u64::from(window)),
            Sender::Server => (Some(&mut self.server), 2 * u64::from(window) + 1),
        };
        let Some(sender) = sender else { return Ok((meant, Carried::default())) };
        let sparse = sender.compress(&meant, &mut Draws::new(self.seed, stream))?;
        Ok((sparse.decompressed(), Carried::bytes(sparse.bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Traffic;

    #[test]
    fn a_part_is_sent_both_ways_and_the_rest_later() {
        let settings = CocktailSettings { drawn: 0.5, sent: 0.5, bits: 8 };
        let mut link = Sparse::new(1000, 2, settings, 3).unwrap();
        let mut sums = vec![0.0_f32; 1000];
        for window in 1..=30 {
            let meant = link.meant(Sender::Vehicle(1), vec![1.0; 1000]);
            let (received, carried) = link.send(Sender::Vehicle(1), meant, window).unwrap();
            let entries = received.iter().filter(|value| **value != 0.0).count();
            assert!((200..300).contains(&entries), "{entries}");
            let mut traffic = Traffic::default();
            carried.up(&mut traffic);
            // A byte an entry, and a bit for each drawn one.
            assert!((traffic.up as usize) < entries + 70 + 450, "{traffic:?} of {entries}");
            sums.iter_mut().zip(&received).for_each(|(sum, value)| *sum += value);
        }
        let mean = sums.iter().sum::<f32>() / 1000.0;
        assert!((24.0..=30.0).contains(&mean), "{mean} of 30");
        let (first, _) = link.send(Sender::Server, vec![1.0; 1000], 1).unwrap();
        let (other, _) = link.send(Sender::Vehicle(0), vec![1.0; 1000], 1).unwrap();
        assert_ne!(first, other, "up and down are drawn apart");
    }
}
