//! What is known of a fleet: the five doors' half of the console. Messages of a broker go in, a [`View`] comes out.

mod history;
mod vehicles;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use shoal_swarm::campaign::{self, Campaign, Drawn, Order, Outcome};
use shoal_swarm::inbox::{Record, RejectMessage, read};
use shoal_swarm::keyring::Keyring;
use shoal_swarm::quorum::{Account, Fault, Finding, Quorum};
use shoal_swarm::records::{Records, RejectRecord, Shape, Signed, When, age_windows};
use shoal_swarm::reinstated::{self, Reinstated};
use shoal_swarm::utility::{Utility, Weighing};
use shoal_wire::v1::{
    Document, DocumentFields, ParticleHeader, RefusalCode, Role, Roster, RosterPage,
    SwarmDocumentFields, UtilityDocument, WindowPlanFields,
};
use shoal_wire::{Head, KeyId, Leaf, ParticleId, PublicKey, RecordId, Topic, Verified};

use self::vehicles::{Heard, Now, aside_until};
use crate::names;
use crate::publishers::Publishers;
use crate::refusals::Refusals;
use crate::view::{self, Counted, Found, Held, Maximised, Plan, Publisher, Refused, View, Window};

/// Windows that the page shows.
const WINDOWS_SHOWN: usize = 120;
/// So many windows ahead it is shown what will count.
const WINDOWS_AHEAD: u32 = 60;
/// Findings that the page shows.
const FINDINGS_SHOWN: usize = 100;
/// Refusals that the page shows.
const REFUSALS_SHOWN: usize = 50;
/// Bytes of messages that wait for the roster or a document.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A fleet as its records tell it.
#[derive(Debug)]
pub struct State {
    fleet: String,
    region: String,
    /// As the roster has it.
    region_number: u16,
    connected: bool,
    keyring: Keyring,
    /// The version and the envelope of the newest head, which its pages are checked against.
    head: Option<(u32, Vec<u8>)>,
    plan: Option<Calendar>,
    utility: Option<Utility>,
    /// What `utility` is of.
    terms: Option<UtilityDocument>,
    swarm: Option<SwarmDocumentFields>,
    records: Option<Records>,
    /// Headers that are too old to count, by where they stand: votes may name one of them as best.
    old: BTreeMap<(KeyId, u8), Signed<ParticleHeader>>,
    presences: BTreeMap<KeyId, Heard>,
    refusals: Refusals,
    publishers: Publishers,
    history: BTreeMap<u32, Window>,
    /// What each vehicle claimed last, by its key of now, and in which window: a place may be given to another.
    claimed: BTreeMap<KeyId, (u32, i32)>,
    authority: KeyId,
    approver: PublicKey,
    /// With the counter of its envelope.
    campaign: Option<(u64, Campaign)>,
    /// The campaign's stages, by the roster.
    drawn: Option<Drawn>,
    /// Whom the authority reinstated, with the counter of its document.
    reinstated: (Option<u64>, Reinstated),
    /// The window in which the history was written first: of those long before it records are gone.
    since: Option<u32>,
    /// The window in which the history was written last; `None`: records came since.
    written: Option<u32>,
    /// Messages that came before what they are checked by, with their topics.
    waiting: Vec<(String, Vec<u8>)>,
    waiting_bytes: usize,
}

/// The window plan, as it was signed.
#[derive(Clone, Copy, Debug)]
struct Calendar {
    /// Of its envelope.
    counter: u64,
    /// After it no window is open: UTC in seconds.
    ends_seconds: u64,
    plan: WindowPlanFields,
}

/// Whom to believe.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// The key that signs documents.
    pub authority: PublicKey,
    /// The key that signs nonces.
    pub timekeeper: PublicKey,
    /// The second key, which approves campaigns.
    pub approver: PublicKey,
}

