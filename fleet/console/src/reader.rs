//! A fleet, read from its broker: the link that a console has, and commands that look once.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use embassy_time::Duration as Wait;
use shoal_link::{
    Addresses, Broker, CertificatesError, Event, Link, LinkError, Settings, Subscription, Why,
    filter,
};
use shoal_swarm::{campaign, reinstated};
use shoal_window::Bytes;
use shoal_wire::{KeyId, Label, Leaf, RejectLabel, RejectTopic, Topic};
use tracing::{info, warn};

use crate::state::{State, Trust};

/// More than what is read is worth, less than what hurts: a reader has no budget.
const PLENTY: Bytes = Bytes { up: 1 << 50, down: 1 << 50 };
/// All that stood on a broker has come when nothing came for so long.
const QUIET: Duration = Duration::from_secs(1);
/// There is no broker when there was no connection for so long.
const UNCONNECTED: Duration = Duration::from_secs(15);

/// One leaf of each kind that is shown: all but chunks, and documents of a pack.
const SHOWN: [Leaf; 11] = [
    Leaf::Roster,
    Leaf::RosterPage { index: 0 },
    Leaf::Plan,
    Leaf::Utility,
    Leaf::Swarm,
    Leaf::Nonce { window: 0 },
    Leaf::Claim { slot: 0 },
    Leaf::Vote { window: 0, place: 0 },
    Leaf::Particle { slot: 0 },
    Leaf::Presence,
    Leaf::Refusal { slot: 0 },
];

/// What is to be read, and where.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The fleet's name.
    pub fleet: String,
    /// The region that is looked at: its documents, its campaign. Vehicles of all regions are shown.
    pub region: String,
    /// Its number, as the roster has it.
    pub region_number: u16,
    /// Whom to believe.
    pub trust: Trust,
    /// The broker.
    pub broker: Addresses,
    /// Directory of `authority.pem`, `certificate.pem` and `key.pem`, for a broker with TLS.
    pub certificates: Option<PathBuf>,
    /// Tells the readers of one broker apart: random.
    pub id: KeyId,
}

/// Why there is no reader.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// A name that is no part of a topic.
    #[error("no name of a fleet or region")]
    Name(#[from] RejectLabel),
    /// No topic is made of them.
    #[error("no topic of this fleet")]
    Topic(#[from] RejectTopic),
    /// The broker has TLS, and there is not what it needs.
    #[error("no certificates")]
    Certificates(#[from] CertificatesError),
    /// There is no link.
    #[error("no link to the broker")]
    Link(#[from] LinkError),
}

/// Why nothing is known of a fleet.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled {
    /// There was no connection.
    #[error(
        "no connection to {broker} in {seconds} s{}: is a broker there, and does it let us in?",
        why.as_ref().map_or_else(String::new, |why| format!(" ({})", words(why)))
    )]
    NoBroker {
        /// Where it was looked for.
        broker: Addresses,
        /// For how long.
        seconds: u64,
        /// What the last try ended with.
        why: Option<Why>,
    },
    /// There is a broker.
    #[error(
        "{broker} has no roster and plan of {fleet} / {region} that the fleet's authority signed: `shoal fleet serve` publishes them"
    )]
    Unknown {
        /// Where it was looked for.
        broker: Addresses,
        /// The fleet.
        fleet: String,
        /// The region.
        region: String,
    },
}

/// Why a connection ended, for who reads of it.
fn words(why: &Why) -> String {
    let plain = match why {
        Why::Network(kind) => return kind.to_string(),
        Why::Tls(said) => return format!("TLS: {said}"),
        Why::Refused(said) => return format!("the broker refuses: {said}"),
        Why::Goodbye(said) => return format!("the broker said goodbye: {said}"),
        Why::Unfit => "the broker retains nothing, or acknowledges nothing",
        Why::Silent => "the broker does not answer",
        Why::Malformed => "what answers speaks no MQTT",
        Why::TakenOver => "another link has this name",
        Why::Budget => "nothing more may be sent or received",
        Why::Closed => "it was closed here",
    };
    plain.to_owned()
}

/// A link, and what came over it.
#[derive(Debug)]
pub struct Reader {
    reading: Reading,
    link: Link,
    /// Whether there was a connection.
    connected: bool,
    /// What the last connection, or the last try for one, ended with.
    ended: Option<Why>,
    state: State,
    /// Filters that the broker has not taken.
    asked: usize,
    /// Whether the view is another than when this was asked last.
    changed: bool,
}

