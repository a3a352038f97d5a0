//! A fleet in a few keys: what is signed, what is flashed.

use sha2::{Digest, Sha256};
use shoal_gateway::{PROVISION_BYTES_MAX, Provision};
use shoal_wire::v1::{
    Chunk, Nonce, NonceFields, ParticleHeader, ParticleHeaderFields, Role, WindowPlan,
    WindowPlanFields,
};
use shoal_wire::{Body, ChunkHash, KeyId, LayoutHash, ModelHash, ParticleId, SecretKey, seal};

/// A time within window 3 of the plan.
pub(crate) const UTC_SECONDS: u64 = 1_800_000_000;
pub(crate) const AUTHORITY: u8 = 1;
pub(crate) const TIMEKEEPER: u8 = 2;
pub(crate) const PUBLISHER: u8 = 3;
pub(crate) const OTHER_PUBLISHER: u8 = 4;
pub(crate) const STRANGER: u8 = 5;

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(crate) fn provision() -> Provision {
    let public = |seed| *key(seed).public().bytes();
    Provision {
        authority: public(AUTHORITY),
        timekeeper: public(TIMEKEEPER),
        vehicle: KeyId::new([7; 8]),
        metered: false,
        driving: false,
        battery_soc_percent_min: 40,
        temperature_c_max: 85,
        trial_frames_min: 100,
        trial_loss_max: 1000,
        publishers: [public(PUBLISHER), public(OTHER_PUBLISHER)].into_iter().collect(),
    }
}

/// The first bytes of a gateway's flash.
pub(crate) fn sector() -> Vec<u8> {
    provision().encode(&mut [0; PROVISION_BYTES_MAX]).unwrap().to_vec()
}

pub(crate) fn sealed<'a, T: Body<'a>>(body: &T, counter: u64, seed: u8) -> Vec<u8> {
    let mut buffer = [0; 1024];
    seal(body, counter, UTC_SECONDS + 86_400, &key(seed), &mut buffer).unwrap().bytes().to_vec()
}

pub(crate) fn plan_fields() -> WindowPlanFields {
    WindowPlanFields {
        epoch_seconds: UTC_SECONDS - 3_100,
        period_seconds: 1000,
        open_seconds: 900,
        jitter_ms_max: 0,
        up_bytes_max: 100_000,
        down_bytes_max: 4_000_000,
    }
}

pub(crate) fn plan(fields: WindowPlanFields, counter: u64) -> Vec<u8> {
    sealed(&WindowPlan::new(fields).unwrap(), counter, AUTHORITY)
}

pub(crate) fn nonce(utc_seconds: u64, counter: u64) -> Vec<u8> {
    let nonce = Nonce::new(NonceFields { window: 3, nonce: [9; 32], utc_seconds }).unwrap();
    sealed(&nonce, counter, TIMEKEEPER)
}

/// A particle with its chunks, and its header's envelope.
#[derive(Clone, Debug)]
pub(crate) struct Particle {
    pub(crate) envelope: Vec<u8>,
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) id: ParticleId,
}

impl Particle {
    /// Of chunks of these lengths, signed by the publisher with this counter.
    pub(crate) fn new(counter: u64, lengths: &[usize]) -> Self {
        Self::signed(counter, lengths, PUBLISHER)
    }

    pub(crate) fn signed(counter: u64, lengths: &[usize], seed: u8) -> Self {
        let chunk = |(index, bytes): (usize, &usize)| {
            let byte = |at: usize| (at * 31 + at / 251 + index * 17 + counter as usize) as u8;
            (0..*bytes).map(byte).collect::<Vec<u8>>()
        };
        let chunks: Vec<Vec<u8>> = lengths.iter().enumerate().map(chunk).collect();
        let named = chunks.iter().enumerate().map(|(index, chunk)| Chunk {
            first_value: 1000 * index as u32,
            bytes: chunk.len() as u32,
            hash: ChunkHash::new(Sha256::digest(chunk).into()),
        });
        let header = ParticleHeader::new(ParticleHeaderFields {
            role: Role::Best,
            window: 3,
            base_model: ModelHash::new([1; 32]),
            layout: LayoutHash::new([2; 32]),
            anchor: None,
            inputs: heapless::Vec::new(),
            coding: 1,
            values: 1_000_000,
            chunks: named.collect(),
        });
        let header = header.unwrap();
        Self { envelope: sealed(&header, counter, seed), chunks, id: header.id() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.chunks.concat()
    }
}
