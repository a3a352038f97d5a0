//! The vehicle's key, and the next one: once the authority's roster names that in its place, the vehicle goes on under it. What it learned
//! is its own, whatever it is called.

use std::fs::{self, File};
use std::path::Path;

use embassy_time::Duration;
use shoal_keys::{KeyAt, KeyError};
use shoal_window::{Phase, SLOTS_KEY};
use shoal_wire::{KeyId, SecretKey, Signer};
use tracing::{info, warn};

use super::publishing::{HEADER, OUTGOING};
use super::run::{Exchange, ExchangeError};
use super::vault::Vault;
use crate::config::FleetConfig;

/// Which key took the place of the one that is configured: its id.
const IDENTITY: &str = "identity";
/// After so long a next key that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The key that the vehicle has now.
pub(super) fn open(fleet: &FleetConfig, vault: &Vault) -> Result<Box<dyn Signer>, ExchangeError> {
    if let Some(id) = vault.get(IDENTITY)?
        && let Some(next) = &fleet.next_key
    {
        let next = next.open()?;
        if id == next.public().id().bytes() {
            return Ok(next);
        }
    }
    Ok(fleet.key.open()?)
}

/// Makes the file of the next key, or reads the one that is there; `None`: the next key is in a token, and made there.
///
/// # Errors
/// [`KeyError`], or there are no random bytes.
pub fn make_next(fleet: &FleetConfig) -> Result<Option<SecretKey>, ExchangeError> {
    let Some(KeyAt::File(path)) = fleet.next_key() else { return Ok(None) };
    if path.exists() {
        return Ok(Some(shoal_keys::read(&path)?));
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(ExchangeError::Noise)?;
    Ok(Some(shoal_keys::create(&path, &seed)?))
}

impl Exchange {
    /// Whether the vehicle is called otherwise from now on: the roster names its next key, and no window is open, in which it would
    /// say the same under two names. It begins anew, from what it keeps.
    pub(super) fn is_renamed(&mut self) -> Result<bool, ExchangeError> {
        let open = matches!(self.phase, Some(Phase::Open { .. } | Phase::Closing { .. }));
        if !self.roster_is_new || open || self.documents.keyring().roster().count() == 0 {
            return Ok(false);
        }
        let now = self.clock.now().since_boot;
        if self.next_key_again.is_some_and(|again| now < again) {
            return Ok(false);
        }
        let roster = self.documents.keyring().roster();
        let names = |id: KeyId| roster.present(id) == Some(id);
        let next = self.fleet.next_key();
        let opened = match &next {
            Some(at) if !names(self.me) && is_there(at) => Some(at.open()),
            Some(_) | None => None,
        };
        let opened = match opened.transpose() {
            Ok(opened) => opened,
            Err(error) => {
                if self.next_key_again.replace(now + AGAIN).is_none() {
                    warn!(vehicle = %self.me, %error, "the roster does not name this vehicle's key, and the next one cannot be opened: it is tried again");
                }
                return Ok(false);
            }
        };
        let is_told = self.next_key_again.is_some();
        (self.roster_is_new, self.next_key_again) = (false, None);
        if names(self.me) {
            return Ok(false);
        }
        let Some(id) = opened.map(|key| key.public().id()).filter(|id| names(*id)) else {
            warn!(vehicle = %self.me, "the roster does not name this vehicle's key: nobody hears it");
            return Ok(false);
        };
        if let (KeyAt::File(key), Some(KeyAt::File(_next))) = (&self.fleet.key, &next)
            && let Err(error) = may_replace(key)
        {
            if !is_told {
                warn!(vehicle = %self.me, %error, path = %key.display(), "the roster names the next key, which cannot take this one's place: the agent must be able to write to its folder; it is tried again");
            }
            (self.roster_is_new, self.next_key_again) = (true, Some(now + AGAIN));
            return Ok(false);
        }
        info!(vehicle = %self.me, next = %id, "the roster names the next key");
        // What was sealed by the old one is not to be said by the new one.
        for sealed in [OUTGOING, HEADER] {
            for key in self.vault.keys(sealed)? {
                self.vault.remove(&key)?;
            }
        }
        self.vault.remove(SLOTS_KEY)?;
        match (&self.fleet.key, &next) {
            (KeyAt::File(key), Some(KeyAt::File(next))) => replace(next, key)?,
            (KeyAt::File(_) | KeyAt::Token(_), _) => self.vault.put(IDENTITY, id.bytes())?,
        }
        Ok(true)
    }
}

/// Whether there is a next key: none has to lie where it would be looked for.
fn is_there(next: &KeyAt) -> bool {
    match next {
        KeyAt::File(path) => path.exists(),
        KeyAt::Token(_) => true,
    }
}

/// Whether something can be put in a key's place: it is found out before anything is forgotten that was sealed by it.
fn may_replace(key: &Path) -> std::io::Result<()> {
    let mut tried = key.to_path_buf().into_os_string();
    tried.push(".tried");
    drop(File::create(&tried)?);
    fs::remove_file(&tried)
}

/// The key that was there is no more.
fn replace(next: &Path, key: &Path) -> Result<(), KeyError> {
    let renamed = fs::rename(next, key).and_then(|()| {
        let folder = key.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    });
    renamed.map_err(|source| KeyError::Write { path: key.to_path_buf(), source })
}
