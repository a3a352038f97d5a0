//! `shoal fleet serve`

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use embassy_time::Duration as Wait;
use sha2::{Digest, Sha256};
use shoal_hal::backend::files::write_whole;
use shoal_hal::backend::hold::Hold;
use shoal_link::{
    Addresses, Broker as _, Event, Link, NotPublished, PublishError, Sealed, Settings,
    Subscription, Why, filter,
};
use shoal_swarm::campaign;
use shoal_swarm::timekeeper::{self, Input, Output, Reject, Timekeeper};
use shoal_window::Bytes;
use shoal_wire::{Kind, Label, Leaf, PublicKey, Topic};

use super::chunks::{Chunks, Piece};
use super::description::{Description, command};
use super::documents::{envelopes, orders, told};
use super::goodbye::goodbye;
use super::renew;
use super::repositories::Repositories;
use super::secret;
use super::witness::Witness;
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};
use crate::stop::Stop;

/// More than a timekeeper ever sends or receives.
const PLENTY: Bytes = Bytes { up: 1 << 50, down: 1 << 50 };
/// The longest wait for an event: how late a signal is seen.
const TICK: Duration = Duration::from_millis(200);
/// From one look at the documents to the next.
const LOOK_MS: u64 = 1_000;
/// How often it is said that the same cannot be done.
const WARN_AGAIN_MS: u64 = 3_600_000;
/// How often it is said what ends soon.
const ENDS_AGAIN_S: u64 = 86_400;
/// How long a program stays away that another put off the line.
pub(super) const AFTER_ANOTHER_MS: u64 = 10_000;

/// Keep a fleet's time: its documents on the broker, and a nonce for every window.
///
/// It runs until Ctrl-C or SIGTERM, or until window N − 1 has closed. A broker that goes away is waited for; a document
/// that is signed anew is published by itself. The nonces it drew are kept in DIR/timekeeper, so that a restart
/// contradicts none. What is signed, and what vehicles say of campaigns, goes to DIR/journal.jsonl, for `shoal evidence`.
///
/// Example: shoal fleet serve trial --broker mqtt://127.0.0.1:1883
#[derive(Args)]
pub(crate) struct Serve {
    /// The fleet's directory
    dir: PathBuf,
    /// The broker, or its nodes with commas between them, if not the one in fleet.toml
    #[arg(long, value_name = "URL")]
    broker: Option<Addresses>,
    /// Directory of authority.pem, certificate.pem and key.pem, for a broker with TLS
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// End when so many windows have closed
    #[arg(long, value_name = "N")]
    windows: Option<u32>,
    /// Draw nonces from this number, so that a trial can be repeated: whoever knows it knows them all
    #[arg(long)]
    seed: Option<u64>,
}

impl Serve {
    pub(crate) fn run(self) -> Outcome {
        let stop = Stop::listen()?;
        let description = Description::read(&self.dir)?;
        let address = self.broker.clone().map_or_else(|| description.broker.parse(), Ok)?;
        let kept = self.dir.join("timekeeper");
        std::fs::create_dir_all(&kept)?;
        // Nonces and journal are of one; what orders write, it reads.
        let _alone = Hold::take(&kept, &command())?;
        let mut program = self.program(&description, &address, kept)?;
        println!("{} / {} on {address}", description.name, description.regions.join(", "));
        program.begin()?;
        while !program.done && !stop.told_within(Duration::ZERO) {
            program.step()?;
        }
        goodbye(program.link);
        Ok(())
    }

