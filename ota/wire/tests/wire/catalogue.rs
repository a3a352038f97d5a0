//! docs/refusals.md: every code has a cause and what to do, and no other code is there.

use std::fs;
use std::path::Path;

use shoal_wire::v1::RefusalCode;

const DOCUMENT: &str = include_str!("../../../../docs/refusals.md");
const SPEC: &str = include_str!("../../SPEC.md");

/// The cells of every row that begins with a number.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let numbered = |row: &Vec<String>| row.first().is_some_and(|cell| cell.parse::<u16>().is_ok());
    text.lines().filter(|line| line.starts_with('|')).map(cells).filter(numbered).collect()
}

#[test]
fn every_refusal_has_a_cause_and_what_to_do() {
    let rows = rows(DOCUMENT);
    let told: Vec<(&str, &str)> = rows.iter().map(|row| (&*row[0], &*row[1])).collect();
    let codes = RefusalCode::ALL.map(|code| (code.number().to_string(), code.name()));
    let codes: Vec<(&str, &str)> =
        codes.iter().map(|(number, name)| (number.as_str(), *name)).collect();
    assert_eq!(told, codes);
    for row in &rows {
        let [_number, name, cause, advice] = row.as_slice() else { panic!("{row:?}") };
        assert!(cause.len() > 10 && advice.len() >= 7, "{name}");
        let reserved = RefusalCode::RESERVED.iter().any(|code| code.name() == name);
        assert_eq!(cause.starts_with("reserved, said by nobody: "), reserved, "{name}");
    }
}

/// Every source file of the programs, but for tests.
fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" && name != "benches" {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push_str(text.split("#[cfg(test)]").next().unwrap());
        }
    }
}

/// What nobody ever says is marked so: whoever reads the page would look for it.
#[test]
fn every_code_is_said_or_reserved() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut said = String::new();
    for folder in ["ota/swarm/src", "ota/link/src", "ota/trust/src", "cross/vehicle/src"] {
        sources(&root.join(folder), &mut said);
    }
    // What an envelope is refused for, and not the list of codes.
    let of_wire = fs::read_to_string(root.join("ota/wire/src/v1/refusal.rs")).unwrap();
    said.extend(of_wire.split("impl From<").skip(1));
    for code in RefusalCode::ALL {
        let name = format!("::{code:?}");
        let says = |line: &str| {
            let after =
                line.split(&name).skip(1).any(|after| !after.starts_with(char::is_alphanumeric));
            // A pattern among others passes over it.
            after && !line.trim_start().starts_with('|')
        };
        let is_said = said.lines().any(says);
        assert_eq!(is_said, !RefusalCode::RESERVED.contains(&code), "{name}");
    }
}

#[test]
fn the_specification_lists_the_same_codes() {
    let codes = SPEC.split("### Refusal (kind 11)").nth(1).unwrap();
    let codes = codes.split("### Document").next().unwrap();
    let told: Vec<String> = rows(codes).into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(told, RefusalCode::ALL.map(|code| code.name().to_owned()));
}
