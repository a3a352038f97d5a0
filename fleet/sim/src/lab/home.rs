//! The layers whose adapters stay with their vehicle: what is its driver's own is learnt there, and what all share below.

use std::collections::BTreeMap;

use shoal_runtime::adapter::Layout;
use shoal_swarm::swarm::Flat;

use super::{LabError, Tune, Who};

/// What vehicles keep of their adapters and nobody publishes: the last layers, from one value of the flat run on.
///
/// Both parts are tuned together. What leaves a vehicle has in these layers what it was given there.
///
/// # Source
/// Arivazhagan, Aggarwal, Singh and Choudhary, *Federated Learning with Personalization Layers*, 2019; together: FedSim of Pillutla et
/// al., *Federated Learning with Partial Model Personalization*, 2022.
#[derive(Debug)]
pub(super) struct Home {
    first: usize,
    kept: BTreeMap<u32, Vec<f32>>,
}

impl Home {
    /// The last so many layers of the model that have an adapter; `None` if nothing stays at home.
    ///
    /// # Errors
    /// If the model has fewer.
    pub(super) fn new(layers: u32, layout: &Layout) -> Result<Option<Self>, LabError> {
        let (home, of) = (layers as usize, layout.sites.len());
        let Some(below) = of.checked_sub(home) else { return Err(LabError::Home { home, of }) };
        let site = layout.sites.get(below);
        Ok(site.map(|site| Home { first: site.a.range.start, kept: BTreeMap::new() }))
    }

    /// What this vehicle drives with where the fleet has this.
    pub(super) fn with(&self, vehicle: u32, values: &Flat) -> Flat {
        let Some(kept) = self.kept.get(&vehicle) else { return values.clone() };
        values.iter().take(self.first).chain(kept).copied().collect()
    }

    /// A night as its vehicle begins it.
    pub(super) fn begins(&self, night: &Tune) -> Tune {
        match night.who {
            Who::Vehicle(vehicle) => {
                Tune { from: self.with(vehicle, &night.from), ..night.clone() }
            }
            Who::All | Who::Part(_) => night.clone(),
        }
    }

    /// What of a night may leave; the rest is kept.
    pub(super) fn ends(&mut self, night: &Tune, tuned: Flat) -> Flat {
        let Who::Vehicle(vehicle) = night.who else { return tuned };
        self.kept.insert(vehicle, tuned.iter().skip(self.first).copied().collect());
        tuned.iter().take(self.first).chain(night.from.iter().skip(self.first)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use shoal_runtime::adapter::{Factor, Site};
    use shoal_runtime::graft::SiteNode;

    use super::*;

    fn night(vehicle: u32, from: [f32; 4]) -> Tune {
        let who = Who::Vehicle(vehicle);
        Tune { who, window: 1, from: Flat::from(from), seed: 1, pull: None, teacher: None }
    }

    #[test]
    fn the_last_layers_stay_with_their_vehicle() {
        let factor = |at: usize| Factor { input: String::new(), dims: vec![1], range: at..at + 1 };
        let site = |at: usize| Site {
            name: "a".into(),
            module: None,
            weight: "a".into(),
            nodes: vec![SiteNode { index: at, input: 1, output: "a".into() }],
            operator: "MatMul".into(),
            base_sha256: [0; 32],
            a: factor(at),
            b: factor(at + 1),
            alpha: 1.0,
        };
        let layout = Layout { sites: vec![site(0), site(2)], rank: 1, alpha: 1.0 };
        assert!(Home::new(0, &layout).unwrap().is_none());
        let mut home = Home::new(1, &layout).unwrap().unwrap();
        let first = night(3, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(home.begins(&first).from, first.from);
        let leaves = home.ends(&first, Flat::from([5.0, 6.0, 7.0, 8.0]));
        assert_eq!(*leaves, [5.0, 6.0, 3.0, 4.0]);

        // What the fleet has below, and the vehicle's own above.
        let second = night(3, [0.0, 0.0, 3.0, 4.0]);
        assert_eq!(*home.begins(&second).from, [0.0, 0.0, 7.0, 8.0]);
        assert_eq!(*home.with(3, &leaves), [5.0, 6.0, 7.0, 8.0]);
        assert_eq!(
            *home.begins(&night(2, [0.0; 4])).from,
            [0.0; 4],
            "another vehicle's is another's"
        );
        assert!(Home::new(2, &layout).unwrap().is_some_and(|home| home.first == 0), "all");
        let more = Home::new(3, &layout).unwrap_err().to_string();
        assert!(more.contains("night.home: 3 layers of 2"), "{more}");
    }
}
