//! A method with other numbers: every combination of some values of its keys, or of the fleet it is in, or some of them by chance; and
//! the search that gives the better half twice as many windows (successive halving). What is better is said by the pack, never by
//! what is held out.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use shoal_shadow::digits::hex;
use shoal_shadow::document::DocumentError;
use toml::{Table, Value};

use crate::config::{METHOD_NAME_MAX, SimConfig, is_plain};
use crate::record::Record;
use crate::set::{Set, SetError, value};

/// Combinations of one sweep, at most.
const VARIANTS_MAX: usize = 1000;
/// Combinations that are put in an order to be drawn from; of more they are drawn one by one.
const ORDERED_MAX: usize = 1_000_000;
/// Bytes of the hash that ends a name which would be too long, or have characters that no folder's has; two digits each.
const HASH_BYTES: usize = 6;
/// Tables of the file whose keys can be varied: what is driven and what is in the pack stays the same.
const OF_THE_FLEET: [&str; 5] = ["night", "calendar", "network", "liars", "hardware"];
/// The others: what is measured would be another thing.
const OF_THE_ROADS: [&str; 7] =
    ["model", "trivial", "engine", "roads", "logs", "drivers", "utility"];

/// Why there is no such sweep.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("no method `{name}` in the file: {known}")]
    NoMethod { name: String, known: String },
    #[error("`{text}` is no key with values: write key=value,value,…")]
    Key { text: String },
    #[error(
        "`{key}`: not beside each other, for what is driven or measured differs: --set it, with a folder for each value"
    )]
    OtherRoads { key: String },
    #[error(transparent)]
    Set(#[from] SetError),
    #[error(
        "{count} combinations, at most {VARIANTS_MAX}: take fewer values, or draw some of them"
    )]
    TooMany { count: usize },
    #[error("more combinations than can be counted: take fewer values, or fewer keys")]
    Uncounted,
    #[error("--key {key} is given twice: name all its values at once")]
    Twice { key: String },
    #[error("variant {name}: {why}")]
    Variant { name: String, why: String },
    #[error("a variant cannot be run")]
    Fleet(#[from] DocumentError),
    #[error("the file cannot be written anew")]
    Write(#[from] toml::ser::Error),
    #[error("the file cannot be read")]
    Read(#[from] toml::de::Error),
}

/// One key with the values it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    key: String,
    values: Vec<Value>,
}

impl Axis {
    /// Reads `key=value,value,…`; values as TOML has them, or words. A key is of the method, or, where it begins with one of the file's
    /// tables, of the fleet: `calendar.absent=0.0,0.5`.
    ///
    /// # Errors
    /// [`SweepError::Key`], [`SweepError::OtherRoads`].
    pub fn parse(text: &str) -> Result<Self, SweepError> {
        let wrong = || SweepError::Key { text: text.to_owned() };
        let (key, values) = text.split_once('=').ok_or_else(wrong)?;
        let values: Vec<Value> =
            values.split(',').filter(|word| !word.is_empty()).map(value).collect();
        let table = key.split_once('.').map_or("", |(table, _)| table);
        if OF_THE_ROADS.contains(&table) {
            return Err(SweepError::OtherRoads { key: key.to_owned() });
        }
        let named = key.split('.').all(|part| !part.is_empty()) && !matches!(key, "name" | "kind");
        (named && !values.is_empty())
            .then(|| Axis { key: key.to_owned(), values })
            .ok_or_else(wrong)
    }

    /// Whether it is of the fleet, not of this method; a method that has nights of its own has their keys, too.
    fn of_the_fleet(&self, method: &Table) -> bool {
        let table = self.key.split_once('.').map_or("", |(table, _)| table);
        OF_THE_FLEET.contains(&table) && !(table == "night" && method.contains_key(table))
    }
}

/// The simulations of `source` (the text of `file`) with variants of one method in place of all methods, each named by what it
/// has: all combinations of `axes`, or, with `draws` of a number and a seed, so many of them by chance, none twice. Variants in the
/// same fleet are in one simulation. Paths stay as they are in the file.
///
/// # Errors
/// [`SweepError`].
pub fn variants(
    file: &str,
    source: &str,
    method: &str,
    axes: &[Axis],
    draws: Option<(usize, u64)>,
) -> Result<Vec<SimConfig>, SweepError> {
    let root: Table = source.parse()?;
    let methods = root.get("methods").and_then(Value::as_array).cloned().unwrap_or_default();
    let named = |table: &Value| table.get("name").and_then(Value::as_str).map(str::to_owned);
    let Some(Value::Table(of)) = methods.iter().find(|one| named(one).as_deref() == Some(method))
    else {
        let known: Vec<String> = methods.iter().filter_map(named).collect();
        return Err(SweepError::NoMethod { name: method.to_owned(), known: known.join(", ") });
    };
    for (number, axis) in axes.iter().enumerate() {
        if axes.iter().take(number).any(|other| other.key == axis.key) {
            return Err(SweepError::Twice { key: axis.key.clone() });
        }
    }
    let taken = taken(axes, draws)?;
    let mut fleets: Vec<(Table, Vec<Value>)> = Vec::new();
    for number in taken {
        let (mut fleet, mut variant) = (root.clone(), of.clone());
        let combination = combination(axes, number);
        let name = named_by(method, &combination);
        for (axis, value) in combination {
            let table = if axis.of_the_fleet(of) { &mut fleet } else { &mut variant };
            Set::new(&axis.key, value.clone()).put(table)?;
        }
        variant.insert("name".into(), Value::String(name.clone()));
        check(&fleet, &variant).map_err(|error| refused(name, &error))?;
        match fleets.iter_mut().find(|(known, _)| *known == fleet) {
            Some((_, variants)) => variants.push(Value::Table(variant)),
            None => fleets.push((fleet, vec![Value::Table(variant)])),
        }
    }
    let simulation = |(mut fleet, variants): (Table, Vec<Value>)| {
        fleet.insert("methods".into(), Value::Array(variants));
        Ok(SimConfig::parse(file, &toml::to_string(&fleet)?)?)
    };
    fleets.into_iter().map(simulation).collect()
}

/// Numbers of the combinations that are taken.
fn taken(axes: &[Axis], draws: Option<(usize, u64)>) -> Result<Vec<usize>, SweepError> {
    let mut counts = axes.iter().map(|axis| axis.values.len());
    let count = counts.try_fold(1_usize, usize::checked_mul);
    let count = count.ok_or(SweepError::Uncounted)?;
    let taken = draws.map_or(count, |(draws, _seed)| draws.min(count));
    if taken > VARIANTS_MAX {
        return Err(SweepError::TooMany { count: taken });
    }
    Ok(match draws {
        None => (0..count).collect(),
        Some((_draws, seed)) => drawn(count, taken, seed),
    })
}

/// A method with these values, by name: what it has, as far as a folder's name has room for it, and otherwise a hash of all of it behind
/// what there is room for.
fn named_by(method: &str, combination: &[(&Axis, &Value)]) -> String {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let of = combination.iter().map(|(axis, value)| format!("_{}-{}", axis.key, shown(value)));
    let whole = method.to_owned() + &of.collect::<String>();
    if whole.len() <= METHOD_NAME_MAX && whole.chars().all(is_plain) {
        return whole;
    }
    let hash = hex(Sha256::digest(&whole).get(..HASH_BYTES).unwrap_or_default());
    let plain = whole.chars().map(|c| if is_plain(c) { c } else { '.' });
    let room = METHOD_NAME_MAX - 2 * HASH_BYTES - 1;
    format!("{}_{hash}", plain.take(room).collect::<String>())
}

/// Whether a variant can be run in its fleet.
fn check(fleet: &Table, variant: &Table) -> Result<(), DocumentError> {
    let mut alone = fleet.clone();
    alone.insert("methods".into(), Value::Array(vec![Value::Table(variant.clone())]));
    SimConfig::parse("", &alone.to_string()).map(|_config| ())
}

/// A variant's refusal. Nobody has seen the text in which it has its place: its name and the key are said instead.
fn refused(name: String, error: &DocumentError) -> SweepError {
    let (mut said, place) = (error.to_string(), error.place());
    if let Some(place) = place {
        let key = place.key.strip_prefix("methods[0].").unwrap_or(&place.key);
        let why = said.strip_prefix(&format!("{place}: ")).unwrap_or(&said);
        said = format!("{key}: {why}");
    }
    SweepError::Variant { name, why: said }
}

/// So many different numbers below `count`, in order.
fn drawn(count: usize, draws: usize, seed: u64) -> Vec<usize> {
    let mut key = [0; 32];
    key.iter_mut().zip(seed.to_le_bytes()).for_each(|(key, byte)| *key = byte);
    let mut chance = ChaCha8Rng::from_seed(key);
    if count > ORDERED_MAX {
        let mut taken = BTreeSet::new();
        while taken.len() < draws {
            // By far most of the numbers are not taken yet; those that the remainder prefers are too few to count.
            taken.insert((chance.next_u64() % count as u64) as usize);
        }
        return taken.into_iter().collect();
    }
    let mut order: Vec<(u64, usize)> =
        (0..count).map(|number| (chance.next_u64(), number)).collect();
    order.sort_unstable();
    let mut taken: Vec<usize> = order.into_iter().take(draws).map(|(_, number)| number).collect();
    taken.sort_unstable();
    taken
}

/// The combination of this number, a value of each key: the last key changes first.
fn combination(axes: &[Axis], number: usize) -> Vec<(&Axis, &Value)> {
    let mut rest = number;
    let mut found = Vec::new();
    for axis in axes.iter().rev() {
        let count = axis.values.len().max(1);
        found.extend(axis.values.get(rest % count).map(|value| (axis, value)));
        rest /= count;
    }
    found.reverse();
    found
}

/// Windows of each rung of successive halving, the last of them all; as many rungs as it takes to come from so many variants
/// to at most two.
#[must_use]
pub fn rungs(windows: u32, variants: usize) -> Vec<u32> {
    let halves = std::iter::successors(Some(variants), |left| Some(left.div_ceil(2)));
    let halvings = halves.take_while(|left| *left > 2).count() as u32;
    (0..=halvings).rev().map(|rung| (windows >> rung).max(1)).collect()
}

/// The better half of the methods, by the mean utility of their last windows over seeds, in the order they had; at least one.
#[must_use]
pub fn better_half(records: &[Record]) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for record in records {
        if !names.contains(&record.head.method.as_str()) {
            names.push(&record.head.method);
        }
    }
    let utility = |name: &str| {
        let of = records.iter().filter(|record| record.head.method == name);
        let last: Vec<f64> = of.filter_map(|record| Some(record.rows.last()?.utility)).collect();
        last.iter().sum::<f64>() / last.len().max(1) as f64
    };
    let mut order: Vec<(f64, &str)> = names.iter().map(|name| (utility(name), *name)).collect();
    // Stable: of equals the first stays.
    order.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal));
    order.truncate(names.len().div_ceil(2).max(1));
    let kept: Vec<&str> = order.into_iter().map(|(_, name)| name).collect();
    names.into_iter().filter(|name| kept.contains(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rule;

    const FILE: &str = "[roads]\nregions = [\"snow\"]\n[[methods]]\nname = \"ours\"\nkind = \"consensus\"\n\
        brake = 0.02\n[[methods]]\nname = \"other\"\nkind = \"local\"\n";

    fn axes(texts: &[&str]) -> Vec<Axis> {
        texts.iter().map(|text| Axis::parse(text).unwrap()).collect()
    }

    #[test]
    fn every_combination_is_a_method_of_its_own_name() {
        let axes = axes(&["inertia=0.0,0.5", "up_bits=1,2,4"]);
        let configs = variants("f.toml", FILE, "ours", &axes, None).unwrap();
        let [config] = configs.as_slice() else { panic!("one fleet: {configs:?}") };
        let names: Vec<&str> = config.methods.iter().map(|method| method.name.as_str()).collect();
        assert_eq!(names.len(), 6);
        assert_eq!(
            (names[0], names[5]),
            ("ours_inertia-0.0_up_bits-1", "ours_inertia-0.5_up_bits-4")
        );
        for method in &config.methods {
            let Rule::Consensus(consensus) = method.rule else { panic!("{method:?}") };
            assert!((consensus.rule.brake - 0.02).abs() < 1e-6, "what is not varied stays");
        }
        let few = variants("f.toml", FILE, "ours", &axes, Some((4, 1))).unwrap();
        assert_eq!(few[0].methods.len(), 4);
        assert!(few[0].methods.iter().all(|method| config.methods.contains(method)));
        assert_eq!(few, variants("f.toml", FILE, "ours", &axes, Some((4, 1))).unwrap());
    }

    /// A name that has not room for all keys, or would have other characters, ends in a hash: what a folder is called tells variants
    /// apart.
    #[test]
    fn the_five_numbers_of_the_paper_can_be_varied_and_so_can_an_hour() {
        let file = "[roads]\nregions = [\"snow\"]\n[[methods]]\nname = \"search\"\nkind = \"soup\"\n\
            merge = \"model_swarms\"\n";
        let five = axes(&[
            "inertia=0.1,0.2",
            "cognitive=0.3",
            "social=0.4",
            "repel=0.05,0.1",
            "step_length=0.5",
        ]);
        let configs = variants("f.toml", file, "search", &five, None).unwrap();
        let names: Vec<&str> =
            configs[0].methods.iter().map(|method| method.name.as_str()).collect();
        let apart: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!((names.len(), apart.len()), (4, 4));
        assert!(names.iter().all(|name| name.len() == 64 && name.starts_with("search_inertia-0.")));
        let hours = axes(&["calendar.opens=02:30,\"14:00\""]);
        let configs = variants("f.toml", FILE, "ours", &hours, None).unwrap();
        let names = configs.iter().map(|config| config.methods[0].name.clone());
        let names: Vec<String> = names.collect();
        assert!(names[0].starts_with("ours_calendar.opens-02.30_"), "{names:?}");
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn of_more_combinations_than_fit_in_memory_some_are_drawn_and_none_are_listed() {
        let of = |keys: usize| -> Vec<Axis> {
            let axis = |key| Axis::parse(&format!("key{key}=0,1,2,3,4,5,6,7,8,9")).unwrap();
            (0..keys).map(axis).collect()
        };
        let drawn = |keys| taken(&of(keys), Some((5, 1)));
        assert_eq!(drawn(12).unwrap().len(), 5);
        assert_eq!(drawn(12).unwrap(), drawn(12).unwrap());
        assert!(drawn(12).unwrap().iter().all(|number| *number < 1_000_000_000_000));
        assert_eq!(drawn(3).unwrap().len(), 5);
        assert_eq!(taken(&of(1), Some((50, 1))).unwrap().len(), 10, "there are no more");
        let many = taken(&of(12), None);
        assert!(matches!(many, Err(SweepError::TooMany { count: 1_000_000_000_000 })), "{many:?}");
        assert!(matches!(drawn(20), Err(SweepError::Uncounted)));
    }

    #[test]
    fn a_key_of_the_fleet_makes_a_fleet_of_its_own() {
        let axes = axes(&["calendar.absent=0.0,0.5", "night.learning_rate=1e-3", "up_bits=1,2"]);
        let configs = variants("f.toml", FILE, "ours", &axes, None).unwrap();
        let absent: Vec<f64> = configs.iter().map(|config| config.calendar.absent).collect();
        assert_eq!(absent, [0.0, 0.5]);
        for config in &configs {
            assert!((config.night.learning_rate - 1e-3).abs() < 1e-9, "{:?}", config.night);
            assert_eq!(config.methods.len(), 2);
        }
        let name = &configs[1].methods[1].name;
        assert_eq!(name, "ours_calendar.absent-0.5_night.learning_rate-0.001_up_bits-2");
    }

    #[test]
    fn a_key_of_the_night_varies_the_nights_that_a_method_has_of_its_own() {
        let file = FILE.replace("brake = 0.02\n", "brake = 0.02\nnight = { steps = 60 }\n");
        let axes = axes(&["night.steps=20,40"]);
        let configs = variants("f.toml", &file, "ours", &axes, None).unwrap();
        let [config] = configs.as_slice() else { panic!("one fleet: {configs:?}") };
        let steps = config.methods.iter().map(|method| config.under(method).night.steps);
        assert_eq!(steps.collect::<Vec<_>>(), [20, 40]);
    }

    #[test]
    fn what_cannot_be_varied_is_refused() {
        let roads = Axis::parse("roads.frames=60,120");
        assert!(matches!(roads, Err(SweepError::OtherRoads { .. })), "{roads:?}");
        for text in ["inertia", "=1", "inertia=", "name=a,b", "kind=local"] {
            assert!(matches!(Axis::parse(text), Err(SweepError::Key { .. })), "{text}");
        }
        let of = |method, text: &str| variants("f.toml", FILE, method, &axes(&[text]), None);
        assert!(matches!(of("none", "inertia=1"), Err(SweepError::NoMethod { .. })));
        // The text that is refused was made here: its lines say nothing to who reads of it.
        let said = |text| of("ours", text).unwrap_err().to_string();
        let misspelt = said("inertai=0.1");
        assert!(misspelt.contains("`inertia`") && !misspelt.contains("methods["), "{misspelt}");
        assert!(misspelt.starts_with("variant ours_inertai-0.1: inertai: unknown"), "{misspelt}");
        let wide = said("inertia=0.1,1.5");
        assert!(
            wide.starts_with("variant ours_inertia-1.5: inertia: 1.5 is not allowed"),
            "{wide}"
        );
        let wide = said("calendar.absent=2");
        assert!(wide.starts_with("variant ours_calendar.absent-2: calendar.absent: 2"), "{wide}");
        let twice = variants("f.toml", FILE, "ours", &axes(&["up_bits=1", "up_bits=2"]), None);
        assert!(matches!(twice, Err(SweepError::Twice { key }) if key == "up_bits"));
        let many: Vec<String> = (0..1001).map(|n| (n as f64 / 2000.0).to_string()).collect();
        let many = format!("inertia={}", many.join(","));
        assert!(matches!(of("ours", &many), Err(SweepError::TooMany { count: 1001 })));
    }

    #[test]
    fn halving_ends_with_all_windows_and_at_most_two() {
        assert_eq!(rungs(24, 8), [6, 12, 24]);
        assert_eq!(rungs(24, 2), [24]);
        assert_eq!(rungs(24, 1), [24]);
        assert_eq!(rungs(3, 64), [1, 1, 1, 1, 1, 3]);
        // Three leave two, five leave three and then two: the better half of an odd number is the larger one.
        assert_eq!(rungs(24, 3), [12, 24]);
        assert_eq!(rungs(24, 5), [6, 12, 24]);
        assert_eq!(rungs(24, 9), [3, 6, 12, 24]);
    }
}
