//! What is shown of a vehicle while it works.

use shoal_vehicle::agent::Tell;
use shoal_vehicle::night::{Event, Nominee, Obstacle};

use super::run::Looked;
use crate::output::{Failure, Progress};

/// What is shown while the vehicle works, and what is remembered of it.
pub(super) struct Shown {
    progress: Progress,
    drive: String,
    surprise: f32,
    disagreement: f32,
    loss: f32,
    steps: u32,
    /// Moments so far, and those of them that were shed to keep the budget.
    pub(super) looked: Looked,
    pub(super) active: Option<f64>,
    candidates: Vec<(u32, f64)>,
}

impl Shown {
    pub(super) fn new(steps: u32) -> Self {
        Shown {
            progress: Progress::new(),
            drive: String::new(),
            surprise: f32::NAN,
            disagreement: f32::NAN,
            loss: f32::NAN,
            steps,
            looked: Looked::default(),
            active: None,
            candidates: Vec::new(),
        }
    }

    pub(super) fn best(&self) -> Option<f64> {
        self.candidates.iter().map(|(_, skill)| *skill).max_by(f64::total_cmp)
    }

    pub(super) fn tell(&mut self, tell: Tell<'_>) {
        match tell {
            Tell::Moment { drive, index, of, surprise, rank, disagreement, shed, replay } => {
                self.looked.frames = self.looked.frames.saturating_add(1);
                self.looked.shed = self.looked.shed.saturating_add(shed.into());
                if self.drive != drive {
                    self.drive = drive.to_owned();
                    (self.progress, self.surprise) = (Progress::new(), f32::NAN);
                    self.disagreement = f32::NAN;
                }
                self.surprise = smooth(self.surprise, surprise, 0.9);
                let rank = rank.map_or("-".into(), |rank| format!("{:.0} %", 100.0 * rank));
                self.disagreement = smooth(self.disagreement, disagreement, 0.9);
                // The first moments have no past to be predicted from.
                let (surprise, disagreement) = (figure(self.surprise), figure(self.disagreement));
                let shed = match self.looked.shed {
                    0 => String::new(),
                    shed => format!(", {shed} frames without a look"),
                };
                let text = format!(
                    "{drive}: surprise {surprise} (rank {rank}), disagreement {disagreement}, \
                     replay {} spans, {} frames, {:.1} MB{shed}",
                    replay.spans,
                    replay.frames,
                    replay.bytes as f64 / 1e6
                );
                self.progress.show(index as u64, of as u64, text);
            }
            Tell::Trained { step, of, loss } => {
                self.loss = smooth(self.loss, Some(loss), 0.9);
                self.progress.show(
                    u64::from(step),
                    u64::from(of),
                    format!("steps, loss {:.4}", self.loss),
                );
            }
            Tell::Measured { nominee, skill } => {
                match nominee {
                    Nominee::Active => self.active = Some(f64::from(skill)),
                    Nominee::Candidate { steps } => self.candidates.push((steps, f64::from(skill))),
                }
                eprintln!("pack skill of {}: {skill:.4}", name(nominee));
            }
            Tell::Night(event) => self.night(event),
            Tell::Tried(_) => {}
            Tell::Trial { trial, active, confirmed } => eprintln!(
                "trial on this drive: error ÷ copy {trial:.4} against {active:.4} of the active: {}",
                if confirmed { "confirmed" } else { "rolled back" }
            ),
            Tell::NotStored(error) => {
                eprintln!("a span was not stored: {}", Failure::from(error.to_string()))
            }
            Tell::Unreadable(error) => eprintln!("left out: {error}"),
            Tell::TrainingFailed(error) => eprintln!("training failed: {error}"),
        }
    }

    fn night(&mut self, event: Event) {
        match event {
            Event::Began { steps } => {
                self.progress = Progress::new();
                eprintln!("parked: the night begins at step {steps} of {}", self.steps);
            }
            Event::Waiting(obstacle) => eprintln!("waiting: {}", waits_for(obstacle)),
            Event::Staged { steps, value, active } => {
                eprintln!("staged: after {steps} steps, pack skill {value:.4} against {active:.4}");
            }
            Event::Kept { best, active } => {
                let best = best.map_or("none".into(), |best| format!("{best:.4}"));
                eprintln!("nothing better: best candidate {best}, active {active:.4}");
            }
            Event::TrainingFailed => eprintln!("the night ends early"),
        }
    }
}

fn smooth(before: f32, value: Option<f32>, keep: f32) -> f32 {
    match value {
        Some(value) if before.is_nan() => value,
        Some(value) => keep * before + (1.0 - keep) * value,
        None => before,
    }
}

fn figure(value: f32) -> String {
    if value.is_nan() { "-".into() } else { format!("{value:.2}") }
}

fn name(nominee: Nominee) -> String {
    match nominee {
        Nominee::Active => "the active adapter".into(),
        Nominee::Candidate { steps } => format!("the candidate after {steps} steps"),
    }
}

fn waits_for(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Driving => "the vehicle is driven",
        Obstacle::Power => "no external power and too little charge",
        Obstacle::Temperature => "the computer is too warm",
        Obstacle::Replay => "replay holds too few clips",
    }
}
