//! Somebody who reads everything that a fleet publishes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use embassy_time::Duration as Wait;
use shoal_link::{Address, Broker as _, Event, Link, Settings, Subscription};
use shoal_swarm::inbox::{Record, read};
use shoal_vehicle::config::FleetConfig;
use shoal_window::Bytes;
use shoal_wire::v1::Role;
use shoal_wire::{KeyId, ParticleId, PublicKey, Topic};

use crate::invariants::Vehicles;

/// More than a test ever sends.
const PLENTY: Bytes = Bytes { up: 1 << 40, down: 1 << 40 };

/// One message: its topic and its bytes.
pub type Seen = (String, Vec<u8>);

/// The observer; a thread, until it is dropped.
#[derive(Debug)]
pub struct Observer {
    seen: Arc<Mutex<Vec<Seen>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Reads from now on, over restarts of the broker.
    ///
    /// # Panics
    /// When it cannot begin.
    pub fn start(told: &FleetConfig) -> Self {
        let address: Address = told.broker.parse().expect("an address");
        let mut settings = Settings::new(address, KeyId::new([0xEE; 8]));
        settings.limit = PLENTY;
        settings.backoff.first = Wait::from_millis(20);
        settings.backoff.longest = Wait::from_millis(200);
        let mut link = Link::open(settings).expect("a link");
        let filter = format!("shoal/1/{}/+/#", told.name);
        link.subscribe(Subscription::Standing { filter: &filter, acknowledged: true });
        let (seen, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (of_thread, told_to_end) = (Arc::clone(&seen), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            while !told_to_end.load(Ordering::Relaxed) {
                if let Some(Event::Message(message)) = link.next(Duration::from_millis(50)) {
                    let mut seen = of_thread.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push((message.topic, message.payload.to_vec()));
                }
            }
        });
        Self { seen, ends, thread: Some(thread) }
    }

    /// What came after so many.
    pub fn seen_after(&self, count: usize) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(count..).unwrap_or_default().to_vec()
    }

    /// Whether these vehicles published contributions, after so many messages, of which one merge was made that was published, too.
    pub fn saw_a_merge_of(&self, vehicles: &[PublicKey], after: usize) -> bool {
        let keys = Vehicles(vehicles.to_vec());
        let mut contributed: Vec<(KeyId, ParticleId)> = Vec::new();
        for (topic, bytes) in self.seen_after(after) {
            let Ok(topic) = Topic::decode(&topic) else { continue };
            let Ok(Record::ParticleHeader(header)) = read(&topic, &bytes, &keys) else { continue };
            let fields = header.body().fields();
            match fields.role {
                Role::Contribution => contributed.push((header.head().key, header.body().id())),
                Role::Merge => {
                    let of = contributed.iter().filter(|(_signer, particle)| {
                        fields.inputs.iter().any(|input| input.particle == *particle)
                    });
                    let of: BTreeSet<KeyId> = of.map(|(signer, _particle)| *signer).collect();
                    if of.len() == vehicles.len() {
                        return true;
                    }
                }
                Role::Best | Role::Worst => {}
            }
        }
        false
    }

    /// All that came so far, in its order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
