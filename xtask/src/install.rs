//! What `cargo xtask test` needs beside a Rust toolchain and a C compiler: said first, then installed.

use std::path::{Path, PathBuf};

use crate::image::vehicle;
use crate::process::{Run, found};
use crate::steps::{Outcome, Skip, Steps};
use crate::{Done, Failure, onnxruntime, tools};

pub(crate) const BARE_TARGET: &str = "thumbv7em-none-eabihf";
/// What the gateway's firmware is built for.
pub(crate) const GATEWAY_TARGETS: [&str; 2] = [BARE_TARGET, "thumbv8m.main-none-eabihf"];
const DENY: (&str, &str) = ("cargo-deny", "0.20.2");
const MACHETE: (&str, &str) = ("cargo-machete", "0.9.2");

/// One thing that is needed.
pub(crate) struct Need {
    pub(crate) name: &'static str,
    /// Those of `cargo xtask test` that do without it less than they could, or nothing.
    pub(crate) steps: &'static [&'static str],
    what_for: &'static str,
    how: &'static str,
    is_there: fn() -> bool,
    install: fn() -> Done,
}

/// Everything, in the order in which it is installed.
pub(crate) const NEEDS: [Need; 17] = [
    Need {
        name: "rustfmt and clippy",
        steps: &["fmt", "clippy"],
        what_for: "format and lints",
        how: "rustup component add",
        is_there: || {
            ["fmt", "clippy"].iter().all(|tool| Run::cargo().args([tool, "--version"]).succeeds())
        },
        install: || rustup(&["component", "add", "rustfmt", "clippy"]),
    },
    Need {
        name: "bare target",
        steps: &["bare", "gateway"],
        what_for: "links the cores for a machine without a system",
        how: "rustup target add thumbv7em-none-eabihf",
        is_there: has_bare_target,
        install: || rustup(&["target", "add", BARE_TARGET]),
    },
    Need {
        name: "gateway target",
        steps: &["gateway"],
        what_for: "builds the gateway's firmware for a second machine",
        how: "rustup target add thumbv8m.main-none-eabihf",
        is_there: || GATEWAY_TARGETS.into_iter().all(has_target),
        install: || {
            GATEWAY_TARGETS.iter().try_for_each(|target| rustup(&["target", "add", target]))
        },
    },
    Need {
        name: "QEMU for ARM",
        steps: &["gateway"],
        what_for: "runs the gateway's firmware",
        how: "apt-get install qemu-system-arm",
        is_there: has_qemu,
        install: || apt_get(&["qemu-system-arm"]),
    },
    Need {
        name: "ffmpeg",
        steps: &["tests"],
        what_for: "decodes recorded drives",
        how: "apt-get install ffmpeg",
        is_there: has_ffmpeg,
        install: || apt_get(&["ffmpeg"]),
    },
    Need {
        name: "mosquitto",
        steps: &["tests"],
        what_for: "the broker that links are tested on beside the embedded one",
        how: "apt-get install mosquitto",
        is_there: has_mosquitto,
        install: || apt_get(&["mosquitto"]),
    },
    Need {
        name: "libfaketime",
        steps: &["tests"],
        what_for: "moves the clock of one process",
        how: "apt-get install libfaketime",
        is_there: has_faketime,
        install: || apt_get(&["libfaketime"]),
    },
    Need {
        name: "iproute2",
        steps: &["tests"],
        what_for: "makes the network in which a test cuts real programs",
        how: "apt-get install iproute2",
        is_there: || found("ip"),
        install: || apt_get(&["iproute2"]),
    },
    Need {
        name: "nats-server",
        steps: &["tests"],
        what_for: "a broker of several nodes that links are tested on",
        how: "apt-get install nats-server",
        is_there: has_nats,
        install: || apt_get(&["nats-server"]),
    },
    Need {
        name: "SoftHSM",
        steps: &["tests"],
        what_for: "a token that holds keys (PKCS #11)",
        how: "apt-get install softhsm2",
        is_there: has_softhsm,
        install: || apt_get(&["softhsm2"]),
    },
    Need {
        name: "Chromium",
        steps: &["tests"],
        what_for: "shows the console's page to a test",
        how: "apt-get install chromium",
        is_there: has_chromium,
        install: || apt_get(&["chromium"]),
    },
    Need {
        name: "C++ compiler",
        steps: &["fuzz"],
        what_for: "builds libFuzzer",
        how: "apt-get install g++",
        is_there: has_cxx,
        install: || apt_get(&["g++"]),
    },
    Need {
        name: "ONNX Runtime",
        steps: &["tests", "demo", "gateway", "vehicle", "fuzz", "accelerator"],
        what_for: "runs and trains models; 24 MB by pip, into target/tools",
        how: "pip download onnxruntime",
        is_there: || onnxruntime::library().is_some(),
        install: || {
            if onnxruntime::pip().is_err() {
                apt_get(&["python3", "python3-pip"])?;
            }
            onnxruntime::install()
        },
    },
    Need {
        name: "vehicle target",
        steps: &["vehicle"],
        what_for: "the agent of a vehicle computer",
        how: "rustup target add aarch64-unknown-linux-gnu",
        is_there: || has_target(vehicle::TARGET),
        install: || rustup(&["target", "add", vehicle::TARGET]),
    },
    Need {
        name: "image tools",
        steps: &["vehicle"],
        what_for: "a vehicle computer's disk: cross compiler, file systems, emulator",
        how: "apt-get install gcc-aarch64-linux-gnu qemu-system-arm …",
        is_there: || vehicle::missing().is_empty(),
        install: || apt_get(&vehicle::missing()),
    },
    Need {
        name: "cargo-deny",
        steps: &["deny"],
        what_for: "licences, sources, advisories; built once, minutes",
        how: "cargo install --root target/tools",
        is_there: || cargo_tool(DENY).is_some(),
        install: || cargo_install(DENY),
    },
    Need {
        name: "cargo-machete",
        steps: &["machete"],
        what_for: "dependencies that nothing uses; built once, a minute",
        how: "cargo install --root target/tools",
        is_there: || cargo_tool(MACHETE).is_some(),
        install: || cargo_install(MACHETE),
    },
];

