//! Campaigns: what two people signed runs, stage by stage, and nothing else.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shoal_swarm::campaign::{
    ALL, APPROVAL, Campaign, Duty, Mine, Order, Outcome, Plan, RejectCampaign, RejectPlan, Stage,
    Stands, Watch,
};
use shoal_wire::v1::{Document, DocumentFields};
use shoal_wire::{KeyId, Kind, LayoutHash, ModelHash, ParticleId, PublicKey, SecretKey, seal};

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
    let vehicles: Vec<KeyId> = (0..2_000_u32)
        .map(|number| KeyId::new([&[0; 4][..], &number.to_le_bytes()].concat().try_into().unwrap()))
        .collect();
    let mut counts = [0; 3];
    let mut moved = 0;
    let other = Plan { number: 8, ..plan() };
    for vehicle in &vehicles {
        let stage = plan().stage_of(*vehicle).unwrap();
        counts[stage] += 1;
        moved += usize::from(other.stage_of(*vehicle) != Some(stage));
    }
    let near = |count: usize, share: f64| (count as f64 / 2_000.0 - share).abs() < 0.03;
    assert!(near(counts[0], 0.05) && near(counts[1], 0.25) && near(counts[2], 0.7), "{counts:?}");
    assert!(moved > 500, "{moved}");
    let mut canary = plan();
    canary.stages.truncate(1);
    let outside = vehicles.iter().filter(|vehicle| canary.stage_of(**vehicle).is_none()).count();
    assert_eq!(outside, 2_000 - counts[0]);
}

#[test]
fn a_stage_opens_when_the_one_before_keeps_it_and_none_when_too_many_go_back() {
    let (plan, roster) = (plan(), roster(200));
    let of = |stage: usize| -> Vec<KeyId> {
        (0..200).map(vehicle).filter(|id| plan.stage_of(*id) == Some(stage)).collect()
    };
    let mut outcomes = BTreeMap::new();
    assert_eq!(plan.progress(&roster, &outcomes).open, 1);
    let canary = of(0);
    assert!(canary.len() > 3, "{}", canary.len());
    for (index, vehicle) in canary.iter().enumerate() {
        outcomes.insert(*vehicle, Outcome::Kept);
        let progress = plan.progress(&roster, &outcomes);
        let enough = (index + 1) * 1_000 >= canary.len() * 800;
        assert_eq!(progress.open, if enough { 2 } else { 1 });
    }
    let progress = plan.progress(&roster, &outcomes);
    let all = Stands { vehicles: canary.len(), kept: canary.len(), gone_back: 0 };
    assert_eq!(progress.stages[0], all);
    // One in ten may go back, one more may not.
    let next = of(1);
    let may = next.len() / 10;
    for vehicle in &next[..may] {
        outcomes.insert(*vehicle, Outcome::GoneBack);
    }
    assert_eq!(plan.progress(&roster, &outcomes).halted, None);
    outcomes.insert(next[may], Outcome::GoneBack);
    let progress = plan.progress(&roster, &outcomes);
    assert_eq!((progress.halted, progress.open), (Some(1), 0));
    // Who is not on the roster says nothing.
    let strangers = BTreeMap::from([(KeyId::new([9; 8]), Outcome::GoneBack)]);
    assert_eq!(plan.progress(&roster, &strangers).halted, None);
}

#[test]
fn a_vehicle_begins_in_its_stage_and_goes_back_when_it_is_told() {
    let (roster, outcomes) = (roster(200), BTreeMap::new());
    let progress = plan().progress(&roster, &outcomes);
    let in_stage = |stage| (0..200).map(vehicle).find(|id| plan().stage_of(*id) == Some(stage));
    let (first, later) = (in_stage(0).unwrap(), in_stage(1).unwrap());
    let duty = |order, vehicle, mine| approved(plan(), order).duty(vehicle, &progress, mine, 1_000);
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
