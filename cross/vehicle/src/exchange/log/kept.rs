//! What a vault still holds of what its vehicle's log names.

use shoal_swarm::swarm::Flat;
use shoal_wire::v1::ParticleHeader;
use shoal_wire::{KeyId, Keys, Kind, ParticleId, PublicKey};

use super::Values;
use crate::config::FleetConfig;
use crate::exchange::keep::trust;
use crate::exchange::run::{ExchangeError, flat};
use crate::exchange::vault::{Vault, VaultError};
use crate::exchange::weights::{RejectWeights, decode};

/// Why values are not to be had, though they are there.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the chunks of the particle {particle} do not decode")]
    Chunks { particle: ParticleId, source: RejectWeights },
}

/// Who signed the window plans in a vehicle's log, as far as the vehicle knows: the authority of its configuration, and that of its newest
/// roots.
#[derive(Clone, Debug)]
pub struct Signers([PublicKey; 2]);

impl Signers {
    /// Those of this vehicle.
    ///
    /// # Errors
    /// [`ExchangeError`]: its roots or its vault cannot be read.
    pub fn of(fleet: &FleetConfig, vault: &Vault) -> Result<Self, ExchangeError> {
        let mut newest = fleet.clone();
        trust(&mut newest, vault)?;
        Ok(Self([fleet.authority, newest.authority]))
    }
}

impl Keys for Signers {
    fn find(&self, id: KeyId, kind: Kind) -> Option<PublicKey> {
        let plan = kind == Kind::WindowPlan;
        self.0.into_iter().find(|key| plan && key.id() == id)
    }
}

/// The values that a log names: a blob of its vault, or what the chunks of a particle hold, by its `header`. `None`: they were swept.
///
/// # Errors
/// [`KeptError`]: the vault cannot be read, or chunks are none.
pub fn kept(
    vault: &mut Vault,
    values: &Values,
    header: Option<&ParticleHeader>,
) -> Result<Option<Flat>, KeptError> {
    if let Some(bytes) = vault.blob(values.hash.bytes())? {
        return Ok(Some(flat(&bytes)));
    }
    let Some(header) = header else { return Ok(None) };
    let mut chunks = Vec::new();
    for chunk in &header.fields().chunks {
        let Some(bytes) = vault.blob(chunk.hash.bytes())? else { return Ok(None) };
        chunks.push(bytes);
    }
    let count = header.fields().values as usize;
    let values = decode(header, &chunks, count)
        .map_err(|source| KeptError::Chunks { particle: header.id(), source })?;
    Ok(Some(values.into()))
}
