//! Whom a vehicle listens to: its region's beacons, or every vehicle when there is none.

use std::collections::BTreeSet;

use embassy_time::{Duration, Instant};
use serde::{Deserialize, Serialize};
use shoal_swarm::inbox::{Record, read_relayed};
use shoal_swarm::quorum::HIGHEST;
use shoal_window::Phase;
use shoal_wire::v1::{Nonce, RefusalCode};
use shoal_wire::{KeyId, Topic, Verified};
use tracing::{debug, info, warn};

use super::line::{For, Line, Listening};
use super::run::{Exchange, ExchangeError};
use super::vault::{Vault, VaultError};

/// A beacon that has not said in this part of a window, in which the broker was there, that it is there is not.
const WAITS: u32 = 4;

/// Beacons that withheld what matters are not relied upon for so many windows.
const DOUBTED: u32 = 8;

/// What outlasts the program, postcard: a vehicle that starts votes in its first window on what it hears at its beginning, and would
/// learn too late again whom to listen to.
const KEPT: &str = "beacons";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// None was there: every vehicle is listened to, until one is.
    missing: bool,
    /// Before this window every vehicle is listened to, too: beacons withheld what matters.
    doubted: u32,
    /// Nothing was passed on of this window: it will be seen whether there was nothing.
    silent: Option<u32>,
}

/// What is known of the region's beacons.
#[derive(Clone, Debug, Default)]
pub(super) struct Beacons {
    /// Whether to listen to them.
    wanted: bool,
    kept: Kept,
    /// As the vault has it.
    written: Kept,
    /// Since when the broker is there on the line that listens to them; `None`: it is not…
    since: Option<Instant>,
    /// …and how long it was there on that line before.
    before: Duration,
    /// The newest window of which a beacon has said that it is there; the next one's nonce may come before this one is over.
    heard: Option<u32>,
    /// The newest window of which one has passed on this vehicle's own claim.
    own: Option<u32>,
    /// The newest window of which one has passed on any claim.
    claims: Option<u32>,
    /// The window in which it was last looked at whether they withhold what matters.
    looked: Option<u32>,
    /// In which window the contributions of these are listened to.
    asked: Option<(u32, BTreeSet<KeyId>)>,
    /// The broker may keep subscriptions of a window that is over.
    stale: bool,
    /// Every vehicle is listened to, or was in the last window.
    everybody: bool,
}

impl Beacons {
    /// With what was known when the program ended; what cannot be read is not known.
    ///
    /// # Errors
    /// [`VaultError`].
    pub(super) fn restore(wanted: bool, vault: &Vault) -> Result<Self, VaultError> {
        let kept = vault.get(KEPT)?.and_then(|bytes| postcard::from_bytes(&bytes).ok());
        let kept = kept.unwrap_or_default();
        Ok(Self { wanted, kept, written: kept, ..Self::default() })
    }

    /// Whom to listen to in a window that opens, and whether what the broker keeps of the last one is to be forgotten. `claimed`:
    /// whether anything that is known now was claimed in a window.
    pub(super) fn begin(
        &mut self,
        window: Option<u32>,
        claimed: impl Fn(u32) -> bool,
    ) -> (Listening, bool) {
        (self.since, self.before) = (None, Duration::MIN);
        if self.kept.silent.take().is_some_and(&claimed) {
            self.kept.doubted = window.map_or(0, |window| window.saturating_add(DOUBTED));
        }
        // Another plan may count its windows from another day on.
        if let Some(window) = window {
            self.kept.doubted = self.kept.doubted.min(window.saturating_add(DOUBTED));
        }
        self.trust_again(window, claimed);
        let back = self.kept.missing && self.heard.is_some();
        self.kept.missing &= !back;
        let alone = self.alone(window);
        let stale = std::mem::take(&mut self.stale) || self.asked.take().is_some();
        let stale = stale || (alone && self.everybody);
        self.everybody = self.wanted && !alone;
        let listening = match (self.wanted, alone) {
            (false, _) => Listening::Everybody,
            (true, false) => Listening::Both,
            (true, true) => Listening::Beacons,
        };
        (listening, stale)
    }

