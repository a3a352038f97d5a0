//! What the window keeps over a power cut: the plan's envelope, and what was granted of the budget.

use heapless::Vec;
use shoal_wire::v1::{WINDOW_PLAN_BYTES_MAX, WindowPlan};
use shoal_wire::{Keys, RejectEnvelope, Unverified, Verified};

use crate::budget::Bytes;

/// The store's key of the window plan: its envelope, as received.
pub const PLAN_KEY: &str = "window/plan";
/// The store's key of the ledger: what was granted in the newest window.
pub const LEDGER_KEY: &str = "window/ledger";
/// Bytes of the ledger.
pub const LEDGER_BYTES: usize = 1 + 8 + 4 + 8 + 8;

const LEDGER_VERSION: u8 = 1;

/// One record to make durable: it replaces the one with the same key, as a whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// [`PLAN_KEY`] or [`LEDGER_KEY`].
    pub key: &'static str,
    /// What to store.
    pub bytes: &'a [u8],
}

/// What a store gave back, checked. The default is an empty store: a first start.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub(crate) plan: Option<Kept>,
    pub(crate) ledger: Ledger,
}

/// Why what a store gave back was rejected. Nothing of it is used; the vehicle waits for a plan anew.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectSaved {
    /// The plan is no envelope of a plan, or its key may not sign plans any more.
    #[error("stored window plan rejected")]
    Plan(#[source] RejectEnvelope),
    /// The ledger is of another version or length.
    #[error("stored ledger of {len} bytes does not decode")]
    Ledger { len: usize },
}

impl Saved {
    /// Reads what the store holds under [`PLAN_KEY`] and [`LEDGER_KEY`], if anything.
    ///
    /// # Errors
    /// [`RejectSaved`]: a store can be damaged, or put back to an older state by whoever holds it.
    pub fn decode(
        plan: Option<&[u8]>,
        ledger: Option<&[u8]>,
        keys: &impl Keys,
    ) -> Result<Self, RejectSaved> {
        let plan = plan
            .map(|bytes| {
                let verified = Unverified::decode(bytes)?.verify::<WindowPlan>(keys)?;
                Ok(Kept::new(&verified))
            })
            .transpose()
            .map_err(RejectSaved::Plan)?;
        let ledger = ledger
            .map(|bytes| Ledger::decode(bytes).ok_or(RejectSaved::Ledger { len: bytes.len() }))
            .transpose()?
            .unwrap_or_default();
        Ok(Self { plan, ledger })
    }
}

/// The plan in force, with its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) plan: WindowPlan,
    pub(crate) counter: u64,
    pub(crate) not_after_seconds: u64,
    pub(crate) bytes: Vec<u8, WINDOW_PLAN_BYTES_MAX>,
}

impl Kept {
    pub(crate) fn new(verified: &Verified<'_, WindowPlan>) -> Self {
        Self {
            plan: *verified.body(),
            counter: verified.head().counter,
            not_after_seconds: verified.head().not_after_seconds,
            // A verified plan is within the capacity: no byte is lost.
            bytes: Vec::from_slice(verified.bytes()).unwrap_or_default(),
        }
    }

    pub(crate) fn budget(&self) -> Bytes {
        let fields = self.plan.fields();
        Bytes { up: fields.up_bytes_max, down: fields.down_bytes_max }
    }
}

/// The newest window the vehicle took part in, and what it may have used of its budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Of the plan that numbers the window; 0 before the first.
    pub(crate) plan_counter: u64,
    pub(crate) window: u32,
    pub(crate) granted: Bytes,
}

impl Ledger {
    pub(crate) fn encode(&self) -> [u8; LEDGER_BYTES] {
        let mut bytes = [0; LEDGER_BYTES];
        let fields: [&[u8]; 5] = [
            &[LEDGER_VERSION],
            &self.plan_counter.to_le_bytes(),
            &self.window.to_le_bytes(),
            &self.granted.up.to_le_bytes(),
            &self.granted.down.to_le_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (plan_counter, rest) = rest.split_first_chunk()?;
        let (window, rest) = rest.split_first_chunk()?;
        let (up, rest) = rest.split_first_chunk()?;
        let (down, rest) = rest.split_first_chunk()?;
        (*version == LEDGER_VERSION && rest.is_empty()).then(|| Self {
            plan_counter: u64::from_le_bytes(*plan_counter),
            window: u32::from_le_bytes(*window),
            granted: Bytes { up: u64::from_le_bytes(*up), down: u64::from_le_bytes(*down) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_survives_the_store() {
        let granted = Bytes { up: u64::MAX, down: 3 };
        let ledger = Ledger { plan_counter: 1 << 40, window: 77, granted };
        assert_eq!(Ledger::decode(&ledger.encode()), Some(ledger));
    }

    #[test]
    fn a_ledger_of_another_length_or_version_is_refused() {
        let bytes = Ledger::default().encode();
        for len in 0..LEDGER_BYTES {
            assert_eq!(Ledger::decode(bytes.get(..len).unwrap_or_default()), None);
        }
        let mut other = bytes;
        if let Some(version) = other.first_mut() {
            *version = 2;
        }
        assert_eq!(Ledger::decode(&other), None);
    }
}
