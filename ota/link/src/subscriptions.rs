//! What is asked for: over every connection, until it is asked for no more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use embassy_time::Instant;
use shoal_wire::{LABEL_BYTES_MAX, Topic};

use crate::broker::Subscription;

/// Bytes of a message beside topic and payload, at most: head, lengths, number, properties.
const MESSAGE_OVERHEAD_BYTES: u64 = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// It is asked for after all of lower numbers, on every connection: what stands under those comes first.
    number: u64,
    pub(crate) acknowledged: bool,
    pub(crate) once: Option<Once>,
    state: State,
    refusals: u32,
}

/// For the one message that lies under a topic, in one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Once {
    bytes: u32,
    came: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// Refused; to be asked again at this time.
    Refused(Instant),
    Sent,
    Held,
}

/// One packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Subscribe(String),
    Unsubscribe(String),
}

#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    asked: BTreeMap<String, Asked>,
    /// Unsubscribed from, and not confirmed: a session that outlives a cut may still hold it.
    dropped: BTreeSet<String>,
    queue: VecDeque<Change>,
    /// How often something was asked for.
    count: u64,
}

impl Subscriptions {
    pub(crate) fn subscribe(&mut self, subscription: Subscription<'_>) {
        let (filter, acknowledged, once) = match subscription {
            Subscription::Standing { filter, acknowledged } => (filter, acknowledged, None),
            Subscription::Once { topic, bytes, acknowledged } => {
                (topic, acknowledged, Some(Once { bytes, came: false }))
            }
        };
        let number = self.asked.get(filter).map_or(self.count, |before| before.number);
        self.count = self.count.saturating_add(1);
        let asked = Asked { number, acknowledged, once, state: State::Waiting, refusals: 0 };
        self.asked.insert(filter.to_owned(), asked);
        let change = Change::Subscribe(filter.to_owned());
        if !self.queue.contains(&change) {
            self.queue.push_back(change);
        }
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        let Some(asked) = self.asked.remove(filter) else { return };
        let subscribe = Change::Subscribe(filter.to_owned());
        self.queue.retain(|change| *change != subscribe);
        if matches!(asked.state, State::Sent | State::Held) {
            self.dropped.insert(filter.to_owned());
            self.queue.push_back(Change::Unsubscribe(filter.to_owned()));
        }
    }

    /// A session of before may hold it, and is not to.
    pub(crate) fn let_go(&mut self, filter: &str) {
        self.dropped.insert(filter.to_owned());
        let change = Change::Unsubscribe(filter.to_owned());
        if !self.queue.contains(&change) {
            self.queue.push_back(change);
        }
    }

