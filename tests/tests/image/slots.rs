//! Which of the two image slots boots.

use shoal_tests::brokers::{Embedded, TestBroker as _};
use shoal_tests::emulator::Image;
use shoal_tests::fleet::{Carries, Fleet, Plan};

use crate::learns::{PACKAGE, as_the_computer_sees_it};

/// An image whose data partition has a vehicle.
fn equipped() -> Option<(Image, Fleet, Embedded)> {
    let image = Image::copy_or_skip()?;
    let broker = Embedded::start();
    let plan = Plan { carries: Carries::Shipped, ..Plan::default() };
    let fleet = Fleet::make(&plan, broker.address())?;
    image.equip(&fleet.provision(0, PACKAGE, &as_the_computer_sees_it(broker.address())));
    Some((image, fleet, broker))
}

#[test]
fn a_slot_whose_agent_does_not_come_up_three_times_is_left_for_the_other_one() {
    let Some((image, _fleet, _broker)) = equipped() else { return };
    image.replace_in_slot_a("usr/bin/shoal-vehicle", "#!/bin/sh\necho broken\nexit 1\n");
    let computer = image.boot();
    computer.says("the agent is up", 1);
    let said = computer.cut();
    let told = ["slot a\n", "(3 of 3)", "slot a is left for the other one", "slot b\n"];
    let places = told.map(|line| said.find(&format!("shoal: {line}")).or(said.find(line)));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{said}");
    assert_eq!(said.matches("broken").count(), 3);
    let mut entries = image.entries();
    entries.sort();
    assert_eq!(entries, ["slot-a+0.conf", "slot-b.conf"]);
}

#[test]
fn a_slot_whose_computer_dies_three_times_is_left_for_the_other_one() {
    let Some((image, _fleet, _broker)) = equipped() else { return };
    for left in (0..3).rev() {
        let computer = image.boot();
        computer.says("shoal: slot a", 1);
        computer.cut();
        let counted = format!("slot-a+{left}-{}.conf", 3 - left);
        assert!(image.entries().contains(&counted), "{:?}", image.entries());
    }
    let computer = image.boot();
    computer.says("shoal: slot b", 1);
    computer.says("the agent is up", 1);
}
