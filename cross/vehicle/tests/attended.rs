//! The program as another user, beside one that gives it what it may not take.
#![cfg(all(target_os = "linux", feature = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions, hard_link};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, getgid, getuid, kill_process};
use shoal_vehicle::attend::User;

/// A point of the curve that is a key: what a vehicle is told of its authority.
const KEY: &str = "5866666666666666666666666666666666666666666666666666666666666666";
/// Nobody's.
const OTHER: User = User { id: 65_534, group: 65_534 };

/// A vehicle's folder, which all may enter; its package is a pipe into which nobody writes: the agent waits there.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["keys", "certificates", "state", "state/replay", "model"] {
        fs::create_dir(at(name)).unwrap();
    }
    for file in [
        "keys/key",
        "outside",
        "certificates/key.pem",
        "certificates/authority.pem",
        "state/replay/index",
    ] {
        fs::write(at(file), "x").unwrap();
        fs::set_permissions(at(file), Permissions::from_mode(0o600)).unwrap();
    }
    assert!(Command::new("mkfifo").arg(at("model/model.toml")).status().unwrap().success());
    let toml = format!(
        "state = \"state\"\n[model]\npackage = \"model\"\n[fleet]\nname = \"f\"\nregion = \"r\"\n\
         broker = \"mqtts://127.0.0.1:1\"\ncertificates = \"certificates\"\nkey = \"keys/key\"\npack = \"pack\"\n\
         authority = \"{KEY}\"\ntimekeeper = \"{KEY}\"\napprover = \"{KEY}\"\n"
    );
    fs::write(at("vehicle.toml"), toml).unwrap();
    for (name, mode) in
        [("", 0o755), ("model", 0o755), ("model/model.toml", 0o644), ("vehicle.toml", 0o644)]
    {
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    // What somebody may have left there before.
    symlink(at("outside"), at("state/link")).unwrap();
    hard_link(at("outside"), at("state/name")).unwrap();
    folder
}

/// Whom it is started as: root may as anybody, and everybody as himself.
fn user() -> User {
    match getuid().is_root() {
        true => OTHER,
        false => User { id: getuid().as_raw(), group: getgid().as_raw() },
    }
}

/// The program, where another user may start it, too.
fn program() -> Command {
    static COPY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let built = env!("CARGO_BIN_EXE_shoal-vehicle");
    if !getuid().is_root() {
        return Command::new(built);
    }
    let (_folder, copy) = COPY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let copy = folder.path().join("shoal-vehicle");
        fs::copy(built, &copy).unwrap();
        (folder, copy)
    });
    Command::new(copy)
}

fn as_user(folder: &Path) -> Command {
    let (mut program, User { id, group }) = (program(), user());
    program
        .arg("--config")
        .arg(folder.join("vehicle.toml"))
        .args(["--as", &format!("{id}:{group}")]);
    program
}

/// The program, and the agent's process once it hears signals.
fn attended(folder: &Path) -> (Child, Pid) {
    let program = as_user(folder).stderr(Stdio::null()).spawn().unwrap();
    let agent = eventually(|| child_of(program.id()));
    let hears = || u64::from_str_radix(&says(agent, "SigCgt")?, 16).ok();
    eventually(|| (hears()? >> (Signal::TERM.as_raw() - 1) & 1 == 1).then_some(()));
    (program, agent)
}

/// The agent that another process started, once it is one: until then it is a copy of that.
fn child_of(id: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    let child = Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)?;
    let line = fs::read(format!("/proc/{}/cmdline", child.as_raw_nonzero())).ok()?;
    let copy = line.is_empty() || line.split(|byte| *byte == 0).any(|word| word == b"--as");
    (!copy).then_some(child)
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2_000 {
        if let Some(found) = look() {
            return found;
        }
        thread::park_timeout(Duration::from_millis(10));
    }
    panic!("it did not happen in twenty seconds");
}

/// What the kernel says of a process, after this word; `None`: it is gone.
fn says(process: Pid, word: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).ok()?;
    let said = status.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(':'))?;
    Some(said.trim().to_owned())
}

fn is_gone(process: Pid) -> Option<()> {
    says(process, "State").is_none_or(|state| state.starts_with('Z')).then_some(())
}

#[test]
fn who_ends_the_program_ends_the_agent() {
    let folder = folder();
    let (mut program, agent) = attended(folder.path());
    // The first one is passed on; at a second one the agent ends where it is: it waits for its package.
    kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
    thread::park_timeout(Duration::from_millis(600));
    kill_process(agent, Signal::TERM).unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(1), "as the agent ended");
    eventually(|| is_gone(agent));
}

