//! A host on the LAN behind a gateway: a TCP/IP stack of its own (smoltcp), and a wire to the gateway.

use std::collections::VecDeque;
use std::net::IpAddr;

use ipsec::{Instant, MAX_HEADROOM, MAX_TAILROOM, PacketBuf};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{icmp, tcp};
use smoltcp::time::Instant as HostInstant;
use smoltcp::wire::{
    HardwareAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpCidr,
    Ipv4Packet, Ipv6Packet,
};

/// What a host sends and receives at once, in bytes: enough for a long line.
const TCP_BUFFER: usize = 512 * 1024;
/// Room before a packet that is enough for AH around ESP.
const HEADROOM: usize = 2 * MAX_HEADROOM;
/// The identifier of our pings.
const PING_IDENT: u16 = 0x1d5e;
/// What a ping carries, in bytes.
const PING_LEN: usize = 56;

/// An IP packet with room around it, so that the gateway can seal it in place.
pub struct Packet {
    buffer: Vec<u8>,
    len: usize,
}

impl Packet {
    fn new(len: usize) -> Self {
        Self { buffer: vec![0; HEADROOM + len + 2 * MAX_TAILROOM], len }
    }

    /// As the gateway wants it.
    pub fn as_buf(&mut self) -> Option<PacketBuf<'_>> {
        PacketBuf::new(&mut self.buffer, HEADROOM..HEADROOM + self.len)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[HEADROOM..][..self.len]
    }
}

/// A host.
pub struct Host {
    address: IpAddr,
    prefix: u8,
    seed: u64,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    icmp: SocketHandle,
    tcp: SocketHandle,
}

impl Host {
    /// A host with an address, whose gateway is the only way out.
    pub fn new(now: Instant, address: IpAddr, prefix: u8, mtu: usize, seed: u64) -> Self {
        let mut wire = Wire { mtu, from_host: VecDeque::new(), to_host: VecDeque::new() };
        let interface = interface(now, address, prefix, seed, &mut wire);
        let packets =
            || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 1024]);
        let buffer = || tcp::SocketBuffer::new(vec![0; TCP_BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_congestion_control(tcp::CongestionControl::Reno);
        let mut sockets = SocketSet::new(Vec::new());
        let icmp = sockets.add(icmp::Socket::new(packets(), packets()));
        let tcp = sockets.add(socket);
        let bound =
            sockets.get_mut::<icmp::Socket<'_>>(icmp).bind(icmp::Endpoint::Ident(PING_IDENT));
        debug_assert!(bound.is_ok());
        Self { address, prefix, seed, wire, interface, sockets, icmp, tcp }
    }

    /// Its address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Gives the host's interface another MTU, as router advertisements or path MTU discovery would.
    pub fn set_mtu(&mut self, now: Instant, mtu: usize) {
        self.wire.mtu = mtu;
        self.interface = interface(now, self.address, self.prefix, self.seed, &mut self.wire);
    }

    /// Lets the host work through what it has received and wants to send.
    pub fn poll(&mut self, now: Instant) {
        self.interface.poll(host_time(now), &mut self.wire, &mut self.sockets);
    }

    /// When the host wants to work again.
    pub fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(host_time(now), &self.sockets)?;
        Some(Instant::from_micros(u64::try_from(at.total_micros()).unwrap_or(0)))
    }

    /// The next packet that the host has given to its gateway.
    pub fn take_packet(&mut self) -> Option<Packet> {
        self.wire.from_host.pop_front()
    }

    /// A packet that the gateway gives to the host.
    pub fn give_packet(&mut self, packet: &[u8]) {
        self.wire.to_host.push_back(packet.to_vec());
    }

    /// Sends an echo request.
    pub fn ping(&mut self, to: IpAddr, seq_no: u16) {
        let checksums = ChecksumCapabilities::default();
        let (ident, data) = (PING_IDENT, &[0x50; PING_LEN]);
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.icmp);
        let Ok(room) = socket.send(8 + PING_LEN, to.into()) else { return };
        match (self.address, to) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let request = Icmpv6Repr::EchoRequest { ident, seq_no, data };
                request.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(room), &checksums);
            }
            _ => {
                let request = Icmpv4Repr::EchoRequest { ident, seq_no, data };
                request.emit(&mut Icmpv4Packet::new_unchecked(room), &checksums);
            }
        }
    }

    /// The number of the next echo reply that has come.
    pub fn pong(&mut self) -> Option<u16> {
        let checksums = ChecksumCapabilities::default();
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.icmp);
        while let Ok((message, from)) = socket.recv() {
            let seq_no =
                match (IpAddr::from(from), self.address) {
                    (IpAddr::V6(from), IpAddr::V6(to)) => Icmpv6Packet::new_checked(message)
                        .and_then(|packet| {
                            match Icmpv6Repr::parse(&from, &to, &packet, &checksums)? {
                                Icmpv6Repr::EchoReply { seq_no, .. } => Ok(Some(seq_no)),
                                _ => Ok(None),
                            }
                        }),
                    _ => Icmpv4Packet::new_checked(message).and_then(|packet| {
                        match Icmpv4Repr::parse(&packet, &checksums)? {
                            Icmpv4Repr::EchoReply { seq_no, .. } => Ok(Some(seq_no)),
                            _ => Ok(None),
                        }
                    }),
                };
            if let Ok(Some(seq_no)) = seq_no {
                return Some(seq_no);
            }
        }
        None
    }

    /// Begins a TCP connection.
    pub fn connect(&mut self, to: IpAddr, port: u16) -> Result<(), tcp::ConnectError> {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        socket.connect(self.interface.context(), (IpAddress::from(to), port), 49_152)
    }

    /// The TCP socket.
    pub fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.tcp)
    }
}