    /// At the end of doubt: everybody was listened to, and what was claimed before the last window was voted on by now. If beacons
    /// passed on none of the latest window of which a claim counts, doubt goes on; if some, it is over.
    fn trust_again(&mut self, window: Option<u32>, claimed: impl Fn(u32) -> bool) {
        let Some(window) =
            window.filter(|window| 0 < self.kept.doubted && self.kept.doubted <= *window)
        else {
            return;
        };
        let voted_on = window.saturating_sub(DOUBTED)..window.saturating_sub(1);
        let voted_on = voted_on.rev().find(|of| claimed(*of));
        let withheld = voted_on.is_some_and(|of| self.claims < Some(of));
        if withheld {
            warn!(window, "still nothing that matters is passed on: listening to every vehicle");
        }
        self.kept.doubted = if withheld { window.saturating_add(DOUBTED) } else { 0 };
    }

    /// Whether they alone are listened to.
    fn alone(&self, window: Option<u32>) -> bool {
        self.wanted && !self.kept.missing && window.is_none_or(|window| self.kept.doubted <= window)
    }

    /// The broker is there.
    pub(super) fn connected(&mut self, now: Instant) {
        self.disconnected(now);
        self.since = Some(now);
    }

    /// It is gone: beacons cannot be heard meanwhile.
    pub(super) fn disconnected(&mut self, now: Instant) {
        self.before = self.there(now);
        self.since = None;
    }

    /// How long the broker was there on this line.
    fn there(&self, now: Instant) -> Duration {
        let since = self.since.map(|since| now.saturating_duration_since(since));
        self.before + since.unwrap_or(Duration::MIN)
    }

    fn heard(&mut self, nonce: &Verified<'_, Nonce>) {
        self.heard = self.heard.max(Some(nonce.body().fields().window));
    }
}

impl Exchange {
    /// What a beacon passed on: each record as if it had come from its signer.
    pub(super) fn passed_on(
        &mut self,
        topic: &Topic<'_>,
        text: &str,
        bytes: &[u8],
    ) -> Result<(), ExchangeError> {
        let records = match read_relayed(topic, bytes, self.documents.keyring()) {
            Ok(records) => records,
            Err(reject) => {
                debug!(topic = text, %reject, "refused");
                if reject.code() == RefusalCode::UnknownKey {
                    self.documents.strangers.hold(text, bytes);
                }
                self.count_refusal(reject.code());
                return Ok(());
            }
        };
        for (topic, record) in &records {
            if let Record::Nonce(nonce) = record {
                self.beacons.heard(nonce);
            }
            if let Record::Claim(claim) = record {
                let window = Some(claim.body().fields().window);
                self.beacons.claims = self.beacons.claims.max(window);
                if claim.head().key == self.me {
                    self.beacons.own = self.beacons.own.max(window);
                }
            }
            self.record(topic, &topic.text(), record, record.outbound().bytes())?;
        }
        Ok(())
    }

    /// Listens to everybody beside beacons that withhold what matters, as far as this vehicle can know: its own claim, one of the
    /// highest that it knows of, comes back from none of them; or nothing was passed on of a window in which there could be claims.
    /// Whether there were any is seen in this window.
    fn doubt_beacons(&mut self, window: u32) {
        if self.beacons.looked.replace(window) == Some(window) {
            return;
        }
        let (Some(swarm), Some(claimed)) = (&self.swarm, window.checked_sub(1)) else { return };
        let records = swarm.records();
        let silent =
            records.nonce_of(claimed).is_some() && records.claims(claimed).next().is_none();
        let nominees = swarm.nominees(claimed);
        let own = nominees.iter().take(HIGHEST).any(|nominee| nominee.claimant == self.me);
        let windows = match (own && self.beacons.own < Some(claimed), silent) {
            (true, _) => DOUBTED,
            (false, true) => 1,
            (false, false) => return,
        };
        warn!(window, own, "nothing that matters is passed on: listening to every vehicle, too");
        self.beacons.kept.silent = silent.then_some(claimed);
        self.beacons.kept.doubted = window.saturating_add(windows);
        self.beacons.everybody = true;
        if let Some(line) = &mut self.line {
            line.listen_to_all(&self.board);
        }
    }

