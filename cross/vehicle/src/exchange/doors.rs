//! What goes out: the outputs of the window's core and of the swarm's, carried out in their order.

use std::collections::BTreeMap;

use embassy_time::Duration;
use prometheus_client::metrics::gauge::Gauge;
use shoal_hal::Conditions;
use shoal_link::Settings;
use shoal_swarm::swarm::{self, Input, Keep, On, Output, Particle, ValuesHash};
use shoal_window::{Because, Bytes, Network, Phase};
use shoal_wire::Leaf;
use shoal_wire::coding::Quality;
use shoal_wire::v1::{Activity, Claim, Vote};
use tracing::{debug, info, warn};

use super::guarded::Guarded;
use super::line::{For, Line, Listening, Session};
use super::metrics::{PhaseName, UpDown};
use super::particles::Wanted;
use super::run::{Exchange, ExchangeError, JOINING, Tonight, bytes};
use super::weights::About;
use super::worker::Job;
use crate::gateway::Tell;

/// By when a vehicle has joined that is asking for the first time; then twice as long, up to an hour.
const JOINED_BY: Duration = Duration::from_secs(30);
const JOINS_DOUBLED: u32 = 7;
/// After so many windows in a row in which not all had come that stood there, the next one begins without what the broker held
/// back: most of that is of windows that are over, and it comes before anything new.
const BEHIND_MAX: u8 = 3;

impl Exchange {
    /// Keeps what the window's core wants kept, then does what it says.
    pub(super) fn drain_window(&mut self) -> Result<(), ExchangeError> {
        loop {
            if let Some(record) = self.window.poll_persist() {
                self.vault.put(record.key, record.bytes)?;
                continue;
            }
            let Some(output) = self.window.poll_output() else { return Ok(()) };
            self.log.window_output(&output);
            let shoal_window::Output::Phase(phase) = output;
            self.run.metrics.phase(PhaseName::from(&phase));
            let before = self.phase.replace(phase);
            self.phase(before, phase)?;
        }
    }

    fn phase(&mut self, before: Option<Phase>, phase: Phase) -> Result<(), ExchangeError> {
        match phase {
            Phase::Open { window, closes_at, granted } => {
                self.run.metrics.window.set(window.into());
                set(&self.run.metrics.granted_bytes, granted);
                // The grant of an open window grows.
                let same = |before| matches!(before, Phase::Open { window: w, .. } if w == window);
                if before.is_some_and(same) {
                    return Ok(());
                }
                info!(window, "window open");
                // A clock that was set can end one window with the next one open: every window has its own line.
                let reopened =
                    |before| matches!(before, Phase::Closing { window: w, .. } if w == window);
                // On a line that was asked to finish nothing more is begun.
                let stays = before.is_some_and(reopened)
                    && self.line_for() == Some(For::Window)
                    && !self.tonight.finishing;
                // Who has not joined yet has no use for what stands there, and it comes only once.
                let joined = self.swarm.is_some() || self.documents.whole();
                if joined && !stays {
                    // What crossed is written down with the window that it was for.
                    self.hang_up();
                }
                self.begin_entry(window)?;
                if joined && !stays {
                    self.call(For::Window)?;
                }
                let phase = swarm::Phase::Open { window, closes_at };
                self.tell_swarm(Input::Phase(phase));
            }
            Phase::Closing { why, .. } => {
                debug!(?why, "window closing");
                self.tell_swarm(Input::Phase(swarm::Phase::Closing));
                self.particles.stop(self.line.as_mut().map(Line::link));
            }
            Phase::Closed { because } => {
                match because {
                    Because::PlanExpired => {
                        warn!(
                            "the window plan counts no more: no window opens before a newer one is here; `shoal fleet plan DIR --renew` signs it"
                        );
                    }
                    Because::Past => warn!(
                        "the clock says a window before the last one taken part in: it was ahead then, or is behind now; none opens until that one is over"
                    ),
                    Because::NoPlan | Because::NoTime | Because::Between | Because::Spent => {
                        debug!(?because, "window closed")
                    }
                }
                self.tell_swarm(Input::Phase(swarm::Phase::Closed));
                if self.line_for() == Some(For::Window) {
                    self.hang_up();
                }
            }
            Phase::Waiting { window, .. } => debug!(window, "waiting for the window"),
        }
        Ok(())
    }

