//! A TCP relay: it passes bytes on, counts them, and cuts or holds them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Bytes passed on, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// From those who connect to the relay.
    pub up: u64,
    /// To them.
    pub down: u64,
    /// Connections so far.
    pub connections: u64,
}

/// A relay in front of one address. Dropped, it ends every connection.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Mutex<State>>,
    acceptor: Option<JoinHandle<()>>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From those who connect to the relay.
    Up,
    /// To them.
    Down,
}

/// What happens when certain bytes come by: nothing after them is passed on.
#[derive(Clone, Debug)]
struct Trap {
    way: Way,
    bytes: Vec<u8>,
    /// How often to cut; `None`: to hold.
    cuts: Option<u64>,
}

#[derive(Debug)]
struct State {
    to: SocketAddr,
    passed: Passed,
    /// The count of bytes down at which to cut, once.
    cut_at: Option<u64>,
    cuts: u64,
    trap: Option<Trap>,
    held: bool,
    refuses: bool,
    ends: bool,
    /// Both ends of every connection.
    connections: Vec<[TcpStream; 2]>,
    pumps: Vec<JoinHandle<()>>,
}

impl Relay {
    /// A relay to this address, on a free port of this machine.
    ///
    /// # Panics
    /// When there is none.
    pub fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(State {
            to,
            passed: Passed::default(),
            cut_at: None,
            cuts: 0,
            trap: None,
            held: false,
            refuses: false,
            ends: false,
            connections: Vec::new(),
            pumps: Vec::new(),
        }));
        let of_thread = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &of_thread));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where to connect to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes passed on so far.
    pub fn passed(&self) -> Passed {
        lock(&self.shared).passed
    }

    /// Cuts made so far.
    pub fn cuts(&self) -> u64 {
        lock(&self.shared).cuts
    }

    /// Cuts every connection, in the middle of what it carries.
    pub fn cut(&self) {
        let mut state = lock(&self.shared);
        state.cut();
    }

    /// Cuts every connection when this many more bytes went down.
    pub fn cut_after(&self, down_bytes: u64) {
        let mut state = lock(&self.shared);
        state.cut_at = Some(state.passed.down + down_bytes);
    }

    /// Cuts every connection as often as these bytes go by, so many times.
    pub fn cut_at(&self, way: Way, bytes: &[u8], times: u64) {
        lock(&self.shared).trap = Some(Trap { way, bytes: bytes.to_vec(), cuts: Some(times) });
    }

    /// Passes nothing on any more, either way, once these bytes go by.
    pub fn hold_at(&self, way: Way, bytes: &[u8]) {
        lock(&self.shared).trap = Some(Trap { way, bytes: bytes.to_vec(), cuts: None });
    }

    /// Whether it passes nothing on.
    pub fn holds(&self) -> bool {
        lock(&self.shared).held
    }

    /// Ends every connection, and passes on again what comes on others.
    pub fn release(&self) {
        self.cut();
        lock(&self.shared).held = false;
    }

    /// Whether new connections are closed at once: an outage.
    pub fn refuse(&self, refuses: bool) {
        lock(&self.shared).refuses = refuses;
    }

    /// Ends when its connections have, with what they carried passed on; the counts.
    ///
    /// # Panics
    /// When a thread of its panicked.
    pub fn finish(self) -> Passed {
        loop {
            let Some(pump) = lock(&self.shared).pumps.pop() else { break };
            pump.join().expect("no pump panics");
        }
        self.passed()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        lock(&self.shared).ends = true;
        self.cut();
        // The acceptor looks again when somebody connects.
        let _woken = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ended = acceptor.join();
        }
    }
}

impl State {
    fn cut(&mut self) {
        self.cut_at = None;
        if !self.connections.is_empty() {
            self.cuts += 1;
        }
        for socket in self.connections.drain(..).flatten() {
            let _cut = socket.shutdown(Shutdown::Both);
        }
    }

