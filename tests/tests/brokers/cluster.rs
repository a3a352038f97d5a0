//! Three nodes of NATS: what one took is on all of them, and one may die.

use shoal_link::{Fetched, Settings};
use shoal_tests::clock::until;
use shoal_tests::nats::Nats;
use shoal_wire::Leaf;

use crate::party::{Particle, Party, settings, steps, topic};
use crate::transfers::{CHUNK_BYTES, Receiver, publisher};

/// After so long without a message a broker has told all that it had.
const QUIET_SECONDS: u64 = 3;

/// A link that knows all nodes, this one first.
fn of(nats: &Nats, first: usize, vehicle: u16) -> Settings {
    let nodes = (0..3).map(|number| nats.node((first + number) % 3));
    let brokers = nodes.map(|node| settings(node, vehicle).brokers[0].clone()).collect();
    Settings { brokers, ..settings(nats.node(first), vehicle) }
}

#[test]
fn what_one_node_took_stands_on_the_others() {
    let Some(nats) = Nats::start(3) else { return };
    let mut writer = Party::connected(of(&nats, 0, 1));
    let ticket = writer.publish_presence(1, 7);
    writer.wait_published(&[ticket]);
    for node in 1..3 {
        let mut reader = Party::connected(of(&nats, node, 2));
        reader.watch_all();
        assert_eq!(steps(&reader.message()), 7);
    }
}

/// A node is killed while a particle comes from it, and never comes back: nothing is lost.
#[test]
fn a_node_that_dies_in_the_middle_loses_nothing() {
    let Some(mut nats) = Nats::start(3) else { return };
    let particle = Particle::new(1, 20, CHUNK_BYTES);
    let mut writer = publisher(nats.node(1), &[&particle]);
    let mut receiver = Receiver::new(Party::open(of(&nats, 0, 2)), particle.id(), 0);
    while receiver.store.chunks.len() < 5 {
        receiver.step();
    }
    nats.kill(0);
    assert_eq!(receiver.run(), Fetched::Complete);
    assert!(receiver.store.holds(&particle));
    // And what is published now is taken: two of three are a majority.
    let ticket = writer.publish_presence(1, 9);
    writer.wait_published(&[ticket]);
}

/// Without a majority nothing is taken. What is published then waits, over refused connections, for a node to come back.
/// What NATS acknowledges by then and, as its log says, does not store stands there once it is published anew, as vehicles do in each window.
#[test]
fn what_is_published_without_a_majority_is_taken_when_there_is_one_again() {
    let Some(mut nats) = Nats::start(3) else { return };
    let mut writer = Party::connected(of(&nats, 0, 1));
    let ticket = writer.publish_presence(1, 1);
    writer.wait_published(&[ticket]);
    nats.kill(1);
    nats.kill(2);
    let tickets: Vec<_> = (2..20).map(|vehicle| writer.publish_presence(vehicle, 2)).collect();
    nats.revive(1);
    writer.wait_published(&tickets);
    nats.revive(2);
    // A node that came back tells what it has of the others by then, and nothing of the rest to who asked before.
    let mut steps = 2;
    until("all of it on the node that came back", || {
        let mut reader = Party::connected(of(&nats, 2, 30));
        reader.watch_all();
        let seen = reader.topics(19, QUIET_SECONDS);
        let lost = &nats.not_stored() - &seen;
        steps += 1;
        let lost =
            (2..20).filter(|&vehicle| lost.contains(&topic(vehicle, Leaf::Presence).to_string()));
        let again: Vec<_> = lost.map(|vehicle| writer.publish_presence(vehicle, steps)).collect();
        writer.wait_published(&again);
        (seen.len() == 19).then_some(())
    });
}
