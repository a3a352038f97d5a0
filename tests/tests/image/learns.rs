//! A vehicle computer in a fleet: it drives, tunes and exchanges; its power is cut at random moments, and nothing is lost.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use shoal_shadow::replay::{Replay, ReplayOptions};
use shoal_tests::brokers::{Embedded, TestBroker as _};
use shoal_tests::clock::Deadline;
use shoal_tests::emulator::{Computer, Image, PATIENCE_SECONDS};
use shoal_tests::fleet::{Carries, Fleet, Plan};
use shoal_tests::invariants::{
    no_record_contradicts_another, no_window_is_counted_twice, the_log_agrees,
};
use shoal_tests::observer::Observer;
use shoal_vehicle::exchange::vault::Vault;

/// Where the image has the package of the model.
pub(crate) const PACKAGE: &str = "/usr/share/shoal/world";
/// Power cuts at random moments beyond the first, unless `SHOAL_IMAGE_CUTS` says how many.
const CUTS: u64 = 0;
/// The latest moment of a cut after the vehicle's programs began, in milliseconds: by then it exchanges.
const CUT_MILLIS_MAX: u64 = 50_000;

/// The address of this computer, as the emulated one sees it.
pub(crate) fn as_the_computer_sees_it(address: SocketAddr) -> String {
    format!("mqtt://10.0.2.2:{}", address.port())
}

#[test]
fn a_vehicle_computer_learns_in_a_fleet_and_loses_nothing_when_its_power_is_cut() {
    let Some(image) = Image::copy_or_skip() else { return };
    let broker = Embedded::start();
    let plan = Plan {
        // Emulated, a step takes up to twenty seconds, and twice as many where the machine is slow and busy.
        period_seconds: 75,
        open_seconds: 70,
        steps: 1,
        carries: Carries::Shipped,
        recorded: true,
        ..Plan::default()
    };
    let Some(fleet) = Fleet::make(&plan, broker.address()) else { return };
    let observer = Observer::start(&fleet.told(0));
    image.equip(&fleet.provision(0, PACKAGE, &as_the_computer_sees_it(broker.address())));
    let _serve = fleet.serve();
    let _other = fleet.start(1, &[]);

    let cuts = std::env::var("SHOAL_IMAGE_CUTS").map_or(CUTS, |text| text.parse().unwrap());
    let mut told = Told::default();
    let first = image.boot();
    // It learns and exchanges once undisturbed.
    first.says("tuned", 1);
    first.says("window over", 1);
    first.says("the agent is up", 1);
    first.says("the agent runs as user=900 group=900", 1);
    // And then on, up to some moment.
    thread::park_timeout(Duration::from_millis(random(cuts) % CUT_MILLIS_MAX));
    told.read(&first.cut());
    assert!(!told.windows.is_empty() && told.spans > 0, "it told of windows and spans");
    told.holds(&image, &fleet, &observer);
    for cut in 0..cuts {
        let computer = image.boot();
        // Before that the vehicle's own programs do not run.
        computer.says("shoal: slot", 1);
        thread::park_timeout(Duration::from_millis(random(cut) % CUT_MILLIS_MAX));
        told.read(&computer.cut());
        told.holds(&image, &fleet, &observer);
    }
    let before = observer.seen().len();
    let last = image.boot();
    last.says("the agent is up", 1);
    takes_part(&last, &fleet, &observer, before);
    told.read(&last.cut());
    told.holds(&image, &fleet, &observer);
    assert!(no_record_contradicts_another(&fleet, 0, &observer) > 0, "it said something");
    let (lives, _outputs) = the_log_agrees(&fleet, 0);
    assert!(lives > 0);
    assert_eq!(image.entries().len(), 2);
    assert!(image.entries().contains(&"slot-a.conf".to_owned()), "{:?}", image.entries());
}

/// It contributes: what both vehicles contributed is in one merge, whoever of them folds.
fn takes_part(computer: &Computer, fleet: &Fleet, observer: &Observer, before: usize) {
    let keys = [0, 1].map(|number| fleet.key(number).public());
    let deadline = Deadline::seconds(PATIENCE_SECONDS);
    while !observer.saw_a_merge_of(&keys, before) {
        deadline.check("a merge of what both contributed");
        thread::park_timeout(Duration::from_millis(500));
    }
    computer.says("window over", 1);
}

/// What a vehicle computer has told on its console: it is durable.
#[derive(Default)]
struct Told {
    windows: Vec<u64>,
    spans: u64,
}

impl Told {
    fn read(&mut self, said: &str) {
        let value = |line: &str, key: &str| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(key));
            word.and_then(|word| word.parse::<u64>().ok())
        };
        for line in said.lines() {
            if line.contains("window over") {
                self.windows.extend(value(line, "window="));
            }
            if line.contains("driven drive=") {
                self.spans = self.spans.max(value(line, "spans=").unwrap_or(0));
            }
        }
    }

    /// All that was told is there, whole and once.
    fn holds(&self, image: &Image, fleet: &Fleet, observer: &Observer) {
        let state = fleet.vehicle_path(0).join("state");
        image.read_state(&state);
        let kept: Vec<u64> =
            fleet.windows(0).iter().filter_map(|line| line["window"].as_u64()).collect();
        for window in &self.windows {
            assert!(kept.contains(window), "window {window} was told and is not in {kept:?}");
        }
        no_window_is_counted_twice(fleet, 0);
        // It may have said nothing yet: a window can end before its first claim.
        no_record_contradicts_another(fleet, 0, observer);
        let config = fleet.config(0).replay;
        let options =
            ReplayOptions { bytes_max: config.bytes_max, days_max: config.retention_days };
        let (replay, opened) = Replay::open(&state.join("replay"), &options).unwrap();
        assert!(opened.dropped.is_empty() && !opened.erased, "{opened:?}");
        assert!(
            replay.filled().spans as u64 >= self.spans,
            "{:?} of {}",
            replay.filled(),
            self.spans
        );
        if state.join("exchange").is_dir() {
            let vault = Vault::open(&state.join("exchange")).unwrap();
            assert!(vault.found().set_aside.is_none(), "{:?}", vault.found());
        }
    }
}

/// A number that is the same in every run (SplitMix64).
fn random(number: u64) -> u64 {
    let mut z = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
