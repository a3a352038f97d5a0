//! Work of others that panics on damaged files, contained.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread does such work.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}
static HOOK: Once = Once::new();

/// Does work; `None`: it panicked. Nothing is printed of that: the caller's error says what it means, and other panics are told of
/// as before.
pub fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    HOOK.call_once(|| {
        let tell = take_hook();
        set_hook(Box::new(move |panic| {
            if !CONTAINED.get() {
                tell(panic);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_none_and_ends_with_its_work() {
        assert_eq!(contained(|| 3), Some(3));
        assert_eq!(contained(|| contained(|| panic!("damaged"))), Some(None::<u8>));
        assert!(contained(|| -> u8 { panic!("damaged") }).is_none());
        assert!(!CONTAINED.get());
    }
}
