//! Campaigns: which vehicles may use a promoted adapter, and when.
//!
//! Nothing learned activates itself. The authority names an adapter, stages and thresholds ([`Plan`]); a second key approves exactly
//! that; vehicles, stage by stage, watch the adapter in shadow, and keep it or go back by themselves. How far a campaign is
//! ([`Plan::progress`]) is a pure function of the plan, the roster and what vehicles said came of it: no server opens a stage.
//! The parts are those of ISO 24089 clause 9: targets, approval, stages, results, termination.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shoal_wire::v1::{Document, DocumentFields, RefusalCode, SLOTS};
use shoal_wire::{
    KeyId, Keys, Kind, Label, LayoutHash, ModelHash, ParticleId, PublicKey, RejectEnvelope,
    RejectLabel, Unverified,
};

use crate::roster::Roster;

/// Most stages of a campaign.
pub const STAGES_MAX: usize = 8;
/// All, per mille.
pub const ALL: u16 = 1_000;
/// The name of the document that carries a campaign.
pub const NAME: &str = "campaign";
/// The slot of that document.
pub const SLOT: u8 = 31;
/// A vehicle's slot of the refusal by which it says that it went back: the last, which no other refusal takes.
pub const REPORT_SLOT: u8 = SLOTS - 1;
/// The authority's slot of the particle that it promotes.
pub const PARTICLE_SLOT: u8 = 0;
/// The name of the document by which the second key approves one.
pub const APPROVAL: &str = "approval";

/// What two people sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its number: a campaign takes the place of those with lower ones.
    pub number: u32,
    /// The fleet that it is for, as topics name it: an approval counts in no other.
    pub fleet: String,
    /// Its region.
    pub region: String,
    /// The adapter, as a particle that the authority published.
    pub particle: ParticleId,
    /// The model it is for.
    pub base_model: ModelHash,
    /// How its values lie.
    pub layout: LayoutHash,
    /// Canary first: 1 to [`STAGES_MAX`], with growing shares, the last [`ALL`] or less.
    pub stages: Vec<Stage>,
    /// When a vehicle keeps it.
    pub watch: Watch,
}

/// A part of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Vehicles of this stage and those before, per mille of the roster.
    pub share: u16,
    /// The next stage opens when so many of this one keep the adapter, per mille.
    pub kept_min: u16,
    /// The campaign halts when more than so many of this one have gone back, per mille.
    pub gone_back_max: u16,
}

/// What a vehicle looks at, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Moments on the road, at least.
    pub moments_min: u32,
    /// How much worse than the active one it may predict next frames: of the skill 1 − Σ error ÷ Σ error of a copied frame, in
    /// units of 1e-4.
    pub worse_max: u16,
    /// How far apart the two may predict: the mean square of their difference ÷ that of a copied frame's error, in units of
    /// 1e-4.
    pub apart_max: u16,
    /// How long a prediction may take, per mille of the active one's.
    pub latency_max: u16,
}

/// What the authority says of a campaign, besides its plan: one key is enough to stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// It goes on.
    Run,
    /// Nobody begins; who watches goes on watching.
    Pause,
    /// Nobody begins, and who watches goes back.
    Abort,
    /// Who has kept it goes back, too.
    RollBack,
}

/// What came of it at one vehicle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It uses the adapter.
    Kept,
    /// It used it no longer than it took to see that it should not.
    GoneBack,
}

/// Who is in which stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    stages: BTreeMap<KeyId, usize>,
    /// How many there are in each.
    vehicles: Vec<usize>,
}

impl Drawn {
    /// The stage of a vehicle; `None`: it is in none, or not of the fleet.
    pub fn of(&self, vehicle: KeyId) -> Option<usize> {
        self.stages.get(&vehicle).copied()
    }
}

/// How far one stage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stands {
    /// Vehicles of this stage alone.
    pub vehicles: usize,
    /// Of these, such as keep it.
    pub kept: usize,
    /// Of these, such as have gone back.
    pub gone_back: usize,
}

/// How far a campaign is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// By stage.
    pub stages: Vec<Stands>,
    /// How many stages may begin.
    pub open: usize,
    /// The stage in which too many have gone back: nobody begins any more.
    pub halted: Option<usize>,
}

