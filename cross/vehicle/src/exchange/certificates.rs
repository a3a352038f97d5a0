//! What a vehicle shows to brokers with TLS. It is read for every line, so that certificates that last for days only are replaced as
//! files, by whatever renews them, while the vehicle runs.

use std::net::IpAddr;
use std::path::Path;

use shoal_link::{Address, Addresses, Settings, Tls};
use shoal_wire::KeyId;
use tracing::warn;

use super::line::LineError;
use crate::config::FleetConfig;

/// What was of use last.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    shown: Option<Tls>,
    /// Whether it was said what others may read.
    told: bool,
}

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
        if !std::mem::replace(&mut self.told, true) {
            tell(&settings.brokers, fleet.certificates.as_deref());
        }
        match settings.clone().with_certificates(fleet.certificates.as_deref()) {
            Ok(with) => {
                self.shown.clone_from(&with.tls);
                Ok(with)
            }
            Err(error) if self.shown.is_some() => {
                warn!(%error, "the certificates before are shown again");
                Ok(Settings { tls: self.shown.clone(), ..settings })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Says what others may read: the line, or the key that opens it.
fn tell(brokers: &[Address], certificates: Option<&Path>) {
    for broker in brokers.iter().filter(|broker| !broker.tls && !is_this_computer(&broker.host)) {
        warn!(
            %broker,
            "without TLS: whoever is on the line reads everything, and can take this vehicle's place at the broker; use mqtts:// with [fleet] certificates"
        );
    }
    let key = certificates.map(|folder| folder.join("key.pem"));
    if let Some(key) = key.filter(|key| can_be_read_by_others(key)) {
        let path = key.display();
        warn!(%path, "others may read this key: make it readable by its owner only (chmod 600)");
    }
}

fn is_this_computer(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(unix)]
fn can_be_read_by_others(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn can_be_read_by_others(_file: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_computer_s_own_addresses_are_its_own() {
        for (host, own) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("10.0.2.2", false),
            ("broker", false),
        ] {
            assert_eq!(is_this_computer(host), own, "{host}");
        }
    }
}