    /// Hands the swarm's core an input, once it is in the log; `None`: there is no swarm yet.
    pub(super) fn hand_in(&mut self, input: Input<'_>) -> Option<Result<bool, swarm::Reject>> {
        let now = self.clock.now();
        let swarm = self.swarm.as_mut()?;
        let chunks = if let Input::Fetched { particle, .. } | Input::Coded { particle, .. } = input
        {
            self.particles.chunks(particle)
        } else {
            &[]
        };
        self.log.swarm_input(now, &input, chunks);
        Some(swarm.handle_input(now, input))
    }

    /// The same for what nobody else can do anything about: an answer that comes too late.
    pub(super) fn tell_swarm(&mut self, input: Input<'_>) {
        if let Some(Err(error)) = self.hand_in(input) {
            debug!(%error, "of no use any more");
        }
    }

    /// Hands the window's core an input that it never rejects.
    pub(super) fn tell_window(&mut self, input: shoal_window::Input<'_>) {
        let now = self.clock.now();
        self.log.window_input(now, &input);
        if let Err(error) = self.window.handle_input(now, input) {
            warn!(%error, "the window does not take it");
        }
    }

    /// Tells the window core and the engine what the vehicle's conditions are.
    pub(super) fn tell_conditions(&mut self) {
        let Conditions { parked, external_power, battery_soc_percent, temperature_c, network } =
            self.look.conditions;
        let exchanges = self.gateway.as_ref().is_none_or(Guarded::exchanges);
        let network = if exchanges { network } else { shoal_hal::Network::None };
        let network = match network {
            shoal_hal::Network::None => Network::None,
            shoal_hal::Network::Metered => Network::Metered,
            shoal_hal::Network::Unmetered => Network::Unmetered,
        };
        self.tell_window(shoal_window::Input::Conditions(shoal_window::Conditions {
            network,
            parked,
            external_power,
            battery_soc_percent,
            temperature_c,
        }));
        self.engine.give(Job::MayTune(self.look.may_tune));
    }

    /// Hands the window's core the plan.
    pub(super) fn tell_plan(&mut self) {
        let now = self.clock.now();
        let Some(plan) = self.documents.signed_plan() else { return };
        let input = shoal_window::Input::Plan(plan);
        self.log.window_input(now, &input);
        if let Err(error) = self.window.handle_input(now, input) {
            warn!(%error, "the window plan is refused");
        }
    }

    /// The line is there (again): says so, and leaves again what a cut may have kept from being published.
    pub(super) fn connected(&mut self) -> Result<(), ExchangeError> {
        self.stands_anew();
        let Some(Phase::Open { window, .. }) = self.phase else { return Ok(()) };
        if self.line_for() != Some(For::Window) {
            return Ok(());
        }
        if let Some(entry) = &mut self.tonight.entry {
            entry.took_part = true;
        }
        if self.tonight.republished != Some(window) {
            self.tonight.republished = Some(window);
            self.republish(window)?;
        }
        self.report(window)?;
        let presence = self.say_presence(Activity::Exchanging)?;
        self.tonight.echo = presence;
        self.promotion.said(presence);
        self.promotion.think();
        Ok(())
    }