    /// The program, which has not begun.
    fn program(
        &self,
        description: &Description,
        address: &Addresses,
        kept: PathBuf,
    ) -> Result<Program, Failure> {
        let key = secret::open(&self.dir.join("timekeeper.key"))?;
        if key.public() != description.timekeeper {
            return Err("timekeeper.key is not the timekeeper's of fleet.toml".into());
        }
        let link = Settings::new(address.clone(), key.public().id());
        let mut link = link.with_certificates(self.certificates.as_deref())?;
        link.limit = PLENTY;
        link.backoff.first = Wait::from_millis(250);
        link.backoff.longest = Wait::from_secs(5);
        let fleet = Label::new(&description.name)?;
        let regions = description.regions.iter().map(|region| Label::new(region));
        let regions = regions.collect::<Result<Vec<_>, _>>()?;
        let settings =
            timekeeper::Settings { authority: description.authority, key, windows: self.windows };
        let mut filters = Vec::new();
        for region in &regions {
            let promoted = Leaf::Particle { slot: campaign::PARTICLE_SLOT };
            let promoted = Topic::new(fleet, *region, description.authority.id(), promoted)?;
            filters.extend(FILTERS.iter().map(|leaf| filter(fleet, Some(*region), *leaf)));
            filters.push(promoted.to_string());
        }
        let witness = Witness::open(&self.dir, description)?;
        Ok(Program {
            dir: self.dir.clone(),
            core: Timekeeper::new(fleet, &regions, settings),
            link: Link::open(link)?,
            filters: filters.into_iter().chain(witness.filters()).collect(),
            witness,
            authority: description.authority,
            chunks: Chunks::of(&self.dir),
            outbox: VecDeque::new(),
            unsubscribed: BTreeSet::new(),
            documents: Documents::new(&self.dir.join("documents")),
            kept,
            seed: self.seed,
            shown: None,
            warned_ms: None,
            unread_ms: None,
            full: Full::default(),
            ends_said_s: None,
            back_ms: None,
            done: false,
            description: description.clone(),
        })
    }
}

/// What is read before anything is published: one leaf of each kind, and the particle of a campaign.
const FILTERS: [Leaf; 7] = [
    Leaf::Nonce { window: 0 },
    Leaf::Plan,
    Leaf::Roster,
    Leaf::RosterPage { index: 0 },
    Leaf::Utility,
    Leaf::Swarm,
    Leaf::Document { slot: 0 },
];

/// The shell of a timekeeper: clock, randomness, files and link.
struct Program {
    dir: PathBuf,
    description: Description,
    core: Timekeeper,
    link: Link,
    filters: Vec<String>,
    /// Filters that the broker has not taken in this connection.
    unsubscribed: BTreeSet<String>,
    witness: Witness,
    authority: PublicKey,
    chunks: Chunks,
    /// Chunks of the particle that a campaign promotes, then its header.
    outbox: VecDeque<Piece>,
    documents: Documents,
    /// The folder of the nonces.
    kept: PathBuf,
    seed: Option<u64>,
    /// The last window that was told of.
    shown: Option<u32>,
    /// When it was said that metadata could not be signed anew, since they last were.
    warned_ms: Option<u64>,
    /// When it was said that the documents could not be read, since they last were.
    unread_ms: Option<u64>,
    full: Full,
    /// When it was looked which document ends soon.
    ends_said_s: Option<u64>,
    /// When it comes back after another took its place.
    back_ms: Option<u64>,
    done: bool,
}

/// What a full disk has not taken: until it has, nothing is published.
#[derive(Default)]
struct Full {
    /// Nonces by their places.
    nonces: BTreeMap<u8, Vec<u8>>,
    /// The journal lacks what was signed: it is looked again.
    journal: bool,
    /// When the nonces were tried last.
    tried_ms: u64,
    /// When it was said, since all was written.
    said_ms: Option<u64>,
}

impl Full {
    fn say(&mut self, now_ms: u64, why: &Failure) {
        if self.said_ms.is_none_or(|said| now_ms >= said + WARN_AGAIN_MS) {
            self.said_ms = Some(now_ms);
            eprintln!(
                "warning: nothing is published until it can be kept, which is tried again each second: {why}"
            );
        }
    }

    /// Writes the nonces that are left, into this folder; whether there is nothing left.
    fn write(&mut self, now_ms: u64, folder: &Path) -> bool {
        let again = now_ms.saturating_sub(self.tried_ms) >= LOOK_MS || self.said_ms.is_none();
        while again && let Some((place, bytes)) = self.nonces.first_key_value() {
            self.tried_ms = now_ms;
            let file = folder.join(format!("nonce-{place}.shl"));
            if let Err(error) = write_whole(&file, bytes) {
                self.say(now_ms, &error.into());
                return false;
            }
            self.nonces.pop_first();
        }
        let nothing = self.nonces.is_empty() && !self.journal;
        if nothing {
            self.said_ms = None;
        }
        nothing
    }
}

