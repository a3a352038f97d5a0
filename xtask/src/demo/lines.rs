//! What agents write down: a line of JSON a window, or a lone night.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// The numbers of a line that are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Line {
    pub(super) window: u64,
    pub(super) took_part: bool,
    pub(super) contributed: bool,
    pub(super) claimed: bool,
    /// Best by the records; none: x_p.
    pub(super) best: Option<String>,
    pub(super) moved_to: Option<String>,
    /// Part of the pack on which values were measured.
    pub(super) part: Option<u64>,
    /// What was measured, in units of 1e-4.
    pub(super) value: Option<i64>,
    pub(super) best_value: Option<i64>,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) steps: u64,
    pub(super) loss: Option<f64>,
    pub(super) refused: u64,
    /// Seconds of tuning, and of measuring.
    pub(super) tuning: f64,
    pub(super) measuring: f64,
}

/// The lines of an agent's state folder; none before the first is there.
pub(super) fn read(state: &Path) -> Vec<Line> {
    let text = fs::read_to_string(state.join("windows.jsonl")).unwrap_or_default();
    // A line that is being written has no end yet.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _begun)| whole);
    whole.lines().filter_map(|line| serde_json::from_str(line).ok().map(|line| of(&line))).collect()
}

fn of(line: &Value) -> Line {
    let number = |field: &str| line[field].as_u64().unwrap_or(0);
    let flag = |field: &str| line[field].as_bool().unwrap_or(false);
    let text = |field: &str| line[field].as_str().map(str::to_owned);
    let seconds = |stage: &str| line["seconds"][stage].as_f64().unwrap_or(0.0);
    let refused = line["rejected"].as_object().into_iter().flat_map(|codes| codes.values());
    Line {
        window: number("window"),
        took_part: flag("took_part"),
        contributed: flag("contributed"),
        claimed: flag("claimed"),
        best: text("best"),
        moved_to: text("moved_to"),
        part: line["part"].as_u64(),
        value: line["value"].as_i64(),
        best_value: line["best_value"].as_i64(),
        bytes_up: number("bytes_up"),
        bytes_down: number("bytes_down"),
        steps: number("steps"),
        loss: line["loss"].as_f64(),
        refused: refused.filter_map(Value::as_u64).sum(),
        tuning: seconds("tuning"),
        measuring: seconds("measuring"),
    }
}

impl Line {
    /// What was tuned and measured, in seconds.
    pub(super) fn work(&self) -> f64 {
        self.tuning + self.measuring
    }
}

/// The value of a term as people read it.
pub(super) fn term_value(value: Option<i64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.4}", value as f64 * 1e-4))
}

/// The beginning of a hash.
pub(super) fn short(hash: Option<&str>) -> &str {
    hash.map_or("x_p", |hash| hash.get(..8).unwrap_or(hash))
}

/// `14.2 kB`.
pub(super) fn kilobytes(bytes: u64) -> String {
    format!("{:.1} kB", bytes as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_being_written_is_not_read_yet() {
        let folder = crate::root().join("target/lines-tests");
        fs::create_dir_all(&folder).unwrap();
        let line = r#"{"window":3,"took_part":true,"best":null,"value":5631,"part":2,"bytes_up":7,
            "rejected":{"signature":2,"norm":1},"seconds":{"tuning":1.5,"measuring":0.5}}"#;
        let text = format!("{}\n{{\"window\":4", line.replace('\n', " "));
        fs::write(folder.join("windows.jsonl"), text).unwrap();
        let lines = read(&folder);
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].window, lines[0].refused, lines[0].bytes_up), (3, 3, 7));
        assert_eq!((term_value(lines[0].value), lines[0].work()), ("0.5631".to_owned(), 2.0));
        assert!(read(&folder.join("nowhere")).is_empty());
    }
}
