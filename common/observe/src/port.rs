//! A port for a server that has to be told one.
//!
//! Invariant: nobody else comes to the port by chance. The kernel gives the ports of its own range to every client that
//! connects and to every server that asks for port 0, so a server that starts slowly would lose one of these now and
//! then. A port from outside of that range is taken by those only who ask for this very one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use socket2::{Domain, Socket, Type};

/// Below this one, ports are often those of services.
const LOWEST: u16 = 20_000;
/// A range with fewer ports is not worth its risk: several programs would come to the same one.
const FEWEST: usize = 2_000;
/// So many ports in a row that are taken mean that the next one is too.
const LOOKS: usize = 100;

/// A port at which nobody listens and no connection is left, at random from outside of the kernel's range; one that the
/// kernel gives, where that range leaves too few.
///
/// # Errors
/// If the kernel has none left.
pub fn free() -> io::Result<u16> {
    let outside = ephemeral().and_then(|ephemeral| outside_of(&ephemeral));
    let found = outside.and_then(|outside| (0..LOOKS).map(|_| any_of(&outside)).find(|port| is_free(*port)));
    found.map_or_else(|| Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()), Ok)
}

/// The larger one of what lies below the kernel's range and what lies above it.
fn outside_of(ephemeral: &RangeInclusive<u16>) -> Option<RangeInclusive<u16>> {
    let below = LOWEST..=ephemeral.start().saturating_sub(1);
    let above = LOWEST.max(ephemeral.end().saturating_add(1))..=u16::MAX;
    let larger = if below.len() >= above.len() { below } else { above };
    (larger.len() >= FEWEST).then_some(larger)
}

fn any_of(ports: &RangeInclusive<u16>) -> u16 {
    // A new `RandomState` has new keys.
    let at = RandomState::new().build_hasher().finish() % ports.len() as u64;
    ports.start() + u16::try_from(at).expect("a range of ports is no longer than all of them")
}

/// Whether a server can have it at any address. Without SO_REUSEADDR, because the server may do without too, and then the
/// remains of an old connection are in its way.
fn is_free(port: u16) -> bool {
    let at = |domain: Domain, address: SocketAddr| -> io::Result<()> {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())
    };
    // A machine without IPv6 has another error.
    let taken = |result: io::Result<()>| result.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    at(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into()).is_ok()
        && !taken(at(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()))
}

/// The ports that the kernel gives by itself.
#[cfg(target_os = "linux")]
fn ephemeral() -> Option<RangeInclusive<u16>> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(|end| end.parse().ok());
    Some(ends.next()??..=ends.next()??)
}

/// The default of these systems (net.inet.ip.portrange.first, on NetBSD anonportmin).
#[cfg(any(target_vendor = "apple", target_os = "netbsd"))]
fn ephemeral() -> Option<RangeInclusive<u16>> {
    Some(49_152..=65_535)
}

/// Elsewhere its default leaves no range of that size, or it is not known.
#[cfg(not(any(target_os = "linux", target_vendor = "apple", target_os = "netbsd")))]
fn ephemeral() -> Option<RangeInclusive<u16>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_none_of_those_that_the_kernel_gives() {
        assert_eq!(outside_of(&(32_768..=60_999)), Some(20_000..=32_767));
        assert_eq!(outside_of(&(49_152..=65_535)), Some(20_000..=49_151));
        assert_eq!(outside_of(&(10_000..=40_000)), Some(40_001..=65_535));
        assert_eq!(outside_of(&(0..=65_535)), None);
        assert_eq!(outside_of(&(1_024..=65_535)), None);
        let Some(ephemeral) = ephemeral().filter(|ephemeral| outside_of(ephemeral).is_some()) else { return };
        for _ in 0..20 {
            let port = free().expect("some port is free");
            assert!(!ephemeral.contains(&port), "{port} is one of {ephemeral:?}");
        }
    }

    #[test]
    fn a_port_at_which_somebody_listens_is_not_free() {
        let at = |address: &str| TcpListener::bind(address).and_then(|it| Ok((it.local_addr()?.port(), it)));
        let (port, _v4) = at("127.0.0.1:0").expect("loopback is there");
        assert!(!is_free(port));
        if let Ok((port, _v6)) = at("[::1]:0") {
            assert!(!is_free(port));
        }
    }
}
