//! What a vehicle shows to brokers with TLS. It is read for every line, so that certificates that last for days only are replaced as
//! files, by whatever renews them, while the vehicle runs.

use shoal_link::{Addresses, Settings, Tls};
use shoal_wire::KeyId;
use tracing::warn;

use super::line::LineError;
use crate::config::FleetConfig;

/// What was of use last.
#[derive(Debug, Default)]
pub(super) struct Certificates(Option<Tls>);

impl Certificates {
    /// How to reach the broker. Files that do not fit together, or are gone, may be on their way: what was shown before is shown
    /// again then.
    ///
    /// # Errors
    /// [`LineError`]: no address, or nothing to show yet.
    pub(super) fn settings(
        &mut self,
        fleet: &FleetConfig,
        me: KeyId,
    ) -> Result<Settings, LineError> {
        let brokers: Addresses = fleet.broker.parse()?;
        let settings = Settings::new(brokers, me);
        match settings.clone().with_certificates(fleet.certificates.as_deref()) {
            Ok(with) => {
                self.0.clone_from(&with.tls);
                Ok(with)
            }
            Err(error) if self.0.is_some() => {
                warn!(%error, "the certificates before are shown again");
                Ok(Settings { tls: self.0.clone(), ..settings })
            }
            Err(error) => Err(error.into()),
        }
    }
}
