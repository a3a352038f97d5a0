//! The network between namespaces: each has one TUN device, and every packet goes by way of here. What becomes of it, the
//! weather of the two lines says, which it crosses: it is dropped, doubled, held up, or comes late behind others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use shoal_shadow::chance::{Draws, Purpose};
use shoal_tests::clock::Stopwatch;

use crate::tun;

/// What an interface takes at once, in bytes.
const MTU: usize = 1400;
/// What waits longer than this behind other packets is dropped, as a router with a full queue does.
const QUEUE_MAX: Duration = Duration::from_secs(3);

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Way {
    /// From a node.
    Up,
    /// To it.
    Down,
}

/// What a line does to packets of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Weather {
    /// Nothing crosses.
    pub(crate) cut: bool,
    /// The chance that a packet is dropped.
    pub(crate) loss: f32,
    /// The chance that it comes twice.
    pub(crate) doubles: f32,
    /// How late it comes.
    pub(crate) delay_ms: u32,
    /// How much later at most: then it may come behind others.
    pub(crate) jitter_ms: u32,
    /// How much crosses in a second; 0: all.
    pub(crate) bytes_a_second: u32,
}

/// What became of packets, both ways.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) dropped: u64,
    pub(crate) doubled: u64,
    pub(crate) delayed: u64,
    /// The longest that one was held up.
    pub(crate) longest_ms: u64,
}

/// What a node has sent on one TCP connection, as its sequence numbers say: what is sent again counts once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    /// When it was begun, since the network began.
    pub(crate) at: Duration,
    port: u16,
    first: u32,
    /// Bytes from its beginning.
    pub(crate) bytes: u32,
}

/// The network.
pub(crate) struct Shaper(Arc<Shared>);

struct Shared {
    clock: Stopwatch,
    nodes: Vec<Node>,
    waiting: Mutex<BinaryHeap<Reverse<Waiting>>>,
    comes: Condvar,
}

struct Node {
    tun: File,
    line: Mutex<Line>,
}

struct Line {
    up: Weather,
    down: Weather,
    /// When the last packet of a line with a rate is through.
    free_at: [Duration; 2],
    counts: Counts,
    flows: Vec<Flow>,
    draws: Draws,
    trap: Option<Trap>,
}

/// Who waits for these bytes to come by.
struct Trap {
    way: Way,
    bytes: Vec<u8>,
    /// Whether nothing crosses from then on.
    holds: bool,
    seen: Sender<()>,
}

/// A packet that comes later.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    at: Duration,
    to: usize,
    packet: Vec<u8>,
}

/// The address of a node, below 10.77.0.0/24.
pub(crate) fn address(node: usize) -> String {
    format!("10.77.0.{}", node + 1)
}