fn interface(now: Instant, address: IpAddr, prefix: u8, seed: u64, wire: &mut Wire) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, wire, host_time(now));
    interface.update_ip_addrs(|addresses| {
        // The list is empty, so there is room.
        let _ = addresses.push(IpCidr::new(address.into(), prefix));
    });
    // Everything goes to the gateway, whatever its address.
    let routes = interface.routes_mut();
    let _ = match address {
        IpAddr::V4(address) => routes.add_default_ipv4_route(address),
        IpAddr::V6(address) => routes.add_default_ipv6_route(address),
    };
    interface
}

fn host_time(now: Instant) -> HostInstant {
    HostInstant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// Counts down the hop limit, as every router must that forwards a packet. `false`: its life is over, drop it.
pub fn count_down_hops(packet: &mut [u8]) -> bool {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => {
            let Ok(mut packet) = Ipv4Packet::new_checked(packet) else { return false };
            packet.set_hop_limit(packet.hop_limit().saturating_sub(1));
            packet.fill_checksum();
            packet.hop_limit() > 0
        }
        Some(6) => {
            let Ok(mut packet) = Ipv6Packet::new_checked(packet) else { return false };
            packet.set_hop_limit(packet.hop_limit().saturating_sub(1));
            packet.hop_limit() > 0
        }
        _ => false,
    }
}

/// The wire between a host and its gateway.
struct Wire {
    mtu: usize,
    from_host: VecDeque<Packet>,
    to_host: VecDeque<Vec<u8>>,
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: HostInstant) -> Option<(Received, Room<'_>)> {
        let packet = self.to_host.pop_front()?;
        Some((Received(packet), Room(&mut self.from_host)))
    }

    fn transmit(&mut self, _: HostInstant) -> Option<Room<'_>> {
        Some(Room(&mut self.from_host))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Room<'a>(&'a mut VecDeque<Packet>);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = Packet::new(len);
        let result = f(packet.bytes_mut());
        self.0.push_back(packet);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_secs(1);

    fn pair(a: &str, b: &str, prefix: u8) -> (Host, Host) {
        let host = |text: &str, seed| Host::new(START, text.parse().unwrap(), prefix, 1400, seed);
        (host(a, 1), host(b, 2))
    }

    /// Carries packets from one host to the other, as two routers would. Gives the lengths of what went.
    fn carry(from: &mut Host, to: &mut Host) -> Vec<usize> {
        let mut lengths = Vec::new();
        from.poll(START);
        while let Some(mut packet) = from.take_packet() {
            assert!(count_down_hops(packet.bytes_mut()));
            lengths.push(packet.len);
            to.give_packet(packet.bytes_mut());
        }
        to.poll(START);
        lengths
    }

    #[test]
    fn hosts_ping_each_other() {
        for (mut a, mut b) in
            [pair("192.168.1.10", "192.168.2.10", 24), pair("2001:db8:1::10", "2001:db8:2::10", 64)]
        {
            let to = b.address();
            a.ping(to, 7);
            assert_eq!((carry(&mut a, &mut b).len(), a.pong()), (1, None));
            assert_eq!(carry(&mut b, &mut a).len(), 1);
            assert_eq!(a.pong(), Some(7));
        }
    }

    #[test]
    fn tcp_segments_fill_the_mtu() {
        let (mut a, mut b) = pair("192.168.1.10", "192.168.2.10", 24);
        b.tcp().listen(80).unwrap();
        a.set_mtu(START, 1234);
        let to = b.address();
        a.connect(to, 80).unwrap();
        carry(&mut a, &mut b);
        carry(&mut b, &mut a);
        a.tcp().send_slice(&[1; 4000]).unwrap();
        assert_eq!(carry(&mut a, &mut b).into_iter().max(), Some(1234));
    }

    #[test]
    fn a_packet_whose_life_is_over_is_not_forwarded() {
        let (mut a, _) = pair("192.168.1.10", "192.168.2.10", 24);
        a.ping("192.168.2.10".parse().unwrap(), 1);
        a.poll(START);
        let mut packet = a.take_packet().unwrap();
        let hops = packet.bytes_mut()[8];
        assert_eq!(
            (1..).take_while(|_| count_down_hops(packet.bytes_mut())).count(),
            usize::from(hops) - 1
        );
        assert!(!count_down_hops(&mut []));
    }
}
