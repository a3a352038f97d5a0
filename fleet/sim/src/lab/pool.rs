//! What is loaded once and serves many, one after another: sessions that take an adapter as an input, trainers that begin anew.
//! A graph is written and optimised in about the time in which it then measures a vehicle's part of a pack.

use std::sync::{Mutex, PoisonError};

use shoal_runtime::adapter::Adapter;
use shoal_shadow::fit::{Binding, FitError};
use shoal_shadow::tune::Tuning;
use shoal_swarm::swarm::Flat;

use super::LabError;

/// Things that are free, each with what it was loaded for.
pub(super) struct Pool<K, T>(Mutex<Vec<(K, T)>>);

impl<K, T> Default for Pool<K, T> {
    fn default() -> Self {
        Pool(Mutex::default())
    }
}

impl<K: PartialEq, T> Pool<K, T> {
    /// Works with something that was loaded for `key`, which is loaded where none is free: as many come to be as work at a time.
    /// What failed is not used again.
    pub(super) fn with<R, E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<T, E>,
        work: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut loaded = match self.take(&key) {
            Some(free) => free,
            None => load()?,
        };
        let result = work(&mut loaded)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((key, loaded));
        Ok(result)
    }

    fn take(&self, key: &K) -> Option<T> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = free.iter().rposition(|(of, _free)| of == key)?;
        Some(free.swap_remove(place).1)
    }
}

impl<K: PartialEq, B: Binding> Pool<K, Tuning<B>> {
    /// The adapter that one of the trainers makes of this one, by `tune`.
    pub(super) fn night(
        &self,
        key: K,
        start: &Adapter,
        load: impl FnOnce() -> Result<Tuning<B>, FitError>,
        tune: impl FnOnce(&mut Tuning<B>) -> Result<(), LabError>,
    ) -> Result<Flat, LabError> {
        let load = || Ok(load()?);
        self.with(key, load, |tuner| {
            tuner.restart(start)?;
            tune(tuner)?;
            Ok(tuner.adapter()?.values().into())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::Pool;

    #[test]
    fn what_is_free_is_used_again_for_the_same_and_what_failed_is_not() {
        let (pool, loads) = (Pool::<u32, u32>::default(), Cell::new(0));
        let with = |key: u32, result: Result<u32, ()>| {
            let load = || {
                loads.set(loads.get() + 1);
                Ok(key * 10)
            };
            pool.with(key, load, |loaded| result.map(|plus| *loaded + plus))
        };
        assert_eq!([with(1, Ok(1)), with(1, Ok(2)), with(2, Ok(3))], [Ok(11), Ok(12), Ok(23)]);
        assert_eq!(loads.get(), 2);
        assert_eq!(with(1, Err(())), Err(()));
        assert_eq!((with(1, Ok(4)), with(2, Ok(5))), (Ok(14), Ok(25)));
        assert_eq!(loads.get(), 3);
    }

    #[test]
    fn two_at_a_time_load_two() {
        let pool = Pool::<(), u32>::default();
        let inner = || pool.with((), || Ok::<_, ()>(2), |inner| Ok(*inner));
        let both = pool.with((), || Ok(1), |outer| Ok::<_, ()>((*outer, inner()?)));
        assert_eq!(both, Ok((1, 2)));
    }
}
