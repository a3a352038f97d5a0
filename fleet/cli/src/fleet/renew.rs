//! Until when what the authority signed counts, and the same signed again before that.

use std::path::{Path, PathBuf};

use shoal_hal::backend::files::write_whole;
use shoal_swarm::campaign;
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::v1::{Document, METADATA_NAME};
use shoal_wire::{Kind, PublicKey, Signer, Unverified};

use super::description::Description;
use super::documents::{envelopes, newest_counter};
use super::reissue::Again;
use super::repositories::Repositories;
use super::roster::Roster;
use crate::clock::utc;
use crate::output::{Failure, Outcome};

/// So long before the first end it is said.
const SAID_S: u64 = 60 * 86_400;

/// Signs again what ends with the plan, which is signed already, and the roster with it: until this time.
pub(super) fn renew(dir: &Path, roster: &Roster, key: &dyn Signer, until: u64) -> Outcome {
    let old = key.public();
    let mut counter = newest_counter(dir, old.id())?;
    for (path, bytes) in envelopes(&dir.join("documents"))? {
        let failed = |error: Failure| format!("{}: {error}", path.display());
        if ends(&bytes, old).map_err(failed)?.is_none() {
            continue;
        }
        let again = Again { old, key, counter: counter + 1, until: Some(until) };
        match again.seal(&bytes).map_err(failed)? {
            Some(sealed) if Unverified::decode(&bytes)?.head().kind != Kind::WindowPlan => {
                counter += 1;
                write_whole(&path, &sealed)?;
            }
            Some(_) | None => {}
        }
    }
    roster.sign_by(dir, key, counter)
}

/// Signs new roots where some end before what is signed until this time is renewed again, if two of those who sign them are here; and
/// tells again of those there are.
pub(super) fn renew_roots(dir: &Path, fleet: &Description, until: u64, now_s: u64) -> Outcome {
    let repositories = Repositories::of(dir, fleet);
    if !repositories.exist()? {
        return Ok(());
    }
    // Whoever is missing is named by the warning, and so is a token that is not there.
    let by_s = if repositories.check_people().is_ok() { until.saturating_add(SAID_S) } else { 0 };
    repositories.renew_roots(by_s, now_s)
}

/// What is to be done soon, or was to be done; `told` are the documents. After a plan that was signed `until` then, roots are to last
/// longer than it does.
pub(super) fn warnings(
    dir: &Path,
    fleet: &Description,
    told: &[(PathBuf, Vec<u8>)],
    (now_s, until): (u64, Option<u64>),
) -> Vec<String> {
    let by_s = until.unwrap_or(now_s).saturating_add(SAID_S);
    let roots = roots_warning(dir, fleet, by_s);
    warning(dir, told, fleet.authority, now_s).into_iter().chain(roots).collect()
}

/// Of roots that end by then. Vehicles follow new ones at any time; without them they take no metadata, and so no document.
fn roots_warning(dir: &Path, fleet: &Description, by_s: u64) -> Option<String> {
    // Roots that cannot be read are named by whoever signs the next ones.
    let end = Repositories::of(dir, fleet).roots_end().ok().flatten()?;
    let (dir, at) = (dir.display(), utc(end));
    (end <= by_s).then(|| {
        format!(
            "the roots in {dir}/repositories count until {at}, and no vehicle takes a document after that: `shoal fleet plan {dir} --renew` signs new ones where two of authority.key, approver.key and recovery.key are in {dir}"
        )
    })
}

/// The first of these documents to end ends then.
fn warning(
    dir: &Path,
    told: &[(PathBuf, Vec<u8>)],
    authority: PublicKey,
    now_s: u64,
) -> Option<String> {
    let ends = told.iter().filter_map(|(path, bytes)| {
        // What cannot be read is named by whoever reads it.
        Some((ends(bytes, authority).ok().flatten()?, path))
    });
    let (end, path) = ends.min_by_key(|(end, _path)| *end)?;
    if end > now_s.saturating_add(SAID_S) {
        return None;
    }
    let (dir, path) = (dir.display(), path.display());
    let when = match end.checked_sub(now_s) {
        Some(left) => format!("counts for {} more days", left / 86_400),
        None => "counts no more".to_owned(),
    };
    Some(format!(
        "{path} {when}, and without a plan that counts no window opens: `shoal fleet plan {dir} --renew` signs all documents again"
    ))
}

/// Until when this counts, if it is a document that ends with the plan. A campaign ends with its approval, and metadata for themselves.
fn ends(bytes: &[u8], authority: PublicKey) -> Result<Option<u64>, Failure> {
    let head = *Unverified::decode(bytes)?.head();
    let ends_with_plan = match head.kind {
        Kind::WindowPlan
        | Kind::Roster
        | Kind::RosterPage
        | Kind::UtilityDocument
        | Kind::SwarmDocument => true,
        Kind::Document if head.key == authority.id() => {
            let document = verified::<Document<'_>>(bytes, &Own(authority))?;
            let name = document.body().fields().name;
            name != campaign::NAME && !name.starts_with(METADATA_NAME)
        }
        Kind::Document
        | Kind::ParticleHeader
        | Kind::Nonce
        | Kind::Claim
        | Kind::Vote
        | Kind::Presence
        | Kind::Refusal => false,
    };
    let ours = head.key == authority.id();
    Ok((ours && ends_with_plan).then_some(head.not_after_seconds))
}
