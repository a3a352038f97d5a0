//! A fleet's result as a table.

use shoal_vehicle::exchange::diary::KEPT;

use crate::fleet::result::{FleetResult, WindowRow};

pub(super) fn print(result: &FleetResult) {
    let figure = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
    let skill = &result.skill;
    let counted = result.drives.iter().filter(|drive| drive.counted).count();
    let (vehicles, windows) = (result.vehicles, result.windows);
    let metric = &result.metric;
    println!(
        "\nheld-out {metric} after {windows} windows of {vehicles} vehicles ({})",
        result.rule
    );
    println!("{:28} {:>16} {:>10}", "", format!("{counted} counted drives"), "own drives");
    for (name, all, own) in [
        ("pretrained (x_p)", skill.pretrained, skill.pretrained_own),
        ("alone, mean", skill.alone_mean, skill.alone_own),
        ("alone, chosen by the pack", skill.alone_best, None),
        ("the swarm's best", skill.swarm_best, None),
        ("with the swarm, personal", None, skill.swarm_own),
    ] {
        println!("{name:28} {:>16} {:>10}", figure(all), figure(own));
    }
    for (name, interval) in [
        ("x_p", result.difference.swarm_best_pretrained),
        ("the chosen lone vehicle", result.difference.swarm_best_alone_best),
    ] {
        if let Some(interval) = interval {
            println!(
                "the swarm's best less {name}: {:+.4}, 95 % interval {:+.4} … {:+.4} (clips resampled)",
                interval.mean, interval.low, interval.high
            );
        }
    }
    let bytes = &result.bytes;
    let share = |bytes_of: f64| bytes_of / bytes.float32_adapter as f64;
    let (up, down) = (bytes.up_per_vehicle_window, bytes.down_per_vehicle_window);
    println!(
        "bytes per vehicle and window: {up:.0} up, {down:.0} down; {:.3} and {:.3} of a float32 adapter ({})",
        share(up),
        share(down),
        bytes.float32_adapter
    );
    if result.missed > 0 {
        println!(
            "missed: {} of {} windows of vehicles",
            result.missed,
            vehicles * windows as usize
        );
    }
    not_known(&skill.by_window, skill.pretrained.is_some());
    for (code, count) in &result.rejected {
        println!("refused: {count} × {code}");
    }
    for skipped in &result.skipped {
        println!("skipped {skipped}");
    }
}

/// Windows of which it is not known what was best; `counts`: any drive does.
fn not_known(windows: &[WindowRow], counts: bool) {
    let empty = windows.iter().filter(|row| row.took_part == 0);
    let empty: Vec<String> = empty.map(|row| row.window.to_string()).collect();
    if !empty.is_empty() {
        println!(
            "nobody took part in windows {}: what was best then is not known",
            empty.join(", ")
        );
    }
    // Where no drive is counted there is no skill of anything.
    let unknown = |row: &&WindowRow| row.took_part > 0 && row.swarm_best.is_none();
    let unknown: Vec<u32> = windows.iter().filter(unknown).map(|row| row.window).collect();
    if let Some(last) = unknown.last().filter(|_last| counts) {
        println!(
            "windows of which it is not known what was best, for no vehicle keeps it any more: {}, up to window {last} (adapters are kept \
             of the last {KEPT} windows)",
            unknown.len()
        );
    }
}
