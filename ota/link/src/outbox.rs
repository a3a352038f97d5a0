//! What is published and not acknowledged: the link's own record, over every connection.
//!
//! One writer a topic, and the newest counts. At most one publication of a topic is in flight, so that after a
//! cut an older one cannot come to lie over a newer one.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::broker::{NotPublished, PublishError, Ticket};

/// Bytes that may wait for an acknowledgement: a whole particle and what surrounds it.
pub(crate) const WAITING_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What one publication counts beside its bytes.
const OVERHEAD_BYTES: usize = 128;

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
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: BTreeMap<String, Entry>,
    /// Topics of what is not sent yet, in the order in which it was published.
    queue: VecDeque<String>,
    waiting_bytes: usize,
    tickets: u64,
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
        if waiting + payload.len() + OVERHEAD_BYTES > WAITING_BYTES_MAX {
            return Err(PublishError::Full { waiting, max: WAITING_BYTES_MAX });
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting_bytes += payload.len() + OVERHEAD_BYTES;
        let parcel = Parcel { ticket, payload, expiry_seconds };
        let replaced = match self.entries.get_mut(topic) {
            None => {
                let entry = Entry { parcel, sent: false, next: None };
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

    /// The first publication that is not sent.
    pub(crate) fn first(&self) -> Option<(&str, &Parcel)> {
        let topic = self.queue.front()?;
        Some((topic, &self.entries.get(topic)?.parcel))
    }

    /// It is on its way.
    pub(crate) fn sent(&mut self) -> Option<String> {
        let topic = self.queue.pop_front()?;
        self.entries.get_mut(&topic)?.sent = true;
        Some(topic)
    }

    /// Publications that are on their way.
    pub(crate) fn on_their_way(&self) -> usize {
        self.entries.values().filter(|entry| entry.sent).count()
    }

    /// It is acknowledged, or refused: done with.
    pub(crate) fn done(&mut self, topic: &str) -> Option<Ticket> {
        let entry = self.entries.get_mut(topic).filter(|entry| entry.sent)?;
        let done = match entry.next.take() {
            Some(next) => {
                entry.sent = false;
                self.queue.push_back(topic.to_owned());
                std::mem::replace(&mut entry.parcel, next)
            }
            None => self.entries.remove(topic)?.parcel,
        };
        Some(self.free(&done))
    }

    /// What is not sent cannot be: it is longer than the broker takes.
    pub(crate) fn give_up_first(&mut self) -> Option<Ticket> {
        let topic = self.sent()?;
        self.done(&topic)
    }

    /// The connection is gone: what was sent and not acknowledged is to be sent again, oldest first.
    pub(crate) fn unsend(&mut self) -> Vec<(Ticket, NotPublished)> {
        let mut superseded = Vec::new();
        let mut order: Vec<(Ticket, String)> = Vec::new();
        let mut freed = Vec::new();
        for (topic, entry) in &mut self.entries {
            entry.sent = false;
            if let Some(next) = entry.next.take() {
                freed.push(std::mem::replace(&mut entry.parcel, next));
            }
            order.push((entry.parcel.ticket, topic.clone()));
        }
        for parcel in freed {
            superseded.push((self.free(&parcel), NotPublished::Superseded));
        }
        order.sort();
        self.queue = order.into_iter().map(|(_ticket, topic)| topic).collect();
        superseded
    }

    fn free(&mut self, parcel: &Parcel) -> Ticket {
        self.waiting_bytes -= parcel.payload.len() + OVERHEAD_BYTES;
        parcel.ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(outbox: &mut Outbox, topic: &str, text: &'static str) -> (Ticket, Option<Ticket>) {
        outbox.push(topic, Bytes::from_static(text.as_bytes()), None).unwrap()
    }

    fn first(outbox: &Outbox) -> Option<(String, String)> {
        let (topic, parcel) = outbox.first()?;
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
        assert_eq!(outbox.done("a"), Some(old));
        assert_eq!(first(&outbox), Some(("a".into(), "new".into())));
    }

    #[test]
    fn after_a_cut_what_was_not_acknowledged_is_sent_again_in_order() {
        let mut outbox = Outbox::default();
        for topic in ["z", "y", "x"] {
            push(&mut outbox, topic, topic.to_uppercase().leak());
            outbox.sent();
        }
        assert!(outbox.done("y").is_some());
        push(&mut outbox, "w", "W");
        assert_eq!(outbox.unsend(), []);
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
        assert_eq!(outbox.unsend(), [(old, NotPublished::Superseded)]);
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
        outbox.done("a");
        assert!(outbox.entries.is_empty());
        outbox.push("b", megabyte, None).unwrap();
        assert_eq!(outbox.done("b"), None, "not sent: no acknowledgement of ours");
    }
}
