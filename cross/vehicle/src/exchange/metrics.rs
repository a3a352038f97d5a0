//! What an operator watches of a vehicle: numbers in Prometheus' text on `/metrics`.
//!
//! The loop sets them, a thread of its own answers scrapes one after the other: it reads one bounded
//! request, answers `GET /metrics` and nothing else, and hangs up on who is slow. No number says what a
//! vehicle saw or where it was.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Metric, Registry, Unit};

/// Longest request that is read, bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// How long a scraper may be silent.
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// In how many pieces a request may come: with [`SILENCE_MAX`] a bound on its time.
const PIECES_MAX: usize = 8;
/// How long to wait when the system has no socket to give.
const PAUSE: Duration = Duration::from_millis(100);

/// A number that goes up and down, with fractions.
pub type Real = Gauge<f64, AtomicU64>;

/// Seconds that add up.
pub type Seconds = Counter<f64, AtomicU64>;

/// Both ways across the socket.
#[derive(Clone, Debug)]
pub struct UpDown<M> {
    /// Sent.
    pub up: M,
    /// Received.
    pub down: M,
    both: Family<WayLabel, M>,
}

impl<M: Clone + Default> Default for UpDown<M> {
    fn default() -> Self {
        let both = Family::<WayLabel, M>::default();
        let [up, down] =
            ["up", "down"].map(|direction| both.get_or_create_owned(&WayLabel { direction }));
        Self { up, down, both }
    }
}

/// Seconds of work, by what was done.
#[derive(Clone, Debug)]
pub struct StageSeconds {
    /// Tuning.
    pub tuning: Seconds,
    /// Measuring.
    pub measuring: Seconds,
    /// Coding and decoding particles.
    pub coding: Seconds,
    all: Family<StageLabel, Seconds>,
}

impl Default for StageSeconds {
    fn default() -> Self {
        let all = Family::<StageLabel, Seconds>::default();
        let [tuning, measuring, coding] = ["tuning", "measuring", "coding"]
            .map(|stage| all.get_or_create_owned(&StageLabel { stage }));
        Self { tuning, measuring, coding, all }
    }
}

/// What a vehicle counts. Every field is a handle: clones set the same number.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// The window it is in, or was in last.
    pub window: Gauge,
    /// Whether each phase is the window's: [`Metrics::phase`] sets them.
    phases: Family<PhaseLabel, Gauge>,
    /// Bytes that crossed the socket in this window.
    pub window_bytes: UpDown<Gauge>,
    /// Bytes granted to this window.
    pub granted_bytes: UpDown<Gauge>,
    /// Bytes that crossed the socket since the start of the program.
    pub bytes: UpDown<Counter>,
    /// Steps of tuning.
    pub tuning_steps: Counter,
    /// Seconds spent.
    pub seconds: StageSeconds,
    /// Measurements made.
    pub measurements: Counter,
    taken: Family<KindLabel, Counter>,
    rejected: Family<CodeLabel, Counter>,
    /// Particles fetched.
    pub particles_fetched: Counter,
    /// Times it moved to a particle.
    pub moved: Counter,
    /// Times it stayed with what it tuned.
    pub stayed: Counter,
    utility: Family<WhoseLabel, Real>,
    /// Until when what says which documents count is valid, UTC in seconds since 1970; 0: there is none.
    pub metadata_end: Gauge,
    /// Until when the certificate counts that it shows to brokers, UTC in seconds since 1970; 0: it shows none.
    pub certificate_end: Gauge,
    epsilon: Family<DeltaLabel, Real>,
    /// What waits to be signed: the token of the vehicle's key is gone.
    pub unsigned_records: Gauge,
    /// Times it did not contribute, because its privacy budget is spent.
    pub privacy_withheld: Counter,
    /// Frames that came on the road, and were remembered.
    pub frames: Counter,
    /// Those of them that were not looked at: the budget of time was spent.
    pub frames_shed: Counter,
    /// Spans in the replay store.
    pub replay_spans: Gauge,
    /// Bytes of the replay store.
    pub replay_bytes: Gauge,
    /// Spans that could not be stored.
    pub replay_lost: Counter,
    /// Spans that are lost: their file is missing, or not what was written.
    pub replay_unreadable: Counter,
    /// Times that the engine could not do what was asked of it.
    pub engine_failures: Counter,
    /// Records of this vehicle's key that it did not sign.
    pub foreign_records: Counter,
    /// How far the computer's clock is behind what was signed, seconds; 0: it is not.
    pub clock_behind: Gauge,
    /// 1 while the gateway does not answer; without one 0.
    pub gateway_silent: Gauge,
    connected: Gauge,
}

