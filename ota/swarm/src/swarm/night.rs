//! One window, from its opening to its last measurement.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use embassy_time::{Duration, Instant};
use shoal_wire::v1::{RefusalCode, RefusalFields, Rule, VoteFields};
use shoal_wire::{KeyId, Now, ParticleId, RecordId};

use super::consensus::Merging;
use super::deploy::Deploy;
use super::moving::Contender;
use super::paper::Walking;
use super::{Event, Flat, On, Output, Phase, Reject, Swarm, TermResult};
use crate::quorum::Elected;
use crate::records::When;
use crate::roster::part;
use crate::utility::Weighing;

/// A window begins with the records it has after this part of its time, if nobody says that they are all there.
const BEGIN_PART: u32 = 4;
/// Contributions that have not come after this part of a window's time are not waited for.
const FOLD_PART: u32 = 2;
/// What is left of a window's time when weights are searched for no more: the merge must still be claimed.
const CLAIM_PART: u32 = 4;

/// A window in progress.
#[derive(Debug)]
pub(super) struct Night {
    pub(super) window: u32,
    /// Whether anything can be fetched and published.
    pub(super) online: bool,
    /// Whether every record that was there has been taken in.
    pub(super) current: bool,
    /// Whether it begins with the records there are.
    pub(super) started: bool,
    pub(super) begin_by: Instant,
    pub(super) fold_by: Instant,
    /// Whether `fold_by` is over.
    pub(super) late: bool,
    pub(super) claim_by: Instant,
    /// Whether `claim_by` is over.
    pub(super) hurried: bool,
    /// Whether nothing is begun any more.
    pub(super) closing: bool,
    pub(super) begun: Option<Begun>,
    pub(super) measuring: Option<(u64, Job)>,
    pub(super) coding: Option<(u64, Coding)>,
    /// How far this vehicle went itself.
    pub(super) own_norm: f64,
}

/// What is known once the window's nonce is.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) weighing: Weighing,
    /// Total variation of the weights, to those of the last window taken part in.
    pub(super) variation: f64,
    /// The part of the pack that claims and votes of this window are measured on.
    pub(super) part: u8,
    pub(super) best: Option<Elected>,
    pub(super) worst: Option<Elected>,
    /// Whom the nonce asks for a contribution.
    pub(super) asked: BTreeSet<KeyId>,
    pub(super) votes: Vec<super::voting::Voting>,
    /// What may be moved to, once it is measured.
    pub(super) contenders: Vec<Contender>,
    /// What was measured to be no worse, by how much.
    pub(super) no_worse: Vec<(Contender, f64)>,
    pub(super) merging: Merging,
    /// Whether the vehicle folds if it finds nothing to follow…
    pub(super) stands_by: bool,
    /// …and whether it does now.
    pub(super) relieves: bool,
    /// Whether a contender was surely worse than what the vehicle has.
    pub(super) spoilt: bool,
    pub(super) walking: Walking,
    /// Whether it is decided where the vehicle tunes from.
    pub(super) decided: bool,
    pub(super) deploy: Deploy,
}

/// What is being measured.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// A nominee beside best.
    Vote(usize),
    /// A merge that the search for the window's merge asks for.
    Ask,
    /// The merge to claim.
    Claim,
    /// A contender beside what the vehicle has.
    Compare(Contender),
    /// What would be deployed.
    Deploy,
    /// The vehicle's particle beside the start adapter: whether it is one to keep away from.
    Role,
    /// The vehicle's particle, as it is claimed, beside its personal best.
    Own,
}

/// What is being coded.
#[derive(Clone, Debug)]
pub(super) enum Coding {
    /// A contribution of this difference.
    Contribution(Flat),
    /// The window's merge.
    Merge,
    /// The vehicle's particle.
    Own,
}

impl Begun {
    /// Best, x_p before there is one: what nominees are measured beside.
    pub(super) fn elected(&self) -> Option<ParticleId> {
        self.best.as_ref().map(|best| best.particle)
    }

    pub(super) fn utility(&self, terms: &[TermResult]) -> Option<f64> {
        let values: Vec<i16> = terms.iter().map(|term| term.value).collect();
        self.weighing.utility(&values)
    }

    /// Whether the weights are others than they were.
    pub(super) const fn utility_moved(&self) -> bool {
        self.variation > 0.0
    }

    /// How much better the candidate is than what it was measured beside.
    pub(super) fn gain(&self, terms: &[TermResult]) -> Option<f64> {
        let beside: Vec<i16> = terms.iter().map(|term| term.beside).collect();
        Some(self.utility(terms)? - self.weighing.utility(&beside)?)
    }
}

impl Swarm {
    /// What has happened so far. Before the first phase of a life nothing is too old: what is handed in then counted when the last one
    /// ended, best as its claim, header, votes and nonces have it however long it has been best.
    pub(super) fn when(&self, now: Now) -> When {
        let (utc_seconds, age_windows) =
            if self.awake { (now.utc.earliest_seconds(), self.age_windows) } else { (0, u32::MAX) };
        When { window: self.window, utc_seconds, age_windows }
    }

