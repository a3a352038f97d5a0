//! Beacons of several regions: one swarm, whichever region a vehicle is in.

use std::collections::BTreeSet;

use shoal_swarm::beacon::Reads;
use shoal_swarm::records::Records;
use shoal_wire::v1::Role;
use shoal_wire::{KeyId, Label, Topic};

use super::{Board, Program, VEHICLES, beacon_id, reinstated, ring, same, shape, votes};
use crate::fleet::{Post, claimed, documents, key, nonce, topic};

const REGIONS: [&str; 2] = ["region", "other"];

fn elsewhere((topic, bytes): Post, region: &'static str) -> Post {
    let region = Label::new(region).unwrap();
    (Topic::new(topic.fleet(), region, topic.publisher(), topic.leaf()).unwrap(), bytes)
}

/// In every region, as a timekeeper publishes it.
fn everywhere(posts: impl IntoIterator<Item = Post>) -> Vec<Post> {
    let posts = posts.into_iter();
    posts.flat_map(|post| REGIONS.map(|region| elsewhere(post.clone(), region))).collect()
}

/// Of vehicles: those with odd numbers are in the other region.
fn at_home(posts: impl IntoIterator<Item = Post>) -> Vec<Post> {
    let odd = |publisher: KeyId| {
        (0..VEHICLES).filter(|one| one % 2 == 1).any(|one| key(one).public().id() == publisher)
    };
    let home = |post: Post| {
        let region = REGIONS[usize::from(odd(post.0.publisher()))];
        elsewhere(post, region)
    };
    posts.into_iter().map(home).collect()
}

fn claims(window: u32) -> Vec<Post> {
    let claimed = (0..VEHICLES).flat_map(|number| {
        let role = match number % 4 {
            0 => Role::Merge,
            3 => Role::Worst,
            _ => Role::Best,
        };
        claimed(number, window, role, 1_000 + ((number * 7 + window * 5) % 60) as i16 * 100)
    });
    at_home(claimed)
}

/// A fleet of two regions, and what is known of it.
struct Trial {
    board: Board,
    /// With the region of each.
    beacons: Vec<Program>,
    /// Who reads everybody, and who listens to the beacons of each region.
    whole: Records,
    of: [Records; 2],
}

/// Beacons with odd numbers are of the first region.
fn is_of(region: usize) -> impl Fn(KeyId) -> bool {
    move |id| (1..9).any(|number| beacon_id(number) == id && usize::from(number + 1) % 2 == region)
}

impl Trial {
    fn begin(reads: Reads) -> Self {
        let mut board = Board::default();
        let posts = documents(VEHICLES).into_iter().chain([reinstated(), nonce(0)]);
        board.leave(everywhere(posts), &mut []);
        let mut trial = Self {
            board,
            beacons: Vec::new(),
            whole: Records::new(shape()),
            of: [(); 2].map(|()| Records::new(shape())),
        };
        trial.add(1, reads);
        trial.add(2, reads);
        trial
    }

    fn add(&mut self, number: u8, reads: Reads) {
        let region = REGIONS[usize::from(number + 1) % 2];
        self.beacons.push(Program::start_in(number, region, reads));
        self.board.settle(&mut self.beacons);
    }

    /// What all claim in a window, and vote in the next. What is known then in each of these regions is the same.
    fn window(&mut self, window: u32, regions: &[usize]) {
        let ring = ring();
        self.board.leave(claims(window), &mut self.beacons);
        self.board.leave(everywhere([nonce(window + 1)]), &mut self.beacons);
        self.board.read(&mut self.whole, &ring, window + 1);
        let votes = votes(&self.whole, &ring, window, window % 3 != 1);
        self.board.leave(at_home(votes), &mut self.beacons);
        self.board.read(&mut self.whole, &ring, window + 1);
        for region in regions {
            let records = &mut self.of[*region];
            self.board.listen(records, &ring, window + 1, is_of(*region));
            same(records, &self.whole, &ring, window + 1);
        }
    }

    /// What stands at the topics of a beacon.
    fn passed_on(&self, number: u8) -> Vec<&[u8]> {
        let stands = self.board.stands.iter().filter(|(_topic, bytes)| !bytes.is_empty());
        let of = |text: &str| Topic::decode(text).unwrap().publisher() == beacon_id(number);
        stands.filter(|(text, _)| of(text)).map(|(_, bytes)| bytes.as_slice()).collect()
    }
}

/// Each region's beacon knows the other region's claims by that one's beacon alone.
#[test]
fn regions_fold_into_one() {
    let mut trial = Trial::begin(Reads::Region);
    for window in 0..8 {
        match window {
            3 => trial.add(3, Reads::Region),
            // Killed once there is another one.
            4 => drop(trial.beacons.remove(0)),
            5 => trial.add(4, Reads::Region),
            6 => drop(trial.beacons.remove(0)),
            _ => {}
        }
        trial.window(window, &[0, 1]);
    }
    // Two beacons that hear each other go round in no circle.
    for number in [3, 4] {
        let passed_on = trial.passed_on(number);
        let once: BTreeSet<&[u8]> = passed_on.iter().copied().collect();
        assert!(passed_on.len() > 8);
        assert_eq!(once.len(), passed_on.len(), "nothing is passed on twice");
    }
}

/// A beacon that reads the fleet needs none in other regions.
#[test]
fn a_region_without_beacons_is_heard_by_those_that_read_the_fleet() {
    let mut trial = Trial::begin(Reads::Fleet);
    for window in 0..8 {
        match window {
            2 => drop(trial.beacons.remove(1)),
            5 => trial.add(4, Reads::Fleet),
            _ => {}
        }
        // Who has no beacon reads everybody.
        let there: &[usize] = if (2..5).contains(&window) { &[0] } else { &[0, 1] };
        if window < 5 {
            trial.window(window, there);
        } else {
            trial.of[1] = trial.of[0].clone();
            trial.window(window, &[0, 1]);
        }
    }
}

/// What stands in the name of a vehicle of another region is asked of all, and documents of another region are none of this one's.
#[test]
fn documents_of_another_region_are_not_taken() {
    let mut board = Board::default();
    let posts = documents(VEHICLES).into_iter().chain([nonce(0)]);
    board.leave(posts.map(|post| elsewhere(post, "other")), &mut []);
    let mut beacons = [Program::start_in(1, "region", Reads::Fleet)];
    board.settle(&mut beacons);
    assert_eq!(beacons[0].core.window(), None);
    let (place, bytes) = elsewhere(nonce(0), "other");
    let input = shoal_swarm::beacon::Input::Message { topic: &place, bytes: &bytes };
    beacons[0].core.handle_input(input).unwrap();
    assert_eq!(beacons[0].core.window(), None);
    let here = topic(nonce(0).0.publisher(), nonce(0).0.leaf());
    let input = shoal_swarm::beacon::Input::Message { topic: &here, bytes: &bytes };
    beacons[0].core.handle_input(input).unwrap();
    assert_eq!(beacons[0].core.window(), Some(0));
}