/// Where a vehicle is in its window, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseName {
    /// Nothing may be sent.
    Closed,
    /// It waits for its turn.
    Waiting,
    /// It exchanges.
    Open,
    /// It finishes.
    Closing,
}

impl PhaseName {
    const ALL: [Self; 4] = [Self::Closed, Self::Waiting, Self::Open, Self::Closing];

    const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Waiting => "waiting",
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }
}

impl From<&shoal_window::Phase> for PhaseName {
    fn from(phase: &shoal_window::Phase) -> Self {
        match phase {
            shoal_window::Phase::Closed { .. } => Self::Closed,
            shoal_window::Phase::Waiting { .. } => Self::Waiting,
            shoal_window::Phase::Open { .. } => Self::Open,
            shoal_window::Phase::Closing { .. } => Self::Closing,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WayLabel {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhoseLabel {
    particle: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeltaLabel {
    delta: String,
}

impl Metrics {
    /// The window is in this phase.
    pub fn phase(&self, phase: PhaseName) {
        for one in PhaseName::ALL {
            let gauge = self.phases.get_or_create(&PhaseLabel { phase: one.name() });
            gauge.set((one == phase).into());
        }
    }

    /// A record of this kind was taken in. `kind` is a fixed name, as in topics.
    pub fn taken(&self, kind: &'static str) {
        self.taken.get_or_create(&KindLabel { kind }).inc();
    }

    /// Something was rejected. `code` is a fixed name, as in `windows.jsonl`.
    pub fn rejected(&self, code: &'static str) {
        self.rejected.get_or_create(&CodeLabel { code }).inc();
    }

    /// Utility of best, as measured last.
    pub fn best_utility(&self, utility: f64) {
        self.utility.get_or_create(&WhoseLabel { particle: "best" }).set(utility);
    }

    /// Utility of the vehicle's own adapter, as measured last.
    pub fn own_utility(&self, utility: f64) {
        self.utility.get_or_create(&WhoseLabel { particle: "own" }).set(utility);
    }

    /// ε at this δ of all contributions so far. Of a vehicle whose contributions are not private there is none: it would not be 0.
    pub fn privacy_epsilon(&self, delta: f64, epsilon: f64) {
        self.epsilon.get_or_create(&DeltaLabel { delta: delta.to_string() }).set(epsilon);
    }

    /// A frame came on the road.
    pub fn frame(&self, shed: bool) {
        self.frames.inc();
        self.frames_shed.inc_by(shed.into());
    }

    /// Whether it is connected to a broker.
    pub fn connected(&self, connected: bool) {
        self.connected.set(connected.into());
    }

    /// All of it in Prometheus' text (OpenMetrics 1.0).
    #[must_use]
    pub fn text(&self) -> String {
        text(&self.registry())
    }

    /// Answers one request as the server does, whatever it comes by.
    ///
    /// # Errors
    /// When it cannot be read to its end, or not answered.
    pub fn answer(&self, line: impl Read + Write) -> io::Result<()> {
        answer(line, &self.registry())
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("shoal");
        self.register_window(&mut registry);
        self.register_work(&mut registry);
        registry.register_collector(Box::new(MemoryCollector));
        let software = Family::<Vec<(&str, &str)>, Gauge>::default();
        software.get_or_create(&vec![("software", crate::SOFTWARE)]).set(1);
        registry.register("build_info", "Which version of the program this is: 1", software);
        registry
    }

    fn register_window(&self, registry: &mut Registry) {
        registry.register("window", "Number of the OTA window", self.window.clone());
        registry.register("window_phase", "Phase of the window: 1", self.phases.clone());
        let (window, granted) = (self.window_bytes.both.clone(), self.granted_bytes.both.clone());
        bytes(registry, "window", "Bytes over the socket in this window", window);
        bytes(registry, "window_granted", "Bytes granted to this window", granted);
        bytes(registry, "socket", "Bytes over the socket", self.bytes.both.clone());
        registry.register("connected", "Whether a broker is connected", self.connected.clone());
    }

    fn register_work(&self, registry: &mut Registry) {
        registry.register("tuning_steps", "Steps of tuning", self.tuning_steps.clone());
        let seconds = self.seconds.all.clone();
        registry.register_with_unit("stage", "Time spent", Unit::Seconds, seconds);
        registry.register("measurements", "Measurements made", self.measurements.clone());
        registry.register("records_taken", "Records taken in", self.taken.clone());
        registry.register("records_rejected", "What was rejected", self.rejected.clone());
        let fetched = self.particles_fetched.clone();
        registry.register("particles_fetched", "Particles fetched", fetched);
        registry.register("moved", "Moves to a particle", self.moved.clone());
        registry.register("stayed", "Windows it stayed with what it tuned", self.stayed.clone());
        let help = "Utility, as this vehicle measured it last";
        registry.register("utility", help, self.utility.clone());
        let help = "Until when the metadata of documents are valid, UTC since 1970";
        let end = self.metadata_end.clone();
        registry.register_with_unit("metadata_end", help, Unit::Seconds, end);
        let help = "Until when the certificate counts that is shown to brokers, UTC since 1970";
        let end = self.certificate_end.clone();
        registry.register_with_unit("certificate_end", help, Unit::Seconds, end);
        let help = "What waits to be signed: the token of the vehicle's key is gone";
        registry.register("unsigned_records", help, self.unsigned_records.clone());
        let help = "Differential privacy of its contributions, all together";
        registry.register("privacy_epsilon", help, self.epsilon.clone());
        let help = "Contributions withheld: the privacy budget is spent";
        registry.register("privacy_withheld", help, self.privacy_withheld.clone());
        registry.register("frames", "Frames that came on the road", self.frames.clone());
        let help = "Frames without a look: engine.milliseconds_a_frame was spent";
        registry.register("frames_shed", help, self.frames_shed.clone());
        let spans = self.replay_spans.clone();
        registry.register("replay_spans", "Spans in the replay store", spans);
        bytes(registry, "replay", "Bytes of the replay store", self.replay_bytes.clone());
        let lost = self.replay_lost.clone();
        registry.register("replay_spans_lost", "Spans that could not be stored", lost);
        let unreadable = self.replay_unreadable.clone();
        let help = "Spans whose file is missing, or not what was written";
        registry.register("replay_spans_unreadable", help, unreadable);
        let help =
            "Times that tuning or measuring failed: its evaluation pack is damaged, or the engine";
        registry.register("engine_failures", help, self.engine_failures.clone());
        let help =
            "Records of this vehicle's key that it did not sign: another program has the key";
        registry.register("foreign_records", help, self.foreign_records.clone());
        let help = "How far the computer's clock is behind what was signed: it is not believed";
        let behind = self.clock_behind.clone();
        registry.register_with_unit("clock_behind", help, Unit::Seconds, behind);
        let help =
            "1 while the gateway that guards the window does not answer: nothing is exchanged";
        registry.register("gateway_silent", help, self.gateway_silent.clone());
    }
}

fn bytes(registry: &mut Registry, name: &'static str, help: &'static str, metric: impl Metric) {
    registry.register_with_unit(name, help, Unit::Bytes, metric);
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).expect("a string takes all that is written");
    text
}

/// What this process occupies, as far as the system says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Its share of memory at the moment: proportional set size, bytes.
    pub pss_bytes: Option<u64>,
    /// The most it ever occupied: resident set size, bytes.
    pub peak_bytes: Option<u64>,
}

impl Memory {
    /// Of this process, at the moment. `None` where the system does not say: anywhere but on Linux.
    #[must_use]
    pub fn read() -> Self {
        Self { pss_bytes: field("/proc/self/smaps_rollup", "Pss:"), peak_bytes: Self::peak_bytes() }
    }

    /// The most that this process ever occupied; the system walks no page tables to say that.
    #[must_use]
    pub fn peak_bytes() -> Option<u64> {
        field("/proc/self/status", "VmHWM:")
    }
}

fn field(file: &str, name: &str) -> Option<u64> {
    kibibytes(&std::fs::read_to_string(file).ok()?, name)
}

/// The bytes in a line such as `Pss:  1234 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Reads memory when it is asked for.
#[derive(Debug)]
struct MemoryCollector;

impl Collector for MemoryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let memory = Memory::read();
        for (name, help, bytes) in [
            ("memory", "Memory of the process, its share of shared pages", memory.pss_bytes),
            ("memory_peak", "The most memory it was resident with", memory.peak_bytes),
        ] {
            let Some(bytes) = bytes.and_then(|bytes| i64::try_from(bytes).ok()) else { continue };
            let gauge = ConstGauge::new(bytes);
            let kind = gauge.metric_type();
            let encoder = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), kind)?;
            gauge.encode(encoder)?;
        }
        Ok(())
    }
}

