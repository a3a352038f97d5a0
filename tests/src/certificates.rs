//! An authority of a test's own, made anew for each run, and what it signs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

use crate::brokers::Mosquitto;

/// An authority, and the certificate of its broker on localhost.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    broker: TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When there is no folder for its broker.
    pub fn new() -> Self {
        let mut params = params("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let authority = Self { issuer, broker: TempDir::new().expect("a folder") };
        authority.sign("localhost", authority.broker.path());
        authority
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes `authority.pem`, and `certificate.pem` and `key.pem` for this name.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn sign(&self, name: &str, folder: &Path) {
        self.sign_params(params(name), folder);
    }

    /// The same, until then: UTC in seconds since 1970.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn sign_until(&self, name: &str, folder: &Path, ends_seconds: u64) {
        let mut params = params(name);
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(ends_seconds);
        self.sign_params(params, folder);
    }

    fn sign_params(&self, params: CertificateParams, folder: &Path) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::create_dir_all(folder).expect("a folder");
        for (file, pem) in [
            ("authority.pem", self.pem()),
            ("certificate.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            fs::write(folder.join(file), pem).expect("a file");
        }
    }

    /// A broker that lets in whom this authority signed, and nobody else. `None`: Mosquitto is not installed.
    pub fn mosquitto(&self) -> Option<Mosquitto> {
        self.mosquitto_with("")
    }

    /// The same, with these lines in its configuration.
    pub fn mosquitto_with(&self, more: &str) -> Option<Mosquitto> {
        let folder = self.broker.path().display();
        Mosquitto::start(&format!(
            "cafile {folder}/authority.pem\ncertfile {folder}/certificate.pem\nkeyfile {folder}/key.pem\n\
             require_certificate true\n{more}"
        ))
    }
}

/// A subject of its own: an issuer of the same name would be the certificate itself.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
