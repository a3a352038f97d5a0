//! A broker of one node or more. Each node has clients of its own; what is published at one comes to the others on its way, or when
//! they can talk again. While a node is away its clients are at the next one, and their sessions with them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use shoal_link::Version;
use shoal_wire::{KeyId, Leaf, Topic};

use crate::board::{Board, Conn, Lost, Manners};

/// The broker.
pub struct Cluster {
    nodes: Vec<Board>,
    /// Where each connection is.
    conns: BTreeMap<Conn, usize>,
    /// How much of what each node published is on its way to the others.
    crossed: Vec<usize>,
    parted: bool,
    /// Nodes that are away.
    away: BTreeSet<usize>,
    /// What came to them since.
    missed: Vec<Crossing>,
    /// Where each vehicle connected last.
    at: BTreeMap<usize, usize>,
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
    pub fn new(seed: u64, nodes: usize, version: Version, manners: Manners) -> Self {
        let node = |number: usize| Board::new(seed.wrapping_add(number as u64), version, manners);
        Cluster {
            nodes: (0..nodes).map(node).collect(),
            conns: BTreeMap::new(),
            crossed: vec![0; nodes],
            parted: false,
            away: BTreeSet::new(),
            missed: Vec::new(),
            at: BTreeMap::new(),
        }
    }

    /// The nodes.
    pub fn nodes(&mut self) -> &mut [Board] {
        &mut self.nodes
    }

    /// Of whom nodes lost a header or a chunk that nobody has left there since: it looks as if he had claimed what he does not serve.
    #[must_use]
    pub fn lost_of(&self) -> BTreeSet<KeyId> {
        let lost = self.nodes.iter().flat_map(Board::lost).filter(|lost| !lost.mended);
        let places = lost.filter_map(|lost| Topic::decode(&lost.topic).ok());
        let fetched =
            places.filter(|one| matches!(one.leaf(), Leaf::Chunk { .. } | Leaf::Particle { .. }));
        fetched.map(|place| place.publisher()).collect()
    }

    /// What nodes lost that others fetch or count, and whose it is.
    pub fn lost(&self) -> impl Iterator<Item = (KeyId, &Lost)> {
        self.nodes.iter().flat_map(Board::lost).filter_map(|lost| {
            let place = Topic::decode(&lost.topic).ok()?;
            let merges = matches!(
                place.leaf(),
                Leaf::Chunk { .. } | Leaf::Particle { .. } | Leaf::Claim { .. } | Leaf::Vote { .. }
            );
            merges.then(|| (place.publisher(), lost))
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The node where this vehicle is, or was last.
    #[must_use]
    pub fn node_of(&self, vehicle: usize) -> usize {
        self.at.get(&vehicle).copied().unwrap_or(vehicle % self.nodes.len())
    }

    /// The node of a connection.
    #[must_use]
    pub fn node_at(&self, conn: Conn) -> Option<usize> {
        self.conns.get(&conn).copied()
    }

    /// The node where this vehicle connects next: its own, or the next one that is there.
    #[must_use]
    pub fn next_of(&self, vehicle: usize) -> usize {
        let nodes = self.nodes.len();
        let mut all = (vehicle..vehicle + nodes).map(|node| node % nodes);
        all.find(|node| !self.is_away(*node)).unwrap_or(vehicle % nodes)
    }

    /// Whether a node is away.
    #[must_use]
    pub fn is_away(&self, node: usize) -> bool {
        self.away.contains(&node)
    }

    /// A node is killed, and stays away.
    pub fn goes_away(&mut self, node: usize, keeps_sessions: bool, now_ms: u64) {
        self.away.insert(node);
        self.nodes[node].end(keeps_sessions, now_ms);
    }

    /// It is there again, and hears what was said since. Names of connections that have something to say.
    pub fn comes_back(&mut self, node: usize, now_ms: u64) -> Vec<Conn> {
        self.away.remove(&node);
        self.nodes[node].begin(now_ms);
        let missed = self.missed.extract_if(.., |crossing| crossing.to == node);
        let missed: Vec<Crossing> = missed.collect();
        missed.into_iter().flat_map(|crossing| self.mirror(crossing)).collect()
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
    pub fn mirror(&mut self, crossing: Crossing) -> Vec<Conn> {
        if self.is_away(crossing.to) {
            self.missed.push(crossing);
            return Vec::new();
        }
        self.nodes[crossing.to].mirror(&crossing.topic, crossing.bytes)
    }

    /// A socket of this vehicle was accepted by its node, or by the next one that is there.
    pub fn accept(&mut self, vehicle: usize, conn: Conn) {
        let node = self.next_of(vehicle);
        self.at.insert(vehicle, node);
        self.conns.insert(conn, node);
        self.nodes[node].accept(conn);
    }

    /// Bytes came. Names of connections that have something to say now.
    pub fn receive(&mut self, conn: Conn, bytes: &[u8], now_ms: u64) -> Vec<Conn> {
        let Some(node) = self.conns.get(&conn).copied() else { return Vec::new() };
        if self.is_away(node) {
            return Vec::new();
        }
        let before = self.nodes[node].published_since(0).len();
        let spoken = self.nodes[node].receive(conn, bytes, now_ms);
        let joined = self.nodes[node].take_joined();
        let here = self.nodes[node].published_since(before);
        let topics: Vec<String> = here.iter().map(|(topic, _bytes)| topic.clone()).collect();
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            joined.iter().for_each(|client| self.nodes[other].forget(client));
            topics.iter().for_each(|topic| self.nodes[other].mend(topic));
        }
        spoken
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
