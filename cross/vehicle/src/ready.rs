//! Tells whoever supervises the agent that it is up: an empty file, made once.

use std::io;
use std::path::PathBuf;

/// Who waits for the agent to come up, until it was told.
#[derive(Debug, Default)]
pub struct Ready {
    file: Option<PathBuf>,
}

/// The file cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot say that the agent is up: cannot make {}", path.display())]
pub struct ReadyError {
    path: PathBuf,
    source: io::Error,
}

impl Ready {
    /// Somebody waits for this file; or nobody waits.
    #[must_use]
    pub const fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// The agent is up: its model runs, its state is open. Said again, it does nothing.
    ///
    /// # Errors
    /// [`ReadyError`]: who waits would end an agent that is well.
    pub fn tell(&mut self) -> Result<(), ReadyError> {
        if let Some(path) = &self.file {
            std::fs::File::create(path)
                .map_err(|source| ReadyError { path: path.clone(), source })?;
        }
        self.file = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ready");
        let mut ready = Ready::new(Some(file.clone()));
        ready.tell().unwrap();
        std::fs::remove_file(&file).unwrap();
        ready.tell().unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let error = Ready::new(Some("/no/such/folder/ready".into())).tell().unwrap_err();
        assert!(error.to_string().ends_with("/no/such/folder/ready"), "{error}");
    }
}
