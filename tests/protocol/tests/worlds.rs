//! Worlds by their seeds; each runs twice, and comes to the same. `SHOAL_SEED` and `SHOAL_SEEDS` say which is the first and how
//! many there are, `SHOAL_FAILURES` after how many failures there is no more to learn. `SHOAL_LOG=debug` tells what vehicles say, and
//! `trace` all that happens: for one world.

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;
use shoal_protocol::log::Log;
use shoal_protocol::must::Must;
use shoal_protocol::weather::Weather;
use shoal_protocol::world::World;
use shoal_swarm::swarm::Swarm;
use tracing_subscriber::filter::LevelFilter;

/// Worlds of a test, unless it is told otherwise.
const SEEDS: u64 = 500;
/// Worlds between two lines of progress.
const PROGRESS: u64 = 500;

/// Everything that goes wrong in some world.
const TROUBLES: [&str; 36] = [
    "absent",
    "away",
    "beacon",
    "broker",
    "budget",
    "campaign",
    "clock",
    "cut",
    "dropped",
    "forged",
    "full",
    "gone back",
    "grown",
    "held",
    "kept",
    "late",
    "lost",
    "mended",
    "mistaken",
    "newcomer",
    "news",
    "parted",
    "passed on",
    "power",
    "quarantined",
    "regions",
    "reinstated",
    "repeated",
    "rotated",
    "said again",
    "set right",
    "stood aside",
    "timekeeper",
    "unfit",
    "unspoken",
    "withheld",
];

/// What came of the worlds so far.
#[derive(Default)]
struct Told {
    worlds: u64,
    happened: u64,
    virtual_days: f64,
    troubles: BTreeMap<&'static str, u64>,
    looked_at: BTreeMap<String, u64>,
    failures: Vec<String>,
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed, Weather::of(seed));
    world.run();
    world
}

/// What has failed, as it says it.
fn failure(seed: u64, payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    format!("seed {seed}, {:?}:\n{text}", Weather::of(seed))
}

/// A line for people, and the same field by field.
fn sum_up(first: u64, told: &Told) {
    let Told { worlds, happened, virtual_days, troubles, looked_at, failures } = told;
    tell(&format!(
        "{worlds} worlds from seed {first}: {virtual_days:.1} virtual days, {happened} events, {troubles:?}"
    ));
    let each = (*worlds).max(1);
    let summary = json!({
        "first_seed": first,
        "worlds": worlds,
        "failed": failures.len(),
        "virtual_days": virtual_days,
        "virtual_days_per_seed": virtual_days / each as f64,
        "events": happened,
        "events_per_seed": happened / each,
        "troubles": troubles,
        "looked_at": looked_at,
    });
    tell(&format!("summary {summary}"));
}

fn tell(line: &str) {
    let _said = writeln!(std::io::stdout(), "{line}");
}

#[test]
fn what_must_hold_holds_whatever_happens() {
    let level = std::env::var("SHOAL_LOG").ok().and_then(|level| level.parse::<LevelFilter>().ok());
    if let Some(level) = level {
        let log = tracing_subscriber::fmt().without_time().with_ansi(false);
        log.with_max_level(level).init();
    }
    let (first, seeds) = (number("SHOAL_SEED", 0), number("SHOAL_SEEDS", SEEDS));
    let most = number("SHOAL_FAILURES", 1) as usize;
    let (next, failed) = (AtomicU64::new(first), AtomicUsize::new(0));
    let told = Mutex::new(Told::default());
    let worlds = || {
        while failed.load(Ordering::Relaxed) < most {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                break;
            }
            let ran = catch_unwind(AssertUnwindSafe(|| {
                let world = run(seed);
                let mut again = World::new(seed, Weather::of(seed));
                again.rerun();
                world.log.is_repeated_by(&again.log);
                let looked_at: Vec<(Must, u64)> = world.checks.looked_at.times().collect();
                (world.happened, world.virtual_days(), world.troubles, looked_at)
            }));
            let mut told = told.lock().unwrap();
            told.worlds += 1;
            match ran {
                Ok((happened, days, troubles, looked_at)) => {
                    told.happened += happened;
                    told.virtual_days += days;
                    for (trouble, times) in troubles {
                        *told.troubles.entry(trouble).or_default() += times;
                    }
                    for (must, times) in looked_at {
                        *told.looked_at.entry(must.to_string()).or_default() += times;
                    }
                }
                Err(payload) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    let failure = failure(seed, &*payload);
                    tell(&failure);
                    told.failures.push(failure);
                }
            }
            if told.worlds.is_multiple_of(PROGRESS) {
                tell(&format!("{} worlds, {} failed", told.worlds, told.failures.len()));
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worlds);
        }
    });
    let told = told.into_inner().unwrap();
    sum_up(first, &told);
    let Told { worlds, troubles, looked_at, failures, .. } = told;
    assert!(failures.is_empty(), "{} worlds failed:\n{}", failures.len(), failures.join("\n\n"));
    // Trouble that never comes proves nothing.
    let came: Vec<&str> = troubles.keys().copied().collect();
    assert!(worlds < 100 || came == TROUBLES, "of {TROUBLES:?} there came {came:?}");
    // Nor does what nobody looks at.
    let never: Vec<&String> =
        looked_at.iter().filter(|(_must, times)| **times == 0).map(|(must, _)| must).collect();
    assert!(worlds < 100 || never.is_empty(), "never looked at: {never:?}");
}

