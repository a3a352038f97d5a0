//! What runs, shown in the terminal: a block that is redrawn, or plain lines.

use std::io::{self, Write as _};
use std::path::PathBuf;

use super::calendar::Calendar;
use super::lines::{Line, kilobytes, read, short, term_value};
use crate::clock;

/// What the agents do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Each learns alone, night after night.
    Alone,
    /// They exchange in windows of this calendar.
    Windows(Calendar),
}

/// Looks at the state of all agents and shows what is new.
pub(super) struct Watch {
    what: What,
    /// What is measured: skill, or what is gained in imitation.
    term: &'static str,
    states: Vec<PathBuf>,
    windows: u64,
    redraw: bool,
    /// Lines of every agent.
    lines: Vec<Vec<Line>>,
    /// Windows shown as plain lines.
    shown: u64,
    /// Lines of the block that is on the terminal.
    drawn: usize,
}

impl Watch {
    pub(super) fn new(
        what: What,
        term: &'static str,
        states: Vec<PathBuf>,
        windows: u64,
        redraw: bool,
    ) -> Self {
        let lines = vec![Vec::new(); states.len()];
        Self { what, term, states, windows, redraw, lines, shown: 0, drawn: 0 }
    }

    /// Lines of all agents so far.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().flatten()
    }

    /// The same, of every agent.
    pub(super) fn by_vehicle(&self) -> &[Vec<Line>] {
        &self.lines
    }

    /// Looks and shows.
    pub(super) fn look(&mut self) {
        self.lines = self.states.iter().map(|state| read(state)).collect();
        if self.redraw {
            self.draw();
            return;
        }
        // A window is shown when every agent has written it down.
        while self.shown < self.windows {
            let of: Option<Vec<&Line>> =
                self.lines.iter().map(|lines| find(lines, self.shown)).collect();
            let Some(lines) = of else { break };
            println!("{}", self.window(self.shown, &lines));
            self.shown += 1;
        }
    }

    fn draw(&mut self) {
        let mut rows = vec![self.head()];
        rows.extend(self.lines.iter().enumerate().map(|(number, lines)| self.row(number, lines)));
        let up = if self.drawn == 0 { String::new() } else { format!("\x1b[{}A", self.drawn) };
        // A row that went on in the next line would be redrawn in the wrong place.
        let row = |row: &String| row.chars().take(columns()).collect::<String>();
        let block: String = rows.iter().map(|one| format!("\r\x1b[2K{}\n", row(one))).collect();
        let mut out = io::stdout().lock();
        // A closed terminal is no reason to stop the work.
        let _shown = out.write_all(format!("{up}{block}").as_bytes()).and_then(|()| out.flush());
        self.drawn = rows.len();
    }

    fn head(&self) -> String {
        let of = self.windows;
        match self.what {
            What::Alone => {
                let done = self.lines().count();
                format!("alone: {done} of {} nights", of * self.states.len() as u64)
            }
            What::Windows(calendar) => {
                let best = self.lines().max_by_key(|line| line.window);
                let best = best.map_or_else(String::new, |line| {
                    let (id, value) = (short(line.best.as_deref()), term_value(line.best_value));
                    format!("; best {id} {value}{}", part(line))
                });
                match calendar.window(clock::utc()) {
                    None => "window 0 opens in a moment".to_owned(),
                    Some((window, _left)) if window >= of => {
                        format!("the last window has closed{best}")
                    }
                    Some((window, Some(left))) => {
                        format!("window {} of {of}, open for {left} s{best}", window + 1)
                    }
                    Some((window, None)) => {
                        format!("window {} of {of} has closed{best}", window + 1)
                    }
                }
            }
        }
    }

    /// What an agent did last.
    fn row(&self, number: usize, lines: &[Line]) -> String {
        let name = format!("  vehicle-{number}");
        let Some(line) = lines.last() else { return format!("{name}  drives its roads") };
        let Line { window, steps, .. } = line;
        let loss = line.loss.map_or_else(String::new, |loss| format!(", loss {loss:.4}"));
        let value = line.value.map_or_else(String::new, |value| {
            format!(", {} {}{}", self.term, term_value(Some(value)), part(line))
        });
        let tuned = format!("{steps} steps{loss}");
        match self.what {
            What::Alone => {
                format!("{name}  night {}: {tuned}{value}, {:.1} s", window + 1, line.work())
            }
            What::Windows(_) => {
                let (up, down) = (kilobytes(line.bytes_up), kilobytes(line.bytes_down));
                let did = did(line);
                format!(
                    "{name}  window {}: {tuned}, {did}{value}, {up} up, {down} down",
                    window + 1
                )
            }
        }
    }

    /// A window as one plain line.
    fn window(&self, window: u64, lines: &[&Line]) -> String {
        let (number, of, term) = (window + 1, self.windows, self.term);
        match self.what {
            What::Alone => {
                let values: Vec<String> = lines.iter().map(|line| term_value(line.value)).collect();
                let values = values.join(" ");
                let part = lines.first().map_or_else(String::new, |line| part(line));
                let slowest = lines.iter().map(|line| line.work()).fold(0.0, f64::max);
                format!(
                    "night {number} of {of} alone: {term} {values}{part}; the slowest took {slowest:.1} s"
                )
            }
            What::Windows(_) => {
                let count = |is: fn(&&&Line) -> bool| lines.iter().filter(is).count();
                let mean = |of: fn(&Line) -> u64| {
                    kilobytes(lines.iter().map(|line| of(line)).sum::<u64>() / lines.len() as u64)
                };
                let best = lines.iter().find(|line| line.took_part);
                let id = best.map_or("-", |line| short(line.best.as_deref()));
                // Whoever measured it: in a window not everyone does.
                let measured = lines.iter().find(|line| line.best_value.is_some());
                let value = measured.map_or_else(String::new, |line| {
                    format!(" {}{}", term_value(line.best_value), part(line))
                });
                let refused: u64 = lines.iter().map(|line| line.refused).sum();
                let refused =
                    if refused > 0 { format!("; {refused} refused") } else { String::new() };
                format!(
                    "window {number} of {of}: best {id}{value}; {} took part, {} contributed, {} claimed, {} moved; \
                     {} up, {} down each{refused}",
                    count(|line| line.took_part),
                    count(|line| line.contributed),
                    count(|line| line.claimed),
                    count(|line| line.moved_to.is_some()),
                    mean(|line| line.bytes_up),
                    mean(|line| line.bytes_down),
                )
            }
        }
    }
}

