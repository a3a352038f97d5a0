//! Reinstatement: the authority's order that what the quorum found against a vehicle is not held against it any more.
//!
//! An order names a window. What was found before that window counts no more from that window on; what is found in it or later
//! counts as ever, and how windows before it are read does not change. Findings stay on record, and who was found out gets no word
//! back: what it found then is held against nobody (docs/decisions/0072).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use shoal_wire::KeyId;
use shoal_wire::v1::RefusalCode;

use crate::records::STANDING_WINDOWS;

/// The name of the document that carries it.
pub const NAME: &str = "reinstated";
/// The slot of that document.
pub const SLOT: u8 = 30;
/// Most orders of a document: fewer bytes than a document has room for.
pub const ORDERS_MAX: usize = 4_096;

/// Who is in good standing again, and from which window on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reinstated {
    /// Key id and window, strictly growing.
    orders: Vec<(KeyId, u32)>,
}

/// Why bytes or orders reinstate nobody.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReinstated {
    #[error("no list of vehicles and windows")]
    Malformed,
    #[error("its bytes are not the only ones of its content")]
    NotCanonical,
    #[error("{count} reinstatements, at most {ORDERS_MAX} allowed")]
    TooMany { count: usize },
    /// Twice the same, or not by growing key id and window.
    #[error("reinstatement {index} does not follow the one before")]
    Order { index: usize },
}

impl RejectReinstated {
    /// How a refusal names it.
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::Malformed => RefusalCode::Malformed,
            Self::NotCanonical => RefusalCode::NotCanonical,
            Self::TooMany { .. } | Self::Order { .. } => RefusalCode::OutOfBounds,
        }
    }
}

impl Reinstated {
    /// Nobody.
    pub const NOBODY: Self = Self { orders: Vec::new() };

    /// Of these vehicles, each by a key id that it has or had, from these windows on.
    ///
    /// # Errors
    /// [`RejectReinstated::TooMany`], [`RejectReinstated::Order`].
    pub fn new(orders: Vec<(KeyId, u32)>) -> Result<Self, RejectReinstated> {
        let count = orders.len();
        if count > ORDERS_MAX {
            return Err(RejectReinstated::TooMany { count });
        }
        let pairs = orders.iter().zip(orders.iter().skip(1));
        match pairs.zip(1..).find(|((one, next), _index)| one >= next) {
            Some((_pair, index)) => Err(RejectReinstated::Order { index }),
            None => Ok(Self { orders }),
        }
    }

    /// Reads what a document of the name [`NAME`] carries: a list of {key id, window u32}.
    ///
    /// # Errors
    /// [`RejectReinstated`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RejectReinstated> {
        let (orders, _rest) = postcard::take_from_bytes::<Vec<(KeyId, u32)>>(bytes)
            .map_err(|_error| RejectReinstated::Malformed)?;
        let read = Self::new(orders)?;
        if read.encode() == bytes { Ok(read) } else { Err(RejectReinstated::NotCanonical) }
    }

    /// What a document of the name [`NAME`] carries.
    pub fn encode(&self) -> Vec<u8> {
        // Ids and numbers can be written.
        postcard::to_extend(&self.orders, Vec::new()).unwrap_or_default()
    }

    /// Key id and window of each, in order.
    pub fn orders(&self) -> &[(KeyId, u32)] {
        &self.orders
    }

    /// These and one more, signed while this window is the next to open and records count for so many windows
    /// ([`age_windows`](crate::records::age_windows)): without those that change how no record is read any more.
    ///
    /// # Errors
    /// [`RejectReinstated::TooMany`].
    pub fn and(
        &self,
        order: (KeyId, u32),
        next: u32,
        age_windows: u32,
    ) -> Result<Self, RejectReinstated> {
        // The oldest window of which there are records, and what standing in it looks back on.
        let old = next.saturating_sub(age_windows).saturating_sub(2 * STANDING_WINDOWS);
        let orders = self.orders.iter().copied().filter(|(_vehicle, from)| *from >= old);
        let orders: BTreeSet<(KeyId, u32)> = orders.chain([order]).collect();
        Self::new(orders.into_iter().collect())
    }

    /// From which window on what was found in window `found` is not held against the vehicle of these names any more; `None`: it
    /// is for as long as the quorum looks back on it.
    pub fn from(&self, names: impl IntoIterator<Item = KeyId>, found: u32) -> Option<u32> {
        let windows = names.into_iter().flat_map(|name| self.windows(name));
        windows.filter(|window| *window > found).min()
    }

    fn windows(&self, name: KeyId) -> impl Iterator<Item = u32> {
        let first = self.orders.partition_point(|(vehicle, _window)| *vehicle < name);
        let from_here = self.orders.iter().skip(first);
        from_here.take_while(move |(vehicle, _)| *vehicle == name).map(|(_vehicle, window)| *window)
    }
}
