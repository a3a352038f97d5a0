//! `shoal fleet utility`: what a fleet maximises, term by term, and how much each counts in which window.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use sha2::{Digest, Sha256};
use shoal_shadow::document::{self, DocumentError, Table};
use shoal_shadow::pack::{MANIFEST_BYTES_MAX, Manifest, Pack};
use shoal_swarm::utility::{Utility, to_value, value_of};
use shoal_trust::Target;
use shoal_vehicle::config::knots;
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_vehicle::exchange::measured::{NAMES, metrics, name};
use shoal_wire::PackHash;
use shoal_wire::v1::{
    DOCUMENT_CONTENT_BYTES_MAX, Document, DocumentFields, Knot, Metric, TERM_NAME_BYTES_MAX, Term,
    UtilityDocument, UtilityDocumentFields, WindowPlanFields,
};

use super::description::Description;
use super::documents::{Desk, authority_key, envelopes, newest_counter, not_after_seconds};
use super::heard::heard;
use super::plan;
use super::repositories::Repositories;
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};

/// What the keys of a term are.
const KEYS: [&str; 6] = ["name", "pack", "metric", "windows", "weights", "gate"];

/// Sign what counts from now on, and how much in which window.
///
/// FILE has a table [[term]] for every term, in their order: `name`; `pack`, the id of one of the fleet's packs (by default the
/// first); `metric` (by default what the pack is of, and of a pack of drivers imitation_gain); `windows` and `weights`, the knots between which the weight lies on the line
/// (by default it is 1); `gate`, below which no particle is best. Terms stay in their places: weights and gates may change, new
/// terms come last, with weight 0 for one window in which everybody measures them. Without FILE it shows what is in force.
///
/// Example: shoal fleet utility trial utility.toml --pack night
#[derive(Args)]
pub(crate) struct UtilityCommand {
    /// The fleet's directory
    dir: PathBuf,
    /// The terms
    file: Option<PathBuf>,
    /// One more evaluation pack for the fleet: vehicles must have it too, and name it in their `pack`; several times for several
    #[arg(long, value_name = "PACK", requires = "file")]
    pack: Vec<PathBuf>,
}

impl UtilityCommand {
    pub(crate) fn run(self) -> Outcome {
        let (fleet, _held) = match &self.file {
            Some(_signed) => {
                Description::hold(&self.dir).map(|(fleet, held)| (fleet, Some(held)))?
            }
            None => (Description::read(&self.dir)?, None),
        };
        let documents = self.dir.join("documents");
        let path = documents.join("utility.shl");
        let bytes = std::fs::read(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let old = verified::<UtilityDocument>(&bytes, &Own(fleet.authority))?.body().clone();
        let plan = plan::read(&documents.join("plan.shl"), fleet.authority)?;
        let now_s = utc_ms()? / 1000;
        let window = next_window(&plan, now_s);
        let mut packs = Known::of_fleet(&documents, &fleet)?;
        let Some(file) = &self.file else {
            print(&old, &packs, window);
            return Ok(());
        };
        let more = self.pack.iter().map(|pack| Pack::open(pack)).collect::<Result<Vec<_>, _>>()?;
        let repositories = Repositories::of(&self.dir, &fleet);
        for pack in &more {
            let new = Known::of(pack.manifest_bytes())?;
            let Some(other) = packs.iter().find(|other| other.id == new.id) else {
                packs.push(new);
                continue;
            };
            // What is signed and not named is of a command that was cut short: it is given again.
            if other.hash != new.hash || repositories.names(&files(std::slice::from_ref(pack)))? {
                return Err(format!("the fleet has a pack {} already", new.id).into());
            }
        }
        let version = old.fields().version + 1;
        let new = read(file, &packs, version)?;
        check(&new, &old, window)?;

        let key = authority_key(&self.dir, &fleet)?;
        let counter = newest_counter(&self.dir, key.public().id())?;
        let mut desk = Desk::new(&documents, &*key, counter, not_after_seconds(&plan, now_s));
        // A utility names no pack that is not there, wherever this is cut short.
        sign_packs(&mut desk, &more)?;
        desk.sign("utility", &new)?;
        repositories.name(&files(&more), now_s)?;
        print(&new, &packs, window);
        println!("{}", heard(&self.dir));
        for pack in more {
            println!(
                "vehicles need the pack {}: name it in [fleet] pack of their vehicle.toml",
                pack.manifest().id
            );
        }
        Ok(())
    }
}

/// A pack of the fleet.
pub(super) struct Known {
    id: String,
    hash: PackHash,
    /// What can be measured on it; first what it is of.
    told: Vec<Metric>,
}

impl Known {
    /// Of a manifest's bytes.
    pub(super) fn of(manifest: &[u8]) -> Result<Self, Failure> {
        let pack = Manifest::from_bytes(manifest)?;
        if !pack.is_counted() {
            let id = pack.id;
            return Err(format!(
                "no drive of pack {id} moves enough to be counted: nothing would be measured on it"
            )
            .into());
        }
        let (id, told) = (pack.id.clone(), metrics(&pack));
        Ok(Known { id, hash: PackHash::new(Sha256::digest(manifest).into()), told })
    }

