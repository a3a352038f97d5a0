//! A vehicle's line to the broker: what it asks for, and what waits to be published.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use embassy_time::Duration as Wait;
use shoal_link::{
    Backoff, Broker, CertificatesError, Event, LinkError, Meter, NotPublished, PublishError,
    RejectAddress, Sealed, SealedChunk, Settings, Subscription, Version,
};
use shoal_swarm::inbox::read;
use shoal_swarm::{campaign, reinstated};
use shoal_window::{Bytes, Window};
use shoal_wire::v1::{METADATA_SLOT, ParticleHeader};
use shoal_wire::{KeyId, Label, Leaf, RejectTopic, Topic, Unverified};
use tracing::{debug, warn};

use super::around::Dial;
use super::key::Own;
use crate::config::FleetConfig;

/// Tries to connect that a window has room for.
const TRIES_MIN: u64 = 80;
/// Of the bytes of a window, no more than this part is for what may stand on the broker already: the rest for what was never
/// published.
const AGAIN_PART: u64 = 4;
/// A broker is not asked more often.
const WAIT_MIN: Wait = Wait::from_millis(250);

/// The fleet's part of every topic, and who of it signs what.
#[derive(Clone, Debug)]
pub struct Board {
    /// Of the fleet and its region: `shoal/1/<fleet>/<region>`.
    fleet: String,
    region: String,
    authority: KeyId,
    timekeeper: KeyId,
    me: KeyId,
}

impl Board {
    /// The board of this fleet's region. Both names are labels.
    pub fn new(fleet: &str, region: &str, authority: KeyId, timekeeper: KeyId, me: KeyId) -> Self {
        let (fleet, region) = (fleet.to_owned(), region.to_owned());
        Board { fleet, region, authority, timekeeper, me }
    }

    /// The board of the fleet that a vehicle is told of.
    pub fn of(fleet: &FleetConfig, me: KeyId) -> Self {
        let FleetConfig { name, region, authority, timekeeper, .. } = fleet;
        Board::new(name, region, authority.id(), timekeeper.id(), me)
    }

    /// The names of fleet and region.
    ///
    /// # Errors
    /// [`RejectTopic`]: one of them is no label.
    pub fn labels(&self) -> Result<(Label<'_>, Label<'_>), RejectTopic> {
        let fleet = Label::new(&self.fleet).map_err(RejectTopic::Fleet)?;
        Ok((fleet, Label::new(&self.region).map_err(RejectTopic::Region)?))
    }

    /// Where particles of this publisher are: the authority's in every region for itself, a vehicle's wherever that is.
    ///
    /// # Errors
    /// [`RejectTopic`]: one of the names is no label.
    pub fn of_publisher(
        &self,
        publisher: KeyId,
    ) -> Result<(Label<'_>, Option<Label<'_>>), RejectTopic> {
        let (fleet, region) = self.labels()?;
        Ok((fleet, (publisher == self.authority).then_some(region)))
    }

    /// Whether this is a topic of this vehicle's in a region where it was before.
    pub fn is_left(&self, topic: &Topic<'_>) -> bool {
        topic.publisher() == self.me && topic.region().text() != self.region
    }

    /// A topic of this vehicle.
    ///
    /// # Errors
    /// [`RejectTopic`]: no such place.
    pub fn own(&self, leaf: Leaf) -> Result<String, RejectTopic> {
        let (fleet, region) = self.labels()?;
        Ok(Topic::new(fleet, region, self.me, leaf)?.text().to_string())
    }

    fn path(&self, rest: &str) -> String {
        format!("shoal/1/{}/{}/{rest}", self.fleet, self.region)
    }

    /// The same in every region: what vehicles publish is all of the one swarm's.
    fn everywhere(&self, rest: &str) -> String {
        format!("shoal/1/{}/+/{rest}", self.fleet)
    }

    /// What the authority and the timekeeper publish.
    fn agreed(&self) -> Vec<String> {
        let Board { authority, timekeeper, .. } = self;
        let signed = ["roster", "plan", "utility", "swarm"];
        let mut filters: Vec<String> =
            signed.iter().map(|kind| self.path(&format!("{kind}/{authority}"))).collect();
        filters.push(self.path(&format!("rosterpage/{authority}/#")));
        filters.push(self.path(&format!("nonce/{timekeeper}/#")));
        for slot in [campaign::SLOT, reinstated::SLOT, METADATA_SLOT] {
            filters.push(self.path(&format!("document/{authority}/{slot}")));
        }
        filters.push(self.path(&format!("document/{timekeeper}/#")));
        filters
    }

