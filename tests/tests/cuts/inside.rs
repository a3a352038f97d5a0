//! A place of its own for a test: its processes, mounts and interfaces are gone when it ends, however it ends.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use shoal_tests::fleet::say;

/// Set to 1 where what is not shown without namespaces, or without libfaketime, is a failure.
pub(crate) const REQUIRE_NAMESPACES: &str = "SHOAL_REQUIRE_NAMESPACES";
pub(crate) const REQUIRE_FAKETIME: &str = "SHOAL_REQUIRE_FAKETIME";

/// Set in the process that is inside.
const INSIDE: &str = "SHOAL_CUTS_INSIDE";

/// Where Debian keeps libfaketime.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];

/// Whether this process is inside. If not, the test of this name is run again there, and has to pass; where that cannot be, it
/// is passed over, said aloud, unless it is required.
pub(crate) fn is_inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        // Folders of this place alone: of the names of namespaces, and of what processes share.
        for folder in ["/run", "/dev/shm"] {
            mount(Path::new(folder), "16m").expect("a folder of its own");
        }
        return true;
    }
    let own = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let user: &[&str] = if own { &[] } else { &["--user", "--map-root-user"] };
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(user).args(["--mount", "--net", "--pid", "--fork", "--kill-child"]);
        command.arg("--mount-proc");
        command
    };
    let may = unshare().arg("true").output();
    if !may.is_ok_and(|may| may.status.success()) {
        let why = "no right to namespaces (it needs root, or namespaces of users)";
        skipped(test, why, REQUIRE_NAMESPACES);
        return false;
    }
    let exe = env::current_exe().expect("a test has a file");
    let run = unshare()
        .arg(exe)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("the test runs inside");
    assert!(run.success(), "inside, {test} ended with {run}");
    false
}

/// A file system in memory at this folder, of this size.
pub(crate) fn mount(folder: &Path, size: &str) -> Result<(), String> {
    let done = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
        .arg(folder)
        .output();
    let done = done.map_err(|error| format!("no program mount: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(()) } else { Err(format!("{}: {said}", folder.display())) }
}

/// The library that gives one process another time; `None`: not installed.
pub(crate) fn faketime() -> Option<PathBuf> {
    FAKETIME.into_iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Says that something was not shown, and why; with the variable that requires it set to 1 that fails.
pub(crate) fn skipped(what: &str, why: &str, require: &str) {
    let is_required = env::var_os(require).is_some_and(|value| value == "1");
    assert!(!is_required, "{what}: {why}, and {require}=1");
    say(&format!("SKIPPED {what}: {why}"));
}
