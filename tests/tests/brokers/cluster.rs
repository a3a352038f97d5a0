//! A broker of three nodes: what one took is on all of them, and one may die.

use shoal_link::{Event, Fetched, Settings};
use shoal_tests::clock::until;
use shoal_tests::nodes::TestCluster;
use shoal_wire::Leaf;

use crate::party::{Particle, Party, settings, steps, topic};
use crate::transfers::{CHUNK_BYTES, Receiver, publisher};

/// After so long without a message a broker has told all that it had.
pub(crate) const QUIET_SECONDS: u64 = 3;

/// A link that knows all nodes, this one first.
pub(crate) fn of(cluster: &dyn TestCluster, first: usize, vehicle: u16) -> Settings {
    let nodes = (0..3).map(|number| cluster.node((first + number) % 3));
    let brokers = nodes.map(|node| settings(node, vehicle).brokers[0].clone()).collect();
    Settings { brokers, ..settings(cluster.node(first), vehicle) }
}

pub(crate) fn what_one_node_took_stands_on_the_others(cluster: &mut dyn TestCluster) {
    let mut writer = Party::connected(of(cluster, 0, 1));
    let ticket = writer.publish_presence(1, 7);
    writer.wait_published(&[ticket]);
    for node in 1..3 {
        let mut reader = Party::connected(of(cluster, node, 2));
        reader.watch_all();
        assert_eq!(steps(&reader.message()), 7);
    }
}

/// A node is killed while a particle comes from it, and never comes back: nothing is lost.
pub(crate) fn a_node_that_dies_in_the_middle_loses_nothing(cluster: &mut dyn TestCluster) {
    let particle = Particle::new(1, 20, CHUNK_BYTES);
    let mut writer = publisher(settings(cluster.node(1), 1), &[&particle]);
    let mut receiver = Receiver::new(Party::open(of(cluster, 0, 2)), particle.id(), 0);
    while receiver.store.chunks.len() < 5 {
        receiver.step();
    }
    cluster.kill(0);
    assert_eq!(receiver.run(), Fetched::Complete);
    assert!(receiver.store.holds(&particle));
    // And what is published now is taken: two of three are a majority.
    let ticket = writer.publish_presence(1, 9);
    writer.wait_published(&[ticket]);
}

/// What a node acknowledges is on another one by then: it is killed at once. Who asks a node that is still electing with the others is
/// told what that one has read by then, and asks again.
pub(crate) fn what_a_node_acknowledged_outlives_it(cluster: &mut dyn TestCluster) {
    let mut writer = Party::connected(of(cluster, 0, 1));
    let tickets: Vec<_> = (1..=100).map(|vehicle| writer.publish_presence(vehicle, 1)).collect();
    writer.wait_published(&tickets);
    cluster.kill(0);
    until("all of it on a node that lives", || {
        let mut reader = Party::connected(of(cluster, 1, 200));
        reader.watch_all();
        (reader.topics(100, QUIET_SECONDS).len() == 100).then_some(())
    });
}

/// However fast records follow each other: once the last one is acknowledged, it is what stands on all nodes.
pub(crate) fn the_newest_record_stands_on_every_node(cluster: &mut dyn TestCluster) {
    let mut writer = Party::connected(of(cluster, 0, 1));
    let tickets: Vec<_> = (0..200).map(|round| writer.publish_presence(1, round)).collect();
    writer.wait_for("the last acknowledgement", |event| *event == Event::Published(tickets[199]));
    for node in 0..3 {
        let mut reader = Party::connected(of(cluster, node, 2));
        reader.watch_all();
        assert_eq!(steps(&reader.message()), 199, "on node {node}");
    }
}

/// After so many looks at a node that stays behind it is started anew, as its operator would.
const LOOKS_BEHIND: u32 = 10;

/// Without a majority nothing is taken. What is published then waits, over refused connections, for a node to come back.
/// What NATS acknowledges by then and, as its log says, does not store stands there once it is published anew, as vehicles do in each window.
pub(crate) fn what_is_published_without_a_majority_is_taken_when_there_is_one_again(
    cluster: &mut dyn TestCluster,
) {
    let mut writer = Party::connected(of(cluster, 0, 1));
    let ticket = writer.publish_presence(1, 1);
    writer.wait_published(&[ticket]);
    cluster.kill(1);
    cluster.kill(2);
    let tickets: Vec<_> = (2..20).map(|vehicle| writer.publish_presence(vehicle, 2)).collect();
    cluster.revive(1);
    writer.wait_published(&tickets);
    cluster.revive(2);
    // A node that came back tells what it has of the others by then, and nothing of the rest to who asked before.
    let mut steps = 2;
    until("all of it on the node that came back", || {
        let mut reader = Party::connected(of(cluster, 2, 30));
        reader.watch_all();
        let seen = reader.topics(19, QUIET_SECONDS);
        let lost = &cluster.not_stored() - &seen;
        steps += 1;
        let lost =
            (2..20).filter(|&vehicle| lost.contains(&topic(vehicle, Leaf::Presence).to_string()));
        let again: Vec<_> = lost.map(|vehicle| writer.publish_presence(vehicle, steps)).collect();
        writer.wait_published(&again);
        let all = seen.len() == 19;
        if !all && cluster.may_stay_behind() && steps.is_multiple_of(LOOKS_BEHIND) {
            cluster.kill(2);
            cluster.revive(2);
        }
        all.then_some(())
    });
}
