//! docs/refusals.md: whatever the gateway refuses has a cause there, and what to do.

use shoal_gateway::Refusal;

const DOCUMENT: &str = include_str!("../../../../docs/refusals.md");

/// The one after it; from none, the first. Whoever adds one has to give it a place here.
const fn next(after: Option<Refusal>) -> Option<Refusal> {
    let Some(after) = after else { return Some(Refusal::Record { code: 1 }) };
    Some(match after {
        Refusal::Record { .. } => Refusal::Malformed,
        Refusal::Malformed => Refusal::NotProvisioned,
        Refusal::NotProvisioned => Refusal::Flash,
        Refusal::Flash => Refusal::Closed,
        Refusal::Closed => Refusal::Budget { left: 1 },
        Refusal::Budget { .. } => Refusal::OnTrial,
        Refusal::OnTrial => Refusal::NoTrial,
        Refusal::NoTrial => Refusal::NoTransfer,
        Refusal::NoTransfer => Refusal::NotAsked { index: 1 },
        Refusal::NotAsked { .. } => Refusal::Length { index: 1 },
        Refusal::Length { .. } => Refusal::NoChunk,
        Refusal::NoChunk => Refusal::Gap { expected: 1 },
        Refusal::Gap { .. } => Refusal::Piece { bytes: 1 },
        Refusal::Piece { .. } => Refusal::NoAdapter,
        Refusal::NoAdapter => return None,
    })
}

#[test]
fn every_refusal_of_the_gateway_has_a_cause_and_what_to_do() {
    let mut refusals = Vec::new();
    let mut last = next(None);
    while let Some(refusal) = last {
        refusals.push(format!("`{}`", refusal.to_string().replace('1', "N")));
        last = next(last);
    }
    let (_, table) = DOCUMENT.split_once("## Of a gateway").expect("the section");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let told: Vec<&str> = rows.iter().filter_map(|row| row.first().copied()).collect();
    assert_eq!(told, refusals);
    for row in &rows {
        let [words, cause, advice] = row.as_slice() else { panic!("{row:?}") };
        assert!(cause.len() > 10 && advice.len() >= 7, "{words}");
    }
}
