//! What a gateway is told once, when it is flashed: whom it belongs to and whom it believes.

use heapless::Vec;
use serde::{Deserialize, Serialize};
use shoal_window::{Policy, TrialPolicy};
use shoal_wire::{KeyId, Keys, Kind, PublicKey};

use crate::crc::Crc;
use crate::protocol::decode;

/// How many publishers' particle headers are accepted.
pub const PUBLISHERS_MAX: usize = 8;

const MAGIC: [u8; 4] = *b"SHG2";
const HEAD_BYTES: usize = 4 + 2 + 4;

/// The first sector of the flash: magic, length u16, CRC-32 of the fields, the fields by postcard.
///
/// A gateway verifies partially, in Uptane's word: signatures of these keys, hashes and counters. That a publisher is still
/// on the roster, and all that a roster and its roles say, the vehicle computer verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provision {
    /// Signs window plans.
    pub authority: [u8; 32],
    /// Signs nonces, which say that it is not earlier.
    pub timekeeper: [u8; 32],
    /// This vehicle's key id: its turn in a window.
    pub vehicle: KeyId,
    /// May use a network that is paid by the byte.
    pub metered: bool,
    /// May exchange while driving.
    pub driving: bool,
    /// The lowest charge without external power, in percent.
    pub battery_soc_percent_min: u8,
    /// The highest temperature of the vehicle's computer, °C.
    pub temperature_c_max: i16,
    /// Frames to watch an adapter on trial before it is confirmed.
    pub trial_frames_min: u64,
    /// The loss at which a trial ends at once, in units of 1e-4, summed over frames.
    pub trial_loss_max: u64,
    /// Sign particle headers.
    pub publishers: Vec<[u8; 32], PUBLISHERS_MAX>,
}

/// Why a flash gives no provision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectProvision {
    /// Never written, or by another version.
    #[error("does not begin with SHG2")]
    Magic,
    /// Written in part, or damaged.
    #[error("length or CRC do not fit")]
    Damaged,
    /// Of other software.
    #[error("the fields do not decode")]
    Malformed,
    /// One of its keys can verify nothing.
    #[error("key {index} is none")]
    Key {
        /// 0: the authority; 1: the timekeeper; then the publishers.
        index: usize,
    },
}

impl Provision {
    /// Reads the start of the sector.
    ///
    /// # Errors
    /// [`RejectProvision`]: nothing of it is used, and nothing is ever accepted.
    pub fn decode(sector: &[u8]) -> Result<Self, RejectProvision> {
        let (magic, rest) = sector.split_first_chunk::<4>().ok_or(RejectProvision::Magic)?;
        if *magic != MAGIC {
            return Err(RejectProvision::Magic);
        }
        let damaged = RejectProvision::Damaged;
        let (len, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let (crc, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let fields = rest.get(..usize::from(u16::from_le_bytes(*len))).ok_or(damaged)?;
        if u32::from_le_bytes(*crc) != Crc::of(fields) {
            return Err(damaged);
        }
        let provision: Self = decode(fields).ok_or(RejectProvision::Malformed)?;
        let keys = [&provision.authority, &provision.timekeeper];
        for (index, key) in keys.into_iter().chain(&provision.publishers).enumerate() {
            PublicKey::decode(key).map_err(|_error| RejectProvision::Key { index })?;
        }
        Ok(provision)
    }

    /// Writes it to the start of `sector`: what is flashed. `None`: there is no room.
    pub fn encode<'a>(&self, sector: &'a mut [u8]) -> Option<&'a [u8]> {
        let (head, rest) = sector.split_first_chunk_mut::<HEAD_BYTES>()?;
        let fields = postcard::to_slice(self, rest).ok()?;
        let len = u16::try_from(fields.len()).ok()?;
        let parts: [&[u8]; 3] = [&MAGIC, &len.to_le_bytes(), &Crc::of(fields).to_le_bytes()];
        for (to, from) in head.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        sector.get(..HEAD_BYTES.checked_add(usize::from(len))?)
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy {
            metered: self.metered,
            driving: self.driving,
            battery_soc_percent_min: self.battery_soc_percent_min,
            temperature_c_max: self.temperature_c_max,
        }
    }

