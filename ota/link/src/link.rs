//! The shell: one thread a link, its socket, its clock. Callers only touch the session, under a lock that is
//! never held over a wait.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::{BufMut, Bytes as Payload, BytesMut};
use embassy_time::Instant;
use shoal_window::Bytes;
use shoal_wire::Topic;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time;
use tracing::{debug, info};

use crate::broker::{Broker, Event, PublishError, Sealed, Subscription, Ticket, Why};
use crate::dial::{Socket, dial};
use crate::session::{Session, Todo};
use crate::settings::{Settings, Version};

/// Bytes read at a time.
const READ_BYTES: usize = 32 * 1024;
/// How long the last words may take, if nobody takes them.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// [`Settings::brokers`] is empty.
    #[error("no broker to connect to")]
    NoBroker,
    /// The thread, or what it waits with, could not be had.
    #[error("no thread for the link")]
    Thread(#[source] io::Error),
}

/// A link to a broker. It connects by itself, again and again, and lives until it is dropped.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    session: Mutex<Session>,
    /// Towards the thread: something may be done.
    changed: Notify,
    /// Towards the caller: there are events.
    events: Condvar,
    quit: Notify,
    started: time::Instant,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Session> {
        // A panic under the lock is a bug that ends the thread; what the session holds is still true.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(micros)
    }

    /// That moment, on the thread's clock.
    fn at(&self, instant: Instant) -> time::Instant {
        self.started + Duration::from_micros(instant.as_micros())
    }

    /// Lets the thread look at the session, and the caller at its events.
    fn changed(&self) {
        self.changed.notify_one();
        self.events.notify_all();
    }
}

impl Link {
    /// Begins to connect.
    ///
    /// # Errors
    /// [`LinkError`]: there is no link.
    pub fn open(settings: Settings) -> Result<Self, LinkError> {
        if settings.brokers.is_empty() {
            return Err(LinkError::NoBroker);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(LinkError::Thread)?;
        let started = time::Instant::now();
        let session = Mutex::new(Session::new(settings.clone(), Instant::MIN));
        let (changed, events, quit) = (Notify::new(), Condvar::new(), Notify::new());
        let shared = Arc::new(Shared { session, changed, events, quit, started });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("link".to_owned());
        let thread = thread.spawn(move || run(&runtime, &of_thread, &settings));
        Ok(Self { shared, thread: Some(thread.map_err(LinkError::Thread)?) })
    }

    /// Comes back after [`Why::TakenOver`].
    pub fn resume(&mut self) {
        self.shared.lock().resume(self.shared.now());
        self.shared.changed();
    }

    fn end(&mut self) {
        self.shared.lock().goodbye();
        self.shared.changed();
        self.shared.quit.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("link panicked");
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end();
    }
}

impl Broker for Link {
    fn publish(
        &mut self,
        topic: &Topic<'_>,
        sealed: Sealed<'_>,
        expiry_seconds: Option<u32>,
    ) -> Result<Ticket, PublishError> {
        let ticket = self.shared.lock().leave(topic, sealed, expiry_seconds);
        self.shared.changed();
        ticket
    }

    fn publish_again(&mut self, topic: &Topic<'_>, sealed: Sealed<'_>) -> Result<(), PublishError> {
        let taken = self.shared.lock().leave_again(topic, sealed);
        self.shared.changed();
        taken
    }

    fn clear(&mut self, topic: &Topic<'_>) -> Result<Ticket, PublishError> {
        let ticket = self.shared.lock().publish(&topic.text(), Payload::new(), None);
        self.shared.changed();
        ticket
    }

    fn subscribe(&mut self, subscription: Subscription<'_>) {
        self.shared.lock().subscribe(subscription);
        self.shared.changed();
    }

    fn unsubscribe(&mut self, filter: &str) {
        self.shared.lock().unsubscribe(filter);
        self.shared.changed();
    }

    fn let_go(&mut self, filter: &str) {
        self.shared.lock().let_go(filter);
        self.shared.changed();
    }

    fn leaves(&self) -> bool {
        self.shared.lock().leaves()
    }

