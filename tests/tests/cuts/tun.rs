//! A TUN device: what a namespace sends comes out of a file, what is written to the file the namespace receives.
#![expect(unsafe_code, reason = "which device a file is, one ioctl says")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Whole IP packets, without a header before them (Linux, Documentation/networking/tuntap).
const FLAGS: libc::c_int = libc::IFF_TUN | libc::IFF_NO_PI;

/// Makes a device of this name, in the namespace of this thread; it may be moved to another one. It is gone with the file.
///
/// # Errors
/// The system's: there are no such devices, or no right to them.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: FLAGS as libc::c_short },
    };
    // The last stays 0: a name ends there.
    let names = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (to, from) in names.zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is, and which lives beyond the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}
