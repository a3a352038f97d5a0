//! The page of one run.

use super::compare::what_it_is;
use super::{Cell, document, facts, picture, table, tiles};
use crate::record::{Record, Row};
use crate::report::comparison::{all_at_end, last_of};
use crate::report::escape::escape;
use crate::report::figures;
use crate::report::picture::Picture;

pub(in crate::report) fn page(record: &Record, shown: Option<&Picture>) -> String {
    let head = &record.head;
    let subtitle = format!(
        "seed {}, {} vehicles, {} of {} windows",
        head.seed,
        figures::count(f64::from(head.vehicles)),
        figures::count(record.rows.len().saturating_sub(1) as f64),
        figures::count(f64::from(head.windows)),
    );
    let mut main = String::new();
    if let (Some(first), Some(last)) = (record.rows.first(), record.rows.last()) {
        main.push_str(&at_a_glance(record, first, last));
    }
    if record.rows.len() <= head.windows as usize {
        main.push_str(
            "<section class=\"warn\"><h2>Read this first</h2><p class=\"note\">The run stopped before its last window: its figures \
             are those of the windows until then.</p></section>\n",
        );
    }
    main.push_str(&shown.map_or_else(String::new, picture));
    main.push_str(&roads(record));
    main.push_str(&windows(record));
    main.push_str(&what(record));
    document(&head.method, &subtitle, &main)
}

fn at_a_glance(record: &Record, first: &Row, last: &Row) -> String {
    let skill = |value| figures::or_dash(value, |skill| figures::skill(skill, 4));
    let against = |now: Option<f64>, before: Option<f64>| {
        let gain = now.zip(before).map(|(now, before)| now - before);
        figures::or_dash(gain, |gain| {
            format!("{} against the shipped model", figures::signed(gain, 4))
        })
    };
    let (driven, unseen) = (last.driven(&record.head), last.unseen(&record.head));
    let windows = record.rows.len().saturating_sub(1).max(1) as f64;
    let sum = |of: fn(&Row) -> f64| record.rows.iter().map(of).sum::<f64>() / windows;
    let (up, down) = (sum(|row| row.bytes.up), sum(|row| row.bytes.down));
    let vehicles = |note: &str| format!("{note} in window {}", last.window);
    tiles(&[
        ("driven roads", skill(driven), against(driven, first.driven(&record.head))),
        ("unseen roads", skill(unseen), against(unseen, first.unseen(&record.head))),
        ("own roads, personal", skill(last.own_mean()), vehicles("mean over vehicles")),
        (
            "bytes a vehicle and window",
            figures::bytes(up + down),
            format!("{} sent, {} received", figures::bytes(up), figures::bytes(down)),
        ),
    ])
}

fn roads(record: &Record) -> String {
    let heads = [
        ("road", true),
        ("is", true),
        ("shipped", false),
        ("final", false),
        ("gain", false),
        ("own, personal", false),
    ];
    let skill = |value| Cell::figure(value, |skill| figures::skill(skill, 4));
    let last = last_of(record.head.windows);
    let finals = all_at_end(record, last);
    let (first, end) = (record.rows.first(), record.rows.last());
    let mut lines = Vec::new();
    for (road, kind) in &record.head.roads {
        let shipped = first.and_then(|row| row.skill.get(road)).copied();
        let now = finals.get(&**road).copied();
        let gain = now.zip(shipped).map(|(now, shipped)| now - shipped);
        lines.push(vec![
            Cell::text(road),
            Cell::text(&what_it_is(*kind)),
            skill(shipped),
            skill(now),
            Cell::figure(gain, |gain| figures::signed(gain, 4)),
            skill(end.and_then(|row| row.own.get(road)).copied()),
        ]);
    }
    format!(
        "<section class=\"long\"><h2>Roads</h2>\n{}<p class=\"note\">Held-out skill. <i>Final</i> is the mean of the last {} windows, as far as they were looked at, \
         <i>own</i> that of the last. A road without a figure hardly moves.</p></section>\n",
        table("roads", &heads, &lines, None),
        last,
    )
}

fn windows(record: &Record) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in record.rows.iter().flat_map(|row| row.also.keys()) {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    let mut heads = vec![
        ("window", false),
        ("present", false),
        ("utility", false),
        ("driven", false),
        ("unseen", false),
        ("own", false),
        ("sent", false),
        ("received", false),
        ("evaluations", false),
        ("steps", false),
    ];
    heads.extend(names.iter().map(|name| (*name, false)));
    let skill = |value| Cell::figure(value, |skill| figures::skill(skill, 4));
    let count = |value: f64| Cell::figure(Some(value), figures::count);
    let line = |row: &Row| {
        let mut line = vec![
            count(f64::from(row.window)),
            count(f64::from(row.present)),
            skill(Some(row.utility)),
            skill(row.driven(&record.head)),
            skill(row.unseen(&record.head)),
            skill(row.own_mean()),
            Cell::figure(Some(row.bytes.up), figures::bytes),
            Cell::figure(Some(row.bytes.down), figures::bytes),
            count(row.evaluations as f64),
            count(row.steps as f64),
        ];
        line.extend(names.iter().map(|name| skill(row.also.get(*name).copied())));
        line
    };
    let lines: Vec<Vec<Cell>> = record.rows.iter().map(line).collect();
    let table = table("windows", &heads, &lines, None);
    format!(
        "<section class=\"long\"><h2>Windows</h2>\n<details><summary>Every window</summary>{table}</details></section>\n"
    )
}

fn what(record: &Record) -> String {
    let head = &record.head;
    let facts = facts(&[
        ("method", head.method.clone()),
        ("seed", head.seed.to_string()),
        ("vehicles", figures::count(f64::from(head.vehicles))),
        ("windows", figures::count(f64::from(head.windows))),
        ("values of an adapter", figures::count(head.values as f64)),
        ("engine", head.engine.clone()),
    ]);
    let config = escape(&head.config);
    format!(
        "<section><h2>What was run</h2>\n{facts}<p class=\"note\">configuration <code>{config}</code></p></section>\n"
    )
}
