//! `shoal evidence …`

mod case;
mod page;
mod record;
mod sbom;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sha2::{Digest as _, Sha256};
use shoal_hal::backend::files::write_whole;
use shoal_shadow::digits::hex;

use crate::fleet::{Description, journal, unwritten_orders};
use crate::output::{Failure, Outcome};

use record::{Keys, Record};

const RECORD: &str = "record.json";
const PAGE: &str = "record.md";
const BILL: &str = "sbom.cdx.json";
const JOURNAL: &str = "journal.jsonl";

/// Of the page that lists these commands.
pub(crate) const EXAMPLES: &str = "\
Examples:
  shoal evidence write fleet 1 -o record
  shoal evidence check record";

/// A campaign's record, for auditors.
#[derive(Subcommand)]
pub(crate) enum Evidence {
    Write(Write),
    Check(Check),
}

impl Evidence {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Evidence::Write(command) => command.run(),
            Evidence::Check(command) => command.run(),
        }
    }
}

/// Write a campaign's record, for auditors.
///
/// OUT gets record.json, the same as a page (record.md), the journal that it rests on, and the software bill of materials of this
/// program. The journal is what `shoal fleet serve` saw; its chain and every signature in it are checked first.
///
/// Example: shoal evidence write fleet 1 -o evidence
#[derive(Args)]
pub(crate) struct Write {
    /// The fleet's directory
    dir: PathBuf,
    /// The campaign's number
    number: u32,
    /// Where the record goes; it must not exist
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// A record of earlier: its journal must be the beginning of this one
    #[arg(long, value_name = "DIR")]
    continues: Option<PathBuf>,
}

impl Write {
    pub(crate) fn run(self) -> Outcome {
        let fleet = Description::read(&self.dir)?;
        let path = journal::path(&self.dir);
        let read = journal::read_file(&path)?;
        if let Some(earlier) = &self.continues {
            let before = journal::read_file(&earlier.join(JOURNAL))?;
            if !read.lines.starts_with(&before.lines) {
                let (path, earlier) = (path.display(), earlier.display());
                return Err(format!("{path} does not begin with the journal in {earlier}").into());
            }
        }
        self.check_whole(&fleet, &read)?;
        let keys = Keys {
            fleet: fleet.name.clone(),
            region: fleet.region.clone(),
            authority: hex(fleet.authority.bytes()),
            timekeeper: hex(fleet.timekeeper.bytes()),
            approver: hex(fleet.approver.bytes()),
        };
        let mut record = case::record(&keys, self.number, &read)?;
        let bill = whole(&serde_json::to_string_pretty(&sbom::bill())?);
        record.bill_sha256 = Some(hex(&Sha256::digest(&bill)));
        std::fs::create_dir(&self.output)
            .map_err(|error| format!("cannot make {}: {error}", self.output.display()))?;
        let files = [
            (RECORD, whole(&serde_json::to_string_pretty(&record)?)),
            (PAGE, whole(&page::page(&record))),
            (BILL, bill),
            (JOURNAL, whole(&lines(&read)?)),
        ];
        for (name, text) in files {
            write_whole(&self.output.join(name), text.as_bytes())?;
        }
        println!("{}", self.output.join(PAGE).display());
        Ok(())
    }

    /// Fails where something was ordered that is not in the journal: the record would leave it out.
    fn check_whole(&self, fleet: &Description, read: &journal::Read) -> Outcome {
        let written = read.lines.iter().map(journal::Line::bytes).collect();
        let unwritten = unwritten_orders(&self.dir, fleet, &written)?;
        if unwritten.is_empty() {
            return Ok(());
        }
        let files: Vec<String> = unwritten.iter().map(|path| path.display().to_string()).collect();
        let (journal, dir) = (journal::path(&self.dir), self.dir.display());
        Err(format!(
            "the record would leave out what was ordered and is not in {}:\n  {}\nlet `shoal fleet serve {dir}` run until it is there, which is a second or two, and try again",
            journal.display(),
            files.join("\n  ")
        )
        .into())
    }
}

/// Check a record: the journal's chain, every signature, and that the record says what they say.
///
/// Nothing but the record's folder is needed; the keys that it names are to be compared with the fleet's.
///
/// Example: shoal evidence check evidence
#[derive(Args)]
pub(crate) struct Check {
    /// The record's folder
    record: PathBuf,
}

impl Check {
    pub(crate) fn run(self) -> Outcome {
        let path = self.record.join(RECORD);
        let said: Record = serde_json::from_str(&text(&path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let read = journal::read_file(&self.record.join(JOURNAL))?;
        let mut found = case::record(&said.keys, said.campaign.number, &read)?;
        found.bill_sha256.clone_from(&said.bill_sha256);
        if found != said {
            return Err(format!("{} says otherwise than its journal", path.display()).into());
        }
        let page = self.record.join(PAGE);
        if text(&page)? != whole(&page::page(&found)) {
            return Err(format!("{} says otherwise than {RECORD}", page.display()).into());
        }
        let bill = self.record.join(&said.bill_of_materials);
        let digest = hex(&Sha256::digest(text(&bill)?));
        if said.bill_sha256.as_ref().is_some_and(|said| *said != digest) {
            return Err(format!("{} is not the one that {RECORD} names", bill.display()).into());
        }
        println!("the chain of {} lines holds, and every signature", read.lines.len());
        println!("the record says what they say");
        println!("authority  {}", said.keys.authority);
        println!("approver   {}", said.keys.approver);
        Ok(())
    }
}

/// A file's text: with the end of its last line.
fn whole(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

fn text(path: &Path) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?)
}

fn lines(read: &journal::Read) -> Result<String, Failure> {
    let lines = read.lines.iter().map(serde_json::to_string);
    Ok(lines.collect::<Result<Vec<_>, _>>()?.join("\n"))
}
