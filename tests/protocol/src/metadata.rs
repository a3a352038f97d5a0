//! Which documents of a world count: its repositories, as the timekeeper's shell keeps them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use shoal_swarm::{campaign, reinstated};
use shoal_trust::author::{self, Roles};
use shoal_trust::{ROOTS, Target, document_name};
use shoal_wire::v1::{Document, DocumentFields};
use shoal_wire::{KeyId, Keys, Kind, PublicKey, SecretKey, Unverified};

use crate::documents::{EPOCH_S, Fleet, sealed};

const IMAGE: &str = "image";
const YEAR_S: u64 = 365 * 86_400;

/// The authority's key as the only one.
struct Authority(PublicKey);

impl Keys for Authority {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        (id == self.0.id()).then_some(self.0)
    }
}

impl Fleet {
    fn targets_key(&self, repository: &str) -> &SecretKey {
        if repository == IMAGE { &self.authority } else { &self.timekeeper }
    }

    /// What a vehicle trusts from the beginning, written into its folder.
    pub(crate) fn write_trust(&self, folder: &Path, region: &str) {
        let map = format!(
            r#"{{"repositories":{{"{IMAGE}":[],"{region}":[]}},"mapping":[{{"paths":["*"],"repositories":["{IMAGE}","{region}"],"threshold":2,"terminating":true}}]}}"#
        );
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("map.json"), map).unwrap();
        for name in [IMAGE, region] {
            fs::write(folder.join(format!("{name}.root.json")), self.root(name, 1)).unwrap();
        }
    }

    fn repositories(&self) -> impl Iterator<Item = &'static str> {
        [IMAGE].into_iter().chain(self.regions().iter().copied())
    }

    fn root(&self, name: &str, version: u64) -> String {
        let people = [&self.authority, &self.approver];
        let roles = Roles {
            root: (people.map(SecretKey::public).to_vec(), 2),
            targets: self.targets_key(name).public(),
            timestamp: self.timekeeper.public(),
        };
        author::root(version, EPOCH_S + YEAR_S, &roles, &[people[0], people[1]]).unwrap()
    }

    /// Another key signs nonces and metadata from now on; the authority tells of the roots that say so.
    pub(crate) fn rotate_timekeeper(&mut self) {
        self.roots = Some(Vec::new());
        self.timekeeper = self.timekeeper_key();
        let told: BTreeMap<&str, [String; 1]> =
            self.repositories().map(|name| (name, [self.root(name, 2)])).collect();
        let bytes = serde_json::to_vec(&told).unwrap();
        let fields = DocumentFields { name: ROOTS, version: 2, bytes: &bytes };
        self.roots = Some(sealed(&self.authority, 7, &Document::new(fields).unwrap()).0);
    }

    /// Metadata that name the newest of these documents, in the timekeeper's envelopes. The version grows with them.
    pub(crate) fn metadata(&self, version: u64, documents: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut newest: BTreeMap<String, (u64, Target)> = BTreeMap::new();
        for bytes in documents {
            let Some((name, counter)) = self.named(bytes) else { continue };
            if newest.get(&name).is_none_or(|(before, _target)| *before < counter) {
                newest.insert(name, (counter, Target::of(bytes)));
            }
        }
        let named: BTreeMap<String, Target> =
            newest.into_iter().map(|(name, (_counter, target))| (name, target)).collect();
        let ends_s = EPOCH_S + YEAR_S;
        self.repositories()
            .map(|name| {
                let targets = author::targets(version, ends_s, &named, self.targets_key(name));
                let targets = (targets.unwrap(), version);
                let metadata =
                    author::metadata(version, ends_s, targets, &self.timekeeper).unwrap();
                let bytes = serde_json::to_vec(&metadata).unwrap();
                let (name, number) = (document_name(name), version as u32);
                let fields = DocumentFields { name: &name, version: number, bytes: &bytes };
                sealed(&self.timekeeper, version, &Document::new(fields).unwrap()).0
            })
            .collect()
    }

    /// What metadata call a document, and its counter.
    fn named(&self, bytes: &[u8]) -> Option<(String, u64)> {
        let record = Unverified::decode(bytes).ok()?;
        let (kind, counter) = (record.head().kind, record.head().counter);
        let name = match kind {
            Kind::WindowPlan => "plan",
            Kind::Roster => "roster",
            Kind::UtilityDocument => "utility",
            Kind::SwarmDocument => "swarm",
            Kind::Document => {
                let document =
                    record.verify::<Document<'_>>(&Authority(self.authority.public())).ok()?;
                let name = document.body().fields().name;
                [campaign::NAME, reinstated::NAME].into_iter().find(|known| *known == name)?
            }
            Kind::RosterPage
            | Kind::Claim
            | Kind::Vote
            | Kind::ParticleHeader
            | Kind::Presence
            | Kind::Nonce
            | Kind::Refusal => return None,
        };
        Some((format!("documents/{name}"), counter))
    }
}