impl Program {
    /// Takes in what the disk has, and asks for what the broker has.
    fn begin(&mut self) -> Outcome {
        self.look()?;
        for (path, bytes) in envelopes(&self.kept)? {
            let taken = self.core.handle_input(utc_ms()?, Input::Kept(&bytes));
            taken.map_err(|reject| {
                format!(
                    "{}: {}\nremove the file: what was drawn is read from the broker again",
                    path.display(),
                    Failure::from(reject)
                )
            })?;
        }
        for filter in &self.filters {
            self.link.subscribe(Subscription::Standing { filter, acknowledged: true });
        }
        self.drain()
    }

    /// Waits for what happens next, and does what follows from it.
    fn step(&mut self) -> Outcome {
        let now = utc_ms()?;
        let due = self.core.poll_timeout().map(|at| Duration::from_millis(at.saturating_sub(now)));
        let event = self.link.next(due.map_or(TICK, |due| due.min(TICK)));
        if let Some(event) = event {
            self.event(event)?;
        }
        if self.back_ms.is_some_and(|back| back <= now) {
            self.back_ms = None;
            self.link.resume();
        }
        if utc_ms()?.saturating_sub(self.documents.looked_ms) >= LOOK_MS {
            self.look()?;
        }
        self.core.handle_timeout(utc_ms()?);
        self.drain()?;
        self.pump()
    }

