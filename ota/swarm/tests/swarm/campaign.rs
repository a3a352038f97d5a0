//! Campaigns: what two people signed runs, stage by stage, and nothing else.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shoal_swarm::campaign::{
    ALL, APPROVAL, Campaign, Duty, Mine, Order, Outcome, Plan, RejectCampaign, RejectPlan, Stage,
    Stands, Watch,
};
use shoal_wire::v1::{Document, DocumentFields};
use shoal_wire::{KeyId, Kind, LayoutHash, ModelHash, ParticleId, PublicKey, SecretKey, seal};

use shoal_swarm::roster::Roster;

use crate::make::{roster, vehicle};

fn second(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn approver() -> PublicKey {
    second(1).public()
}

fn plan() -> Plan {
    let stage = |share| Stage { share, kept_min: 800, gone_back_max: 100 };
    Plan {
        number: 7,
        fleet: "trial".to_owned(),
        region: "region-0".to_owned(),
        particle: ParticleId::new([1; 32]),
        base_model: ModelHash::new([2; 32]),
        layout: LayoutHash::new([3; 32]),
        stages: [50, 300, ALL].map(stage).to_vec(),
        watch: Watch { moments_min: 600, worse_max: 0, apart_max: 2_000, latency_max: 1_100 },
    }
}

fn approval(key: &SecretKey, name: &str, bytes: &[u8]) -> Vec<u8> {
    let document = Document::new(DocumentFields { name, version: 1, bytes }).unwrap();
    let mut buffer = vec![0; Kind::Document.envelope_bytes_max()];
    seal(&document, 1, 2_000, key, &mut buffer).unwrap().bytes().to_vec()
}

fn approved(plan: Plan, order: Order) -> Campaign {
    let approval = approval(&second(1), APPROVAL, &plan.digest());
    Campaign::new(plan, order, &approval, approver()).unwrap()
}

#[test]
fn what_nobody_approved_is_no_campaign() {
    let plan = plan();
    let new = |approval: &[u8]| Campaign::new(plan.clone(), Order::Run, approval, approver());
    assert!(new(&approval(&second(1), APPROVAL, &plan.digest())).is_ok());
    let other = approval(&second(2), APPROVAL, &plan.digest());
    assert!(matches!(new(&other), Err(RejectCampaign::Approval(_))), "by another key");
    assert!(matches!(new(&[]), Err(RejectCampaign::Approval(_))));
    let manifest = approval(&second(1), "pack", &plan.digest());
    assert_eq!(new(&manifest), Err(RejectCampaign::OtherPlan), "a signature of something else");
    let mut wider = plan.clone();
    wider.stages[0].share = 60;
    let of_wider = approval(&second(1), APPROVAL, &wider.digest());
    assert_eq!(new(&of_wider), Err(RejectCampaign::OtherPlan), "whatever is changed");
}

#[test]
fn an_approval_counts_in_one_fleet() {
    let campaign = approved(plan(), Order::Run);
    assert!(campaign.clone().of("trial", "region-0").is_ok());
    assert_eq!(campaign.clone().of("trial", "region-1"), Err(RejectCampaign::OtherFleet));
    assert_eq!(campaign.of("real", "region-0"), Err(RejectCampaign::OtherFleet));
    let nameless = Plan { fleet: "no name".to_owned(), ..plan() };
    assert!(matches!(nameless.check(), Err(RejectPlan::Name(_))));
}

#[test]
fn an_order_needs_no_second_key_and_changes_no_plan() {
    let campaign = approved(plan(), Order::Run);
    let mut bytes = campaign.encode();
    assert_eq!(Campaign::decode(&bytes, approver()), Ok(campaign));
    bytes.push(0);
    assert_eq!(Campaign::decode(&bytes, approver()), Err(RejectCampaign::NotCanonical));
    let stopped = approved(plan(), Order::RollBack).encode();
    assert_eq!(Campaign::decode(&stopped, approver()).unwrap().plan, plan());
}

#[test]
fn a_plan_has_stages_that_grow_and_parts_of_a_thousand() {
    let with = |stages: Vec<Stage>| Plan { stages, ..plan() }.check();
    let stage = |share| Stage { share, kept_min: 0, gone_back_max: 0 };
    assert_eq!(with(vec![]), Err(RejectPlan::Stages { count: 0 }));
    assert_eq!(with(vec![stage(1); 9]), Err(RejectPlan::Stages { count: 9 }));
    let same = RejectPlan::Share { stage: 1, share: 5, before: 5 };
    assert_eq!(with(vec![stage(5), stage(5)]), Err(same));
    let more = RejectPlan::Share { stage: 0, share: 1_001, before: 0 };
    assert_eq!(with(vec![stage(1_001)]), Err(more));
    let kept = Stage { kept_min: 1_001, ..stage(5) };
    assert_eq!(with(vec![kept]), Err(RejectPlan::PerMille { stage: 0, value: 1_001 }));
    let watch = Watch { moments_min: 0, ..plan().watch };
    assert_eq!(Plan { watch, ..plan() }.check(), Err(RejectPlan::NoMoments));
}

/// The shares of a plan, drawn anew in each campaign.
#[test]
fn a_vehicle_is_in_one_stage_and_each_has_its_share() {
    let ids = || (0..2_000_u32).map(|number| KeyId::new(u64::from(number).to_le_bytes()));
    let roster = Roster::new(ids().collect()).unwrap();
    let other = Plan { number: 8, ..plan() }.draw(&roster, 0);
    let drawn = plan().draw(&roster, 0);
    let count = |stage| ids().filter(|vehicle| drawn.of(*vehicle) == Some(stage)).count();
    assert_eq!([0, 1, 2].map(count), [100, 500, 1_400]);
    let moved = ids().filter(|vehicle| drawn.of(*vehicle) != other.of(*vehicle)).count();
    assert!(moved > 500, "{moved}");
    assert_eq!(drawn.of(KeyId::new([9; 8])), None, "not of the fleet");
    let mut canary = plan();
    canary.stages.truncate(1);
    let canary = canary.draw(&roster, 0);
    assert_eq!(ids().filter(|vehicle| canary.of(*vehicle).is_none()).count(), 1_900);
}

/// A campaign is for one region: whoever is in another neither waits for it nor is waited for.
#[test]
fn stages_are_drawn_of_the_vehicles_of_one_region() {
    let rows = (0..200).map(|number| (vehicle(number), u16::from(number % 4 == 0)));
    let roster = Roster::of_rows(rows.collect()).unwrap();
    let drawn = plan().draw(&roster, 1);
    let of = |number| drawn.of(vehicle(number)).is_some();
    assert!((0..200).all(|number| of(number) == (number % 4 == 0)));
    let counts = plan().progress(&drawn, &BTreeMap::new()).stages;
    assert_eq!(counts.iter().map(|stage| stage.vehicles).sum::<usize>(), 50);
    assert_eq!((roster.region(vehicle(4)), roster.region(vehicle(5))), (Some(1), Some(0)));
    assert_eq!(roster.region(vehicle(200)), None);
}

#[test]
fn the_smallest_fleet_has_a_canary() {
    for vehicles in 1..5 {
        let (roster, plan) = (roster(vehicles), plan());
        let drawn = plan.draw(&roster, 0);
        let first = (0..vehicles).filter(|number| drawn.of(vehicle(*number)) == Some(0)).count();
        assert_eq!(first, 1);
        // The others wait for it.
        let progress = plan.progress(&drawn, &BTreeMap::new());
        assert_eq!(progress.open, 1);
    }
}

#[test]
fn a_stage_opens_when_the_one_before_keeps_it_and_none_when_too_many_go_back() {
    let plan = plan();
    let drawn = plan.draw(&roster(200), 0);
    let of = |stage: usize| -> Vec<KeyId> {
        (0..200).map(vehicle).filter(|id| drawn.of(*id) == Some(stage)).collect()
    };
    let mut outcomes = BTreeMap::new();
    assert_eq!(plan.progress(&drawn, &outcomes).open, 1);
    let canary = of(0);
    assert!(canary.len() > 3, "{}", canary.len());
    for (index, vehicle) in canary.iter().enumerate() {
        outcomes.insert(*vehicle, Outcome::Kept);
        let progress = plan.progress(&drawn, &outcomes);
        let enough = (index + 1) * 1_000 >= canary.len() * 800;
        assert_eq!(progress.open, if enough { 2 } else { 1 });
    }
    let progress = plan.progress(&drawn, &outcomes);
    let all = Stands { vehicles: canary.len(), kept: canary.len(), gone_back: 0 };
    assert_eq!(progress.stages[0], all);
    // One in ten may go back, one more may not.
    let next = of(1);
    let may = next.len() / 10;
    for vehicle in &next[..may] {
        outcomes.insert(*vehicle, Outcome::GoneBack);
    }
    assert_eq!(plan.progress(&drawn, &outcomes).halted, None);
    outcomes.insert(next[may], Outcome::GoneBack);
    let progress = plan.progress(&drawn, &outcomes);
    assert_eq!((progress.halted, progress.open), (Some(1), 0));
    // Who is not on the roster says nothing.
    let strangers = BTreeMap::from([(KeyId::new([9; 8]), Outcome::GoneBack)]);
    assert_eq!(plan.progress(&drawn, &strangers).halted, None);
}

#[test]
fn a_vehicle_begins_in_its_stage_and_goes_back_when_it_is_told() {
    let drawn = plan().draw(&roster(200), 0);
    let progress = plan().progress(&drawn, &BTreeMap::new());
    let (first, later) = (Some(0), Some(1));
    let duty = |order, stage, mine| approved(plan(), order).duty(stage, &progress, mine, 1_000);
    assert_eq!(duty(Order::Run, first, Mine::Outside), Duty::Begin);
    assert_eq!(duty(Order::Run, later, Mine::Outside), Duty::Rest, "its stage is not open");
    let late = approved(plan(), Order::Run).duty(first, &progress, Mine::Outside, 2_001);
    assert_eq!(late, Duty::Rest, "an approval does not last for ever");
    for order in [Order::Pause, Order::Abort, Order::RollBack] {
        assert_eq!(duty(order, first, Mine::Outside), Duty::Rest);
        assert_eq!(duty(order, first, Mine::GoneBack), Duty::Rest);
    }
    assert_eq!(duty(Order::Run, first, Mine::GoneBack), Duty::Rest, "once is enough");
    assert_eq!(duty(Order::Pause, first, Mine::Watching), Duty::Rest);
    assert_eq!(duty(Order::Abort, first, Mine::Watching), Duty::GoBack);
    assert_eq!(duty(Order::Abort, first, Mine::Kept), Duty::Rest);
    assert_eq!(duty(Order::RollBack, first, Mine::Kept), Duty::GoBack);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _rejected = Campaign::decode(&bytes, approver());
    }

    #[test]
    fn a_changed_byte_is_no_campaign_or_another_order(at in 0_usize..200, by in 1_u8..) {
        let campaign = approved(plan(), Order::Run);
        let mut bytes = campaign.encode();
        let at = at % bytes.len();
        bytes[at] = bytes[at].wrapping_add(by);
        if let Ok(other) = Campaign::decode(&bytes, approver()) {
            prop_assert_eq!(other.plan, campaign.plan);
            prop_assert_ne!(other.order, Order::Run);
        }
    }
}