    /// The packets to send, in this order.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.queue.iter().cloned().collect()
    }

    pub(crate) fn get(&self, filter: &str) -> Option<&Asked> {
        self.asked.get(filter)
    }

    /// What the answer to this change may cost, beside its acknowledgement.
    pub(crate) fn answer_bytes(&self, change: &Change) -> u64 {
        match change {
            Change::Subscribe(filter) => {
                self.asked.get(filter).map_or(0, |asked| message_bytes(filter, asked))
            }
            Change::Unsubscribe(_) => 0,
        }
    }

    /// Bytes of the messages that were asked for and did not come.
    pub(crate) fn expected_bytes(&self) -> u64 {
        let coming = |asked: &Asked| matches!(asked.state, State::Sent | State::Held);
        let coming = self.asked.iter().filter(|(_filter, asked)| coming(asked));
        coming.map(|(filter, asked)| message_bytes(filter, asked)).sum()
    }

    pub(crate) fn sent(&mut self, change: &Change) {
        self.queue.retain(|queued| queued != change);
        if let Change::Subscribe(filter) = change
            && let Some(asked) = self.asked.get_mut(filter)
        {
            asked.state = State::Sent;
        }
    }

    /// The broker took it. Whether it is still wanted.
    pub(crate) fn held(&mut self, filter: &str) -> bool {
        let Some(asked) = self.asked.get_mut(filter) else { return false };
        if asked.state == State::Sent {
            asked.state = State::Held;
        }
        asked.refusals = 0;
        true
    }

    /// The broker refused it, this often by now; none when it is not wanted any more.
    pub(crate) fn refused(&mut self, filter: &str) -> Option<u32> {
        let asked = self.asked.get_mut(filter)?;
        let before = asked.refusals;
        asked.refusals = before.saturating_add(1);
        Some(before)
    }

    pub(crate) fn ask_again(&mut self, filter: &str, at: Instant) {
        if let Some(asked) = self.asked.get_mut(filter) {
            asked.state = State::Refused(at);
        }
    }

    pub(crate) fn dropped(&mut self, filter: &str) {
        self.dropped.remove(filter);
    }

    /// Whether the broker holds anything that was asked of this connection alone.
    pub(crate) fn leaves_something(&self) -> bool {
        let asked = |asked: &Asked| {
            asked.once.is_some() && matches!(asked.state, State::Sent | State::Held)
        };
        !self.dropped.is_empty() || self.asked.values().any(asked)
    }

    /// A message came under this topic: what was asked for there, or in any region.
    pub(crate) fn came(&mut self, topic: &str) {
        let anywhere = Topic::decode(topic).ok().map(|topic| topic.in_any_region());
        for filter in [Some(topic), anywhere.as_deref()].into_iter().flatten() {
            if let Some(Asked { once: Some(once), .. }) = self.asked.get_mut(filter) {
                once.came = true;
            }
        }
    }

    /// The connection is gone, and with it what was asked of it alone.
    pub(crate) fn disconnected(&mut self) {
        for (filter, asked) in &self.asked {
            if asked.once.is_some() {
                self.dropped.insert(filter.clone());
            }
        }
        self.asked.retain(|_filter, asked| asked.once.is_none());
    }

    /// Everything again, on a new connection and in the order in which it was asked for. The broker forgot what it held, unless
    /// it knew the session.
    pub(crate) fn connected(&mut self, session_present: bool) {
        if !session_present {
            self.dropped.clear();
        }
        let dropped = self.dropped.iter().cloned().map(Change::Unsubscribe);
        self.queue = dropped.collect();
        let mut in_order: Vec<(&String, &mut Asked)> = self.asked.iter_mut().collect();
        in_order.sort_unstable_by_key(|(_filter, asked)| asked.number);
        for (filter, asked) in in_order {
            asked.state = State::Waiting;
            self.queue.push_back(Change::Subscribe(filter.clone()));
        }
    }

    /// Asks again what was refused and is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for (filter, asked) in &mut self.asked {
            if matches!(asked.state, State::Refused(at) if at <= now) {
                asked.state = State::Waiting;
                self.queue.push_back(Change::Subscribe(filter.clone()));
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = |asked: &Asked| match asked.state {
            State::Refused(at) => Some(at),
            State::Waiting | State::Sent | State::Held => None,
        };
        self.asked.values().filter_map(due).min()
    }
}

