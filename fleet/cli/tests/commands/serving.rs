//! `shoal broker`, `shoal fleet serve` and the console, over the embedded broker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use shoal_broker::Broker;
use shoal_console::reader::Reading;
use shoal_console::state::Trust;
use shoal_console::{Console, Settings};
use shoal_link::{Address, Broker as _, Event, Link, Sealed, Subscription};
use shoal_shadow::digits::hash;
use shoal_swarm::inbox::{Record, read};
use shoal_swarm::keyring::Keyring;
use shoal_vehicle::config::Config;
use shoal_vehicle::config::FleetConfig;
use shoal_window::Bytes;
use shoal_wire::v1::{Activity, Presence, PresenceFields};
use shoal_wire::{KeyId, Label, Leaf, SecretKey, Topic, seal};

use super::fleet::fleet;
use super::{SHOAL, shoal, text};

/// The longest wait for anything: a test that passes waits a small part of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is ended with the test.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(SHOAL);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    }

    /// The first line it says.
    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits until it has said this, which it does once.
    pub(crate) fn says(&mut self, what: &str) {
        let lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains(what)), "{what}");
    }

    /// Asks it to end; whether it ends well.
    pub(crate) fn terminate(mut self) -> bool {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        asked.success() && self.0.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

pub(crate) fn broker(listen: SocketAddr) -> Broker {
    Broker::start(shoal_broker::Settings { listen, ..shoal_broker::Settings::local() }).unwrap()
}

pub(crate) fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn link(url: &str, id: KeyId) -> Link {
    let mut settings = shoal_link::Settings::new(url.parse::<Address>().unwrap(), id);
    settings.limit = Bytes { up: 1 << 40, down: 1 << 40 };
    settings.backoff.longest = embassy_time::Duration::from_millis(200);
    Link::open(settings).unwrap()
}

/// Two vehicles, with windows of a second, every two seconds from now on.
fn fleet_of_seconds(folder: &Path) -> (PathBuf, FleetConfig) {
    fleet_every(folder, "2")
}

/// A fleet whose window 0 opens in a second, and the next after so many.
fn fleet_every(folder: &Path, period: &str) -> (PathBuf, FleetConfig) {
    let fleet = fleet(folder);
    #[expect(clippy::disallowed_methods, reason = "a test against real programs has their time")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let epoch = (now + 1).to_string();
    let plan =
        ["fleet", "plan", text(&fleet), "--period", period, "--open", "1", "--epoch", &epoch];
    assert!(shoal(&plan).status.success());
    let told = Config::read(&fleet.join("vehicle-0/vehicle.toml")).unwrap().fleet.unwrap();
    (fleet, told)
}

/// Somebody who reads everything.
struct Reader {
    link: Link,
    keys: Keyring,
    /// What stands, since it was last cleared.
    board: BTreeMap<String, Vec<u8>>,
    /// Every nonce that ever stood, by window.
    nonces: BTreeMap<u32, BTreeSet<[u8; 32]>>,
}

impl Reader {
    fn new(url: &str, told: &FleetConfig) -> Self {
        let mut link = link(url, KeyId::new([9; 8]));
        let filter = format!("shoal/1/{}/{}/#", told.name, told.region);
        link.subscribe(Subscription::Standing { filter: &filter, acknowledged: true });
        let keys = Keyring::new(told.authority, told.timekeeper);
        Reader { link, keys, board: BTreeMap::new(), nonces: BTreeMap::new() }
    }

    /// Reads until this holds. All that comes verifies.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            let event = self.link.next(PATIENCE);
            let event = event.unwrap_or_else(|| panic!("nothing comes any more: {what}"));
            let Event::Message(message) = event else { continue };
            let topic = message.place().unwrap();
            let record = read(&topic, &message.payload, &self.keys).unwrap();
            if let Record::Nonce(nonce) = record {
                let fields = nonce.body().fields();
                self.nonces.entry(fields.window).or_default().insert(fields.nonce);
            }
            self.board.insert(message.topic, message.payload.to_vec());
        }
    }

    fn newest(&self) -> Option<u32> {
        self.nonces.last_key_value().map(|(window, _nonces)| *window)
    }

    fn kinds(&self) -> BTreeSet<&str> {
        self.board.keys().filter_map(|topic| topic.split('/').nth(4)).collect()
    }
}

