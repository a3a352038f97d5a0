//! `shoal key …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::clock::utc_ms;
use crate::fleet::repositories::Repositories;
use crate::fleet::{self, Description, secret};
use crate::output::Outcome;

/// Keep the keys of a fleet.
#[derive(Subcommand)]
pub(crate) enum Key {
    /// Put a new key in the place of one that is old, lost to a thief, or somebody's who leaves
    Rotate(Rotate),
}

impl Key {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Key::Rotate(command) => command.run(),
        }
    }
}

/// Put a new key in the place of the timekeeper's or the approver's.
///
/// The authority and the approver sign new roots with it (both keys must be in the folder; an approver's old key signs, too), and
/// vehicles follow them by themselves: what the old key signs counts no more. It is kept as ROLE-until-SECONDS.key. A `shoal fleet
/// serve` that runs must be started again with the new key.
///
/// Example: shoal key rotate fleet timekeeper
#[derive(Args)]
pub(crate) struct Rotate {
    /// The fleet's directory
    dir: PathBuf,
    /// Whose key
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Signs nonces, and that nothing newer is known: its key is online
    Timekeeper,
    /// Signs campaigns and roots beside the authority
    Approver,
}

impl Rotate {
    pub(crate) fn run(self) -> Outcome {
        let mut description = Description::read(&self.dir)?;
        let authority = fleet::authority_key(&self.dir, &description)?;
        Repositories::of(&self.dir, &description).check()?;
        let now_s = utc_ms()? / 1000;
        let (role, key) = match self.role {
            Role::Timekeeper => ("timekeeper", &mut description.timekeeper),
            Role::Approver => ("approver", &mut description.approver),
        };
        let path = self.dir.join(format!("{role}.key"));
        let old = secret::read(&path)?;
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
            Role::Timekeeper => vec![],
            Role::Approver => vec![old],
        };
        let repositories = Repositories::of(&self.dir, &description);
        repositories.renew(&before, &authority, now_s)?;
        println!("{role} {}", new.public().id());
        println!("start `shoal fleet serve` again: vehicles follow with their next window");
        Ok(())
    }
}
