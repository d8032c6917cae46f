//! The unprotected side: sockets for IKE, for ESP in UDP, for ESP as IP protocol 50, for AH as IP protocol 51 and for ICMP, one of
//! each that is needed for each of our addresses. So it is known to which of them a datagram came, and a reply leaves from
//! the right one.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

use ipsec::ipsec_core::wire::{Ipv6Header, protocol};
use ipsec::{Endpoint, IpPacket, Path};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
};
use socket2::{Domain, Protocol, Socket, Type};
use zerocopy::IntoBytes;

use crate::tun::ROUTES;

/// Bytes before the payload of a UDP datagram.
pub(crate) const ROOM: usize = Ipv6Header::LEN;

/// Room for what waits while a key exchange is computed.
const BUFFER: usize = 4 << 20;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// UDP: IKE, and on the second port ESP as well.
    Udp,
    /// IP protocol 50.
    Esp,
    /// IP protocol 51.
    Ah,
    /// ICMP, for what routers say of our packets.
    Icmp,
}

impl Kind {
    /// What is told of it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Esp => "IP protocol 50",
            Self::Ah => "IP protocol 51",
            Self::Icmp => "ICMP",
        }
    }
}

/// All sockets.
pub(crate) struct Sockets {
    all: Vec<Entry>,
    /// For whole IP packets in clear; IPv6 may be switched off.
    clear: (Socket, Option<Socket>),
}

struct Entry {
    kind: Kind,
    /// Ours. The port is 0 but for [`Kind::Udp`].
    local: Endpoint,
    socket: Socket,
}

/// A datagram that arrived.
pub(crate) struct Datagram {
    pub(crate) kind: Kind,
    pub(crate) path: Path,
    /// Of the outer header.
    pub(crate) traffic_class: u8,
    /// Where in the buffer it lies: the payload of UDP with [`ROOM`] before it, else the whole IP packet.
    pub(crate) range: Range<usize>,
}

impl Sockets {
    /// One for each of these.
    pub(crate) fn open(listening: &[(IpAddr, Kind, u16)]) -> Result<Self, String> {
        let mut all = Vec::new();
        for (address, kind, port) in listening {
            let local = Endpoint::new(*address, *port);
            let socket = open(*kind, local).map_err(|e| {
                format!("cannot listen on {local}, {}: {e}{}", kind.name(), hint(&e))
            })?;
            all.push(Entry { kind: *kind, local, socket });
        }
        let clear = open_clear(Domain::IPV4)
            .map_err(|e| format!("cannot make a socket for packets in clear: {e}{}", hint(&e)))?;
        Ok(Self { all, clear: (clear, open_clear(Domain::IPV6).ok()) })
    }

    /// For each socket of the address `from` one of the address `to`, unless it is there. They get the numbers behind those that
    /// there are, which stay: an address may come back.
    pub(crate) fn follow(&mut self, from: IpAddr, to: IpAddr) -> io::Result<()> {
        let old = self.all.iter().filter(|entry| entry.local.address == from);
        let wanted: Vec<_> =
            old.map(|entry| (entry.kind, Endpoint::new(to, entry.local.port))).collect();
        for (kind, local) in wanted {
            if !self.all.iter().any(|entry| entry.kind == kind && entry.local == local) {
                self.all.push(Entry { kind, local, socket: open(kind, local)? });
            }
        }
        Ok(())
    }

