//! The fleet's repositories (TUF): `image` names what the authority signed, a region's what of that counts there. Folders of
//! metadata as any client of TUF reads them, and envelopes that carry them over the board.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;
use shoal_hal::backend::files::write_whole;
use shoal_swarm::campaign;
use shoal_trust::author::{self, AuthorError, Roles};
use shoal_trust::{Metadata, ROOTS, Repository, Target, document_name};
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::v1::{DOCUMENT_CONTENT_BYTES_MAX, Document, DocumentFields};
use shoal_wire::{Kind, PublicKey, Signer, seal};

use super::description::Description;
use super::documents::{Desk, newest_counter};
use super::secret;
use crate::clock::seconds;
use crate::output::{Failure, Outcome};

/// What vehicles get: the map and the newest roots.
pub(super) const TRUST: &str = "trust";
/// What the authority signed.
pub(super) const IMAGE: &str = "image";
/// Names of metadata that no region can have.
pub(super) const RESERVED: [&str; 2] = [IMAGE, "roots"];
const DAY_S: u64 = 86_400;
/// So many people sign a root…
const PEOPLE: u64 = 2;
/// …of these.
const ROOT_ROLES: [&str; 3] = ["authority", "approver", "recovery"];
/// Who tells vehicles of newer roots.
const TELL_ROOTS: [&str; 2] = ["authority", "timekeeper"];
/// People sign roots for so long…
const ROOT_S: u64 = 3 * 365 * DAY_S;
/// …the authority what there is…
const TARGETS_S: u64 = 365 * DAY_S;
/// …and the timekeeper that nothing newer is known: for so long is a vehicle fooled that is shown nothing new.
const TIMESTAMP_S: u64 = 14 * DAY_S;
/// Documents that metadata name, by their files.
const NAMED: [&str; 6] = ["plan", "roster", "utility", "swarm", CAMPAIGN, "reinstated"];
const CAMPAIGN: &str = "campaign";

/// The folder that vehicles of a region get: one for all, where there is one region.
pub(super) fn trust_of(fleet: &Path, description: &Description, region: &str) -> PathBuf {
    let trust = fleet.join(TRUST);
    if description.regions.len() > 1 { trust.join(region) } else { trust }
}

/// The repositories of a fleet's folder.
pub(super) struct Repositories<'a> {
    fleet: &'a Path,
    /// Each region's repository has its name.
    description: &'a Description,
}

impl<'a> Repositories<'a> {
    pub(super) fn of(fleet: &'a Path, description: &'a Description) -> Self {
        Repositories { fleet, description }
    }

    /// Makes them: first roots, map, and what counts now.
    pub(super) fn create(&self, files: &BTreeMap<String, Target>, now_s: u64) -> Outcome {
        for region in self.regions() {
            let map = json!({
                "repositories": { IMAGE: [], region: [] },
                "mapping": [{
                    "paths": ["*"], "repositories": [IMAGE, region], "threshold": 2, "terminating": true,
                }],
            });
            let trust = trust_of(self.fleet, self.description, region);
            std::fs::create_dir_all(&trust)?;
            write_whole(&trust.join("map.json"), map.to_string().as_bytes())?;
        }
        for name in self.all() {
            std::fs::create_dir_all(self.folder(name))?;
            self.sign_root(name, 1, &[], now_s)?;
        }
        self.sign_targets(IMAGE, &self.documents(files)?, "authority", now_s)?;
        self.refresh(now_s)
    }

    fn regions(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.description.regions.iter().map(String::as_str)
    }

    /// Of all repositories.
    fn all(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        [IMAGE].into_iter().chain(self.regions())
    }

