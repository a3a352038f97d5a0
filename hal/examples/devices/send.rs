//! The sender, a process of its own: `devices send INTERFACE GAP_MS ID#DATA…`, as can-utils write frames
//! (`ID##FLAGS DATA` for CAN FD, `ID#E` with bit 29 of the identifier for an error frame).

use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use socketcan::{
    CanDataFrame, CanErrorFrame, CanFdFrame, CanFdSocket, EmbeddedFrame as _, ExtendedId, Id,
    Socket as _, StandardId,
};

/// Sends frames on `interface`, one every `gap_ms`, from another process, which ends after the last.
pub(crate) fn start(
    interface: &str,
    gap_ms: u64,
    frames: &[String],
) -> Result<Child, Box<dyn std::error::Error>> {
    let mut sender = Command::new(std::env::current_exe()?);
    sender.args(["send", interface, &gap_ms.to_string()]).args(frames).stdin(Stdio::null());
    Ok(sender.spawn()?)
}

/// Sends frames and waits until they are sent.
pub(crate) fn all(
    interface: &str,
    gap_ms: u64,
    frames: &[String],
) -> Result<(), Box<dyn std::error::Error>> {
    let status = start(interface, gap_ms, frames)?.wait()?;
    super::must(status.success(), format_args!("the sender ended with {status}"))
}

pub(crate) fn main(arguments: &[String]) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("send: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a bus has a clock: frames are so far apart")]
fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [interface, gap_ms, frames @ ..] = arguments else {
        return Err("INTERFACE GAP_MS ID#DATA…".into());
    };
    let socket = CanFdSocket::open(interface)?;
    let gap = Duration::from_millis(gap_ms.parse()?);
    for frame in frames {
        let (id, data) = frame.split_once('#').ok_or("a frame is ID#DATA")?;
        if let Some(data) = data.strip_prefix('#') {
            let frame = CanFdFrame::new(identifier(id)?, &bytes(data.get(1..).unwrap_or(""))?);
            socket.write_frame(&frame.ok_or("no data of CAN FD")?)?;
        } else if data == "E" {
            let error = u32::from_str_radix(id, 16)?;
            socket.write_frame(&CanErrorFrame::new_error(error, &[0; 8])?)?;
        } else {
            let frame = CanDataFrame::new(identifier(id)?, &bytes(data)?);
            socket.write_frame(&frame.ok_or("more than 8 bytes")?)?;
        }
        std::thread::sleep(gap);
    }
    Ok(())
}

/// Three digits are the short identifier, more the long one.
fn identifier(text: &str) -> Result<Id, Box<dyn std::error::Error>> {
    let number = u32::from_str_radix(text, 16)?;
    if text.len() > 3 {
        return Ok(ExtendedId::new(number).ok_or("no identifier")?.into());
    }
    Ok(StandardId::new(u16::try_from(number)?).ok_or("no identifier")?.into())
}

fn bytes(text: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?)).collect()
}
