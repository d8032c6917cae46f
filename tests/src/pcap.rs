//! What the network carried, as a capture file that tcpdump, tshark and Wireshark read.
//!
//! The link type is "raw IP" (101): packets begin with their IP header, which is made here, UDP checksum included.

use core::net::IpAddr;
use std::io;
use std::path::Path;
use std::vec::Vec;

use ipsec_core::time::Instant;

use crate::link::{Captured, Datagram, Transport};

const LINKTYPE_RAW: u32 = 101;
const UDP: u8 = 17;

/// A capture file in memory.
#[derive(Clone, Debug)]
pub struct Pcap {
    bytes: Vec<u8>,
}

impl Pcap {
    /// A capture of nothing.
    pub fn new() -> Self {
        let mut bytes = Vec::new();
        // Magic number of microseconds, version 2.4, time zone and accuracy, snapshot length, link type.
        bytes.extend(0xa1b2_c3d4u32.to_be_bytes());
        bytes.extend([0, 2, 0, 4]);
        bytes.extend([0; 8]);
        bytes.extend(262_144u32.to_be_bytes());
        bytes.extend(LINKTYPE_RAW.to_be_bytes());
        Self { bytes }
    }

    /// A capture of what a tap recorded, lost datagrams included: they were sent.
    pub fn of(tap: &[Captured]) -> Self {
        let mut pcap = Self::new();
        for captured in tap {
            pcap.datagram(captured.at, &captured.datagram);
        }
        pcap
    }

    /// Appends a datagram with the headers that carry it.
    pub fn datagram(&mut self, at: Instant, datagram: &Datagram) {
        self.packet(at, &packet(datagram));
    }

    /// Appends an IP packet.
    pub fn packet(&mut self, at: Instant, packet: &[u8]) {
        let (secs, micros) = (at.as_micros() / 1_000_000, at.as_micros() % 1_000_000);
        let len = u32_of(packet.len());
        // Time wraps in the year 2106 of an epoch.
        for field in [secs as u32, micros as u32, len, len] {
            self.bytes.extend(field.to_be_bytes());
        }
        self.bytes.extend(packet);
    }

    /// The file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the file.
    pub fn write_to(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, &self.bytes)
    }
}

impl Default for Pcap {
    fn default() -> Self {
        Self::new()
    }
}

/// The whole IP packet of a datagram.
///
/// # Panics
/// If the addresses are of different families, or the packet is longer than IP can carry.
pub fn packet(datagram: &Datagram) -> Vec<u8> {
    let (protocol, payload) = match datagram.transport {
        Transport::Udp => (UDP, udp(datagram)),
        Transport::Ip(51) => return datagram.bytes.clone(),
        Transport::Ip(protocol) => (protocol, datagram.bytes.clone()),
    };
    match (datagram.source.address, datagram.destination.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = Vec::from([0x45, 0]);
            packet.extend(u16_of(20 + payload.len()).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            let checksum = checksum(&[&packet]);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            packet.extend(payload);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = Vec::from([0x60, 0, 0, 0]);
            packet.extend(u16_of(payload.len()).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(payload);
            packet
        }
        (source, destination) => panic!("no packet goes from {source} to {destination}"),
    }
}

fn udp(datagram: &Datagram) -> Vec<u8> {
    let len = u16_of(8 + datagram.bytes.len());
    let mut udp = Vec::new();
    for field in [datagram.source.port, datagram.destination.port, len, 0] {
        udp.extend(field.to_be_bytes());
    }
    udp.extend(&datagram.bytes);
    let mut pseudo = Vec::new();
    for address in [datagram.source.address, datagram.destination.address] {
        match address {
            IpAddr::V4(a) => pseudo.extend(a.octets()),
            IpAddr::V6(a) => pseudo.extend(a.octets()),
        }
    }
    pseudo.extend(u16::from(UDP).to_be_bytes());
    pseudo.extend(len.to_be_bytes());
    // Zero would mean "no checksum".
    let checksum = match checksum(&[&pseudo, &udp]) {
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    udp
}

/// The Internet checksum (RFC 1071) over parts of which only the last may be odd.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        sum += u32::from(word);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn u16_of(len: usize) -> u16 {
    u16::try_from(len).unwrap_or_else(|_| panic!("{len} bytes are more than IP carries"))
}

fn u32_of(len: usize) -> u32 {
    u32::try_from(len).unwrap_or_else(|_| panic!("{len} bytes are more than pcap holds"))
}

#[cfg(test)]
mod tests {
    use ipsec_core::path::Endpoint;

    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse::<core::net::SocketAddr>().unwrap().into()
    }

    #[test]
    fn the_file_is_laid_out_as_published() {
        let mut pcap = Pcap::new();
        pcap.packet(Instant::from_micros(2_000_003), &[0x45, 1, 2]);
        let file = pcap.as_bytes();
        assert_eq!(file.len(), 24 + 16 + 3);
        assert_eq!(file[..8], [0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4]);
        assert_eq!(file[20..24], [0, 0, 0, 101]);
        assert_eq!(file[24..40], [0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 3]);
    }

    #[test]
    fn headers_sum_to_zero() {
        for (a, b) in [("192.0.2.1:500", "198.51.100.7:4500"), ("[2001:db8::1]:1", "[::2]:2")] {
            for len in 0..40u8 {
                let bytes: Vec<u8> = (0..len).map(|b| b.wrapping_mul(37)).collect();
                let datagram = Datagram::udp(endpoint(a), endpoint(b), bytes);
                let packet = packet(&datagram);
                assert_eq!(packet.len(), datagram.packet_len());
                let (header, addresses) = if packet[0] >> 4 == 4 { (20, 12) } else { (40, 8) };
                if header == 20 {
                    assert_eq!(checksum(&[&packet[..20]]), 0);
                }
                let udp = &packet[header..];
                let rest = [0, UDP, udp[4], udp[5]];
                assert_eq!(checksum(&[&packet[addresses..header], &rest, udp]), 0);
            }
        }
    }
}