    /// While it listens to beacons: listens to those who were asked to contribute, and to everybody if no beacon is there or they
    /// withhold what matters.
    pub(super) fn mind_beacons(&mut self) {
        let Some(Phase::Open { window, .. }) = self.phase else { return };
        let there = self.beacons.since.is_some() && self.line_for() == Some(For::Window);
        if !self.beacons.alone(Some(window)) || !there {
            return;
        }
        let now = self.clock.now().since_boot;
        let open = self.documents.plan().map_or(0, |plan| plan.fields().open_seconds);
        let waits = Duration::from_secs(u64::from(open)) / WAITS;
        let late = self.beacons.there(now) > waits;
        let Some(line) = &mut self.line else { return };
        if late && self.beacons.heard < Some(window) {
            info!(window, "no beacon is there: listening to every vehicle");
            (self.beacons.kept.missing, self.beacons.heard) = (true, None);
            self.beacons.everybody = true;
            line.listen_to_all(&self.board);
            return;
        }
        if late {
            self.doubt_beacons(window);
        }
        if !self.beacons.alone(Some(window)) {
            return;
        }
        let known = self.beacons.asked.as_ref().is_some_and(|(of, _asked)| *of == window);
        let Some(line) = &mut self.line else { return };
        let (Some(swarm), Some(document)) = (&self.swarm, self.documents.swarm()) else { return };
        let Some(nonce) = swarm.records().nonce_of(window).filter(|_nonce| !known) else { return };
        let (count, aside) = (document.fields().asked.into(), swarm.quarantined(window));
        let present = self.documents.keyring().roster().at(window);
        let asked = present.asked(nonce, count, &aside);
        line.listen_to(&self.board, &asked, true);
        self.beacons.asked = Some((window, asked));
    }

    /// Writes down what outlasts the program, where it has changed.
    pub(super) fn keep_beacons(&mut self) -> Result<(), ExchangeError> {
        let kept = self.beacons.kept;
        if kept != self.beacons.written {
            let bytes = postcard::to_extend(&kept, Vec::new()).expect("a vector takes it");
            self.vault.put(KEPT, &bytes)?;
            self.beacons.written = kept;
        }
        Ok(())
    }

