//! The console as a program: a link to the broker and a server of pages, a thread each.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::reader::{Reader, ReaderError, Reading, since_boot};
use crate::serve::{Text, serve};

/// Between two views, while messages come.
const VIEW_EVERY: Duration = Duration::from_millis(300);
/// Between two views when nothing comes: vehicles fall silent, and windows pass.
const IDLE: Duration = Duration::from_secs(1);
/// How long readers have to go away when the console ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// How a console is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is shown.
    pub reading: Reading,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
}

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The fleet cannot be read.
    #[error(transparent)]
    Reader(#[from] ReaderError),
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
        let Settings { reading, listen } = settings;
        let failed = |source| ConsoleError::Listen { listen, source };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;

        let mut reader = Reader::open(&reading)?;
        let (sender, receiver) = watch::channel(text(&mut reader));
        let ends = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&ends);
        let watching = thread::Builder::new().name("console".to_owned());
        let watching = watching.spawn(move || watch(reader, &sender, &of_thread));
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
fn watch(mut reader: Reader, views: &watch::Sender<Text>, ends: &AtomicBool) {
    let mut shown = since_boot();
    let mut changed = false;
    while !ends.load(Ordering::Relaxed) {
        let _taken_in = reader.next(VIEW_EVERY);
        changed |= reader.take_changed();
        let due = if changed { VIEW_EVERY } else { IDLE };
        if shown.elapsed() >= due {
            views.send_replace(text(&mut reader));
            shown = since_boot();
            changed = false;
        }
    }
    reader.close();
}

fn text(reader: &mut Reader) -> Text {
    let now = reader.utc_seconds();
    // A view is text and numbers: it has a JSON form.
    serde_json::to_string(&reader.state_mut().view(now)).unwrap_or_default().into()
}