impl State {
    /// A fleet of which nothing is known.
    pub fn new(fleet: &str, (region, region_number): (&str, u16), trust: Trust) -> Self {
        State {
            fleet: fleet.to_owned(),
            region: region.to_owned(),
            region_number,
            connected: false,
            keyring: Keyring::new(trust.authority, trust.timekeeper),
            head: None,
            plan: None,
            utility: None,
            terms: None,
            swarm: None,
            records: None,
            old: BTreeMap::new(),
            presences: BTreeMap::new(),
            refusals: Refusals::default(),
            publishers: Publishers::default(),
            history: BTreeMap::new(),
            claimed: BTreeMap::new(),
            authority: trust.authority.id(),
            approver: trust.approver,
            campaign: None,
            reinstated: (None, Reinstated::NOBODY),
            drawn: None,
            since: None,
            written: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
        }
    }

    /// Whether the broker is connected.
    pub fn connected(&mut self, connected: bool) {
        self.connected = connected;
    }

    /// Takes what stands at a topic; what is no record of this fleet is passed over. True: the view has changed.
    pub fn message(&mut self, utc_seconds: u64, topic: &str, bytes: &[u8]) -> bool {
        let Ok(place) = Topic::decode(topic) else { return false };
        let counts = place.region().text() == self.region || place.leaf().is_of_vehicles();
        if place.fleet().text() != self.fleet || !counts {
            return false;
        }
        // A chunk is no record.
        if place.leaf().kind().is_none() {
            return false;
        }
        self.publishers.stood(place.publisher(), bytes);
        let documents = self.documents();
        match self.take(utc_seconds, &place, bytes) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(Unready) => {
                self.wait(topic, bytes);
                return false;
            }
        }
        if self.documents() != documents {
            self.waited(utc_seconds);
        }
        // What a vehicle says of itself is in no election.
        if !matches!(place.leaf(), Leaf::Presence | Leaf::Refusal { .. }) {
            self.written = None;
        }
        true
    }

    /// The fleet at this moment.
    pub fn view(&mut self, utc_seconds: u64) -> View {
        let window = self.window(utc_seconds).unwrap_or(0);
        if self.written != Some(window) {
            self.remember(utc_seconds);
            self.written = Some(window);
        }
        let (best, worst) = self.elected(window);
        let ledger = self.ledger(window);
        let vehicles = self.rows(utc_seconds, window, &ledger, [&best, &worst]);
        let Now { online, doing, bytes_up, bytes_down } = self.now(utc_seconds, window);
        View {
            fleet: self.fleet.clone(),
            region: self.region.clone(),
            connected: self.connected,
            now_s: utc_seconds,
            rule: self.swarm.as_ref().map(|swarm| names::rule(&swarm.rule)),
            plan: self.plan.as_ref().map(|Calendar { plan, ends_seconds, .. }| Plan {
                epoch_s: plan.epoch_seconds,
                period_s: plan.period_seconds,
                open_s: plan.open_seconds,
                ends_s: *ends_seconds,
                up_bytes: plan.up_bytes_max,
                down_bytes: plan.down_bytes_max,
            }),
            utility: self.maximised(window),
            roster: self.keyring.roster().count(),
            online,
            doing,
            bytes_up,
            bytes_down,
            best,
            worst,
            vehicles,
            history: self.history.values().rev().take(WINDOWS_SHOWN).rev().cloned().collect(),
            findings: self.findings(window, &ledger),
            refusals: self.refused(),
            campaign: self.campaign(),
        }
    }

    /// What counts in this window, and how that moves as far as the document says.
    fn maximised(&self, window: u32) -> Option<Maximised> {
        let (utility, fields) = (self.utility.as_ref()?, self.terms.as_ref()?.fields());
        let shares = |window| {
            let weighing = utility.at(window);
            let shares = weighing.iter().flat_map(|weighing| weighing.shares());
            shares.map(|share| (share * 1e3).round() as u16).collect::<Vec<_>>()
        };
        let knots = fields.terms.iter().flat_map(|term| term.knots.iter().map(|knot| knot.window));
        // A knot that is years away is shown when it is nearer.
        let last = window.saturating_add(WINDOWS_AHEAD);
        let last = knots.filter(|knot| *knot <= last).max().unwrap_or(0).max(window);
        let first = window.saturating_sub(WINDOWS_SHOWN as u32);
        let windows: Vec<u32> = (first..=last.saturating_add(2)).collect();
        let now = shares(window);
        let terms = fields.terms.iter().enumerate().map(|(index, term)| Counted {
            name: term.name.as_str().to_owned(),
            share: now.get(index).copied().unwrap_or(0),
            gate: term.gate.map(i32::from),
        });
        let (version, terms) = (fields.version, terms.collect());
        let shares = windows.iter().map(|window| shares(*window)).collect();
        Some(Maximised { version, terms, windows, shares })
    }

    /// Whether the fleet's documents have come: the roster is whole, and there is a plan.
    pub fn is_known(&self) -> bool {
        self.keyring.roster().count() > 0 && !self.is_incomplete() && self.plan.is_some()
    }

    /// Which key may sign what.
    pub const fn keys(&self) -> &Keyring {
        &self.keyring
    }

    /// What is best at this time, and at whom it stands in which slot: who claimed it first, then all others that published it. Of
    /// several who made the same, only the first ones left its chunks. `None`: nothing is better than x_p.
    pub fn best(&self, utc_seconds: u64) -> Option<(ParticleId, Vec<(KeyId, u8)>)> {
        let window = self.window(utc_seconds)?;
        let records = self.records.as_ref()?;
        let best = self.quorum(window)?.best()?;
        let header = records.particle(best.window, best.claimant, best.role)?;
        let others = records.with_id(best.particle).into_iter();
        let others = others.map(|header| (header.signer, header.body.slot()));
        let mut places = vec![(best.claimant, header.body.slot())];
        places.extend(others.filter(|(publisher, _slot)| *publisher != best.claimant));
        Some((best.particle, places))
    }

    /// The campaign, by what vehicles say of themselves.
    fn campaign(&mut self) -> Option<view::Campaign> {
        let (_counter, campaign) = self.campaign.as_ref()?;
        let plan = &campaign.plan;
        let roster = self.keyring.roster();
        let drawn = self.drawn.get_or_insert_with(|| plan.draw(roster, self.region_number));
        let approval = RecordId::new(Sha256::digest(campaign.approval()).into());
        let mut outcomes: BTreeMap<KeyId, Outcome> = BTreeMap::new();
        for (vehicle, heard) in &self.presences {
            if heard.fields.adapter == Some(plan.particle) {
                outcomes.insert(*vehicle, Outcome::Kept);
            }
        }
        let gone_back = self.refusals.gone_back(approval);
        outcomes.extend(gone_back.map(|vehicle| (vehicle, Outcome::GoneBack)));
        let progress = plan.progress(drawn, &outcomes);
        let stages = plan.stages.iter().zip(&progress.stages);
        let order = names::order(campaign.order);
        let halted = progress.halted.filter(|_stage| campaign.order == Order::Run);
        Some(view::Campaign {
            number: plan.number,
            particle: plan.particle.to_string(),
            order,
            state: halted.map_or(order.to_owned(), |stage| format!("halted in stage {stage}")),
            approved_until_s: campaign.approved_until_s,
            stages: stages
                .map(|(stage, stands)| view::Stage {
                    share: stage.share,
                    kept_min: stage.kept_min,
                    gone_back_max: stage.gone_back_max,
                    vehicles: stands.vehicles,
                    kept: stands.kept,
                    gone_back: stands.gone_back,
                })
                .collect(),
            open: progress.open,
            halted: progress.halted,
        })
    }

    /// The window that is open at this time, or was last; `None` before the first, or without a plan. Of a plan that has ended its last
    /// one: none opened since.
    fn window(&self, utc_seconds: u64) -> Option<u32> {
        let Calendar { ends_seconds, plan, .. } = self.plan.as_ref()?;
        let since = utc_seconds.min(*ends_seconds).checked_sub(plan.epoch_seconds)?;
        u32::try_from(since / u64::from(plan.period_seconds)).ok()
    }

    fn when(&self, utc_seconds: u64) -> Option<When> {
        let period = self.plan.as_ref()?.plan.period_seconds;
        let window = self.window(utc_seconds).unwrap_or(0);
        Some(When { window, utc_seconds, age_windows: age_windows(period) })
    }

    /// What decides whether a record can be read: which roster is the newest and whether it is whole, and which documents are there.
    fn documents(&self) -> (Option<u32>, bool, bool, bool) {
        let newest = self.head.as_ref().map(|(version, _envelope)| *version);
        (newest, self.is_incomplete(), self.plan.is_some(), self.records.is_some())
    }

    /// True: something has changed.
    fn take(&mut self, now: u64, topic: &Topic<'_>, bytes: &[u8]) -> Result<bool, Unready> {
        let record = match read(topic, bytes, &self.keyring) {
            Ok(record) => record,
            Err(reject) => {
                let unknown = reject.code() == RefusalCode::UnknownKey;
                return if unknown && self.is_incomplete() { Err(Unready) } else { Ok(false) };
            }
        };
        Ok(match record {
            Record::WindowPlan(plan) => self.take_plan(&plan),
            Record::Roster(head) => {
                self.drawn = None;
                let taken = self.keyring.head(&head).is_ok();
                if taken {
                    self.head = Some((head.body().fields().version, bytes.to_vec()));
                }
                taken
            }
            Record::RosterPage(page) => self.take_page(topic, &page)?,
            Record::UtilityDocument(document) => {
                let new = Utility::new(document.body());
                let follows = self.utility.as_ref().is_none_or(|old| new.follows(old).is_ok());
                if follows {
                    self.utility = Some(new);
                    self.terms = Some(document.body().clone());
                }
                follows
            }
            Record::SwarmDocument(document) => self.take_swarm(document.body().fields()),
            Record::Presence(presence) => self.take_presence(now, &presence),
            Record::Refusal(refusal) => {
                let Leaf::Refusal { slot } = topic.leaf() else { return Ok(false) };
                let window = self.when(now).ok_or(Unready)?.window;
                self.refusals.take(&refusal, slot, window)
            }
            Record::Document(document) => self.take_named(&document),
            // What a campaign promotes: it stands outside the swarm.
            Record::ParticleHeader(header) if header.head().key == self.authority => false,
            Record::Claim(claim) => self.record(now, |set, when, ring| {
                set.claim(when, ring.roster(), &Signed::from(&claim))
            })?,
            Record::Vote(vote) => {
                let taken = self.record(now, |set, when, ring| {
                    set.vote(when, ring.roster(), &Signed::from(&vote))
                })?;
                if let Some(best) = vote.body().fields().best {
                    self.take_old(now, best)?;
                }
                taken
            }
            Record::ParticleHeader(header) => {
                let Leaf::Particle { slot } = topic.leaf() else { return Ok(false) };
                self.take_header(now, Signed::from(&*header), slot)?
            }
            Record::Nonce(nonce) => {
                self.record(now, |set, when, _ring| set.nonce(when, &Signed::from(&nonce)))?
            }
        })
    }

    /// Takes a header; one that is too old to count waits for a vote that takes its particle for best.
    fn take_header(
        &mut self,
        now: u64,
        header: Signed<ParticleHeader>,
        slot: u8,
    ) -> Result<bool, Unready> {
        let mut old = false;
        let taken = self.record(now, |set, when, ring| {
            let taken = set.header(when, ring.roster(), &header, slot);
            old = matches!(
                taken,
                Err(RejectRecord::WrongWindow { .. } | RejectRecord::Expired { .. })
            );
            taken
        })?;
        let place = (header.signer, slot);
        if old {
            self.old.insert(place, header);
        } else {
            self.old.remove(&place);
        }
        Ok(taken)
    }

    /// Takes the headers that waited for this particle to be named as best.
    fn take_old(&mut self, now: u64, best: ParticleId) -> Result<(), Unready> {
        let named = self.old.iter().filter(|(_place, header)| header.body.id() == best);
        let named: Vec<_> =
            named.map(|((_signer, slot), header)| (header.clone(), *slot)).collect();
        for (header, slot) in named {
            self.take_header(now, header, slot)?;
        }
        Ok(())
    }

    /// Puts a record into the set; what the set refuses changes nothing that is shown.
    fn record<E>(
        &mut self,
        now: u64,
        take: impl FnOnce(&mut Records, &When, &Keyring) -> Result<bool, E>,
    ) -> Result<bool, Unready> {
        let when = self.when(now).ok_or(Unready)?;
        let records = self.records.as_mut().ok_or(Unready)?;
        Ok(take(records, &when, &self.keyring).unwrap_or(true))
    }

    /// Takes a page of the newest head's. One of a roster after it waits for its own head.
    fn take_page(
        &mut self,
        topic: &Topic<'_>,
        page: &Verified<'_, RosterPage<'_>>,
    ) -> Result<bool, Unready> {
        self.drawn = None;
        let (newest, head) = self.head.as_ref().ok_or(Unready)?;
        let head = verified_head(topic, head, &self.keyring).ok_or(Unready)?;
        let taken = self.keyring.page(&head, page).is_ok();
        if !taken && page.body().fields().version > *newest { Err(Unready) } else { Ok(taken) }
    }

    fn take_plan(&mut self, plan: &Verified<'_, shoal_wire::v1::WindowPlan>) -> bool {
        let Head { counter, not_after_seconds: ends_seconds, .. } = *plan.head();
        let newer = self.plan.as_ref().is_none_or(|newest| counter > newest.counter);
        if newer {
            self.plan = Some(Calendar { counter, ends_seconds, plan: *plan.body().fields() });
        }
        newer
    }

    /// Takes a document of the authority's that is known by its name.
    fn take_named(&mut self, document: &Verified<'_, Document<'_>>) -> bool {
        let counter = document.head().counter;
        let DocumentFields { name, bytes, .. } = *document.body().fields();
        let newest = match name {
            campaign::NAME => self.campaign.as_ref().map(|(newest, _campaign)| *newest),
            reinstated::NAME => self.reinstated.0,
            _ => return false,
        };
        let authority = document.head().key == self.authority;
        if !authority || newest.is_some_and(|newest| counter <= newest) {
            return false;
        }
        if name == reinstated::NAME {
            let Ok(reinstated) = Reinstated::decode(bytes) else { return false };
            self.reinstated = (Some(counter), reinstated);
            return true;
        }
        let campaign = Campaign::decode(bytes, self.approver);
        let campaign = campaign.and_then(|campaign| campaign.of(&self.fleet, &self.region));
        let Ok(campaign) = campaign else { return false };
        self.campaign = Some((counter, campaign));
        self.drawn = None;
        true
    }

    fn take_swarm(&mut self, fields: &SwarmDocumentFields) -> bool {
        let newer = self.swarm.as_ref().is_none_or(|old| fields.version > old.version);
        if newer {
            let SwarmDocumentFields { base_model, layout, values, .. } = *fields;
            let shape = Shape { base_model, layout, values };
            // Particles of another model cannot be compared: their records begin anew.
            if self.records.as_ref().is_none_or(|records| records.shape() != shape) {
                self.records = Some(Records::new(shape));
            }
            self.swarm = Some(*fields);
        }
        newer
    }

    /// Whether a key that is not known may yet become known.
    fn is_incomplete(&self) -> bool {
        self.head.is_none() || self.keyring.missing().next().is_some()
    }

    fn wait(&mut self, topic: &str, bytes: &[u8]) {
        let more = topic.len() + bytes.len();
        if self.waiting_bytes + more <= WAITING_BYTES_MAX {
            self.waiting.push((topic.to_owned(), bytes.to_vec()));
            self.waiting_bytes += more;
        }
    }

    /// Reads again what had to wait.
    fn waited(&mut self, now: u64) {
        self.waiting_bytes = 0;
        for (topic, bytes) in std::mem::take(&mut self.waiting) {
            self.message(now, &topic, &bytes);
        }
    }

    /// The board as a window reads it, and whom the authority reinstated; `None`: what that takes has not come.
    fn quorum(&self, window: u32) -> Option<Quorum<'_>> {
        let (records, utility) = (self.records.as_ref()?, self.utility.as_ref()?);
        let quorum = Quorum::new(records, self.keyring.roster(), utility, window)?;
        Some(quorum.reinstating(&self.reinstated.1))
    }

    fn elected(&self, window: u32) -> (Option<Held>, Option<Held>) {
        let Some(quorum) = self.quorum(window) else { return (None, None) };
        let roster = self.keyring.roster();
        let held = |elected: shoal_swarm::quorum::Elected| {
            Some(Held {
                particle: elected.particle.to_string(),
                role: role_name(elected.role),
                window: elected.window,
                vehicle: roster.number(elected.claimant),
                value: units(quorum.weighing(), &elected.values)?,
            })
        };
        (quorum.best().and_then(held), quorum.worst().and_then(held))
    }

    /// What came of vehicles' words.
    fn ledger(&self, window: u32) -> BTreeMap<KeyId, Account> {
        self.quorum(window).map(|quorum| quorum.ledger(window)).unwrap_or_default()
    }

    fn findings(&self, window: u32, ledger: &BTreeMap<KeyId, Account>) -> Vec<Found> {
        let units = |gain: Option<f64>| gain.map(|gain| (gain * 1e4).round() as i32);
        let shown = |vehicle: Option<u32>, aside_until: Option<u32>, finding: &Finding| Found {
            window: finding.window,
            vehicle,
            particle: finding.particle.to_string(),
            fault: fault_name(finding.fault),
            said: units(finding.said),
            found: units(finding.found),
            found_by: finding.found_by,
            of: finding.of,
            counts: finding.counts,
            aside_until,
            reinstated_from: finding.reinstated_from,
        };
        let roster = self.keyring.roster();
        let of_vehicle = |(vehicle, account): (&KeyId, &Account)| {
            let (vehicle, until) = (roster.number(*vehicle), aside_until(account, window));
            let findings = account.findings.iter();
            findings.map(|finding| shown(vehicle, until, finding)).collect::<Vec<_>>()
        };
        // What was found against a vehicle is in the account of each name that it had.
        let now = ledger.iter().filter(|(vehicle, _)| roster.present(**vehicle) == Some(**vehicle));
        let mut findings: Vec<Found> = now.flat_map(of_vehicle).collect();
        findings.sort_by_key(|found| (Reverse(found.window), found.vehicle));
        findings.truncate(FINDINGS_SHOWN);
        findings
    }

    fn refused(&self) -> Vec<Refused> {
        let roster = self.keyring.roster();
        let publisher = |id: KeyId| Publisher { vehicle: roster.number(id), id: id.to_string() };
        let refused =
            |(&(window, signer, code), records): (&(u32, KeyId, RefusalCode), &BTreeSet<_>)| {
                let of: BTreeSet<KeyId> =
                    records.iter().filter_map(|record| self.publishers.of(*record)).collect();
                let (vehicle, times) = (roster.number(signer), records.len());
                let of = of.into_iter().map(publisher).collect();
                Refused { window, vehicle, why: code.name(), of, times }
            };
        self.refusals.shown(REFUSALS_SHOWN).into_iter().map(refused).collect()
    }
}

/// What came cannot be checked yet: the roster or a document is missing.
struct Unready;

fn verified_head<'a>(
    topic: &Topic<'_>,
    head: &'a [u8],
    keyring: &Keyring,
) -> Option<Verified<'a, Roster<'a>>> {
    let place = Topic::new(topic.fleet(), topic.region(), topic.publisher(), Leaf::Roster);
    let record: Result<Record<'a>, RejectMessage> = read(&place.ok()?, head, keyring);
    match record {
        Ok(Record::Roster(head)) => Some(head),
        Ok(_) | Err(_) => None,
    }
}

/// A utility in units of 1e-4.
fn units(weighing: &Weighing, values: &[i16]) -> Option<i32> {
    // In [−1, 1].
    weighing.utility(values).map(|utility| (utility * 1e4).round() as i32)
}

fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::Broken => "broken claim",
        Fault::Withheld => "withheld",
        Fault::FalseVote => "false vote",
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Best => "best",
        Role::Worst => "worst",
        Role::Contribution => "contribution",
        Role::Merge => "merge",
    }
}
