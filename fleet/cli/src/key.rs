//! `shoal key …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use shoal_keys::{KeyAt, KeyInToken, Uri};
use shoal_shadow::digits::{hash, hex};
use shoal_wire::PublicKey;

use crate::clock::utc_ms;
use crate::fleet::repositories::Repositories;
use crate::fleet::{self, Description, roster, secret};
use crate::output::Outcome;

/// Keep the keys of a fleet.
#[derive(Subcommand)]
pub(crate) enum Key {
    /// Put a new key in the place of one that is old, lost to a thief, or somebody's who leaves
    Rotate(Rotate),
    /// Make an Ed25519 key in a token (PKCS #11), which never gives it out
    Make(InToken),
    /// List the private keys of a token
    List(InToken),
    /// Show the public half of a key, in a file or in a token
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
///
/// Example: shoal key make 'pkcs11:token=fleet;object=vehicle-7?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/shoal/pin'
#[derive(Args)]
pub(crate) struct InToken {
    /// pkcs11:token=…;object=…?module-path=…&pin-source=… (RFC 7512); paths are absolute, the PIN is in a file
    uri: Uri,
}

/// A key.
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

/// Put a new key in the place of the timekeeper's, the approver's or a vehicle's.
///
/// A vehicle makes its next key itself (`shoal-vehicle --config FILE --next-key`) and tells the public half. The authority signs a roster
/// that names it in the vehicle's place (its key must be in the folder); the vehicle goes on under it after its next window.
///
/// Of the other two, the authority and the approver sign new roots with it (both keys must be in the folder; an approver's old key signs, too), and
/// vehicles follow them by themselves: what the old key signs counts no more. It is kept as ROLE-until-SECONDS.key. A `shoal fleet
/// serve` that runs must be started again with the new key.
///
/// Example: shoal key rotate fleet timekeeper
/// Example: shoal key rotate fleet vehicle --number 3 --public 5bb6…
#[derive(Args)]
pub(crate) struct Rotate {
    /// The fleet's directory
    dir: PathBuf,
    /// Whose key
    role: Role,
    /// The vehicle's number
    #[arg(long, required_if_eq("role", "vehicle"))]
    number: Option<u32>,
    /// The public half of the vehicle's next key: 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = public_key, required_if_eq("role", "vehicle"))]
    public: Option<PublicKey>,
    /// Somebody else has the vehicle's key: nothing counts any more that it signed
    #[arg(long, requires = "public")]
    stolen: bool,
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    let bytes = hash(text).ok_or("a public key is 64 hexadecimal digits")?;
    PublicKey::decode(&bytes).map_err(|reject| reject.to_string())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Signs nonces, and that nothing newer is known: its key is online
    Timekeeper,
    /// Signs campaigns and roots beside the authority
    Approver,
    /// Signs what it measured
    Vehicle,
}

impl Rotate {
    pub(crate) fn run(self) -> Outcome {
        if let (Role::Vehicle, Some(number), Some(public)) = (self.role, self.number, self.public) {
            return roster::rotate(&self.dir, number, public, self.stolen);
        }
        let mut description = Description::read(&self.dir)?;
        let authority = fleet::authority_key(&self.dir, &description)?;
        Repositories::of(&self.dir, &description).check()?;
        let now_s = utc_ms()? / 1000;
        let (role, key) = match self.role {
            Role::Timekeeper => ("timekeeper", &mut description.timekeeper),
            Role::Approver => ("approver", &mut description.approver),
            Role::Vehicle => return Err("a vehicle's --number and --public are needed".into()),
        };
        let path = self.dir.join(format!("{role}.key"));
        let old = secret::open(&path)?;
        let next = self.dir.join(format!("{role}.key.next"));
        let new = secret::create(&next, secret::Source::Random, role)?;
        *key = new.public();
        std::fs::rename(&path, self.dir.join(format!("{role}-until-{now_s}.key")))?;
        let nonces = self.dir.join(role);
        if nonces.exists() {
            // What the old key drew is none of the new one's.
            std::fs::rename(&nonces, self.dir.join(format!("{role}-until-{now_s}")))?;
        }
        std::fs::rename(&next, &path)?;
        description.write(&self.dir)?;
        let before = match self.role {
            Role::Timekeeper | Role::Vehicle => vec![],
            Role::Approver => vec![&*old],
        };
        let repositories = Repositories::of(&self.dir, &description);
        repositories.renew(&before, &*authority, now_s)?;
        println!("{role} {}", new.public().id());
        println!("start `shoal fleet serve` again: vehicles follow with their next window");
        Ok(())
    }
}
