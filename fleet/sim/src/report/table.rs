//! The table of methods as Markdown, for a document.

use std::fmt::Write as _;

use shoal_shadow::stats::Interval;

use super::comparison::{Comparison, Method};
use super::escape::markdown as escaped;
use super::{figures, special};
use crate::statistics::{Basis, Difference};

/// A difference with its interval: `+.0181, +.0084 … +.0277`.
pub(super) fn difference(difference: &Difference) -> String {
    let mean = figures::signed(difference.mean, 4);
    let Some(interval) = difference.interval else { return format!("{mean}, no interval") };
    format!("{mean}, {}", ends(interval))
}

/// An interval's ends: `+.0084 … +.0277`.
pub(super) fn ends(interval: Interval) -> String {
    format!("{} … {}", figures::signed(interval.low, 4), figures::signed(interval.high, 4))
}

/// What intervals are over, in words; `None` where nothing was paired.
pub(super) fn basis(comparison: &Comparison<'_>) -> Option<String> {
    let paired = comparison.methods.iter().filter_map(|method| method.difference.as_ref());
    let difference = paired.max_by_key(|difference| difference.seed_count)?;
    let Difference { seed_count: seeds, road_count: roads, .. } = difference;
    let one = |count: f64, what: &str| {
        let text = figures::count(count);
        if count == 1.0 { format!("{text} {what}") } else { format!("{text} {what}s") }
    };
    let (seeds, roads) = (one(*seeds as f64, "seed"), one(*roads, "driven road"));
    Some(match difference.basis {
        Basis::SeedsAndRoads => format!("over {seeds} and {roads}, crossed (two-way random model)"),
        Basis::Seeds => format!("over the means of {seeds} of {roads} (Student's t)"),
        Basis::Roads => {
            format!("over {roads} of {seeds} (Student's t): nothing is said of another seed")
        }
    })
}

/// Which windows final figures are of, in words.
pub(super) fn last(comparison: &Comparison<'_>) -> String {
    let (last, windows) = (comparison.last, comparison.head.windows);
    match comparison.looked {
        0 | 1 => format!("in window {windows}"),
        looked if looked < last => {
            format!(
                "the mean of {looked} that were looked at of the last {last} of {windows} windows"
            )
        }
        _ => format!("the mean of the last {last} of {windows} windows"),
    }
}

/// The table and a sentence on what is in it.
pub(super) fn markdown(comparison: &Comparison<'_>) -> String {
    let reference = comparison.methods[comparison.reference].name;
    let mut out = format!(
        "| method | driven | less {}, 95 % interval | unseen | own | sent | received | evaluations | steps | seeds |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        escaped(reference)
    );
    for (at, method) in comparison.methods.iter().enumerate() {
        line(&mut out, method, at == comparison.reference);
    }
    let shipped = figures::or_dash(comparison.shipped, |skill| figures::skill(skill, 4));
    let vehicles = figures::count(f64::from(comparison.head.vehicles));
    let paired = basis(comparison).map_or_else(String::new, |basis| {
        format!(
            "Differences are paired by seed and road, intervals {basis}; each stands for itself. "
        )
    });
    let _ = write!(
        out,
        "\nHeld-out skill {}, {vehicles} vehicles; the shipped model has {shipped}. {paired}Sent and received: bytes a vehicle and window; evaluations and steps: the whole \
         fleet, all windows. A method in bold is on the front: none that spent no more has more skill.\n",
        last(comparison),
    );
    for note in &comparison.notes {
        let _ = write!(out, "\n{}.\n", escaped(note));
    }
    for special in &comparison.special {
        out.push_str(&special::markdown(special, &comparison.methods));
    }
    out
}

fn line(out: &mut String, method: &Method<'_>, reference: bool) {
    let name = escaped(method.name);
    let name = if method.front { format!("**{name}**") } else { name };
    let skill = |value| figures::or_dash(value, |skill| figures::skill(skill, 4));
    let against = match (&method.difference, reference) {
        (Some(paired), _) => difference(paired),
        (None, true) => "reference".to_owned(),
        (None, false) => "–".to_owned(),
    };
    let cells = [
        name,
        skill(method.driven),
        against,
        skill(method.unseen),
        skill(method.own),
        figures::bytes(method.up),
        figures::bytes(method.down),
        figures::count(method.evaluations),
        figures::count(method.steps),
        method.runs.len().to_string(),
    ];
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}
