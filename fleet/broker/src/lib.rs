//! The embedded MQTT broker: what demos and tests use where there is no other.
//!
//! A notice board and no more: retained messages, limits on what a client may leave there, no accounts. It
//! listens where it is told, on the machine itself unless told otherwise. Nothing of Shoal trusts a broker.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use mqtt5::broker::config::{StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, BrokerShutdownHandle, MqttBroker};
use tracing::info;

/// What `result.json` and logs call it.
pub const NAME: &str = "mqtt5";

/// What the longest record that vehicles ask for takes while it waits for one of them, its topic and what the broker adds with it.
const RECORD_BYTES: usize = 4 * 1024;

/// How a broker is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The longest MQTT packet a client may send, in bytes: at least 1,024. A longer one ends its connection.
    pub packet_bytes_max: u32,
    /// The most retained messages: as many wait for each client that asks for them, or it would be told a part of what stands there.
    pub retained_max: usize,
    /// The most clients at a time.
    pub clients_max: usize,
    /// Where retained messages outlive a restart; without it they live in memory.
    pub store: Option<PathBuf>,
}

impl Settings {
    /// A broker on a free port of this machine, for a fleet of some hundreds: packets of a chunk and what
    /// surrounds it, in memory.
    pub fn local() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            packet_bytes_max: 68 * 1024,
            retained_max: 100_000,
            clients_max: 10_000,
            store: None,
        }
    }
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The thread or what it waits with could not be had.
    #[error("no thread for the broker")]
    Thread(#[source] std::io::Error),
    /// Its address is taken, its folder cannot be written, or a limit is below what MQTT needs.
    #[error("the broker does not start on {listen}")]
    Start {
        /// Where it was to listen.
        listen: SocketAddr,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A broker that runs, in a thread of its own. Dropped, it stops.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

struct Shutdown(BrokerShutdownHandle);

impl std::fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shutdown")
    }
}

impl Broker {
    /// Starts a broker; it takes connections when this returns.
    ///
    /// # Errors
    /// [`BrokerError`]: nothing listens.
    pub fn start(settings: Settings) -> Result<Self, BrokerError> {
        let listen = settings.listen;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BrokerError::Thread)?;
        let config = config(settings);
        let mut broker = runtime
            .block_on(MqttBroker::with_config(config))
            .map_err(|source| BrokerError::Start { listen, source: source.into() })?;
        let address = broker.local_addr().unwrap_or(listen);
        let shutdown = Shutdown(broker.shutdown_handle());
        let mut ready = broker.ready_receiver();

        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new().name("broker".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                let run = tokio::spawn(async move { broker.run().await });
                // An error also drops the sender within, and ends the wait.
                let _ready = ready.changed().await;
                let _started = sender.send(run.is_finished());
                if let Ok(Err(error)) = run.await {
                    tracing::error!(%error, "broker ended");
                }
            });
        });
        let thread = thread.map_err(BrokerError::Thread)?;
        match receiver.recv() {
            Ok(false) => {}
            Ok(true) | Err(_) => {
                let source = "it ended before it was ready".into();
                return Err(BrokerError::Start { listen, source });
            }
        }
        info!(%address, "broker ready");
        Ok(Self { address, shutdown, thread: Some(thread) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as clients are told: `mqtt://127.0.0.1:1883`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Ends every connection, stores what it keeps, and returns when all that is done.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shutdown.0.shutdown();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("broker panicked");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

fn config(settings: Settings) -> BrokerConfig {
    let Settings { listen, packet_bytes_max, retained_max, clients_max, store } = settings;
    let storage = match store {
        Some(folder) => StorageConfig::new().with_base_dir(folder),
        None => StorageConfig::new().with_backend(StorageBackend::Memory),
    };
    // What is over either limit it drops, the oldest first, and says nothing of it.
    let storage = storage
        .with_max_queued_messages_per_client(retained_max)
        .with_max_queued_bytes_per_client(retained_max.saturating_mul(RECORD_BYTES));
    let mut config = BrokerConfig::new()
        .with_bind_address(listen)
        .with_max_packet_size(usize::try_from(packet_bytes_max).unwrap_or(usize::MAX))
        .with_max_retained_messages(retained_max)
        .with_max_clients(clients_max)
        .with_maximum_qos(1)
        .with_sys_topics_enabled(false);
    config.storage_config = storage;
    config
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn it_listens_when_it_is_started_and_not_when_it_is_stopped() {
        let broker = Broker::start(Settings::local()).unwrap();
        let address = broker.address();
        assert!(TcpStream::connect(address).is_ok());
        assert_eq!(broker.url(), format!("mqtt://127.0.0.1:{}", address.port()));
        broker.stop();
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_taken_address_is_an_error() {
        let broker = Broker::start(Settings::local()).unwrap();
        let again = Broker::start(Settings { listen: broker.address(), ..Settings::local() });
        assert!(
            matches!(again, Err(BrokerError::Start { listen, .. }) if listen == broker.address())
        );
    }
}