/// Characters of a line of the terminal.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map_or(80, |size| usize::from(size.ws_col).max(20) - 1)
}

fn find(lines: &[Line], window: u64) -> Option<&Line> {
    lines.iter().find(|line| line.window == window)
}

fn part(line: &Line) -> String {
    line.part.map_or_else(String::new, |part| format!(" on part {part}"))
}

fn did(line: &Line) -> String {
    let mut did = Vec::new();
    if line.contributed {
        did.push("contributed".to_owned());
    }
    if line.claimed {
        did.push("claimed".to_owned());
    }
    if let Some(particle) = &line.moved_to {
        did.push(format!("moved to {}", short(Some(particle))));
    }
    match (line.took_part, did.is_empty()) {
        (false, _) => "missed it".to_owned(),
        (true, true) => "looked on".to_owned(),
        (true, false) => did.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(window: u64) -> Line {
        Line {
            window,
            took_part: true,
            claimed: true,
            best: Some("0123456789abcdef".to_owned()),
            part: Some(2),
            value: Some(5631),
            best_value: Some(5650),
            bytes_up: 14_000,
            bytes_down: 52_000,
            ..Line::default()
        }
    }

    #[test]
    fn a_window_is_told_in_one_line() {
        let calendar = Calendar { epoch: 0, period: 10, open: 7 };
        let watch =
            Watch::new(What::Windows(calendar), "skill", vec!["a".into(), "b".into()], 9, false);
        let missed = Line { window: 3, ..Line::default() };
        let told = watch.window(3, &[&line(3), &missed]);
        assert_eq!(
            told,
            "window 4 of 9: best 01234567 0.5650 on part 2; 1 took part, 0 contributed, 1 claimed, 0 moved; \
             7.0 kB up, 26.0 kB down each"
        );
        assert_eq!((did(&missed).as_str(), did(&line(1)).as_str()), ("missed it", "claimed"));
    }
}
