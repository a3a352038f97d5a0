//! Brokers to test against: the embedded one always, Mosquitto where it is installed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use shoal_broker::{Broker, Settings};
use tempfile::TempDir;

use crate::clock::until;
use crate::nodes::free_ports;

/// A broker to test against.
pub trait TestBroker {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// Lets what it retains outlive a restart. What it retained before may be lost.
    fn keep(&mut self);

    /// Ends it and starts it anew, at the same address.
    fn restart(&mut self);

    /// `authority.pem`, `certificate.pem` and `key.pem` of the client of this name: of a broker that lets nobody in without.
    fn certificates(&self, _client: &str) -> Option<PathBuf> {
        None
    }

    /// What TLS adds to one connection that carries a MiB, at most, each way.
    fn tls_bytes(&self) -> u64 {
        0
    }

    /// Whether it speaks MQTT 5; 3.1.1 they all do.
    fn speaks_mqtt_5(&self) -> bool {
        true
    }

    /// Whether a link of MQTT 5 that takes no such long message is spared it, as the standard asks. One that is not loses its connection.
    fn holds_back_what_is_too_long(&self) -> bool {
        true
    }
}

/// The embedded broker.
#[derive(Debug)]
pub struct Embedded {
    broker: Option<Broker>,
    address: SocketAddr,
    store: Option<TempDir>,
}

impl Embedded {
    /// Starts it; it retains in memory.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let broker = Broker::start(Settings::local()).expect("the embedded broker starts");
        Self { address: broker.address(), broker: Some(broker), store: None }
    }
}

impl TestBroker for Embedded {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn keep(&mut self) {
        self.store = Some(TempDir::new().expect("a folder"));
        self.restart();
    }

    fn restart(&mut self) {
        self.broker.take().expect("it runs").stop();
        let store = self.store.as_ref().map(|store| store.path().to_owned());
        let settings = Settings { listen: self.address, store, ..Settings::local() };
        // For a moment, somebody's outgoing connection may have its port.
        self.broker = Some(until("the embedded broker starts again", || {
            Broker::start(settings.clone()).ok()
        }));
    }
}

/// Mosquitto, as a program.
#[derive(Debug)]
pub struct Mosquitto {
    binary: PathBuf,
    program: Option<Child>,
    address: SocketAddr,
    folder: TempDir,
    options: String,
}

impl Mosquitto {
    /// Starts it, if it is installed. Says aloud when it is not; with `SHOAL_REQUIRE_MOSQUITTO=1` that fails.
    ///
    /// `options` are lines of its configuration, for its one listener.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn start(options: &str) -> Option<Self> {
        let binary = installed("mosquitto", "-h", "SHOAL_REQUIRE_MOSQUITTO")?;
        let folder = TempDir::new().expect("a folder");
        // Mosquitto does not say which one it took, so it cannot be asked for any.
        let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
        let options = options.to_owned();
        let mut mosquitto = Self { binary, program: None, address, folder, options };
        mosquitto.run();
        Some(mosquitto)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn run(&mut self) {
        let folder = self.folder.path();
        let (port, options) = (self.address.port(), &self.options);
        let user = if is_root() { "user root\n" } else { "" };
        let configuration = format!(
            "{user}per_listener_settings false\nallow_anonymous true\npersistence true\n\
             persistence_location {}/\nset_tcp_nodelay true\nmax_queued_messages 100000\n\
             log_dest stderr\nlog_type all\n\
             listener {port} 127.0.0.1\n{options}\n",
            folder.display(),
        );
        let file = folder.join("mosquitto.conf");
        fs::write(&file, configuration).expect("a file");
        let mut program = Command::new(&self.binary)
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto starts");
        let log = BufReader::new(program.stderr.take().expect("its log"));
        let mut lines = log.lines().map_while(Result::ok);
        let mut seen = Vec::new();
        let running = lines.by_ref().any(|line| {
            let running = line.contains("mosquitto version") && line.contains("running");
            seen.push(line);
            running
        });
        assert!(running, "mosquitto runs: {seen:?}");
        // Read on, or it stops when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        self.program = Some(program);
    }

    /// Asks it to end, so that it stores what it retains.
    fn end(&mut self) {
        let Some(mut program) = self.program.take() else { return };
        let id = program.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _killed = program.kill();
        }
        let _ended = program.wait();
    }
}

impl TestBroker for Mosquitto {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn keep(&mut self) {}

    fn restart(&mut self) {
        self.end();
        self.run();
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.end();
    }
}

/// A program that answers this question; Debian keeps brokers where only root's PATH looks. `None`, said aloud: it is not
/// installed.
///
/// # Panics
/// When it is not, and `require` names a variable that is 1.
pub fn installed(name: &str, question: &str, require: &str) -> Option<PathBuf> {
    let sbin = Path::new("/usr/sbin").join(name);
    let program = if sbin.is_file() { sbin } else { name.into() };
    let mut ask = Command::new(&program);
    if ask.arg(question).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
        return Some(program);
    }
    let set = std::env::var_os(require).is_some_and(|value| value == "1");
    assert!(!set, "no program {name}, and {require}=1");
    skip(&format!("no program {name}"));
    None
}

/// Says that this test does nothing, past the capture of the harness: a skipped test must be seen.
pub(crate) fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
}

/// Whether who runs this may change to another user: then mosquitto would, and not read its folder.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| {
        use std::os::unix::fs::MetadataExt;
        process.uid() == 0
    })
}
