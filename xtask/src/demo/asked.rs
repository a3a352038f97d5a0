//! What the demo was asked for, checked before anything is fetched or built.

use std::fs;
use std::path::PathBuf;

use crate::flags::Flags;
use crate::{Done, Failure, onnxruntime};

const VALUED: [&str; 11] = [
    "--drives",
    "--pretrain",
    "--engine",
    "--providers",
    "--programs",
    "--broker",
    "--vehicles",
    "--windows",
    "--seed",
    "--seeds",
    "--rule",
];
/// With fewer there is nobody to measure what one claims.
const VEHICLES_MIN: u64 = 2;
const VEHICLES_MAX: u64 = 64;
const WINDOWS_MAX: u64 = 64;
const SEEDS_MAX: u64 = 100;

/// The command line.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) drives: Option<PathBuf>,
    pub(super) pretrain: Option<PathBuf>,
    /// Vehicles learn to act, from their drivers.
    pub(super) policy: bool,
    pub(super) engine: Option<Engine>,
    /// What ONNX Runtime runs vehicles' models on, in this order.
    pub(super) providers: Option<Vec<String>>,
    /// `shoal` and `shoal-vehicle`, built elsewhere.
    pub(super) programs: Option<PathBuf>,
    /// A broker that runs already.
    pub(super) broker: Option<String>,
    pub(super) vehicles: u64,
    pub(super) windows: u64,
    pub(super) seed: u64,
    /// How many seeds, from that one on.
    pub(super) seeds: u64,
    pub(super) rule: String,
    pub(super) headless: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Ort,
    Tract,
}

impl Engine {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ort => "ort",
            Self::Tract => "tract",
        }
    }
}

impl Asked {
    /// `None` when help is asked for.
    pub(super) fn parse(args: &[String]) -> Done<Option<Self>> {
        let flags = Flags::parse(args, &VALUED, &["--policy", "--headless", "--help"])?;
        if flags.has("--help") {
            return Ok(None);
        }
        let engine = match flags.value("--engine") {
            None => None,
            Some("ort") => Some(Engine::Ort),
            Some("tract") => Some(Engine::Tract),
            Some(other) => return Err(Failure(format!("no engine {other}: ort or tract"))),
        };
        let providers: Option<Vec<String>> =
            flags.value("--providers").map(|list| list.split(',').map(str::to_owned).collect());
        if providers.is_some() && engine == Some(Engine::Tract) {
            return Err(Failure("--providers are ONNX Runtime's: leave --engine tract out".into()));
        }
        // Who asks for an accelerator is not helped by another engine.
        let engine = engine.or(providers.as_ref().map(|_providers| Engine::Ort));
        let policy = flags.has("--policy");
        if let Some(other) =
            ["--drives", "--pretrain"].into_iter().find(|flag| flags.value(flag).is_some())
            && policy
        {
            return Err(Failure(format!(
                "--policy learns from drivers on generated roads: leave {other} out"
            )));
        }
        let rule = flags.value("--rule").unwrap_or("consensus");
        if !["consensus", "paper"].contains(&rule) {
            return Err(Failure(format!("no rule {rule}: consensus or paper")));
        }
        let number = |flag: &str, default: u64, low: u64, high: u64| {
            let Some(text) = flags.value(flag) else { return Ok(default) };
            let number = text.parse().ok().filter(|number| (low..=high).contains(number));
            number.ok_or_else(|| Failure(format!("{flag} {text}: a number from {low} to {high}")))
        };
        let seeds = number("--seeds", 1, 1, SEEDS_MAX)?;
        Ok(Some(Self {
            drives: flags.value("--drives").map(absolute).transpose()?,
            pretrain: flags.value("--pretrain").map(absolute).transpose()?,
            policy,
            engine,
            providers,
            programs: flags.value("--programs").map(absolute).transpose()?,
            broker: flags.value("--broker").map(str::to_owned),
            vehicles: number("--vehicles", 4, VEHICLES_MIN, VEHICLES_MAX)?,
            windows: number("--windows", 9, 1, WINDOWS_MAX)?,
            seed: number("--seed", 1, 0, u64::from(u32::MAX))?,
            seeds,
            rule: rule.to_owned(),
            // Nobody sits through several.
            headless: seeds > 1 || flags.has("--headless"),
        }))
    }
}

/// The engine that was asked for, or the best that can be had.
pub(super) fn engine(asked: Option<Engine>) -> Done<Engine> {
    if asked == Some(Engine::Tract) {
        return Ok(Engine::Tract);
    }
    let fetched = match onnxruntime::library() {
        Some(_library) => Ok(()),
        None => onnxruntime::install(),
    };
    match (fetched, asked) {
        (Ok(()), _) => Ok(Engine::Ort),
        (Err(failure), Some(_asked)) => Err(failure),
        (Err(Failure(why)), None) => {
            println!("{why}\nno ONNX Runtime: tract runs the model, three to four times slower");
            Ok(Engine::Tract)
        }
    }
}

/// The path as the caller means it: relative to where they are.
fn absolute(path: &str) -> Done<PathBuf> {
    fs::canonicalize(path).map_err(|error| Failure(format!("{path}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Done<Option<Asked>> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Asked::parse(&args)
    }

    #[test]
    fn flags_that_mean_nothing_are_refused() {
        for args in [
            &["--engine", "cuda"][..],
            &["--engine", "tract", "--providers", "cuda,cpu"],
            &["--seed", "x"],
            &["road"],
            &["--policy", "--drives", "."],
            &["--vehicles", "1"],
            &["--windows", "0"],
            &["--seeds", "0"],
            &["--rule", "mean"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn without_flags_four_vehicles_exchange_in_nine_windows() {
        let asked = parse(&[]).unwrap().unwrap();
        assert_eq!((asked.vehicles, asked.windows, asked.rule.as_str()), (4, 9, "consensus"));
        assert_eq!((asked.seed, asked.seeds, asked.headless), (1, 1, false));
        assert!(parse(&["--seeds", "2"]).unwrap().unwrap().headless);
        assert!(parse(&["--help"]).unwrap().is_none());
    }

    #[test]
    fn who_asks_for_providers_gets_onnx_runtime_or_nothing() {
        let asked = parse(&["--providers", "cuda,cpu"]).unwrap().unwrap();
        assert_eq!(asked.engine, Some(Engine::Ort));
        assert_eq!(asked.providers.unwrap(), ["cuda", "cpu"]);
    }
}
