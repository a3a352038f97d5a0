//! A fleet whose contributions are private: what is on the air has noise in it, is paid for, and nothing beside it says what
//! a vehicle measured of its own.

use std::collections::{BTreeMap, BTreeSet};

use shoal_protocol::weather::Weather;
use shoal_protocol::world::World;
use shoal_swarm::privacy::Privacy;
use shoal_wire::v1::{ParticleHeader, Presence, Role};
use shoal_wire::{KeyId, Keys, Kind, ParticleId, PublicKey, Unverified};

/// ρ is 1/2 a contribution; three come to 9.04 at 1e-5, four to 10.8.
const PRIVACY: Privacy = Privacy { clip: 0.3, noise: 2.0, delta: 1e-5, epsilon_max: 10.0 };
const PAID_FOR: usize = 3;

/// The keys of all vehicles.
struct All(BTreeMap<KeyId, PublicKey>);

impl Keys for All {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        self.0.get(&id).copied()
    }
}

/// What every vehicle ever said on any node: particles that it contributed, and its presences.
#[derive(Default)]
struct Said {
    contributed: BTreeMap<KeyId, BTreeSet<ParticleId>>,
    presences: usize,
    /// Presences with a measurement, or with how much was tuned.
    telling: usize,
}

fn said(world: &mut World) -> Said {
    let keys = world.fleet.vehicles.iter().map(|key| (key.public().id(), key.public()));
    let keys = All(keys.collect());
    let mut said = Said::default();
    for node in world.cluster.nodes() {
        for (topic, bytes) in node.published_since(0) {
            let kind = topic.split('/').nth(4).unwrap_or_default();
            let Ok(envelope) = Unverified::decode(bytes) else { continue };
            if kind == "particle"
                && let Ok(header) = envelope.verify::<ParticleHeader>(&keys)
                && header.body().fields().role == Role::Contribution
            {
                said.contributed.entry(header.head().key).or_default().insert(header.body().id());
            } else if kind == "presence"
                && let Ok(presence) = envelope.verify::<Presence>(&keys)
            {
                let fields = presence.body().fields();
                said.presences += 1;
                said.telling += usize::from(!fields.terms.is_empty() || fields.steps > 0);
            }
        }
    }
    said
}

fn run(seed: u64, weather: Weather, privacy: Option<Privacy>) -> World {
    let mut world = World::new(seed, weather);
    world.vehicles.iter_mut().for_each(|vehicle| vehicle.privacy = privacy);
    world.run();
    world
}

/// The test can fail: without privacy vehicles say what they measured, and contribute in every window.
#[test]
fn without_privacy_presences_tell_and_contributions_go_on() {
    let said = said(&mut run(1, Weather::fair(4, 8), None));
    assert!(said.telling > 0);
    assert!(said.contributed.values().all(|all| all.len() > PAID_FOR));
}

#[test]
fn a_private_fleet_says_nothing_of_its_own_and_stops_at_its_budget() {
    let mut world = run(1, Weather::fair(4, 8), Some(PRIVACY));
    let said = said(&mut world);
    assert!(said.presences > 0);
    assert_eq!(said.telling, 0, "of {} presences", said.presences);
    assert_eq!(said.contributed.len(), 4);
    for (vehicle, all) in &said.contributed {
        assert_eq!(all.len(), PAID_FOR, "{vehicle}");
    }
    world.log.is_repeated_by(&run(1, Weather::fair(4, 8), Some(PRIVACY)).log);
}

/// Power cuts, full disks, clocks that jump, brokers that lose: no vehicle ever publishes more than it paid for.
#[test]
fn whatever_happens_no_vehicle_publishes_more_than_its_budget() {
    let mut contributed = 0;
    for seed in 0..40 {
        // The paper's rule has no contributions, and refuses to be private.
        let weather = Weather { paper: false, ..Weather::of(seed) };
        let said = said(&mut run(seed, weather, Some(PRIVACY)));
        assert_eq!(said.telling, 0, "seed {seed}");
        for (vehicle, all) in said.contributed {
            assert!(all.len() <= PAID_FOR, "seed {seed}: {vehicle} contributed {}", all.len());
            contributed += all.len();
        }
    }
    assert!(contributed > 100, "{contributed} contributions in all: too few to show anything");
}
