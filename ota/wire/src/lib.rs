//! What crosses the air: envelopes, kinds, and the bodies they carry. `SPEC.md` beside this crate is
//! the one document; this code follows it.
//!
//! Bytes from outside become values in one direction only:
//! [`Unverified`] (a whole envelope in memory) or [`Stream`] (pieces of any size) → length, signature
//! → [`Verified`] body, canonical and within its bounds. The other way a body becomes bytes by [`seal`],
//! and only a [`Body`] can: the trait is sealed, so nothing raw leaves a vehicle by this crate.
//!
//! What a particle holds, f32 in great number, travels outside envelopes: [`coding`] turns it into chunks and back, and a
//! header names their hashes.
//!
//! No allocator, no clock, no panic on any bytes. Capacities are constants.
#![no_std]
#![warn(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod canonical;
pub mod coding;
mod envelope;
mod key;
mod kind;
mod name;
mod relay;
mod seal;
mod stream;
mod time;
mod topic;
pub mod v1;

pub use canonical::{RejectBody, decode_body};
pub use envelope::{
    ENVELOPE_OVERHEAD_BYTES, HEAD_BYTES, Head, RejectEnvelope, SIGNATURE_BYTES, Unverified,
    Verified,
};
pub use key::{KeyId, Keys, Message, PublicKey, RejectKey, SecretKey, Signer, Unsigned};
pub use kind::{Body, Kind};
pub use name::{ChunkHash, LayoutHash, ModelHash, PackHash, ParticleId, RecordId};
pub use relay::{RELAYED_BYTES_MAX, RELAYED_MAX, RejectRelayed, Relayed, relay, relayed};
pub use seal::{Outbound, SealError, seal};
pub use stream::{Authentic, Stream};
pub use time::{Now, Utc};
pub use topic::{
    BEACON_WINDOWS, DOCUMENT_SLOTS, LABEL_BYTES_MAX, Label, Leaf, RejectLabel, RejectPlace,
    RejectTopic, TOPIC_BYTES_MAX, Topic,
};