#[test]
fn documents_and_nonces_stand_on_the_broker_over_restarts_of_all_and_no_nonce_is_contradicted() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, told) = fleet_of_seconds(folder.path());
    let first = broker(any());
    let (address, url) = (first.address(), first.url());
    let serve = ["fleet", "serve", text(&fleet), "--broker", &url];
    let all = ["document", "nonce", "plan", "roster", "rosterpage", "swarm", "utility"];
    let mut reader = Reader::new(&url, &told);

    let program = Running::start(&serve);
    reader.until("two nonces", |reader| reader.newest() >= Some(1));
    assert_eq!(reader.kinds(), BTreeSet::from(all));
    assert!(program.terminate(), "it ends well when it is asked to");
    let before = reader.newest();
    let _program = Running::start(&serve);
    reader.until("a nonce of who was restarted", |reader| reader.newest() > before);

    first.stop();
    reader.board.clear();
    let _second = broker(address);
    reader.until("all again", |reader| reader.kinds() == BTreeSet::from(all));
    let before = reader.newest();
    reader.until("a nonce of the new broker", |reader| reader.newest() > before);
    assert!(reader.nonces.values().all(|nonces| nonces.len() == 1), "{:?}", reader.nonces);
}

#[test]
fn a_new_plan_is_published_without_a_restart_and_serve_ends_after_its_windows() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, told) = fleet_of_seconds(folder.path());
    let mut broker = Running::start(&["broker", "--listen", "127.0.0.1:0"]);
    let url = broker.line();
    assert!(url.starts_with("mqtt://127.0.0.1:"), "{url}");
    let mut reader = Reader::new(&url, &told);
    let mut program =
        Running::start(&["fleet", "serve", text(&fleet), "--broker", &url, "--windows", "3"]);
    reader.until("a plan", |reader| reader.kinds().contains("plan"));
    assert!(shoal(&["fleet", "plan", text(&fleet), "--bytes-up", "77777"]).status.success());
    let signed = std::fs::read(fleet.join("documents/plan.shl")).unwrap();
    reader.until("the new plan", |reader| reader.board.values().any(|bytes| *bytes == signed));
    assert!(program.0.wait().unwrap().success());
    assert!(broker.terminate());
}

/// The answer to a request.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = request(address, path);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn request(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

/// The first view of which this holds.
fn view(events: &mut impl BufRead, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for line in events.lines() {
        let line = line.unwrap_or_else(|error| panic!("{what}: {error}"));
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let view: Value = serde_json::from_str(data).unwrap();
        if holds(&view) {
            return view;
        }
    }
    panic!("the events ended: {what}");
}

/// Says that vehicle 0 is tuning.
fn presence(url: &str, fleet: &Path, told: &FleetConfig) -> Link {
    let seed = std::fs::read_to_string(fleet.join("vehicle-0/vehicle.key")).unwrap();
    let key = SecretKey::from_seed(&hash(seed.trim_end()).unwrap());
    let presence = Presence::new(PresenceFields {
        window: Some(0),
        activity: Activity::Tuning,
        adapter: None,
        software: "test".try_into().unwrap(),
        up_bytes: 321,
        down_bytes: 0,
        terms: heapless::Vec::new(),
        steps: 12,
    });
    let mut buffer = [0; 512];
    let sealed = seal(&presence.unwrap(), 1, u64::MAX, &key, &mut buffer).unwrap();
    let (name, region) = (Label::new(&told.name).unwrap(), Label::new(&told.region).unwrap());
    let topic = Topic::new(name, region, key.public().id(), Leaf::Presence).unwrap();
    let mut link = link(url, key.public().id());
    link.publish(&topic, Sealed::Record(sealed), None).unwrap();
    while !matches!(link.next(PATIENCE), Some(Event::Published(_))) {}
    link
}

