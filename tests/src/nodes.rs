//! The nodes of a broker, each a program with ports and a folder of its own.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::clock::until;
use crate::publisher::Publisher;

/// So many ports are tried.
const DRAWS_MAX: u32 = 1000;
/// Of a node's log, when a test has failed.
const LINES_SHOWN: usize = 40;

/// A broker of several nodes: what one took is on all of them.
pub trait TestCluster {
    /// Where a node speaks MQTT.
    fn node(&self, number: usize) -> SocketAddr;

    /// Kills a node: it says nothing to anybody.
    fn kill(&mut self, number: usize);

    /// Starts a node again, and waits until it takes what is published.
    fn revive(&mut self, number: usize);

    /// Whether a node that came back may hear nothing of the rest until it is started once more.
    fn may_stay_behind(&self) -> bool {
        false
    }

    /// Topics whose retained message a node took, acknowledged and did not store, by the nodes' own logs.
    fn not_stored(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

/// Where the system takes the ports of outgoing connections from, as Linux has it: a port of those may be gone whenever its program is.
const OUTGOING_PORTS: u16 = 32_768;
/// Below this are services.
const FIRST_PORT: u16 = 10_000;

/// So many ports that were free a moment ago, all at once, drawn from those that no outgoing connection takes: none is there twice.
///
/// # Panics
/// When there are none.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let many = u64::from(OUTGOING_PORTS - FIRST_PORT);
    let draw = |_| FIRST_PORT + u16::try_from(drawn() % many).expect("fewer than ports are");
    let listen = |port| TcpListener::bind(("127.0.0.1", port)).ok();
    let free: Vec<TcpListener> = (0..DRAWS_MAX).map(draw).filter_map(listen).take(count).collect();
    assert_eq!(free.len(), count, "free ports");
    free.iter().map(|port| port.local_addr().expect("an address").port()).collect()
}

/// Something else in each process, and at each call: hashers have random keys.
fn drawn() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Programs of one kind, which know each other's ports.
#[derive(Debug)]
pub(crate) struct Nodes {
    all: Vec<Node>,
    folder: TempDir,
}

#[derive(Debug)]
struct Node {
    program: Option<Child>,
    ports: [u16; 3],
}

impl Nodes {
    /// Their ports and folders; nothing runs. The first port of each is that of MQTT.
    pub(crate) fn new(count: usize) -> Self {
        let ports = free_ports(3 * count);
        let node = |ports: &[u16]| Node { program: None, ports: [ports[0], ports[1], ports[2]] };
        let folder = TempDir::new().expect("a folder");
        let nodes = Self { all: ports.chunks(3).map(node).collect(), folder };
        let folders = (0..count).map(|number| nodes.folder(number));
        folders.for_each(|folder| fs::create_dir_all(folder).expect("a folder"));
        nodes
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn ports(&self, number: usize) -> [u16; 3] {
        self.all[number].ports
    }

    pub(crate) fn folder(&self, number: usize) -> PathBuf {
        self.folder.path().join(number.to_string())
    }

    /// What the node has said since it was last started.
    pub(crate) fn log(&self, number: usize) -> String {
        fs::read_to_string(self.folder(number).join("log")).expect("a log")
    }

    /// Where a node speaks MQTT.
    pub(crate) fn mqtt(&self, number: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.all[number].ports[0]))
    }

    pub(crate) fn start(&mut self, number: usize, binary: &Path, arguments: &[String]) {
        let log = fs::File::create(self.folder(number).join("log")).expect("a file");
        let mut program = Command::new(binary);
        let program = program.args(arguments).stdout(Stdio::null()).stderr(log);
        self.all[number].program = Some(program.spawn().expect("it starts"));
    }

    pub(crate) fn kill(&mut self, number: usize) {
        let mut program = self.all[number].program.take().expect("it runs");
        program.kill().expect("it is killed");
        program.wait().expect("it has ended");
    }

    /// The same, if it runs.
    pub(crate) fn end(&mut self, number: usize) {
        if let Some(mut program) = self.all[number].program.take() {
            let _killed = program.kill();
            let _ended = program.wait();
        }
    }

    /// Whether the program has ended by itself.
    pub(crate) fn has_ended(&mut self, number: usize) -> bool {
        let program = self.all[number].program.as_mut().expect("it was started");
        program.try_wait().expect("it is a child").is_some()
    }

    /// Whether it takes what is published.
    pub(crate) fn takes(&self, number: usize) -> Option<()> {
        Publisher::reach(self.mqtt(number))?.leave("ready", b"")
    }

    /// It takes what is published.
    pub(crate) fn wait(&self, number: usize) {
        until("a node takes what is published", || self.takes(number));
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        (0..self.count()).for_each(|number| self.end(number));
        // A test has failed: what its nodes said last.
        if std::thread::panicking() {
            for number in 0..self.count() {
                let log = self.log(number);
                let lines = log.lines().count();
                eprintln!("node {number} said:");
                log.lines()
                    .skip(lines.saturating_sub(LINES_SHOWN))
                    .for_each(|line| eprintln!("{line}"));
            }
        }
    }
}