impl Reader {
    /// Begins to connect.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn open(reading: &Reading) -> Result<Self, ReaderError> {
        let Reading { fleet, region, region_number, trust, broker, certificates, id } = reading;
        let settings = Settings::new(broker.clone(), *id);
        let mut settings = settings.with_certificates(certificates.as_deref())?;
        settings.client_id = format!("console-{id}");
        settings.limit = PLENTY;
        settings.backoff.first = Wait::from_millis(250);
        settings.backoff.longest = Wait::from_secs(5);
        let (name, place) = (Label::new(fleet)?, Label::new(region)?);
        let ordered = |slot| Topic::new(name, place, trust.authority.id(), Leaf::Document { slot });
        let ordered = [ordered(campaign::SLOT)?, ordered(reinstated::SLOT)?];
        let ordered = ordered.iter().map(ToString::to_string);
        let filters = SHOWN.iter().map(|leaf| {
            // The swarm is one, whatever regions its vehicles are in.
            let region = (!leaf.is_of_vehicles()).then_some(place);
            filter(name, region, *leaf)
        });
        let filters = filters.chain(ordered);
        let mut link = Link::open(settings)?;
        let mut asked = 0;
        for filter in filters {
            link.subscribe(Subscription::Standing { filter: &filter, acknowledged: true });
            asked += 1;
        }
        Ok(Reader {
            reading: reading.clone(),
            link,
            connected: false,
            ended: None,
            state: State::new(fleet, (region, *region_number), *trust),
            asked,
            changed: false,
        })
    }

    /// The next event, after waiting this long for one; what is a record has been taken in.
    pub fn next(&mut self, wait: Duration) -> Option<Event> {
        let event = self.link.next(wait)?;
        match &event {
            Event::Connected { .. } => {
                self.state.connected(true);
                (self.connected, self.changed) = (true, true);
            }
            Event::Disconnected { why, .. } => {
                info!(?why, "no broker");
                self.ended = Some(why.clone());
                self.state.connected(false);
                self.changed = true;
            }
            Event::Message(message) => {
                let now = self.utc_seconds();
                self.changed |= self.state.message(now, &message.topic, &message.payload);
            }
            Event::SubscribeRefused { filter, reason, .. } => {
                warn!(filter, reason, "the broker refuses a subscription");
                self.asked = self.asked.saturating_sub(1);
            }
            Event::Subscribed { .. } => self.asked = self.asked.saturating_sub(1),
            Event::Published(_)
            | Event::Failed { .. }
            | Event::Oversized { .. }
            | Event::Drained => {}
        }
        Some(event)
    }

    /// Reads until all that stood there has come, or for so long while more and more comes.
    ///
    /// # Errors
    /// [`Unsettled`]: nobody tells of this fleet.
    pub fn settle(&mut self, patience: Duration) -> Result<(), Unsettled> {
        let (started, mut last) = (since_boot(), since_boot());
        while started.elapsed() < if self.connected { patience } else { patience.min(UNCONNECTED) }
        {
            if self.next(QUIET).is_some() {
                last = since_boot();
            }
            if self.asked == 0 && last.elapsed() >= QUIET {
                break;
            }
        }
        if self.asked == 0 && self.state.is_known() {
            return Ok(());
        }
        let Reading { fleet, region, broker, .. } = self.reading.clone();
        Err(if self.connected {
            Unsettled::Unknown { broker, fleet, region }
        } else {
            let seconds = started.elapsed().as_secs();
            Unsettled::NoBroker { broker, seconds, why: self.ended.clone() }
        })
    }

    /// What is known of the fleet.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The same, to be viewed.
    pub const fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// What is known, and the link: to fetch a particle over it.
    pub fn parts(&mut self) -> (&State, &mut Link) {
        (&self.state, &mut self.link)
    }

    /// Whether the view is another than when this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// UTC in seconds, as this computer believes it.
    #[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
    pub fn utc_seconds(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// Says goodbye.
    pub fn close(mut self) {
        self.link.close();
    }
}

#[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
pub(crate) fn since_boot() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn who_finds_no_broker_reads_why_in_words() {
        let broker = "mqtt://127.0.0.1:9".parse().unwrap();
        let why = Some(Why::Network(ErrorKind::ConnectionRefused));
        let said = Unsettled::NoBroker { broker, seconds: 15, why }.to_string();
        assert!(said.contains("in 15 s (connection refused): is a broker there"), "{said}");
        let said = words(&Why::Refused("NotAuthorized".to_owned()));
        assert_eq!(said, "the broker refuses: NotAuthorized");
    }
}
