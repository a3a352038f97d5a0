//! The roster of a fleet's folder, read, changed and signed again; `shoal fleet revoke`.

use std::path::{Path, PathBuf};

use clap::Args;
use sha2::{Digest, Sha256};
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::v1::{FORMER, GROWTHS_MAX, Growth, Roster as Head, RosterPage, VACANT, Vehicle};
use shoal_wire::{KeyId, PublicKey, Signer};

use super::description::Description;
use super::documents::{Desk, authority_key, newest_counter, not_after_seconds, settle_pages};
use super::heard::heard;
use super::plan;
use super::repositories::Repositories;
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};

/// Of one vehicle so many keys that it had before are named.
const FORMER_MAX: usize = 4;

/// Put a vehicle out of the fleet.
///
/// The authority signs a roster without its key: nothing that it signed counts any more, and vehicles refuse what it says
/// (`unknown_key`). All others keep their numbers and what they said. Its place can be given to another by `shoal key rotate`.
///
/// Example: shoal fleet revoke trial 3
#[derive(Args)]
pub(crate) struct Revoke {
    /// The fleet's directory
    dir: PathBuf,
    /// The vehicle's number
    number: u32,
}

impl Revoke {
    pub(crate) fn run(self) -> Outcome {
        let (description, _held) = Description::hold(&self.dir)?;
        let mut roster = Roster::read(&self.dir, &description)?;
        if roster.at(self.number)?.region == VACANT && name(&self.dir, &description)? {
            println!("place {} is nobody's already, and metadata name the roster now", self.number);
        } else {
            let gone = roster.revoke(self.number)?;
            roster.sign(&self.dir, &description)?;
            println!("vehicle {} of key {gone} is of the fleet no more", self.number);
        }
        println!("{}", heard(&self.dir));
        Ok(())
    }
}

/// Gives a vehicle's place another key, and tells of it. What was said under the one before stays said, unless it was stolen.
pub(crate) fn rotate(dir: &Path, number: u32, key: PublicKey, stolen: bool) -> Outcome {
    let (description, _held) = Description::hold(dir)?;
    let mut roster = Roster::read(dir, &description)?;
    let has = roster.at(number)?.public_key == *key.bytes();
    if !has || !name(dir, &description)? {
        roster.replace(number, key, stolen, description.region_of(number))?;
        roster.sign(dir, &description)?;
    }
    println!("vehicle {number} {}", key.id());
    println!("{}", heard(dir));
    Ok(())
}

/// The authority names the roster as it is; `false`: it did before. A command that was cut short is given again.
pub(super) fn name(dir: &Path, description: &Description) -> Result<bool, Failure> {
    let _key = authority_key(dir, description)?;
    let repositories = Repositories::of(dir, description);
    if repositories.name_all()? {
        return Ok(false);
    }
    repositories.name_documents(utc_ms()? / 1000)?;
    Ok(true)
}

/// Who is of the fleet, as the authority signed it.
pub(super) struct Roster {
    version: u32,
    vehicles: Vec<Vehicle>,
    /// By number, the oldest first.
    former: Vec<(u32, [u8; 32])>,
    /// Of the last windows, in order.
    growths: Vec<Growth>,
}

