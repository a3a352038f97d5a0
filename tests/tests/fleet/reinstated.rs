//! A vehicle that was found out stands aside, and is in good standing again once the authority says so.

use std::process::Command;

use serde_json::Value;
use shoal_swarm::records::STANDING_WINDOWS;
use shoal_tests::brokers::{Mosquitto, TestBroker};
use shoal_tests::clock::until;
use shoal_tests::fleet::{program, text};

use crate::hostile::Hostile;

/// The windows that vehicle 0 began, and whether the hostile one stood aside in them.
fn began(hostile: &Hostile) -> Vec<(u32, bool)> {
    let liar = hostile.key.public().id().to_string();
    let log = std::fs::read_to_string(hostile.fleet.vehicle_path(0).join("log"));
    let log = log.unwrap_or_default();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = lines.map(|line| line["fields"].clone());
    let began = said.filter(|said| said["message"] == "began");
    let aside = |said: &Value| said["quarantined"].as_str().unwrap().contains(&liar);
    began.map(|said| (said["window"].as_u64().unwrap() as u32, aside(&said))).collect()
}

#[test]
fn who_stands_aside_is_in_good_standing_again_by_the_authoritys_word() {
    let Some(broker) = Mosquitto::start("") else { return };
    // A majority of voters is honest: two of the three that are drawn.
    let Some(mut hostile) = Hostile::start(3, broker.address()) else { return };
    // Its next claim would take the place of this one on the board, where who reinstates looks for what was found.
    let mut lies_from = 0;
    let aside = hostile.every_window(
        "it stands aside",
        |hostile, window, nonce| {
            if window >= lies_from {
                hostile.claims_falsely(window, nonce);
                lies_from = window + 4;
            }
        },
        |all| began(all).into_iter().find_map(|(window, aside)| aside.then_some(window)),
    );

    let (folder, url) = (hostile.fleet.path(), format!("mqtt://{}", broker.address()));
    let args = ["fleet", "reinstate", text(&folder), "--vehicle", "3", "--broker", &url];
    let output = Command::new(program("shoal")).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let warned = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{warned}");
    // Who signs sees first what was found.
    assert!(warned.contains("broken claim"), "{warned}");
    let from = said.split("from window ").nth(1).and_then(|rest| rest.split(' ').next());
    let from: u32 = from.unwrap().parse().unwrap();

    let again = until("it is in good standing", || {
        let good = |(window, stands): (u32, bool)| (window > aside && !stands).then_some(window);
        began(&hostile).into_iter().find_map(good)
    });
    assert!(from <= again && again < aside + STANDING_WINDOWS, "{aside} {from} {again}");
    hostile.goes_on_after(again);
}
