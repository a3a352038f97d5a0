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

#[cfg(test)]
mod tests {
    use super::*;

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
