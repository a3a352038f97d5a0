//! The page of a comparison.

use std::collections::BTreeSet;

use super::{Cell, document, facts, picture, table, tiles};
use crate::record::RoadKind;
use crate::report::comparison::{Comparison, Method};
use crate::report::escape::escape;
use crate::report::picture::Picture;
use crate::report::special::{self, Special};
use crate::report::{figures, table as words};

/// Methods beside the reference that the table of roads has columns for.
const BESIDE: usize = 4;

pub(in crate::report) fn page(comparison: &Comparison<'_>, pictures: &[&Picture]) -> String {
    let count = comparison.methods.len();
    let title = format!("{count} ways to learn together");
    let subtitle = format!(
        "{} vehicles, {} windows; compared with {}",
        figures::count(f64::from(comparison.head.vehicles)),
        figures::count(f64::from(comparison.head.windows)),
        comparison.methods[comparison.reference].name,
    );
    let mut main = at_a_glance(comparison);
    main.push_str(&notes(comparison));
    for one in pictures {
        main.push_str(&picture(one));
    }
    main.push_str(&methods(comparison));
    for one in &comparison.special {
        main.push_str(&special(one, comparison));
    }
    main.push_str(&roads(comparison));
    main.push_str(&what(comparison));
    document(&title, &subtitle, &main)
}

fn at_a_glance(comparison: &Comparison<'_>) -> String {
    let skill = |value| figures::or_dash(value, |skill| figures::skill(skill, 4));
    let best = &comparison.methods[0];
    let reference = &comparison.methods[comparison.reference];
    let against = best.difference.as_ref().map_or_else(
        || "the reference is the best".to_owned(),
        |difference| format!("less the reference: {}", words::difference(difference)),
    );
    tiles(&[
        ("shipped model", skill(comparison.shipped), "driven roads".to_owned()),
        ("reference", skill(reference.driven), reference.name.to_owned()),
        ("best", skill(best.driven), format!("{}; {against}", best.name)),
        (
            "bytes of the best",
            figures::bytes(best.up + best.down),
            "a vehicle and window".to_owned(),
        ),
    ])
}

fn notes(comparison: &Comparison<'_>) -> String {
    let mut notes = comparison.notes.clone();
    if comparison.engines.len() > 1 {
        let engines = comparison.engines.iter().copied().collect::<Vec<_>>().join("; ");
        notes.push(format!("not all runs used one engine: {engines}"));
    }
    if notes.is_empty() {
        return String::new();
    }
    let notes: String = notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
    format!("<section class=\"warn\"><h2>Read this first</h2><ul>{notes}</ul></section>\n")
}

fn methods(comparison: &Comparison<'_>) -> String {
    let heads = [
        ("method", true),
        ("driven", false),
        ("less the reference", false),
        ("95 % interval", false),
        ("unseen", false),
        ("own", false),
        ("skill over bytes", false),
        ("sent", false),
        ("received", false),
        ("evaluations", false),
        ("steps", false),
        ("seeds", false),
    ];
    let lines: Vec<Vec<Cell>> = comparison.methods.iter().map(line).collect();
    let table = table("methods", &heads, &lines, Some(comparison.reference));
    let paired = words::basis(comparison).map_or_else(String::new, |basis| {
        format!(
            " Differences are paired by seed and road; intervals are {}. Each interval stands for itself: of many methods that are \
             no better than the reference, one in forty lies above it by chance.",
            escape(&basis)
        )
    });
    format!(
        "<section class=\"long\"><h2>Methods</h2>\n{table}<p class=\"note\">Final skill is held out, {}.{paired} <i>Skill over bytes</i> is the mean skill on driven roads over the bytes of a \
         vehicle, from none to those of the method that spent most; a merge counts from where it is paid for, before it what vehicles \
         have by themselves. <span class=\"chip\">front</span>: no method that spent no more \
         has more skill. Sent and received are bytes a vehicle and window; evaluations and steps are those of the whole fleet in \
         all windows, a seed.</p></section>\n",
        escape(&words::last(comparison)),
    )
}

