//! What rmqtt does otherwise than the other brokers, and what holds for it.

use shoal_link::Event;
use shoal_tests::clock::until;
use shoal_tests::nodes::TestCluster;
use shoal_tests::publisher::Publisher;
use shoal_tests::rmqtt::Rmqtt;
use shoal_wire::Leaf;

use crate::cluster::{QUIET_SECONDS, of};
use crate::party::{Party, steps, topic};

/// A node acknowledges before others have it: killed at once, it takes some of a hundred records with it. They stand there once they are
/// published anew, as vehicles do in each window, over the next node.
#[test]
fn what_a_node_took_with_it_stands_there_once_it_is_published_anew() {
    let Some(mut rmqtt) = Rmqtt::start(3) else { return };
    let mut writer = Party::connected(of(&rmqtt, 0, 1));
    let mut publish = |steps| {
        let tickets: Vec<_> =
            (1..=100).map(|vehicle| writer.publish_presence(vehicle, steps)).collect();
        writer.wait_published(&tickets);
    };
    publish(1);
    rmqtt.kill(0);
    let stand = |node| {
        let mut reader = Party::connected(of(&rmqtt, node, 200));
        reader.watch_all();
        reader.topics(100, QUIET_SECONDS).len()
    };
    println!("{} of 100 outlived the node", stand(1));
    publish(2);
    for node in 1..3 {
        until("all of them", || (stand(node) == 100).then_some(()));
    }
}

/// Without a majority nobody is let in, and a node that ends does not come back: it needs a leader to join. Who is connected publishes on, to
/// the one node that is left. Started anew, all of them are a cluster again, and links find it.
#[test]
fn without_a_majority_all_nodes_are_started_anew() {
    let Some(mut rmqtt) = Rmqtt::start(3) else { return };
    let mut writer = Party::connected(of(&rmqtt, 0, 1));
    rmqtt.kill(1);
    rmqtt.kill(2);
    let ticket = writer.publish_presence(1, 1);
    writer.wait_published(&[ticket]);
    let mut late = Party::open(of(&rmqtt, 0, 2));
    assert!(matches!(late.next(), Event::Disconnected { .. }));

    rmqtt.start_anew();
    let tickets: Vec<_> = (1..=20).map(|vehicle| writer.publish_presence(vehicle, 2)).collect();
    writer.wait_published(&tickets);
    late.wait_for("a connection", |event| matches!(event, Event::Connected { .. }));
    for node in 0..3 {
        until("all of it on every node", || {
            let mut reader = Party::connected(of(&rmqtt, node, 30));
            reader.watch_all();
            (reader.topics(20, QUIET_SECONDS).len() == 20).then_some(())
        });
    }
}

/// It ends a link of MQTT 5 to which it has something too long to say: so it takes nothing that is too long for links.
#[test]
fn what_is_too_long_for_links_is_not_taken() {
    let Some(rmqtt) = Rmqtt::start(3) else { return };
    let mut reader = Party::connected(of(&rmqtt, 0, 2));
    reader.watch();
    reader.watch_chunks();
    let place = topic(1, Leaf::Chunk { slot: 0, index: 0 }).to_string();
    let mut hostile = Publisher::connect(rmqtt.node(0));
    assert_eq!(hostile.leave(&place, &vec![0; 68 * 1024]), None);
    let mut writer = Party::connected(of(&rmqtt, 0, 1));
    writer.publish_presence(1, 9);
    let event = reader.wait_for("a message, over the same connection", |event| {
        matches!(event, Event::Message(_) | Event::Disconnected { .. })
    });
    let Event::Message(message) = event else { panic!("{event:?}") };
    assert_eq!(steps(&message), 9);
}
