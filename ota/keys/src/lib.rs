//! Where secret keys are: in files of 64 hexadecimal digits, or in tokens (PKCS #11) that sign and never give them out. Wherever a
//! key's file may be named, a URI of a token may be (RFC 7512); and a key's file may hold such a URI.

mod token;
mod uri;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use shoal_wire::{SecretKey, Signer};

pub use token::{KeyInToken, Token, TokenError, list, make};
pub use uri::{RejectUri, Uri};

/// What anybody but its owner may do with a file.
const OTHERS: u32 = 0o077;
/// What anybody but its owner may do to a file.
const WRITERS: u32 = 0o022;

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAt {
    /// In this file: 64 hexadecimal digits of its seed, or the URI of a token.
    File(PathBuf),
    /// In a token.
    Token(Uri),
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written, or is there.
    #[error("cannot write the key {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not 64 hexadecimal digits. What it holds is not repeated.
    #[error("{} holds no key: 64 hexadecimal digits are, or a URI that begins with pkcs11:", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A secret that others than its owner can come by.
    #[error(
        "{0} is open to others than its owner (mode {mode:04o}), and holds a secret: `chmod 600 {0}`; if others were on this computer, \
         make another key",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Who may do what with it.
        mode: u32,
    },
    /// A file that says which key of which token signs, and others than its owner may say so, too.
    #[error(
        "{0} says which token signs, and others than its owner may write it (mode {mode:04o}): `chmod go-w {0}`",
        path.display()
    )]
    Writable {
        /// The file.
        path: PathBuf,
        /// Who may do what with it.
        mode: u32,
    },
    /// It names no key of a token.
    #[error("{}", path.display())]
    Uri {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RejectUri,
    },
    /// Its token does not sign.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl KeyAt {
    /// A path, or a URI, which begins with `pkcs11:`.
    ///
    /// # Errors
    /// [`RejectUri`].
    pub fn parse(text: &str) -> Result<Self, RejectUri> {
        if Uri::is_one(text) {
            return Ok(KeyAt::Token(text.parse()?));
        }
        Ok(KeyAt::File(text.into()))
    }

    /// Takes a path relative to this directory.
    pub fn beside(&mut self, directory: &Path) {
        if let KeyAt::File(path) = self {
            *path = directory.join(&path);
        }
    }

    /// The key, ready to sign.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(&self) -> Result<Box<dyn Signer>, KeyError> {
        let path = match self {
            KeyAt::Token(uri) => return Ok(Box::new(Token::open(uri.clone())?)),
            KeyAt::File(path) => path,
        };
        let (text, mode) = read_text(path)?;
        if !Uri::is_one(&text) {
            return Ok(Box::new(seed(path, &text, mode)?));
        }
        // Who can write it names the library that is loaded.
        if mode & WRITERS != 0 {
            return Err(KeyError::Writable { path: path.clone(), mode });
        }
        let rejected = |source| KeyError::Uri { path: path.clone(), source };
        Ok(Box::new(Token::open(text.trim_end().parse().map_err(rejected)?)?))
    }
}

impl fmt::Display for KeyAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyAt::File(path) => path.display().fmt(f),
            KeyAt::Token(uri) => uri.fmt(f),
        }
    }
}

/// Reads a key in a file.
///
/// # Errors
/// [`KeyError`]: it is none, open to others than its owner, or in a token.
pub fn read(path: &Path) -> Result<SecretKey, KeyError> {
    let (text, mode) = read_text(path)?;
    seed(path, &text, mode)
}

