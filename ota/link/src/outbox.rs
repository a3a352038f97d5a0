//! What is published and not acknowledged, and what was acknowledged just now: the link's own record, over every connection.
//!
//! One writer a topic, and the newest counts. At most one publication of a topic is in flight, so that after a
//! cut an older one cannot come to lie over a newer one.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use embassy_time::Instant;

use crate::broker::{NotPublished, PublishError, SHAKEN, Ticket};

/// Bytes that may wait for an acknowledgement: a whole particle and what surrounds it.
pub(crate) const WAITING_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What one publication counts beside its bytes.
const OVERHEAD_BYTES: usize = 128;
/// What is published again, in bytes and in number: a whole particle and what surrounds it.
const AGAIN_BYTES_MAX: usize = WAITING_BYTES_MAX;
const AGAIN_MAX: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) ticket: Ticket,
    pub(crate) payload: Bytes,
    pub(crate) expiry_seconds: Option<u32>,
}

#[derive(Debug)]
struct Entry {
    parcel: Parcel,
    sent: bool,
    /// To be sent when the one before is acknowledged.
    next: Option<Parcel>,
    /// It was acknowledged before: nobody waits for it.
    again: bool,
}

/// Something that was acknowledged, and when.
#[derive(Debug)]
struct Recent {
    at: Instant,
    topic: String,
    parcel: Parcel,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: BTreeMap<String, Entry>,
    /// Topics of what is not sent yet, in the order in which it was published.
    queue: VecDeque<String>,
    waiting_bytes: usize,
    tickets: u64,
    /// What was acknowledged just now, oldest first.
    recent: VecDeque<Recent>,
    /// What is published again, after all else: of no topic of the entries.
    again: VecDeque<(String, Parcel)>,
    /// Of both, and of what is published again and on its way.
    again_bytes: usize,
    /// Of what was published again so far.
    again_sent_bytes: u64,
    /// Whether a connection has ended that was not to, or the broker took none.
    shaken: bool,
    /// From when on the broker keeps what it acknowledges.
    settles: Option<Instant>,
}

impl Outbox {
    /// Takes something to publish; what it replaces, if that was not sent.
    pub(crate) fn push(
        &mut self,
        topic: &str,
        payload: Bytes,
        expiry_seconds: Option<u32>,
    ) -> Result<(Ticket, Option<Ticket>), PublishError> {
        let waiting = self.waiting_bytes;
        if waiting + cost(&payload) > WAITING_BYTES_MAX {
            return Err(PublishError::Full { waiting, max: WAITING_BYTES_MAX });
        }
        self.forget(topic);
        let ticket = self.ticket();
        self.waiting_bytes += cost(&payload);
        let parcel = Parcel { ticket, payload, expiry_seconds };
        let replaced = match self.entries.get_mut(topic) {
            None => {
                let entry = Entry { parcel, sent: false, next: None, again: false };
                self.entries.insert(topic.to_owned(), entry);
                self.queue.push_back(topic.to_owned());
                None
            }
            Some(entry) if entry.sent => entry.next.replace(parcel),
            Some(entry) => Some(std::mem::replace(&mut entry.parcel, parcel)),
        };
        let replaced = replaced.map(|parcel| self.free(&parcel));
        Ok((ticket, replaced))
    }

    /// Takes something that may stand there already, to be published after all else. Where something waits it is of no use.
    pub(crate) fn push_again(&mut self, topic: &str, payload: Bytes) -> Result<(), PublishError> {
        self.forget(topic);
        let waiting = self.again_bytes;
        if waiting + cost(&payload) > AGAIN_BYTES_MAX {
            return Err(PublishError::Full { waiting, max: AGAIN_BYTES_MAX });
        }
        let ticket = self.ticket();
        self.again(topic.to_owned(), Parcel { ticket, payload, expiry_seconds: None });
        Ok(())
    }

    /// The first publication that is not sent, where so many bytes may be published again in all.
    pub(crate) fn first(&self, again_bytes_max: u64) -> Option<(&str, &Parcel)> {
        if let Some(topic) = self.queue.front() {
            return Some((topic, &self.entries.get(topic)?.parcel));
        }
        let (topic, parcel) = self.again.front()?;
        let bytes = self.again_sent_bytes.saturating_add(cost(&parcel.payload) as u64);
        (bytes <= again_bytes_max).then_some((topic, parcel))
    }

