//! How a link is to be: parsed once, complete.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use embassy_time::Duration;
use shoal_window::Bytes;
use shoal_wire::KeyId;

use crate::backoff::Backoff;

/// Which MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1: no limits told, no expiry, no reasons; all that is needed.
    V311,
}

/// Where a broker listens: `mqtt://host:port`, or `mqtts://host:port` with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// 1883 or 8883 when the text names none.
    pub port: u16,
    /// Whether the link is encrypted, and both ends show a certificate.
    pub tls: bool,
}

/// Why a text is no address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectAddress {
    /// Begins with neither `mqtt://` nor `mqtts://`.
    #[error("{text:?} begins with neither mqtt:// nor mqtts://")]
    Scheme {
        /// The text.
        text: String,
    },
    /// No host, or a port that is no number from 1 to 65,535.
    #[error("{text:?} does not name host and port")]
    Host {
        /// The text.
        text: String,
    },
}

impl FromStr for Address {
    type Err = RejectAddress;

    fn from_str(text: &str) -> Result<Self, RejectAddress> {
        let plain = text.strip_prefix("mqtt://").map(|rest| (rest, false));
        let encrypted = text.strip_prefix("mqtts://").map(|rest| (rest, true));
        let scheme = || RejectAddress::Scheme { text: text.to_owned() };
        let (rest, tls) = plain.or(encrypted).ok_or_else(scheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let refused = || RejectAddress::Host { text: text.to_owned() };
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(refused)?)),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_error| refused())?,
            None if tls => 8883,
            None => 1883,
        };
        if host.is_empty() || host.contains(['/', '@', ' ']) || port == 0 {
            return Err(refused());
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, tls } = self;
        let scheme = if *tls { "mqtts" } else { "mqtt" };
        let ipv6 = host.contains(':');
        let (open, close) = if ipv6 { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{host}{close}:{port}")
    }
}

/// The nodes of one broker, tried one after the other: addresses with commas between them. At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(Vec<Address>);

impl Addresses {
    /// Whether one of them is encrypted.
    pub fn tls(&self) -> bool {
        self.0.iter().any(|address| address.tls)
    }
}

impl From<Address> for Addresses {
    fn from(address: Address) -> Self {
        Self(vec![address])
    }
}

impl FromStr for Addresses {
    type Err = RejectAddress;

    fn from_str(text: &str) -> Result<Self, RejectAddress> {
        text.split(',').map(|address| address.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

/// What TLS needs, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificates that sign brokers.
    pub authority_pem: Vec<u8>,
    /// This vehicle's certificate and those above it.
    pub certificates_pem: Vec<u8>,
    /// Its key.
    pub key_pem: Vec<u8>,
}

/// Why there are no certificates.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// Only an address without TLS needs none.
    #[error(
        "{broker} needs certificates: a folder with authority.pem, certificate.pem and key.pem"
    )]
    None { broker: Address },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// What they hold does not serve for a connection.
    #[error("{} holds no certificates of use: {why}", folder.display())]
    Unfit { folder: PathBuf, why: String },
}

impl Tls {
    /// Reads `authority.pem` (who signs brokers), `certificate.pem` (one's own, and those above it) and `key.pem` of a folder.
    ///
    /// # Errors
    /// [`CertificatesError`], naming the file.
    pub fn read(folder: &Path) -> Result<Self, CertificatesError> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|source| CertificatesError::Read { path, source })
        };
        let tls = Self {
            authority_pem: read("authority.pem")?,
            certificates_pem: read("certificate.pem")?,
            key_pem: read("key.pem")?,
        };
        #[cfg(feature = "tls")]
        if let Err(why) = crate::dial::client(&tls) {
            let (folder, why) = (folder.to_owned(), why.to_string());
            return Err(CertificatesError::Unfit { folder, why });
        }
        Ok(tls)
    }

    /// Until when the vehicle's certificate counts, UTC in seconds since 1970; `None`: it does not say so in a form of RFC 5280, 4.1.2.5.
    #[must_use]
    pub fn ends_seconds(&self) -> Option<u64> {
        #[cfg(feature = "tls")]
        return crate::dial::ends_seconds(&self.certificates_pem);
        #[cfg(not(feature = "tls"))]
        None
    }
}

