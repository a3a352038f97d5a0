//! Checks the Linux backend against the kernel's virtual devices: the camera `vivid`, the bus `vcan`; and two
//! controllers on one bus, where there are such.
//!
//! `devices [--camera /dev/video0] [--can vcan0] [--candump FILE] [--controllers can0,can1]` prints a line for each check and fails
//! if one does. It starts itself again as another process to send on the bus: the library has nothing to
//! send with. Root is needed to take the interface down and up.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to who runs it")]

#[cfg(target_os = "linux")]
#[path = "devices/mod.rs"]
mod devices;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == "send"
    {
        return devices::send::main(rest);
    }
    let mut checks = devices::Checks::default();
    let given = |name: &str, usual: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(usual, String::as_str).to_owned()
    };
    let (camera, can) = (given("--camera", "/dev/video0"), given("--can", "vcan0"));
    let candump = Some(given("--candump", "")).filter(|file| !file.is_empty());
    devices::camera::check(&mut checks, &camera);
    devices::bus::check(&mut checks, &can);
    devices::joined::check(&mut checks, &camera, &can, candump.as_deref());
    if let Some((one, other)) = given("--controllers", "").split_once(',') {
        devices::controllers::check(&mut checks, one, other);
    }
    println!("devices: {} passed, {} failed", checks.passed, checks.failed.len());
    for failed in &checks.failed {
        eprintln!("failed: {failed}");
    }
    if checks.failed.is_empty() {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the devices are those of Linux");
}
