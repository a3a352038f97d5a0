//! The last moments of a drive in memory, until it is known whether they are worth keeping.

use shoal_hal::{FrameShape, Motion};

use super::blob::StoredMoment;

/// A ring of the last moments. Nothing is allocated after it was made.
#[derive(Clone, Debug)]
pub struct Recent {
    shape: FrameShape,
    frames: Vec<u8>,
    motion: Vec<Option<Motion>>,
    /// Index of the next moment, and how many before it are held.
    next: u64,
    held: usize,
}

impl Recent {
    /// Room for `capacity` moments with frames of `shape`.
    ///
    /// # Panics
    /// If there is room for none.
    #[must_use]
    pub fn new(shape: FrameShape, capacity: usize) -> Self {
        assert!(capacity > 0 && shape.bytes() > 0, "a ring holds something");
        let (frames, motion) = (vec![0; capacity * shape.bytes()], vec![None; capacity]);
        Self { shape, frames, motion, next: 0, held: 0 }
    }

    /// Puts a moment in the place of the oldest. An index that does not follow the one before it
    /// forgets what was held: a span crosses no gap.
    ///
    /// # Panics
    /// If the frame is not of the ring's shape.
    pub fn push(&mut self, index: u64, frame: &[u8], motion: Option<Motion>) {
        if index != self.next {
            self.held = 0;
        }
        let place = self.place(index);
        let bytes = self.shape.bytes();
        self.frames[place * bytes..(place + 1) * bytes].copy_from_slice(frame);
        self.motion[place] = motion;
        self.next = index.wrapping_add(1);
        self.held = (self.held + 1).min(self.motion.len());
    }

    /// The moments `first … last`, both inclusive; `None` if any of them is not held.
    #[must_use]
    pub fn moments(&self, first: u64, last: u64) -> Option<Vec<StoredMoment<'_>>> {
        let oldest = self.next - self.held as u64;
        if first > last || first < oldest || last >= self.next {
            return None;
        }
        Some((first..=last).map(|index| self.moment(index)).collect())
    }

    /// The moment `index`; `None` if it is not held.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<StoredMoment<'_>> {
        let oldest = self.next.wrapping_sub(self.held as u64);
        (index >= oldest && index < self.next).then(|| self.moment(index))
    }

    fn moment(&self, index: u64) -> StoredMoment<'_> {
        let (place, bytes) = (self.place(index), self.shape.bytes());
        (&self.frames[place * bytes..(place + 1) * bytes], self.motion[place])
    }

    fn place(&self, index: u64) -> usize {
        (index % self.motion.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: FrameShape = FrameShape { width: 1, height: 1 };

    fn reds(recent: &Recent, first: u64, last: u64) -> Option<Vec<u8>> {
        let moments = recent.moments(first, last)?;
        Some(moments.iter().map(|(frame, _)| frame[0]).collect())
    }

    #[test]
    fn ring_holds_the_last_moments_and_no_others() {
        let mut recent = Recent::new(SHAPE, 4);
        (0..10_u8).for_each(|index| recent.push(index.into(), &[index; 3], None));
        assert_eq!(reds(&recent, 6, 9), Some(vec![6, 7, 8, 9]));
        assert_eq!(reds(&recent, 7, 8), Some(vec![7, 8]));
        assert_eq!(reds(&recent, 5, 8), None);
        assert_eq!(reds(&recent, 8, 10), None);
        assert_eq!(reds(&recent, 8, 7), None);
    }

    #[test]
    fn gap_forgets_what_was_before_it() {
        let mut recent = Recent::new(SHAPE, 4);
        (0..3_u8).for_each(|index| recent.push(index.into(), &[index; 3], None));
        recent.push(7, &[7; 3], None);
        assert_eq!(reds(&recent, 7, 7), Some(vec![7]));
        assert_eq!(reds(&recent, 2, 2), None);
        assert_eq!(reds(&recent, 4, 7), None);
    }

    #[test]
    fn motion_stays_with_its_frame() {
        let mut recent = Recent::new(SHAPE, 2);
        let motion =
            |speed: u8| Some(Motion { speed_m_s: Some(f32::from(speed)), ..Motion::default() });
        (0..5_u8).for_each(|index| recent.push(index.into(), &[index; 3], motion(index)));
        let moments = recent.moments(3, 4).unwrap();
        assert_eq!(moments, [(&[3, 3, 3][..], motion(3)), (&[4, 4, 4][..], motion(4))]);
    }
}
