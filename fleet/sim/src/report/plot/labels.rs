//! Labels at the end of curves: beside their curve where there is room, moved apart where there is not.

/// Moves places apart until no two are nearer than `room`, all within `low..=high` if they fit, the order kept. `places` are
/// sorted; each moves as little as its group allows.
pub(super) fn spread(places: &[f64], room: f64, low: f64, high: f64) -> Vec<f64> {
    // Neighbours that touch form a group around the mean of where they want to be.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    let centre = |sum: f64, count: usize| {
        let reach = 0.5 * room * (count as f64 - 1.0);
        // Where all cannot fit, from the top on.
        (sum / count as f64).min(high - reach).max(low + reach)
    };
    for place in places {
        let mut last = (*place, 1);
        while let Some((sum, count)) = groups.last().copied() {
            let gap = centre(last.0, last.1) - centre(sum, count);
            if gap >= 0.5 * room * (count + last.1) as f64 {
                break;
            }
            groups.pop();
            last = (sum + last.0, count + last.1);
        }
        groups.push(last);
    }
    let mut moved = Vec::with_capacity(places.len());
    for (sum, count) in groups {
        let first = centre(sum, count) - 0.5 * room * (count as f64 - 1.0);
        moved.extend((0..count).map(|at| first + at as f64 * room));
    }
    moved
}

/// Names without what all of them have in common, between the `_` that a sweep joins its keys by.
pub(super) fn apart(names: &[&str]) -> Vec<String> {
    let split: Vec<Vec<&str>> = names.iter().map(|name| name.split('_').collect()).collect();
    let Some(first) = split.first() else { return Vec::new() };
    let alike =
        |at: usize| split.iter().all(|of| of.len() == first.len() && of.get(at) == first.get(at));
    let common: Vec<bool> = (0..first.len()).map(alike).collect();
    let short = |of: &Vec<&str>| {
        let mut kept: Vec<&str> = Vec::new();
        for (at, part) in of.iter().enumerate() {
            if common.get(at) != Some(&true) {
                kept.push(part);
            } else if kept.last() != Some(&"…") {
                kept.push("…");
            }
        }
        kept.join("_")
    };
    split.iter().map(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_sweep_what_differs_is_kept() {
        let names = [
            "ours_calendar.absent-0.0_up_bits-1_inertia-0.3",
            "ours_calendar.absent-0.0_up_bits-2_inertia-0.3",
            "ours_calendar.absent-0.5_up_bits-1_inertia-0.3",
        ];
        let short = [
            "…_calendar.absent-0.0_…_bits-1_…",
            "…_calendar.absent-0.0_…_bits-2_…",
            "…_calendar.absent-0.5_…_bits-1_…",
        ];
        assert_eq!(apart(&names), short);
        let others = ["a_b", "a_c_b", "d"];
        assert_eq!(apart(&others), others, "they are not of one sweep");
    }

    #[test]
    fn labels_that_would_touch_stand_apart_and_others_stay() {
        assert_eq!(spread(&[10.0, 50.0], 12.0, 0.0, 100.0), [10.0, 50.0]);
        assert_eq!(spread(&[10.0, 10.0, 60.0], 12.0, 0.0, 100.0), [4.0, 16.0, 60.0]);
        assert_eq!(spread(&[99.0, 99.0], 12.0, 0.0, 100.0), [88.0, 100.0]);
        assert_eq!(spread(&[0.0, 0.0, 0.0], 12.0, 0.0, 100.0), [0.0, 12.0, 24.0]);
        assert_eq!(spread(&[], 12.0, 0.0, 100.0), [0.0; 0]);
    }

    #[test]
    fn thirty_labels_keep_their_order_and_their_room() {
        let places: Vec<f64> =
            (0..30).map(|at| 200.0 + f64::from(at % 7) / 7.0 + f64::from(at)).collect();
        let mut sorted = places;
        sorted.sort_by(f64::total_cmp);
        let moved = spread(&sorted, 14.0, 0.0, 440.0);
        assert!(moved.windows(2).all(|pair| pair[1] - pair[0] >= 14.0 - 1e-9), "{moved:?}");
        assert!(moved[0] >= 0.0 && moved[29] <= 440.0);
    }
}
