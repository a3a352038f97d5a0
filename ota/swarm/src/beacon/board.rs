//! What a beacon keeps on the board: of each of the last windows the records that it has passed on.

use alloc::vec::Vec;

use shoal_wire::{BEACON_WINDOWS, Leaf};

/// The topics of a beacon. What stands at one is only replaced by what is passed on of a later window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Board {
    shelves: [Shelf; BEACON_WINDOWS as usize],
}

/// The topics of one window.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shelf {
    window: u32,
    messages: Vec<Vec<u8>>,
    /// How many topics of it were seen to be in use: an earlier life of the beacon may have used more than this one.
    used: usize,
}

impl Board {
    /// Puts this at the next topic of its window. Where it stands, and what topics are to be cleared before, of a window
    /// that is over. `None`: all topics are in use, or the window is older than what stands there.
    pub(super) fn put(&mut self, window: u32, message: Vec<u8>) -> Option<(Leaf, Vec<Leaf>)> {
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
        let index = u8::try_from(shelf.messages.len()).ok()?;
        shelf.messages.push(message);
        Some((Leaf::beacon(window, index), cleared))
    }

    /// What is to stand at one of our topics.
    pub(super) fn at(&self, leaf: Leaf) -> Option<&[u8]> {
        let Leaf::Beacon { window, index } = leaf else { return None };
        let shelf = self.shelves.get(usize::from(window))?;
        shelf.messages.get(usize::from(index)).map(Vec::as_slice)
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