/// Each of these showed something that was wrong, in a vehicle or in what is asked of it.
#[test]
fn worlds_that_did_not_hold_once_hold() {
    for seed in [
        410, 696, 1_420, 1_552, 1_594, 2_248, 2_292, 2_469, 2_713, 4_409, 4_906, 6_094, 6_944,
        7_354, 9_088,
    ] {
        let ran = catch_unwind(|| run(seed));
        ran.unwrap_or_else(|payload| panic!("{}", failure(seed, &*payload)));
    }
}

#[test]
fn a_fair_fleet_elects_what_is_better() {
    let mut world = World::new(1, Weather::fair(4, 4));
    world.run();
    assert!(world.troubles.is_empty());
    let swarm = world.vehicles[0].exchange.as_ref().and_then(|exchange| exchange.swarm());
    let best = swarm.and_then(|swarm| swarm.best(world.weather.all_windows())).unwrap();
    assert!(best.values.iter().all(|value| *value > 0), "{best:?}");
}

/// The only beacon passes on that it is there, and nothing else: the vehicles notice, and listen to each other.
#[test]
fn a_region_whose_only_beacon_withholds_learns_all_the_same() {
    let beacon = |beacons_withhold| {
        let fair = Weather::fair(4, 4);
        let mut world =
            World::new(1, Weather { beacons: 1, listens: 1.0, beacons_withhold, ..fair });
        world.run();
        let windows = world.weather.all_windows();
        let swarms = world.vehicles.iter().filter_map(|vehicle| vehicle.exchange.as_ref()?.swarm());
        let best = |swarm: &Swarm| {
            let best = swarm.best(windows).expect("it is elected");
            assert!(best.values.iter().all(|value| *value > 0), "{best:?}");
            swarm.records().count()
        };
        swarms.map(best).min()
    };
    assert!(beacon(true) > beacon(false), "who listens to all knows more than what matters");
}

/// What a fleet leaves on its board does not grow with the years: after a thousand windows it is about as much as after fifty.
#[test]
fn what_stands_on_the_board_is_no_more_after_a_thousand_windows() {
    let left = |windows| {
        let mut world = World::new(2, Weather::fair(3, windows));
        world.run();
        let mut bytes = BTreeMap::<String, usize>::new();
        for (topic, record) in world.cluster.nodes()[0].stands() {
            let whose = topic.split('/').nth(5).unwrap_or_default();
            *bytes.entry(whose.to_owned()).or_default() += record.len();
        }
        bytes
    };
    let (early, late) = (left(50), left(1_000));
    tell(&format!("bytes by publisher after 60 windows: {early:?}, after 1,010: {late:?}"));
    for (whose, bytes) in &late {
        // What was elected last is of another length than what was elected first.
        let most = early[whose] + early[whose] / 4;
        assert!(*bytes <= most, "{whose}: {bytes} bytes, {} before", early[whose]);
    }
}

/// What a log says of a world as it is, beside this window.
fn logged(world: &World, window: u32) -> Log {
    let mut log = Log::default();
    log.mark(&world.vehicles, window);
    log
}

fn are_apart(one: &Log, two: &Log) -> bool {
    catch_unwind(AssertUnwindSafe(|| one.is_repeated_by(two))).is_err()
}

#[test]
fn what_a_vehicle_writes_into_its_vault_stands_in_the_log() {
    let [one, mut two] = [(); 2].map(|()| World::new(1, Weather::fair(2, 1)));
    assert!(!are_apart(&logged(&one, 0), &logged(&two, 0)));
    two.vehicles[0].start(&two.fleet).unwrap();
    assert!(are_apart(&logged(&one, 0), &logged(&two, 0)), "it has opened its vault");
}

#[test]
fn what_a_vehicle_holds_true_stands_in_the_log() {
    let [mut one, mut two] = [(); 2].map(|()| World::new(1, Weather::fair(2, 1)));
    one.run();
    two.rerun();
    one.log.is_repeated_by(&two.log);
    let last = one.weather.all_windows();
    assert!(!are_apart(&logged(&one, last), &logged(&two, last)));
    assert!(are_apart(&logged(&one, last), &logged(&two, 0)), "before anything was best");
}
