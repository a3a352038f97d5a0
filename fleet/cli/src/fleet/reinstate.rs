//! `shoal fleet reinstate`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use shoal_console::reader::Reader;
use shoal_link::Addresses;
use shoal_swarm::records::{STANDING_WINDOWS, age_windows};
use shoal_swarm::reinstated::{NAME, Reinstated};
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::v1::{Document, DocumentFields};

use super::description::Description;
use super::documents::{Desk, authority_key, newest_counter, not_after_seconds};
use super::heard::heard;
use super::plan;
use super::repositories::Repositories;
use super::roster::Roster;
use super::utility::next_window;
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};

/// How long a broker may take to tell of the fleet.
const PATIENCE: Duration = Duration::from_secs(60);

/// Put a vehicle that stands aside into good standing again.
///
/// The authority signs that what the fleet found against it before a window is not held against it from then on. What is found later
/// counts as ever, and what was found stays to be seen. A window that has opened cannot be named: it stays as it was read. Vehicles
/// hear of it in their next window; the default, the window after that, is read the same by all who take part in between.
///
/// Example: shoal fleet reinstate trial --vehicle 3
///
/// Example: shoal fleet reinstate trial --vehicle 5bb61d0cf0e4a297 --from 120 --broker mqtt://broker:1883
#[derive(Args)]
pub(crate) struct Reinstate {
    /// The fleet's directory
    dir: PathBuf,
    /// The vehicle: its number, or the id of its key (16 hexadecimal digits)
    #[arg(long, value_name = "ID|NUMBER")]
    vehicle: String,
    /// From which window on [the one after the next]
    #[arg(long, value_name = "WINDOW")]
    from: Option<u32>,
    /// Say first what was found against it, as far as that still stands on this broker (its nodes with commas between them)
    #[arg(long, value_name = "URL")]
    broker: Option<Addresses>,
    /// Directory of authority.pem, certificate.pem and key.pem, for a broker with TLS
    #[arg(long, value_name = "DIR", requires = "broker")]
    certificates: Option<PathBuf>,
}

impl Reinstate {
    pub(crate) fn run(self) -> Outcome {
        let (description, _held) = Description::hold(&self.dir)?;
        let key = authority_key(&self.dir, &description)?;
        let (number, id) = Roster::read(&self.dir, &description)?.find(&self.vehicle)?;
        let documents = self.dir.join("documents");
        let plan = plan::read(&documents.join("plan.shl"), description.authority)?;
        let now_s = utc_ms()? / 1000;
        let next = next_window(&plan, now_s);
        let from = self.window(next)?;
        let (version, before) = self.before(&description)?;
        let after = before.and((id, from), next, age_windows(plan.period_seconds))?;
        self.tell_findings(&description, number)?;
        let bytes = after.encode();
        let fields = DocumentFields { name: NAME, version: version + 1, bytes: &bytes };
        let counter = newest_counter(&self.dir, key.public().id())?;
        Desk::new(&documents, &*key, counter, not_after_seconds(&plan, now_s))
            .order(&self.dir, &Document::new(fields)?)?;
        Repositories::of(&self.dir, &description).name_documents(now_s)?;
        println!(
            "vehicle {number} of key {id} is in good standing from window {from} on, whatever was found before it"
        );
        println!("{}", heard(&self.dir));
        Ok(())
    }

    /// From which window on, if it may be: the one after `next`, or what was asked for.
    fn window(&self, next: u32) -> Result<u32, Failure> {
        let last = next.saturating_add(STANDING_WINDOWS);
        let from = self.from.unwrap_or(next.saturating_add(1));
        if from < next {
            return Err(format!(
                "window {from} has opened, and stays as it was read: {next} is the first to name"
            )
            .into());
        }
        if from > last {
            return Err(format!(
                "by window {from} nothing of today is held against anybody: {last} is the last to name"
            )
            .into());
        }
        Ok(from)
    }

    /// What was signed before, with its version.
    fn before(&self, description: &Description) -> Result<(u32, Reinstated), Failure> {
        let path = self.dir.join("documents").join(NAME).with_extension("shl");
        if !path.exists() {
            return Ok((0, Reinstated::NOBODY));
        }
        let failed = |error: Failure| Failure::from(format!("{}: {error}", path.display()));
        let bytes = std::fs::read(&path).map_err(|error| failed(error.into()))?;
        let document = verified::<Document<'_>>(&bytes, &Own(description.authority));
        let document = document.map_err(|error| failed(error.into()))?;
        let DocumentFields { version, bytes, .. } = *document.body().fields();
        Ok((version, Reinstated::decode(bytes).map_err(|error| failed(error.into()))?))
    }

    /// Says what was found against the vehicle, where there is a broker to ask.
    fn tell_findings(&self, description: &Description, number: u32) -> Outcome {
        let Some(broker) = self.broker.clone() else { return Ok(()) };
        let mut reader = Reader::open(&description.reading(broker, self.certificates.as_deref())?)?;
        reader.settle(PATIENCE).map_err(|why| format!("nothing is signed: {why}"))?;
        let now_s = reader.utc_seconds();
        let findings = reader.state_mut().view(now_s).findings;
        let mut against = findings.iter().filter(|found| found.vehicle == Some(number)).peekable();
        if against.peek().is_none() {
            eprintln!(
                "warning: by what stands there nothing is found against vehicle {number}; where a claim of later took the place of the one that was found false, a console that listened meanwhile still shows it"
            );
        }
        for found in against {
            let (window, fault, particle) = (found.window, found.fault, &found.particle);
            let (by, of) = (found.found_by, found.of);
            eprintln!("warning: window {window}: {fault}, by {by} of {of} votes on {particle}");
        }
        Ok(())
    }
}