    /// Before the line begins nothing more: the broker is not to keep what is of no use in the next window.
    pub(super) fn unmind_beacons(&mut self) {
        let Some((_window, asked)) = self.beacons.asked.take() else { return };
        match self.line.as_mut().filter(|line| Line::connected(line)) {
            Some(line) => line.listen_to(&self.board, &asked, false),
            None => self.beacons.stale = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In every window somebody claims something.
    const CLAIMED: fn(u32) -> bool = |_window| true;

    /// Beacons that were found to withhold in window 3.
    fn doubted() -> Beacons {
        let kept = Kept { doubted: 3 + DOUBTED, ..Kept::default() };
        Beacons { kept, ..wanted() }
    }

    fn wanted() -> Beacons {
        Beacons { wanted: true, ..Beacons::default() }
    }

    fn listens(beacons: &mut Beacons, window: u32, claimed: impl Fn(u32) -> bool) -> Listening {
        beacons.begin(Some(window), claimed).0
    }

    /// Nobody hears a beacon of a broker that takes no connection, or while it is gone.
    #[test]
    fn beacons_are_waited_for_while_the_broker_is_there() {
        let (at, mut beacons) = (Instant::from_secs, wanted());
        listens(&mut beacons, 3, CLAIMED);
        beacons.disconnected(at(900));
        assert_eq!(beacons.there(at(1_000)), Duration::MIN);
        beacons.connected(at(1_000));
        beacons.disconnected(at(1_010));
        assert_eq!(beacons.there(at(2_000)), Duration::from_secs(10));
        beacons.connected(at(2_000));
        assert_eq!(beacons.there(at(2_005)), Duration::from_secs(15));
        listens(&mut beacons, 4, CLAIMED);
        assert_eq!(beacons.there(at(2_006)), Duration::MIN);
    }

    #[test]
    fn doubt_lasts_for_as_long_as_nothing_is_passed_on() {
        let mut beacons = doubted();
        for window in 4..40 {
            assert_eq!(listens(&mut beacons, window, CLAIMED), Listening::Both, "{window}");
        }
        // One passes on again what was claimed in window 39, while everybody is listened to.
        beacons.claims = Some(39);
        let until = beacons.kept.doubted;
        for window in 41..until {
            beacons.claims = Some(window - 2);
            assert_eq!(listens(&mut beacons, window, CLAIMED), Listening::Both, "{window}");
        }
        beacons.claims = Some(until - 2);
        assert_eq!(listens(&mut beacons, until, CLAIMED), Listening::Beacons);
    }

    #[test]
    fn what_was_passed_on_before_ends_no_doubt() {
        let mut beacons = Beacons { claims: Some(2), ..doubted() };
        assert_eq!(listens(&mut beacons, 3 + DOUBTED, CLAIMED), Listening::Both);
    }

    /// Claims of the last windows contradicted each other, and none counts: those before were withheld.
    #[test]
    fn doubt_outlasts_windows_without_a_claim() {
        let until = 3 + DOUBTED;
        let claimed = |window| window < until - 4;
        assert_eq!(listens(&mut doubted(), until, claimed), Listening::Both);
        let passed_on = Beacons { claims: Some(until - 5), ..doubted() };
        assert_eq!(listens(&mut { passed_on }, until, claimed), Listening::Beacons);
    }

    /// Nothing to pass on is no sign of withholding: with nothing claimed doubt ends.
    #[test]
    fn where_nobody_claimed_doubt_ends() {
        let mut beacons = doubted();
        assert_eq!(listens(&mut beacons, 3 + DOUBTED, |_window| false), Listening::Beacons);
    }

    /// Another plan began to count anew.
    #[test]
    fn doubt_of_a_far_window_ends_all_the_same() {
        let mut beacons = Beacons { kept: Kept { doubted: 5_000, ..Kept::default() }, ..wanted() };
        for window in 7..7 + DOUBTED {
            assert_eq!(listens(&mut beacons, window, CLAIMED), Listening::Both, "{window}");
        }
        beacons.claims = Some(5 + DOUBTED);
        assert_eq!(listens(&mut beacons, 7 + DOUBTED, CLAIMED), Listening::Beacons);
    }

    #[test]
    fn what_is_known_of_beacons_outlasts_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let mut vault = Vault::open(folder.path()).unwrap();
        assert_eq!(Beacons::restore(true, &vault).unwrap().kept, Kept::default());
        let kept = Kept { missing: true, doubted: 9, silent: Some(4) };
        vault.put(KEPT, &postcard::to_extend(&kept, Vec::new()).unwrap()).unwrap();
        let mut restored = Beacons::restore(true, &vault).unwrap();
        assert_eq!(restored.kept, kept);
        // Nobody is there, and what was passed over is claimed: every vehicle is listened to from the beginning on.
        assert_eq!(listens(&mut restored, 5, CLAIMED), Listening::Both);
        assert_eq!(restored.kept, Kept { missing: true, doubted: 5 + DOUBTED, silent: None });
        vault.put(KEPT, b"x").unwrap();
        assert_eq!(Beacons::restore(true, &vault).unwrap().kept, Kept::default());
    }

    /// A vehicle that was away through the end of its doubt asks the same when it is back.
    #[test]
    fn doubt_is_looked_at_whenever_the_vehicle_comes_back() {
        let mut beacons = doubted();
        assert_eq!(listens(&mut beacons, 300, CLAIMED), Listening::Both);
    }
}
