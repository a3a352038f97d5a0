//! What a session waits for: pings, answers, and how long a silence may last.

use embassy_time::{Duration, Instant};

use super::{EVENT_BYTES_MAX, EVENTS_MAX, Phase, Session};
use crate::broker::Why;
use crate::packet::Outgoing;

impl Session {
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.subscriptions.handle_timeout(now);
        self.outbox.handle_timeout(now);
        match self.phase {
            Phase::Away(_) => {}
            Phase::Greeting => {
                if self.connected_at + self.settings.connect_timeout <= now {
                    self.end(Why::Silent);
                }
            }
            Phase::Online => {
                self.mind_stall(now);
                let answers = self.answers_by().is_none_or(|by| now < by);
                if !answers || self.dead_at().is_some_and(|at| at <= now) {
                    self.end(Why::Silent);
                } else if !self.ping_sent && self.ping_at() <= now {
                    self.ping_sent = true;
                    if self.say(Outgoing::Ping).is_err() {
                        self.end(Why::Budget);
                    }
                }
                self.pump();
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Away(_) => None,
            Phase::Greeting => Some(self.connected_at + self.settings.connect_timeout),
            Phase::Online => {
                let ping = if self.ping_sent { self.dead_at() } else { Some(self.ping_at()) };
                let subscribes = self.subscriptions.poll_timeout();
                let others = [subscribes, self.outbox.poll_timeout(), self.answers_by(), ping];
                others.into_iter().flatten().min()
            }
        }
    }

    /// Whether the application has more to take than is read ahead for it.
    pub(super) fn is_behind(&self) -> bool {
        self.events.len() >= EVENTS_MAX || self.event_bytes >= EVENT_BYTES_MAX
    }

    /// While the application is behind nothing is read: the broker is not silent, it is not heard. From then on it has its time again.
    fn mind_stall(&mut self, now: Instant) {
        let stalled = self.stalled;
        self.stalled = self.is_behind();
        if stalled && !self.stalled {
            self.last_received = now;
            self.unanswered = self.unanswered.map(|_since| now);
        }
    }

    /// How long either side may say nothing. A broker may ask for less; for more it need not be given.
    pub(super) fn keep_alive(&self) -> Duration {
        let told = self.broker.and_then(|broker| broker.keep_alive_seconds);
        let told = told.filter(|seconds| *seconds > 0);
        told.map_or(self.settings.keep_alive, |seconds| {
            Duration::from_secs(u64::from(seconds)).min(self.settings.keep_alive)
        })
    }

    /// When a ping that was sent was not answered for too long.
    fn dead_at(&self) -> Option<Instant> {
        let waits = self.ping_sent && !self.stalled && !self.is_behind();
        waits.then(|| self.last_received.max(self.last_sent) + self.keep_alive())
    }

    /// By when something that was asked is to be answered: a broker that answers pings alone is of no use. A chunk is
    /// given time to get there over a slow line; none is asked of who may read no more.
    fn answers_by(&self) -> Option<Instant> {
        let longest = self.keep_alive() + self.keep_alive() / 2;
        let reads = !self.stalled && self.read_bytes_max() > 0;
        self.unanswered.filter(|_since| reads).map(|since| since + longest)
    }

    /// Half the silence allowed before either side: a ping that is late by its way there still comes in time.
    fn ping_at(&self) -> Instant {
        self.last_received.min(self.last_sent) + self.keep_alive() / 2
    }
}
