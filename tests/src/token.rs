//! A token of software (SoftHSM), made anew for each test, that can be taken out and put back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::KeyPair;
use tempfile::TempDir;

use crate::brokers::installed;

/// How its programs find it.
pub const VARIABLE: &str = "SOFTHSM2_CONF";
const PIN: &str = "1234";
/// Before the 32 bytes of a seed: PKCS #8 of an Ed25519 key (RFC 8410, 7).
const ED25519: &str = "302e020100300506032b657004220420";

/// A token called `fleet`.
#[derive(Debug)]
pub struct Token {
    folder: TempDir,
    module: PathBuf,
}

impl Token {
    /// Makes one, if SoftHSM is installed. Says aloud when it is not; with `SHOAL_REQUIRE_SOFTHSM=1` that fails.
    ///
    /// # Panics
    /// When it is installed and makes none.
    pub fn make() -> Option<Self> {
        installed("softhsm2-util", "--version", "SHOAL_REQUIRE_SOFTHSM")?;
        let places = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"];
        let module = places.iter().map(PathBuf::from).find(|path| path.is_file());
        let module = module.expect("the module of SoftHSM");
        let token = Token { folder: TempDir::new().expect("a folder"), module };
        fs::create_dir(token.tokens()).expect("a folder");
        let conf = format!("directories.tokendir = {}\n", token.tokens().display());
        fs::write(token.variable(), conf).expect("a file");
        for (name, pin) in [("pin", PIN), ("wrong", "4321")] {
            let path = token.folder.path().join(name);
            fs::write(&path, format!("{pin}\n")).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file");
        }
        token.util(&["--init-token", "--free", "--label", "fleet", "--so-pin", "5678"]);
        Some(token)
    }

    /// What [`VARIABLE`] says to who uses it.
    pub fn variable(&self) -> PathBuf {
        self.folder.path().join("softhsm.conf")
    }

    /// The URI of a key in it.
    pub fn uri(&self, object: &str) -> String {
        self.uri_with(&format!("token=fleet;object={object}"), "pin")
    }

    /// A URI with these attributes, and the PIN of this file: `pin`, or `wrong`.
    pub fn uri_with(&self, attributes: &str, pin: &str) -> String {
        let (module, pin) = (self.module.display(), self.folder.path().join(pin));
        format!("pkcs11:{attributes}?module-path={module}&pin-source=file:{}", pin.display())
    }

    /// Puts the key of this file into it, and the token's URI into the file.
    ///
    /// # Panics
    /// When it does not take it.
    pub fn take(&self, file: &Path, object: &str, id: &str) {
        let seed = fs::read_to_string(file).expect("a key");
        let pkcs8 = format!("{ED25519}{}", seed.trim_end());
        let bytes: Vec<u8> = (0..pkcs8.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&pkcs8[at..at + 2], 16).expect("hexadecimal"))
            .collect();
        let key = KeyPair::try_from(bytes.as_slice()).expect("a key");
        self.import(&key, object, id);
        fs::write(file, self.uri(object)).expect("a file");
    }

    /// Puts a key into it that is no Ed25519 key.
    ///
    /// # Panics
    /// When it does not take it.
    pub fn take_another_kind(&self, object: &str, id: &str) {
        self.import(&KeyPair::generate().expect("a key"), object, id);
    }

    fn import(&self, key: &KeyPair, object: &str, id: &str) {
        let path = self.folder.path().join("import.pem");
        fs::write(&path, key.serialize_pem()).expect("a file");
        let path = path.to_str().expect("UTF-8");
        self.util(&["--import", path, "--token", "fleet", "--label", object, "--id", id]);
        fs::remove_file(path).expect("a file");
    }

    /// It is taken out.
    ///
    /// # Panics
    /// When it is out.
    pub fn take_out(&self) {
        fs::rename(self.tokens(), self.folder.path().join("out")).expect("a folder");
        fs::create_dir(self.tokens()).expect("a folder");
    }

    /// It is put back.
    ///
    /// # Panics
    /// When it is not out.
    pub fn put_back(&self) {
        fs::remove_dir_all(self.tokens()).expect("a folder");
        fs::rename(self.folder.path().join("out"), self.tokens()).expect("a folder");
    }

    fn tokens(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    fn util(&self, args: &[&str]) {
        let done = Command::new("softhsm2-util")
            .env(VARIABLE, self.variable())
            .args(args)
            .args(["--pin", PIN])
            .output()
            .expect("softhsm2-util runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
