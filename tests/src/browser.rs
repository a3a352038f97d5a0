//! Chromium without a window: what a page comes to when its program has run.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::brokers::installed;

/// So long a page runs before it is looked at, in milliseconds: one that listens never ends loading.
const RUNS_MS: u32 = 5000;

/// The browser.
#[derive(Debug)]
pub struct Browser {
    program: PathBuf,
}

impl Browser {
    /// Chromium, if it is installed. Says aloud when it is not; with `SHOAL_REQUIRE_CHROMIUM=1` that fails.
    pub fn find() -> Option<Self> {
        let program = installed("chromium", "--version", "SHOAL_REQUIRE_CHROMIUM")?;
        Some(Browser { program })
    }

    /// The page's elements after some seconds, as HTML.
    ///
    /// # Panics
    /// When it shows none.
    pub fn shows(&self, url: &str) -> String {
        self.run(&["--dump-dom", &format!("--timeout={RUNS_MS}")], url)
    }

    fn run(&self, args: &[&str], url: &str) -> String {
        let profile = TempDir::new().expect("a folder");
        let folder = format!("--user-data-dir={}", profile.path().display());
        // Tests run in containers, where its sandbox cannot be made; it looks at nothing but this page.
        let usual = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let mut browser = Command::new(&self.program);
        browser.args(usual).arg(folder).args(args).arg(url);
        let done = browser.output().expect("it runs");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        let page = String::from_utf8(done.stdout).expect("UTF-8");
        assert!(page.contains("</html>"), "{said}");
        page
    }
}