impl Outcome {
    /// What a vehicle says came of a campaign by refusing its particle for this reason; `None`: it says nothing of it.
    pub const fn refused(code: RefusalCode) -> Option<Self> {
        match code {
            RefusalCode::TrialWorse
            | RefusalCode::TrialApart
            | RefusalCode::TrialSlow
            | RefusalCode::TrialFailed => Some(Self::GoneBack),
            RefusalCode::TooShort
            | RefusalCode::TooLong
            | RefusalCode::Trailing
            | RefusalCode::Magic
            | RefusalCode::UnknownKind
            | RefusalCode::UnknownVersion
            | RefusalCode::Misplaced
            | RefusalCode::UnknownKey
            | RefusalCode::Signature
            | RefusalCode::Changed
            | RefusalCode::Malformed
            | RefusalCode::NotCanonical
            | RefusalCode::OutOfBounds
            | RefusalCode::Expired
            | RefusalCode::OldCounter
            | RefusalCode::WrongWindow
            | RefusalCode::Contradicted
            | RefusalCode::WrongBaseModel
            | RefusalCode::WrongLayout
            | RefusalCode::WrongPack
            | RefusalCode::WrongUtility
            | RefusalCode::WrongAnchor
            | RefusalCode::NotDrawn
            | RefusalCode::Missing
            | RefusalCode::ChunkHash
            | RefusalCode::ChunkMalformed
            | RefusalCode::NotFinite
            | RefusalCode::Norm
            | RefusalCode::NotTheMerge
            | RefusalCode::FalseClaim
            | RefusalCode::FalseVote
            | RefusalCode::Loss
            | RefusalCode::Quarantined => None,
        }
    }
}

/// Why a plan is none.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectPlan {
    #[error("{count} stages, 1 to {STAGES_MAX} allowed")]
    Stages { count: usize },
    #[error("stage {stage}: a share of {share} per mille does not follow one of {before}")]
    Share { stage: usize, share: u16, before: u16 },
    #[error("stage {stage}: {value} of a thousand")]
    PerMille { stage: usize, value: u16 },
    #[error("no moments to watch: at least one is needed")]
    NoMoments,
    #[error("no name of a fleet or region")]
    Name(#[from] RejectLabel),
}

/// Why bytes are no campaign that may run.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectCampaign {
    #[error("no campaign")]
    Malformed,
    #[error("its bytes are not the only ones of its content")]
    NotCanonical,
    #[error("its plan is none")]
    Plan(#[from] RejectPlan),
    #[error("its approval is no record")]
    Approval(#[from] RejectEnvelope),
    #[error("what is approved is another plan")]
    OtherPlan,
    #[error("it is for another fleet or region")]
    OtherFleet,
}

impl RejectCampaign {
    /// How a refusal names it.
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::Malformed => RefusalCode::Malformed,
            Self::NotCanonical => RefusalCode::NotCanonical,
            Self::Plan(_) => RefusalCode::OutOfBounds,
            Self::Approval(reject) => RefusalCode::from(*reject),
            Self::OtherPlan => RefusalCode::Signature,
            Self::OtherFleet => RefusalCode::Misplaced,
        }
    }
}

/// The second key, which signs approvals and nothing else.
struct Approver(PublicKey);

impl Keys for Approver {
    fn find(&self, id: KeyId, kind: Kind) -> Option<PublicKey> {
        (kind == Kind::Document && id == self.0.id()).then_some(self.0)
    }
}

impl Plan {
    /// A plan within its bounds.
    ///
    /// # Errors
    /// [`RejectPlan`] names the first bound that is broken.
    pub fn check(&self) -> Result<(), RejectPlan> {
        let count = self.stages.len();
        if count == 0 || count > STAGES_MAX {
            return Err(RejectPlan::Stages { count });
        }
        let mut before = 0;
        for (stage, Stage { share, kept_min, gone_back_max }) in self.stages.iter().enumerate() {
            if *share <= before || *share > ALL {
                return Err(RejectPlan::Share { stage, share: *share, before });
            }
            for value in [*kept_min, *gone_back_max] {
                if value > ALL {
                    return Err(RejectPlan::PerMille { stage, value });
                }
            }
            before = *share;
        }
        Label::new(&self.fleet)?;
        Label::new(&self.region)?;
        if self.watch.moments_min == 0 {
            return Err(RejectPlan::NoMoments);
        }
        Ok(())
    }