    /// It is on its way.
    pub(crate) fn sent(&mut self) -> Option<String> {
        if let Some(topic) = self.queue.pop_front() {
            self.entries.get_mut(&topic)?.sent = true;
            return Some(topic);
        }
        let (topic, parcel) = self.again.pop_front()?;
        self.again_sent_bytes += cost(&parcel.payload) as u64;
        let entry = Entry { parcel, sent: true, next: None, again: true };
        self.entries.insert(topic.clone(), entry);
        Some(topic)
    }

    /// Publications that are on their way.
    pub(crate) fn on_their_way(&self) -> usize {
        self.entries.values().filter(|entry| entry.sent).count()
    }

    /// It is acknowledged, at this moment, or refused: done with. The ticket, if anybody waits for it.
    pub(crate) fn done(&mut self, topic: &str, acknowledged: Option<Instant>) -> Option<Ticket> {
        let entry = self.entries.get_mut(topic).filter(|entry| entry.sent)?;
        let again = std::mem::replace(&mut entry.again, false);
        let next = entry.next.take();
        let newest = next.is_none();
        let done = match next {
            Some(next) => {
                entry.sent = false;
                self.queue.push_back(topic.to_owned());
                std::mem::replace(&mut entry.parcel, next)
            }
            None => self.entries.remove(topic)?.parcel,
        };
        let ticket = self.free_either(&done, again);
        if let Some(at) = acknowledged.filter(|_at| newest) {
            self.keep(Recent { at, topic: topic.to_owned(), parcel: done });
        }
        ticket
    }

    /// What is not sent cannot be: it is longer than the broker takes.
    pub(crate) fn give_up_first(&mut self) -> Option<Ticket> {
        let topic = self.sent()?;
        self.done(&topic, None)
    }

    /// A try at a connection has ended, and it may be that the broker went or is not whole yet.
    pub(crate) const fn shake(&mut self, shakes: bool) {
        self.shaken |= shakes;
    }

    /// There is a connection.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.settles = self.shaken.then(|| now.checked_add(SHAKEN)).flatten();
    }

    /// The connection is gone: what was sent and not acknowledged is to be sent again, oldest first. If it was not to end and the broker
    /// was there last at this moment, so is what it acknowledged just before.
    pub(crate) fn unsend(&mut self, lost: Option<Instant>) -> Vec<(Ticket, NotPublished)> {
        let mut superseded = Vec::new();
        let mut order: Vec<(Ticket, String)> = Vec::new();
        let mut freed = Vec::new();
        for (topic, entry) in &mut self.entries {
            entry.sent = false;
            if let Some(next) = entry.next.take() {
                let again = std::mem::replace(&mut entry.again, false);
                freed.push((std::mem::replace(&mut entry.parcel, next), again));
            }
            if !entry.again {
                order.push((entry.parcel.ticket, topic.clone()));
            }
        }
        for (parcel, again) in freed {
            let ticket = self.free_either(&parcel, again);
            superseded.extend(ticket.map(|ticket| (ticket, NotPublished::Superseded)));
        }
        order.sort();
        self.queue = order.into_iter().map(|(_ticket, topic)| topic).collect();
        let again = self.entries.extract_if(.., |_topic, entry| entry.again);
        self.again.extend(again.map(|(topic, entry)| (topic, entry.parcel)));
        self.settles = None;
        if let Some(last) = lost {
            self.publish_again(last);
        }
        self.again.make_contiguous().sort_by_key(|(_topic, parcel)| parcel.ticket);
        superseded
    }

    /// What the broker may not have kept while it was shaken is published again.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.settles.take_if(|settles| *settles <= now).is_some() {
            self.shaken = false;
            self.publish_again(now);
        }
    }

    /// When to call [`Outbox::handle_timeout`].
    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        self.settles
    }

    /// What was acknowledged just before that moment is published again.
    fn publish_again(&mut self, last: Instant) {
        for Recent { at, topic, parcel } in std::mem::take(&mut self.recent) {
            self.again_bytes -= cost(&parcel.payload);
            if at + SHAKEN >= last {
                self.again(topic, parcel);
            }
        }
    }

    fn again(&mut self, topic: String, parcel: Parcel) {
        if !self.entries.contains_key(&topic) {
            self.again_bytes += cost(&parcel.payload);
            self.again.push_back((topic, parcel));
        }
    }

    /// Keeps what was acknowledged for a while.
    fn keep(&mut self, recent: Recent) {
        let newest = recent.at;
        self.again_bytes += cost(&recent.parcel.payload);
        self.recent.push_back(recent);
        while let Some(first) = self.recent.front()
            && (self.again_bytes > AGAIN_BYTES_MAX
                || self.recent.len() > AGAIN_MAX
                || first.at + SHAKEN < newest)
        {
            self.again_bytes -= cost(&first.parcel.payload);
            self.recent.pop_front();
        }
    }

    /// Something newer is to stand at this topic.
    fn forget(&mut self, topic: &str) {
        let freed = &mut self.again_bytes;
        self.recent.retain(|recent| {
            let stays = recent.topic != topic;
            *freed -= if stays { 0 } else { cost(&recent.parcel.payload) };
            stays
        });
        self.again.retain(|(of, parcel)| {
            let stays = of != topic;
            *freed -= if stays { 0 } else { cost(&parcel.payload) };
            stays
        });
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Nobody waits for what is published again.
    fn free_either(&mut self, parcel: &Parcel, again: bool) -> Option<Ticket> {
        if again {
            self.again_bytes -= cost(&parcel.payload);
            return None;
        }
        Some(self.free(parcel))
    }

    fn free(&mut self, parcel: &Parcel) -> Ticket {
        self.waiting_bytes -= cost(&parcel.payload);
        parcel.ticket
    }
}

