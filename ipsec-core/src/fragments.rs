//! Stateful fragment checking (RFC 4301 section 7.4): the ports of fragments that have none, from the first of their
//! datagram.

use core::time::Duration;

use crate::selector::Flow;
use crate::time::Instant;
use crate::wire::{Fragment, IpPacket};

/// How long a datagram is remembered after its first fragment. Its receiver would not wait longer than 15 seconds for a
/// fragment by RFC 791, and 60 by RFC 8200 section 4.5.
const KEPT: Duration = Duration::from_secs(30);

/// Memory for one datagram that passes in fragments. All zero is empty.
#[derive(Clone, Copy, Debug)]
pub struct FragmentSlot {
    /// Its first fragment; the ports are `None` where two of them disagree.
    flow: Flow,
    identification: u32,
    /// When its first fragment came.
    since: Instant,
    used: bool,
}

impl FragmentSlot {
    /// No datagram.
    pub const EMPTY: Self =
        Self { flow: Flow::UNSPECIFIED, identification: 0, since: Instant::ZERO, used: false };
}

/// The datagrams that pass in fragments, in lent memory. Each fragment looks through all slots, so that a few dozen are
/// enough; where there are more datagrams than slots, the oldest is forgotten. With no slots, no ports are found.
///
/// It only adds what cannot be seen: the first fragment itself is judged by its own ports, and a later one without a
/// first stays without ports, and is for policies of any port or of [`PortRange::OPAQUE`] only.
///
/// [`PortRange::OPAQUE`]: crate::selector::PortRange::OPAQUE
pub struct FragmentTable<'r> {
    slots: &'r mut [FragmentSlot],
}

impl<'r> FragmentTable<'r> {
    /// No datagrams.
    pub fn new(slots: &'r mut [FragmentSlot]) -> Self {
        slots.fill(FragmentSlot::EMPTY);
        Self { slots }
    }

    /// The ends of a packet with the ports of its datagram, as far as they are known.
    ///
    /// If first fragments of one datagram disagree about its ports, nobody can tell which of them its receiver will take,
    /// and later fragments stay without ports.
    pub fn complete(&mut self, now: Instant, ip: &IpPacket) -> Flow {
        if ip.fragment == Fragment::Whole {
            return ip.flow;
        }
        let alike = |slot: &&mut FragmentSlot| {
            slot.used
                && slot.identification == ip.identification
                && now < slot.since.after(KEPT)
                && (slot.flow.source, slot.flow.destination, slot.flow.protocol)
                    == (ip.flow.source, ip.flow.destination, ip.flow.protocol)
        };
        let known = self.slots.iter_mut().find(alike);
        match (ip.fragment, known) {
            (Fragment::First, Some(slot)) if slot.flow == ip.flow => {}
            (Fragment::First, Some(slot)) => {
                (slot.flow.source_port, slot.flow.destination_port) = (None, None);
            }
            (Fragment::First, None) => {
                let age = |slot: &&mut FragmentSlot| (slot.used, slot.since);
                if let Some(slot) = self.slots.iter_mut().min_by_key(age) {
                    let identification = ip.identification;
                    *slot = FragmentSlot { flow: ip.flow, identification, since: now, used: true };
                }
            }
            (_, Some(slot)) => return slot.flow,
            (_, None) => {}
        }
        ip.flow
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::net::Ipv4Addr;
    use std::vec::Vec;

    use zerocopy::IntoBytes;

    use super::*;
    use crate::wire::Ipv4Header;

    /// A part of the datagram `id`, at an offset in units of eight bytes.
    fn fragment(last: u8, id: u16, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
        let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, last));
        let mut header = Ipv4Header::new(from, to, 17, 0, 64, payload.len()).unwrap();
        header.id = id.into();
        header.flags_offset = (offset | if more { 0x2000 } else { 0 }).into();
        header.update_checksum();
        [header.as_bytes(), payload].concat()
    }

    fn ports(
        table: &mut FragmentTable<'_>,
        seconds: u64,
        packet: &[u8],
    ) -> (Option<u16>, Option<u16>) {
        let ip = IpPacket::parse(packet).unwrap();
        let flow = table.complete(Instant::from_secs(seconds), &ip);
        (flow.source_port, flow.destination_port)
    }

    const DNS: (Option<u16>, Option<u16>) = (Some(1024), Some(53));
    const HEAD: [u8; 8] = [4, 0, 0, 53, 0, 16, 0, 0];

    #[test]
    fn later_fragments_have_the_ports_of_the_first() {
        // RFC 4301 section 7.4
        let mut slots = [FragmentSlot::EMPTY; 4];
        let mut table = FragmentTable::new(&mut slots);
        let later = fragment(2, 7, 1, false, &[9; 8]);
        assert_eq!(ports(&mut table, 0, &later), (None, None), "the first has not come");
        assert_eq!(ports(&mut table, 1, &fragment(2, 7, 0, true, &HEAD)), DNS);
        assert_eq!(ports(&mut table, 2, &later), DNS);
        assert_eq!(ports(&mut table, 30, &later), DNS, "repeated");
        assert_eq!(ports(&mut table, 31, &later), (None, None), "too late");
        assert_eq!(ports(&mut table, 2, &fragment(2, 8, 1, false, &[9; 8])), (None, None));
        assert_eq!(ports(&mut table, 2, &fragment(3, 7, 1, false, &[9; 8])), (None, None));
        // A whole packet is neither remembered nor completed.
        assert_eq!(ports(&mut table, 3, &fragment(4, 9, 0, false, &HEAD)), DNS);
        assert_eq!(ports(&mut table, 3, &fragment(4, 9, 1, false, &[9; 8])), (None, None));
    }

    #[test]
    fn a_first_fragment_that_contradicts_another_makes_the_datagram_opaque() {
        let mut slots = [FragmentSlot::EMPTY; 2];
        let mut table = FragmentTable::new(&mut slots);
        let later = fragment(2, 7, 1, false, &[9; 8]);
        let other = [4, 0, 0, 22, 0, 16, 0, 0];
        assert_eq!(ports(&mut table, 0, &fragment(2, 7, 0, true, &HEAD)), DNS);
        assert_eq!(ports(&mut table, 0, &fragment(2, 7, 0, true, &HEAD)), DNS);
        assert_eq!(ports(&mut table, 0, &later), DNS);
        assert_eq!(ports(&mut table, 0, &fragment(2, 7, 0, true, &other)).1, Some(22));
        assert_eq!(ports(&mut table, 0, &later), (None, None));
        assert_eq!(ports(&mut table, 0, &fragment(2, 7, 0, true, &HEAD)), DNS);
        assert_eq!(ports(&mut table, 0, &later), (None, None));
    }

    #[test]
    fn the_oldest_datagram_is_forgotten() {
        let mut slots = [FragmentSlot::EMPTY; 2];
        let mut table = FragmentTable::new(&mut slots);
        for (second, id) in [(0, 1), (1, 2), (2, 3)] {
            assert_eq!(ports(&mut table, second, &fragment(2, id, 0, true, &HEAD)), DNS);
        }
        for (id, known) in [(1, (None, None)), (2, DNS), (3, DNS)] {
            assert_eq!(ports(&mut table, 3, &fragment(2, id, 1, false, &[9; 8])), known);
        }
        let mut none = FragmentTable::new(&mut []);
        assert_eq!(ports(&mut none, 0, &fragment(2, 1, 0, true, &HEAD)), DNS);
        assert_eq!(ports(&mut none, 0, &fragment(2, 1, 1, true, &HEAD)), (None, None));
    }
}
