//! Whether there is a network, and whether it is paid by the byte: by the interface that what is sent leaves through.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::vehicle::{StateError, entries, number, text};
use crate::Network;

/// `ARPHRD_ETHER`: cable and wireless. `ARPHRD_RAWIP`, `ARPHRD_PPP`: modems.
const ETHERNET: i64 = 1;
const MODEMS: [i64; 2] = [519, 512];
/// `RTF_UP`, `RTF_REJECT`: a route that is used; one that leads nowhere.
const ROUTE_UP: u32 = 1;
const ROUTE_REJECT: u32 = 0x200;
/// As much of a list of routes as is looked at, bytes.
const ROUTES_BYTES_MAX: u64 = 1 << 20;

/// An interface that is up and can lead to a broker.
struct Interface {
    name: String,
    network: Network,
    /// Said to be paid by the byte, not only of a kind that is.
    named: bool,
}

/// The network by the interfaces in `sysfs` and the routes in `proc` beside it: what the default route of the lowest metric
/// leads through, of IPv4 and of IPv6; metered if either is. Without any such route the best there is, but an interface
/// that is named as metered is taken to be what the others only lie beside.
pub(super) fn network(sysfs: &Path, metered: &[String]) -> Result<Network, StateError> {
    let up = interfaces(&sysfs.join("class/net"), metered)?;
    let proc = sysfs.with_file_name("proc");
    let (v4, v6) = (read(&proc.join("net/route")), read(&proc.join("net/ipv6_route")));
    let of_v4 = used(&up, v4.lines().filter_map(default_v4));
    let of_v6 = used(&up, v6.lines().filter_map(default_v6));
    let is_metered = |interface: &&Interface| interface.network == Network::Metered;
    let routed: Vec<&Interface> = of_v4.into_iter().chain(of_v6).collect();
    if routed.iter().any(is_metered) {
        return Ok(Network::Metered);
    }
    if !routed.is_empty() {
        return Ok(Network::Unmetered);
    }
    let free = up.iter().any(|interface| interface.network == Network::Unmetered);
    Ok(if up.iter().any(|interface| interface.named) {
        Network::Metered
    } else if free {
        Network::Unmetered
    } else if up.is_empty() {
        Network::None
    } else {
        Network::Metered
    })
}

fn interfaces(folder: &Path, metered: &[String]) -> Result<Vec<Interface>, StateError> {
    let mut up = Vec::new();
    for interface in entries(folder)? {
        let state = text(&interface.join("operstate"));
        // Modems and tunnels do not know whether they are up; what they carry is then seen by use.
        if !state.is_some_and(|state| state == "up" || state == "unknown") {
            continue;
        }
        let kind = number(&interface.join("type")).unwrap_or(0);
        let name = interface.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let named = metered.contains(&name);
        let network = if named || MODEMS.contains(&kind) {
            Network::Metered
        } else if kind == ETHERNET {
            Network::Unmetered
        } else {
            continue;
        };
        up.push(Interface { name, network, named });
    }
    Ok(up)
}

/// Those of the interfaces whose default route has the lowest metric.
fn used<'a, 'b>(
    up: &'a [Interface],
    routes: impl Iterator<Item = (&'b str, u32)>,
) -> Vec<&'a Interface> {
    let found = |(name, metric)| {
        let interface = up.iter().find(|interface| interface.name == name)?;
        Some((metric, interface))
    };
    let routes: Vec<(u32, &Interface)> = routes.filter_map(found).collect();
    let lowest = routes.iter().map(|(metric, _)| *metric).min();
    let lowest = routes.into_iter().filter(|(metric, _)| Some(*metric) == lowest);
    lowest.map(|(_, interface)| interface).collect()
}

/// Interface and metric of a line of `net/route` that is a default route: `eth0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0`.
fn default_v4(line: &str) -> Option<(&str, u32)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, destination, _gateway, flags, _references, _uses, metric, mask, ..] = words[..]
    else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let is_default = is_zero(destination) && is_zero(mask) && leads_on(flags);
    Some((name, metric.parse().ok()?)).filter(|_| is_default)
}

/// The same of `net/ipv6_route`: destination, its bits, source, its bits, next hop, metric, references, uses, flags, interface.
fn default_v6(line: &str) -> Option<(&str, u32)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [destination, bits, _source, _source_bits, _hop, metric, _references, _uses, flags, name] =
        words[..]
    else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let is_default = is_zero(destination) && is_zero(bits) && leads_on(flags);
    Some((name, u32::from_str_radix(metric, 16).ok()?)).filter(|_| is_default)
}

fn is_zero(hex: &str) -> bool {
    hex.bytes().all(|digit| digit == b'0')
}

const fn leads_on(flags: u32) -> bool {
    flags & ROUTE_UP != 0 && flags & ROUTE_REJECT == 0
}