impl Need {
    /// Whether one of these steps needs it.
    pub(crate) fn is_of(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.steps.iter().any(|step| wanted(step))
    }
}

/// Says what is missing for the steps that are wanted, then installs it. What cannot be installed is a skip; what depends on it
/// says so again.
pub(crate) fn install(steps: &mut Steps, wanted: impl Fn(&str) -> bool) {
    let needs = || NEEDS.iter().filter(|need| need.is_of(&wanted));
    if needs().next().is_none() {
        return;
    }
    println!("cargo xtask test needs, beside a Rust toolchain and a C compiler:");
    for need in needs() {
        let state = if (need.is_there)() { "is there" } else { "WILL BE INSTALLED" };
        let Need { name, what_for, how, .. } = need;
        println!("  {name:<20} {state:<18} {what_for} ({how})");
    }
    for need in needs() {
        if !(need.is_there)() {
            steps.step(need.name, || match (need.install)() {
                Ok(()) => Ok(Outcome::Passed),
                Err(Failure(why)) => Ok(Outcome::Skipped(Skip::because(format!(
                    "cannot be installed: {}",
                    why.lines().next().unwrap_or_default()
                )))),
            });
        }
    }
}

/// What rmqtt's build asks for, which `cargo xtask test` does not do: it builds a protoc of its own, too, from C++.
pub(crate) fn rmqtt() -> Done {
    let programs = [("protoc", "protobuf-compiler"), ("c++", "g++"), ("make", "make")];
    let missing = programs.into_iter().filter(|(program, _package)| !found(program));
    let missing: Vec<&str> = missing.map(|(_program, package)| package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installs what rmqtt's build asks for (apt-get install {})", missing.join(" "));
    apt_get(&missing)
}

pub(crate) fn deny() -> Option<PathBuf> {
    cargo_tool(DENY)
}

pub(crate) fn machete() -> Option<PathBuf> {
    cargo_tool(MACHETE)
}

pub(crate) fn has_ffmpeg() -> bool {
    Run::new("ffmpeg").arg("-version").succeeds()
}

/// Debian keeps it where only root's PATH looks.
pub(crate) fn has_mosquitto() -> bool {
    found("mosquitto") || Path::new("/usr/sbin/mosquitto").is_file()
}

/// Where Debian keeps it.
pub(crate) fn has_faketime() -> bool {
    let below = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let path = |arch| format!("/usr/lib/{arch}/faketime/libfaketime.so.1");
    below.into_iter().any(|arch| Path::new(&path(arch)).is_file())
}

/// Whether a test may have a network of its own: in namespaces as those of tests/tests/cuts a TUN device is made, which is gone
/// with them.
pub(crate) fn has_namespaces() -> bool {
    let user: &[&str] = if is_root() { &[] } else { &["--user", "--map-root-user"] };
    let unshare = Run::new("unshare").args(user);
    unshare
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["ip", "tuntap", "add", "dev", "shoal", "mode", "tun"])
        .succeeds()
}