    /// How many of these bytes go this way before a cut, and whether one is due after them.
    fn pass(&mut self, way: Way, bytes: &[u8]) -> (usize, bool) {
        let (mut passed, mut cuts) = self.trapped(way, bytes);
        match way {
            Way::Up => self.passed.up += passed as u64,
            Way::Down => {
                if let Some(at) = self.cut_at {
                    let left = at.saturating_sub(self.passed.down);
                    passed = passed.min(usize::try_from(left).unwrap_or(passed));
                }
                self.passed.down += passed as u64;
                cuts |= self.cut_at.is_some_and(|at| self.passed.down >= at);
            }
        }
        (passed, cuts)
    }

    /// How many of these bytes go by the trap, and whether it cuts after them.
    fn trapped(&mut self, way: Way, bytes: &[u8]) -> (usize, bool) {
        let Some(trap) = self.trap.as_mut().filter(|trap| trap.way == way) else {
            return (bytes.len(), false);
        };
        let length = trap.bytes.len();
        let Some(at) = bytes.windows(length).position(|window| window == trap.bytes) else {
            return (bytes.len(), false);
        };
        let cuts = trap.cuts.is_some();
        let left = trap.cuts.map_or(0, |cuts| cuts.saturating_sub(1));
        trap.cuts = trap.cuts.map(|_before| left);
        if left == 0 {
            self.trap = None;
        }
        self.held |= !cuts;
        (at + length, cuts)
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Mutex<State>>) {
    for client in listener.incoming().map_while(Result::ok) {
        let to = {
            let state = lock(shared);
            if state.ends {
                return;
            }
            (!state.refuses).then_some(state.to)
        };
        // Who is refused, or whose way is gone, sees a closed connection.
        let Some(server) = to.and_then(|to| TcpStream::connect(to).ok()) else { continue };
        if let Ok(pumps) = connect(client, server, shared) {
            lock(shared).pumps.extend(pumps);
        }
    }
}

/// Two threads, one a direction.
fn connect(
    client: TcpStream,
    server: TcpStream,
    shared: &Arc<Mutex<State>>,
) -> io::Result<[JoinHandle<()>; 2]> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ends = [client.try_clone()?, server.try_clone()?];
    {
        let mut state = lock(shared);
        state.passed.connections += 1;
        state.connections.push(ends);
    }
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let (of_up, of_down) = (Arc::clone(shared), Arc::clone(shared));
    let up = move |bytes: &[u8]| lock(&of_up).pass(Way::Up, bytes);
    let down = move |bytes: &[u8]| lock(&of_down).pass(Way::Down, bytes);
    let (cut_up, cut_down) = (Arc::clone(shared), Arc::clone(shared));
    let holds = |shared: &Arc<Mutex<State>>| {
        let shared = Arc::clone(shared);
        move || lock(&shared).held
    };
    let (holds_up, holds_down) = (holds(shared), holds(shared));
    Ok([
        thread::spawn(move || pump(from, to, up, || lock(&cut_up).cut(), holds_up)),
        thread::spawn(move || pump(server, client, down, || lock(&cut_down).cut(), holds_down)),
    ])
}

/// Passes bytes on until one end closes; then closes the other.
fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    pass: impl Fn(&[u8]) -> (usize, bool),
    cut: impl Fn(),
    holds: impl Fn() -> bool,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(bytes) = from.read(&mut buffer)
        && bytes > 0
    {
        if holds() {
            // What comes from now on is lost: a connection that is held is never gone on with.
            continue;
        }
        let read = buffer.get(..bytes).unwrap_or_default();
        let (passed, cuts) = pass(read);
        let whole = read.get(..passed).is_some_and(|bytes| to.write_all(bytes).is_ok());
        if cuts {
            cut();
        }
        if cuts || !whole {
            break;
        }
    }
    let _closed = to.shutdown(Shutdown::Write);
}
