//! One demo at a time: a second one would remove the fleet of the first while that runs.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use crate::{Done, Failure};

/// Takes `target/demo`, until what this returns is dropped or the program has ended.
pub(super) fn take(target: &Path) -> Done<File> {
    let path = target.join("demo.lock");
    let failed = |what: &str, error| Failure(format!("cannot {what} {}: {error}", path.display()));
    fs::create_dir_all(target).map_err(|error| failed("make the folder of", error))?;
    let file = File::create(&path).map_err(|error| failed("write", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            "another demo runs in target/demo: wait until it has ended, or end it with Ctrl-C where it runs",
        )),
        Err(TryLockError::Error(error)) => Err(failed("lock", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_demos_the_second_waits_until_the_first_has_ended() {
        let target = std::env::temp_dir().join(format!("shoal-demo-{}", std::process::id()));
        let first = take(&target).unwrap();
        let refused = take(&target).unwrap_err().0;
        assert!(refused.starts_with("another demo runs in target/demo: wait"), "{refused}");
        drop(first);
        drop(take(&target).unwrap());
        fs::remove_dir_all(&target).unwrap();
    }
}
