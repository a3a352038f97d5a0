//! `shoal campaign start`, `pause`, `resume`, `abort` and `roll-back`

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::Args;
use shoal_swarm::campaign::{Campaign, Order};

use super::folder::Folder;
use crate::clock::{utc, utc_ms};
use crate::fleet::{self, Description, Ordered};
use crate::output::{Failure, Outcome};

/// Signs what is to be done with a campaign. `shoal fleet serve` publishes it; vehicles hear of it in their next window.
///
/// One key is enough to stop; without the second key's approval, or when that has ended, nothing starts. Vehicles go by the campaign of
/// which something was ordered last: while a later one runs or is paused, nothing is ordered of an earlier one.
#[derive(Args)]
pub(crate) struct Command<What: Ordering + Send + Sync + 'static> {
    /// The fleet's directory, with authority.key
    dir: PathBuf,
    /// The campaign's number
    number: u32,
    #[arg(skip)]
    what: PhantomData<What>,
}

/// A command's order.
pub(crate) trait Ordering {
    const ORDER: Order;
    /// In words.
    const DONE: &str;
    /// After which orders it may be given; `None`: none was given yet.
    const AFTER: &[Option<Order>];
}

pub(crate) struct Start;
pub(crate) struct Pause;
pub(crate) struct Resume;
pub(crate) struct Abort;
pub(crate) struct RollBack;

impl Ordering for Start {
    const ORDER: Order = Order::Run;
    const DONE: &str = "runs";
    const AFTER: &[Option<Order>] = &[None];
}

impl Ordering for Pause {
    const ORDER: Order = Order::Pause;
    const DONE: &str = "is paused: nobody begins, who watches goes on";
    const AFTER: &[Option<Order>] = &[Some(Order::Run)];
}

impl Ordering for Resume {
    const ORDER: Order = Order::Run;
    const DONE: &str = "runs again";
    const AFTER: &[Option<Order>] = &[Some(Order::Pause)];
}

impl Ordering for Abort {
    const ORDER: Order = Order::Abort;
    const DONE: &str = "is aborted: nobody begins, who watches goes back";
    const AFTER: &[Option<Order>] = &[Some(Order::Run), Some(Order::Pause)];
}

impl Ordering for RollBack {
    const ORDER: Order = Order::RollBack;
    const DONE: &str = "is rolled back: everybody goes back to what was used before";
    const AFTER: &[Option<Order>] = &[Some(Order::Run), Some(Order::Pause), Some(Order::Abort)];
}

impl<What: Ordering + Send + Sync> Command<What> {
    pub(crate) fn run(self) -> Outcome {
        let (description, _held) = Description::hold(&self.dir)?;
        let key = fleet::authority_key(&self.dir, &description)?;
        let folder = Folder::open(&self.dir, self.number)?;
        let last = fleet::last_order(&self.dir, &description, self.number)?;
        if last.is_none() && fleet::was_approved_before(&self.dir, &description, self.number)? {
            return Err(format!(
                "campaign {} was approved by an approver before this one, whose key was replaced, and no order for it counts any more: make another (`shoal campaign new`)",
                self.number
            )
            .into());
        }
        let newest = fleet::newest_order(&self.dir, &description)?;
        let again = self.cut_short(newest.as_ref(), &description)?;
        if again.is_none() {
            self.may_follow(last)?;
        }
        self.may_take_the_place(newest.as_ref())?;
        let particle = folder.particle(description.authority)?;
        let plan = folder.plan()?;
        let description = description.at(Some(&plan.region))?;
        let campaign = Campaign::new(plan, What::ORDER, &folder.approval()?, description.approver)?
            .of(&description.name, &description.region)?;
        self.check_approved(&campaign, utc_ms()? / 1000)?;
        match again.filter(|order| order.is(&campaign, description.authority)) {
            Some(order) => order.tell(&self.dir, &description)?,
            None => {
                let promoted = (&particle.header, particle.chunks.as_slice());
                fleet::sign_campaign(&self.dir, &*key, &campaign, promoted)?;
            }
        }
        println!("ordered: campaign {} {}", self.number, What::DONE);
        println!("{}", fleet::heard(&self.dir));
        Ok(())
    }

    /// What was ordered last, if it is this order, and vehicles cannot hear of it yet: the command was cut short, and is given again.
    fn cut_short<'a>(
        &self,
        newest: Option<&'a Ordered>,
        description: &Description,
    ) -> Result<Option<&'a Ordered>, Failure> {
        let same = |one: &&Ordered| (one.number, one.campaign.order) == (self.number, What::ORDER);
        match newest.filter(same) {
            Some(order) if !order.is_told(&self.dir, description)? => Ok(Some(order)),
            Some(_) | None => Ok(None),
        }
    }

    /// Fails where vehicles are to begin and none would: whoever approved it said until when. What stops them needs nobody's approval.
    fn check_approved(&self, campaign: &Campaign, now_s: u64) -> Outcome {
        if campaign.order != Order::Run || now_s <= campaign.approved_until_s {
            return Ok(());
        }
        let (number, dir) = (self.number, self.dir.display());
        Err(format!(
            "campaign {number} was approved until {}, and nobody begins after that: have it approved again (`shoal campaign approve {dir} {number}`)",
            utc(campaign.approved_until_s)
        )
        .into())
    }

    /// Whether this may be ordered after what was signed last. Who stops one for good has the last word: to begin again is another
    /// campaign, which a second key approves.
    fn may_follow(&self, last: Option<Order>) -> Outcome {
        if What::AFTER.contains(&last) {
            return Ok(());
        }
        let number = self.number;
        Err(match last {
            None => format!("campaign {number} has not begun: `shoal campaign start` begins it"),
            Some(Order::Run) => format!("campaign {number} runs: pause, abort or roll it back"),
            Some(Order::Pause) => format!("campaign {number} is paused: resume, abort or roll it back"),
            Some(Order::Abort) => format!(
                "campaign {number} was aborted, which is for good: roll it back, or make another (`shoal campaign new`)"
            ),
            Some(Order::RollBack) => format!(
                "campaign {number} was rolled back, which is for good: make another (`shoal campaign new`)"
            ),
        }
        .into())
    }

    /// Whether this may stand among the documents in the place of what was signed last. Vehicles go by one campaign: of a later one that
    /// goes on nobody would begin any more, and no order would say so.
    fn may_take_the_place(&self, standing: Option<&Ordered>) -> Outcome {
        let (later, goes_on) = match standing.map(|one| (one.number, one.campaign.order)) {
            Some((number, Order::Run)) if number > self.number => (number, "runs"),
            Some((number, Order::Pause)) if number > self.number => (number, "is paused"),
            Some((_, Order::Run | Order::Pause | Order::Abort | Order::RollBack)) | None => {
                return Ok(());
            }
        };
        let (number, dir) = (self.number, self.dir.display());
        Err(format!(
            "campaign {later} {goes_on}, and would lose its place among the documents to an order for campaign {number}: stop it first (`shoal campaign abort {dir} {later}`, or `roll-back`)"
        )
        .into())
    }
}