/// Why metrics cannot be served.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address} for metrics: name another address")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("no thread for metrics")]
    Thread(#[source] io::Error),
}

/// Serves metrics until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Serves them on this address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn start(address: SocketAddr, metrics: &Metrics) -> Result<Self, ServeError> {
        let listen = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let registry = metrics.registry();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || serve(&listener, &registry, &stopped))
            .map_err(ServeError::Thread)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        // Wakes the thread; it looks at the flag before it answers.
        let woken = TcpStream::connect_timeout(&address, SILENCE_MAX).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // A panic of it was contained with it.
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, registry: &Registry, stop: &AtomicBool) {
    loop {
        let accepted = listener.accept();
        if stop.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            // One who hangs up early, or never ends, is no concern of ours.
            Ok((stream, _)) => drop(patient(stream).and_then(|line| answer(line, registry))),
            Err(_) => std::thread::park_timeout(PAUSE),
        }
    }
}

/// One who is silent for so long is not waited for.
fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

fn answer(mut stream: impl Read + Write, registry: &Registry) -> io::Result<()> {
    let mut request = Vec::new();
    let (status, body) = if read_request(&mut stream, &mut request)? {
        match target(&request) {
            Some(("GET", "/metrics")) => ("200 OK", text(registry)),
            Some(("GET", _)) => ("404 Not Found", String::new()),
            Some(_) => ("405 Method Not Allowed", String::new()),
            None => ("400 Bad Request", String::new()),
        }
    } else {
        ("431 Request Header Fields Too Large", String::new())
    };
    let length = body.len();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// Reads to the empty line behind a request's head; false if it is too long, or comes too slowly.
fn read_request(stream: &mut impl Read, request: &mut Vec<u8>) -> io::Result<bool> {
    for _ in 0..PIECES_MAX {
        let room = REQUEST_BYTES_MAX - request.len();
        let mut piece = [0; 1024];
        let piece = piece.get_mut(..room.min(1024)).unwrap_or_default();
        let count = stream.read(piece)?;
        request.extend(piece.iter().take(count));
        if request.windows(4).any(|four| four == b"\r\n\r\n") {
            return Ok(true);
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(false)
}

/// Method and path of `GET /metrics HTTP/1.1`.
fn target(request: &[u8]) -> Option<(&str, &str)> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    let path = path.split('?').next()?;
    (version.starts_with("HTTP/1.") && words.next().is_none()).then_some((method, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(server: &MetricsServer, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        // Who is refused in the middle of his request may see the connection reset.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn server(metrics: &Metrics) -> MetricsServer {
        MetricsServer::start((Ipv4Addr::LOCALHOST, 0).into(), metrics).unwrap()
    }

    /// The value of a line, by name and labels.
    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in\n{text}")).parse().unwrap()
    }

    #[test]
    fn scrape_shows_what_was_set() {
        let metrics = Metrics::default();
        let server = server(&metrics);
        metrics.window.set(7);
        metrics.phase(PhaseName::Open);
        metrics.window_bytes.up.set(12);
        metrics.granted_bytes.down.set(4096);
        metrics.bytes.down.inc_by(99);
        metrics.tuning_steps.inc_by(20);
        metrics.seconds.measuring.inc_by(1.5);
        metrics.taken("claim");
        metrics.taken("claim");
        metrics.rejected("signature");
        metrics.best_utility(0.4321);
        metrics.own_utility(-0.5);
        metrics.connected(true);
        let answer = ask(&server, b"GET /metrics HTTP/1.1\r\nHost: vehicle\r\n\r\n");
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", text.len())), "{head}");
        for (name, want) in [
            ("shoal_window", 7.0),
            ("shoal_window_phase{phase=\"open\"}", 1.0),
            ("shoal_window_phase{phase=\"closed\"}", 0.0),
            ("shoal_window_bytes{direction=\"up\"}", 12.0),
            ("shoal_window_granted_bytes{direction=\"down\"}", 4096.0),
            ("shoal_socket_bytes_total{direction=\"down\"}", 99.0),
            ("shoal_tuning_steps_total", 20.0),
            ("shoal_stage_seconds_total{stage=\"measuring\"}", 1.5),
            ("shoal_stage_seconds_total{stage=\"tuning\"}", 0.0),
            ("shoal_records_taken_total{kind=\"claim\"}", 2.0),
            ("shoal_records_rejected_total{code=\"signature\"}", 1.0),
            ("shoal_moved_total", 0.0),
            ("shoal_utility{particle=\"best\"}", 0.4321),
            ("shoal_utility{particle=\"own\"}", -0.5),
            ("shoal_connected", 1.0),
            ("shoal_metadata_end_seconds", 0.0),
            ("shoal_certificate_end_seconds", 0.0),
            ("shoal_replay_bytes", 0.0),
            ("shoal_replay_spans_lost_total", 0.0),
            ("shoal_replay_spans_unreadable_total", 0.0),
            ("shoal_engine_failures_total", 0.0),
            (
                concat!(
                    "shoal_build_info{software=\"shoal-vehicle ",
                    env!("CARGO_PKG_VERSION"),
                    "\"}"
                ),
                1.0,
            ),
            ("shoal_foreign_records_total", 0.0),
            ("shoal_clock_behind_seconds", 0.0),
            ("shoal_gateway_silent", 0.0),
            ("shoal_unsigned_records", 0.0),
        ] {
            assert_eq!(value(text, name), want, "{name}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    /// Each name is described once, before its values: parsers refuse the rest.
    #[test]
    fn every_metric_is_described_once_and_its_values_stand_together() {
        let metrics = Metrics::default();
        metrics.phase(PhaseName::Closed);
        let text = metrics.text();
        let mut described = Vec::new();
        for line in text.lines() {
            let mut words = line.split([' ', '{']);
            match (words.next().unwrap(), words.next().unwrap()) {
                ("#", "TYPE") => described.push(words.next().unwrap()),
                ("#", _) => {}
                (name, _) => {
                    let of = name.strip_suffix("_total").unwrap_or(name);
                    assert_eq!(described.last(), Some(&of), "{text}");
                }
            }
        }
        let count = described.len();
        described.sort_unstable();
        described.dedup();
        assert_eq!(described.len(), count, "{text}");
    }

    #[test]
    fn nothing_but_metrics_is_served() {
        let server = server(&Metrics::default());
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics/../key HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metrics\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
        ] {
            let answer = ask(&server, request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{request}: {answer}");
        }
    }

    #[test]
    fn endless_request_is_cut_off_and_the_next_one_answered() {
        let server = server(&Metrics::default());
        let answer = ask(&server, &[b'a'; 3 * REQUEST_BYTES_MAX]);
        assert!(!answer.contains("200 OK"), "{answer}");
        let answer = ask(&server, b"GET /metrics HTTP/1.0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[test]
    fn dropped_server_is_stopped() {
        let server = server(&Metrics::default());
        let address = server.address();
        drop(server);
        assert!(TcpStream::connect(address).is_err());
        drop(MetricsServer::start(address, &Metrics::default()).unwrap());
    }

    #[test]
    fn memory_is_read_from_the_system_or_is_none() {
        let text = "Rss:  9 kB\nPss:                1234 kB\nPss_Anon: 5 kB\n";
        assert_eq!(kibibytes(text, "Pss:"), Some(1234 * 1024));
        assert_eq!(kibibytes(text, "VmHWM:"), None);
        assert_eq!(kibibytes("Pss: many kB", "Pss:"), None);
        if cfg!(target_os = "linux") {
            assert!(Memory::read().peak_bytes.unwrap() > 1 << 20);
        }
    }
}
