//! Mosquitto as docs/running-a-fleet.md configures it: certificates on both ends, names bound to them, and access rules.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use shoal_wire::KeyId;
use tempfile::TempDir;

use crate::brokers::{Mosquitto, TestBroker};
use crate::certificates::Authority;

/// What the manual's configuration says of names.
pub const NAMED: &str = "use_identity_as_username true\nuse_username_as_clientid true";

/// The manual.
///
/// # Panics
/// When it is not there.
pub fn manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/running-a-fleet.md");
    fs::read_to_string(path).expect("the manual")
}

/// Its access rules, for the fleet `trial` of the region `region-0` and an authority, a timekeeper and a beacon of these ids.
///
/// # Panics
/// When the manual has none.
pub fn access_rules(authority: KeyId, timekeeper: KeyId, beacon: KeyId) -> String {
    let text = manual();
    let (_, rules) = text.split_once("# shoal.acl:").expect("the rules");
    let (rules, _) = rules.split_once("```").expect("their end");
    let rules: String =
        rules.split_inclusive('\n').skip_while(|line| !line.starts_with("pattern")).collect();
    let named = [("AUTHORITY_ID", authority), ("TIMEKEEPER_ID", timekeeper), ("BEACON_ID", beacon)];
    named.iter().fold(rules, |rules, (name, id)| rules.replace(name, &id.to_string()))
}

/// A broker of the manual, for the fleet `test` of the region `here`.
#[derive(Debug)]
pub struct Guarded {
    authority: Authority,
    mosquitto: Mosquitto,
    /// Its rules, and a folder of certificates a client.
    folder: TempDir,
}

impl Guarded {
    /// Starts it. Below the manual's rules stands one of the tests' own: `everybody` publishes for all vehicles. `None`: Mosquitto is
    /// not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(everybody: KeyId) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let rules = access_rules(everybody, everybody, everybody);
        let rules = rules.replace("/trial/region-0/", "/test/here/").replace("/trial/", "/test/");
        let rules = format!("{rules}user {everybody}\ntopic write shoal/1/test/#\n");
        let file = folder.path().join("shoal.acl");
        fs::write(&file, rules).expect("a file");
        let authority = Authority::new();
        let mosquitto =
            authority.mosquitto_with(&format!("{NAMED}\nacl_file {}", file.display()))?;
        Some(Self { authority, mosquitto, folder })
    }
}

impl TestBroker for Guarded {
    fn address(&self) -> SocketAddr {
        self.mosquitto.address()
    }

    fn keep(&mut self) {
        self.mosquitto.keep();
    }

    fn restart(&mut self) {
        self.mosquitto.restart();
    }

    fn certificates(&self, client: &str) -> Option<PathBuf> {
        let folder = self.folder.path().join(client);
        if !folder.exists() {
            self.authority.sign(client, &folder);
        }
        Some(folder)
    }

    fn tls_bytes(&self) -> u64 {
        16 << 10
    }
}
