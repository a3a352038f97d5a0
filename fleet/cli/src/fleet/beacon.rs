//! `shoal fleet beacon`

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use embassy_time::Duration as Wait;
use sha2::{Digest, Sha256};
use shoal_link::{
    Addresses, Broker as _, Event, Link, NotPublished, Sealed, Settings, Subscription, Why,
};
use shoal_swarm::beacon::{self, Input, Output, Reads};
use shoal_window::Bytes;
use shoal_wire::v1::PARTICLE_HEADER_BYTES_MAX;
use shoal_wire::{KeyId, Label};

use super::description::Description;
use super::goodbye::goodbye;
use super::serve::AFTER_ANOTHER_MS;
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};
use crate::stop::Stop;

/// More than a beacon ever sends or receives.
const PLENTY: Bytes = Bytes { up: 1 << 50, down: 1 << 50 };
/// The longest wait for an event, and from one look at what matters to the next.
const TICK: Duration = Duration::from_millis(200);
/// After the last subscription was taken, what is retained is here in so long.
const READING_MS: u64 = 300;
/// So many publications may wait for their acknowledgement.
const WAITING_MAX: usize = 64;

/// Fold a fleet's records to those that matter, for vehicles of a region that listen to beacons.
///
/// There may be any number of beacons, each with a number of its own, started and ended at will. A beacon has no key and is trusted
/// with nothing: it passes signed records on as they are. Of DIR it reads fleet.toml alone. It runs until Ctrl-C or SIGTERM.
///
/// Example: shoal fleet beacon trial --number 1 --broker mqtt://127.0.0.1:1883
#[derive(Args)]
pub(crate) struct Beacon {
    /// The fleet's directory
    dir: PathBuf,
    /// Its region, of a fleet that has several
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Which of the region's beacons this is
    #[arg(long, default_value_t = 0)]
    number: u32,
    /// Read the vehicles of its region alone, and of other regions what their beacons pass on: for fleets larger than one program can
    /// read. A region without a beacon is not heard then
    #[arg(long)]
    own_region: bool,
    /// The broker, or its nodes with commas between them, if not the one in fleet.toml
    #[arg(long, value_name = "URL")]
    broker: Option<Addresses>,
    /// Directory of authority.pem, certificate.pem and key.pem, for a broker with TLS
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
}

impl Beacon {
    pub(crate) fn run(self) -> Outcome {
        let stop = Stop::listen()?;
        let description = Description::read(&self.dir)?.at_one(self.region.as_deref())?;
        let address = self.broker.clone().map_or_else(|| description.broker.parse(), Ok)?;
        let id = id(&description, self.number);
        let link = Settings::new(address.clone(), id);
        let mut link = link.with_certificates(self.certificates.as_deref())?;
        link.limit = PLENTY;
        link.backoff.first = Wait::from_millis(250);
        link.backoff.longest = Wait::from_secs(5);
        let (fleet, region) = (Label::new(&description.name)?, Label::new(&description.region)?);
        let settings = beacon::Settings {
            authority: description.authority,
            timekeeper: description.timekeeper,
            id,
            reads: if self.own_region { Reads::Region } else { Reads::Fleet },
        };
        let mut program = Program {
            core: beacon::Beacon::new(fleet, region, &settings),
            link: Link::open(link)?,
            asked: BTreeSet::new(),
            unsubscribed: BTreeSet::new(),
            once: BTreeSet::new(),
            window: None,
            read_ms: None,
            back_ms: None,
            looked_ms: 0,
            waiting: 0,
            shown: None,
        };
        println!("{} / {} on {address}: beacon {id}", description.name, description.region);
        while !stop.told_within(Duration::ZERO) {
            program.step()?;
        }
        goodbye(program.link);
        Ok(())
    }
}

/// Under which a beacon publishes: the first 8 bytes of SHA-256(`shoal/beacon/1` ‖ fleet ‖ `/` ‖ region ‖ number u32).
fn id(description: &Description, number: u32) -> KeyId {
    let hasher = Sha256::new().chain_update(b"shoal/beacon/1").chain_update(&description.name);
    let hasher = hasher.chain_update(b"/").chain_update(&description.region);
    let hash: [u8; 32] = hasher.chain_update(number.to_le_bytes()).finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    KeyId::new([a, b, c, d, e, f, g, h])
}

/// The shell of a beacon: clock and link.
struct Program {
    core: beacon::Beacon,
    link: Link,
    /// Filters that are asked for.
    asked: BTreeSet<String>,
    /// Of these, what the broker has not taken in this connection.
    unsubscribed: BTreeSet<String>,
    /// Filters whose record was asked for, and has not come.
    once: BTreeSet<String>,
    /// The window in which they were.
    window: Option<u32>,
    /// When what stood there has come.
    read_ms: Option<u64>,
    looked_ms: u64,
    /// When it comes back after another took its place.
    back_ms: Option<u64>,
    /// Publications without an acknowledgement.
    waiting: usize,
    /// The last window that was told of, and what was said.
    shown: Option<(u32, usize)>,
}

