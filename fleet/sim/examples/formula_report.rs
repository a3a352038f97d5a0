//! Writes a report of a run and one of a comparison, made of records that a formula makes, to see what they look like. They are no
//! results. `cargo run -p shoal-sim --example formula_report -- FOLDER [METHODS]`

use std::path::Path;
use std::process::ExitCode;

#[path = "../tests/formula/mod.rs"]
mod formula;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: formula_report FOLDER [METHODS]");
        return ExitCode::FAILURE;
    };
    let methods = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(30);
    let records = formula::records(methods, 4, 6, 60);
    let folder = Path::new(&folder);
    let run = records
        .get(records.len() / 2)
        .map(|record| shoal_sim::report::run(record, &folder.join("run")));
    let compared = shoal_sim::report::compare(&records, "made-up 00", &folder.join("comparison"));
    for result in run.into_iter().chain([compared]) {
        match result {
            Ok(files) => files.iter().for_each(|file| eprintln!("{}", file.display())),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
