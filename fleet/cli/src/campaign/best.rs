//! What a fleet elected best, read from its broker and fetched whole.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

use embassy_time::{Duration as Wait, Instant as Boot};
use shoal_console::reader::Reader;
use shoal_link::{Addresses, Fetch, Fetched, Store};
use shoal_vehicle::exchange::key::verified;
use shoal_window::{Pace, TRANSFER_HEADER_KEY, Transfer};
use shoal_wire::v1::ParticleHeader;
use shoal_wire::{ChunkHash, KeyId, Label, Now, ParticleId, Utc};

use super::folder::Particle;
use crate::fleet::Description;
use crate::output::Failure;

/// How long a broker may take to tell of the fleet, and to hand over a particle of one publisher.
const PATIENCE: Duration = Duration::from_secs(60);
const PACE: Pace = Pace { bytes_min: 1024, period: Wait::from_secs(10) };
/// How often what is best is looked for: another one may be elected, and take its slot, while it comes.
const ELECTIONS_MAX: u32 = 3;
const TICK: Duration = Duration::from_millis(200);

/// Fetches what is best.
///
/// # Errors
/// When nobody answers, nothing is elected, or the particle is not to be had.
pub(super) fn fetch(
    description: &Description,
    broker: Addresses,
    certificates: Option<&Path>,
) -> Result<Particle, Failure> {
    let mut reader = Reader::open(&description.reading(broker, certificates)?)?;
    reader.settle(PATIENCE)?;
    let mut tried = Vec::new();
    for _election in 0..ELECTIONS_MAX {
        let now = reader.utc_seconds();
        let best = reader.state().best(now);
        let (particle, places) = best.ok_or_else(|| unelected(&mut reader, now))?;
        for place in places {
            let mut memory = Memory::default();
            let fetched = fetch_of(description, &mut reader, &mut memory, particle, place)?;
            if fetched == Fetched::Complete {
                return whole(memory, &reader);
            }
            tried.push(format!("{particle} of {}: {fetched:?}", place.0));
        }
    }
    Err(format!("what is best is not to be had:\n  {}", tried.join("\n  ")).into())
}

/// Why there is nothing to fetch.
fn unelected(reader: &mut Reader, now: u64) -> String {
    let history = reader.state_mut().view(now).history;
    let last = history.iter().rev().find_map(|of| Some((of.window, of.why.as_ref()?)));
    let why = last.map(|(window, why)| format!("\n  window {window}: {why}")).unwrap_or_default();
    format!("nothing is elected best yet: there is nothing to promote{why}")
}

/// Fetches a particle of one publisher, who may have left its header alone: others had the same.
fn fetch_of(
    description: &Description,
    reader: &mut Reader,
    memory: &mut Memory,
    particle: ParticleId,
    (publisher, slot): (KeyId, u8),
) -> Result<Fetched, Failure> {
    let (transfer, fleet) = (Transfer::new(particle, PACE), Label::new(&description.name)?);
    let mut fetch = Fetch::new(transfer, fleet, None, publisher, slot)?;
    let started = now();
    let mut fetched = start(&mut fetch, reader, memory, started)?;
    while fetched == Fetched::Going && started.elapsed() < PATIENCE {
        let event = reader.next(TICK);
        let at = boot(started, reader);
        let (state, link) = reader.parts();
        fetched = match &event {
            Some(event) => fetch.handle_event(at, event, state.keys(), link, memory),
            None => fetch.handle_timeout(at, link, memory),
        }
        .map_err(|error| error.0.to_string())?;
    }
    fetch.stop(reader.parts().1);
    Ok(fetched)
}

/// A particle that came.
fn whole(memory: Memory, reader: &Reader) -> Result<Particle, Failure> {
    let envelope = memory.header.ok_or("a particle without its header")?;
    let header = verified::<ParticleHeader>(&envelope, reader.state().keys())?.body().clone();
    if header.fields().anchor.is_some() {
        return Err("what is best is a difference to another particle".into());
    }
    let chunk = |hash: &ChunkHash| memory.chunks.get(hash.bytes()).cloned();
    let chunks: Option<Vec<_>> =
        header.fields().chunks.iter().map(|named| chunk(&named.hash)).collect();
    Ok(Particle { header, chunks: chunks.ok_or("a chunk is missing")? })
}

fn start(
    fetch: &mut Fetch,
    reader: &mut Reader,
    memory: &mut Memory,
    started: Instant,
) -> Result<Fetched, Failure> {
    let at = boot(started, reader);
    let (_state, link) = reader.parts();
    Ok(fetch.start(at, link, memory).map_err(|error| error.0.to_string())?)
}

fn boot(started: Instant, reader: &Reader) -> Now {
    let since_boot = Boot::from_millis(started.elapsed().as_millis() as u64);
    let seconds = reader.utc_seconds();
    Now { since_boot, utc: Utc::AtLeast { seconds } }
}

#[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
fn now() -> Instant {
    Instant::now()
}

/// A store for as long as the command runs.
#[derive(Default)]
struct Memory {
    header: Option<Vec<u8>>,
    chunks: BTreeMap<[u8; 32], Vec<u8>>,
}

impl Store for Memory {
    type Error = Infallible;

    fn keep_chunk(
        &mut self,
        _particle: ParticleId,
        _index: u8,
        hash: ChunkHash,
        bytes: &[u8],
    ) -> Result<(), Infallible> {
        self.chunks.insert(*hash.bytes(), bytes.to_vec());
        Ok(())
    }

    fn keep_record(
        &mut self,
        _particle: ParticleId,
        key: &'static str,
        bytes: &[u8],
    ) -> Result<(), Infallible> {
        if key == TRANSFER_HEADER_KEY {
            self.header = Some(bytes.to_vec());
        }
        Ok(())
    }
}