    pub(super) fn phase(&mut self, now: Now, phase: Phase) {
        match phase {
            Phase::Open { window, closes_at } => self.open(now, window, closes_at),
            Phase::Closing => {
                if let Some(night) = &mut self.night {
                    night.late = true;
                    night.hurried = true;
                    night.closing = true;
                }
            }
            Phase::Closed => self.close(),
        }
    }

    fn open(&mut self, now: Now, window: u32, closes_at: Instant) {
        self.awake = true;
        if let Some(night) = self.night.as_mut().filter(|night| night.window == window) {
            night.online = true;
            night.late = now.since_boot >= night.fold_by;
            night.hurried = now.since_boot >= night.claim_by;
            night.closing = false;
            // The shell let go of it when the window was closing.
            self.store.cut();
            return;
        }
        // A clock that went back opens nothing: what was done in a window is done.
        if window < self.window {
            return;
        }
        self.close();
        if let Some(attended) = self.state.attended {
            self.records.attend(attended);
        }
        self.before = self.window.min(window.saturating_sub(1));
        self.window = window;
        self.state.window = window;
        let left = closes_at.saturating_duration_since(now.since_boot);
        let part =
            |of: u32| Duration::from_ticks(left.as_ticks().checked_div(of.into()).unwrap_or(0));
        let after = |of: u32| now.since_boot.saturating_add(part(of));
        self.night = Some(Night {
            window,
            online: true,
            current: false,
            started: false,
            begin_by: after(BEGIN_PART),
            fold_by: after(FOLD_PART),
            late: false,
            claim_by: closes_at.saturating_sub(part(CLAIM_PART)),
            hurried: false,
            closing: false,
            begun: None,
            measuring: None,
            coding: None,
            own_norm: 0.0,
        });
        self.records.expire(&self.when(now), &self.held());
        self.store.begin(&self.needed());
        self.keep_state();
    }

    fn close(&mut self) {
        self.store.cut();
        let Some(night) = &mut self.night else { return };
        night.online = false;
        night.late = true;
        night.hurried = true;
        night.closing = true;
        // A window without a nonce is one that only this vehicle's clock has seen.
        let attended = night.current && self.records.nonce_of(night.window).is_some();
        if attended && self.state.attended != Some(night.window) {
            self.state.attended = Some(night.window);
            self.keep_state();
        }
    }

    /// Goes on as far as it can with what is there.
    pub(super) fn advance(&mut self, now: Now) {
        let Some(mut night) = self.night.take() else { return };
        night.late |= now.since_boot >= night.fold_by;
        night.hurried |= now.since_boot >= night.claim_by;
        night.started |= night.current || now.since_boot >= night.begin_by;
        if night.begun.is_none() && night.started {
            night.begun = self.begin(&night);
        }
        if let Some(mut begun) = night.begun.take() {
            while self.progress(&mut night, &mut begun) {}
            night.begun = Some(begun);
        }
        self.night = Some(night);
    }

    /// One thing more; false when there is nothing to do but wait.
    fn progress(&mut self, night: &mut Night, begun: &mut Begun) -> bool {
        let ruled = match self.document.rule {
            Rule::Consensus(rule) => self.merge(night, begun, &rule),
            Rule::Paper(rule) => self.walk(night, begun, &rule),
            Rule::Coefficients => false,
        };
        // Each measures one thing at a time; votes first: others wait for them.
        self.vote(night, begun)
            || ruled
            || self.compare(night, begun)
            || self.decide(night, begun)
            || self.deploy(night, begun)
    }

    fn begin(&mut self, night: &Night) -> Option<Begun> {
        let window = night.window;
        let nonce = *self.records.nonce_of(window)?;
        let quorum = self.quorum(window)?;
        let (best, worst) = (quorum.best(), quorum.worst());
        let nominees = window.checked_sub(1).map(|before| quorum.nominees(before));
        let aside = quorum.quarantined(window);
        let judged = window.saturating_sub(2);
        let accused = [
            (RefusalCode::FalseClaim, quorum.broken(judged)),
            (RefusalCode::Missing, quorum.withheld(judged)),
        ];
        let misvoted = quorum.misvoted(judged);
        let weighing = quorum.weighing().clone();
        let before = self.weighed.replace(weighing.clone());
        let before = before.or_else(|| self.utility.at(self.before));
        let variation = before.map_or(1.0, |before| before.variation(&weighing));
        let asked = self.roster.at(window).asked(&nonce, usize::from(self.document.asked), &aside);
        let votes = self.drawn(&nonce, nominees.unwrap_or_default(), &aside);
        for (code, accused) in accused {
            self.accuse(judged, &accused, code);
        }
        self.accuse_votes(judged, &misvoted);
        self.remember_best(window, best.as_ref());
        let particle = |elected: &Option<Elected>| elected.as_ref().map(|elected| elected.particle);
        self.say(Output::Event(Event::Began {
            window,
            best: particle(&best),
            worst: particle(&worst),
            votes: votes.len(),
            asked: asked.contains(&self.vehicle),
        }));
        self.excite(window, variation);
        let contenders = self.elected_contender(best.as_ref());
        Some(Begun {
            weighing,
            variation,
            part: part(&nonce),
            best,
            worst,
            asked,
            votes,
            contenders,
            no_worse: Vec::new(),
            merging: Merging::default(),
            stands_by: false,
            relieves: false,
            spoilt: false,
            walking: Walking::default(),
            decided: false,
            deploy: Deploy::default(),
        })
    }

