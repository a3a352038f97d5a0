//! The two kinds of number a particle can be made of.

use core::fmt::Debug;
use core::ops::{Add, Mul, Sub};

/// `f32`, what adapters are made of, or `f64`, what references are computed in. Sealed.
///
/// Only what the step needs: + − ×, in the order written. Neither overflows nor panics.
pub trait Real:
    Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Send
    + Sync
    + 'static
    + sealed::Sealed
{
    /// 0.
    const ZERO: Self;

    /// The nearest number of this kind.
    fn nearest(number: f64) -> Self;

    /// The same number, exactly.
    fn wide(self) -> f64;
}

impl Real for f32 {
    const ZERO: Self = 0.0;

    fn nearest(number: f64) -> Self {
        number as Self
    }

    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;

    fn nearest(number: f64) -> Self {
        number
    }

    fn wide(self) -> f64 {
        self
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "seals `Real`")]
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}