#[test]
fn an_agent_does_not_outlive_who_looks_after_it() {
    let folder = folder();
    let (mut program, agent) = attended(folder.path());
    program.kill().unwrap();
    program.wait().unwrap();
    eventually(|| is_gone(agent));
}

fn ends(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn it_ends_as_the_agent_does() {
    let folder = folder();
    fs::remove_file(folder.path().join("model/model.toml")).unwrap();
    let (code, said) = ends(&mut as_user(folder.path()));
    assert!(code == Some(1) && said.contains("model.toml"), "{code:?} {said}");
    for user in ["shoal", "0:0"] {
        let file = folder.path().join("vehicle.toml");
        let (code, said) = ends(program().arg("--config").arg(file).args(["--as", user]));
        assert!(code == Some(1) && said.contains("UID:GID"), "{code:?} {said}");
    }
}

/// Only root starts a program as somebody else.
fn is_root() -> bool {
    let root = getuid().is_root();
    if !root {
        let _said =
            writeln!(io::stdout(), "skipped: only root may start a program as somebody else");
    }
    root
}

#[test]
fn another_user_has_what_is_the_agents_and_no_right_of_root() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let (mut program, agent) = attended(folder.path());
    let id = OTHER.id.to_string();
    assert_eq!(says(agent, "Uid").unwrap(), [&*id; 4].join("\t"));
    assert_eq!(says(agent, "Gid").unwrap(), [&*id; 4].join("\t"));
    assert_eq!(says(agent, "Groups").unwrap(), "");
    assert_eq!(says(agent, "NoNewPrivs").unwrap(), "1");
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&says(agent, set).unwrap(), 16), Ok(0), "{set}");
    }
    let owner = |name: &str| fs::symlink_metadata(at(name)).unwrap().uid();
    for its_own in
        ["state", "state/replay", "state/replay/index", "keys", "keys/key", "certificates/key.pem"]
    {
        assert_eq!(owner(its_own), OTHER.id, "{its_own}");
    }
    for not in [
        "vehicle.toml",
        "",
        "model",
        "outside",
        "state/name",
        "certificates",
        "certificates/authority.pem",
    ] {
        assert_eq!(owner(not), 0, "{not}");
    }
    // What root lays there later is given, too, but not what is another's by another name.
    fs::write(at("keys/key.next"), "x").unwrap();
    eventually(|| (owner("keys/key.next") == OTHER.id).then_some(()));
    fs::remove_file(at("certificates/key.pem")).unwrap();
    hard_link(at("outside"), at("certificates/key.pem")).unwrap();
    thread::park_timeout(Duration::from_secs(2));
    assert_eq!(owner("outside"), 0);
    program.kill().unwrap();
    program.wait().unwrap();
    // What somebody left there as root meanwhile is given at the next start; as root nothing is done there.
    fs::write(at("state/replay/later"), "x").unwrap();
    let (code, said) = ends(self::program().arg("--config").arg(at("vehicle.toml")));
    assert!(code == Some(1) && said.contains("give --as 65534:65534"), "{code:?} {said}");
    let (mut program, _agent) = attended(folder.path());
    assert_eq!(owner("state/replay/later"), OTHER.id);
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
fn a_folder_that_has_in_it_what_the_agent_is_told_is_not_given() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let file = folder.path().join("vehicle.toml");
    let toml = fs::read_to_string(&file).unwrap();
    fs::write(&file, toml.replace("\"state\"", "\".\"")).unwrap();
    let (code, said) = ends(&mut as_user(folder.path()));
    assert!(code == Some(1) && said.contains("name another folder"), "{code:?} {said}");
    // A key that does not lie alone is given by itself.
    fs::write(&file, toml.replace("keys/key", "outside")).unwrap();
    let (mut program, _agent) = attended(folder.path());
    let owner = |name: &str| fs::metadata(folder.path().join(name)).unwrap().uid();
    assert_eq!((owner(""), owner("keys"), owner("model")), (0, 0, 0));
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
fn who_may_write_what_it_is_told_is_not_served() {
    if !is_root() {
        return;
    }
    for (name, mode, owner) in
        [("vehicle.toml", 0o666, 0), ("", 0o777, 0), ("vehicle.toml", 0o644, OTHER.id)]
    {
        let folder = folder();
        let path = folder.path().join(name);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        let (code, said) = ends(&mut as_user(folder.path()));
        // EX_CONFIG: whoever supervises it need not start it again.
        assert!(code == Some(78) && said.contains("make it root's"), "{code:?} {said}");
        assert_eq!(fs::metadata(folder.path().join("state")).unwrap().uid(), 0);
    }
}
