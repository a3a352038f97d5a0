//! Beside an agent that may do nothing but its work, who may do what that needs: the bus is brought up, devices and what the agent keeps are its
//! own.
//!
//! `shoal-vehicle --as UID:GID` starts itself again as that user, without rights of root, and stays beside it: what reads cameras, buses, brokers and
//! models has none of the rights that this takes. A bus comes back down, and a camera as another node, whenever they were unplugged: this is looked
//! after for as long as the agent runs.
//!
//! The agent may be somebody else's by now. Nothing here follows a link that it could have laid, or takes a file for what it was a moment ago: what
//! was opened is what is given, and what this is told the agent may not write to.

use std::ffi::OsStr;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chownat, fstat, openat};
use rustix::io::Errno;
use rustix::process::{
    Gid, Pid, Signal, Uid, getpid, getppid, getuid, kill_process, set_parent_process_death_signal,
    setsid,
};
use rustix::thread::set_no_new_privs;
use shoal_hal::backend::files::{FilesError, make_private};
use shoal_hal::backend::linux::bus_speed::BusSpeed;
use shoal_hal::backend::linux::socketcan::bring_up;
use shoal_keys::KeyAt;
use tracing::{info, warn};

use crate::config::Config;
use crate::exchange::live::speed;

/// From one look at the agent to the next.
const PAUSE: Duration = Duration::from_millis(250);
/// So many of them from one look at devices to the next.
const LOOKS: u32 = 4;
/// So many looks at devices until a bus that could not be brought up is tried again: each try may take it down.
const BUS_LOOKS: u32 = 30;
/// What a device's node allows: all to its owner and its group.
const NODE_MODE: u32 = 0o660;
/// Folders within folders that are given: what a vehicle keeps has a few.
const DEPTH_MAX: u32 = 16;
/// How who ended by a signal is told to a shell: 128 and its number.
const BY_SIGNAL: i32 = 128;

/// A user of the system other than root, and its group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub id: u32,
    /// That of its group.
    pub group: u32,
}

/// It is no user, or root.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no user without rights: two numbers above 0 are needed, `UID:GID`, as `id -u NAME` and `id -g NAME` say them"
)]
pub struct NoUser(String);

impl FromStr for User {
    type Err = NoUser;

    fn from_str(text: &str) -> Result<Self, NoUser> {
        let number = |text: &str| text.parse().ok().filter(|number| (1..u32::MAX).contains(number));
        let numbers = text.split_once(':');
        let user = numbers.and_then(|(id, group)| Some((number(id)?, number(group)?)));
        user.map(|(id, group)| Self { id, group }).ok_or_else(|| NoUser(text.to_owned()))
    }
}

impl User {
    /// Into a folder where each may move only his own (sticky), that counts as not.
    fn may_write(self, found: &Metadata) -> bool {
        let mode = found.mode();
        let open = (found.gid() == self.group && mode & 0o020 != 0) || mode & 0o002 != 0;
        found.uid() == self.id || (open && !(found.is_dir() && mode & 0o1000 != 0))
    }
}

