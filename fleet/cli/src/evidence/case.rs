//! A campaign's record from the journal: every record in it is checked again, and nothing else is believed.

use std::collections::BTreeMap;

use shoal_shadow::digits::{hash, hex};
use shoal_swarm::campaign::{self, Campaign, Outcome};
use shoal_swarm::inbox;
use shoal_swarm::keyring::Keyring;
use shoal_swarm::reinstated;
use shoal_vehicle::exchange::key::{received, verified};
use shoal_wire::v1::{Presence, Refusal, RefusalCode, Roster, SwarmDocumentFields};
use shoal_wire::{KeyId, PublicKey, Topic, Verified};

use super::record::{
    Approval, Campaign as Described, Compatibility, Journal, Keys, Order, Record, Reinstated, Said,
    Stage, Target,
};
use crate::fleet::journal::{Line, Read};
use crate::output::Failure;

/// The record of this campaign.
///
/// # Errors
/// When a line holds no record of who may sign it, or the campaign is not in the journal.
pub(super) fn record(keys: &Keys, number: u32, journal: &Read) -> Result<Record, Failure> {
    let key = |text: &str| -> Result<PublicKey, Failure> {
        let bytes = hash(text).ok_or("a key is 64 hexadecimal digits")?;
        Ok(PublicKey::decode(&bytes)?)
    };
    let mut case = Case {
        number,
        keys: keys.clone(),
        approver: key(&keys.approver)?,
        keyring: Keyring::new(key(&keys.authority)?, key(&keys.timekeeper)?),
        head: Vec::new(),
        swarm: None,
        newest: BTreeMap::new(),
        campaign: None,
        orders: Vec::new(),
        reinstated: Vec::new(),
        said: BTreeMap::new(),
    };
    for line in &journal.lines {
        case.line(line).map_err(|failure| format!("line {}: {failure}", line.number + 1))?;
    }
    case.record(journal)
}

/// What is known so far.
struct Case {
    number: u32,
    keys: Keys,
    approver: PublicKey,
    keyring: Keyring,
    /// The newest roster's envelope.
    head: Vec<u8>,
    swarm: Option<SwarmDocumentFields>,
    /// By topic, the counter of the last record.
    newest: BTreeMap<String, u64>,
    campaign: Option<Campaign>,
    orders: Vec<Order>,
    reinstated: Vec<Reinstated>,
    said: BTreeMap<KeyId, Vec<Said>>,
}

impl Case {
    fn line(&mut self, line: &Line) -> Result<(), Failure> {
        let bytes = line.bytes();
        let topic = Topic::decode(&line.topic)?;
        let record = inbox::read(&topic, &bytes, &self.keyring)?;
        let counter = record.head().counter;
        if self.newest.insert(line.topic.clone(), counter).is_some_and(|newest| newest >= counter) {
            return Err(
                format!("a record of {} that is older than the one before", line.topic).into()
            );
        }
        match record {
            inbox::Record::Roster(head) => {
                self.keyring.head(&head)?;
                self.head = bytes.clone();
            }
            inbox::Record::RosterPage(page) => {
                let head = verified::<Roster<'_>>(&self.head, &self.keyring)?;
                self.keyring.page(&head, &page)?;
            }
            inbox::Record::SwarmDocument(document) => self.swarm = Some(*document.body().fields()),
            inbox::Record::Document(document) => {
                let fields = document.body().fields();
                let authority = document.head().key == self.keyring.authority();
                if authority && fields.name == campaign::NAME {
                    let (fleet, region) = (&self.keys.fleet, &self.keys.region);
                    let campaign = Campaign::decode(fields.bytes, self.approver)?;
                    // One journal tells of the campaigns of all regions.
                    let of = if campaign.plan.number == self.number {
                        region.clone()
                    } else {
                        campaign.plan.region.clone()
                    };
                    let campaign = campaign.of(fleet, &of)?;
                    self.order(line.at_ms, document.head().counter, campaign);
                }
                if authority && fields.name == reinstated::NAME {
                    let orders = reinstated::Reinstated::decode(fields.bytes)?;
                    self.reinstate(line.at_ms, document.head().counter, orders.orders());
                }
            }
            inbox::Record::Presence(presence) => self.presence(line.at_ms, &presence),
            inbox::Record::Refusal(refusal) => self.refusal(line.at_ms, &refusal),
            inbox::Record::ParticleHeader(_)
            | inbox::Record::WindowPlan(_)
            | inbox::Record::UtilityDocument(_) => {}
            inbox::Record::Claim(_) | inbox::Record::Vote(_) | inbox::Record::Nonce(_) => {
                return Err("a record that no journal holds".into());
            }
        }
        Ok(())
    }

    fn order(&mut self, at_ms: u64, counter: u64, campaign: Campaign) {
        let (number, order) = (campaign.plan.number, campaign.order);
        if number == self.number {
            self.campaign = Some(campaign);
        } else if self.campaign.is_none() {
            return;
        }
        self.orders.push(Order { at_ms, counter, order: told(self.number, number, order) });
    }

    /// What this document orders that none before did.
    fn reinstate(&mut self, at_ms: u64, counter: u64, orders: &[(KeyId, u32)]) {
        for (vehicle, from_window) in orders {
            let (id, from_window) = (vehicle.to_string(), *from_window);
            let before = |one: &Reinstated| (&one.id, one.from_window) == (&id, from_window);
            if !self.reinstated.iter().any(before) {
                self.reinstated.push(Reinstated { at_ms, counter, id, from_window });
            }
        }
    }

