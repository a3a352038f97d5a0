//! `shoal key rotate`: another key in the place of one.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use shoal_shadow::digits::hash;
use shoal_wire::{PublicKey, Signer};

use super::description::Description;
use super::repositories::Repositories;
use super::{journal, reissue, roster, secret};
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};

/// What the old timekeeper drew, signed by the new one, until that has its place.
const NONCES_NEXT: &str = "timekeeper.next";

/// Put a new key in the place of one of the fleet's.
///
/// A vehicle makes its next key itself (`shoal-vehicle --config FILE --next-key`) and tells the public half. The authority signs a roster
/// that names it in the vehicle's place (its key must be in the folder); the vehicle goes on under it after its next window.
///
/// Of the others, two of the three people who sign roots (authority.key, approver.key, recovery.key) say in new roots that it is
/// another: theirs must be in the folder, the one that is replaced may be gone. Vehicles follow by themselves: what the old key signs
/// counts no more. It is kept as ROLE-until-SECONDS.key. Documents of another authority are signed anew. A `shoal fleet serve` that
/// runs must be started again.
///
/// Example: shoal key rotate fleet timekeeper
///
/// Example: shoal key rotate fleet vehicle --number 3 --public 5866666666666666666666666666666666666666666666666666666666666666
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
    /// Signs roster, plan, utility, swarm and campaigns
    Authority,
    /// Signs nonces, and that nothing newer is known: its key is online
    Timekeeper,
    /// Signs campaigns and roots beside the authority
    Approver,
    /// Signs roots alone, when another who does has lost the key
    Recovery,
    /// Signs what it measured
    Vehicle,
}

impl Rotate {
    pub(crate) fn run(self) -> Outcome {
        self.check_flags()?;
        let name = match (self.role, self.number, self.public) {
            (Role::Vehicle, Some(number), Some(public)) => {
                return roster::rotate(&self.dir, number, public, self.stolen);
            }
            (Role::Vehicle, _, _) => {
                return Err("a vehicle's --number and --public are needed".into());
            }
            (Role::Authority, _, _) => "authority",
            (Role::Timekeeper, _, _) => "timekeeper",
            (Role::Approver, _, _) => "approver",
            (Role::Recovery, _, _) => "recovery",
        };
        let (before, _held) = Description::hold(&self.dir)?;
        let repositories = Repositories::of(&self.dir, &before);
        repositories.check()?;
        repositories.check_people()?;
        self.check_told()?;
        let now_s = utc_ms()? / 1000;
        let new = self.next(name)?;
        let mut after = before.clone();
        match self.role {
            Role::Authority => after.authority = new.public(),
            Role::Timekeeper => after.timekeeper = new.public(),
            Role::Approver => after.approver = new.public(),
            Role::Recovery => after.recovery = Some(new.public()),
            Role::Vehicle => {}
        }
        // What is cut short is gone on with by the same command: all that is signed is signed before any key changes its place.
        if after != before {
            match self.role {
                Role::Authority => reissue::reissue(&self.dir, &before, &*new)?,
                Role::Timekeeper => {
                    let next = self.dir.join(NONCES_NEXT);
                    reissue::reissue_nonces(&self.dir, &next, &before, &*new)?;
                }
                Role::Approver | Role::Recovery | Role::Vehicle => {}
            }
            let old = secret::open_if_there(&self.dir.join(format!("{name}.key")))?;
            let more: Vec<&dyn Signer> = old.iter().chain([&new]).map(|key| &**key).collect();
            Repositories::of(&self.dir, &after).sign_roots(&more, now_s)?;
            after.write(&self.dir)?;
        }
        let journal = self.replace(name, now_s)?;
        let repositories = Repositories::of(&self.dir, &after);
        repositories.tell_roots(now_s)?;
        if self.role == Role::Authority {
            repositories.name_documents(now_s)?;
        }
        repositories.refresh(now_s)?;
        println!("{name} {}", new.public().id());
        if let Some(journal) = journal {
            println!(
                "the journal begins anew: what was written before is in {}",
                journal.display()
            );
        }
        println!("start `shoal fleet serve` again: vehicles follow with their next window");
        Ok(())
    }

    /// Fails where something is asked for that only a vehicle's key has.
    fn check_flags(&self) -> Outcome {
        let given = [
            ("--number", self.number.is_some()),
            ("--public", self.public.is_some()),
            ("--stolen", self.stolen),
        ];
        match given.into_iter().find(|(_flag, given)| *given && self.role != Role::Vehicle) {
            Some((flag, _given)) => Err(format!(
                "{flag} is of a vehicle's key: the others are made here, and what the one before signed counts no more in any case"
            )
            .into()),
            None => Ok(()),
        }
    }

    /// The key that takes the place of the one of this name; one that waits for it.
    fn next(&self, name: &str) -> Result<Box<dyn Signer>, Failure> {
        let path = self.dir.join(format!("{name}.key.next"));
        match secret::open_if_there(&path)? {
            Some(next) => Ok(next),
            None => Ok(Box::new(secret::create(&path, secret::Source::Random, name)?)),
        }
    }

    /// Puts the next key of this name in its place. The one before, and the journal of what it signed, are kept beside; where the
    /// journal is, if there was one.
    fn replace(&self, name: &str, now_s: u64) -> Result<Option<PathBuf>, Failure> {
        let path = self.dir.join(format!("{name}.key"));
        let aside = |from: &Path, to: String| match from.exists() {
            true => std::fs::rename(from, self.dir.join(to)),
            false => Ok(()),
        };
        let mut journal = None;
        match self.role {
            Role::Timekeeper => {
                let (drawn, next) = (self.dir.join(name), self.dir.join(NONCES_NEXT));
                if next.exists() {
                    aside(&drawn, format!("{name}-until-{now_s}"))?;
                    std::fs::rename(next, drawn)?;
                }
            }
            // Whoever reads a journal believes one authority and one approver.
            Role::Authority | Role::Approver => {
                let (before, kept) =
                    (journal::path(&self.dir), format!("journal-until-{now_s}.jsonl"));
                journal = before.exists().then(|| self.dir.join(&kept));
                aside(&before, kept)?;
            }
            Role::Recovery | Role::Vehicle => {}
        }
        aside(&path, format!("{name}-until-{now_s}.key"))?;
        std::fs::rename(self.dir.join(format!("{name}.key.next")), path)?;
        Ok(journal)
    }

    /// Fails where vehicles would not hear of the new roots: they listen to the authority and to the timekeeper whom they know.
    fn check_told(&self) -> Outcome {
        let (here, why) = match self.role {
            Role::Authority => ("timekeeper", "an authority's"),
            Role::Timekeeper => ("authority", "a timekeeper's"),
            // Either signs it, and the timekeeper what follows from it.
            Role::Approver | Role::Recovery | Role::Vehicle => ("timekeeper", "anybody's"),
        };
        if self.dir.join(format!("{here}.key")).exists() {
            return Ok(());
        }
        let dir = self.dir.display();
        Err(format!("{dir} has no {here}.key, which tells vehicles of {why} new key").into())
    }
}