/// As mosquitto.
pub(crate) fn has_nats() -> bool {
    found("nats-server") || Path::new("/usr/sbin/nats-server").is_file()
}

pub(crate) fn has_softhsm() -> bool {
    found("softhsm2-util")
}

pub(crate) fn has_chromium() -> bool {
    found("chromium")
}

pub(crate) fn has_cxx() -> bool {
    std::env::var_os("CXX").is_some() || found("c++")
}

pub(crate) fn has_qemu() -> bool {
    found("qemu-system-arm")
}

pub(crate) fn has_bare_target() -> bool {
    has_target(BARE_TARGET)
}

pub(crate) fn has_target(target: &str) -> bool {
    let args = ["--print", "target-libdir", "--target", target];
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Run::new(rustc).args(args).output().is_ok_and(|folder| PathBuf::from(folder).is_dir())
}

/// The program in this version: on PATH, or ours in target/tools.
fn cargo_tool((name, version): (&str, &str)) -> Option<PathBuf> {
    let is_of_version = |program: &PathBuf| {
        let shown = Run::by_own_name(program).arg("--version").output();
        shown.is_ok_and(|shown| shown.contains(version))
    };
    [PathBuf::from(name), tools().join("bin").join(name)].into_iter().find(is_of_version)
}

/// Without optimisation and debug information: it is built more often than it is waited for.
fn cargo_install((name, version): (&str, &str)) -> Done {
    Run::cargo()
        .args(["install", name, "--version", version, "--locked", "--debug", "--quiet", "--force"])
        .arg("--root")
        .arg(tools())
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .run()
}

fn is_root() -> bool {
    Run::new("id").arg("-u").output().is_ok_and(|user| user == "0")
}

fn rustup(args: &[&str]) -> Done {
    if !found("rustup") {
        let args = args.join(" ");
        return Err(Failure(format!(
            "no rustup to do `rustup {args}`: install it that way you got Rust"
        )));
    }
    Run::new("rustup").args(args).run()
}

fn apt_get(packages: &[&str]) -> Done {
    let list = packages.join(" ");
    if !found("apt-get") {
        return Err(Failure(format!("no apt-get: install {list} by your system's own means")));
    }
    let as_root = || {
        let run =
            if is_root() { Run::new("apt-get") } else { Run::new("sudo").args(["-n", "apt-get"]) };
        run.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet")
    };
    as_root().arg("update").run()?;
    as_root().args(["install", "--yes", "--no-install-recommends"]).args(packages).run()
}
