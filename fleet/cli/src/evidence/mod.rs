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

use crate::campaign::region_of;
use crate::fleet::{Description, cannot_make, journal, unwritten_orders};
use crate::output::{Failure, Outcome};

use record::{Bill, Keys, Record};

const RECORD: &str = "record.json";
const PAGE: &str = "record.md";
const BILL: &str = "sbom.cdx.json";
const JOURNAL: &str = "journal.jsonl";

/// Of the page that lists these commands.
pub(crate) const EXAMPLES: &str = "\
Examples:
  shoal evidence write trial 1 -o record
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
/// Example: shoal evidence write trial 1 -o evidence
#[derive(Args)]
pub(crate) struct Write {
    /// The fleet's directory
    dir: PathBuf,
    /// The campaign's number
    number: u32,
    /// The region that the campaign was for, of a fleet that has several [as the campaign says]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Where the record goes; it must not exist
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// A bill of materials (CycloneDX) of what else the vehicles run, such as the one beside their computers' image; may be given several times
    #[arg(long = "bill", value_name = "FILE")]
    bills: Vec<PathBuf>,
    /// A record of earlier: its journal must be the beginning of this one
    #[arg(long, value_name = "DIR")]
    continues: Option<PathBuf>,
}

impl Write {
    pub(crate) fn run(self) -> Outcome {
        let fleet = Description::read(&self.dir)?;
        let of_it = || region_of(&self.dir, &fleet, Some(self.number));
        let region = self.region.clone().or_else(of_it);
        let fleet = fleet.at(region.as_deref())?;
        let path = journal::path(&self.dir);
        if !path.exists() {
            let (path, dir) = (path.display(), self.dir.display());
            return Err(format!("there is no {path}: a record rests on what `shoal fleet serve {dir}` sees and writes there").into());
        }
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
            region_number: fleet.region_number(),
            authority: hex(fleet.authority.bytes()),
            timekeeper: hex(fleet.timekeeper.bytes()),
            approver: hex(fleet.approver.bytes()),
        };
        let mut record = case::record(&keys, self.number, &read)?;
        let bill = whole(&serde_json::to_string_pretty(&sbom::bill())?);
        record.bill_sha256 = Some(hex(&Sha256::digest(&bill)));
        let others =
            self.bills.iter().map(|path| other_bill(path)).collect::<Result<Vec<_>, _>>()?;
        record.other_bills = others.iter().map(|(bill, _text)| bill.clone()).collect();
        record.other_bills.sort_by(|one, other| one.file.cmp(&other.file));
        if let Some(name) = twice(&record.other_bills) {
            return Err(format!("two --bill are called {name}: rename one").into());
        }
        std::fs::create_dir(&self.output).map_err(|error| cannot_make(&self.output, &error))?;
        let files = [
            (RECORD, whole(&serde_json::to_string_pretty(&record)?)),
            (PAGE, whole(&page::page(&record))),
            (BILL, bill),
            (JOURNAL, whole(&lines(&read)?)),
        ];
        let others = others.iter().map(|(bill, text)| (bill.file.as_str(), text));
        let all = files.iter().map(|(name, text)| (*name, text)).chain(others);
        for (name, text) in all {
            if let Err(error) = write_whole(&self.output.join(name), text.as_bytes()) {
                // What is there now is ours, and a part of a record is none: the command can be given again.
                let _removed = std::fs::remove_dir_all(&self.output);
                return Err(error.into());
            }
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
    /// Fails where a bill is not beside the record, or another one is. Records of before do not say which.
    fn has_bill(&self, name: &str, sha256: Option<&str>) -> Outcome {
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(format!("{RECORD} names {name:?}, which is no file of the record").into());
        }
        let bill = self.record.join(name);
        let digest = hex(&Sha256::digest(text(&bill)?));
        if sha256.is_some_and(|said| said != digest) {
            return Err(format!("{} is not the one that {RECORD} names", bill.display()).into());
        }
        Ok(())
    }

    pub(crate) fn run(self) -> Outcome {
        let path = self.record.join(RECORD);
        let said: Record = serde_json::from_str(&text(&path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let read = journal::read_file(&self.record.join(JOURNAL))?;
        let mut found = case::record(&said.keys, said.campaign.number, &read)?;
        found.bill_sha256.clone_from(&said.bill_sha256);
        found.other_bills.clone_from(&said.other_bills);
        if found != said {
            return Err(format!("{} says otherwise than its journal", path.display()).into());
        }
        let page = self.record.join(PAGE);
        if text(&page)? != whole(&page::page(&found)) {
            return Err(format!("{} says otherwise than {RECORD}", page.display()).into());
        }
        self.has_bill(&said.bill_of_materials, said.bill_sha256.as_deref())?;
        for Bill { file, sha256 } in &said.other_bills {
            self.has_bill(file, Some(sha256))?;
        }
        println!("the chain of {} lines holds, and every signature", read.lines.len());
        println!("the record says what they say");
        println!("authority  {}", said.keys.authority);
        println!("approver   {}", said.keys.approver);
        Ok(())
    }
}

/// The name of two of these, which are in order.
fn twice(bills: &[Bill]) -> Option<&str> {
    bills.windows(2).find_map(|pair| match pair {
        [one, other] if one.file == other.file => Some(one.file.as_str()),
        _different => None,
    })
}

/// A bill of somebody else, as it will stand beside the record.
fn other_bill(path: &Path) -> Result<(Bill, String), Failure> {
    let text = text(path)?;
    let bill: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| format!("{} is no JSON: {error}", path.display()))?;
    if bill["bomFormat"] != "CycloneDX" {
        let path = path.display();
        return Err(format!("{path} is no bill of materials in CycloneDX's JSON").into());
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let name =
        name.filter(|name| ![RECORD, PAGE, BILL, JOURNAL].contains(name)).ok_or_else(|| {
            format!("{}: a record has a file of that name; rename the bill", path.display())
        })?;
    let (file, sha256) = (name.to_owned(), hex(&Sha256::digest(&text)));
    Ok((Bill { file, sha256 }, text))
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