fn line(method: &Method<'_>) -> Vec<Cell> {
    let skill = |value| Cell::figure(value, |skill| figures::skill(skill, 4));
    let mut name = Cell::text(method.name);
    if method.front {
        name.shown.push_str(" <span class=\"chip\">front</span>");
    }
    let interval = method.difference.as_ref().and_then(|difference| difference.interval);
    let ends = interval.map_or_else(|| "–".to_owned(), words::ends);
    // The two one-way intervals, where the pointer rests.
    let one_way = method.difference.as_ref().map(|difference| {
        let over = |of: Option<_>| of.map_or_else(|| "–".to_owned(), words::ends);
        format!("over seeds {}; over roads {}", over(difference.seeds), over(difference.roads))
    });
    let one_way = escape(&one_way.unwrap_or_default());
    let ends = format!("<span title=\"{one_way}\">{ends}</span>");
    let difference = method.difference.as_ref().map(|difference| difference.mean);
    vec![
        name,
        skill(method.driven),
        Cell::figure(difference, |mean| figures::signed(mean, 4)),
        Cell { shown: ends, value: interval.map(|of| of.low), text: false },
        skill(method.unseen),
        skill(method.own),
        skill(method.area),
        Cell::figure(Some(method.up), figures::bytes),
        Cell::figure(Some(method.down), figures::bytes),
        Cell::figure(Some(method.evaluations), figures::count),
        Cell::figure(Some(method.steps), figures::count),
        Cell::figure(Some(method.runs.len() as f64), figures::count),
    ]
}

/// A table of figures that only some comparisons have.
fn special(special: &Special, comparison: &Comparison<'_>) -> String {
    let mut heads = vec![("method", true)];
    heads.extend(special.columns.iter().map(|column| (column.name, false)));
    let line = |(method, cells): (&Method<'_>, &Vec<special::Cell>)| {
        let mut line = vec![Cell::text(method.name)];
        line.extend(cells.iter().zip(special.columns).map(|(cell, column)| Cell {
            shown: escape(&cell.text(column)),
            value: cell.mean,
            text: false,
        }));
        line
    };
    let lines: Vec<Vec<Cell>> = comparison.methods.iter().zip(&special.lines).map(line).collect();
    let table = table(special.title, &heads, &lines, Some(comparison.reference));
    format!(
        "<section class=\"long\"><h2>{}</h2>\n{table}<p class=\"note\">{}.</p></section>\n",
        escape(special.title),
        escape(special.note),
    )
}

fn roads(comparison: &Comparison<'_>) -> String {
    let reference = &comparison.methods[comparison.reference];
    let others = comparison.methods.iter().enumerate();
    let others = others.filter(|(at, _method)| *at != comparison.reference).map(|(_at, of)| of);
    let shown: Vec<&Method<'_>> = std::iter::once(reference).chain(others.take(BESIDE)).collect();
    let mut heads = vec![("road", true), ("is", true), ("shipped", false)];
    heads.extend(shown.iter().map(|method| (method.name, false)));
    let skill = |value| Cell::figure(value, |skill| figures::skill(skill, 4));
    let mut lines = Vec::new();
    for (road, kind) in &comparison.roads {
        let shipped = comparison.shipped_by_road.get(road).copied();
        let mut line = vec![Cell::text(road), Cell::text(&what_it_is(*kind)), skill(shipped)];
        line.extend(shown.iter().map(|method| skill(method.by_road.get(road).copied())));
        lines.push(line);
    }
    format!(
        "<section class=\"long\"><h2>Roads</h2>\n{}<p class=\"note\">Final skill of the fleet's adapter, mean over seeds, of the \
         reference and the best {} others. A road without a figure hardly moves.</p></section>\n",
        table("roads", &heads, &lines, None),
        shown.len() - 1,
    )
}

/// What a road is to the fleet, in words.
pub(super) fn what_it_is(kind: RoadKind) -> String {
    match kind {
        RoadKind::Driven(vehicle) => format!("driven by {vehicle}"),
        RoadKind::Listed => "in the pack".to_owned(),
        RoadKind::Unseen => "unseen".to_owned(),
    }
}

fn what(comparison: &Comparison<'_>) -> String {
    let head = comparison.head;
    let runs = comparison.methods.iter().flat_map(|method| &method.runs);
    let seeds: BTreeSet<u64> = runs.map(|record| record.head.seed).collect();
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let engines: Vec<&str> = comparison.engines.iter().copied().collect();
    let facts = facts(&[
        ("vehicles", figures::count(f64::from(head.vehicles))),
        ("windows", figures::count(f64::from(head.windows))),
        ("seeds", seeds.join(", ")),
        ("values of an adapter", figures::count(head.values as f64)),
        ("engine", engines.join("; ")),
    ]);
    let mut lines = Vec::new();
    for method in &comparison.methods {
        for record in &method.runs {
            lines.push(vec![
                Cell::text(method.name),
                Cell {
                    shown: record.head.seed.to_string(),
                    value: Some(record.head.seed as f64),
                    text: false,
                },
                Cell::text(&record.head.engine),
                Cell::text(&record.head.config),
            ]);
        }
    }
    let heads = [("method", true), ("seed", false), ("engine", true), ("configuration", true)];
    let table = table("runs", &heads, &lines, None);
    format!(
        "<section class=\"long\"><h2>What was run</h2>\n{facts}<details><summary>Every run</summary>{table}</details></section>\n"
    )
}
