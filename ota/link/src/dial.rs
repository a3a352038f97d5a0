//! Opening a socket: TCP without delay, and TLS over it when the address asks for it.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::broker::Why;
use crate::settings::{Address, Tls};

/// What MQTT crosses: below it, nothing is counted.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(crate) type Socket = Box<dyn Stream>;

pub(crate) async fn dial(broker: &Address, tls: Option<&Tls>) -> Result<Socket, Why> {
    let network = |error: io::Error| Why::Network(error.kind());
    let stream = TcpStream::connect((broker.host.as_str(), broker.port)).await.map_err(network)?;
    // Small packets wait for an acknowledgement of those before otherwise: 40 ms a round trip.
    stream.set_nodelay(true).map_err(network)?;
    if !broker.tls {
        return Ok(Box::new(stream));
    }
    encrypt(stream, broker, tls).await
}

#[cfg(not(feature = "tls"))]
async fn encrypt(_stream: TcpStream, _at: &Address, _tls: Option<&Tls>) -> Result<Socket, Why> {
    Err(Why::Tls("built without it".to_owned()))
}

#[cfg(feature = "tls")]
async fn encrypt(stream: TcpStream, at: &Address, tls: Option<&Tls>) -> Result<Socket, Why> {
    use std::sync::Arc;

    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::ServerName;

    let tls = tls.ok_or_else(|| Why::Tls("no certificates".to_owned()))?;
    let config = client(tls).map_err(|error| Why::Tls(error.to_string()))?;
    let name =
        ServerName::try_from(at.host.clone()).map_err(|error| Why::Tls(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream =
        connector.connect(name, stream).await.map_err(|error| crate::link::ended(&error))?;
    Ok(Box::new(stream))
}

/// Both ends show a certificate.
#[cfg(feature = "tls")]
pub(crate) fn client(
    tls: &Tls,
) -> Result<tokio_rustls::rustls::ClientConfig, Box<dyn std::error::Error>> {
    use std::sync::Arc;

    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&tls.authority_pem) {
        roots.add(certificate?)?;
    }
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&tls.certificates_pem).collect();
    let key = PrivateKeyDer::from_pem_slice(&tls.key_pem)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates?, key)?;
    Ok(config)
}

/// When the first certificate of this PEM ends, UTC in seconds since 1970.
#[cfg(feature = "tls")]
pub(crate) fn ends_seconds(pem: &[u8]) -> Option<u64> {
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use x509_cert::Certificate;
    use x509_cert::der::Decode;

    let der = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    let certificate = Certificate::from_der(&der).ok()?;
    let validity = certificate.tbs_certificate().validity();
    Some(validity.not_after.to_unix_duration().as_secs())
}