    pub(crate) fn trial_policy(&self) -> TrialPolicy {
        TrialPolicy { frames_min: self.trial_frames_min, loss_max: self.trial_loss_max }
    }

    /// The place of a publisher in the table.
    pub(crate) fn publisher(&self, id: KeyId) -> Option<usize> {
        self.publishers.iter().position(|key| KeyId::of(key) == id)
    }
}

impl Keys for Provision {
    fn find(&self, id: KeyId, kind: Kind) -> Option<PublicKey> {
        let key = match kind {
            Kind::WindowPlan => &self.authority,
            Kind::Nonce => &self.timekeeper,
            Kind::ParticleHeader => self.publishers.get(self.publisher(id)?)?,
            Kind::Claim
            | Kind::Vote
            | Kind::Presence
            | Kind::Roster
            | Kind::RosterPage
            | Kind::UtilityDocument
            | Kind::SwarmDocument
            | Kind::Refusal
            | Kind::Document => return None,
        };
        // The id first: a point of the curve takes long to decode.
        (KeyId::of(key) == id).then(|| PublicKey::decode(key).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use shoal_wire::SecretKey;

    use super::*;

    fn key(seed: u8) -> [u8; 32] {
        *SecretKey::from_seed(&[seed; 32]).public().bytes()
    }

    fn provision() -> Provision {
        Provision {
            authority: key(1),
            timekeeper: key(2),
            vehicle: KeyId::new([3; 8]),
            metered: false,
            driving: false,
            battery_soc_percent_min: 40,
            temperature_c_max: 85,
            trial_frames_min: 1000,
            trial_loss_max: 50_000,
            publishers: Vec::from_slice(&[key(4), key(5)]).unwrap(),
        }
    }

    #[test]
    fn what_is_flashed_is_read() {
        let mut sector = [0xff; 512];
        provision().encode(&mut sector).unwrap();
        assert_eq!(Provision::decode(&sector), Ok(provision()));
    }

    #[test]
    fn what_is_damaged_is_refused_at_every_byte() {
        let mut sector = [0xff; 512];
        let len = provision().encode(&mut sector).unwrap().len();
        for at in 0..len {
            let mut other = sector;
            other[at] ^= 1;
            assert!(Provision::decode(&other).is_err(), "byte {at}");
            assert!(Provision::decode(&sector[..at]).is_err(), "{at} bytes");
        }
        assert_eq!(Provision::decode(&[0xff; 512]), Err(RejectProvision::Magic));
    }

    #[test]
    fn fields_with_bytes_left_over_are_refused() {
        let mut sector = [0xff; 512];
        let len = provision().encode(&mut sector).unwrap().len();
        let fields = sector[HEAD_BYTES..=len].to_vec();
        sector[4..6].copy_from_slice(&(fields.len() as u16).to_le_bytes());
        sector[6..10].copy_from_slice(&Crc::of(&fields).to_le_bytes());
        assert_eq!(Provision::decode(&sector), Err(RejectProvision::Malformed));
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let mut weak = provision();
        weak.publishers[1] = [0; 32];
        let mut sector = [0xff; 512];
        weak.encode(&mut sector).unwrap();
        assert_eq!(Provision::decode(&sector), Err(RejectProvision::Key { index: 3 }));
    }

    #[test]
    fn a_key_signs_its_own_kind_alone() {
        let find = |seed, kind| provision().find(KeyId::of(&key(seed)), kind).is_some();
        for (seed, kind) in [
            (1, Kind::WindowPlan),
            (2, Kind::Nonce),
            (4, Kind::ParticleHeader),
            (5, Kind::ParticleHeader),
        ] {
            for other in Kind::ALL {
                assert_eq!(find(seed, other), other == kind, "key {seed}, {other:?}");
            }
        }
    }
}
