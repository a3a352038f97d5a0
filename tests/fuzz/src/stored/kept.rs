//! Small records of a vehicle: what it trusts, and how far its night is.

use embassy_time::Instant;
use shoal_trust::Trust;
use shoal_vehicle::config::Config;
use shoal_vehicle::exchange::look::Look;
use shoal_vehicle::night::{Input, Night, Nominee, Output, Record};

use crate::metadata::folder;

/// Answers after which a night has ended: of its steps, each slice measured.
const ANSWERS_MAX: usize = 64;

/// What is kept of repositories: whatever it says, somebody signs, and what is kept of it is gone on from.
pub(super) fn trust(bytes: &[u8]) {
    let open = || Trust::open(folder()).expect("the folder is ours");
    let mut trust = open();
    trust.restore(bytes);
    let _signed_by = trust.signed_by();
    let kept = trust.kept();
    let mut again = open();
    again.restore(&kept);
    assert_eq!(again.kept(), kept, "what is kept is what it is written as");
}

/// The record of a night, which goes on to its end.
pub(super) fn night(bytes: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else { return };
    let mut night = Night::new(Config::default().plan(), Some(record), Instant::MIN);
    let mut steps = record.steps;
    night.handle_timeout(Instant::MIN);
    for _answer in 0..ANSWERS_MAX {
        if let Some(record) = night.poll_persist() {
            steps = record.steps;
            let measured = record.active.into_iter().chain(record.best.map(|(_, value)| value));
            assert!(measured.into_iter().all(f32::is_finite), "{record:?}");
        }
        let answer = match night.poll_output() {
            None => break,
            Some(Output::ReadConditions) => {
                let conditions = Look::recorded().conditions;
                Input::Conditions { conditions, clips: 9 }
            }
            Some(Output::Measure(nominee @ Nominee::Active)) => {
                // A record that is not sound begins anew.
                steps = if record.active.is_some() { 0 } else { steps };
                Input::Measured { nominee, value: 0.1 }
            }
            Some(Output::Measure(nominee)) => Input::Measured { nominee, value: 0.2 },
            Some(Output::Tune { steps: more }) => {
                Input::Tuned { steps: steps.saturating_add(more.max(1)), loss: 0.3 }
            }
            Some(Output::Stage(_nominee)) => Input::Staged,
            Some(Output::Event(_event)) => continue,
        };
        night.handle_input(Instant::MIN, answer).expect("it was asked for");
    }
    assert!(night.is_done(), "a night ends: {night:?}");
}
