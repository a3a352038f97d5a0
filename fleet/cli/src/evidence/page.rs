//! The record as a page.

use std::fmt::Write as _;

use super::record::{Record, Reinstated, Target};
use crate::clock::utc;

/// Vehicles that the page lists; all are in record.json.
const LISTED: usize = 500;

pub(super) fn page(record: &Record) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _written = write(&mut page, record);
    page
}

fn write(page: &mut String, record: &Record) -> std::fmt::Result {
    let Record { keys, campaign, approval, orders, stages, journal, .. } = record;
    writeln!(page, "# Campaign {} of {} / {}\n", campaign.number, keys.fleet, keys.region)?;
    writeln!(
        page,
        "The record of one campaign, in the parts that ISO 24089 asks for. It was made from `journal.jsonl`; `shoal evidence check` \
         makes it again and compares. Times are UTC, by the timekeeper's clock.\n"
    )?;
    what(page, record)?;
    writeln!(page, "\n## Approval\n")?;
    writeln!(
        page,
        "By key {} at {}, until {}. The record has SHA-256 {}.\n",
        approval.key,
        utc(approval.signed_at_ms / 1000),
        utc(approval.until_s),
        approval.record
    )?;
    writeln!(page, "## Orders\n\n| when | counter | order |\n|---|---|---|")?;
    for order in orders {
        writeln!(page, "| {} | {} | {} |", utc(order.at_ms / 1000), order.counter, order.order)?;
    }
    reinstated(page, record)?;
    writeln!(
        page,
        "\n## Stages\n\n| stage | of the fleet | vehicles | keep it | gone back | next opens at | halts above |\n|---|---|---|---|---|---|---|"
    )?;
    let per_cent = |per_mille: u16| f64::from(per_mille) / 10.0;
    for (index, stage) in stages.iter().enumerate() {
        writeln!(
            page,
            "| {index} | {} % | {} | {} | {} | {} % | {} % |",
            per_cent(stage.share),
            stage.vehicles,
            stage.kept,
            stage.gone_back,
            per_cent(stage.kept_min),
            per_cent(stage.gone_back_max)
        )?;
    }
    vehicles(page, record)?;
    writeln!(page, "\n## What it rests on\n")?;
    writeln!(
        page,
        "{} lines from {} to {}; the last has SHA-256 {}. Authority {}, approver {}. What the software is made of: `{}`.",
        journal.lines,
        utc(journal.first_ms / 1000),
        utc(journal.last_ms / 1000),
        journal.head,
        keys.authority,
        keys.approver,
        record.bill_of_materials
    )?;
    for bill in &record.other_bills {
        writeln!(page, "What else the vehicles run: `{}`, SHA-256 {}.", bill.file, bill.sha256)?;
    }
    Ok(())
}

fn what(page: &mut String, record: &Record) -> std::fmt::Result {
    let Record { campaign, compatibility, .. } = record;
    writeln!(page, "## What, and for what\n")?;
    writeln!(page, "| | |\n|---|---|")?;
    let rows = [
        ("particle", campaign.particle.clone()),
        ("base model", compatibility.base_model.clone()),
        ("layout", compatibility.layout.clone()),
        ("fits what the fleet carries", yes(compatibility.compatible)),
        ("a vehicle watches", format!("{} moments", campaign.moments_min)),
        ("skill that it may lose", format!("{:.4}", campaign.worse_max)),
        ("how far apart it may predict", format!("{:.4} of what moves", campaign.apart_max)),
        ("time it may take", format!("{:.2} times the active one's", campaign.latency_max)),
        ("what two people signed", format!("SHA-256 {}", campaign.digest)),
    ];
    for (what, value) in rows {
        writeln!(page, "| {what} | {value} |")?;
    }
    Ok(())
}

fn reinstated(page: &mut String, record: &Record) -> std::fmt::Result {
    if record.reinstated.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "\n## Reinstated\n\nWhose word counts again by the authority's order: votes elect a particle.\n\n| when | counter | key | from window |\n|---|---|---|---|"
    )?;
    for Reinstated { at_ms, counter, id, from_window } in &record.reinstated {
        writeln!(page, "| {} | {counter} | {id} | {from_window} |", utc(at_ms / 1000))?;
    }
    Ok(())
}

fn vehicles(page: &mut String, record: &Record) -> std::fmt::Result {
    let targets = &record.targets;
    writeln!(page, "\n## Vehicles\n\n| number | key | stage | what it said |\n|---|---|---|---|")?;
    for target in targets.iter().take(LISTED) {
        let stage = target.stage.map_or("none".to_owned(), |stage| stage.to_string());
        writeln!(page, "| {} | {} | {stage} | {} |", target.number, target.id, said(target))?;
    }
    if targets.len() > LISTED {
        writeln!(page, "\nAnd {} more, in `record.json`.", targets.len() - LISTED)?;
    }
    Ok(())
}

fn said(target: &Target) -> String {
    let said = target.said.iter().map(|said| {
        let software = said.software.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        format!("{} at {}{software}", said.what, utc(said.at_ms / 1000))
    });
    let said = said.collect::<Vec<_>>().join("; ");
    if said.is_empty() { "nothing".to_owned() } else { said }
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "**no**" }.to_owned()
}