    /// What this vehicle published before, in whatever region it was.
    fn before(&self) -> Vec<String> {
        let me = self.me;
        let mut filters: Vec<String> = ["claim", "vote", "particle", "refusal"]
            .iter()
            .map(|kind| self.everywhere(&format!("{kind}/{me}/#")))
            .collect();
        filters.push(self.presence());
        filters
    }

    /// What vehicles publish in a window, and last of all what this one says of itself: when that comes back, all that
    /// stood there before has come.
    fn records(&self, listening: Listening) -> Vec<String> {
        let mut filters = Vec::new();
        match listening {
            Listening::Everybody | Listening::Both => filters.extend(self.everybody()),
            Listening::Beacons => {
                let me = self.me;
                // It counts its own when they come back.
                let own = ["claim", "vote", "particle"];
                filters.extend(own.map(|kind| self.everywhere(&format!("{kind}/{me}/#"))));
            }
        }
        if listening != Listening::Everybody {
            filters.push(self.path("beacon/#"));
        }
        filters.push(self.presence());
        filters
    }

    /// What this vehicle says of itself.
    fn presence(&self) -> String {
        self.path(&format!("presence/{}", self.me))
    }

    fn everybody(&self) -> [String; 3] {
        ["claim", "vote", "particle"].map(|kind| self.everywhere(&format!("{kind}/#")))
    }

    /// Where vehicles say what came of a campaign.
    fn outcomes(&self) -> [String; 2] {
        [self.path("presence/+"), self.path(&format!("refusal/+/{}", campaign::REPORT_SLOT))]
    }
}

/// From whom a vehicle hears what others publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// From each of them, in every region.
    Everybody,
    /// From the own region's beacons.
    Beacons,
    /// From each of them, and from a beacon should one come.
    Both,
}

/// What a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// To learn what the fleet agreed on, and what this vehicle itself published in an earlier life.
    Joining,
    /// To exchange.
    Window,
}

