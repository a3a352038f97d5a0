//! What the page shows, as JSON. Values are utilities in units of 1e-4.

use std::collections::BTreeMap;

use serde::Serialize;

/// The fleet at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// Its name.
    pub fleet: String,
    /// The region that is looked at.
    pub region: String,
    /// Whether the broker is connected.
    pub connected: bool,
    /// The console's clock: UTC in seconds since 1970.
    pub now_s: u64,
    /// The rule of the swarm document.
    pub rule: Option<&'static str>,
    /// The calendar of windows.
    pub plan: Option<Plan>,
    /// What is maximised.
    pub utility: Option<Maximised>,
    /// Vehicles of the roster.
    pub roster: usize,
    /// Of these, such as were heard of within two periods.
    pub online: usize,
    /// So many of these do what, as they say.
    pub doing: BTreeMap<&'static str, usize>,
    /// Sent by all vehicles in this window, by their own count.
    pub bytes_up: u64,
    /// Received.
    pub bytes_down: u64,
    /// What votes elected.
    pub best: Option<Held>,
    /// What votes elected to keep away from.
    pub worst: Option<Held>,
    /// The first vehicles by number, and such as hold best or worst or stand aside.
    pub vehicles: Vec<Row>,
    /// The last windows, the earliest first.
    pub history: Vec<Window>,
    /// What was found against vehicles in the windows that standing looks back on, the latest first.
    pub findings: Vec<Found>,
    /// What vehicles refused, the latest first.
    pub refusals: Vec<Refused>,
    /// What is promoted.
    pub campaign: Option<Campaign>,
}

/// A campaign, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Campaign {
    /// Its number.
    pub number: u32,
    /// The particle, in hexadecimal.
    pub particle: String,
    /// What is to be done with it: runs, paused, aborted, rolled back.
    pub order: &'static str,
    /// How it stands: as ordered, or halted in a stage, where it was to run.
    pub state: String,
    /// After it nobody begins: UTC in seconds since 1970.
    pub approved_until_s: u64,
    /// Canary first.
    pub stages: Vec<Stage>,
    /// How many stages may begin.
    pub open: usize,
    /// The stage in which too many have gone back.
    pub halted: Option<usize>,
}

/// A stage of a campaign. Shares are per mille.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Of the fleet, in this stage and those before.
    pub share: u16,
    /// When so many keep it, the next opens.
    pub kept_min: u16,
    /// When more have gone back, the campaign halts.
    pub gone_back_max: u16,
    /// Vehicles of this stage alone.
    pub vehicles: usize,
    /// Of these, such as keep the adapter.
    pub kept: usize,
    /// Of these, such as have gone back.
    pub gone_back: usize,
}

/// The window plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// When window 0 opens: UTC in seconds since 1970.
    pub epoch_s: u64,
    /// From one window to the next.
    pub period_s: u32,
    /// How long one is open.
    pub open_s: u32,
    /// Until when it counts: no window is open after that, and vehicles wait for another plan. UTC in seconds since 1970.
    pub ends_s: u64,
    /// What a vehicle may send in a window.
    pub up_bytes: u64,
    /// What it may receive.
    pub down_bytes: u64,
}

/// What the fleet maximises, and how that moves. Shares are per mille.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Maximised {
    /// Of the document.
    pub version: u32,
    /// The terms, in its order.
    pub terms: Vec<Counted>,
    /// Windows around this one, and as far as a weight moves.
    pub windows: Vec<u32>,
    /// The terms' shares in each of them; empty where nothing counts.
    pub shares: Vec<Vec<u16>>,
}

/// A term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Its name.
    pub name: String,
    /// Its share in this window.
    pub share: u16,
    /// Below it no particle is best.
    pub gate: Option<i32>,
}

/// A particle that was elected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its name, in hexadecimal.
    pub particle: String,
    /// What it was claimed as.
    pub role: &'static str,
    /// The window of its claim.
    pub window: u32,
    /// The number of the vehicle that claimed it.
    pub vehicle: Option<u32>,
    /// The median of what its voters measured.
    pub value: i32,
}

/// A vehicle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its number in the roster.
    pub number: u32,
    /// Its key's id.
    pub id: String,
    /// What it says it does.
    pub activity: Option<&'static str>,
    /// Not heard of for two periods.
    pub silent: bool,
    /// Steps of training since its last window.
    pub steps: Option<u32>,
    /// What it last claimed.
    pub claim: Option<i32>,
    /// Its claims that were voted on and hold, of the windows that standing looks back on.
    pub kept: u32,
    /// The window in which it is in good standing again; until then it stands aside.
    pub aside_until: Option<u32>,
    /// Sent in this window, by its own count.
    pub bytes_up: u64,
    /// Received.
    pub bytes_down: u64,
    /// Seconds since it was heard, or since the window ended that it spoke of.
    pub heard_s: Option<u64>,
    /// Which version of which program it runs, as it says.
    pub software: Option<String>,
}

/// A window that is over or runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Its number.
    pub window: u32,
    /// What best is in it; none: x_p.
    pub best: Option<i32>,
    /// How many claims there are.
    pub claimed: usize,
    /// What was claimed: all of it, or the highest, the lowest and some between.
    pub claims: Vec<Claimed>,
    /// Why nothing of that was elected, in a sentence; none: something was, or it may still be, or it is from before anybody looked.
    pub why: Option<String>,
}

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claimed {
    /// The number of the vehicle.
    pub vehicle: u32,
    /// As what.
    pub role: &'static str,
    /// By its own measurement.
    pub value: i32,
}

/// What was found against a vehicle, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The window of the claim; it was voted on in the next.
    pub window: u32,
    /// The number of the vehicle.
    pub vehicle: Option<u32>,
    /// The particle, in hexadecimal.
    pub particle: String,
    /// What is wrong: a broken claim, a withheld particle, a false vote.
    pub fault: &'static str,
    /// By its word the particle is so much better than the reference.
    pub said: Option<i32>,
    /// By the median of the votes.
    pub found: Option<i32>,
    /// So many voters found it.
    pub found_by: usize,
    /// Of so many.
    pub of: usize,
    /// Whether it stands aside for it: not where those who found it are found out themselves, nor once it is reinstated.
    pub counts: bool,
    /// The window in which it is in good standing again; none: it does not stand aside.
    pub aside_until: Option<u32>,
    /// From which window on the authority reinstated it in spite of that.
    pub reinstated_from: Option<u32>,
}

/// Records that a vehicle refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The window.
    pub window: u32,
    /// The number of the vehicle that refused.
    pub vehicle: Option<u32>,
    /// Why.
    pub why: &'static str,
    /// Whose records they were, as far as those stood on the board when somebody looked.
    pub of: Vec<Publisher>,
    /// How often.
    pub times: usize,
}

/// Who published something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Publisher {
    /// The number of the vehicle; none: it is not on the roster.
    pub vehicle: Option<u32>,
    /// The key's id.
    pub id: String,
}