    /// Hands in the documents if they are others than before. What cannot be read leaves those that were. What says which of them
    /// count is signed anew before it is too old. While a command writes to the folder there is nothing to be looked at yet, and what
    /// it signs would be signed by both.
    fn look(&mut self) -> Outcome {
        let first = self.documents.seen.is_empty();
        if !first && Hold::is_surely_held(&self.dir) {
            return Ok(());
        }
        let repositories = Repositories::of(&self.dir, &self.description);
        let now_ms = utc_ms()?;
        match repositories.refresh(now_ms / 1000) {
            Ok(()) => self.warned_ms = None,
            Err(error) if first => return Err(error),
            // It is tried again at every look.
            Err(_) if self.warned_ms.is_some_and(|said| now_ms < said + WARN_AGAIN_MS) => {}
            Err(error) => {
                self.warned_ms = Some(now_ms);
                eprintln!("warning: metadata stay as they were: {error}");
            }
        }
        let looked = self.documents.look(self.authority);
        let said = looked.and_then(|looked| {
            self.say_what_ends(looked.as_deref())?;
            Ok(looked)
        });
        let read = match said {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.unread_ms = None;
                return Ok(());
            }
            Err(error) if first => return Err(error),
            // A folder that is being exchanged, a disk that stumbles: there is another look.
            Err(_) if self.unread_ms.is_some_and(|said| now_ms < said + WARN_AGAIN_MS) => {
                return Ok(());
            }
            Err(error) => {
                self.unread_ms = Some(now_ms);
                eprintln!("warning: documents stay as they were: {error}");
                return Ok(());
            }
        };
        self.unread_ms = None;
        let bytes: Vec<&[u8]> = read.iter().map(|(_path, bytes)| bytes.as_slice()).collect();
        let now = utc_ms()?;
        let taken = self.core.handle_input(now, Input::Documents(&bytes));
        match taken.map_err(|reject| named(reject, &read)) {
            Ok(()) => {
                if !first && !self.full.journal {
                    println!("documents have changed");
                }
                match self.write_journal(now, &bytes) {
                    Err(error) if first => return Err(error),
                    Err(error) => {
                        self.full.say(now, &error);
                        self.full.journal = true;
                        self.documents.look_again();
                    }
                    Ok(()) => self.full.journal = false,
                }
                Ok(())
            }
            Err(reject) if first => Err(reject),
            Err(reject) => {
                eprintln!("warning: documents stay as they were: {reject}");
                Ok(())
            }
        }
    }

    /// What was ordered, and the documents. They were checked.
    fn write_journal(&mut self, now: u64, documents: &[&[u8]]) -> Outcome {
        for (path, order) in orders(&self.dir)? {
            let failed = |why| format!("{}: {why}", path.display());
            self.witness.order(now, &order).map_err(failed)?;
        }
        self.witness.documents(now, documents)
    }

    /// Says each day which document ends soon; `read`: if they are others than before.
    fn say_what_ends(&mut self, read: Option<&[(PathBuf, Vec<u8>)]>) -> Outcome {
        let now_s = utc_ms()? / 1000;
        let again = self.ends_said_s.is_some_and(|said| now_s >= said + ENDS_AGAIN_S);
        let warnings = match read {
            Some(read) => renew::warnings(&self.dir, &self.description, read, (now_s, None)),
            None if again => {
                let told = told(&self.documents.folder, self.authority)?;
                renew::warnings(&self.dir, &self.description, &told, (now_s, None))
            }
            None => return Ok(()),
        };
        self.ends_said_s = Some(now_s);
        for warning in warnings {
            eprintln!("warning: {warning}");
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Outcome {
        let now = utc_ms()?;
        let input = match event {
            Event::Connected { .. } => {
                println!("connected");
                self.unsubscribed = self.filters.iter().cloned().collect();
                Input::Connected
            }
            Event::Subscribed { filter } => {
                let last = self.unsubscribed.remove(&filter) && self.unsubscribed.is_empty();
                if !last {
                    return Ok(());
                }
                Input::Subscribed
            }
            Event::Disconnected { why: Why::TakenOver, .. } => {
                let after = AFTER_ANOTHER_MS / 1000;
                eprintln!(
                    "warning: another program has taken this timekeeper's place at the broker; again in {after} s. If it is a second timekeeper, stop one; if it is none of yours, bind names to certificates at the broker (use_username_as_clientid)"
                );
                self.back_ms = Some(now.saturating_add(AFTER_ANOTHER_MS));
                Input::Disconnected
            }
            Event::Disconnected { why, again } => {
                let again = again.map_or(0, |again| again.as_millis());
                eprintln!("warning: no broker ({why:?}); again in {again} ms");
                Input::Disconnected
            }
            Event::Message(message) => {
                let Ok(topic) = message.place() else { return Ok(()) };
                // Nonces come first: what is not written is said again in the next window.
                let window = self.core.window(now);
                if let Err(error) = self.witness.message(now, window, &topic, &message.payload) {
                    eprintln!("warning: {error}");
                }
                let input = Input::Message { topic: &topic, bytes: &message.payload };
                if let Err(reject) = self.core.handle_input(now, input) {
                    eprintln!("warning: {}", Failure::from(reject));
                }
                return Ok(());
            }
            Event::SubscribeRefused { filter, reason, .. } => {
                eprintln!(
                    "warning: the broker refuses {filter}: {reason}. Nothing is published until it does not: see which access the timekeeper needs"
                );
                return Ok(());
            }
            Event::Failed { why, .. } => {
                // What is superseded is of no use any more; the rest is tried again.
                if why != NotPublished::Superseded {
                    eprintln!("warning: not published: {why:?}");
                }
                return Ok(());
            }
            Event::Published(_) | Event::Oversized { .. } | Event::Drained => return Ok(()),
        };
        Ok(self.core.handle_input(now, input)?)
    }

    /// Makes durable, then publishes. What cannot be written is tried again, and nothing is published before.
    fn drain(&mut self) -> Outcome {
        loop {
            while let Some(nonce) = self.core.poll_persist() {
                self.full.nonces.insert(nonce.place, nonce.bytes.to_vec());
            }
            if !self.full.write(utc_ms()?, &self.kept) {
                return Ok(());
            }
            let window = match self.core.poll_output() {
                None => break,
                Some(Output::Done) => {
                    self.done = true;
                    continue;
                }
                Some(Output::Publish { topic, record })
                    if record.kind() == Kind::ParticleHeader =>
                {
                    // What it names first: who finds the header finds it whole.
                    if self.outbox.is_empty() {
                        let header = record.bytes().to_vec();
                        self.outbox = self.chunks.pieces(&topic, header, self.authority)?.into();
                    }
                    continue;
                }
                Some(Output::Publish { topic, record }) => {
                    match self.link.publish(&topic, Sealed::Record(record), None) {
                        // Too much at once is tried again.
                        Ok(_) | Err(PublishError::Full { .. }) => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
                Some(Output::Draw { window }) => window,
            };
            let nonce = draw(self.seed, window)?;
            let drawn = Input::Drawn { window, nonce };
            match self.core.handle_input(utc_ms()?, drawn) {
                Err(error @ Reject::Unsigned(_)) => eprintln!("warning: {}", Failure::from(error)),
                taken => taken?,
            }
        }
        self.show()
    }

    /// Publishes what a campaign promotes, as fast as the broker acknowledges it.
    fn pump(&mut self) -> Outcome {
        while let Some(piece) = self.outbox.front() {
            match piece.publish(&mut self.link, self.authority) {
                Ok(()) => {
                    self.outbox.pop_front();
                }
                Err(PublishError::Full { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A line for each window whose nonce is there.
    fn show(&mut self) -> Outcome {
        let now = utc_ms()?;
        let Some(window) = self.core.window(now) else { return Ok(()) };
        if self.shown == Some(window) || self.core.drawn_seconds(window).is_none() {
            return Ok(());
        }
        self.shown = Some(window);
        let Some(opens) = self.core.opens_ms(window) else { return Ok(()) };
        let seconds = |ms: u64| ms as f64 / 1e3;
        match opens.checked_sub(now) {
            Some(left) => {
                println!("window {window} has its nonce, {:.1} s before it opens", seconds(left))
            }
            None => {
                println!("window {window} has its nonce, open for {:.1} s", seconds(now - opens))
            }
        }
        Ok(())
    }
}

/// 32 bytes for a window's nonce.
fn draw(seed: Option<u64>, window: u32) -> Result<[u8; 32], Failure> {
    if let Some(seed) = seed {
        let hasher = Sha256::new().chain_update(b"shoal/nonce/1");
        let hasher = hasher.chain_update(seed.to_le_bytes()).chain_update(window.to_le_bytes());
        return Ok(hasher.finalize().into());
    }
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)
        .map_err(|error| format!("the system gives no random bytes: {error}"))?;
    Ok(nonce)
}

/// What is wrong with the documents, with the file that it is of.
fn named(reject: Reject, read: &[(PathBuf, Vec<u8>)]) -> Failure {
    let of = match &reject {
        Reject::Document { index, .. } | Reject::Kind { index, .. } => read.get(*index),
        Reject::Kept(_)
        | Reject::Message { .. }
        | Reject::Newer { .. }
        | Reject::Drawn(_)
        | Reject::Unsigned(_) => None,
    };
    let Some((path, _bytes)) = of else { return reject.into() };
    let path = path.display();
    format!(
        "{path}: {}\nput a copy of the file in its place, or, if the fleet has no use for it, take it out of the folder",
        Failure::from(reject)
    )
    .into()
}

/// Envelopes with their files.
type Envelopes = Vec<(PathBuf, Vec<u8>)>;

/// The folder of documents, looked at now and then.
struct Documents {
    folder: PathBuf,
    /// Length and time of each file when it was last read.
    seen: BTreeMap<PathBuf, (u64, SystemTime)>,
    looked_ms: u64,
}

impl Documents {
    fn new(folder: &Path) -> Self {
        Documents { folder: folder.to_path_buf(), seen: BTreeMap::new(), looked_ms: 0 }
    }

    /// Lets the next look hand all of them in again. The folder has been seen.
    fn look_again(&mut self) {
        self.seen.values_mut().for_each(|(length, _when)| *length = u64::MAX);
    }

    /// The documents, if a file is another than when they were last read.
    fn look(&mut self, authority: PublicKey) -> Result<Option<Envelopes>, Failure> {
        self.looked_ms = utc_ms()?;
        let mut seen = BTreeMap::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            seen.insert(entry.path(), (about.len(), about.modified()?));
        }
        if seen == self.seen {
            return Ok(None);
        }
        let read = told(&self.folder, authority)?;
        self.seen = seen;
        Ok(Some(read))
    }
}

#[cfg(test)]
mod tests;
