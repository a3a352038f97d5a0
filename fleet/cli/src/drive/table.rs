//! A drive's result as a table.

use super::run::DriveResult;

pub(super) fn print(result: &DriveResult) {
    let figure = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
    match result.metric {
        "imitation" => println!(
            "\nimitation on held-out frames (1 − distance from the driver ÷ distance of 'as often as before')"
        ),
        _ => println!("\nskill on held-out frames (1 − error ÷ error of 'nothing moves')"),
    }
    println!(
        "{:34} {:>5} {:>7} {:>7} {:>7} {:>8} {:>6} {:>6}",
        "drive", "clips", "before", "after", "gain", "5 steps", "blur", "block"
    );
    for (old, new) in result.before.drives.iter().zip(&result.after.drives) {
        let gain = old.skill.zip(new.skill).map(|(old, new)| new - old);
        let beside: Vec<String> =
            new.baselines.iter().map(|b| format!("{:>6}", figure(b.skill))).collect();
        println!(
            "{:34} {:5} {:>7} {:>7} {:>7} {:>8} {}{}",
            new.name,
            new.clips,
            figure(old.skill),
            figure(new.skill),
            gain.map_or("-".into(), |gain| format!("{gain:+.3}")),
            figure(new.rollout.skill),
            beside.join(" "),
            if new.counted { "" } else { "  (hardly moves: not counted)" }
        );
    }
    let (old, new) = (result.own.before, result.own.after);
    println!(
        "own skill, mean of {} counted drives: {} before, {} after tuning",
        result.after.counted,
        figure(old),
        figure(new)
    );
    if let Some(interval) = result.difference {
        println!(
            "difference {:+.4}, 95 % interval {:+.4} … {:+.4} (clips in blocks of a second)",
            interval.mean, interval.low, interval.high
        );
    }
}
