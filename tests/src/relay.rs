//! A TCP relay: it passes bytes on, counts them, and cuts.

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

#[derive(Debug)]
struct State {
    to: SocketAddr,
    passed: Passed,
    /// The count of bytes down at which to cut, once.
    cut_at: Option<u64>,
    cuts: u64,
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

    /// Whether new connections are closed at once: an outage.
    pub fn refuse(&self, refuses: bool) {
        lock(&self.shared).refuses = refuses;
    }

    /// Sends new connections elsewhere.
    pub fn redirect(&self, to: SocketAddr) {
        lock(&self.shared).to = to;
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

    /// How many of these bytes go down before a cut, and whether one is due after them.
    fn pass_down(&mut self, bytes: usize) -> (usize, bool) {
        let left = self.cut_at.map(|at| at.saturating_sub(self.passed.down));
        let passed = left.map_or(bytes, |left| bytes.min(usize::try_from(left).unwrap_or(bytes)));
        self.passed.down += passed as u64;
        (passed, self.cut_at.is_some_and(|at| self.passed.down >= at))
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
    let (of_up, of_down) = (Arc::clone(shared), Arc::clone(shared));
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let up = move |bytes: usize| {
        lock(&of_up).passed.up += bytes as u64;
        (bytes, false)
    };
    let down = move |bytes: usize| lock(&of_down).pass_down(bytes);
    let of_cut = Arc::clone(shared);
    let cut = move || lock(&of_cut).cut();
    Ok([
        thread::spawn(move || pump(from, to, up, || ())),
        thread::spawn(move || pump(server, client, down, cut)),
    ])
}

/// Passes bytes on until one end closes; then closes the other.
fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    pass: impl Fn(usize) -> (usize, bool),
    cut: impl Fn(),
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(bytes) = from.read(&mut buffer)
        && bytes > 0
    {
        let (passed, cuts) = pass(bytes);
        let whole = buffer.get(..passed).is_some_and(|bytes| to.write_all(bytes).is_ok());
        if cuts {
            cut();
        }
        if cuts || !whole {
            break;
        }
    }
    let _closed = to.shutdown(Shutdown::Write);
}