/// Why an agent has not what it needs.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum AttendError {
    #[error(
        "user {id} may write to {}, and could change what is done for it by root: make it root's (chown root, chmod go-w)",
        path.display()
    )]
    Writable { path: PathBuf, id: u32 },
    #[error("{} has {} in it, and cannot be the agent's: name another folder", path.display(), told.display())]
    Holds { path: PathBuf, told: PathBuf },
    #[error("cannot give {} to user {id}: start this as root, or without --as", path.display())]
    Give { path: PathBuf, id: u32, source: io::Error },
    #[error(transparent)]
    State(#[from] FilesError),
    #[error("cannot start {} as user {}, group {}", program.display(), user.id, user.group)]
    Start { program: PathBuf, user: User, source: io::Error },
    #[error("cannot see how the agent ended")]
    Wait(#[source] io::Error),
}

/// Starts `agent` as `user`, who owns from then on what the vehicle keeps, and looks after its devices until it ends; what it ended with. It is
/// told to end once `stop` is set, and is killed when the thread that called this ends. `told` is the file that `config` was read from.
///
/// # Errors
/// [`AttendError`]: it cannot be started so.
pub fn attend(
    told: &Path,
    config: &Config,
    user: User,
    mut agent: Command,
    stop: &AtomicBool,
) -> Result<u8, AttendError> {
    // Who starts it as itself gives nothing, and has nothing to take.
    if getuid().as_raw() != user.id {
        hand_over(told, config, user)?;
    }
    let mut devices = Devices::of(config);
    devices.look_after(user);
    let program = PathBuf::from(agent.get_program());
    let started = start(&mut agent, user);
    let mut child = started.map_err(|source| AttendError::Start { program, user, source })?;
    info!(user = user.id, group = user.group, process = child.id(), "the agent runs as");
    let (mut is_told, mut looks) = (false, 0_u32);
    loop {
        if let Some(status) = child.try_wait().map_err(AttendError::Wait)? {
            let signal = status.signal().map(|signal| BY_SIGNAL.saturating_add(signal));
            let code = status.code().or(signal).unwrap_or(BY_SIGNAL);
            return Ok(u8::try_from(code).unwrap_or(u8::MAX));
        }
        if stop.load(Ordering::Relaxed) && !std::mem::replace(&mut is_told, true) {
            end(&child);
        }
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS) {
            devices.look_after(user);
        }
        thread::park_timeout(PAUSE);
    }
}

#[expect(unsafe_code, reason = "what a process may and when it ends is set between fork and exec")]
fn start(agent: &mut Command, user: User) -> io::Result<Child> {
    let attending = getpid();
    agent.uid(user.id).gid(user.group).stdin(Stdio::null());
    // SAFETY: four system calls, which allocate nothing and take no lock.
    unsafe {
        agent.pre_exec(move || {
            // Away from root's terminal: into that it could type, and what is typed there reaches who passes it on, once.
            setsid()?;
            set_no_new_privs(true)?;
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have ended before it was asked for.
            if getppid() == Some(attending) { Ok(()) } else { Err(Errno::SRCH.into()) }
        });
    }
    agent.spawn()
}

/// As who ends this one told it.
fn end(agent: &Child) {
    if let Err(error) = kill_process(Pid::from_child(agent), Signal::TERM) {
        warn!(%error, "the agent cannot be told to end");
    }
}