    fn presence(&mut self, at_ms: u64, presence: &Verified<'_, Presence>) {
        let Some(campaign) = &self.campaign else { return };
        let fields = presence.body().fields();
        let keeps = fields.adapter == Some(campaign.plan.particle);
        let said = self.said.entry(presence.head().key).or_default();
        let kept = said.last().is_some_and(|last| last.what == KEPT);
        if keeps != kept {
            let what = if keeps { KEPT } else { WENT_BACK }.to_owned();
            said.push(Said { at_ms, what, software: Some(fields.software.to_string()) });
        }
    }

    fn refusal(&mut self, at_ms: u64, refusal: &Verified<'_, Refusal>) {
        let Some(campaign) = &self.campaign else { return };
        let fields = refusal.body().fields();
        let Some(code) = RefusalCode::from_number(fields.code) else { return };
        if Outcome::refused(code).is_some() && fields.record == received(campaign.approval()) {
            let said = self.said.entry(refusal.head().key).or_default();
            said.push(Said { at_ms, what: code.name().to_owned(), software: None });
        }
    }

    /// What came of it at each vehicle, as it stands. That it went back for a reason stays true, as vehicles have it.
    fn outcomes(&self) -> BTreeMap<KeyId, Outcome> {
        let outcomes = self.said.iter().filter_map(|(vehicle, said)| {
            let refused = said.iter().any(|said| ![KEPT, WENT_BACK].contains(&said.what.as_str()));
            let kept = said.last()?.what == KEPT;
            let outcome = match (refused, kept) {
                (true, _) => Outcome::GoneBack,
                (false, true) => Outcome::Kept,
                (false, false) => return None,
            };
            Some((*vehicle, outcome))
        });
        outcomes.collect()
    }

    fn record(mut self, journal: &Read) -> Result<Record, Failure> {
        let number = self.number;
        let Some(campaign) = self.campaign.take() else {
            return Err(format!("campaign {number} is not in the journal").into());
        };
        let plan = &campaign.plan;
        let roster = self.keyring.roster();
        let drawn = plan.draw(roster, self.keys.region_number);
        let progress = plan.progress(&drawn, &self.outcomes());
        let approval = verified::<shoal_wire::v1::Document<'_>>(
            campaign.approval(),
            &shoal_vehicle::exchange::key::Own(self.approver),
        )?;
        let stages = plan.stages.iter().zip(&progress.stages);
        let numbered = roster.vehicles();
        let times = || journal.lines.iter().map(|line| line.at_ms);
        Ok(Record {
            schema: 1,
            keys: self.keys,
            campaign: described(plan),
            compatibility: compatibility(plan, self.swarm),
            approval: Approval {
                key: approval.head().key.to_string(),
                record: received(campaign.approval()).to_string(),
                signed_at_ms: approval.head().counter,
                until_s: campaign.approved_until_s,
            },
            orders: self.orders,
            reinstated: self.reinstated,
            stages: stages
                .map(|(stage, stands)| Stage {
                    share: stage.share,
                    kept_min: stage.kept_min,
                    gone_back_max: stage.gone_back_max,
                    vehicles: stands.vehicles,
                    kept: stands.kept,
                    gone_back: stands.gone_back,
                })
                .collect(),
            targets: numbered
                .map(|(number, id)| Target {
                    number,
                    id: id.to_string(),
                    stage: drawn.of(id),
                    said: self.said.get(&id).cloned().unwrap_or_default(),
                })
                .collect(),
            journal: Journal {
                lines: journal.lines.len(),
                first_ms: times().next().unwrap_or(0),
                last_ms: times().next_back().unwrap_or(0),
                head: journal.head.clone(),
            },
            bill_of_materials: super::BILL.to_owned(),
            bill_sha256: None,
            other_bills: Vec::new(),
        })
    }
}

/// An order of any campaign in the words of this one's record: vehicles go by one, and another, also an earlier one, takes its place.
fn told(this: u32, number: u32, order: campaign::Order) -> String {
    if number != this {
        return format!("campaign {number} takes its place");
    }
    let order = match order {
        campaign::Order::Run => "run",
        campaign::Order::Pause => "pause",
        campaign::Order::Abort => "abort",
        campaign::Order::RollBack => "roll back",
    };
    order.to_owned()
}

fn described(plan: &campaign::Plan) -> Described {
    Described {
        number: plan.number,
        particle: plan.particle.to_string(),
        digest: hex(&plan.digest()),
        moments_min: plan.watch.moments_min,
        worse_max: f64::from(plan.watch.worse_max) / 1e4,
        apart_max: f64::from(plan.watch.apart_max) / 1e4,
        latency_max: f64::from(plan.watch.latency_max) / 1e3,
    }
}

/// Whether the adapter is for what the fleet carries.
fn compatibility(plan: &campaign::Plan, swarm: Option<SwarmDocumentFields>) -> Compatibility {
    let fits = |swarm: SwarmDocumentFields| {
        (swarm.base_model, swarm.layout) == (plan.base_model, plan.layout)
    };
    Compatibility {
        base_model: plan.base_model.to_string(),
        layout: plan.layout.to_string(),
        fleet_base_model: swarm.map(|swarm| swarm.base_model.to_string()),
        fleet_layout: swarm.map(|swarm| swarm.layout.to_string()),
        compatible: swarm.is_some_and(fits),
    }
}

/// What a vehicle says that uses the adapter…
const KEPT: &str = "kept";
/// …and one that used it, and uses another.
const WENT_BACK: &str = "went back";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_for_any_other_campaign_takes_the_place_of_this_one() {
        let told = |number| told(2, number, campaign::Order::RollBack);
        assert_eq!(told(2), "roll back");
        assert_eq!(told(3), "campaign 3 takes its place");
        assert_eq!(told(1), "campaign 1 takes its place");
    }
}