/// Says nothing of the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// How a link is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Brokers to try, one after the other: nodes of one cluster. At least one.
    pub brokers: Vec<Address>,
    /// Needed by an address with TLS.
    pub tls: Option<Tls>,
    /// The name towards the broker: one link of that name at a time.
    pub client_id: String,
    /// Which MQTT.
    pub version: Version,
    /// The longest silence; then the broker is asked, and given up after as long again. 1 s to 18 hours.
    pub keep_alive: Duration,
    /// The longest wait for a connection to be made and accepted.
    pub connect_timeout: Duration,
    /// How long the broker keeps subscriptions over a cut, in seconds: what it retains is then not sent again. 0:
    /// not at all. Over a goodbye, too, with MQTT 5, unless something was asked of that connection alone and has not come.
    pub session_seconds: u32,
    /// Whether the first connection begins a session of its own: an earlier life may have left one that asks for too much.
    pub fresh: bool,
    /// The longest packet to take, in bytes; a longer message is passed over.
    pub packet_bytes_max: u32,
    /// Between tries.
    pub backoff: Backoff,
    /// What may cross the socket, both ways, until [`crate::Broker::limit`] says more.
    pub limit: Bytes,
    /// Of that, how many bytes of what was acknowledged may be published again, at most: the rest is for what never was.
    pub again_bytes_max: u64,
}

impl Settings {
    /// With the certificates of this folder, if one of the brokers is an address with TLS.
    ///
    /// # Errors
    /// [`CertificatesError`].
    pub fn with_certificates(mut self, folder: Option<&Path>) -> Result<Self, CertificatesError> {
        if let Some(broker) = self.brokers.iter().find(|broker| broker.tls) {
            let none = || CertificatesError::None { broker: broker.clone() };
            self.tls = Some(Tls::read(folder.ok_or_else(none)?)?);
        }
        Ok(self)
    }

    /// A vehicle's link to a broker: MQTT 5, half a minute of silence, packets of a chunk and what surrounds it,
    /// tries from one second apart to a minute, no session, and not a byte before a limit is set.
    pub fn new(broker: impl Into<Addresses>, vehicle: KeyId) -> Self {
        let Addresses(brokers) = broker.into();
        Self {
            brokers,
            tls: None,
            client_id: vehicle.to_string(),
            version: Version::V5,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(20),
            session_seconds: 0,
            fresh: true,
            packet_bytes_max: 68 * 1024,
            backoff: Backoff {
                first: Duration::from_secs(1),
                longest: Duration::from_secs(60),
                seed: u64::from_le_bytes(*vehicle.bytes()),
            },
            limit: Bytes::default(),
            again_bytes_max: u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written() {
        for (text, host, port, tls, shown) in [
            ("mqtt://broker", "broker", 1883, false, "mqtt://broker:1883"),
            ("mqtt://10.0.0.1:99/", "10.0.0.1", 99, false, "mqtt://10.0.0.1:99"),
            ("mqtts://broker.example", "broker.example", 8883, true, "mqtts://broker.example:8883"),
            ("mqtt://[::1]:7", "::1", 7, false, "mqtt://[::1]:7"),
            ("mqtts://[::1]", "::1", 8883, true, "mqtts://[::1]:8883"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address, Address { host: host.to_owned(), port, tls });
            assert_eq!(address.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "broker:1883", "http://broker", "MQTT://broker"] {
            assert!(matches!(text.parse::<Address>(), Err(RejectAddress::Scheme { .. })), "{text}");
        }
        for text in [
            "mqtt://",
            "mqtt://:1883",
            "mqtt://a:0",
            "mqtt://a:65536",
            "mqtt://[::1]7",
            "mqtt://user@host",
            "mqtt://a/b",
            "mqtt://a:1883/b",
        ] {
            assert!(matches!(text.parse::<Address>(), Err(RejectAddress::Host { .. })), "{text}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let pem = b"secret".to_vec();
        let tls = Tls { authority_pem: pem.clone(), certificates_pem: pem.clone(), key_pem: pem };
        assert!(!format!("{tls:?}").contains("secret"));
    }

    #[test]
    fn nodes_of_a_broker_stand_behind_each_other() {
        let text = "mqtt://one:1, mqtts://two";
        let addresses: Addresses = text.parse().unwrap();
        assert_eq!(addresses.to_string(), "mqtt://one:1,mqtts://two:8883");
        assert!(addresses.tls());
        assert_eq!(Settings::new(addresses, KeyId::new([0; 8])).brokers.len(), 2);
        assert!("mqtt://one,".parse::<Addresses>().is_err());
    }
}
