//! What `shoal evidence check` reads: a campaign's record and the journal that it rests on.

#[path = "../../../fleet/cli/src/evidence/case.rs"]
mod case;
#[path = "../../../fleet/cli/src/evidence/record.rs"]
mod record;

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shoal_shadow::digits::hex;

use crate::fleet::journal::read_text;
use record::Record;

const BILL: &str = "sbom.cdx.json";

/// Reads what comes before the first zero byte as a record, and what comes after it as a journal: as it is, and with its chain put
/// right. What a hash stops is not what somebody writes who has the folder.
pub(crate) fn evidence(bytes: &[u8]) {
    let cut = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (record, journal) = bytes.split_at(cut);
    let said = serde_json::from_slice::<Record>(record).ok();
    if let Some(said) = &said {
        let text = serde_json::to_string(said).expect("plain data is JSON");
        let again =
            serde_json::from_str::<Record>(&text).expect("a record is what it is written as");
        let text_again = serde_json::to_string(&again).expect("plain data is JSON");
        assert_eq!(text_again, text, "a record is what it is written as");
    }
    let Ok(journal) = str::from_utf8(journal.get(1..).unwrap_or_default()) else { return };
    for text in [journal, &mended(journal)] {
        let Ok(read) = read_text(text, Path::new("journal.jsonl")) else { continue };
        let lines = read.lines.iter().map(|line| serde_json::to_string(line).expect("plain data"));
        let written: String = lines.map(|line| line + "\n").collect();
        assert!(text.starts_with(&written), "a journal is what it is written as");
        for line in &read.lines {
            assert_eq!(hex(&line.bytes()), line.envelope, "a record has one form");
        }
        let Some(said) = &said else { continue };
        let Ok(found) = case::record(&said.keys, said.campaign.number, &read) else { continue };
        assert_eq!(found.keys, said.keys, "what is believed is what was asked for");
        assert_eq!(found.campaign.number, said.campaign.number);
        assert_eq!((found.journal.lines, &found.journal.head), (read.lines.len(), &read.head));
        let text = serde_json::to_string(&found).expect("plain data is JSON");
        let again = serde_json::from_str::<Record>(&text).ok();
        assert_eq!(again.as_ref(), Some(&found), "a record that is true is found true");
    }
}

/// The journal with the numbers and hashes of its lines as they should be; what is no line ends it.
fn mended(journal: &str) -> String {
    let (mut mended, mut before) = (String::new(), String::new());
    for (number, line) in journal.lines().enumerate() {
        let Ok(Value::Object(line)) = serde_json::from_str(line) else { break };
        let [Some(topic), Some(envelope)] =
            ["topic", "envelope"].map(|key| line.get(key).and_then(Value::as_str))
        else {
            break;
        };
        let at_ms = line.get("at_ms").and_then(Value::as_u64).unwrap_or(0);
        let [topic, envelope, last] =
            [topic, envelope, &before].map(|text| json!(text).to_string());
        let text = format!(
            "{{\"number\":{number},\"at_ms\":{at_ms},\"topic\":{topic},\"envelope\":{envelope},\"before\":{last}}}"
        );
        before = hex(&Sha256::digest(&text));
        mended.push_str(&text);
        mended.push('\n');
    }
    mended
}