/// What a publication counts.
fn cost(payload: &Bytes) -> usize {
    payload.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(outbox: &mut Outbox, topic: &str, text: &'static str) -> (Ticket, Option<Ticket>) {
        outbox.push(topic, Bytes::from_static(text.as_bytes()), None).unwrap()
    }

    fn first(outbox: &Outbox) -> Option<(String, String)> {
        let (topic, parcel) = outbox.first(u64::MAX)?;
        Some((topic.to_owned(), String::from_utf8(parcel.payload.to_vec()).unwrap()))
    }

    #[test]
    fn the_newest_of_a_topic_replaces_what_was_not_sent() {
        let mut outbox = Outbox::default();
        let (old, _none) = push(&mut outbox, "a", "old");
        let (_ticket, replaced) = push(&mut outbox, "a", "new");
        assert_eq!(replaced, Some(old));
        assert_eq!(first(&outbox), Some(("a".into(), "new".into())));
    }

    #[test]
    fn a_newer_one_waits_for_the_acknowledgement_of_the_one_before() {
        let mut outbox = Outbox::default();
        let (old, _none) = push(&mut outbox, "a", "old");
        outbox.sent();
        push(&mut outbox, "a", "new");
        assert_eq!(first(&outbox), None);
        assert_eq!(outbox.done("a", None), Some(old));
        assert_eq!(first(&outbox), Some(("a".into(), "new".into())));
    }

    #[test]
    fn after_a_cut_what_was_not_acknowledged_is_sent_again_in_order() {
        let mut outbox = Outbox::default();
        for topic in ["z", "y", "x"] {
            push(&mut outbox, topic, topic.to_uppercase().leak());
            outbox.sent();
        }
        assert!(outbox.done("y", None).is_some());
        push(&mut outbox, "w", "W");
        assert_eq!(outbox.unsend(None), []);
        let mut order = Vec::new();
        while let Some(topic) = outbox.sent() {
            order.push(topic);
        }
        assert_eq!(order, ["z", "x", "w"]);
    }

    #[test]
    fn after_a_cut_an_older_one_is_not_sent_over_a_newer_one() {
        let mut outbox = Outbox::default();
        let (old, _none) = push(&mut outbox, "a", "old");
        outbox.sent();
        push(&mut outbox, "a", "new");
        assert_eq!(outbox.unsend(None), [(old, NotPublished::Superseded)]);
        assert_eq!(first(&outbox), Some(("a".into(), "new".into())));
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_done_makes_room() {
        let mut outbox = Outbox::default();
        let megabyte = Bytes::from(vec![0; 1 << 20]);
        outbox.push("a", megabyte.clone(), None).unwrap();
        let full = outbox.push("b", megabyte.clone(), None);
        assert!(matches!(full, Err(PublishError::Full { .. })));
        outbox.sent();
        outbox.done("a", None);
        assert!(outbox.entries.is_empty());
        outbox.push("b", megabyte, None).unwrap();
        assert_eq!(outbox.done("b", None), None, "not sent: no acknowledgement of ours");
    }
}