impl Roster {
    pub(super) fn read(dir: &Path, description: &Description) -> Result<Self, Failure> {
        let own = Own(description.authority);
        settle_pages(&dir.join("documents"), description.authority)?;
        let read = |name: String| -> Result<Vec<u8>, Failure> {
            let path = dir.join("documents").join(name).with_extension("shl");
            Ok(std::fs::read(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?)
        };
        let head = read("roster".to_owned())?;
        let head = verified::<Head<'_>>(&head, &own)?;
        let mut rows = Vec::new();
        for index in 0..head.body().pages().len() {
            let page = read(format!("rosterpage-{index}"))?;
            let page = verified::<RosterPage<'_>>(&page, &own)?;
            head.body().check(&page).map_err(|why| {
                let documents = dir.join("documents");
                let documents = documents.display();
                format!("{documents}: {why}\nput copies of roster.shl and its rosterpage files in their places that are of one time")
            })?;
            rows.extend(page.body().vehicles());
        }
        let growths = head.body().growths().collect();
        Ok(Roster { growths, ..Self::of_rows(head.body().fields().version, &rows) })
    }

    fn of_rows(version: u32, rows: &[Vehicle]) -> Self {
        let mut all = rows.split(|row| row.region == FORMER);
        let vehicles = all.next().unwrap_or_default().to_vec();
        let former = (0..).zip(all).flat_map(|(marks, rows)| {
            let number = move |low: u16| marks * u32::from(FORMER) + u32::from(low);
            rows.iter().map(move |row| (number(row.region), row.public_key))
        });
        Roster { version, vehicles, former: former.collect(), growths: Vec::new() }
    }

    fn rows(&self) -> Vec<Vehicle> {
        let mut rows = self.vehicles.clone();
        let mut marks = 0;
        for (number, public_key) in &self.former {
            while number / u32::from(FORMER) >= marks {
                rows.push(Vehicle { public_key: nobody(rows.len()), region: FORMER });
                marks += 1;
            }
            let region = (number % u32::from(FORMER)) as u16;
            rows.push(Vehicle { public_key: *public_key, region });
        }
        rows
    }

    /// How many places there are.
    pub(super) fn places(&self) -> Result<u32, Failure> {
        Ok(u32::try_from(self.vehicles.len())?)
    }

    /// Adds these vehicles at the end, where `next` is the number of the window that opens next: they are of the fleet from the one after
    /// it on, which is returned. `None`: no window has opened yet, and nothing was drawn of those who were there.
    pub(super) fn enroll(
        &mut self,
        vehicles: &[Vehicle],
        next: u32,
    ) -> Result<Option<u32>, Failure> {
        for (number, vehicle) in vehicles.iter().enumerate() {
            let twice =
                vehicles.iter().take(number).any(|one| one.public_key == vehicle.public_key);
            if twice || self.knows(&vehicle.public_key) {
                let id = vehicle.id();
                return Err(format!("key {id} is, or was, one of the roster's").into());
            }
        }
        let places = self.places()?;
        self.vehicles.extend_from_slice(vehicles);
        if next == 0 {
            return Ok(None);
        }
        let last = self.growths.last().map_or(0, |growth| growth.window);
        let window = next.saturating_add(1).max(last);
        if window > last {
            self.growths.push(Growth { window, places });
        }
        // One a window at most: what is forgotten is of windows whose records have ended.
        let over = self.growths.len().saturating_sub(GROWTHS_MAX);
        self.growths.drain(..over);
        Ok(Some(window))
    }

    /// Whether a key is, or was, one of theirs.
    fn knows(&self, key: &[u8; 32]) -> bool {
        let present = self.vehicles.iter().map(|vehicle| &vehicle.public_key);
        let mut known = present.chain(self.former.iter().map(|(_number, key)| key));
        known.any(|known| known == key)
    }

    fn at(&mut self, number: u32) -> Result<&mut Vehicle, Failure> {
        let none = self.none(number);
        Ok(self.vehicles.get_mut(usize::try_from(number)?).ok_or(none)?)
    }

    /// The vehicle of this number.
    pub(super) fn vehicle(&self, number: u32) -> Result<&Vehicle, Failure> {
        let vehicle = self.vehicles.get(usize::try_from(number)?);
        let vehicle = vehicle.ok_or_else(|| self.none(number))?;
        match vehicle.region {
            VACANT => Err(format!("place {number} is nobody's").into()),
            _ => Ok(vehicle),
        }
    }

    fn none(&self, number: u32) -> String {
        let vehicles = self.vehicles.len();
        format!("no vehicle {number}: the roster has {vehicles} places, the first is 0")
    }

    /// The vehicle of this number or key id, by its present id; a key that it had before names it, too.
    pub(super) fn find(&self, text: &str) -> Result<(u32, KeyId), Failure> {
        let numbers = 0_u32..;
        let rows = self.vehicles.iter().zip(numbers).map(|(row, number)| (number, row.id()));
        let former = self.former.iter().map(|(number, key)| (*number, KeyId::of(key)));
        let named = rows.chain(former).find(|(_number, id)| id.to_string() == text);
        let number = match named {
            Some((number, _id)) => number,
            None => text.parse().map_err(|_error| {
                format!("no vehicle {text}: name one of the roster by its number or key id")
            })?,
        };
        Ok((number, self.vehicle(number)?.id()))
    }

    fn revoke(&mut self, number: u32) -> Result<KeyId, Failure> {
        let vehicle = self.at(number)?;
        if vehicle.region == VACANT {
            return Err(format!("place {number} is nobody's already").into());
        }
        let gone = vehicle.id();
        *vehicle = Vehicle { public_key: nobody(usize::try_from(number)?), region: VACANT };
        self.former.retain(|(of, _key)| *of != number);
        Ok(gone)
    }

    /// Who is given a place of nobody's is in the region that was this place's when the fleet was made, as its folder says.
    fn replace(
        &mut self,
        number: u32,
        key: PublicKey,
        stolen: bool,
        home: u16,
    ) -> Result<(), Failure> {
        if self.knows(key.bytes()) {
            return Err(format!("key {} is, or was, one of the roster's", key.id()).into());
        }
        let vehicle = self.at(number)?;
        let enrolled = vehicle.region == VACANT;
        let region = if enrolled { home } else { vehicle.region };
        let before = std::mem::replace(vehicle, Vehicle { public_key: *key.bytes(), region });
        if stolen {
            self.former.retain(|(of, _key)| *of != number);
        } else if !enrolled {
            let at = self.former.partition_point(|(of, _key)| *of <= number);
            self.former.insert(at, (number, before.public_key));
            let of = |number: u32| self.former.iter().filter(move |(of, _key)| *of == number);
            if of(number).count() > FORMER_MAX {
                let first = self.former.partition_point(|(of, _key)| *of < number);
                self.former.remove(first);
            }
        }
        Ok(())
    }

    /// The authority signs it, and names it among what counts.
    pub(super) fn sign(&self, dir: &Path, description: &Description) -> Outcome {
        let key = authority_key(dir, description)?;
        self.sign_by(dir, &*key, newest_counter(dir, key.public().id())?)?;
        Repositories::of(dir, description).name_documents(utc_ms()? / 1000)
    }

    /// Signs it by this key, whose last envelope has this counter and which signed the window plan.
    pub(super) fn sign_by(&self, dir: &Path, key: &dyn Signer, counter: u64) -> Outcome {
        let documents = dir.join("documents");
        let plan = plan::read(&documents.join("plan.shl"), key.public())?;
        let until = not_after_seconds(&plan, utc_ms()? / 1000);
        let mut desk = Desk::new(&documents, key, counter, until);
        desk.sign_roster(self.version + 1, &self.rows(), &self.growths)
    }
}

/// A key that nobody has: nobody knows the number whose point this is.
fn nobody(row: usize) -> [u8; 32] {
    let of = |attempt: u32| {
        let hasher = Sha256::new().chain_update(b"shoal/nobody/1");
        let hasher = hasher.chain_update((row as u32).to_le_bytes());
        <[u8; 32]>::from(hasher.chain_update(attempt.to_le_bytes()).finalize())
    };
    // Every second number is that of a point.
    (0..).map(of).find(|bytes| PublicKey::decode(bytes).is_ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use shoal_swarm::roster;
    use shoal_wire::SecretKey;

    use super::*;

    fn key(number: u32) -> PublicKey {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        SecretKey::from_seed(&seed).public()
    }

    fn roster(count: u32) -> Roster {
        let vehicle = |number| Vehicle { public_key: *key(number).bytes(), region: 0 };
        let (vehicles, none) = ((0..count).map(vehicle).collect(), Vec::new());
        Roster { version: 1, vehicles, former: none, growths: Vec::new() }
    }

    fn read(rows: &[Vehicle]) -> roster::Roster {
        let rows = rows.iter().map(|row| (row.id(), row.region));
        roster::Roster::of_rows(rows.collect()).unwrap()
    }

    #[test]
    fn what_is_written_is_what_vehicles_read() {
        let mut written = roster(4);
        written.replace(3, key(10), false, 0).unwrap();
        written.replace(1, key(11), false, 0).unwrap();
        written.replace(1, key(12), false, 0).unwrap();
        written.revoke(2).unwrap();
        let seen = read(&written.rows());
        assert_eq!((seen.count(), seen.places()), (3, 4));
        for (of, number) in [(0, 0), (1, 1), (11, 1), (12, 1), (3, 3), (10, 3)] {
            assert_eq!(seen.number(key(of).id()), Some(number), "{of}");
        }
        assert_eq!((seen.number(key(2).id()), seen.id(1)), (None, Some(key(12).id())));
        // The key was stolen: what it signed is nobody's; and another vehicle has the place that was free.
        let mut again = Roster::of_rows(2, &written.rows());
        assert_eq!(again.rows(), written.rows());
        again.replace(3, key(13), true, 0).unwrap();
        again.replace(2, key(14), false, 0).unwrap();
        let seen = read(&again.rows());
        assert_eq!((seen.number(key(10).id()), seen.number(key(3).id())), (None, None));
        assert_eq!((seen.number(key(2).id()), seen.id(2)), (None, Some(key(14).id())));
    }

    #[test]
    fn who_is_added_is_of_the_fleet_from_the_window_after_the_next_on() {
        let mut written = roster(4);
        let new = |numbers: std::ops::Range<u32>| -> Vec<Vehicle> {
            numbers.map(|number| Vehicle { public_key: *key(number).bytes(), region: 1 }).collect()
        };
        written.replace(1, key(20), false, 0).unwrap();
        assert_eq!(written.enroll(&new(10..11), 0).unwrap(), None, "no window has opened");
        assert_eq!(written.enroll(&new(11..13), 7).unwrap(), Some(8));
        assert_eq!(written.enroll(&new(13..14), 7).unwrap(), Some(8));
        assert_eq!(written.enroll(&new(14..15), 9).unwrap(), Some(10));
        let want = [(8, 5), (10, 8)].map(|(window, places)| Growth { window, places });
        assert_eq!(written.growths, want);
        let seen = read(&written.rows()).grown(written.growths.iter().copied());
        assert_eq!([7, 8, 9, 10].map(|window| seen.at(window).places()), [5, 8, 8, 9]);
        assert_eq!((seen.number(key(14).id()), seen.number(key(1).id())), (Some(8), Some(1)));
        for known in [3, 1, 20, 14] {
            assert!(written.enroll(&new(known..known + 1), 11).is_err(), "{known}");
        }
        assert!(written.enroll(&[new(30..31), new(30..31)].concat(), 11).is_err(), "twice");
        assert_eq!(written.places().unwrap(), 9);
        // One a window for long: those of windows that are over are forgotten.
        for window in 11..100 {
            written.enroll(&new(window + 100..window + 101), window).unwrap();
        }
        assert_eq!((written.growths.len(), written.growths[0].window), (GROWTHS_MAX, 69));
    }

    #[test]
    fn a_key_is_one_vehicles_and_of_those_before_four_are_named() {
        let mut written = roster(2);
        assert!(written.replace(0, key(1), false, 0).is_err(), "another vehicle's");
        for next in 10..16 {
            written.replace(0, key(next), false, 0).unwrap();
        }
        assert!(written.replace(1, key(14), false, 0).is_err(), "another vehicle's before");
        let seen = read(&written.rows());
        let known: Vec<u32> = (10..16).filter(|k| seen.number(key(*k).id()) == Some(0)).collect();
        assert_eq!(known, [11, 12, 13, 14, 15]);
        assert!(
            written.revoke(2).is_err() && written.revoke(1).is_ok() && written.revoke(1).is_err()
        );
    }
}