    fn next(&mut self, wait: Duration) -> Option<Event> {
        let session = self.shared.lock();
        let waited =
            self.shared.events.wait_timeout_while(session, wait, |session| !session.has_event());
        let (mut session, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let event = session.poll_event();
        drop(session);
        // There is room again, if there was none.
        self.shared.changed.notify_one();
        event
    }

    fn used(&self) -> Bytes {
        self.shared.lock().used()
    }

    fn limit(&mut self, until: Bytes) {
        self.shared.lock().limit(self.shared.now(), until);
        self.shared.changed();
    }

    fn needs(&self) -> Option<Bytes> {
        self.shared.lock().needs()
    }

    fn version(&self) -> Version {
        self.shared.lock().version()
    }

    fn finish(&mut self) {
        self.shared.lock().finish();
        self.shared.changed();
    }

    fn close(&mut self) -> Bytes {
        self.end();
        self.used()
    }
}

fn run(runtime: &Runtime, shared: &Shared, settings: &Settings) {
    runtime.block_on(async {
        let quit = async {
            shared.quit.notified().await;
            time::sleep(GOODBYE).await;
        };
        tokio::select! {
            () = connections(shared, settings) => {}
            () = quit => {}
        }
    });
}

/// One connection after the other, until the session is closed for good.
async fn connections(shared: &Shared, settings: &Settings) {
    for broker in settings.brokers.iter().cycle() {
        while let Todo::Wait(until) = shared.todo() {
            if shared.lock().is_closed() {
                return;
            }
            let until = until.map(|until| shared.at(until));
            tokio::select! {
                () = shared.changed.notified() => {}
                () = sleep_until(until) => {}
            }
        }
        let wait = Duration::from_micros(settings.connect_timeout.as_micros());
        let why = match time::timeout(wait, dial(broker, settings.tls.as_ref())).await {
            Ok(Ok(socket)) => serve(shared, socket).await,
            Ok(Err(why)) => why,
            Err(_elapsed) => Why::Silent,
        };
        info!(%broker, ?why, "connection ended");
        shared.lock().close(shared.now(), why);
        shared.events.notify_all();
    }
}

/// One connection, to its end.
async fn serve(shared: &Shared, socket: Socket) -> Why {
    debug!("connected");
    let (mut reader, mut writer) = tokio::io::split(socket);
    let mut output = BytesMut::new();
    let mut input = BytesMut::new();
    let mut unflushed = false;
    let mut ends: Option<time::Instant> = None;
    shared.lock().open(shared.now());
    loop {
        let (read_bytes_max, until, ending) = {
            let mut session = shared.lock();
            if output.is_empty() {
                output = session.take_output();
            }
            let until = session.poll_timeout().map(|until| shared.at(until));
            (session.read_bytes_max(), until, session.ending().cloned())
        };
        let writes = !output.is_empty() || unflushed;
        // Last words are for who takes them.
        let until = match ending {
            None => until,
            Some(Why::Silent) => return Why::Silent,
            Some(why) => {
                let by = *ends.get_or_insert_with(|| time::Instant::now() + GOODBYE);
                if writes && time::Instant::now() < by {
                    Some(by)
                } else {
                    let _closed_or_cut = time::timeout(GOODBYE, writer.shutdown()).await;
                    if why == Why::Closed && !writes {
                        read_out(shared, &mut reader).await;
                    }
                    return why;
                }
            }
        };
        let write = async {
            match output.is_empty() {
                false => writer.write_buf(&mut output).await,
                true => writer.flush().await.map(|()| 0),
            }
        };
        let read = async {
            input.reserve(READ_BYTES);
            reader.read_buf(&mut (&mut input).limit(read_bytes_max)).await
        };
        tokio::select! {
            sent = write, if writes => match sent {
                Ok(0) => unflushed = false,
                Ok(bytes) => {
                    unflushed = true;
                    ends = None;
                    shared.lock().sent(shared.now(), bytes);
                }
                Err(error) => return ended(&error),
            },
            came = read, if read_bytes_max > 0 => match came {
                Ok(0) => return Why::Network(io::ErrorKind::UnexpectedEof),
                Ok(_bytes) => shared.lock().receive(shared.now(), input.split()),
                Err(error) => return ended(&error),
            },
            () = shared.changed.notified() => {}
            () = sleep_until(until) => shared.lock().handle_timeout(shared.now()),
        }
        shared.events.notify_all();
    }
}

/// Reads to the end what the broker had on its way: a socket that is closed before is cut, and the broker may lose what was
/// said last, acknowledgements among it.
async fn read_out(shared: &Shared, reader: &mut ReadHalf<Socket>) {
    let mut input = BytesMut::new();
    loop {
        let bytes_max = shared.lock().read_bytes_max();
        input.reserve(READ_BYTES);
        match reader.read_buf(&mut (&mut input).limit(bytes_max)).await {
            Ok(0) | Err(_) => return,
            Ok(_bytes) => shared.lock().receive(shared.now(), input.split()),
        }
    }
}

/// With TLS 1.3 a broker refuses a certificate after it has let the client speak.
pub(crate) fn ended(error: &io::Error) -> Why {
    if error.kind() == io::ErrorKind::InvalidData {
        return Why::Tls(error.to_string());
    }
    Why::Network(error.kind())
}

impl Shared {
    fn todo(&self) -> Todo {
        self.lock().todo(self.now())
    }
}

/// Until then; for ever when there is no then.
async fn sleep_until(until: Option<time::Instant>) {
    match until {
        Some(until) => time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose peer accepts it, and takes nothing more.
    fn stuck(leave: impl FnOnce(&Shared) + Send + 'static) -> Option<Why> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(async {
            let address: crate::Addresses = "mqtt://broker".parse().unwrap();
            let mut settings = Settings::new(address, shoal_wire::KeyId::new([7; 8]));
            settings.keep_alive = embassy_time::Duration::from_secs(1);
            settings.limit = Bytes { up: 1 << 30, down: 1 << 30 };
            let shared = Shared {
                session: Mutex::new(Session::new(settings, Instant::MIN)),
                changed: Notify::new(),
                events: Condvar::new(),
                quit: Notify::new(),
                started: time::Instant::now(),
            };
            let chunk = Payload::from(vec![7; 64 * 1024]);
            shared.lock().publish("a", chunk, None).unwrap();
            let (mut peer, socket) = tokio::io::duplex(4096);
            peer.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
            let leaves = async {
                time::sleep(Duration::from_millis(100)).await;
                leave(&shared);
                std::future::pending::<()>().await;
            };
            let ended = async {
                tokio::select! {
                    why = serve(&shared, Box::new(socket)) => why,
                    () = leaves => unreachable!(),
                }
            };
            time::timeout(Duration::from_secs(20), ended).await.ok()
        })
    }

    #[test]
    fn who_takes_nothing_more_is_given_up() {
        assert_eq!(stuck(|_shared| {}), Some(Why::Silent));
        let goodbye = |shared: &Shared| {
            shared.lock().goodbye();
            shared.changed();
        };
        assert_eq!(stuck(goodbye), Some(Why::Closed));
    }
}
