//! What the authority signs: envelopes as files, one for each document.

use std::path::{Path, PathBuf};

use shoal_hal::backend::files::write_whole;
use shoal_wire::v1::{
    ROSTER_PAGE_VEHICLES_MAX, Roster, RosterFields, RosterPage, RosterPageFields, Vehicle,
};
use shoal_wire::{Body, Kind, RecordId, SecretKey, seal};

use crate::output::Failure;

/// A folder of signed documents.
pub(super) struct Desk<'a> {
    folder: PathBuf,
    key: &'a SecretKey,
    /// Of the last envelope.
    counter: u64,
    not_after_seconds: u64,
}

impl<'a> Desk<'a> {
    /// A desk whose first envelope has counter 1.
    pub(super) fn new(folder: &Path, key: &'a SecretKey, not_after_seconds: u64) -> Self {
        Desk { folder: folder.to_path_buf(), key, counter: 0, not_after_seconds }
    }

    /// Signs a body and writes it as `NAME.shl`.
    pub(super) fn sign<'b, T: Body<'b>>(
        &mut self,
        name: &str,
        body: &T,
    ) -> Result<RecordId, Failure> {
        self.counter += 1;
        let mut buffer = vec![0; Kind::envelope_bytes_max(T::KIND)];
        let sealed = seal(body, self.counter, self.not_after_seconds, self.key, &mut buffer)?;
        write_whole(&self.folder.join(name).with_extension("shl"), sealed.bytes())?;
        Ok(sealed.id())
    }

    /// Signs the pages of a roster, then the head that names them.
    pub(super) fn sign_roster(
        &mut self,
        version: u32,
        vehicles: &[Vehicle],
    ) -> Result<(), Failure> {
        let mut pages = Vec::new();
        for (index, page) in vehicles.chunks(ROSTER_PAGE_VEHICLES_MAX as usize).enumerate() {
            let rows: Vec<u8> = page.iter().flat_map(Vehicle::encode).collect();
            let index = u16::try_from(index)?;
            let page = RosterPage::new(RosterPageFields { version, index, vehicles: &rows })?;
            pages.extend_from_slice(self.sign(&format!("rosterpage-{index}"), &page)?.bytes());
        }
        let count = u32::try_from(vehicles.len())?;
        let head = Roster::new(RosterFields { version, vehicles: count, pages: &pages })?;
        self.sign("roster", &head).map(|_id| ())
    }
}