    /// Connects to learn what the fleet agreed on, for as long as something is missing, the plan counts no more, or the time is not known:
    /// another timekeeper may have taken the place of one whose word put the clock ahead. A broker that has just started may
    /// answer before it knows what it retains: what does not come is asked for again, less and less often.
    pub(super) fn join_if_needed(&mut self) -> Result<(), ExchangeError> {
        // No window opens in which it would hear of a newer plan, or of newer roots.
        let closed = matches!(
            self.phase,
            Some(Phase::Closed { because: Because::PlanExpired | Because::NoTime })
        );
        if self.documents.whole() && !closed {
            self.joins = None;
            if self.line_for() == Some(For::Joining) {
                self.hang_up();
                if matches!(self.phase, Some(Phase::Open { .. })) {
                    self.call(For::Window)?;
                }
            }
            return Ok(());
        }
        // A new roster's pages come on the line of a window, too.
        if self.line_for() == Some(For::Window) {
            return Ok(());
        }
        // Documents are many bytes, too.
        let may_dial = match self.look.conditions.network {
            shoal_hal::Network::Unmetered => true,
            shoal_hal::Network::Metered => self.fleet.metered,
            shoal_hal::Network::None => false,
        };
        let may_dial = may_dial && self.gateway.as_ref().is_none_or(Guarded::joins);
        if !may_dial && self.line_for() == Some(For::Joining) {
            self.hang_up();
        }
        let now = self.clock.now().since_boot;
        let asked = match self.joins {
            Some((again, _asked)) if now < again => return Ok(()),
            Some((_again, asked)) => asked,
            None => 0,
        };
        if !may_dial {
            self.joins = Some((now + JOINED_BY, asked));
            return Ok(());
        }
        self.joins = Some((now + (JOINED_BY * (1 << asked.min(JOINS_DOUBLED))), asked + 1));
        info!(broker = self.fleet.broker, "joining");
        self.hang_up();
        self.call(For::Joining)
    }

    pub(super) fn call(&mut self, purpose: For) -> Result<(), ExchangeError> {
        // Before there is a plan, as often as there is no hurry.
        let plan = self.documents.plan().map(|plan| *plan.fields());
        let open_seconds = plan.map_or(u32::MAX, |plan| plan.open_seconds);
        let up_bytes_max = plan.map_or(0, |plan| plan.up_bytes_max);
        let own = self.own();
        // Who misses a window is sent all that stands there: a broker does not hold back any number of messages.
        let period = plan.map_or(0, |plan| plan.period_seconds);
        let seconds = period.saturating_mul(3).checked_div(2).unwrap_or(0);
        let window = self.tonight.entry.as_ref().map(|entry| entry.window);
        let (listening, anew) = match purpose {
            For::Window => {
                let records = self.swarm.as_ref().map(swarm::Swarm::records);
                let claimed = |of| records.is_some_and(|all| all.claims(of).next().is_some());
                self.beacons.begin(window, claimed)
            }
            For::Joining => (Listening::Everybody, false),
        };
        // What a broker holds back comes first: who has too few bytes for it falls ever further behind, and hears of no new plan.
        let behind = purpose == For::Window && self.tonight.behind >= BEHIND_MAX;
        if behind {
            info!("begins anew: what the broker holds back for the vehicle is too old");
            self.tonight.behind = 0;
        }
        let fresh = self.tonight.begins_anew(anew || behind);
        let version = self.version;
        let session = Session { seconds, fresh, listening, open_seconds, up_bytes_max, version };
        let settings = self.certificates.settings(&self.fleet, self.me)?;
        self.tell_certificate_end(&settings);
        let dial = &mut *self.dial;
        let line = Line::open(settings, &self.board, own, purpose, JOINING, session, dial)?;
        self.line = Some(line);
        Ok(())
    }

    /// Says until when brokers let the vehicle in.
    fn tell_certificate_end(&self, settings: &Settings) {
        let Some(tls) = &settings.tls else { return };
        let ends = tls.ends_seconds().unwrap_or(0);
        self.run.metrics.certificate_end.set(i64::try_from(ends).unwrap_or(i64::MAX));
        if ends <= self.clock.now().utc.earliest_seconds() {
            warn!(
                ended = ends,
                "the certificate is too old: no broker lets the vehicle in until another lies in its place"
            );
        }
    }

    /// While the window closes: once nothing is being made that would be published, nothing more is begun.
    pub(super) fn finish(&mut self) -> Result<(), ExchangeError> {
        let closing = matches!(self.phase, Some(Phase::Closing { .. }));
        if !closing || self.tonight.finishing || self.engine.busy() {
            return Ok(());
        }
        self.say_presence(Activity::Tuning)?;
        self.tonight.finishing = true;
        self.unmind_beacons();
        // One that joins is of no window, and has not asked for anything yet if the broker was not there.
        if let Some(line) = self.line.as_mut().filter(|line| line.purpose() == For::Window) {
            line.finish();
        }
        Ok(())
    }