    /// What is measured on it where nobody says: what it is of. Of drivers, what is gained in that over the policy as it ships: a policy
    /// is easily so far from drivers of whom it knows nothing that its value is at its end, and there no particle is better than another.
    fn usual(&self) -> Option<Metric> {
        let first = *self.told.first()?;
        Some(if first == Metric::Imitation { Metric::ImitationGain } else { first })
    }

    /// The packs whose manifests the authority signed, the first one first, the others in order of name.
    fn of_fleet(documents: &Path, fleet: &Description) -> Result<Vec<Self>, Failure> {
        let mut told = envelopes(documents)?;
        // `pack-night.shl` is before `pack.shl` in order of name.
        told.sort_by_key(|(path, _bytes)| path.file_stem().is_none_or(|stem| stem != "pack"));
        let mut packs = Vec::new();
        for (path, bytes) in told {
            let of = path.file_stem().and_then(|stem| stem.to_str());
            if !of.is_some_and(|of| of == "pack" || of.starts_with("pack-")) {
                continue;
            }
            let signed = verified::<Document<'_>>(&bytes, &Own(fleet.authority))?;
            packs.push(Known::of(signed.body().fields().bytes)?);
        }
        Ok(packs)
    }
}

/// What can be built can be signed.
const _: () = assert!(MANIFEST_BYTES_MAX <= DOCUMENT_CONTENT_BYTES_MAX);

/// Signs the manifests of packs behind that of the first.
pub(super) fn sign_packs(desk: &mut Desk<'_>, packs: &[Pack]) -> Outcome {
    packs.iter().try_for_each(|pack| {
        let document = format!("pack-{}", pack.manifest().id);
        sign_pack(desk, &document, pack)
    })
}

/// Signs a pack's manifest as this document.
pub(super) fn sign_pack(desk: &mut Desk<'_>, document: &str, pack: &Pack) -> Outcome {
    let (manifest, bytes) = (pack.manifest(), pack.manifest_bytes());
    let (name, version) = (manifest.id.as_str(), manifest.version);
    desk.sign(document, &Document::new(DocumentFields { name, version, bytes })?)?;
    Ok(())
}

/// What the image repository names of packs.
pub(super) fn files(packs: &[Pack]) -> BTreeMap<String, Target> {
    let of = |pack: &Pack| {
        let name = format!("packs/{}/pack.json", pack.manifest().id);
        (name, Target::of(pack.manifest_bytes()))
    };
    packs.iter().map(of).collect()
}

/// A gate as it is asked for.
pub(super) fn gate(text: &str) -> Result<(Metric, f64), String> {
    let known = || NAMES.map(|(_metric, name)| name).join(", ");
    let (name, value) = text.split_once('=').ok_or("expected METRIC=VALUE")?;
    let of = NAMES.into_iter().find(|(_metric, other)| *other == name);
    let (metric, _name) = of.ok_or_else(|| format!("no metric `{name}`: {}", known()))?;
    let value: f64 = value.parse().map_err(|_error| format!("`{value}` is no number"))?;
    if !(-1.0..=1.0).contains(&value) {
        return Err(format!("{value} is not within -1 and 1"));
    }
    Ok((metric, value))
}

/// A term for every pack, by what it usually is measured by, as much of all from the first window on; and without weight what is a gate alone, on the
/// first pack that tells it.
pub(super) fn usual(packs: &[Known], gates: &[(Metric, f64)]) -> Result<UtilityDocument, Failure> {
    let term = |name: &str, (hash, metric), weight| {
        Ok::<_, Failure>(Term {
            name: name.try_into().map_err(|_error| format!("the name `{name}` is too long"))?,
            pack: hash,
            metric,
            knots: [Knot { window: 0, weight }].into_iter().collect(),
            gate: None,
        })
    };
    let mut terms = Vec::new();
    for pack in packs {
        let metric = pack.usual().ok_or_else(|| format!("pack {} tells nothing", pack.id))?;
        // The pack's hash tells which it is; its id may be longer than a term's name.
        let name = pack.id.get(..TERM_NAME_BYTES_MAX).unwrap_or(&pack.id);
        terms.push(term(name, (pack.hash, metric), 1.0)?);
    }
    for &(metric, value) in gates {
        let Some(pack) = packs.iter().find(|pack| pack.told.contains(&metric)) else {
            let (name, ids) = (name(metric), packs.iter().map(|pack| &pack.id[..]));
            let ids = ids.collect::<Vec<_>>().join(", ");
            return Err(format!("--gate {name}: no pack tells it ({ids}): shoal pack check").into());
        };
        let asked = (pack.hash, metric);
        let is_asked = |other: &Term| (other.pack, other.metric) == asked;
        if !terms.iter().any(is_asked) {
            terms.push(term(name(metric), asked, 0.0)?);
        }
        let gated = terms.iter_mut().find(|other| is_asked(other));
        gated.into_iter().for_each(|term| term.gate = Some(to_value(value)));
    }
    let terms = terms.into_iter().collect();
    Ok(UtilityDocument::new(UtilityDocumentFields { version: 1, terms })?)
}

/// The terms of a file.
pub(super) fn read(file: &Path, packs: &[Known], version: u32) -> Result<UtilityDocument, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let shown = file.display().to_string();
    let document = document::Document::parse(&shown, &text)?;
    let root = document.root(&["term"])?;
    let tables = root.tables("term", &KEYS)?;
    let terms = tables.iter().map(|table| term(table, packs));
    let terms = terms.collect::<Result<Vec<Term>, DocumentError>>()?;
    let terms = terms.into_iter().collect();
    UtilityDocument::new(UtilityDocumentFields { version, terms })
        .map_err(|error| format!("{shown}: {error}").into())
}