    /// The descriptors, in the order of their numbers for [`Sockets::receive`].
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.all.iter().map(|entry| entry.socket.as_raw_fd())
    }

    /// The next datagram of a socket; `None` if there is none.
    pub(crate) fn receive(&self, number: usize, buf: &mut [u8]) -> io::Result<Option<Datagram>> {
        let Some(Entry { kind, local, socket }) = self.all.get(number) else { return Ok(None) };
        // A raw IPv4 socket gives the IP header as well. For IPv6 it is put before what comes; before the payload of UDP,
        // the library may need the room.
        let lacks_header = *kind != Kind::Udp && local.address.is_ipv6();
        let start = if *kind == Kind::Udp || lacks_header { ROOM } else { 0 };
        let mut control = nix::cmsg_space!(i32);
        let mut slices = [IoSliceMut::new(buf.get_mut(start..).unwrap_or_default())];
        let fd = socket.as_raw_fd();
        let message = match recvmsg::<SockaddrStorage>(
            fd,
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let remote = message.address.as_ref().and_then(socket_address);
        let remote = remote.ok_or_else(|| io::Error::other("a datagram from nowhere"))?;
        let mut traffic_class = 0;
        for cmsg in message.cmsgs()? {
            match cmsg {
                ControlMessageOwned::Ipv4Tos(tos) => traffic_class = tos,
                ControlMessageOwned::Ipv6TClass(class) => {
                    traffic_class = u8::try_from(class).unwrap_or(0);
                }
                _ => {}
            }
        }
        let len = message.bytes;
        let mut remote = Endpoint::from(remote);
        if *kind != Kind::Udp {
            remote.port = 0; // Linux puts the protocol there
        }
        if lacks_header {
            let header = received_header(*kind, *local, remote, traffic_class, len);
            let header = header.ok_or_else(|| io::Error::other("longer than IPv6 can carry"))?;
            if let Some(room) = buf.get_mut(..ROOM) {
                room.copy_from_slice(header.as_bytes());
            }
        }
        let range = 0..start + len;
        let path = Path::new(*local, remote);
        Ok(Some(Datagram { kind: *kind, path, traffic_class, range }))
    }

    /// Sends a payload from one of our addresses.
    pub(crate) fn send(
        &self,
        kind: Kind,
        path: Path,
        traffic_class: u8,
        payload: &[u8],
    ) -> io::Result<()> {
        let found = self.all.iter().find(|entry| entry.kind == kind && entry.local == path.local);
        let entry = found.ok_or_else(|| io::Error::other("not one of our addresses"))?;
        let to = SockaddrStorage::from(SocketAddr::from(path.remote));
        let class = i32::from(traffic_class);
        let cmsg = match path.local.address {
            IpAddr::V4(_) => ControlMessage::Ipv4Tos(&traffic_class),
            IpAddr::V6(_) => ControlMessage::Ipv6TClass(&class),
        };
        let cmsgs = if traffic_class == 0 { &[][..] } else { &[cmsg][..] };
        let slices = [IoSlice::new(payload)];
        let fd = entry.socket.as_raw_fd();
        sendmsg(fd, &slices, cmsgs, MsgFlags::MSG_DONTWAIT, Some(&to))?;
        Ok(())
    }

    /// Sends a whole IP packet as it is, past the tunnels. The kernel does not fragment it.
    pub(crate) fn send_clear(&self, packet: &[u8]) -> io::Result<()> {
        let parsed = IpPacket::parse(packet).map_err(io::Error::other)?;
        let to = parsed.flow.destination;
        let (v4, v6) = &self.clear;
        let socket = if to.is_ipv4() { Some(v4) } else { v6.as_ref() };
        let socket = socket.ok_or_else(|| io::Error::other("IPv6 is switched off"))?;
        socket.send_to(packet, &SocketAddr::new(to, 0).into()).map(drop)
    }
}

/// Whether this host has the address.
pub(crate) fn is_ours(address: IpAddr) -> bool {
    let bound = std::net::UdpSocket::bind((address, 0));
    bound.map_or_else(|e| e.kind() != io::ErrorKind::AddrNotAvailable, |_| true)
}

/// From which address this host would send to another one, past the tunnels.
pub(crate) fn source_towards(remote: Endpoint) -> io::Result<IpAddr> {
    let domain = if remote.address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_mark(ROUTES)?;
    socket.connect(&SocketAddr::from(remote).into())?;
    let local = socket.local_addr()?.as_socket();
    local.map(|local| local.ip()).ok_or_else(|| io::Error::other("an address of no IP version"))
}

