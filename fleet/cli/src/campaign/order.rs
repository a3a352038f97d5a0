//! `shoal campaign start`, `pause`, `resume`, `abort` and `roll-back`

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::Args;
use shoal_swarm::campaign::{Campaign, Order};

use super::folder::Folder;
use crate::fleet::{self, Description};
use crate::output::Outcome;

/// Signs what is to be done with a campaign. `shoal fleet serve` publishes it; vehicles hear of it in their next window.
///
/// One key is enough to stop; without the second key's approval nothing starts.
#[derive(Args)]
pub(crate) struct Command<What: Ordered + Send + Sync + 'static> {
    /// The fleet's directory, with authority.key
    dir: PathBuf,
    /// The campaign's number
    number: u32,
    #[arg(skip)]
    what: PhantomData<What>,
}

/// A command's order.
pub(crate) trait Ordered {
    const ORDER: Order;
    /// In words.
    const DONE: &str;
}

pub(crate) struct Start;
pub(crate) struct Pause;
pub(crate) struct Resume;
pub(crate) struct Abort;
pub(crate) struct RollBack;

impl Ordered for Start {
    const ORDER: Order = Order::Run;
    const DONE: &str = "runs";
}

impl Ordered for Pause {
    const ORDER: Order = Order::Pause;
    const DONE: &str = "is paused: nobody begins, who watches goes on";
}

impl Ordered for Resume {
    const ORDER: Order = Order::Run;
    const DONE: &str = "runs again";
}

impl Ordered for Abort {
    const ORDER: Order = Order::Abort;
    const DONE: &str = "is aborted: nobody begins, who watches goes back";
}

impl Ordered for RollBack {
    const ORDER: Order = Order::RollBack;
    const DONE: &str = "is rolled back: everybody goes back to what was used before";
}

impl<What: Ordered + Send + Sync> Command<What> {
    pub(crate) fn run(self) -> Outcome {
        let description = Description::read(&self.dir)?;
        let key = fleet::authority_key(&self.dir, &description)?;
        let folder = Folder::of(&self.dir, self.number);
        let (header, particle) = folder.particle(description.authority)?;
        let campaign =
            Campaign::new(folder.plan()?, What::ORDER, &folder.approval()?, description.approver)?
                .of(&description.name, &description.region)?;
        fleet::sign_campaign(
            &self.dir,
            &*key,
            &campaign,
            &header,
            (&particle.header, &particle.chunks),
        )?;
        println!("campaign {} {}", self.number, What::DONE);
        Ok(())
    }
}