    /// What the second key approves: SHA-256 of [`Plan::encode`].
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.encode()).into()
    }

    /// Its bytes: fields in order, as a body of the wire has them.
    pub fn encode(&self) -> Vec<u8> {
        // Numbers and hashes can be written.
        postcard::to_extend(self, Vec::new()).unwrap_or_default()
    }

    /// Reads a plan's bytes; [`Plan::check`] comes after.
    ///
    /// # Errors
    /// [`RejectCampaign::Malformed`], [`RejectCampaign::NotCanonical`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RejectCampaign> {
        let plan: Self = postcard::from_bytes(bytes).map_err(|_error| RejectCampaign::Malformed)?;
        if plan.encode() == bytes { Ok(plan) } else { Err(RejectCampaign::NotCanonical) }
    }

    /// Who of a roster is in which stage: of the vehicles of this region, by its number in the roster. Vehicles stand in the order of SHA-256(`campaign` ‖ number u32 ‖ key id), the number
    /// little-endian: the same for all, and another in each campaign. A share of it, rounded up, is in a stage or one before: the first
    /// has a vehicle at least.
    pub fn draw(&self, roster: &Roster, region: u16) -> Drawn {
        let hasher =
            Sha256::new().chain_update(b"campaign").chain_update(self.number.to_le_bytes());
        let place = |vehicle: KeyId| -> [u8; 32] {
            hasher.clone().chain_update(vehicle.bytes()).finalize().into()
        };
        let vehicles = roster.of_region(region);
        let mut order: Vec<([u8; 32], KeyId)> = vehicles.map(|id| (place(id), id)).collect();
        order.sort_unstable();
        let ends = self.stages.iter().map(|stage| {
            let share = order.len().saturating_mul(stage.share.into());
            share.div_ceil(usize::from(ALL))
        });
        let (mut stages, mut vehicles, mut begin) = (BTreeMap::new(), Vec::new(), 0);
        for (stage, end) in ends.enumerate() {
            let part = order.get(begin..end).unwrap_or_default();
            stages.extend(part.iter().map(|(_place, id)| (*id, stage)));
            vehicles.push(part.len());
            begin = end;
        }
        Drawn { stages, vehicles }
    }

    /// How far it is, by what these vehicles said came of it.
    pub fn progress(&self, drawn: &Drawn, outcomes: &BTreeMap<KeyId, Outcome>) -> Progress {
        let stands = |vehicles: &usize| Stands { vehicles: *vehicles, ..Stands::default() };
        let mut stages: Vec<Stands> = drawn.vehicles.iter().map(stands).collect();
        for (vehicle, outcome) in outcomes {
            let Some(stands) = drawn.of(*vehicle).and_then(|stage| stages.get_mut(stage)) else {
                continue;
            };
            match outcome {
                Outcome::Kept => stands.kept = stands.kept.saturating_add(1),
                Outcome::GoneBack => stands.gone_back = stands.gone_back.saturating_add(1),
            }
        }
        let of = |part: usize, all: usize, per_mille: u16| {
            (part.saturating_mul(usize::from(ALL)), all.saturating_mul(usize::from(per_mille)))
        };
        let halted = stages.iter().zip(&self.stages).position(|(stands, stage)| {
            let (gone, most) = of(stands.gone_back, stands.vehicles, stage.gone_back_max);
            gone > most
        });
        // In a small fleet a later stage may have nobody: it stands in nobody's way.
        let done = stages.iter().zip(&self.stages).take_while(|(stands, stage)| {
            let (kept, least) = of(stands.kept, stands.vehicles, stage.kept_min);
            kept >= least
        });
        let open = done.count().saturating_add(1).min(self.stages.len());
        Progress { open: if halted.is_some() { 0 } else { open }, stages, halted }
    }
}

/// A campaign, as the authority's document carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// What was approved.
    pub plan: Plan,
    /// What is to be done with it now.
    pub order: Order,
    /// After it nobody begins: UTC in seconds.
    pub approved_until_s: u64,
    /// The record by which the second key approved the plan.
    approval: Vec<u8>,
}