/// A list of routes; empty if it cannot be read.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(ROUTES_BYTES_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        bytes.clear();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The network of interfaces with operstate and type, and default routes over IPv4 and IPv6 with their metrics.
    fn seen(
        interfaces: &[(&str, &str, u32)],
        v4: &[(&str, u32)],
        v6: &[(&str, u32)],
        metered: &str,
    ) -> Network {
        let root = tempfile::tempdir().unwrap();
        let (sys, net) = (root.path().join("sys"), root.path().join("proc/net"));
        for (name, state, kind) in interfaces {
            let folder = sys.join("class/net").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("operstate"), format!("{state}\n")).unwrap();
            fs::write(folder.join("type"), format!("{kind}\n")).unwrap();
        }
        fs::create_dir_all(&net).unwrap();
        let mut routes =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
                .to_owned();
        for (name, metric) in v4 {
            routes += &format!(
                "{name}\t00000000\t0101A8C0\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0   \n\
                 {name}\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0   \n"
            );
        }
        fs::write(net.join("route"), routes).unwrap();
        let none = "0".repeat(32);
        let line = |metric, flags, name| {
            format!(
                "{none} 00 {none} 00 {none} {metric:08x} 00000001 00000000 {flags:08x} {name:>8}\n"
            )
        };
        let mut routes: String =
            v6.iter().map(|(name, metric)| line(*metric, 0x0045_0003u32, *name)).collect();
        routes += &line(u32::MAX, 0x0020_0200, "lo");
        fs::write(net.join("ipv6_route"), routes).unwrap();
        network(&sys, &[metered.to_owned()]).unwrap()
    }

    const MODEM: (&str, &str, u32) = ("wwan0", "unknown", 519);
    const USB: (&str, &str, u32) = ("wwan0", "up", 1);
    const WIFI: (&str, &str, u32) = ("wlan0", "up", 1);
    const BUS: (&str, &str, u32) = ("can0", "up", 280);

    #[test]
    fn a_network_paid_by_the_byte_is_used_only_alone() {
        let wifi_first = [("wlan0", 100), ("wwan0", 1000)];
        assert_eq!(seen(&[BUS], &[], &[], "wwan0"), Network::None);
        assert_eq!(seen(&[BUS, MODEM], &[], &[], "wwan0"), Network::Metered);
        assert_eq!(seen(&[USB], &[], &[], "wwan0"), Network::Metered);
        assert_eq!(seen(&[USB, WIFI], &wifi_first, &[], "wwan0"), Network::Unmetered);
        assert_eq!(seen(&[WIFI, MODEM], &wifi_first, &[], "wwan0"), Network::Unmetered);
        assert_eq!(seen(&[WIFI, MODEM], &[], &[], "none"), Network::Unmetered);
    }

    #[test]
    fn what_lies_beside_the_way_out_makes_it_not_free() {
        let (router, switch) = (("eth0", "up", 1), ("eth1", "up", 1));
        let network = |v4: &[_], v6: &[_]| seen(&[router, switch], v4, v6, "eth0");
        assert_eq!(network(&[("eth0", 0)], &[]), Network::Metered);
        assert_eq!(network(&[], &[("eth0", 1024)]), Network::Metered);
        assert_eq!(network(&[("eth0", 100), ("eth1", 1000)], &[]), Network::Metered);
        assert_eq!(network(&[("eth0", 1000), ("eth1", 100)], &[]), Network::Unmetered);
        // Both, one after the other, or by another address.
        assert_eq!(network(&[("eth0", 100), ("eth1", 100)], &[]), Network::Metered);
        assert_eq!(network(&[("eth1", 0)], &[("eth0", 1024)]), Network::Metered);
        // Nothing says what leads out.
        assert_eq!(network(&[], &[]), Network::Metered);
    }

    #[test]
    fn a_route_through_what_is_down_or_a_tunnel_is_none() {
        let down = ("eth0", "down", 1);
        let routes = [("eth0", 10), ("tun0", 20), ("wwan0", 1000)];
        let tunnel = ("tun0", "unknown", 65_534);
        assert_eq!(seen(&[down, tunnel, MODEM, WIFI], &routes, &[], "-"), Network::Metered);
        assert_eq!(seen(&[down, WIFI], &routes, &[], "-"), Network::Unmetered);
    }

    #[test]
    fn lines_of_nonsense_are_no_routes() {
        let v4 = "eth0 00000000 00000000 0003 0 0 7 00000000 0 0 0";
        assert_eq!(default_v4(v4), Some(("eth0", 7)));
        for line in [
            "",
            "eth0",
            "eth0 00000000 00000000 zz 0 0 7 00000000 0 0 0",
            "eth0 00000000 00000000 0003 0 0 -7 00000000 0 0 0",
            "eth0 00000000 00000000 0200 0 0 7 00000000 0 0 0",
            "eth0 00000000 00000000 0001 0 0 7 00000080 0 0 0",
        ] {
            assert_eq!(default_v4(line), None, "{line}");
            assert_eq!(default_v6(line), None, "{line}");
        }
    }
}
