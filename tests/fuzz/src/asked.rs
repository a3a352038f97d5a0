//! The entry of the target `asked`: what somebody asks over HTTP, names as a key, or hands in as a campaign's record.

use std::io::{self, Read, Write};

use shoal_keys::{KeyAt, RejectUri};
use shoal_vehicle::exchange::metrics::Metrics;

use crate::evidence::evidence;
use crate::parts::parts;

/// The longest request that metrics read, and in how many pieces.
const REQUEST_BYTES_MAX: usize = 8 << 10;
const PIECES_MAX: usize = 8;

/// Reads the bytes behind the first as what that says: a request for metrics; the host of one for a console; where a key is; a
/// campaign's record and its journal.
///
/// # Panics
/// If more is told than may be, or what is accepted is not what it is written as again.
pub fn asked(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => metrics(rest),
        1 => host(rest),
        2 => key(rest),
        _record => evidence(rest),
    }
}

/// Who asks: what they say comes in pieces, and what they are told is kept.
struct Line<'a> {
    pieces: Vec<&'a [u8]>,
    read: usize,
    pieces_read: usize,
    told: Vec<u8>,
}

impl Read for &mut Line<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.pieces.first_mut() else { return Ok(0) };
        let count = piece.len().min(into.len());
        let (now, later) = piece.split_at(count);
        into[..count].copy_from_slice(now);
        *piece = later;
        if later.is_empty() {
            self.pieces.remove(0);
        }
        self.read += count;
        self.pieces_read += 1;
        Ok(count)
    }
}

impl Write for &mut Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.told.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nothing but `GET /metrics` is told anything, and nobody is read without end.
fn metrics(bytes: &[u8]) {
    let pieces: Vec<&[u8]> = parts(bytes).filter(|piece| !piece.is_empty()).collect();
    let said = pieces.concat();
    let mut line = Line { pieces, read: 0, pieces_read: 0, told: Vec::new() };
    let answered = Metrics::default().answer(&mut line);
    assert!(line.read <= REQUEST_BYTES_MAX && line.pieces_read <= PIECES_MAX);
    if answered.is_err() {
        assert!(line.told.is_empty(), "who hangs up is told nothing");
        return;
    }
    let told = String::from_utf8(line.told).expect("an answer is text");
    let (head, body) = told.split_once("\r\n\r\n").expect("an answer has a head");
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
    assert_eq!(length, Some(&*body.len().to_string()));
    let asks = said.starts_with(b"GET /metrics HTTP/1.") || said.starts_with(b"GET /metrics?");
    if head.starts_with("HTTP/1.1 200 OK\r\n") {
        assert!(asks && body.ends_with("# EOF\n"), "{}", said.escape_ascii());
    } else {
        let refused = ["400", "404", "405", "431"].map(|status| format!("HTTP/1.1 {status} "));
        assert!(refused.iter().any(|status| head.starts_with(status)) && body.is_empty(), "{told}");
    }
}

/// Who is answered by a console of its own computer names that, whatever stands around it.
fn host(bytes: &[u8]) {
    let Ok(host) = str::from_utf8(bytes) else { return };
    if !shoal_console::is_this_computer(host) {
        return;
    }
    let (before, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let is_port = port.bytes().all(|digit| digit.is_ascii_digit());
    let name = if is_port && !before.is_empty() { before } else { host };
    let [name, host] = [name, host].map(|name| name.to_ascii_lowercase());
    let is_address = |name: &str| {
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let is_local = name.split('.').next_back() == Some("localhost")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    // One with a scope has an address that no name can have.
    let is_socket = host.parse::<std::net::SocketAddr>().is_ok_and(|at| at.ip().is_loopback());
    assert!(is_address(&name) || is_address(&host) || is_local || is_socket, "{host}");
}

/// Where a key is has one form, and nobody is told its PIN.
fn key(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match KeyAt::parse(text) {
        Ok(at) => {
            assert_eq!(at.to_string(), text, "it is shown as it was written");
            assert_eq!(
                format!("{:?}", KeyAt::parse(&at.to_string())),
                format!("{:?}", Ok::<_, RejectUri>(at))
            );
        }
        Err(RejectUri::Unknown { attribute } | RejectUri::Utf8 { attribute }) => {
            assert!(!attribute.starts_with("pin-value="), "a PIN is told");
        }
        Err(
            RejectUri::Scheme | RejectUri::Missing { .. } | RejectUri::Path { .. } | RejectUri::Pin,
        ) => {}
    }
}
