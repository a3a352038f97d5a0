//! rmqtt with its Raft cluster, of two nodes and more. `cargo xtask oracle rmqtt` builds the program, minutes of it, and runs these tests.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::brokers::{TestBroker, skip};
use crate::clock::until;
use crate::nodes::{Nodes, TestCluster};

/// Nodes of rmqtt, each a program.
#[derive(Debug)]
pub struct Rmqtt {
    binary: PathBuf,
    nodes: Nodes,
}

impl Rmqtt {
    /// Starts so many nodes of the program that `SHOAL_RMQTT` names. Says aloud when it names none.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(nodes: usize) -> Option<Self> {
        let Some(binary) = std::env::var_os("SHOAL_RMQTT").map(PathBuf::from) else {
            skip("no SHOAL_RMQTT");
            return None;
        };
        let mut rmqtt = Self { binary, nodes: Nodes::new(nodes) };
        rmqtt.start_anew();
        Some(rmqtt)
    }

    /// Ends every node that runs, and starts all of them.
    pub fn start_anew(&mut self) {
        (0..self.nodes.count()).for_each(|number| self.nodes.end(number));
        (0..self.nodes.count()).for_each(|number| self.run(number));
        (0..self.nodes.count()).for_each(|number| self.wait(number));
    }

    /// It takes what is published, and has asked the others what they retain, which it does two seconds after its start. A node that
    /// finds no leader ends: whoever runs it starts it again.
    fn wait(&mut self, number: usize) {
        until("a node takes what is published", || {
            if self.nodes.has_ended(number) {
                self.run(number);
            }
            self.nodes.takes(number)?;
            let asked = |line: &&str| line.contains("sync_retains_from_peers from");
            let asked = self.nodes.log(number).lines().filter(asked).count();
            (asked + 1 >= self.nodes.count()).then_some(())
        });
    }

    fn run(&mut self, number: usize) {
        let data = self.nodes.folder(number).display().to_string();
        let mut arguments = vec!["--node".into(), (number + 1).to_string(), "--data".into(), data];
        for node in 0..self.nodes.count() {
            let ports = self.nodes.ports(node).map(|port| port.to_string());
            arguments.extend(["--peer".into(), ports.join(",")]);
        }
        self.nodes.start(number, &self.binary, &arguments);
    }
}

impl TestCluster for Rmqtt {
    fn node(&self, number: usize) -> SocketAddr {
        self.nodes.mqtt(number)
    }

    fn kill(&mut self, number: usize) {
        self.nodes.kill(number);
    }

    fn revive(&mut self, number: usize) {
        self.run(number);
        self.wait(number);
    }
}

impl TestBroker for Rmqtt {
    fn address(&self) -> SocketAddr {
        self.node(0)
    }

    fn keep(&mut self) {}

    fn restart(&mut self) {
        self.kill(0);
        self.revive(0);
    }

    fn holds_back_what_is_too_long(&self) -> bool {
        false
    }
}
