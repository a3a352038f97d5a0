//! docs/refusals.md: every code has a cause and what to do, and no other code is there.

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
        assert!(cause.len() > 10 && advice.len() > 10, "{name}");
    }
}

#[test]
fn the_specification_lists_the_same_codes() {
    let codes = SPEC.split("### Refusal (kind 11)").nth(1).unwrap();
    let codes = codes.split("### Document").next().unwrap();
    let told: Vec<String> = rows(codes).into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(told, RefusalCode::ALL.map(|code| code.name().to_owned()));
}