#[test]
fn the_console_shows_the_fleet_and_survives_its_broker() {
    let folder = tempfile::tempdir().unwrap();
    // Window 0 lasts: what a vehicle says of it is of this window.
    let (fleet, told) = fleet_every(folder.path(), "900");
    let first = broker(any());
    let (address, url) = (first.address(), first.url());
    let FleetConfig { authority, timekeeper, approver, .. } = told;
    let reading = Reading {
        certificates: None,
        fleet: told.name.clone(),
        region: told.region.clone(),
        region_number: 0,
        trust: Trust { authority, timekeeper, approver },
        broker: url.parse().unwrap(),
        id: KeyId::new([7; 8]),
    };
    let console = Console::start(Settings { reading, listen: any() }).unwrap();
    let mut events = BufReader::new(request(console.address(), "/events"));
    view(&mut events, "a first view", |view| view["roster"] == 0);

    let _program = Running::start(&["fleet", "serve", text(&fleet), "--broker", &url]);
    let _vehicle = presence(&url, &fleet, &told);
    let shown = view(&mut events, "the fleet", |view| view["vehicles"][0]["activity"] == "tuning");
    assert_eq!((&shown["roster"], &shown["connected"]), (&Value::from(2), &Value::from(true)));
    assert_eq!((&shown["plan"]["period_s"], &shown["rule"]), (&900.into(), &"consensus".into()));
    let row = &shown["vehicles"][0];
    assert_eq!((&row["bytes_up"], &row["steps"]), (&321.into(), &12.into()));
    let (head, body) = get(console.address(), "/api/view");
    assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
    let at_once: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(at_once["vehicles"][0]["bytes_up"], 321);

    first.stop();
    let lost = view(&mut events, "the lost broker", |view| view["connected"] == false);
    assert_eq!(lost["roster"], 2, "what was known is still shown");
    let _second = broker(address);
    view(&mut events, "the broker again", |view| view["connected"] == true);
    drop(events);
    console.stop();
}

#[test]
fn the_page_calls_no_other_host_and_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let args = ["console", "--fleet", text(&fleet), "--listen", "127.0.0.1:0"];
    // Nobody listens there: the page is served all the same.
    let mut console = Running::start(&[&args[..], &["--broker", "mqtt://127.0.0.1:9"]].concat());
    let url = console.line();
    let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/')).unwrap();
    let address: SocketAddr = address.parse().unwrap();
    for path in ["/", "/style.css", "/page.js", "/icon.svg"] {
        let (head, body) = get(address, path);
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains("default-src 'none'"), "{head}");
        let elsewhere = body.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http:") && !elsewhere.contains("https:"), "{path}");
    }
    assert!(console.terminate());
}

/// What it cannot read of its store is moved aside: whoever runs it is told.
#[test]
fn the_broker_says_what_of_its_store_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let retained = folder.path().join("retained");
    std::fs::create_dir(&retained).unwrap();
    std::fs::write(retained.join("topic.json"), b"garbage").unwrap();
    let mut broker = Command::new(SHOAL);
    broker.args(["broker", "--listen", "127.0.0.1:0", "--store", text(folder.path())]);
    let broker = broker.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut broker = Running(broker);
    assert!(broker.line().starts_with("mqtt://"));
    let mut said = broker.0.stderr.take().unwrap();
    assert!(broker.terminate());
    let mut log = String::new();
    said.read_to_string(&mut log).unwrap();
    assert!(log.contains("WARN") && log.contains("topic.json"), "{log}");
}