    /// Counts what crossed the line since that was counted last.
    pub(super) fn count_bytes(&mut self, used: Bytes, purpose: For) {
        let counted = std::mem::replace(&mut self.tonight.counted, used);
        let metrics = &self.run.metrics;
        let up = used.up.saturating_sub(counted.up);
        let down = used.down.saturating_sub(counted.down);
        metrics.bytes.up.inc_by(up);
        metrics.bytes.down.inc_by(down);
        if let Some(gateway) = &mut self.gateway
            && (up, down) != (0, 0)
            && purpose == For::Window
        {
            gateway.tell(Tell::Used(Bytes { up, down }));
        }
        set(&metrics.window_bytes, used);
    }

    /// Closes the line, and counts what crossed it.
    pub(super) fn hang_up(&mut self) {
        self.particles.stop(self.line.as_mut().map(Line::link));
        let behind = self.tonight.echo.take().is_some();
        self.tonight.behind = self.tonight.behind.saturating_add(behind.into());
        // What the line had still to send goes with it; another one in this window publishes it again.
        (self.tonight.finishing, self.tonight.republished) = (false, None);
        self.tonight.left.clear();
        self.promotion.hung_up();
        let Some(mut line) = self.line.take() else { return };
        self.version = line.link().version();
        let purpose = line.purpose();
        // Else chunks of what it was fetching when the network went would come for as long as the session lasts.
        self.tonight.resumes &= !line.link().leaves();
        let used = line.close();
        self.run.metrics.connected(false);
        self.count_bytes(used, purpose);
        self.tonight.counted = Bytes::default();
        match &mut self.tonight.entry {
            Some(entry) => entry.crossed(used, purpose),
            // A window has an entry: this line joined.
            None => {
                let before = &mut self.tonight.before_line;
                before.up = before.up.saturating_add(used.up);
                before.down = before.down.saturating_add(used.down);
            }
        }
    }

    /// Keeps what the swarm's core wants kept, then does what it says.
    pub(super) fn drain_swarm(&mut self) -> Result<(), ExchangeError> {
        loop {
            let Some(swarm) = &mut self.swarm else { return Ok(()) };
            // Of several states of one key the last is the one to come back to; what it names is there before it.
            let mut states = BTreeMap::new();
            while let Some(keep) = swarm.poll_persist() {
                match keep {
                    Keep::Values { values, .. } => {
                        self.vault.keep_blob(&bytes(&values))?;
                    }
                    Keep::State { key, bytes } => {
                        states.insert(key, bytes);
                    }
                }
            }
            for (key, bytes) in states {
                self.vault.put(key, &bytes)?;
            }
            let Some(output) = swarm.poll_output() else { return Ok(()) };
            self.log.swarm_output(&output);
            self.act(output)?;
        }
    }

    fn act(&mut self, output: Output) -> Result<(), ExchangeError> {
        match output {
            Output::Fetch { particle, publisher, slot, once } => {
                let now = self.clock.now();
                let keys = self.documents.keyring();
                let link = self.line.as_mut().map(Line::link);
                let want = Wanted { particle, publisher, slot, once };
                let got = self.particles.fetch(now, want, keys, &mut self.vault, link)?;
                self.got(got.into_iter().collect())
            }
            Output::Measure { job, candidate, beside, on, awaited } => {
                let part = match on {
                    On::Part(part) => Some(part),
                    On::Own => None,
                };
                let terms = match part {
                    Some(_) => self.terms.clone(),
                    None => Some(Vec::new()),
                };
                let Some(asked) = terms else {
                    self.tell_swarm(Input::Unmeasured { job });
                    return Ok(());
                };
                let names =
                    (ValuesHash::of(&candidate), beside.as_ref().map(|b| ValuesHash::of(b)));
                self.tonight.measuring.insert(job, (names.0, names.1, part));
                self.engine.give(Job::Measure { job, candidate, beside, on, asked, awaited });
                Ok(())
            }
            Output::Code { job, particle } => {
                self.code(job, particle);
                Ok(())
            }
            Output::Publish { particle, chunks } => self.publish_particle(particle, chunks),
            Output::Claim(fields) => {
                let (window, slot) = (fields.window, fields.slot);
                let Ok(claim) = Claim::new(fields) else { return Ok(()) };
                if let Some(entry) = &mut self.tonight.entry {
                    entry.claimed = true;
                }
                self.say_claim(window, Leaf::Claim { slot }, claim)?;
                // Most of what a window takes has crossed by now.
                self.say_presence(Activity::Measuring).map(|_presence| ())
            }
            Output::Vote(fields) => {
                let leaf = Leaf::vote(fields.window, fields.place);
                let window = fields.window;
                let Ok(vote) = Vote::new(fields) else { return Ok(()) };
                self.say_vote(window, leaf, vote)
            }
            Output::Refusal(fields) => self.publish_refusal(fields),
            Output::Tune { from, particle, window } => {
                let entry = self.tonight.entry.as_mut().filter(|entry| entry.window == window);
                if let (Some(entry), Some(particle)) = (entry, particle) {
                    entry.moved_to = Some(particle.to_string());
                }
                self.tune(from, window)
            }
            Output::Stage(adapter) => {
                // A candidate: what is used is a campaign's to say.
                self.keep_staged(&adapter)?;
                self.staged = Some(adapter);
                Ok(())
            }
            Output::Event(event) => {
                self.tell_event(&event);
                Ok(())
            }
        }
    }

