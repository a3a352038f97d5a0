//! `shoal key rotate`: another key in the place of one.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use shoal_hal::backend::hold::{Hold, HoldError};
use shoal_shadow::digits::hash;
use shoal_swarm::campaign::Order;
use shoal_wire::{PublicKey, Signer};

use super::description::{Description, command};
use super::documents::newest_order;
use super::repositories::Repositories;
use super::{journal, plan, reissue, roster, secret};
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
/// another: theirs must be in the folder, the one that is replaced may be gone. A command that was cut short is given again. Vehicles follow by themselves: what the old key signs
/// counts no more. It is kept as ROLE-until-SECONDS.key. Documents of another authority are signed anew. A `shoal fleet serve` that
/// runs must be started again; before the timekeeper's key is replaced it is ended.
///
/// Example: shoal key rotate trial timekeeper
///
/// Example: shoal key rotate trial vehicle --number 3 --public 5866666666666666666666666666666666666666666666666666666666666666
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
    /// Replace the approver's key although a campaign goes on that only it can stop
    #[arg(long)]
    anyway: bool,
}

pub(super) fn public_key(text: &str) -> Result<PublicKey, String> {
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
        let _drawn = self.hold_nonces(name)?;
        let repositories = Repositories::of(&self.dir, &before);
        repositories.check()?;
        let waits = self.waiting(name)?;
        // The roots name it already, and people have signed them.
        let is_named = waits.as_ref().is_some_and(|next| Some(next.public()) == self.of(&before));
        if !is_named {
            repositories.check_people()?;
            self.check_stopped(&before)?;
        }
        self.check_told()?;
        let now_s = utc_ms()? / 1000;
        let new = match waits {
            Some(next) => next,
            None => self.make(name)?,
        };
        let mut after = before.clone();
        match self.role {
            Role::Authority => after.authority = new.public(),
            Role::Timekeeper => after.timekeeper = new.public(),
            Role::Approver => after.approver = new.public(),
            Role::Recovery => after.recovery = Some(new.public()),
            Role::Vehicle => {}
        }
        if after != before {
            self.sign(name, (&before, &after), &*new, now_s)?;
        }
        let journal = self.replace(name, now_s)?;
        let repositories = Repositories::of(&self.dir, &after);
        repositories.tell_roots(now_s)?;
        if self.role == Role::Authority {
            repositories.name_documents(now_s)?;
        }
        repositories.refresh(now_s)?;
        if let Some(few) = plan::few_bytes(&self.dir, after.authority)? {
            eprintln!("warning: {few}");
        }
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

    /// Signs all that the new key is to have signed, and says in the description that it is the one. What is cut short is gone on with
    /// by the same command: no key changes its place before.
    fn sign(
        &self,
        name: &str,
        (before, after): (&Description, &Description),
        new: &dyn Signer,
        now_s: u64,
    ) -> Outcome {
        match self.role {
            Role::Authority => reissue::reissue(&self.dir, before, new)?,
            Role::Timekeeper => {
                let next = self.dir.join(NONCES_NEXT);
                reissue::reissue_nonces(&self.dir, &next, before, new)?;
            }
            Role::Approver | Role::Recovery | Role::Vehicle => {}
        }
        let old = secret::open_if_there(&self.dir.join(format!("{name}.key")))?;
        let more: Vec<&dyn Signer> = old.iter().map(|key| &**key).chain([new]).collect();
        Repositories::of(&self.dir, after).sign_roots(&more, now_s)?;
        after.write(&self.dir)
    }

    /// Fails where something is asked for that only a vehicle's key has.
    fn check_flags(&self) -> Outcome {
        let given = [
            ("--number", self.number.is_some()),
            ("--public", self.public.is_some()),
            ("--stolen", self.stolen),
        ];
        if self.anyway && self.role != Role::Approver {
            return Err("--anyway is of the approver's key".into());
        }
        match given.into_iter().find(|(_flag, given)| *given && self.role != Role::Vehicle) {
            Some((flag, _given)) => Err(format!(
                "{flag} is of a vehicle's key: the others are made here, and what the one before signed counts no more in any case"
            )
            .into()),
            None => Ok(()),
        }
    }

    /// Holds what the timekeeper drew until its key is another, if that was ever served: a `serve` that went on would sign with the key
    /// before, in the folder that the next one reads.
    fn hold_nonces(&self, name: &str) -> Result<Option<Hold>, Failure> {
        let drawn = self.dir.join(name);
        if self.role != Role::Timekeeper || !drawn.exists() {
            return Ok(None);
        }
        match Hold::take(&drawn, &command()) {
            Ok(held) => Ok(Some(held)),
            Err(HoldError::Held { folder, who }) => {
                let folder = folder.display();
                Err(format!("{folder} is in use by {who}, which would go on signing with the key that is replaced: end `shoal fleet serve` first, and start it again afterwards").into())
            }
            Err(error @ HoldError::Io { .. }) => Err(error.into()),
        }
    }

    /// The key that a description has in this role.
    fn of(&self, fleet: &Description) -> Option<PublicKey> {
        match self.role {
            Role::Authority => Some(fleet.authority),
            Role::Timekeeper => Some(fleet.timekeeper),
            Role::Approver => Some(fleet.approver),
            Role::Recovery => fleet.recovery,
            Role::Vehicle => None,
        }
    }

    fn next_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key.next"))
    }

    /// The key that waits for the place of the one of this name: of a command that was cut short.
    fn waiting(&self, name: &str) -> Result<Option<Box<dyn Signer>>, Failure> {
        let path = self.next_path(name);
        if std::fs::metadata(&path).is_ok_and(|about| about.len() == 0) {
            let path = path.display();
            return Err(format!("{path} is empty: it was to be the next key, and its disk was full, or the power went, before it was; nothing names it: remove the file, and give the command again").into());
        }
        secret::open_if_there(&path)
    }

    /// Makes the key that takes its place.
    fn make(&self, name: &str) -> Result<Box<dyn Signer>, Failure> {
        Ok(Box::new(secret::create(&self.next_path(name), secret::Source::Random, name)?))
    }

    /// Fails while a campaign goes on that the approver of now approved: vehicles would believe no order for it any more.
    fn check_stopped(&self, before: &Description) -> Outcome {
        if self.role != Role::Approver || self.anyway {
            return Ok(());
        }
        let newest = newest_order(&self.dir, before)?;
        match newest.map(|one| (one.number, one.campaign.order)) {
            Some((number, Order::Run | Order::Pause)) => {
                let dir = self.dir.display();
                Err(format!("campaign {number} goes on, and it is the approver of now who approved it: once the key is another, no order stops it\n`shoal campaign abort {dir} {number}` or `roll-back` first, and let vehicles hear of it in their next window; or --anyway").into())
            }
            Some((_, Order::Abort | Order::RollBack)) | None => Ok(()),
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
        std::fs::rename(self.next_path(name), path)?;
        std::fs::File::open(&self.dir)?.sync_all()?;
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
