//! Who is of the fleet: what each vehicle says of itself, and what came of its words.

use std::collections::{BTreeMap, BTreeSet};

use shoal_swarm::quorum::Account;
use shoal_wire::v1::{Activity, Presence, PresenceFields};
use shoal_wire::{KeyId, Verified};

use super::{Calendar, State};
use crate::view::{Held, Row};

/// Vehicles that the page shows, the first of the roster; of those after them such as stand aside, so many again.
const VEHICLES_SHOWN: usize = 200;
/// A vehicle is silent when nothing was heard of it for so many periods.
const SILENT_PERIODS: u64 = 2;

/// What a vehicle last said of itself.
#[derive(Debug)]
pub(super) struct Heard {
    counter: u64,
    at_seconds: u64,
    pub(super) fields: PresenceFields,
}

/// What all vehicles of the roster do now.
#[derive(Debug, Default)]
pub(super) struct Now {
    /// Vehicles that are not silent.
    pub(super) online: usize,
    /// So many of these do what.
    pub(super) doing: BTreeMap<&'static str, usize>,
    /// Sent by all in this window.
    pub(super) bytes_up: u64,
    /// Received.
    pub(super) bytes_down: u64,
}

impl State {
    /// Takes what a vehicle says of itself, while that counts: a broker keeps it for as long as it likes.
    pub(super) fn take_presence(&mut self, now: u64, presence: &Verified<'_, Presence>) -> bool {
        let head = presence.head();
        let heard = self.presences.get(&head.key);
        let newer = heard.is_none_or(|heard| head.counter > heard.counter);
        if !newer || head.not_after_seconds < now {
            return false;
        }
        let fields = presence.body().fields().clone();
        let heard = Heard { counter: head.counter, at_seconds: now, fields };
        self.presences.insert(head.key, heard);
        true
    }

    /// Seconds since a vehicle was heard: no later than the window ended that it names, for what stands on a broker may
    /// have stood there long.
    fn heard_s(&self, utc_seconds: u64, heard: &Heard) -> u64 {
        let end =
            self.plan.as_ref().zip(heard.fields.window).map(|(Calendar { plan, .. }, window)| {
                let periods = u64::from(window).saturating_add(1);
                plan.epoch_seconds
                    .saturating_add(periods.saturating_mul(plan.period_seconds.into()))
            });
        utc_seconds.saturating_sub(end.map_or(heard.at_seconds, |end| heard.at_seconds.min(end)))
    }

    fn is_silent(&self, heard_s: u64) -> bool {
        let period = self.plan.as_ref().map_or(0, |calendar| calendar.plan.period_seconds);
        heard_s > SILENT_PERIODS * u64::from(period).max(10)
    }

    /// The whole roster at a glance.
    pub(super) fn now(&self, utc_seconds: u64, window: u32) -> Now {
        let mut now = Now::default();
        let heard = self.keyring.roster().vehicles();
        for heard in heard.filter_map(|(_number, id)| self.presences.get(&id)) {
            if !self.is_silent(self.heard_s(utc_seconds, heard)) {
                now.online += 1;
                *now.doing.entry(activity_name(heard.fields.activity)).or_default() += 1;
            }
            let (up, down) = bytes_in(window, &heard.fields);
            now.bytes_up = now.bytes_up.saturating_add(up);
            now.bytes_down = now.bytes_down.saturating_add(down);
        }
        now
    }

    /// The first vehicles, and of the others such as hold what was elected or stand aside.
    pub(super) fn rows(
        &self,
        utc_seconds: u64,
        window: u32,
        ledger: &BTreeMap<KeyId, Account>,
        held: [&Option<Held>; 2],
    ) -> Vec<Row> {
        let roster = self.keyring.roster();
        let aside = ledger.iter().filter(|(_id, account)| aside_until(account, window).is_some());
        let aside = aside.filter_map(|(id, _account)| roster.number(*id)).take(VEHICLES_SHOWN);
        let holders = held.into_iter().flatten().filter_map(|held| held.vehicle);
        let singled: BTreeSet<u32> = aside.chain(holders).collect();
        let shown = roster
            .vehicles()
            .enumerate()
            .filter(|(place, (number, _id))| *place < VEHICLES_SHOWN || singled.contains(number));
        let row = |(_place, (number, id)): (usize, (u32, KeyId))| {
            let heard = self.presences.get(&id);
            let account = ledger.get(&id);
            let fields = heard.map(|heard| &heard.fields);
            let heard_s = heard.map(|heard| self.heard_s(utc_seconds, heard));
            let (bytes_up, bytes_down) = fields.map_or((0, 0), |fields| bytes_in(window, fields));
            Row {
                number,
                id: id.to_string(),
                activity: fields.map(|fields| activity_name(fields.activity)),
                silent: heard_s.is_some_and(|seconds| self.is_silent(seconds)),
                steps: fields.map(|fields| fields.steps),
                claim: self.claimed.get(&id).map(|(_window, value)| *value),
                kept: account.map_or(0, |account| account.kept),
                aside_until: account.and_then(|account| aside_until(account, window)),
                bytes_up,
                bytes_down,
                heard_s,
                software: fields.map(|fields| fields.software.to_string()),
            }
        };
        shown.map(row).collect()
    }
}

/// The window in which who stands aside in this one is in good standing again.
pub(super) fn aside_until(account: &Account, window: u32) -> Option<u32> {
    account.good_from.filter(|from| *from > window)
}

/// What a vehicle sent and received in this window: of another one it says nothing.
fn bytes_in(window: u32, fields: &PresenceFields) -> (u64, u64) {
    if fields.window == Some(window) { (fields.up_bytes, fields.down_bytes) } else { (0, 0) }
}

fn activity_name(activity: Activity) -> &'static str {
    match activity {
        Activity::Starting => "starting",
        Activity::Driving => "driving",
        Activity::Parked => "parked",
        Activity::Tuning => "tuning",
        Activity::Measuring => "measuring",
        Activity::Exchanging => "exchanging",
        Activity::Idle => "idle",
    }
}