    fn tell_event(&self, event: &swarm::Event) {
        use swarm::Event;
        match event {
            Event::Began { window, best, worst, votes, asked } => {
                let quarantined = self.swarm.as_ref().map(|swarm| swarm.quarantined(*window));
                let quarantined = quarantined.unwrap_or_default();
                info!(window, ?best, ?worst, votes, asked, ?quarantined, "began");
            }
            Event::Merged { particle, contributions, dropped, searched, length, braked } => {
                info!(%particle, contributions, dropped, searched, length, braked, "merged");
            }
            Event::Paid { epsilon } => {
                self.tell_epsilon(*epsilon);
                debug!(epsilon, "contributes, with noise");
            }
            Event::Withheld { epsilon } => {
                self.tell_epsilon(*epsilon);
                self.run.metrics.privacy_withheld.inc();
                warn!(epsilon, "contributes no more: its privacy budget is spent");
            }
            Event::Moved { particle, gain } => {
                self.run.metrics.moved.inc();
                info!(%particle, gain, "moved");
            }
            Event::Stayed => {
                self.run.metrics.stayed.inc();
                info!("stayed");
            }
            Event::Stepped { towards, from, restarted } => {
                info!(?towards, ?from, restarted, "stepped");
            }
        }
    }

    fn tell_epsilon(&self, epsilon: f64) {
        if let Some(privacy) = &self.run.privacy {
            self.run.metrics.privacy_epsilon(privacy.delta, epsilon);
        }
    }

    fn code(&mut self, job: u64, particle: Particle) {
        let Particle { role, window, anchor, inputs, difference, bits, noised: _ } = particle;
        let layout = shoal_wire::LayoutHash::new(self.layout.hash());
        let about = About { role, window, base_model: self.base_model, layout, anchor, inputs };
        match Quality::new(bits) {
            Some(quality) => self.engine.give(Job::Code { job, about, difference, quality }),
            None => self.tell_swarm(Input::Uncoded { job }),
        }
    }
}

impl Tonight {
    /// Whether the next line of a window begins anew. That it is to stays so until one has.
    fn begins_anew(&mut self, anew: bool) -> bool {
        self.resumes &= !anew;
        !self.resumes
    }
}

/// Both ways, as gauges.
pub(super) fn set(gauges: &UpDown<Gauge>, bytes: Bytes) {
    gauges.up.set(i64::try_from(bytes.up).unwrap_or(i64::MAX));
    gauges.down.set(i64::try_from(bytes.down).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was closed before the broker was there: what the broker keeps is as little wanted by the next.
    #[test]
    fn a_line_that_was_to_begin_anew_and_did_not_is_followed_by_one_that_does() {
        let mut tonight = Tonight { resumes: true, ..Tonight::default() };
        let fresh = [false, true, false].map(|anew| tonight.begins_anew(anew));
        assert_eq!(fresh, [false, true, true]);
        // As when a line has begun anew.
        tonight.resumes = true;
        assert!(!tonight.begins_anew(false));
    }
}
