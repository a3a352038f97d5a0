//! What the tests of the envelope share: keys, bodies, envelopes.

use shoal_wire::v1::{
    CHUNK_BYTES_MAX, Chunk, ParticleHeader, ParticleHeaderFields, Role, WindowPlan,
    WindowPlanFields,
};
use shoal_wire::{
    Body, ChunkHash, KeyId, Keys, Kind, LayoutHash, ModelHash, ParticleId, PublicKey, SecretKey,
    seal,
};

/// One key that may sign every kind.
pub(crate) struct OneKey(pub(crate) PublicKey);

impl Keys for OneKey {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<&PublicKey> {
        (self.0.id() == id).then_some(&self.0)
    }
}

pub(crate) fn secret() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

pub(crate) fn keys() -> OneKey {
    OneKey(secret().public())
}

pub(crate) fn header_fields(chunks: u8) -> ParticleHeaderFields {
    ParticleHeaderFields {
        role: Role::Contribution,
        slot: 5,
        window: 300,
        base_model: ModelHash::new([1; 32]),
        layout: LayoutHash::new([2; 32]),
        anchor: Some(ParticleId::new([3; 32])),
        values: 1_000_000,
        chunks: (0..chunks)
            .map(|index| Chunk {
                first_value: u32::from(index) * 40_000,
                bytes: CHUNK_BYTES_MAX - u32::from(index),
                hash: ChunkHash::new([index; 32]),
            })
            .collect(),
    }
}

pub(crate) fn header(chunks: u8) -> ParticleHeader {
    ParticleHeader::new(header_fields(chunks)).unwrap()
}

pub(crate) fn plan() -> WindowPlan {
    WindowPlan::new(WindowPlanFields {
        epoch_seconds: 1_750_000_000,
        period_seconds: 86_400,
        open_seconds: 3_600,
        jitter_ms_max: 600_000,
        up_bytes_max: 1 << 20,
        down_bytes_max: 1 << 24,
    })
    .unwrap()
}

pub(crate) fn sealed<T: Body>(body: &T) -> Vec<u8> {
    let mut buffer = [0; 2048];
    seal(body, 41, 1_800_000_000, &secret(), &mut buffer).unwrap().bytes().to_vec()
}
