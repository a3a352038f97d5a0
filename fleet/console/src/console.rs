//! The console as a program: a link to the broker and a server of pages, a thread each.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use embassy_time::Duration as Wait;
use shoal_link::{
    Addresses, Broker as _, CertificatesError, Event, Link, LinkError, Settings as LinkSettings,
    Subscription, filter,
};
use shoal_window::Bytes;
use shoal_wire::{KeyId, Label, Leaf, RejectLabel};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::serve::{Text, serve};
use crate::state::{State, Trust};

/// More than a page is worth, less than what hurts: a console has no budget.
const PLENTY: Bytes = Bytes { up: 1 << 50, down: 1 << 50 };
/// Between two views, while messages come.
const VIEW_EVERY: Duration = Duration::from_millis(300);
/// Between two views when nothing comes: vehicles fall silent, and windows pass.
const IDLE: Duration = Duration::from_secs(1);
/// How long readers have to go away when the console ends.
const GOODBYE: Duration = Duration::from_secs(1);

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

/// How a console is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The fleet's name.
    pub fleet: String,
    /// The region that is looked at.
    pub region: String,
    /// Whom to believe.
    pub trust: Trust,
    /// The broker.
    pub broker: Addresses,
    /// Directory of `authority.pem`, `certificate.pem` and `key.pem`, for a broker with TLS.
    pub certificates: Option<PathBuf>,
    /// Tells the consoles of one broker apart: random.
    pub id: KeyId,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
}

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// A name that is no part of a topic.
    #[error("no name of a fleet or region")]
    Name(#[from] RejectLabel),
    /// The broker has TLS, and there is not what it needs.
    #[error("no certificates")]
    Certificates(#[from] CertificatesError),
    /// There is no link.
    #[error("no link to the broker")]
    Link(#[from] LinkError),
    /// The address is taken, or is none of this machine's.
    #[error("the console does not listen on {listen}")]
    Listen {
        /// Where it was to listen.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No thread.
    #[error("no thread for the console")]
    Thread(#[source] io::Error),
}

/// A console that runs. Dropped, it stops.
#[derive(Debug)]
pub struct Console {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Console {
    /// Starts a console. It answers when this returns, whether or not there is a broker.
    ///
    /// # Errors
    /// [`ConsoleError`]: nothing listens.
    pub fn start(settings: Settings) -> Result<Self, ConsoleError> {
        let Settings { fleet, region, trust, broker, certificates, id, listen } = settings;
        let failed = |source| ConsoleError::Listen { listen, source };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;

        let of_link = LinkSettings::new(broker, id);
        let mut of_link = of_link.with_certificates(certificates.as_deref())?;
        of_link.client_id = format!("console-{id}");
        of_link.limit = PLENTY;
        of_link.backoff.first = Wait::from_millis(250);
        of_link.backoff.longest = Wait::from_secs(5);
        let (name, place) = (Label::new(&fleet)?, Label::new(&region)?);
        let filters: Vec<String> = SHOWN.iter().map(|leaf| filter(name, place, *leaf)).collect();
        let mut link = Link::open(of_link)?;
        for filter in &filters {
            link.subscribe(Subscription::Standing { filter, acknowledged: true });
        }

        let mut state = State::new(&fleet, &region, trust);
        let (sender, receiver) = watch::channel(text(&mut state));
        let ends = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&ends);
        let watching = thread::Builder::new().name("console".to_owned());
        let watching = watching.spawn(move || watch(link, state, &sender, &of_thread));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ConsoleError::Thread)?;
        let serving = thread::Builder::new().name("pages".to_owned());
        let serving = serving.spawn(move || {
            let served = runtime.block_on(async {
                let mut last = receiver.clone();
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let serving = tokio::spawn(serve(listener, receiver));
                while last.changed().await.is_ok() {}
                // Who holds a connection open holds up no end.
                match tokio::time::timeout(GOODBYE, serving).await {
                    Ok(Ok(served)) => served,
                    Ok(Err(_)) | Err(_) => Ok(()),
                }
            });
            if let Err(error) = served {
                warn!(%error, "pages ended");
            }
        });
        let threads =
            vec![watching.map_err(ConsoleError::Thread)?, serving.map_err(ConsoleError::Thread)?];
        info!(%address, "console ready");
        Ok(Self { address, ends, threads })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to open in a browser: `http://127.0.0.1:7070/`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Ends it, and returns when it has ended.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("console panicked");
            }
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes in what comes, and shows it now and then, until it is to end.
fn watch(mut link: Link, mut state: State, views: &watch::Sender<Text>, ends: &AtomicBool) {
    let mut shown = since_boot();
    let mut changed = false;
    while !ends.load(Ordering::Relaxed) {
        match link.next(VIEW_EVERY) {
            Some(Event::Connected { .. }) => {
                state.connected(true);
                changed = true;
            }
            Some(Event::Disconnected { why, .. }) => {
                info!(?why, "no broker");
                state.connected(false);
                changed = true;
            }
            Some(Event::Message(message)) => {
                changed |= state.message(utc_seconds(), &message.topic, &message.payload);
            }
            Some(Event::SubscribeRefused { filter, reason, .. }) => {
                warn!(filter, reason, "the broker refuses a subscription");
            }
            Some(
                Event::Subscribed { .. }
                | Event::Published(_)
                | Event::Failed { .. }
                | Event::Oversized { .. }
                | Event::Drained,
            )
            | None => {}
        }
        let due = if changed { VIEW_EVERY } else { IDLE };
        if shown.elapsed() >= due {
            views.send_replace(text(&mut state));
            shown = since_boot();
            changed = false;
        }
    }
    link.close();
}

fn text(state: &mut State) -> Text {
    // A view is text and numbers: it has a JSON form.
    serde_json::to_string(&state.view(utc_seconds())).unwrap_or_default().into()
}

#[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
fn utc_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
fn since_boot() -> Instant {
    Instant::now()
}