    /// Whether there are any: a fleet that was made before there were goes on without, and its vehicles have no `trust`.
    ///
    /// # Errors
    /// When there were and some is missing, as in a copy of a part of the folder: what is signed then would reach no vehicle, and
    /// metadata that begin anew are a rollback to them.
    pub(super) fn exist(&self) -> Result<bool, Failure> {
        let image = self.folder(IMAGE);
        let mut wanted = Vec::new();
        if self.fleet.join(TRUST).exists() {
            wanted.push((self.fleet.join(TRUST), image.clone()));
        }
        for name in self.all().filter(|name| self.envelope(name).exists()) {
            let files = ["1.root.json", "targets.json", "snapshot.json", "timestamp.json"];
            wanted.extend(files.map(|file| (self.envelope(name), self.folder(name).join(file))));
        }
        match wanted.into_iter().find(|(_of, file)| !file.exists()) {
            None => Ok(image.exists()),
            Some((of, missing)) => {
                let (of, missing, fleet) = (of.display(), missing.display(), self.fleet.display());
                Err(format!("{missing} is missing, and {of} is there: {fleet} is a part of a fleet's folder, and vehicles would follow nothing that is signed here\nput the newest copy of the folder `repositories` in its place, or sign where the whole of it is").into())
            }
        }
    }

    /// Fails where there are none: nothing could follow a new key.
    pub(super) fn check(&self) -> Outcome {
        if !self.exist()? {
            let fleet = self.fleet.display();
            return Err(format!("{fleet} has no repositories: it was made by an older `shoal fleet init`, and its vehicles follow no roots").into());
        }
        Ok(())
    }

    /// A root that names the people of the description, two of whom must sign it, and two of those of the root before: whoever is here
    /// does, and `more`: keys that are replaced, or not in their places yet.
    fn sign_root(&self, name: &str, version: u64, more: &[&dyn Signer], now_s: u64) -> Outcome {
        let Description { authority, timekeeper, .. } = *self.description;
        let people = self.people();
        let targets = if name == IMAGE { authority } else { timekeeper };
        let roles = Roles { root: (people.clone(), PEOPLE), targets, timestamp: timekeeper };
        let here = self.here(&people)?;
        let signers: Vec<&dyn Signer> =
            here.iter().map(|key| &**key).chain(more.iter().copied()).collect();
        let root = author::root(version, now_s + ROOT_S, &roles, &signers)?;
        if let Some(before) = self.roots(name)?.last() {
            // Vehicles would refuse what does not follow.
            Repository::new(before)?.follow(std::slice::from_ref(&root))?;
        }
        write_whole(&self.folder(name).join(format!("{version}.root.json")), root.as_bytes())?;
        // Whose vehicles know this repository.
        for region in self.regions().filter(|region| name == IMAGE || name == *region) {
            let trust = trust_of(self.fleet, self.description, region);
            write_whole(&trust.join(format!("{name}.root.json")), root.as_bytes())?;
        }
        Ok(())
    }

    /// Who signs roots: the authority first, as readers of roots expect it.
    fn people(&self) -> Vec<PublicKey> {
        let Description { authority, approver, recovery, .. } = *self.description;
        [authority, approver].into_iter().chain(recovery).collect()
    }

    /// The keys of these people that are in the folder.
    fn here(&self, people: &[PublicKey]) -> Result<Vec<Box<dyn Signer>>, Failure> {
        let mut here = Vec::new();
        for role in ROOT_ROLES {
            if let Some(key) = secret::open_if_there(&self.fleet.join(format!("{role}.key")))?
                && people.contains(&key.public())
            {
                here.push(key);
            }
        }
        Ok(here)
    }

    /// Fails unless two of those who sign roots are in the folder: fewer change none.
    pub(super) fn check_people(&self) -> Outcome {
        let here = self.here(&self.people())?.len() as u64;
        if here < PEOPLE {
            let (fleet, roles) = (self.fleet.display(), ROOT_ROLES.join(".key, "));
            return Err(format!(
                "{PEOPLE} of {roles}.key sign roots; in {fleet} there is {here} of them"
            )
            .into());
        }
        Ok(())
    }

