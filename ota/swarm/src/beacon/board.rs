//! What a beacon keeps on the board: of each of the last windows the records that it has passed on.

use alloc::vec::Vec;

use shoal_wire::{BEACON_WINDOWS, Leaf, ParticleId};

/// The topics of a beacon. What stands at one is only replaced by what is passed on of a later window, or, once all topics of its
/// window are in use, where it does not matter any more.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Board {
    shelves: [Shelf; BEACON_WINDOWS as usize],
}

/// The topics of one window.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shelf {
    window: u32,
    messages: Vec<Message>,
    /// How many topics of it were seen to be in use: an earlier life of the beacon may have used more than this one.
    used: usize,
}

/// What stands at a topic.
#[derive(Clone, Debug, PartialEq)]
struct Message {
    /// What it is about; `None`: a nonce.
    about: Option<ParticleId>,
    bytes: Vec<u8>,
}

impl Board {
    /// Puts this at the next topic of its window, or in the place of what does not matter any more. Where it stands, and what topics
    /// are to be cleared before, of a window that is over. `None`: all topics are in use, or the window is older than what stands
    /// there.
    pub(super) fn put(
        &mut self,
        window: u32,
        (about, bytes): (Option<ParticleId>, Vec<u8>),
        matters: impl Fn(ParticleId) -> bool,
    ) -> Option<(Leaf, Vec<Leaf>)> {
        let shelf = self.shelf_mut(window)?;
        let mut cleared = Vec::new();
        if window < shelf.window {
            return None;
        }
        if shelf.window < window {
            let used = (0..=u8::MAX).take(shelf.used.max(shelf.messages.len()));
            cleared.extend(used.map(|index| Leaf::beacon(window, index)));
            *shelf = Shelf { window, ..Shelf::default() };
        }
        let message = Message { about, bytes };
        let Ok(index) = u8::try_from(shelf.messages.len()) else {
            let of_no_use = |old: &Message| old.about.is_some_and(|about| !matters(about));
            let index = shelf.messages.iter().position(of_no_use)?;
            *shelf.messages.get_mut(index)? = message;
            return Some((Leaf::beacon(window, u8::try_from(index).ok()?), cleared));
        };
        shelf.messages.push(message);
        Some((Leaf::beacon(window, index), cleared))
    }

    /// What is to stand at one of our topics.
    pub(super) fn at(&self, leaf: Leaf) -> Option<&[u8]> {
        let Leaf::Beacon { window, index } = leaf else { return None };
        let shelf = self.shelves.get(usize::from(window))?;
        shelf.messages.get(usize::from(index)).map(|message| message.bytes.as_slice())
    }

    /// Takes note that something stands at one of our topics.
    pub(super) fn seen(&mut self, leaf: Leaf) {
        let Leaf::Beacon { window, index } = leaf else { return };
        if let Some(shelf) = self.shelves.get_mut(usize::from(window)) {
            shelf.used = shelf.used.max(usize::from(index).saturating_add(1));
        }
    }

    /// Every topic at which something is to stand.
    pub(super) fn leaves(&self) -> impl Iterator<Item = Leaf> {
        self.shelves.iter().flat_map(|shelf| {
            let indices = (0..=u8::MAX).take(shelf.messages.len());
            indices.map(|index| Leaf::beacon(shelf.window, index))
        })
    }

    fn shelf_mut(&mut self, window: u32) -> Option<&mut Shelf> {
        let Leaf::Beacon { window, .. } = Leaf::beacon(window, 0) else { return None };
        self.shelves.get_mut(usize::from(window))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn a_full_shelf_takes_what_matters_in_the_place_of_what_does_not() {
        let about = |number: u8| Some(ParticleId::new([number; 32]));
        let mut board = Board::default();
        let put = |board: &mut Board, of, matters: &[u8]| {
            let matters = |particle| matters.iter().any(|number| about(*number) == Some(particle));
            board.put(9, (of, vec![1]), matters).map(|(leaf, _cleared)| leaf)
        };
        assert_eq!(put(&mut board, None, &[]), Some(Leaf::beacon(9, 0)));
        for number in 1..=255 {
            assert_eq!(put(&mut board, about(number), &[]), Some(Leaf::beacon(9, number)));
        }
        assert_eq!(put(&mut board, about(7), &[1, 2, 7]), Some(Leaf::beacon(9, 3)));
        assert_eq!(put(&mut board, about(2), &[1, 2, 7]), Some(Leaf::beacon(9, 4)));
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(put(&mut board, about(7), &all), None);
    }
}
