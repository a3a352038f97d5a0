//! `shoal key …`

use clap::{Args, Subcommand};
use shoal_keys::{KeyAt, KeyInToken, Uri};
use shoal_shadow::digits::hex;
use shoal_wire::PublicKey;

use crate::fleet::rotate::Rotate;
use crate::output::Outcome;

/// Of the page that lists these commands.
pub(crate) const EXAMPLES: &str = "\
Examples:
  shoal key show trial/authority.key
  shoal key rotate trial timekeeper";

const MAKE: &str = "Example: shoal key make \
    'pkcs11:token=fleet;object=vehicle-7?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/shoal/pin'";
const LIST: &str = "Example: shoal key list \
    'pkcs11:token=fleet?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/shoal/pin'";

/// Keep the keys of a fleet.
#[derive(Subcommand)]
pub(crate) enum Key {
    Rotate(Rotate),
    /// Make an Ed25519 key in a token (PKCS #11), which never gives it out
    #[command(after_help = MAKE)]
    Make(InToken),
    /// List the private keys of a token
    #[command(after_help = LIST)]
    List(InToken),
    Show(Show),
}

impl Key {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Key::Rotate(command) => command.run(),
            Key::Make(InToken { uri }) => {
                shown(&shoal_keys::make(&uri)?);
                Ok(())
            }
            Key::List(InToken { uri }) => list(&uri),
            Key::Show(Show { key }) => {
                shown(&key.open()?.public());
                Ok(())
            }
        }
    }
}

/// A key in a token.
#[derive(Args)]
pub(crate) struct InToken {
    /// pkcs11:token=…;object=…?module-path=…&pin-source=… (RFC 7512); paths are absolute, the PIN is in a file
    uri: Uri,
}

/// Show the public half of a key, in a file or in a token.
///
/// Example: shoal key show trial/authority.key
#[derive(Args)]
pub(crate) struct Show {
    /// The key's file, or a token's URI
    #[arg(value_name = "FILE|URI", value_parser = KeyAt::parse)]
    key: KeyAt,
}

fn shown(key: &PublicKey) {
    println!("id {} public {}", key.id(), hex(key.bytes()));
}

fn list(uri: &Uri) -> Outcome {
    for KeyInToken { object, id, public } in shoal_keys::list(uri)? {
        let public = public.map_or("no Ed25519 key".to_owned(), |key| hex(key.bytes()));
        println!("object {object:?} id {:?} public {public}", String::from_utf8_lossy(&id));
    }
    Ok(())
}
