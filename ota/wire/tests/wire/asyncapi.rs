//! docs/asyncapi.yaml says of topics and kinds what the code does.

use shoal_wire::v1::CHUNK_BYTES_MAX;
use shoal_wire::{Kind, Leaf, RELAYED_BYTES_MAX};

use crate::topics::LEAVES;

const DOCUMENT: &str = include_str!("../../../../docs/asyncapi.yaml");

/// What stands below `name:` at this indent, until the next line of the same or a smaller one.
fn below(text: &str, name: &str, indent: usize) -> Vec<String> {
    let head = format!("{}{name}:", " ".repeat(indent));
    let depth = |line: &str| line.len() - line.trim_start().len();
    let lines = text.lines().skip_while(|line| *line != head).skip(1);
    lines.take_while(|line| depth(line) > indent).map(str::to_owned).collect()
}

fn channel(leaf: Leaf) -> Vec<String> {
    below(&below(DOCUMENT, "channels", 0).join("\n"), leaf.name(), 2)
}

fn message(leaf: Leaf) -> Vec<String> {
    let components = below(DOCUMENT, "components", 0).join("\n");
    below(&below(&components, "messages", 2).join("\n"), leaf.name(), 4)
}

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|one| one.trim() == line)
}

#[test]
fn every_leaf_has_a_channel_with_its_topic_and_message() {
    for leaf in LEAVES {
        let places = match leaf {
            Leaf::Claim { .. }
            | Leaf::Particle { .. }
            | Leaf::Refusal { .. }
            | Leaf::Document { .. } => "/{slot}",
            Leaf::Vote { .. } => "/{window}/{place}",
            Leaf::Nonce { .. } => "/{window}",
            Leaf::Chunk { .. } => "/{slot}/{index}",
            Leaf::Beacon { .. } => "/{window}/{index}",
            Leaf::RosterPage { .. } => "/{index}",
            Leaf::Presence | Leaf::Plan | Leaf::Roster | Leaf::Utility | Leaf::Swarm => "",
        };
        let name = leaf.name();
        let channel = channel(leaf);
        let address = format!("address: shoal/1/{{fleet}}/{{region}}/{name}/{{publisher}}{places}");
        assert!(has(&channel, &address), "{address} in {channel:?}");
        let message = format!("{name}: {{ $ref: '#/components/messages/{name}' }}");
        assert!(has(&channel, &message), "{message} in {channel:?}");
    }
}

#[test]
fn every_kind_has_a_message_with_its_number_versions_and_bound() {
    for leaf in LEAVES {
        let message = message(leaf);
        let lines = match leaf.kind() {
            Some(kind) => {
                assert_eq!(kind.version_max(), 1, "versions are listed one by one");
                vec![
                    format!("x-kind: {}", kind.number()),
                    "x-versions: [1]".to_owned(),
                    format!("x-envelope-bytes-max: {}", kind.envelope_bytes_max()),
                ]
            }
            None if leaf.name() == "beacon" => vec![format!("x-bytes-max: {RELAYED_BYTES_MAX}")],
            None => vec![format!("x-bytes-max: {CHUNK_BYTES_MAX}")],
        };
        for line in lines {
            assert!(has(&message, &line), "{line} in {message:?}");
        }
    }
}

#[test]
fn nothing_else_is_named() {
    let components = below(DOCUMENT, "components", 0).join("\n");
    for names in [below(DOCUMENT, "channels", 0), below(&components, "messages", 2)] {
        let indent = names.first().map_or(0, |line| line.len() - line.trim_start().len());
        let count = names.iter().filter(|line| !line[indent..].starts_with(' ')).count();
        assert_eq!(count, Kind::ALL.len() + 2, "the kinds, chunks, and what beacons pass on");
    }
}

/// A value that is not quoted ends a line, and holds nothing that begins another one.
#[test]
fn every_value_is_plain() {
    for line in DOCUMENT.lines().filter(|line| !line.starts_with('#')) {
        let value = line.split_once(": ").map_or("", |(_name, value)| value);
        let quoted = value.starts_with(['{', '[', '\'']);
        assert!(quoted || !value.contains(": ") && !value.contains(" #"), "{line}");
    }
}