/// As it lies in the document.
#[derive(Serialize, Deserialize)]
struct Carried<'a> {
    plan: Plan,
    order: Order,
    #[serde(borrow)]
    approval: &'a [u8],
}

/// How a vehicle stands to a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mine {
    /// It has not begun.
    Outside,
    /// The adapter is on trial.
    Watching,
    /// It uses the adapter.
    Kept,
    /// It has gone back from it.
    GoneBack,
}

/// What a vehicle does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing.
    Rest,
    /// Fetch the adapter, and put it on trial.
    Begin,
    /// Take the adapter off, and use what was used before.
    GoBack,
}

/// The region of the campaign that a document of the name [`NAME`] carries, whoever approved it.
pub fn region(bytes: &[u8]) -> Option<String> {
    let (carried, _rest) = postcard::take_from_bytes::<Carried<'_>>(bytes).ok()?;
    Some(carried.plan.region)
}

impl Campaign {
    /// A campaign of an approved plan.
    ///
    /// # Errors
    /// [`RejectCampaign`]: the plan is none, or the record does not approve it.
    pub fn new(
        plan: Plan,
        order: Order,
        approval: &[u8],
        approver: PublicKey,
    ) -> Result<Self, RejectCampaign> {
        plan.check()?;
        let record = Unverified::decode(approval)?;
        let document = record.verify::<Document<'_>>(&Approver(approver))?;
        let DocumentFields { name, bytes, .. } = *document.body().fields();
        if name != APPROVAL || bytes != plan.digest() {
            return Err(RejectCampaign::OtherPlan);
        }
        let approved_until_s = document.head().not_after_seconds;
        Ok(Self { plan, order, approved_until_s, approval: approval.to_vec() })
    }

    /// The same, if it is for this fleet and region.
    ///
    /// # Errors
    /// [`RejectCampaign::OtherFleet`].
    pub fn of(self, fleet: &str, region: &str) -> Result<Self, RejectCampaign> {
        let here = self.plan.fleet == fleet && self.plan.region == region;
        if here { Ok(self) } else { Err(RejectCampaign::OtherFleet) }
    }

    /// Reads what a document of the name [`NAME`] carries; `approver` is the second key.
    ///
    /// # Errors
    /// [`RejectCampaign`].
    pub fn decode(bytes: &[u8], approver: PublicKey) -> Result<Self, RejectCampaign> {
        let (carried, _rest) = postcard::take_from_bytes::<Carried<'_>>(bytes)
            .map_err(|_error| RejectCampaign::Malformed)?;
        let again = postcard::to_extend(&carried, Vec::new())
            .map_err(|_error| RejectCampaign::Malformed)?;
        if again != bytes {
            return Err(RejectCampaign::NotCanonical);
        }
        Self::new(carried.plan, carried.order, carried.approval, approver)
    }

    /// What a document of the name [`NAME`] carries.
    pub fn encode(&self) -> Vec<u8> {
        let Self { plan, order, approval, approved_until_s: _ } = self;
        let carried = Carried { plan: plan.clone(), order: *order, approval };
        postcard::to_extend(&carried, Vec::new()).unwrap_or_default()
    }

    /// The record by which the second key approved the plan.
    pub fn approval(&self) -> &[u8] {
        &self.approval
    }

    /// What a vehicle of this stage does at this time (UTC in seconds), as far as the campaign is.
    pub fn duty(&self, stage: Option<usize>, progress: &Progress, mine: Mine, utc_s: u64) -> Duty {
        let may_begin =
            stage.is_some_and(|stage| stage < progress.open) && utc_s <= self.approved_until_s;
        match (self.order, mine) {
            (Order::Run, Mine::Outside) if may_begin => Duty::Begin,
            (Order::Abort, Mine::Watching) | (Order::RollBack, Mine::Watching | Mine::Kept) => {
                Duty::GoBack
            }
            (Order::Run | Order::Pause, Mine::Outside | Mine::Watching | Mine::Kept)
            | (Order::Abort, Mine::Outside | Mine::Kept)
            | (Order::RollBack, Mine::Outside)
            | (_, Mine::GoneBack) => Duty::Rest,
        }
    }
}