impl Shaper {
    /// A namespace with a line for each of these names; of the last, the one that this process is in.
    ///
    /// # Errors
    /// What this machine does not have, or who runs this may not do.
    pub(crate) fn between(names: &[String], seed: u64) -> Result<Self, String> {
        let mut nodes = Vec::new();
        for (node, name) in names.iter().enumerate() {
            let tun = tun::open(name).map_err(|error| format!("no TUN device: {error}"))?;
            let own = node + 1 == names.len();
            let here: &[&str] = if own { &[] } else { &["-n", name] };
            if !own {
                ip(&["netns", "add", name])?;
                ip(&["link", "set", name, "netns", name])?;
            }
            let mtu = MTU.to_string();
            ip(&[here, &["link", "set", "lo", "up"]].concat())?;
            let place = format!("{}/24", address(node));
            ip(&[here, &["address", "add", &place, "dev", name]].concat())?;
            ip(&[here, &["link", "set", name, "mtu", &mtu, "up"]].concat())?;
            let line = Line {
                up: Weather::default(),
                down: Weather::default(),
                free_at: [Duration::ZERO; 2],
                counts: Counts::default(),
                flows: Vec::new(),
                draws: Draws::new(Purpose::World, seed, 77, node as u64),
                trap: None,
            };
            nodes.push(Node { tun, line: Mutex::new(line) });
        }
        let shared = Arc::new(Shared {
            clock: Stopwatch::start(),
            nodes,
            waiting: Mutex::new(BinaryHeap::new()),
            comes: Condvar::new(),
        });
        for node in 0..names.len() {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.reads(node));
        }
        let late = Arc::clone(&shared);
        thread::spawn(move || late.delivers());
        Ok(Self(shared))
    }

    /// From now on the line of a node is like this, each way.
    pub(crate) fn set(&self, node: usize, up: Weather, down: Weather) {
        let mut line = self.line(node);
        (line.up, line.down, line.counts.longest_ms) = (up, down, 0);
    }

    /// What became of packets of a node so far.
    pub(crate) fn counts(&self, node: usize) -> Counts {
        self.line(node).counts
    }

    /// What a node has sent on each connection so far.
    pub(crate) fn flows(&self, node: usize) -> Vec<Flow> {
        self.line(node).flows.clone()
    }

    /// Tells when these bytes come by; with `holds`, nothing else crosses the line from then on. It forgets what was waited for before.
    pub(crate) fn watch(&self, node: usize, way: Way, bytes: &str, holds: bool) -> Receiver<()> {
        let (seen, told) = channel();
        self.line(node).trap = Some(Trap { way, bytes: bytes.as_bytes().to_vec(), holds, seen });
        told
    }

    /// Waits for nothing any more.
    pub(crate) fn forget(&self, node: usize) {
        self.line(node).trap = None;
    }

    fn line(&self, node: usize) -> MutexGuard<'_, Line> {
        lock(&self.0.nodes[node].line)
    }
}

impl Shared {
    /// All that a node sends.
    fn reads(&self, node: usize) {
        let mut buffer = [0; MTU + 100];
        while let Ok(bytes) = (&self.nodes[node].tun).read(&mut buffer) {
            self.takes(node, &buffer[..bytes]);
        }
    }

    fn takes(&self, from: usize, packet: &[u8]) {
        // IPv4 alone, to a node.
        let [0x45..=0x4F, ..] = packet else { return };
        let Some(&[10, 77, 0, last]) = packet.get(16..20) else { return };
        let to = usize::from(last).wrapping_sub(1);
        if to >= self.nodes.len() {
            return;
        }
        let now = self.clock.elapsed();
        let Some(first) = lock(&self.nodes[from].line).crosses(Way::Up, packet, now) else {
            return;
        };
        for at in first.into_iter().flatten() {
            let second = lock(&self.nodes[to].line).crosses(Way::Down, packet, at);
            for at in second.into_iter().flatten().flatten() {
                if at <= now {
                    self.writes(to, packet);
                } else {
                    lock(&self.waiting).push(Reverse(Waiting { at, to, packet: packet.to_vec() }));
                    self.comes.notify_one();
                }
            }
        }
    }

    fn writes(&self, to: usize, packet: &[u8]) {
        // A node whose interface is gone receives nothing.
        let _written = (&self.nodes[to].tun).write(packet);
    }

