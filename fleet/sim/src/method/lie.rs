//! What liars give to a server, or to a merge, in place of what they tuned: there is nobody to claim anything to.

use super::handing::Handed;
use super::link::{Link, Sender};
use super::{Fleet, difference, moved, noise};
use crate::config::Lie;

/// What all liars agreed on is drawn from the seed and this.
const AGREED: u64 = 0x11a5;

/// What each vehicle gives to a link, by vehicle, where these are the steps of those that send one: of who is honest with what coding
/// kept back of steps before. A lie is of the step alone, and nothing is kept back of it: noise that fed on what was kept back
/// of noise would grow with every window.
pub(super) fn meant(
    fleet: &Fleet,
    window: u32,
    steps: Vec<Option<Vec<f32>>>,
    link: &mut dyn Link,
) -> Vec<Option<Vec<f32>>> {
    let sends = |of: usize| Some(link.meant(Sender::Vehicle(of), steps.get(of)?.clone()?));
    let lies = (0..steps.len()).map(|number| instead(fleet, window, number, &steps, &sends));
    let lies: Vec<Option<Vec<f32>>> = lies.collect();
    let numbered = steps.into_iter().zip(lies).enumerate();
    let meant = numbered.map(|(number, (step, lie))| {
        let from = Sender::Vehicle(number);
        match lie {
            Some(lie) => {
                link.forget(from);
                Some(lie)
            }
            None => Some(link.meant(from, step?)),
        }
    });
    meant.collect()
}

/// What a vehicle sends in place of what it tuned; `None`: that. `honest` is what each vehicle tuned, by vehicle: a displacement, or
/// nothing where it sends none; `sends` is what one sends of it, to be copied.
pub(super) fn instead(
    fleet: &Fleet,
    window: u32,
    vehicle: usize,
    honest: &[Option<Vec<f32>>],
    sends: &dyn Fn(usize) -> Option<Vec<f32>>,
) -> Option<Vec<f32>> {
    let own = honest.get(vehicle)?.as_ref()?;
    match fleet.lie_in(vehicle, window)? {
        Lie::Random => Some(noise(own, fleet.night_seed(vehicle as u32, window))),
        Lie::Inflated | Lie::Equivocating | Lie::Overfitting => None,
        // The next honest one that sends something.
        Lie::Copied => {
            let others = (vehicle + 1..honest.len()).chain(0..vehicle);
            let mut sent = others.filter(|other| fleet.lie_of(*other).is_none());
            sent.find_map(sends)
        }
        // One and the same, as long as the first of them would have it.
        Lie::Colluding => {
            let mut liars = (0..honest.len()).filter(|other| fleet.lie_of(*other).is_some());
            let first = liars.find_map(|other| honest.get(other)?.as_ref());
            Some(noise(first.unwrap_or(own), agreed(fleet.seed)))
        }
        Lie::ForgedWorst => Some(own.iter().map(|value| -value).collect()),
        Lie::Withheld => Some(vec![0.0; own.len()]),
    }
}

/// What vehicles that learn alone hand in of where they are.
pub(super) fn adapters(fleet: &Fleet, handed: &[Option<Handed>]) -> Vec<Handed> {
    let by = |handed: &Option<Handed>| Some(difference(&handed.as_ref()?.at, &fleet.start));
    let honest: Vec<Option<Vec<f32>>> = handed.iter().map(by).collect();
    let told = |handed: &Handed| {
        let sends = |of: usize| honest.get(of)?.clone();
        let instead = instead(fleet, handed.window, handed.vehicle as usize, &honest, &sends);
        let told = instead.map(|by| moved(&fleet.start, &by));
        Handed { at: told.unwrap_or_else(|| handed.at.clone()), ..*handed }
    };
    handed.iter().flatten().map(told).collect()
}

/// The seed of what all liars agreed on.
pub(super) const fn agreed(seed: u64) -> u64 {
    seed ^ AGREED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(lie: Lie) -> Fleet {
        let liars = vec![false, true, true, false];
        Fleet { seed: 3, liars, lie, ..Fleet::honest(4, vec![0.0; 2].into()) }
    }

    #[test]
    fn every_lie_is_what_it_says() {
        let honest = [Some(vec![1.0, 0.0]), Some(vec![0.0, 2.0]), Some(vec![3.0, 4.0]), None];
        let sends = |of: usize| honest.get(of)?.clone();
        let told = |lie, vehicle| instead(&fleet(lie), 1, vehicle, &honest, &sends);
        let length = |values: Vec<f32>| values.iter().map(|v| v * v).sum::<f32>().sqrt();
        let all = [
            Lie::Random,
            Lie::Inflated,
            Lie::Copied,
            Lie::Colluding,
            Lie::ForgedWorst,
            Lie::Withheld,
            Lie::Equivocating,
            Lie::Overfitting,
        ];
        for lie in all {
            assert_eq!((told(lie, 0), told(lie, 3)), (None, None), "{lie:?} of honest vehicles");
        }
        for lie in [Lie::Inflated, Lie::Equivocating, Lie::Overfitting] {
            assert_eq!(told(lie, 1), None, "{lie:?}: a server asks for no claim");
        }
        assert_eq!(told(Lie::Copied, 2), Some(vec![1.0, 0.0]), "vehicle 3 sends nothing");
        assert_eq!(told(Lie::ForgedWorst, 1), Some(vec![0.0, -2.0]));
        assert_eq!(told(Lie::Withheld, 1), Some(vec![0.0, 0.0]));
        assert_eq!(told(Lie::Colluding, 1), told(Lie::Colluding, 2));
        assert!((length(told(Lie::Colluding, 2).unwrap()) - 20.0).abs() < 1e-4);
        assert!((length(told(Lie::Random, 2).unwrap()) - 50.0).abs() < 1e-4);
        assert_ne!(told(Lie::Random, 1), told(Lie::Random, 2));
        let late = Fleet { lies_from: 5, ..fleet(Lie::ForgedWorst) };
        let told = |window| instead(&late, window, 1, &honest, &sends);
        assert_eq!((told(4), told(5)), (None, Some(vec![0.0, -2.0])));
    }
}