    /// The roots of a repository, oldest first.
    fn roots(&self, name: &str) -> Result<Vec<String>, Failure> {
        let mut roots = Vec::new();
        for version in 1_u64.. {
            let path = self.folder(name).join(format!("{version}.root.json"));
            match std::fs::read_to_string(&path) {
                Ok(root) => roots.push(root),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(format!("cannot read {}: {error}", path.display()).into()),
            }
        }
        Ok(roots)
    }

    /// New roots, that name the keys of the description. `more`: keys that sign although they are not in their places.
    pub(super) fn sign_roots(&self, more: &[&dyn Signer], now_s: u64) -> Outcome {
        self.all().try_for_each(|name| {
            let version = self.roots(name)?.len() as u64 + 1;
            self.sign_root(name, version, more, now_s)
        })
    }

    /// When the first of the newest roots ends; `None`: there are none.
    pub(super) fn roots_end(&self) -> Result<Option<u64>, Failure> {
        let newest = self.all().map(|name| Ok(self.roots(name)?.pop()));
        let newest = newest.collect::<Result<Vec<_>, Failure>>()?;
        let ends = newest.iter().flatten().map(|root| end_of(root));
        Ok(ends.collect::<Result<Vec<_>, _>>()?.into_iter().min())
    }

    /// Signs roots of the same keys in the places of those that end by then, and tells of all there are.
    pub(super) fn renew_roots(&self, by_s: u64, now_s: u64) -> Outcome {
        let mut newest = 0;
        for name in self.all() {
            let roots = self.roots(name)?;
            let ends = roots.last().map(|root| end_of(root)).transpose()?;
            let mut version = roots.len() as u64;
            if ends.is_some_and(|end| end <= by_s) {
                version += 1;
                self.sign_root(name, version, &[], now_s)?;
            }
            newest = newest.max(version);
        }
        // What tells of them ends, too.
        if newest > 1 { self.tell_roots(now_s) } else { Ok(()) }
    }

    /// The document of the newest roots, as many as it has room for, by whoever vehicles may know of authority and timekeeper. Who is
    /// further behind is given `trust` anew.
    pub(super) fn tell_roots(&self, now_s: u64) -> Outcome {
        let mut told = BTreeMap::new();
        for name in self.all() {
            let newer: Vec<String> = self.roots(name)?.into_iter().skip(1).collect();
            told.insert(name, newer);
        }
        let version = told.values().map(Vec::len).max().unwrap_or(0) as u32;
        let mut bytes = serde_json::to_vec(&told)?;
        while bytes.len() > DOCUMENT_CONTENT_BYTES_MAX {
            let longest = told.values_mut().max_by_key(|roots| roots.len());
            let Some(oldest) = longest.filter(|roots| roots.len() > 1) else { break };
            oldest.remove(0);
            bytes = serde_json::to_vec(&told)?;
        }
        let folder = self.fleet.join("documents");
        for role in TELL_ROOTS {
            let path = self.fleet.join(format!("{role}.key"));
            let Some(key) = secret::open_if_there(&path)? else { continue };
            let fields = DocumentFields { name: ROOTS, version, bytes: &bytes };
            let counter = newest_counter(self.fleet, key.public().id())?;
            let mut desk = Desk::new(&folder, &*key, counter, now_s + ROOT_S);
            // By its name it is the first that vehicles hear of metadata.
            desk.sign(&format!("roots-{role}"), &Document::new(fields)?)?;
        }
        // From before there were two who tell.
        let _gone = std::fs::remove_file(folder.join("tuf-roots.shl"));
        Ok(())
    }

    /// The authority has signed other documents: it names them.
    pub(super) fn name_documents(&self, now_s: u64) -> Outcome {
        self.name(&BTreeMap::new(), now_s)
    }

