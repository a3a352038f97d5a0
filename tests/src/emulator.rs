//! The image of a vehicle computer, booted in an emulator and ended like a computer whose power is cut.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tempfile::TempDir;

use crate::clock::Deadline;
use crate::fleet::{say, text};

/// Firmware of the emulated computer.
const FIRMWARE: &str = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd";
/// By when an emulated computer has done what is waited for; it is twenty times slower than this one.
pub const PATIENCE_SECONDS: u64 = 600;
/// Lines of a console that a failure shows.
const SHOWN: usize = 60;

/// What the other disk of an emulated computer has: it comes first, and looks like an image of Shoal.
const DECOY: [&str; 4] = ["esp", "root-a", "root-b", "data"];

/// A partition of the image, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partition {
    Esp = 1,
    RootA = 2,
    Data = 4,
}

/// A copy of an image: what a computer has written stays on it.
#[derive(Debug)]
pub struct Image {
    folder: TempDir,
}

/// An emulated computer that runs; dropped, its power is cut.
#[derive(Debug)]
pub struct Computer {
    child: Child,
    console: Arc<Mutex<String>>,
}

impl Image {
    /// A copy of the image that `SHOAL_IMAGE` names. `None`, said aloud: there is none; with `SHOAL_REQUIRE_IMAGE=1` that
    /// fails.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn copy_or_skip() -> Option<Self> {
        let Some(image) = std::env::var_os("SHOAL_IMAGE") else {
            assert!(std::env::var_os("SHOAL_REQUIRE_IMAGE").is_none(), "SHOAL_IMAGE names none");
            say("passed over: SHOAL_IMAGE names no image (`cargo xtask test image` makes one)");
            return None;
        };
        let folder = TempDir::new().expect("a folder");
        let copy = Self { folder };
        run(Command::new("cp").arg("--sparse=always").arg(image).arg(copy.disk()));
        copy.make_decoy();
        Some(copy)
    }

    /// Puts a folder on the data partition, as its `vehicle`.
    ///
    /// # Panics
    /// When it cannot be put there.
    pub fn equip(&self, vehicle: &Path) {
        let (file, script) = (self.folder.path().join("data"), self.folder.path().join("script"));
        self.read(Partition::Data, &file);
        let mut commands = String::new();
        copy_in(vehicle, "/vehicle", &mut commands);
        fs::write(&script, commands).expect("a file");
        run(Command::new("debugfs").arg("-w").arg("-f").arg(&script).arg(&file));
        self.write(Partition::Data, &file);
    }

    /// Replaces a program in the root of slot a.
    ///
    /// # Panics
    /// When it cannot be replaced.
    pub fn replace_in_slot_a(&self, program: &str, script: &str) {
        let (tree, root) = (self.folder.path().join("root"), self.folder.path().join("root.img"));
        let packed = self.folder.path().join("root.squashfs");
        self.read(Partition::RootA, &root);
        run(Command::new("unsquashfs")
            .args(["-quiet", "-no-progress", "-d"])
            .arg(&tree)
            .arg(&root));
        fs::write(tree.join(program), script).expect("a file");
        run(Command::new("mksquashfs").arg(&tree).arg(&packed).args([
            "-comp",
            "zstd",
            "-all-root",
            "-quiet",
            "-no-progress",
        ]));
        self.write(Partition::RootA, &packed);
    }

    /// The boot loader's entries: how slots are counted.
    ///
    /// # Panics
    /// When the boot partition cannot be read.
    pub fn entries(&self) -> Vec<String> {
        let list =
            output(Command::new("mdir").args(["-b", "-i", &self.esp(), "::/loader/entries"]));
        let names = list.lines().filter_map(|line| line.trim().rsplit('/').next());
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Copies the vehicle's state out, as a computer that starts again would find it: the journal of the file system
    /// is replayed first, in a copy.
    ///
    /// # Panics
    /// When the file system has a fault that a start would not put right.
    pub fn read_state(&self, state: &Path) {
        let file = self.folder.path().join("data");
        self.read(Partition::Data, &file);
        let checked =
            Command::new("e2fsck").args(["-p", "-f"]).arg(&file).output().expect("e2fsck");
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(matches!(checked.status.code(), Some(0 | 1)), "the data partition: {said}");
        let _removed = fs::remove_dir_all(state);
        let parent = state.parent().expect("a folder in a folder");
        let request = format!("rdump /vehicle/state {}", parent.display());
        run(Command::new("debugfs").args(["-R", &request]).arg(&file));
        // Before the agent's first start there is none.
        fs::create_dir_all(state).expect("a folder");
    }

    /// The name that its partitions and its kernel share.
    fn id(&self) -> String {
        let table = output(Command::new("sgdisk").arg("--info=1").arg(self.disk()));
        let name = table.lines().find_map(|line| line.strip_prefix("Partition name: 'shoal-"));
        let id = name.and_then(|name| name.strip_suffix("-esp'"));
        id.expect("sgdisk says a partition's name").to_owned()
    }

    fn make_decoy(&self) {
        let decoy = fs::File::create(self.decoy()).expect("a file");
        decoy.set_len(8 << 20).expect("a length");
        let parts = DECOY.iter().zip(1..).flat_map(|(part, number)| {
            [
                format!("--new={number}:0:+1M"),
                format!("--change-name={number}:shoal-00000000-{part}"),
            ]
        });
        run(Command::new("sgdisk").arg("--clear").args(parts).arg(self.decoy()));
    }

    /// Boots it.
    ///
    /// # Panics
    /// When the emulator does not start.
    pub fn boot(&self) -> Computer {
        self.start(&["-bios", FIRMWARE])
    }

    /// Boots its kernel, with its drivers and its root, into the script `init` beside these files, all below /check.
    ///
    /// # Panics
    /// When the emulator does not start.
    pub fn boot_into(&self, init: &str, files: &[&Path]) -> Computer {
        let folder = self.folder.path();
        let check = folder.join("more/check");
        fs::create_dir_all(&check).expect("a folder");
        fs::write(check.join("init"), init).expect("a file");
        run(Command::new("chmod").arg("755").arg(check.join("init")));
        run(Command::new("cp").args(files).arg(&check));
        let (kernel, initrd) = (folder.join("linux"), folder.join("initrd"));
        for (name, file) in [("::/a/linux", &kernel), ("::/a/initrd", &initrd)] {
            run(Command::new("mcopy").args(["-n", "-i", &self.esp(), name]).arg(file));
        }
        // The kernel unpacks one archive after the other.
        let script = "find . | cpio --create --format=newc --owner=0:0 --quiet | gzip >> ../initrd";
        run(Command::new("sh").args(["-c", script]).current_dir(folder.join("more")));
        let append =
            format!("console=ttyAMA0 quiet panic=-1 rdinit=/check/init shoal.disk={}", self.id());
        self.start(&[
            "-no-reboot",
            // Two controllers on one bus.
            "-object",
            "can-bus,id=bus",
            "-device",
            "kvaser_pci,canbus=bus",
            "-device",
            "kvaser_pci,canbus=bus",
            "-kernel",
            text(&kernel),
            "-initrd",
            text(&initrd),
            "-append",
            &append,
        ])
    }

    fn start(&self, args: &[&str]) -> Computer {
        let mut child = Command::new("qemu-system-aarch64")
            .args(["-machine", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024"])
            .args(["-nographic", "-drive"])
            .arg(format!("if=none,id=decoy,format=raw,file={}", self.decoy().display()))
            .arg("-drive")
            .arg(format!("if=none,id=disk,format=raw,file={}", self.disk().display()))
            .args(["-device", "virtio-blk-pci,drive=decoy"])
            .args(["-device", "virtio-blk-pci,drive=disk", "-netdev", "user,id=net"])
            .args(["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the emulator starts");
        let console = Arc::new(Mutex::new(String::new()));
        let (of_thread, output) = (Arc::clone(&console), child.stdout.take().expect("a pipe"));
        thread::spawn(move || {
            let (mut output, mut line) = (BufReader::new(output), Vec::new());
            while output.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                // One that the cut ended says nothing.
                if line.ends_with(b"\n") {
                    let mut text = of_thread.lock().unwrap_or_else(PoisonError::into_inner);
                    text.push_str(String::from_utf8_lossy(&line).trim_end());
                    text.push('\n');
                }
                line.clear();
            }
        });
        Computer { child, console }
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn decoy(&self) -> PathBuf {
        self.folder.path().join("decoy")
    }

    /// The boot partition, as mtools name it.
    fn esp(&self) -> String {
        let (first, _sectors) = self.place(Partition::Esp);
        format!("{}@@{}", self.disk().display(), first * 512)
    }

    /// Its first sector and how many it has.
    fn place(&self, partition: Partition) -> (u64, u64) {
        let number = partition as u8;
        let table = output(Command::new("sgdisk").arg(format!("--info={number}")).arg(self.disk()));
        let value = |name: &str| {
            let line = table.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).expect("sgdisk says where a partition is")
        };
        (value("First sector: "), value("Partition size: "))
    }

    fn read(&self, partition: Partition, file: &Path) {
        let (first, sectors) = self.place(partition);
        copy(&self.disk(), file, &[format!("skip={}", first * 512)], sectors * 512);
    }

    fn write(&self, partition: Partition, file: &Path) {
        let (first, sectors) = self.place(partition);
        let bytes = fs::metadata(file).expect("a file").len();
        assert!(bytes <= sectors * 512, "{bytes} bytes fit");
        copy(file, &self.disk(), &[format!("seek={}", first * 512)], bytes);
    }
}

impl Computer {
    /// What it has said on its console.
    pub fn said(&self) -> String {
        self.console.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has said this, so often.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn says(&self, what: &str, times: usize) {
        let deadline = Deadline::seconds(PATIENCE_SECONDS);
        while self.said().matches(what).count() < times {
            if deadline.left().is_zero() {
                self.show();
            }
            deadline.check(what);
            thread::park_timeout(std::time::Duration::from_millis(50));
        }
    }

    /// Cuts its power. What it has said.
    ///
    /// # Panics
    /// When it does not run.
    pub fn cut(mut self) -> String {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.said()
    }

    fn show(&self) {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default();
        say(&format!("── console\n{}", last.join("\n")));
    }
}

impl Drop for Computer {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show();
        }
        // One that was cut cannot be killed.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Copies bytes from or to a place in a disk.
fn copy(from: &Path, to: &Path, place: &[String], bytes: u64) {
    run(Command::new("dd")
        .arg(format!("if={}", from.display()))
        .arg(format!("of={}", to.display()))
        .args(place)
        .arg(format!("count={bytes}"))
        .args(["bs=1M", "iflag=count_bytes,skip_bytes", "oflag=seek_bytes"])
        .args(["conv=notrunc", "status=none"]));
}

/// The commands of debugfs that copy a folder with all in it; modes too.
fn copy_in(from: &Path, to: &str, commands: &mut String) {
    commands.push_str(&format!("mkdir {to}\ncd {to}\n"));
    let entries =
        fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    for (path, is_file) in
        files.iter().map(|path| (path, true)).chain(folders.iter().map(|path| (path, false)))
    {
        let name = text(Path::new(path.file_name().expect("a name")));
        if is_file {
            commands.push_str(&format!("write {} {name}\n", path.display()));
        } else {
            copy_in(path, &format!("{to}/{name}"), commands);
        }
    }
}

fn run(command: &mut Command) {
    let _said = output(command);
}

/// What a program said; programs of the system's own folders too.
fn output(command: &mut Command) -> String {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let shown = format!("{command:?}");
    let done = command.env("PATH", path).output().expect("the program starts");
    assert!(done.status.success(), "{shown}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}