/// What the broker keeps from one window to the next.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// For how long, in seconds.
    pub seconds: u32,
    /// Whether what it kept is to be forgotten first.
    pub fresh: bool,
    /// From whom to hear.
    pub listening: Listening,
    /// How long windows are open, in seconds.
    pub open_seconds: u32,
    /// How many bytes a window has, up.
    pub up_bytes_max: u64,
    /// What the broker spoke when it was there last.
    pub version: Version,
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The configured broker is no address.
    #[error("fleet.broker")]
    Address(#[from] RejectAddress),
    /// An address with TLS, without what it needs.
    #[error("fleet.certificates")]
    Certificates(#[from] CertificatesError),
    /// The system has no thread for it.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Something that waits to be published.
#[derive(Debug)]
enum Outgoing {
    Record { topic: String, bytes: Vec<u8> },
    Chunk { topic: String, header: Vec<u8>, index: u8, bytes: Vec<u8> },
}

/// One link, for as long as a window.
pub struct Line {
    link: Box<dyn Broker>,
    meter: Meter,
    purpose: For,
    own: Own,
    outbox: VecDeque<Outgoing>,
    connected: bool,
    /// Whether its first connection begins a session of a window, and was not there yet.
    fresh: bool,
}

impl Line {
    /// Begins to connect, and asks for what it is for. `joining` may cross a line that joins. Tries to connect are as far apart as
    /// suits the windows. For a window, the broker keeps the subscriptions for the session's time: who comes to the next one is
    /// sent what is new, not all that stands there. `fresh` begins anew.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn open(
        mut settings: Settings,
        board: &Board,
        own: Own,
        purpose: For,
        joining: Bytes,
        session: Session,
        dial: &mut dyn Dial,
    ) -> Result<Self, LineError> {
        settings.backoff = backoff(settings.backoff, session.open_seconds);
        settings.again_bytes_max = session.up_bytes_max / AGAIN_PART;
        settings.version = session.version;
        let mut filters = board.agreed();
        match purpose {
            For::Joining => {
                settings.limit = joining;
                filters.extend(board.before());
            }
            For::Window => {
                (settings.session_seconds, settings.fresh) = (session.seconds, session.fresh);
                filters.extend(board.records(session.listening));
            }
        }
        let mut link = dial.dial(settings)?;
        for filter in &filters {
            link.subscribe(Subscription::Standing { filter, acknowledged: true });
        }
        let (meter, outbox) = (Meter::default(), VecDeque::new());
        let fresh = purpose == For::Window && session.fresh;
        Ok(Line { link, meter, purpose, own, outbox, connected: false, fresh })
    }

    /// What it is for.
    pub const fn purpose(&self) -> For {
        self.purpose
    }

    /// Whether the broker is there.
    pub const fn connected(&self) -> bool {
        self.connected
    }

    /// Whether this connection is the first of a line that begins anew: said once.
    pub fn take_begun_anew(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    /// The broker, for transfers.
    pub fn link(&mut self) -> &mut dyn Broker {
        &mut *self.link
    }

    /// What crossed the socket so far.
    pub fn used(&self) -> Bytes {
        self.link.used()
    }

    /// Publishes an envelope of ours, or of ours from before.
    pub fn publish(&mut self, topic: String, bytes: Vec<u8>) {
        self.outbox.push_back(Outgoing::Record { topic, bytes });
        self.pump();
    }

    /// Publishes a chunk that this header of ours names.
    pub fn publish_chunk(&mut self, topic: String, header: Vec<u8>, index: u8, bytes: Vec<u8>) {
        self.outbox.push_back(Outgoing::Chunk { topic, header, index, bytes });
        self.pump();
    }

    /// Publishes an envelope of ours that came back, and may not have been kept: after all else.
    pub fn publish_again(&mut self, topic: String, bytes: Vec<u8>) {
        self.say_again(&Outgoing::Record { topic, bytes });
    }

    /// The same for a chunk that this header of ours names.
    pub fn publish_chunk_again(
        &mut self,
        topic: String,
        header: Vec<u8>,
        index: u8,
        bytes: Vec<u8>,
    ) {
        self.say_again(&Outgoing::Chunk { topic, header, index, bytes });
    }

    fn say_again(&mut self, outgoing: &Outgoing) {
        let said = with_sealed(&self.own, outgoing, |topic, sealed| {
            self.link.publish_again(topic, sealed)
        });
        if let Err(error) = said {
            debug!(%error, "not published again");
        }
    }

    /// Takes away what stands at a topic of ours; what stays comes again.
    pub fn clear(&mut self, topic: &Topic<'_>) {
        if let Err(error) = self.link.clear(topic) {
            debug!(%topic, %error, "not taken away");
        }
    }

    /// The next event, after waiting this long for one.
    pub fn next(&mut self, wait: Duration) -> Option<Event> {
        let event = self.link.next(wait)?;
        match &event {
            Event::Connected { .. } => self.connected = true,
            Event::Disconnected { .. } => self.connected = false,
            Event::Published(_) => self.pump(),
            Event::Failed { why, .. } => {
                if !matches!(why, NotPublished::Superseded) {
                    warn!(?why, "not published");
                }
                self.pump();
            }
            Event::Message(_)
            | Event::Subscribed { .. }
            | Event::SubscribeRefused { .. }
            | Event::Oversized { .. }
            | Event::Drained => {}
        }
        Some(event)
    }

    /// What the window is to be told of what crossed.
    pub fn inputs(&mut self) -> [Option<shoal_window::Input<'static>>; 2] {
        match self.purpose {
            For::Joining => [None, None],
            For::Window => self.meter.inputs(&*self.link),
        }
    }

    /// Lets cross what the window grants.
    pub fn grant(&mut self, window: &Window) {
        if self.purpose == For::Window {
            self.meter.grant(window, &mut *self.link);
        }
    }

    /// Listens to what these keys sign in the place of those before; what the vehicle says of itself comes back after it.
    pub fn follow(&mut self, before: &Board, now: &Board) {
        let (old, mut new) = (before.agreed(), now.agreed());
        for filter in old.iter().filter(|filter| !new.contains(filter)) {
            self.link.unsubscribe(filter);
        }
        new.retain(|filter| !old.contains(filter));
        let presence = now.presence();
        self.link.unsubscribe(&presence);
        for filter in new.iter().chain([&presence]) {
            self.link.subscribe(Subscription::Standing { filter, acknowledged: true });
        }
    }

    /// Listens to what vehicles say came of a campaign, or no longer. `held`: the broker's session may do so since a line before.
    pub fn listen(&mut self, board: &Board, listen: bool, held: bool) {
        for filter in &board.outcomes() {
            if held {
                self.link.let_go(filter);
            }
            if listen {
                self.link.subscribe(Subscription::Standing { filter, acknowledged: true });
            } else {
                self.link.unsubscribe(filter);
            }
        }
    }

    /// Listens to every vehicle, from now on.
    pub fn listen_to_all(&mut self, board: &Board) {
        for filter in &board.everybody() {
            self.link.subscribe(Subscription::Standing { filter, acknowledged: true });
        }
    }

    /// Listens to the particles of these vehicles, or no longer.
    pub fn listen_to(&mut self, board: &Board, vehicles: &BTreeSet<KeyId>, listen: bool) {
        for vehicle in vehicles.iter().filter(|vehicle| **vehicle != board.me) {
            let filter = &board.everywhere(&format!("particle/{vehicle}/#"));
            if listen {
                self.link.subscribe(Subscription::Standing { filter, acknowledged: true });
            } else {
                self.link.unsubscribe(filter);
            }
        }
    }

    /// Begins nothing more.
    pub fn finish(&mut self) {
        self.outbox.clear();
        self.link.finish();
    }

    /// Says goodbye. What crossed the socket in all.
    pub fn close(mut self) -> Bytes {
        self.link.close()
    }

    fn pump(&mut self) {
        while let Some(first) = self.outbox.front() {
            let published = with_sealed(&self.own, first, |topic, sealed| {
                self.link.publish(topic, sealed, None).map(|_ticket| ())
            });
            match published {
                Ok(()) => {}
                Err(PublishError::Full { .. }) => return,
                Err(error) => warn!(%error, "not published"),
            }
            self.outbox.pop_front();
        }
    }
}

/// A vehicle that waits longer than a small part of the window for its next try has lost the window.
fn backoff(usual: Backoff, open_seconds: u32) -> Backoff {
    let part = Wait::from_millis(u64::from(open_seconds).saturating_mul(1000) / TRIES_MIN);
    let longest = part.clamp(WAIT_MIN, usual.longest.max(WAIT_MIN));
    Backoff { first: usual.first.min(longest), longest, ..usual }
}

/// Hands on what is to be published, and where.
fn with_sealed(
    own: &Own,
    outgoing: &Outgoing,
    publish: impl FnOnce(&Topic<'_>, Sealed<'_>) -> Result<(), PublishError>,
) -> Result<(), PublishError> {
    let (Outgoing::Record { topic: text, .. } | Outgoing::Chunk { topic: text, .. }) = outgoing;
    let topic = Topic::decode(text).map_err(|_reject| PublishError::Topic)?;
    match outgoing {
        Outgoing::Record { bytes, .. } => {
            let record = read(&topic, bytes, own).map_err(|_reject| PublishError::Topic)?;
            publish(&topic, Sealed::Record(record.outbound()))
        }
        Outgoing::Chunk { header, index, bytes, .. } => {
            let header = Unverified::decode(header)
                .and_then(|header| header.verify::<ParticleHeader>(own))
                .map_err(|_reject| PublishError::Topic)?;
            let chunk = SealedChunk::new(&header, *index, bytes);
            let chunk = chunk.map_err(|_refused| PublishError::Topic)?;
            publish(&topic, Sealed::Chunk(chunk))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tries_again_often_enough_for_its_window() {
        let (first, longest) = (Wait::from_secs(1), Wait::from_secs(60));
        let waits = |open_seconds| {
            let backoff = backoff(Backoff { first, longest, seed: 1 }, open_seconds);
            (backoff.first.as_millis(), backoff.longest.as_millis())
        };
        assert_eq!(waits(0), (250, 250));
        assert_eq!(waits(40), (500, 500));
        assert_eq!(waits(400), (1000, 5_000));
        assert_eq!(waits(14_400), (1000, 60_000));
        assert_eq!(waits(u32::MAX), (1000, 60_000));
    }
}
