//! NATS with JetStream, whose gateway speaks MQTT 3.1.1: one node of it, or three that replicate what they retain.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::brokers::{TestBroker, installed};
use crate::clock::until;
use crate::publisher::Publisher;

/// Nodes of NATS, each a program.
#[derive(Debug)]
pub struct Nats {
    binary: PathBuf,
    nodes: Vec<Node>,
    folder: TempDir,
}

#[derive(Debug)]
struct Node {
    program: Option<Child>,
    /// For clients of NATS, for other nodes, for MQTT.
    ports: [u16; 3],
}

impl Nats {
    /// Starts so many nodes, if it is installed. Says aloud when it is not; with `SHOAL_REQUIRE_NATS=1` that fails.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn start(nodes: usize) -> Option<Self> {
        let binary = installed("nats-server", "--version", "SHOAL_REQUIRE_NATS")?;
        // Free a moment ago, all at once: no port is taken twice.
        let listen = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
        let free: Vec<TcpListener> = (0..3 * nodes).map(listen).collect();
        let ports: Vec<u16> =
            free.iter().map(|port| port.local_addr().expect("an address").port()).collect();
        drop(free);
        let node = |ports: &[u16]| Node { program: None, ports: [ports[0], ports[1], ports[2]] };
        let nodes = ports.chunks(3).map(node).collect();
        let mut nats = Self { binary, nodes, folder: TempDir::new().expect("a folder") };
        (0..nats.nodes.len()).for_each(|number| nats.run(number));
        (0..nats.nodes.len()).for_each(|number| nats.wait(number));
        Some(nats)
    }

    /// Where a node speaks MQTT.
    pub fn node(&self, number: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.nodes[number].ports[2]))
    }

    /// Kills a node: it says nothing to anybody.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, number: usize) {
        let mut program = self.nodes[number].program.take().expect("it runs");
        program.kill().expect("it is killed");
        program.wait().expect("it has ended");
    }

    /// Starts a node again, and waits until it takes what is published.
    pub fn revive(&mut self, number: usize) {
        self.run(number);
        self.wait(number);
    }

    /// Topics whose retained message a node took, acknowledged and did not store, by the nodes' own logs: while a majority is regained, NATS 2.9 does that.
    ///
    /// # Panics
    /// When a log is not read.
    pub fn not_stored(&self) -> BTreeSet<String> {
        let logs = (0..self.nodes.len()).map(|number| {
            fs::read_to_string(self.folder.path().join(number.to_string()).join("log"))
                .expect("a log")
        });
        let logs: Vec<String> = logs.collect();
        let failures = logs
            .iter()
            .flat_map(|log| log.lines())
            .filter(|line| line.contains("unable to store retained message"));
        let subjects =
            failures.filter_map(|line| line.split_once("subject \"")?.1.split('"').next());
        subjects.map(|subject| subject.replace('.', "/")).collect()
    }

    fn run(&mut self, number: usize) {
        let [client, cluster, mqtt] = self.nodes[number].ports;
        let folder = self.folder.path().join(number.to_string());
        fs::create_dir_all(&folder).expect("a folder");
        let routes: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("nats-route://127.0.0.1:{}", node.ports[1]))
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
        let log = fs::File::create(folder.join("log")).expect("a file");
        let program = Command::new(&self.binary)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server starts");
        self.nodes[number].program = Some(program);
    }

    /// It takes what is published, and has a majority to keep it.
    fn wait(&self, number: usize) {
        until("NATS takes what is published", || {
            Publisher::reach(self.node(number))?.leave("ready", b"")
        });
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

impl Drop for Nats {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut program) = node.program.take() {
                let _killed = program.kill();
                let _ended = program.wait();
            }
        }
    }
}