fn message_bytes(filter: &str, asked: &Asked) -> u64 {
    let coming = asked.once.filter(|once| !once.came);
    // The topic that comes has a region where the filter has a `+`.
    let region = if filter.contains("/+/") { LABEL_BYTES_MAX - 1 } else { 0 };
    let topic = (filter.len() + region) as u64;
    coming.map_or(0, |once| u64::from(once.bytes) + topic + MESSAGE_OVERHEAD_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(subscriptions: &mut Subscriptions) -> Vec<Change> {
        let changes = subscriptions.changes();
        changes.iter().for_each(|change| subscriptions.sent(change));
        changes
    }

    fn standing(filter: &str) -> Subscription<'_> {
        Subscription::Standing { filter, acknowledged: true }
    }

    fn once(topic: &str) -> Subscription<'_> {
        Subscription::Once { topic, bytes: 1000, acknowledged: false }
    }

    fn on(filter: &str) -> Change {
        Change::Subscribe(filter.to_owned())
    }

    fn off(filter: &str) -> Change {
        Change::Unsubscribe(filter.to_owned())
    }

    #[test]
    fn a_new_connection_asks_for_everything_again_and_for_nothing_else() {
        let mut subscriptions = Subscriptions::default();
        for filter in ["a", "b", "c"] {
            subscriptions.subscribe(standing(filter));
        }
        sent(&mut subscriptions);
        subscriptions.unsubscribe("b");
        subscriptions.connected(false);
        assert_eq!(sent(&mut subscriptions), [on("a"), on("c")]);
    }

    #[test]
    fn every_connection_asks_in_the_order_in_which_it_was_asked_for() {
        let mut subscriptions = Subscriptions::default();
        for filter in ["plan", "claim", "vote", "presence", "claim"] {
            subscriptions.subscribe(standing(filter));
        }
        let all = ["plan", "claim", "vote", "presence"].map(on);
        for session_present in [false, true] {
            subscriptions.connected(session_present);
            assert_eq!(sent(&mut subscriptions), all);
        }
    }

    #[test]
    fn a_session_that_was_kept_is_told_again_what_is_not_wanted() {
        let mut subscriptions = Subscriptions::default();
        for filter in ["a", "b"] {
            subscriptions.subscribe(standing(filter));
        }
        sent(&mut subscriptions);
        subscriptions.unsubscribe("b");
        sent(&mut subscriptions);
        subscriptions.connected(true);
        assert_eq!(sent(&mut subscriptions), [off("b"), on("a")]);
        subscriptions.dropped("b");
        subscriptions.connected(true);
        assert_eq!(sent(&mut subscriptions), [on("a")]);
    }

    #[test]
    fn asking_again_leaves_first_and_in_order() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(once("a"));
        sent(&mut subscriptions);
        subscriptions.unsubscribe("a");
        subscriptions.subscribe(once("a"));
        assert_eq!(sent(&mut subscriptions), [off("a"), on("a")]);
    }

    #[test]
    fn what_was_never_sent_is_dropped_without_a_word() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(once("a"));
        subscriptions.unsubscribe("a");
        assert_eq!(sent(&mut subscriptions), []);
    }

    #[test]
    fn a_message_is_expected_until_it_comes_or_is_not_wanted() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(once("ab"));
        assert_eq!(subscriptions.expected_bytes(), 0, "not asked for yet");
        sent(&mut subscriptions);
        assert_eq!(subscriptions.expected_bytes(), 1034);
        subscriptions.came("ab");
        assert_eq!(subscriptions.expected_bytes(), 0);
    }

    /// The longest topic is expected; whichever comes, and not that of another place, is what was asked for.
    #[test]
    fn what_is_asked_for_in_any_region_is_expected_until_it_comes_in_one() {
        let mut subscriptions = Subscriptions::default();
        let filter = "shoal/1/f/+/particle/0909090909090909/3";
        subscriptions.subscribe(once(filter));
        sent(&mut subscriptions);
        let expected = 1000 + (filter.len() as u64 - 1 + 32) + 32;
        assert_eq!(subscriptions.expected_bytes(), expected);
        subscriptions.came("shoal/1/f/eu/particle/0909090909090909/4");
        subscriptions.came("shoal/1/f/eu/particle/0a09090909090909/3");
        assert_eq!(subscriptions.expected_bytes(), expected);
        subscriptions.came("shoal/1/f/eu/particle/0909090909090909/3");
        assert_eq!(subscriptions.expected_bytes(), 0);
    }

    #[test]
    fn what_was_asked_of_one_connection_is_not_asked_of_the_next() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(once("a"));
        subscriptions.subscribe(standing("b"));
        sent(&mut subscriptions);
        subscriptions.disconnected();
        assert_eq!(subscriptions.expected_bytes(), 0);
        subscriptions.connected(true);
        assert_eq!(sent(&mut subscriptions), [off("a"), on("b")]);
    }

    #[test]
    fn a_refused_subscription_is_asked_for_again_when_it_is_due() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(standing("a"));
        sent(&mut subscriptions);
        assert_eq!(subscriptions.refused("a"), Some(0));
        let at = Instant::from_secs(5);
        subscriptions.ask_again("a", at);
        assert_eq!(subscriptions.poll_timeout(), Some(at));
        subscriptions.handle_timeout(Instant::from_secs(4));
        assert_eq!(sent(&mut subscriptions), []);
        subscriptions.handle_timeout(at);
        assert_eq!(sent(&mut subscriptions), [on("a")]);
        assert_eq!(subscriptions.refused("a"), Some(1));
    }
}
