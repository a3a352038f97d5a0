//! A broker of one node or two. Each node has clients of its own; what is published at one comes to the other on its way, or when
//! they can talk again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use shoal_wire::KeyId;

use crate::board::{Board, Conn, Manners};

/// The broker.
pub struct Cluster {
    nodes: Vec<Board>,
    /// Where each connection is.
    conns: BTreeMap<Conn, usize>,
    /// How much of what each node published is on its way to the others.
    crossed: Vec<usize>,
    parted: bool,
}

/// Something that goes from one node to another.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// To this one.
    pub to: usize,
    /// What is left there.
    pub topic: String,
    /// What is left there.
    pub bytes: Bytes,
}

impl Cluster {
    /// So many nodes of a seed.
    #[must_use]
    pub fn new(seed: u64, nodes: usize, manners: Manners) -> Self {
        let node = |number: usize| Board::new(seed.wrapping_add(number as u64), manners);
        Cluster {
            nodes: (0..nodes).map(node).collect(),
            conns: BTreeMap::new(),
            crossed: vec![0; nodes],
            parted: false,
        }
    }

    /// The nodes.
    pub fn nodes(&mut self) -> &mut [Board] {
        &mut self.nodes
    }

    /// Of whom a node lost something that others fetch.
    #[must_use]
    pub fn lost_of(&self) -> BTreeSet<KeyId> {
        self.nodes.iter().flat_map(|node| node.lost_of.iter().copied()).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The node that this vehicle knows.
    #[must_use]
    pub fn node_of(&self, vehicle: usize) -> usize {
        vehicle % self.nodes.len()
    }

    /// What this node published first, and what came to it of others not at all.
    #[must_use]
    pub fn published(&self, node: usize) -> &[(String, Bytes)] {
        self.nodes[node].published_since(0)
    }

    /// From now on the nodes talk, or not.
    pub fn part(&mut self, parted: bool) {
        self.parted = parted;
    }

    /// What goes on its way to another node now.
    pub fn crosses(&mut self) -> Vec<Crossing> {
        let mut crossing = Vec::new();
        if self.parted {
            return crossing;
        }
        let nodes = self.nodes.len();
        for (from, (node, crossed)) in self.nodes.iter().zip(&mut self.crossed).enumerate() {
            for (topic, bytes) in node.published_since(*crossed) {
                *crossed += 1;
                crossing.extend((0..nodes).filter(|to| *to != from).map(|to| Crossing {
                    to,
                    topic: topic.clone(),
                    bytes: bytes.clone(),
                }));
            }
        }
        crossing
    }

    /// It has come.
    pub fn mirror(&mut self, Crossing { to, topic, bytes }: Crossing) -> Vec<Conn> {
        self.nodes[to].mirror(&topic, bytes)
    }

    /// A socket of this vehicle was accepted by its node.
    pub fn accept(&mut self, vehicle: usize, conn: Conn) {
        let node = self.node_of(vehicle);
        self.conns.insert(conn, node);
        self.nodes[node].accept(conn);
    }

    /// Bytes came. Names of connections that have something to say now.
    pub fn receive(&mut self, conn: Conn, bytes: &[u8], now_ms: u64) -> Vec<Conn> {
        let Some(node) = self.conns.get(&conn) else { return Vec::new() };
        self.nodes[*node].receive(conn, bytes, now_ms)
    }

    /// What is said to a connection, and whether that ends then.
    pub fn say(&mut self, conn: Conn) -> (Vec<u8>, bool) {
        match self.conns.get(&conn) {
            Some(node) => self.nodes[*node].say(conn),
            None => (Vec::new(), true),
        }
    }

    /// A socket is gone.
    pub fn gone(&mut self, conn: Conn, now_ms: u64) {
        if let Some(node) = self.conns.remove(&conn) {
            self.nodes[node].gone(conn, now_ms);
        }
    }

    /// Leaves something at the first node.
    pub fn leave(&mut self, topic: &str, bytes: Bytes) -> Vec<Conn> {
        self.nodes[0].leave(topic, bytes)
    }

    /// What came late comes now. Names of connections that have something to say.
    pub fn release(&mut self) -> Vec<Conn> {
        self.nodes.iter_mut().flat_map(Board::release).collect()
    }
}
