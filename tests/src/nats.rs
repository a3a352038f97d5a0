//! NATS with JetStream, whose gateway speaks MQTT 3.1.1: one node of it, or three that replicate what they retain.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::brokers::{TestBroker, installed};
use crate::nodes::{Nodes, TestCluster};

/// Nodes of NATS, each a program.
#[derive(Debug)]
pub struct Nats {
    binary: PathBuf,
    nodes: Nodes,
}

impl Nats {
    /// Starts so many nodes, if it is installed. Says aloud when it is not; with `SHOAL_REQUIRE_NATS=1` that fails.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn start(nodes: usize) -> Option<Self> {
        let binary = installed("nats-server", "--version", "SHOAL_REQUIRE_NATS")?;
        let mut nats = Self { binary, nodes: Nodes::new(nodes) };
        (0..nodes).for_each(|number| nats.run(number));
        (0..nodes).for_each(|number| nats.nodes.wait(number));
        Some(nats)
    }

    fn run(&mut self, number: usize) {
        let [mqtt, client, cluster] = self.nodes.ports(number);
        let folder = self.nodes.folder(number);
        let routes: Vec<String> = (0..self.nodes.count())
            .map(|node| format!("nats-route://127.0.0.1:{}", self.nodes.ports(node)[2]))
            .collect();
        let together = format!(
            "cluster {{ name: shoal, listen: \"127.0.0.1:{cluster}\", routes: [{}] }}\n",
            routes.join(", ")
        );
        let together = if routes.len() > 1 { together } else { String::new() };
        let configuration = format!(
            "server_name: node-{number}\nlisten: \"127.0.0.1:{client}\"\n\
             jetstream {{ store_dir: \"{}\" }}\n\
             mqtt {{ listen: \"127.0.0.1:{mqtt}\" }}\n{together}",
            folder.display(),
        );
        let file = folder.join("nats.conf");
        fs::write(&file, configuration).expect("a file");
        self.nodes.start(number, &self.binary, &["-c".to_owned(), file.display().to_string()]);
    }
}

impl TestCluster for Nats {
    fn node(&self, number: usize) -> SocketAddr {
        self.nodes.mqtt(number)
    }

    fn kill(&mut self, number: usize) {
        self.nodes.kill(number);
    }

    fn revive(&mut self, number: usize) {
        self.run(number);
        self.nodes.wait(number);
    }

    /// Now and then NATS 2.9 does (of sixty nodes that came back after a majority was lost two did).
    fn may_stay_behind(&self) -> bool {
        true
    }

    /// While a majority is regained, NATS 2.9 does that.
    fn not_stored(&self) -> BTreeSet<String> {
        let logs: Vec<String> =
            (0..self.nodes.count()).map(|number| self.nodes.log(number)).collect();
        let failures = logs
            .iter()
            .flat_map(|log| log.lines())
            .filter(|line| line.contains("unable to store retained message"));
        let subjects =
            failures.filter_map(|line| line.split_once("subject \"")?.1.split('"').next());
        subjects.map(|subject| subject.replace('.', "/")).collect()
    }
}

impl TestBroker for Nats {
    fn address(&self) -> SocketAddr {
        self.node(0)
    }

    fn keep(&mut self) {}

    fn restart(&mut self) {
        self.kill(0);
        self.revive(0);
    }

    fn speaks_mqtt_5(&self) -> bool {
        false
    }
}