    /// The same, and it names these files from now on.
    pub(super) fn name(&self, more: &BTreeMap<String, Target>, now_s: u64) -> Outcome {
        if !self.exist()? {
            return Ok(());
        }
        let (_version, named) = self.targets(IMAGE)?;
        let named = named.into_iter().filter(|(name, _target)| !name.starts_with("documents/"));
        let mut files: BTreeMap<String, Target> = named.collect();
        files.extend(more.iter().map(|(name, target)| (name.clone(), *target)));
        self.sign_targets(IMAGE, &self.documents(&files)?, "authority", now_s)
    }

    /// Whether the authority named all documents as they are, or there is nothing to name them.
    pub(super) fn name_all(&self) -> Result<bool, Failure> {
        self.names(&self.documents(&BTreeMap::new())?)
    }

    /// Whether the authority named these files, or there is nothing to name them.
    pub(super) fn names(&self, files: &BTreeMap<String, Target>) -> Result<bool, Failure> {
        if !self.exist()? {
            return Ok(true);
        }
        let (_version, named) = self.targets(IMAGE)?;
        Ok(files.iter().all(|(name, target)| named.get(name) == Some(target)))
    }

    /// The timekeeper lets the region use what the authority named and is there, and says that nothing newer is known: if either is
    /// new, or it said so long ago.
    pub(super) fn refresh(&self, now_s: u64) -> Outcome {
        if !self.exist()? {
            return Ok(());
        }
        let (_version, named) = self.targets(IMAGE)?;
        let here = self.documents(&BTreeMap::new())?;
        let counts = |(name, target): &(String, Target)| {
            !name.starts_with("documents/") || here.get(name) == Some(target)
        };
        let all: BTreeMap<String, Target> = named.into_iter().filter(counts).collect();
        let (key, campaign) = (self.key("timekeeper")?, self.region_of_campaign());
        for region in self.regions() {
            let mut counts = all.clone();
            // A campaign is for one region.
            if campaign.as_deref().is_some_and(|of| of != region) {
                counts.remove(&format!("documents/{CAMPAIGN}"));
            }
            let (version, before) = self.targets_if_there(region)?;
            let file = self.folder(region).join("targets.json");
            let ours = || told(&file, |json| author::is_by(json, &key.public()));
            if version == 0 || before != counts || !ours()? {
                self.sign_targets(region, &counts, "timekeeper", now_s)?;
            }
        }
        self.all().try_for_each(|name| self.refresh_one(name, &*key, now_s))
    }

    /// For which region the campaign is that is among the documents.
    fn region_of_campaign(&self) -> Option<String> {
        let path = self.fleet.join("documents").join(CAMPAIGN).with_extension("shl");
        let bytes = std::fs::read(path).ok()?;
        let own = Own(self.description.authority);
        campaign::region(verified::<Document<'_>>(&bytes, &own).ok()?.body().fields().bytes)
    }

    fn refresh_one(&self, name: &str, key: &dyn Signer, now_s: u64) -> Outcome {
        let folder = self.folder(name);
        let [named, snapshot, old] =
            ["targets.json", "snapshot.json", "timestamp.json"].map(|file| folder.join(file));
        let targets = read(&named)?;
        let (mut version, is_told) = self.told_metadata(name, key.public());
        if old.exists() {
            let (newest, end_s) = told(&old, author::read_timestamp)?;
            version = version.max(newest).max(told(&snapshot, author::read_snapshot)?);
            let ours = told(&old, |json| author::is_by(json, &key.public()))?;
            let long = end_s > i64::try_from(now_s + TIMESTAMP_S / 2)?;
            let here = read(&snapshot)?;
            let same = told(&snapshot, |json| author::names_targets(json, &targets))?
                && told(&old, |json| author::names_snapshot(json, &here))?;
            let here =
                Metadata { timestamp: read(&old)?, snapshot: here, targets: targets.clone() };
            // A disk may have been full between one file and the next.
            if same && ours && long && is_told.as_ref() == Some(&here) {
                return Ok(());
            }
        }
        version += 1;
        let (of_targets, _named) = told(&named, author::read_targets)?;
        let metadata = author::metadata(version, now_s + TIMESTAMP_S, (targets, of_targets), key)?;
        write_whole(&snapshot, metadata.snapshot.as_bytes())?;
        write_whole(&old, metadata.timestamp.as_bytes())?;
        let bytes = serde_json::to_vec(&metadata)?;
        let (document, number) = (document_name(name), u32::try_from(version)?);
        let document =
            Document::new(DocumentFields { name: &document, version: number, bytes: &bytes })?;
        let mut buffer = vec![0; Kind::Document.envelope_bytes_max()];
        let sealed = seal(&document, version, u64::MAX, key, &mut buffer)?;
        Ok(write_whole(&self.envelope(name), sealed.bytes())?)
    }

    /// Version of the envelope of a repository, and what it tells, if it is this key's.
    fn told_metadata(&self, name: &str, key: PublicKey) -> (u64, Option<Metadata>) {
        let bytes = std::fs::read(self.envelope(name)).unwrap_or_default();
        match verified::<Document<'_>>(&bytes, &Own(key)) {
            Ok(document) => {
                let told = serde_json::from_slice(document.body().fields().bytes).ok();
                (document.head().counter, told)
            }
            Err(_) => (0, None),
        }
    }