/// What the vehicle keeps, and the folder of its keys.
fn hand_over(told: &Path, config: &Config, user: User) -> Result<(), AttendError> {
    let told = told.canonicalize().map_err(failed(told, user))?;
    for path in told.ancestors() {
        if user.may_write(&fs::metadata(path).map_err(failed(path, user))?) {
            return Err(AttendError::Writable { path: path.into(), id: user.id });
        }
    }
    make_private(&config.state)?;
    give_folder(&config.state, &told, user)?;
    let key = config.fleet.as_ref().map(|fleet| &fleet.key);
    let Some(KeyAt::File(key)) = key else { return Ok(()) };
    let folder = folder_of(key);
    if holds_others(folder, key).map_err(failed(folder, user))? {
        let path = key.display();
        warn!(%path, "the agent cannot put its next key in this one's place: give keys a folder of their own");
        return Ok(());
    }
    give_folder(folder, &told, user)
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether there is anything in a key's folder but keys: this one, and by its name the next.
fn holds_others(folder: &Path, key: &Path) -> io::Result<bool> {
    let name = key.file_name().unwrap_or_default();
    for file in fs::read_dir(folder)? {
        if !file?.file_name().as_bytes().starts_with(name.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn failed(path: &Path, user: User) -> impl FnOnce(io::Error) -> AttendError {
    let (path, id) = (path.to_path_buf(), user.id);
    move |source| AttendError::Give { path, id, source }
}

/// A folder with all that is in it, at each start: another program, or this one as it was before, may have laid something there as root.
fn give_folder(folder: &Path, told: &Path, user: User) -> Result<(), AttendError> {
    let whole = folder.canonicalize().map_err(failed(folder, user))?;
    if told.starts_with(&whole) {
        return Err(AttendError::Holds { path: whole, told: told.into() });
    }
    let opened = open_folder(CWD, folder.as_os_str());
    let given =
        opened.and_then(|opened| give_all(&opened, user, fstat(&opened)?.st_dev, DEPTH_MAX));
    given.map_err(|error| failed(folder, user)(error.into()))
}

fn open_folder(within: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(within, name, flags, Mode::empty())
}

/// What is in an opened folder, and the folder. Links are not given, nor what is on another file system.
fn give_all(folder: &OwnedFd, user: User, device: u64, depth: u32) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        // It may be gone, or be something else by now: then it is not what was there to be given.
        let Ok(node) = open_node(folder, name) else { continue };
        let found = fstat(&node)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind == FileType::RegularFile && found.st_nlink == 1 && found.st_dev == device {
            give(&node, &found, user)?;
        } else if kind == FileType::Directory
            && depth > 0
            && let Ok(inner) = open_folder(folder, name)
            && fstat(&inner)?.st_dev == device
        {
            give_all(&inner, user, device, depth.saturating_sub(1))?;
        }
    }
    give(folder, &fstat(folder)?, user)
}

fn open_node(within: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(within, name, flags, Mode::empty())
}

fn give(opened: &OwnedFd, found: &Stat, user: User) -> Result<(), Errno> {
    if (found.st_uid, found.st_gid) == (user.id, user.group) {
        return Ok(());
    }
    let (id, group) = (Uid::from_raw(user.id), Gid::from_raw(user.group));
    chownat(opened, "", Some(id), Some(group), AtFlags::EMPTY_PATH)
}

/// What a configuration names that comes and goes.
struct Devices {
    /// Nodes of devices, and what was wrong with each at the last look.
    nodes: Vec<(PathBuf, Option<String>)>,
    bus: Option<AttendedBus>,
    /// Keys: others are laid in their place, by root.
    keys: Vec<(PathBuf, Option<String>)>,
}

struct AttendedBus {
    interface: String,
    speed: BusSpeed,
    /// The kernel's number of the interface that was brought up: an adapter that was plugged in again has another one.
    number: Option<u32>,
    looks: u32,
    wrong: Option<String>,
}

impl Devices {
    fn of(config: &Config) -> Self {
        let camera = config.camera.as_ref().map(|camera| camera.device.clone());
        let line = config.gateway.as_ref().map(|gateway| gateway.line.clone());
        let bus = config.can.as_ref().and_then(|can| {
            let (interface, speed) = (can.interface.clone(), speed(can)?);
            Some(AttendedBus { interface, speed, number: None, looks: 0, wrong: None })
        });
        let mut keys = Vec::new();
        if let Some(fleet) = &config.fleet {
            let own = [Some(fleet.key.clone()), fleet.next_key()];
            keys.extend(own.into_iter().flatten().filter_map(|key| match key {
                KeyAt::File(path) => Some(path),
                KeyAt::Token(_) => None,
            }));
            keys.extend(fleet.certificates.as_ref().map(|folder| folder.join("key.pem")));
        }
        let unsaid = |path| (path, None);
        let nodes = [camera, line].into_iter().flatten().map(unsaid).collect();
        Self { nodes, bus, keys: keys.into_iter().map(unsaid).collect() }
    }

    /// What is not there now may be there later: it is said once, and looked for again.
    fn look_after(&mut self, user: User) {
        for (node, wrong) in &mut self.nodes {
            let given = give_node(node, user);
            tell_change(wrong, &node.display().to_string(), given.err().as_ref());
        }
        for (key, wrong) in &mut self.keys {
            // The agent says which key it misses.
            let error = give_file(key, user).err();
            let error = error.filter(|error| error.kind() != io::ErrorKind::NotFound);
            tell_change(wrong, &key.display().to_string(), error.as_ref());
        }
        if let Some(bus) = &mut self.bus {
            bus.look_after();
        }
    }
}

impl AttendedBus {
    /// Brought up once for each time that it is there: who takes it down afterwards means it.
    fn look_after(&mut self) {
        let number = fs::read_to_string(format!("/sys/class/net/{}/ifindex", self.interface));
        let number = number.ok().and_then(|text| text.trim().parse().ok());
        self.looks = self.looks.saturating_add(1);
        let again = self.wrong.is_some() && self.looks > BUS_LOOKS;
        if number == self.number && number.is_some() && !again {
            return;
        }
        (self.number, self.looks) = (number, 0);
        if number.is_none() {
            let away = io::Error::from(io::ErrorKind::NotFound);
            return tell_change(&mut self.wrong, &self.interface, Some(&away));
        }
        let up = bring_up(&self.interface, self.speed);
        if let Ok(true) = up {
            let (interface, bit_rate) = (&self.interface, self.speed.bit_rate);
            info!(interface, bit_rate, "the bus is brought up");
        }
        tell_change(&mut self.wrong, &self.interface, up.err().as_ref());
    }
}

/// Says what came to be wrong with something that the agent is to have, and once it is not wrong any more.
fn tell_change<E: std::error::Error>(wrong: &mut Option<String>, what: &str, now: Option<&E>) {
    let now = now.map(|error| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    });
    if *wrong != now {
        match &now {
            Some(why) => warn!(what, why, "the agent does not have this"),
            None => info!(what, "the agent has this"),
        }
        *wrong = now;
    }
}

/// The node of a device, to the user's group. A link to it is followed: by what it is plugged into, a device has one name.
fn give_node(node: &Path, user: User) -> io::Result<()> {
    let found = fs::metadata(node)?;
    if !found.file_type().is_char_device() {
        return Err(io::Error::other("it is no character device"));
    }
    if found.gid() != user.group {
        chown(node, None, Some(user.group))?;
    }
    if found.mode() & NODE_MODE != NODE_MODE {
        fs::set_permissions(node, Permissions::from_mode(found.mode() & 0o7777 | NODE_MODE))?;
    }
    Ok(())
}

/// A file that was laid there for the user, who may be in its folder.
fn give_file(path: &Path, user: User) -> io::Result<()> {
    let file = open_node(CWD, path.as_os_str())?;
    let found = fstat(&file)?;
    if found.st_uid == user.id {
        return Ok(());
    }
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_nlink != 1 {
        return Err(io::Error::other("it is a link, or has another name elsewhere"));
    }
    Ok(give(&file, &found, user)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: User = User { id: 900, group: 900 };

    #[test]
    fn a_user_is_two_numbers_and_not_root() {
        assert_eq!("900:901".parse::<User>().unwrap(), User { id: 900, group: 901 });
        for text in [
            "900",
            "shoal:shoal",
            "900:",
            "-1:0",
            "900:901:902",
            "",
            "0:900",
            "900:0",
            "4294967295:900",
        ] {
            let error = text.parse::<User>().unwrap_err().to_string();
            assert!(error.contains("UID:GID"), "{error}");
        }
    }

    #[test]
    fn only_devices_are_given() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("video0");
        assert_eq!(give_node(&file, USER).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&file, "no device").unwrap();
        assert!(give_node(&file, USER).unwrap_err().to_string().contains("no character device"));
        assert_ne!(fs::metadata(&file).unwrap().gid(), USER.group);
    }

    /// As root alone, who makes and gives such nodes.
    #[test]
    fn a_device_is_open_to_the_users_group() {
        let folder = tempfile::tempdir().unwrap();
        let node = folder.path().join("null");
        let made = Command::new("mknod").arg(&node).args(["c", "1", "3"]).output();
        if !getuid().is_root() || !made.is_ok_and(|made| made.status.success()) {
            return;
        }
        fs::set_permissions(&node, Permissions::from_mode(0o600)).unwrap();
        give_node(&node, USER).unwrap();
        let found = fs::metadata(&node).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (0, USER.group, NODE_MODE));
    }

    #[test]
    fn a_file_with_another_name_is_not_given() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(give_file(&at("key"), USER).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(at("other"), "x").unwrap();
        fs::hard_link(at("other"), at("key")).unwrap();
        std::os::unix::fs::symlink(at("other"), at("link")).unwrap();
        for name in ["key", "link"] {
            let refused = give_file(&at(name), USER).unwrap_err().to_string();
            assert!(refused.contains("another name"), "{refused}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_once() {
        let mut wrong = None;
        for now in [None, Some("away"), Some("away"), None] {
            tell_change(&mut wrong, "video0", now.map(io::Error::other).as_ref());
            assert_eq!(wrong.as_deref(), now);
        }
    }
}