    /// Hands on what has waited long enough.
    fn delivers(&self) {
        let mut waiting = lock(&self.waiting);
        loop {
            let now = self.clock.elapsed();
            let due = waiting.peek().map(|Reverse(first)| first.at.saturating_sub(now));
            match due {
                Some(Duration::ZERO) => {
                    let first = waiting.pop();
                    drop(waiting);
                    if let Some(Reverse(Waiting { to, packet, .. })) = first {
                        self.writes(to, &packet);
                    }
                    waiting = lock(&self.waiting);
                }
                due => {
                    let due = due.unwrap_or(QUEUE_MAX);
                    let woken = self.comes.wait_timeout(waiting, due);
                    waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

impl Line {
    /// When a packet that comes now is through, once or twice; `None`: it is dropped.
    fn crosses(&mut self, way: Way, packet: &[u8], now: Duration) -> Option<[Option<Duration>; 2]> {
        let segment = Segment::of(packet);
        if let Some(segment) = segment.filter(|_| way == Way::Up) {
            self.counts_bytes(&segment, now);
        }
        let sprung = segment.is_some_and(|segment| self.springs(way, segment.payload));
        let (weather, free_at) = match way {
            Way::Up => (self.up, &mut self.free_at[0]),
            Way::Down => (self.down, &mut self.free_at[1]),
        };
        let mut at = now + Duration::from_millis(weather.delay_ms.into());
        if let Some(nanos) =
            (packet.len() as u64 * 1_000_000_000).checked_div(weather.bytes_a_second.into())
        {
            *free_at = (*free_at).max(now) + Duration::from_nanos(nanos);
            at += free_at.saturating_sub(now);
        }
        at += Duration::from_millis(self.draws.index(weather.jitter_ms as usize + 1) as u64);
        // What set off a trap still crosses: who cuts there cuts in the middle.
        let cut = weather.cut && !sprung;
        if cut || self.draws.happens(weather.loss) || *free_at > now + QUEUE_MAX {
            self.counts.dropped += 1;
            return None;
        }
        self.counts.passed += 1;
        let held_up = at.saturating_sub(now).as_millis() as u64;
        self.counts.delayed += u64::from(held_up > 0);
        self.counts.longest_ms = self.counts.longest_ms.max(held_up);
        let again = self.draws.happens(weather.doubles);
        self.counts.doubled += u64::from(again);
        Some([Some(at), again.then_some(at)])
    }

    /// Whether somebody waits for this.
    fn springs(&mut self, way: Way, payload: &[u8]) -> bool {
        let Some(trap) = self.trap.as_ref().filter(|trap| trap.way == way) else { return false };
        let length = trap.bytes.len();
        if !payload.windows(length).any(|window| window == trap.bytes) {
            return false;
        }
        let _who_waited_is_gone = trap.seen.send(());
        if trap.holds {
            (self.up.cut, self.down.cut) = (true, true);
        }
        self.trap = None;
        true
    }

    fn counts_bytes(&mut self, segment: &Segment<'_>, at: Duration) {
        let Segment { port, sequence, begins, payload } = *segment;
        if begins {
            let again = self
                .flows
                .last()
                .is_some_and(|flow| (flow.port, flow.first) == (port, sequence.wrapping_add(1)));
            if !again {
                self.flows.push(Flow { at, port, first: sequence.wrapping_add(1), bytes: 0 });
            }
            return;
        }
        let flow = self.flows.iter_mut().rev().find(|flow| flow.port == port);
        if let Some(flow) = flow.filter(|_| !payload.is_empty()) {
            let end = sequence.wrapping_sub(flow.first).wrapping_add(payload.len() as u32);
            // What is far off is of an older connection.
            if end < 1 << 30 {
                flow.bytes = flow.bytes.max(end);
            }
        }
    }
}

/// A segment of TCP (RFC 9293, section 3.1).
#[derive(Clone, Copy)]
struct Segment<'a> {
    /// Of who sends it.
    port: u16,
    sequence: u32,
    /// It asks for a connection.
    begins: bool,
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    fn of(packet: &'a [u8]) -> Option<Self> {
        let head = usize::from(packet.first()? & 15) * 4;
        if *packet.get(9)? != 6 {
            return None;
        }
        let tcp = packet.get(head..)?;
        let &[high, low, _, _, a, b, c, d] = tcp.first_chunk::<8>()?;
        let data = usize::from(tcp.get(12)? >> 4) * 4;
        // SYN without ACK.
        let begins = tcp.get(13)? & 0x12 == 0x02;
        Some(Segment {
            port: u16::from_be_bytes([high, low]),
            sequence: u32::from_be_bytes([a, b, c, d]),
            begins,
            payload: tcp.get(data..)?,
        })
    }
}

/// Runs `ip`.
fn ip(args: &[&str]) -> Result<(), String> {
    let done = Command::new("ip").args(args).output();
    let done = done.map_err(|error| format!("no program ip: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(()) } else { Err(format!("ip {}: {said}", args.join(" "))) }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