fn term(table: &Table<'_>, packs: &[Known]) -> Result<Term, DocumentError> {
    let ids = || packs.iter().map(|pack| &pack.id[..]).collect::<Vec<_>>().join(", ");
    let pack = match table.text("pack")? {
        Some(id) => packs
            .iter()
            .find(|pack| pack.id == id)
            .ok_or_else(|| table.refuse("pack", format!("`{id}`"), &ids()))?,
        None => packs.first().ok_or_else(|| table.missing("pack"))?,
    };
    let told = || pack.told.iter().map(|of| name(*of)).collect::<Vec<_>>().join(", ");
    let metric = match table.text("metric")? {
        Some(asked) => {
            let of = pack.told.iter().find(|of| name(**of) == asked);
            *of.ok_or_else(|| table.refuse("metric", format!("`{asked}`"), &told()))?
        }
        None => pack.usual().ok_or_else(|| table.missing("metric"))?,
    };
    let title = table.text_required("name")?;
    let knots = knots(table)?.into_iter().map(|(window, weight)| Knot { window, weight });
    Ok(Term {
        name: title
            .try_into()
            .map_err(|_long| table.refuse("name", format!("`{title}`"), "at most 32 bytes"))?,
        pack: pack.hash,
        metric,
        knots: knots.collect(),
        gate: table.number("gate", -1.0..=1.0)?.map(to_value),
    })
}

/// Whether vehicles follow: places stay, and what is new is measured before it counts.
fn check(new: &UtilityDocument, old: &UtilityDocument, window: u32) -> Outcome {
    let (now, before) = (Utility::new(new), Utility::new(old));
    now.follows(&before).map_err(|why| format!("vehicles would not follow: {why}"))?;
    let known = before.terms().len();
    let weights = now.weights(window);
    let loud = weights.iter().enumerate().skip(known).find(|(_, weight)| **weight > 0.0);
    if let Some((index, _)) = loud {
        let name = new.fields().terms.get(index).map_or("", |term| term.name.as_str());
        return Err(format!(
            "`{name}` is new and counts in window {window} already, before anybody has measured it: let it begin with weight 0 at \
             window {window}"
        )
        .into());
    }
    if weights.iter().sum::<f64>() <= 0.0 {
        return Err(format!("in window {window} nothing counts: every weight is 0").into());
    }
    Ok(())
}

/// The window that opens next.
pub(super) fn next_window(plan: &WindowPlanFields, now_s: u64) -> u32 {
    let Some(since) = now_s.checked_sub(plan.epoch_seconds) else { return 0 };
    u32::try_from(since / u64::from(plan.period_seconds.max(1)) + 1).unwrap_or(u32::MAX)
}

/// The terms, and their shares in the next window and wherever one of them turns.
fn print(utility: &UtilityDocument, packs: &[Known], window: u32) {
    let fields = utility.fields();
    let turns = fields.terms.iter().flat_map(|term| term.knots.iter().map(|knot| knot.window));
    let mut windows: Vec<u32> = turns.filter(|turn| *turn > window).chain([window]).collect();
    windows.sort_unstable();
    windows.dedup();
    let of = Utility::new(utility);
    let shares: Vec<_> = windows.iter().map(|window| of.at(*window)).collect();
    println!("utility {}: share of every term in window", fields.version);
    let head: String = windows.iter().map(|window| format!("{window:>7}")).collect();
    println!("{:32} {:16} {:14} {:>7}{head}", "term", "pack", "metric", "gate");
    for (index, term) in fields.terms.iter().enumerate() {
        let pack = packs.iter().find(|pack| pack.hash == term.pack);
        let pack = pack.map_or("?", |pack| &pack.id[..]);
        let gate = term.gate.map_or_else(String::new, |gate| format!("{:.3}", value_of(gate)));
        let share = |weighing: &Option<shoal_swarm::utility::Weighing>| {
            let share = weighing.as_ref().and_then(|all| all.shares().get(index).copied());
            share.map_or_else(|| "      –".into(), |share| format!("{:6.0}%", 100.0 * share))
        };
        let shares: String = shares.iter().map(share).collect();
        println!("{:32} {pack:16} {:14} {gate:>7}{shares}", term.name.as_str(), name(term.metric));
    }
}

#[cfg(test)]
mod tests;