/// Makes a file of the key with this seed, 32 bytes from a true random source, which its owner alone may read; the key. The file must
/// not be there.
///
/// # Errors
/// [`KeyError::Write`].
pub fn create(path: &Path, seed: &[u8; 32]) -> Result<SecretKey, KeyError> {
    let text = format!("{}\n", hex::encode(seed));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    // Of one that was cut short.
    let _gone = fs::remove_file(&part);
    let made = write_new(&part, text.as_bytes()).and_then(|()| place(&part, path));
    let _gone = fs::remove_file(&part);
    made.map_err(|source| KeyError::Write { path: path.to_path_buf(), source })?;
    Ok(SecretKey::from_seed(seed))
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Gives a file that is whole its name, which no other may have.
fn place(part: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(part, path) {
        Ok(()) => {}
        Err(error) if path.exists() => return Err(error),
        // Not every file system has two names for a file.
        Err(_) => fs::rename(part, path)?,
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// What a file holds, and who may do what with it.
fn read_text(path: &Path) -> Result<(String, u32), KeyError> {
    let read = || {
        let mut file = File::open(path)?;
        let (mut text, mode) = (String::new(), file.metadata()?.mode());
        file.read_to_string(&mut text)?;
        Ok((text, mode & 0o7777))
    };
    read().map_err(|source| KeyError::Read { path: path.to_path_buf(), source })
}

fn seed(path: &Path, text: &str, mode: u32) -> Result<SecretKey, KeyError> {
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim_end(), &mut seed)
        .map_err(|_error| KeyError::NoKey { path: path.to_path_buf() })?;
    if mode & OTHERS != 0 {
        return Err(KeyError::Open { path: path.to_path_buf(), mode });
    }
    Ok(SecretKey::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn for_its_owner(path: &Path) {
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_key_is_read_and_what_is_none_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vehicle.key");
        std::fs::write(&path, format!("{}\n", "07".repeat(32))).unwrap();
        for_its_owner(&path);
        let of = SecretKey::from_seed(&[7; 32]).public().id();
        assert_eq!(read(&path).unwrap().public().id(), of);
        assert_eq!(KeyAt::File(path.clone()).open().unwrap().public().id(), of);
        std::fs::write(&path, "secret words").unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("vehicle.key") && !refused.contains("secret words"), "{refused}");
        assert!(matches!(read(&folder.path().join("none")), Err(KeyError::Read { .. })));
    }

    /// As ssh has it. What names a token is no secret.
    #[test]
    fn a_key_that_others_can_read_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vehicle.key");
        create(&path, &[7; 32]).unwrap();
        for mode in [0o644, 0o640, 0o620, 0o601] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(read(&path), Err(KeyError::Open { mode: found, .. }) if found == mode)
            );
            let said = KeyAt::File(path.clone()).open().unwrap_err().to_string();
            let (mode, cure) = (format!("{mode:04o}"), format!("chmod 600 {}", path.display()));
            assert!(said.contains(&mode) && said.contains(&cure), "{said}");
        }
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(read(&path).is_ok());
        }
    }

    /// As a full disk or a cut leaves it.
    #[test]
    fn a_key_is_made_whole_and_once_whatever_was_left_of_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (path, part) = (folder.path().join("a.key"), folder.path().join("a.key.part"));
        for left in ["", "0707"] {
            std::fs::write(&part, left).unwrap();
            let made = create(&path, &[7; 32]).unwrap().public();
            assert_eq!(read(&path).unwrap().public(), made);
            assert!(!part.exists());
            assert!(matches!(create(&path, &[8; 32]), Err(KeyError::Write { .. })));
            assert_eq!(read(&path).unwrap().public(), made, "what is there stays");
            assert!(!part.exists());
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_path_is_taken_beside_its_file_and_a_token_is_where_it_is() {
        let uri = "pkcs11:token=one;object=v?module-path=/lib/p11.so";
        let mut of_token = KeyAt::parse(uri).unwrap();
        let mut of_file = KeyAt::parse("vehicle.key").unwrap();
        of_token.beside(Path::new("/there"));
        of_file.beside(Path::new("/there"));
        assert_eq!(
            (of_token.to_string(), of_file.to_string()),
            (uri.into(), "/there/vehicle.key".into())
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vehicle.key");
        std::fs::write(&path, "pkcs11:token=one\n").unwrap();
        assert!(matches!(KeyAt::File(path.clone()).open(), Err(KeyError::Uri { .. })));
        std::fs::write(&path, uri).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        let writable = KeyAt::File(path.clone()).open();
        assert!(matches!(writable, Err(KeyError::Writable { mode: 0o620, .. })));
        for_its_owner(&path);
        assert!(matches!(
            KeyAt::File(path).open(),
            Err(KeyError::Token(TokenError::Module { .. }))
        ));
    }
}