impl Program {
    /// Waits for what happens next, and does what follows from it.
    fn step(&mut self) -> Outcome {
        let event = self.link.next(TICK);
        let now = utc_ms()?;
        if let Some(event) = event {
            self.event(now, event)?;
        }
        if self.back_ms.is_some_and(|back| back <= now) {
            self.back_ms = None;
            self.link.resume();
        }
        if self.read_ms.is_some_and(|read| read <= now) {
            self.read_ms = None;
            self.core.handle_input(Input::Read)?;
        }
        if now.saturating_sub(self.looked_ms) >= TICK.as_millis() as u64 {
            self.looked_ms = now;
            self.give_up();
            self.core.handle_timeout();
            self.show();
        }
        self.drain()
    }

    fn event(&mut self, now: u64, event: Event) -> Outcome {
        match event {
            Event::Connected { .. } => {
                println!("connected");
                self.unsubscribed = self.asked.clone();
                self.core.handle_input(Input::Connected)?;
            }
            Event::Subscribed { filter } => {
                self.unsubscribed.remove(&filter);
                if self.unsubscribed.is_empty() {
                    self.read_ms = Some(now.saturating_add(READING_MS));
                }
            }
            Event::Disconnected { why: Why::TakenOver, .. } => {
                let after = AFTER_ANOTHER_MS / 1000;
                eprintln!(
                    "warning: another program has taken this beacon's place at the broker; again in {after} s. Is there a second one of its number?"
                );
                (self.back_ms, self.read_ms) = (Some(now.saturating_add(AFTER_ANOTHER_MS)), None);
            }
            Event::Disconnected { why, again } => {
                let again = again.map_or(0, |again| again.as_millis());
                eprintln!("warning: no broker ({why:?}); again in {again} ms");
                self.read_ms = None;
            }
            Event::Message(message) => {
                let Ok(topic) = message.place() else { return Ok(()) };
                let asked = topic.in_any_region();
                if self.once.remove(asked.as_str()) {
                    self.link.unsubscribe(&asked);
                }
                let input = Input::Message { topic: &topic, bytes: &message.payload };
                if let Err(reject) = self.core.handle_input(input) {
                    eprintln!("warning: {}: {}", message.topic, Failure::from(reject));
                }
            }
            Event::SubscribeRefused { filter, reason, .. } => {
                eprintln!("warning: the broker refuses {filter}: {reason}");
            }
            Event::Published(_) => self.waiting = self.waiting.saturating_sub(1),
            Event::Failed { why, .. } => {
                self.waiting = self.waiting.saturating_sub(1);
                if why != NotPublished::Superseded {
                    eprintln!("warning: not published: {why:?}");
                }
            }
            Event::Oversized { .. } | Event::Drained => {}
        }
        Ok(())
    }

    fn drain(&mut self) -> Outcome {
        while self.waiting < WAITING_MAX {
            match self.core.poll_output() {
                None => break,
                Some(Output::Subscribe(filter)) => {
                    self.link
                        .subscribe(Subscription::Standing { filter: &filter, acknowledged: true });
                    self.unsubscribed.insert(filter.clone());
                    self.asked.insert(filter);
                }
                Some(Output::Unsubscribe(filter)) => {
                    self.link.unsubscribe(&filter);
                    self.unsubscribed.remove(&filter);
                    self.asked.remove(&filter);
                }
                Some(Output::Ask(topic)) => {
                    let bytes = PARTICLE_HEADER_BYTES_MAX as u32;
                    let once = Subscription::Once { topic: &topic, bytes, acknowledged: true };
                    self.link.subscribe(once);
                    self.once.insert(topic);
                }
                Some(Output::Publish { topic, records }) => {
                    self.link.publish(&topic, Sealed::Relayed(records), None)?;
                    self.waiting += 1;
                }
                Some(Output::Clear(topic)) => {
                    self.link.clear(&topic)?;
                    self.waiting += 1;
                }
            }
        }
        Ok(())
    }

    /// In another window: what was asked for and did not come. What still matters is asked for again.
    fn give_up(&mut self) {
        if self.window != self.core.window() {
            self.window = self.core.window();
            for topic in std::mem::take(&mut self.once) {
                self.link.unsubscribe(&topic);
            }
        }
    }

    /// A line when more of what is voted on in a window was passed on.
    fn show(&mut self) {
        let Some(window) = self.core.window() else { return };
        let now = Some((window, self.core.passed_on()));
        if now != self.shown {
            self.shown = now;
            println!(
                "window {window}: {} claims of the one before passed on",
                self.core.passed_on()
            );
        }
    }
}
