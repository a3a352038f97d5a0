//! What a simulation says while it goes on.

use std::time::Instant;

use shoal_sim::compare::Tell;

/// Lines of progress on standard error.
pub(super) struct Shown {
    began: Instant,
    /// Whether nothing of the run was there before: what was is only read back.
    anew: bool,
}

impl Shown {
    pub(super) fn new() -> Self {
        Shown { began: now(), anew: false }
    }

    pub(super) fn tell(&mut self, tell: Tell<'_>) {
        match tell {
            Tell::Skipped(why) => eprintln!("left out: {why}"),
            Tell::Begins { method, seed, written } => {
                (self.began, self.anew) = (now(), written == 0);
                let there = match written {
                    0 => String::new(),
                    windows => format!(", {windows} windows are there"),
                };
                eprintln!("{method}, seed {seed}{there}");
            }
            Tell::Window(head, row) => {
                let figure = |value: Option<f64>| value.map_or("–".into(), |v| format!("{v:.4}"));
                let looked = if row.skill.is_empty() {
                    "not looked at".to_owned()
                } else {
                    let (driven, unseen) = (figure(row.driven(head)), figure(row.unseen(head)));
                    format!("skill {driven} driven, {unseen} unseen, {:.4} pack", row.utility)
                };
                let seconds = self.began.elapsed().as_secs_f64();
                eprintln!(
                    "  window {:3} of {}: {looked}; {:.1} kB sent, {:.1} received; {seconds:.2} s",
                    row.window,
                    head.windows,
                    row.bytes.up / 1000.0,
                    row.bytes.down / 1000.0,
                );
                if self.anew && row.window == head.windows {
                    let rounds = u64::from(head.vehicles) * u64::from(head.windows);
                    let rate = rounds as f64 / seconds;
                    eprintln!("  {rounds} client-rounds in {seconds:.3} s: {rate:.1} a second");
                }
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it took is for people")]
fn now() -> Instant {
    Instant::now()
}
