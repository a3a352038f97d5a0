//! Pairs of vehicles meet and mix, window after window, without a server: NoLoCo.

use shoal_soup::chance::Draws;
use shoal_soup::server::{NoLoCo, pairs};
use shoal_swarm::swarm::Flat;

use super::carried::{Carried, connect};
use super::late::Late;
use super::link::Coder;
use super::{Fleet, Method, MethodError, Window, difference, lie, mean, moved};
use crate::config::Gossip;
use crate::lab::{Base, Tune};

/// A fleet of pairs.
pub(super) struct Gossiping<'a> {
    fleet: Fleet,
    bits: u8,
    coder: Coder<'a>,
    /// Slow positions, which move once a window.
    slow: Vec<NoLoCo>,
    /// Where vehicles tune from.
    at: Vec<Flat>,
    tuned: Vec<Flat>,
    late: Vec<Late<Has>>,
}

/// What a vehicle would tell its partner: the slow position and the tuned one.
#[derive(Clone, Debug)]
struct Has {
    slow: Flat,
    local: Flat,
}

/// What a vehicle tells its partner: the slow position and the tuned one, each as it arrives.
struct Told {
    slow: Vec<f32>,
    local: Vec<f32>,
    carried: [Carried; 2],
}

impl<'a> Gossiping<'a> {
    pub(super) fn new(fleet: Fleet, asked: Gossip, base: &'a Base) -> Result<Self, MethodError> {
        let slow = NoLoCo::new(&fleet.start, asked.settings)?;
        let count = fleet.vehicles as usize;
        Ok(Gossiping {
            bits: asked.bits,
            coder: Coder::new(base),
            slow: vec![slow; count],
            at: vec![fleet.start.clone(); count],
            tuned: vec![fleet.start.clone(); count],
            late: (0..count).map(|number| Late::new(fleet.is_stale(number))).collect(),
            fleet,
        })
    }

    fn slow_of(&self, number: usize) -> Vec<f32> {
        self.slow.get(number).map_or_else(|| self.fleet.start.to_vec(), NoLoCo::slow)
    }

    /// What every vehicle would tell in this window, by vehicle; of one that is always late, what it would have told in the one before.
    fn has(&mut self, present: &[usize]) -> Vec<Option<Has>> {
        let now = |(number, tuned): (usize, &Flat)| Has {
            slow: self.slow_of(number).into(),
            local: tuned.clone(),
        };
        let now: Vec<Has> = self.tuned.iter().enumerate().map(now).collect();
        let sends = self.late.iter_mut().zip(now).map(|(late, now)| late.sends(now));
        let there = |(number, has): (usize, Option<Has>)| has.filter(|_| present.contains(&number));
        sends.enumerate().map(there).collect()
    }

    /// Both runs are coded as differences to where the fleet began, which everybody knows. `by` stands in for the way to what a liar
    /// tuned.
    fn told(&self, has: &Has, by: Option<Vec<f32>>, window: u32) -> Result<Told, MethodError> {
        let start = &self.fleet.start;
        let local = by.map_or_else(|| has.local.clone(), |by| moved(&has.slow, &by));
        let send =
            |position: &[f32]| self.coder.code(difference(position, start), self.bits, window);
        let (of_slow, of_local) = (send(&has.slow)?, send(&local)?);
        Ok(Told {
            slow: moved(start, &of_slow.received).to_vec(),
            local: moved(start, &of_local.received).to_vec(),
            carried: [of_slow.carried, of_local.carried],
        })
    }
}

impl Method for Gossiping<'_> {
    fn nights(&self, window: u32) -> Vec<Tune> {
        self.fleet.nights(window, self.at.iter())
    }

    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        (self.at, self.tuned) = (tuned.clone(), tuned);
        let there = |number: &usize| window.present.get(*number).copied().unwrap_or(false);
        let present: Vec<usize> = (0..self.at.len()).filter(there).collect();
        let mut draws = Draws::new(self.fleet.seed, window.number.into());
        let partners = pairs(present.len(), &mut draws);
        let has = self.has(&present);
        let by = |has: &Option<Has>| has.as_ref().map(|has| difference(&has.local, &has.slow));
        let honest: Vec<Option<Vec<f32>>> = has.iter().map(by).collect();
        let told = present.iter().map(|number| {
            let Some(Some(has)) = has.get(*number) else { return Ok(None) };
            let sends = |of: usize| honest.get(of)?.clone();
            let by = lie::instead(&self.fleet, window.number, *number, &honest, &sends);
            self.told(has, by, window.number).map(Some)
        });
        let told: Vec<Option<Told>> = told.collect::<Result<_, MethodError>>()?;
        for ((number, partner), own) in present.iter().zip(&partners).zip(&told) {
            let told_by = partner.and_then(|partner| told.get(partner)?.as_ref());
            if let Some(traffic) = window.traffic.get_mut(*number) {
                connect(traffic);
                // An odd one has nobody to tell.
                let told = own.iter().filter(|_own| partner.is_some());
                told.flat_map(|own| &own.carried).for_each(|carried| carried.up(traffic));
                let heard = told_by.into_iter().flat_map(|told| &told.carried);
                heard.for_each(|carried| carried.down(traffic));
            }
            let vehicle = self.slow.get_mut(*number).zip(self.tuned.get(*number));
            if let Some(((slow, local), at)) = vehicle.zip(self.at.get_mut(*number)) {
                let partner = told_by.map(|told| (&told.slow[..], &told.local[..]));
                slow.step(local, partner)?;
                *at = slow.slow().into();
            }
        }
        window.also.insert("apart".into(), self.apart());
        Ok(())
    }

    /// The mean of all slow positions: nobody has it, it is made for the table.
    fn fleet(&self) -> Option<Flat> {
        let slow: Vec<Flat> = self.slow.iter().map(|vehicle| vehicle.slow().into()).collect();
        mean(&slow)
    }

    fn tuned(&self, vehicle: u32) -> Flat {
        self.tuned.get(vehicle as usize).unwrap_or(&self.fleet.start).clone()
    }

    fn teacher(&self, vehicle: u32) -> Option<Flat> {
        self.given(vehicle)
    }

    /// Its own slow position.
    fn given(&self, vehicle: u32) -> Option<Flat> {
        self.slow.get(vehicle as usize).map(|vehicle| vehicle.slow().into())
    }
}

impl Gossiping<'_> {
    /// Root of the mean squared distance of slow positions to their mean.
    fn apart(&self) -> f64 {
        let Some(mean) = self.fleet() else { return 0.0 };
        let squares = |vehicle: &NoLoCo| {
            difference(&vehicle.slow(), &mean).iter().map(|v| f64::from(v * v)).sum::<f64>()
        };
        (self.slow.iter().map(squares).sum::<f64>() / self.slow.len().max(1) as f64).sqrt()
    }
}
