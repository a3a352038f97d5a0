//! Somebody who publishes what no link would: any bytes at any topic.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::clock::PATIENCE_SECONDS;

/// A connection of MQTT 3.1.1.
pub struct Publisher {
    stream: Box<dyn Stream>,
    packet: u16,
}

/// Bytes both ways.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("packet", &self.packet).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Connects.
    ///
    /// # Panics
    /// When the broker does not accept it.
    pub fn connect(to: SocketAddr) -> Self {
        Self::reach(to).expect("the broker accepts it")
    }

    /// Connects, if there is a broker that accepts it.
    pub fn reach(to: SocketAddr) -> Option<Self> {
        Self::over(Box::new(socket(to)?), 0)
    }

    /// The same; the broker gives it up when it is silent for half as long again as these seconds.
    pub fn reach_for(to: SocketAddr, keep_alive_seconds: u8) -> Option<Self> {
        Self::over(Box::new(socket(to)?), keep_alive_seconds)
    }

    /// Connects with the certificate in this folder, to a broker on localhost.
    ///
    /// # Panics
    /// When the folder holds no certificate, or the broker does not accept it.
    pub fn connect_with(to: SocketAddr, folder: &Path) -> Self {
        let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
            let all = CertificateDer::pem_file_iter(folder.join(name)).expect("a file");
            all.map(|one| one.expect("a certificate")).collect()
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates("authority.pem") {
            roots.add(authority).expect("an authority");
        }
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates("certificate.pem"), key)
            .expect("a certificate with its key");
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let stream = StreamOwned::new(connection, socket(to).expect("the broker listens"));
        Self::over(Box::new(stream), 0).expect("the broker accepts it")
    }

    fn over(stream: Box<dyn Stream>, keep_alive_seconds: u8) -> Option<Self> {
        let mut publisher = Self { stream, packet: 0 };
        // Level 4, a clean session.
        let hello =
            [&[0, 4], &b"MQTT"[..], &[4, 2, 0, keep_alive_seconds, 0, 7], b"hostile"].concat();
        publisher.send(0x10, &hello)?;
        let (kind, body) = publisher.receive()?;
        ((kind, body.as_slice()) == (0x20, &[0, 0][..])).then_some(publisher)
    }

    /// Leaves these bytes at a topic; they stand there when this returns.
    ///
    /// # Panics
    /// When the broker does not take them.
    pub fn publish(&mut self, topic: &str, bytes: &[u8]) {
        self.leave(topic, bytes).expect("the broker takes it");
    }

    /// The same, if the broker takes them.
    pub fn leave(&mut self, topic: &str, bytes: &[u8]) -> Option<()> {
        // To be acknowledged, and retained.
        self.say(0x33, topic, bytes)
    }

    /// Has the broker pass these bytes on; nothing is left at the topic.
    pub fn pass(&mut self, topic: &str, bytes: &[u8]) -> Option<()> {
        self.say(0x32, topic, bytes)
    }

    fn say(&mut self, kind: u8, topic: &str, bytes: &[u8]) -> Option<()> {
        self.packet = self.packet % u16::MAX + 1;
        let name = topic.as_bytes();
        let length = u16::try_from(name.len()).ok()?.to_be_bytes();
        let packet = self.packet.to_be_bytes();
        self.send(kind, &[&length[..], name, &packet, bytes].concat())?;
        let (kind, body) = self.receive()?;
        ((kind, body.get(..2)) == (0x40, Some(&packet[..]))).then_some(())
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> Option<()> {
        let mut head = vec![kind];
        let mut length = body.len();
        loop {
            let low = (length % 128) as u8;
            length /= 128;
            head.push(if length > 0 { low | 128 } else { low });
            if length == 0 {
                break;
            }
        }
        self.stream.write_all(&[&head, body].concat()).ok()
    }

    fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.byte()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            length |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((kind, body))
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok()?;
        let [byte] = byte;
        Some(byte)
    }
}

fn socket(to: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(to).ok()?;
    let patience = std::time::Duration::from_secs(PATIENCE_SECONDS);
    stream.set_read_timeout(Some(patience)).ok()?;
    Some(stream)
}