    /// The authorities that signed here, the first one first.
    pub(super) fn authorities(&self) -> Result<Vec<PublicKey>, Failure> {
        let mut all = Vec::new();
        for root in self.roots(IMAGE)? {
            let authority = Repository::new(&root)?.signer();
            all.extend(authority.filter(|key| !all.contains(key)));
        }
        Ok(all)
    }

    fn sign_targets(
        &self,
        name: &str,
        named: &BTreeMap<String, Target>,
        role: &str,
        now_s: u64,
    ) -> Outcome {
        let (version, _named) = self.targets_if_there(name)?;
        let targets = author::targets(version + 1, now_s + TARGETS_S, named, &*self.key(role)?)?;
        Ok(write_whole(&self.folder(name).join("targets.json"), targets.as_bytes())?)
    }

    /// Version and names of a repository's targets.
    fn targets(&self, name: &str) -> Result<(u64, BTreeMap<String, Target>), Failure> {
        told(&self.folder(name).join("targets.json"), author::read_targets)
    }

    /// The same; version 0 where there are none yet.
    fn targets_if_there(&self, name: &str) -> Result<(u64, BTreeMap<String, Target>), Failure> {
        let there = self.folder(name).join("targets.json").exists();
        if there { self.targets(name) } else { Ok((0, BTreeMap::new())) }
    }

    /// The documents of the folder, beside these files.
    fn documents(
        &self,
        files: &BTreeMap<String, Target>,
    ) -> Result<BTreeMap<String, Target>, Failure> {
        let mut named = files.clone();
        for name in NAMED {
            let path = self.fleet.join("documents").join(name).with_extension("shl");
            if path.exists() {
                let bytes = std::fs::read(&path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                named.insert(format!("documents/{name}"), Target::of(&bytes));
            }
        }
        Ok(named)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.fleet.join("repositories").join(name)
    }

    fn envelope(&self, name: &str) -> PathBuf {
        self.fleet.join("documents").join(format!("tuf-{name}.shl"))
    }

    fn key(&self, role: &str) -> Result<Box<dyn Signer>, Failure> {
        secret::open(&self.fleet.join(format!("{role}.key")))
    }
}

/// What a file of metadata tells.
fn told<T>(path: &Path, of: impl FnOnce(&str) -> Result<T, AuthorError>) -> Result<T, Failure> {
    of(&read(path)?).map_err(|error| {
        let (path, why) = (path.display(), Failure::from(error));
        format!(
            "{path} is damaged: {why}\nput a copy of it in its place: its version must not go back"
        )
        .into()
    })
}

/// Until when a root counts.
fn end_of(root: &str) -> Result<u64, Failure> {
    let root: serde_json::Value = serde_json::from_str(root)?;
    seconds(root["signed"]["expires"].as_str().ok_or("a root that names no end")?)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}
