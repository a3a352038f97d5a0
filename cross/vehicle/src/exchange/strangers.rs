//! What vehicles say whose keys are not known yet: on one connection it may come before the roster that names them.

use std::collections::VecDeque;

/// So many bytes are held at most, of the last ones.
const BYTES_MAX: usize = 256 << 10;

/// Messages that wait for a roster.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// Topic and bytes, the oldest first.
    held: VecDeque<(String, Vec<u8>)>,
    bytes: usize,
}

impl Strangers {
    /// Holds a message; what was held longest gives way.
    pub(super) fn hold(&mut self, topic: &str, message: &[u8]) {
        self.bytes = self.bytes.saturating_add(topic.len()).saturating_add(message.len());
        self.held.push_back((topic.to_owned(), message.to_vec()));
        while self.bytes > BYTES_MAX {
            let Some((topic, message)) = self.held.pop_front() else { break };
            let bytes = topic.len().saturating_add(message.len());
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    /// What was held, in order: a roster came.
    pub(super) fn take(&mut self) -> VecDeque<(String, Vec<u8>)> {
        self.bytes = 0;
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_held_in_order_and_given_once() {
        let mut strangers = Strangers::default();
        let message = vec![7; BYTES_MAX / 4];
        for number in 0..9 {
            strangers.hold(&number.to_string(), &message);
        }
        let topics: Vec<String> = strangers.take().into_iter().map(|(topic, _)| topic).collect();
        assert_eq!(topics, ["6", "7", "8"]);
        strangers.hold("again", b"x");
        assert_eq!(strangers.take(), [("again".to_owned(), b"x".to_vec())]);
        assert!(strangers.take().is_empty());
        strangers.hold("too long", &vec![0; BYTES_MAX]);
        assert!(strangers.take().is_empty());
    }
}