    /// Says aloud whose claims of that window count against them.
    fn accuse(&mut self, window: u32, accused: &BTreeSet<KeyId>, code: RefusalCode) {
        let claims: Vec<RecordId> = self
            .records
            .claims(window)
            .filter(|claim| accused.contains(&claim.signer) && claim.signer != self.vehicle)
            .map(|claim| claim.id)
            .collect();
        for claim in claims {
            self.refuse(claim, code);
        }
    }

    /// Says aloud whose votes on the nominees of that window count against them.
    fn accuse_votes(&mut self, window: u32, misvoted: &BTreeSet<(ParticleId, KeyId)>) {
        let votes = self.records.votes(window.saturating_add(1));
        let votes: Vec<RecordId> = votes
            .filter(|vote| misvoted.contains(&(vote.body.nominee, vote.signer)))
            .filter(|vote| vote.signer != self.vehicle)
            .map(|vote| vote.id)
            .collect();
        for vote in votes {
            self.refuse(vote, RefusalCode::FalseVote);
        }
    }

    pub(super) fn refuse(&mut self, record: RecordId, code: RefusalCode) {
        let (window, code) = (self.window, code.number());
        self.say(Output::Refusal(RefusalFields { window, record, code }));
    }

    /// Asks for a measurement. One at a time: a vehicle has one engine.
    pub(super) fn measure(
        &mut self,
        night: &mut Night,
        job: Job,
        candidate: Flat,
        beside: Option<Flat>,
        on: On,
    ) {
        let id = self.next_job();
        let awaited = !matches!(&job, Job::Deploy);
        night.measuring = Some((id, job));
        self.say(Output::Measure { job: id, candidate, beside, on, awaited });
    }

    pub(super) fn measured(&mut self, id: u64, terms: Option<&[TermResult]>) -> Result<(), Reject> {
        let Some(mut night) = self.night.take() else { return Err(Reject::NotAsked) };
        let waited = night.measuring.as_ref().is_some_and(|(waited, _job)| *waited == id);
        let job = night.measuring.take_if(|_measuring| waited).map(|(_id, job)| job);
        let taken = match (job, night.begun.take()) {
            (Some(job), Some(mut begun)) => {
                self.result(&mut night, &mut begun, job, terms);
                night.begun = Some(begun);
                Ok(())
            }
            (_none, begun) => {
                night.begun = begun;
                Err(Reject::NotAsked)
            }
        };
        self.night = Some(night);
        taken
    }

    fn result(
        &mut self,
        night: &mut Night,
        begun: &mut Begun,
        job: Job,
        terms: Option<&[TermResult]>,
    ) {
        let on_own = matches!(&job, Job::Deploy) && begun.deploy.on_own();
        // Another number of terms: of a utility document that has been replaced meanwhile.
        let count = if on_own { 1 } else { self.utility.terms().len() };
        let terms = terms.filter(|terms| terms.len() == count);
        match job {
            Job::Vote(index) => self.voted(night, begun, index, terms),
            Job::Ask => begun.answered(terms),
            Job::Claim => self.claim_merge(night, begun, terms),
            Job::Compare(contender) => begun.compared(contender, self.conduct.second_look, terms),
            Job::Deploy => begun.deployed(terms),
            Job::Role => self.role_known(night, begun, terms),
            Job::Own => self.claim_own(night, begun, terms),
        }
    }

    pub(super) fn coded(
        &mut self,
        id: u64,
        coded: Option<(ParticleId, &Flat, Option<u8>)>,
    ) -> Result<(), Reject> {
        let Some(mut night) = self.night.take() else { return Err(Reject::NotAsked) };
        let waited = night.coding.as_ref().is_some_and(|(waited, _coding)| *waited == id);
        let coding = night.coding.take_if(|_coding| waited).map(|(_id, coding)| coding);
        let taken = match (coding, night.begun.take()) {
            (Some(coding), Some(mut begun)) => {
                match coding {
                    Coding::Contribution(meant) => self.contributed(&mut night, &meant, coded),
                    Coding::Merge => self.merged(&mut begun, coded),
                    Coding::Own => self.own_coded(&mut begun, coded),
                }
                night.begun = Some(begun);
                Ok(())
            }
            (_none, begun) => {
                night.begun = begun;
                Err(Reject::NotAsked)
            }
        };
        self.night = Some(night);
        taken
    }

    /// A vote of this vehicle stands on the broker once it is published; it is never made twice.
    pub(super) fn publish_vote(&mut self, vote: VoteFields) {
        let mut voted = match self.state.voted.take() {
            Some((window, voted)) if window == vote.window => voted,
            Some(_) | None => Vec::new(),
        };
        voted.push(vote.nominee);
        self.state.voted = Some((vote.window, voted));
        self.keep_state();
        self.say(Output::Vote(vote));
    }
}