/// The header that a packet of a raw IPv6 socket had, as far as that is known; AH does not cover the rest.
fn received_header(
    kind: Kind,
    local: Endpoint,
    remote: Endpoint,
    traffic_class: u8,
    len: usize,
) -> Option<Ipv6Header> {
    let (IpAddr::V6(to), IpAddr::V6(from)) = (local.address, remote.address) else { return None };
    let next = match kind {
        Kind::Udp => protocol::UDP,
        Kind::Esp => protocol::ESP,
        Kind::Ah => protocol::AH,
        Kind::Icmp => protocol::ICMPV6,
    };
    Ipv6Header::new(from, to, next, traffic_class, HOP_LIMIT, len)
}

/// What stands for a hop limit that is not known.
const HOP_LIMIT: u8 = 64;

fn open_clear(domain: Domain) -> io::Result<Socket> {
    const RAW: i32 = 255; // whoever sends brings the IP header
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::from(RAW)))?;
    socket.set_mark(ROUTES)?;
    Ok(socket)
}

fn open(kind: Kind, local: Endpoint) -> io::Result<Socket> {
    let is_v4 = local.address.is_ipv4();
    let domain = if is_v4 { Domain::IPV4 } else { Domain::IPV6 };
    let (type_, protocol) = match kind {
        Kind::Udp => (Type::DGRAM, Protocol::UDP),
        Kind::Esp => (Type::RAW, Protocol::from(i32::from(protocol::ESP))),
        Kind::Ah => (Type::RAW, Protocol::from(i32::from(protocol::AH))),
        Kind::Icmp if is_v4 => (Type::RAW, Protocol::ICMPV4),
        Kind::Icmp => (Type::RAW, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, type_.nonblocking(), Some(protocol))?;
    if is_v4 {
        if kind == Kind::Udp {
            socket.set_recv_tos_v4(true)?;
        }
    } else {
        if kind == Kind::Udp {
            socket.set_only_v6(true)?; // what a raw socket is anyway
        }
        socket.set_recv_tclass_v6(true)?;
    }
    // Not into our own tunnels.
    socket.set_mark(ROUTES)?;
    // A smaller buffer is no reason to stop.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&SocketAddr::from(local).into())?;
    Ok(socket)
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port()))
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (root, or CAP_NET_RAW and CAP_NET_ADMIN, are needed)",
        io::ErrorKind::AddrInUse => " (is another IKE daemon running?)",
        io::ErrorKind::AddrNotAvailable => " (no interface has this address)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_tells_where_it_came_from_and_to() {
        let ours = Endpoint::new("127.0.0.1".parse().unwrap(), 0);
        let socket = open_plain(ours);
        let local = Endpoint::from(socket.local_addr().unwrap().as_socket().unwrap());
        let clear = (open_plain(ours), None);
        let sockets = Sockets { all: vec![Entry { kind: Kind::Udp, local, socket }], clear };
        let mut buf = [0; ROOM + 64];
        assert!(sockets.receive(0, &mut buf).unwrap().is_none());
        // To itself, with a mark of congestion.
        sockets.send(Kind::Udp, Path::new(local, local), 3, b"hello").unwrap();
        let datagram = sockets.receive(0, &mut buf).unwrap().unwrap();
        assert_eq!(&buf[datagram.range][ROOM..], b"hello");
        assert_eq!((datagram.path, datagram.traffic_class), (Path::new(local, local), 3));
        let elsewhere = local.with_port(1);
        assert!(sockets.send(Kind::Udp, Path::new(elsewhere, local), 0, b"").is_err());
    }

    /// Without the mark, which only root may set.
    fn open_plain(local: Endpoint) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), None).unwrap();
        socket.set_recv_tos_v4(true).unwrap();
        socket.bind(&SocketAddr::from(local).into()).unwrap();
        socket
    }
}
