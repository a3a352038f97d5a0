//! `shoal sim membership`

use clap::Args;
use serde::Serialize;
use shoal_sim::compare::alone;
use shoal_sim::config::SimConfig;
use shoal_sim::data::Data;
use shoal_sim::lab::Base;
use shoal_sim::membership::{Attack, Found, Listens, Score, attack};

use super::{Files, keep};
use crate::output::{Outcome, Progress, json};

/// Attack what a method's vehicles publish: can it be told what they tuned on?
///
/// This is membership inference on what a method's vehicles published,
/// on the tuning and held-out clips of their own drives.
///
/// Example: shoal sim membership fleet.toml -o sim --seeds 2
#[derive(Args)]
pub(super) struct Membership {
    #[command(flatten)]
    files: Files,
    /// Only these of the file's methods
    #[arg(long, value_name = "NAME")]
    method: Vec<String>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

/// What `--json` prints, a list of them; docs/schemas/membership.schema.json describes it.
#[derive(Serialize)]
struct Line {
    method: String,
    listens: Listens,
    score: Score,
    #[serde(flatten)]
    found: Found,
}

impl Membership {
    pub(super) fn run(self) -> Outcome {
        let mut config = self.files.config()?;
        if !self.method.is_empty() {
            keep(&mut config, &self.method, &self.files.file)?;
        }
        let lines = self.lines(&config)?;
        if self.json {
            return json(&lines);
        }
        println!("| method | listens to | score | members | others | AUC | 95 % | found at 1 % |");
        println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
        for Line { method, listens, score, found } in &lines {
            let Found { members, others, auc, auc_low, auc_high, found_at_1_percent } = found;
            let listens = match listens {
                Listens::Own => "the vehicle's own",
                Listens::Another => "another's",
                Listens::Fleet => "the fleet's",
            };
            let score = match score {
                Score::Loss => "loss",
                Score::Difference => "difference",
            };
            println!(
                "| {method} | {listens} | {score} | {members} | {others} | {auc:.3} | {auc_low:.3} … {auc_high:.3} | {found_at_1_percent:.3} |"
            );
        }
        Ok(())
    }

    /// Every attack on every method, over all seeds.
    fn lines(&self, config: &SimConfig) -> Result<Vec<Line>, crate::output::Failure> {
        let _alone = alone(&self.files.output)?;
        let base = Base::open(config, shoal_sim::lab::engine(config)?)?;
        let mut progress = Progress::new();
        let all = self.files.seeds.saturating_mul(config.methods.len() as u64);
        let mut by_method: Vec<Vec<Attack>> = vec![Vec::new(); config.methods.len()];
        for (seed, done) in (config.seed..config.seed.saturating_add(self.files.seeds)).zip(0..) {
            let config = SimConfig { seed, ..config.clone() };
            let folder = self.files.output.join(format!("seed-{seed}"));
            let data = Data::open(&config, &base.task, &folder.join("pack"))?;
            for (place, (method, sum)) in config.methods.iter().zip(&mut by_method).enumerate() {
                let found = attack(&config, method, &base, &data, &folder.join("results"))?;
                if sum.is_empty() {
                    *sum = found;
                } else {
                    let pairs = sum.iter_mut().zip(found);
                    pairs.for_each(|(sum, one)| sum.scored.extend(one.scored));
                }
                let done = done * config.methods.len() as u64 + place as u64 + 1;
                progress.show(done, all, "runs attacked");
            }
        }
        let of = |(method, attacks): (&shoal_sim::config::MethodConfig, Vec<Attack>)| {
            let line = |attack: Attack| {
                let Attack { listens, score, scored } = attack;
                let found = scored.found(config.seed)?;
                Some(Line { method: method.name.clone(), listens, score, found })
            };
            attacks.into_iter().filter_map(line).collect::<Vec<_>>()
        };
        Ok(config.methods.iter().zip(by_method).flat_map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_line_has_the_form_of_its_schema() {
        let schema = include_str!("../../../../docs/schemas/membership.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let line = Line {
            method: "a".into(),
            listens: Listens::Own,
            score: Score::Loss,
            found: Found {
                members: 1,
                others: 2,
                auc: 0.5,
                auc_low: 0.4,
                auc_high: 0.6,
                found_at_1_percent: 0.25,
            },
        };
        let line = serde_json::to_value(vec![line]).unwrap();
        let fields = schema["items"]["properties"].as_object().unwrap();
        let types = line[0].as_object().unwrap().iter().map(|(key, value)| {
            let of = [("string", value.is_string()), ("integer", value.is_u64())];
            let of = of.into_iter().find(|(_name, is)| *is).map_or("number", |(name, _is)| name);
            (key.clone(), Value::from(of))
        });
        let known = fields.iter().map(|(key, of)| (key.clone(), of["type"].clone()));
        assert_eq!(types.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    }

    #[test]
    fn an_attack_does_not_write_beside_a_run_to_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (file, output) = (folder.path().join("fleet.toml"), folder.path().join("out"));
        let text = "vehicles = 2\nwindows = 1\n[trivial]\nvalues = 8\n[[methods]]\nname = \"a\"\nkind = \"average\"\n";
        std::fs::write(&file, text).unwrap();
        let asked = || {
            let files = Files { file: file.clone(), output: output.clone(), seeds: 1, set: vec![] };
            let attack = Membership { files, method: vec![], json: true };
            let config = attack.files.config().unwrap();
            attack.lines(&config).map(|lines| lines.len()).map_err(|failure| failure.to_string())
        };
        let held = alone(&output).unwrap();
        let said = asked().unwrap_err();
        assert!(said.contains("one after the other"), "{said}");
        drop(held);
        asked().unwrap();
    }
}
