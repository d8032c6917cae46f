//! The layout of a packet that leaves: which part of it is protected, and what is put around that.

use ipsec_core::bytes;
use ipsec_core::mode::Mode;
use ipsec_core::packet::{NoRoom, PacketBuf};
use ipsec_core::path::Path;
use ipsec_core::sa::{Encapsulation, Protection};
use ipsec_core::wire::{Fragment, IpPacket, Ipv4Header, Ipv6Header, UdpHeader, protocol};
use zerocopy::IntoBytes;

use crate::beet;
use crate::error::SealError;
use crate::mtu::Overhead;
use crate::padding;
use crate::transport;
use crate::tunnel::OuterFields;
use crate::wire::options;

/// What is to be protected.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// An IP packet.
    Packet(&'a IpPacket),
    /// As many bytes of nothing.
    Dummy(usize),
}

impl Content<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::Packet(inner) => inner.len,
            Self::Dummy(len) => *len,
        }
    }
}

/// All lengths are in bytes.
pub(crate) struct Layout {
    /// What the outer header says.
    pub(crate) fields: OuterFields,
    /// What the protected part is: the next header of ESP or AH.
    pub(crate) next_header: u8,
    /// Outer IP header, with options or extension headers.
    pub(crate) ip_len: usize,
    udp_len: usize,
    /// ESP header and IV, or AH.
    header_len: usize,
    /// Pseudo header of BEET mode.
    pseudo_len: usize,
    /// IPv4 options that follow the pseudo header.
    options_len: usize,
    /// Where in the packet as it was the protected part begins.
    start: usize,
    /// Length of the packet as it was.
    len: usize,
    /// Padding that hides the length.
    hidden_len: usize,
    /// Padding and trailer of ESP.
    pub(crate) trailer_len: usize,
    /// Behind the trailer.
    pub(crate) icv_len: usize,
    /// Whether the outer IP header is the packet's own.
    pub(crate) keeps_header: bool,
    /// Outer headers, that of ESP or AH, and the pseudo header.
    front: usize,
    /// What follows the packet.
    back: usize,
    /// The outer packet.
    total: usize,
}

/// The longest outer packet. IPv6 could carry 40 bytes more.
const MAX_LEN: usize = u16::MAX as usize;

impl Layout {
    /// `packet` is what `content` was parsed from.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub(crate) fn new<P: ipsec_core::crypto::Provider>(
        protection: &Protection<P>,
        content: Content<'_>,
        packet: &[u8],
    ) -> Result<Self, SealError> {
        let Path { local, remote } = protection.path;
        let outer_ipv4 = remote.address.is_ipv4();
        let udp = protection.encapsulation == Encapsulation::Udp;
        if local.address.is_ipv4() != outer_ipv4 || udp && remote.port == 0 {
            return Err(SealError::Path);
        }
        // Then no sum of lengths overflows.
        if content.len() > MAX_LEN {
            return Err(SealError::TooLong);
        }
        let overhead = Overhead::of(protection);
        let mut layout = Self {
            fields: OuterFields::of_dummy(&ipsec_core::mode::Tunnel::DEFAULT),
            next_header: protocol::NONE,
            ip_len: if outer_ipv4 { Ipv4Header::LEN } else { Ipv6Header::LEN },
            udp_len: if udp { UdpHeader::LEN } else { 0 },
            header_len: overhead.header,
            pseudo_len: 0,
            options_len: 0,
            start: 0,
            len: 0,
            hidden_len: 0,
            trailer_len: 0,
            icv_len: overhead.icv,
            keeps_header: false,
            front: 0,
            back: 0,
            total: 0,
        };
        match (content, &protection.mode) {
            (Content::Dummy(len), mode) => {
                layout.len = len;
                if let Mode::Tunnel(tunnel) = mode {
                    layout.fields = OuterFields::of_dummy(tunnel);
                }
            }
            (Content::Packet(inner), Mode::Tunnel(tunnel)) => {
                layout.len = inner.len;
                layout.fields = OuterFields::of(inner, tunnel);
                layout.next_header = if inner.is_ipv4() { protocol::IPV4 } else { protocol::IPV6 };
                layout.hidden_len = overhead.hidden(inner.len);
            }
            (Content::Packet(inner), Mode::Transport { .. }) => {
                layout.whole(inner)?;
                let split = transport::split(packet).map_err(SealError::Inner)?;
                let end = options::final_destination(packet).map_err(SealError::Inner)?;
                if inner.flow.source != local.address || end != remote.address {
                    return Err(SealError::Addresses);
                }
                layout.next_header = split.next;
                layout.ip_len = split.header_len;
                layout.start = split.header_len;
                layout.keeps_header = true;
            }
            (Content::Packet(inner), Mode::Beet(pair)) => {
                layout.whole(inner)?;
                if inner.flow.source != pair.local || inner.flow.destination != pair.remote {
                    return Err(SealError::Addresses);
                }
                layout.strip_header(packet)?;
            }
        }
        let payload_len = layout.len.wrapping_sub(layout.start).wrapping_add(layout.pseudo_len);
        let before_trailer = payload_len.wrapping_add(layout.hidden_len);
        layout.trailer_len = if overhead.trailer == 0 {
            0
        } else {
            padding::trailer_len(before_trailer, overhead.align)
        };
        layout.front = layout.text_at().wrapping_add(layout.pseudo_len);
        layout.back =
            layout.hidden_len.wrapping_add(layout.trailer_len).wrapping_add(layout.icv_len);
        layout.total = layout
            .front
            .wrapping_add(layout.len)
            .wrapping_sub(layout.start)
            .wrapping_add(layout.back);
        if layout.total > MAX_LEN {
            return Err(SealError::TooLong);
        }
        Ok(layout)
    }

    /// RFC 4301 section 7: only tunnels carry fragments.
    fn whole(&mut self, inner: &IpPacket) -> Result<(), SealError> {
        self.len = inner.len;
        self.fields = OuterFields::as_in(inner);
        if inner.fragment == Fragment::Whole { Ok(()) } else { Err(SealError::Fragment) }
    }

    /// Leaves out the header of a packet in BEET mode.
    fn strip_header(&mut self, packet: &[u8]) -> Result<(), SealError> {
        if let Ok(ip) = Ipv4Header::parse(packet) {
            self.start = Ipv4Header::LEN;
            self.options_len = ip.options.len();
            self.pseudo_len = beet::pseudo_len(self.options_len);
            self.next_header = ip.header.protocol;
        } else {
            let ip = Ipv6Header::parse(packet).map_err(SealError::Inner)?;
            self.start = Ipv6Header::LEN;
            self.next_header = ip.header.next_header;
        }
        Ok(())
    }

    /// Where the header of ESP or AH begins in the outer packet.
    pub(crate) const fn header_at(&self) -> usize {
        self.ip_len.wrapping_add(self.udp_len)
    }

    /// Where what is protected begins in the outer packet.
    pub(crate) const fn text_at(&self) -> usize {
        self.header_at().wrapping_add(self.header_len)
    }

    /// Where the trailer of ESP ends, and the integrity check value begins.
    pub(crate) const fn text_end(&self) -> usize {
        self.total.wrapping_sub(self.icv_len)
    }

    /// The outer packet.
    pub(crate) const fn total_len(&self) -> usize {
        self.total
    }

    /// Whether the packet can grow: bytes behind the IP packet, such as a link's padding, are room. Changes nothing.
    pub(crate) fn require_room(&self, packet: &PacketBuf<'_>) -> Result<(), NoRoom> {
        let refused = NoRoom {
            needed_head: self.front.saturating_sub(self.start),
            needed_tail: self.back,
            head: packet.headroom(),
            tail: packet.tailroom().saturating_add(packet.len().saturating_sub(self.len)),
        };
        let fits = refused.head >= refused.needed_head && refused.tail >= refused.needed_tail;
        if fits { Ok(()) } else { Err(refused) }
    }

    /// Grows the packet to the outer one, and writes everything outside the header of ESP or AH, whose protocol is
    /// `protocol`; in BEET mode the pseudo header too. `None` if there is no room after all.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub(crate) fn write(
        &self,
        packet: &mut PacketBuf<'_>,
        path: &Path,
        protocol: u8,
        id: Option<u16>,
    ) -> Option<()> {
        packet.truncate(self.len)?;
        match self.front.checked_sub(self.start) {
            Some(more) => {
                packet.prepend(more).ok()?;
                if self.keeps_header {
                    bytes::move_within(packet.payload_mut(), more, 0, self.ip_len)?;
                }
            }
            None => packet.trim_front(self.start.checked_sub(self.front)?)?,
        }
        let back = packet.append(self.back).ok()?;
        back.get_mut(..self.hidden_len)?.fill(0);

        let whole = packet.payload_mut();
        let behind_ip = whole.len().checked_sub(self.ip_len)?;
        let next = if self.udp_len > 0 { protocol::UDP } else { protocol };
        if self.keeps_header {
            transport::patch(whole, self.ip_len, next, behind_ip)?;
        } else {
            let room = whole.get_mut(..self.ip_len)?;
            let (from, to) = (path.local.address, path.remote.address);
            self.fields.write(room, from, to, next, id, behind_ip)?;
        }
        if self.udp_len > 0 {
            let payload_len = behind_ip.checked_sub(UdpHeader::LEN)?;
            let udp = UdpHeader::new(path.local.port, path.remote.port, payload_len)?;
            bytes::copy(whole.get_mut(self.ip_len..self.header_at())?, udp.as_bytes())?;
        }
        if self.pseudo_len > 0 {
            let room = whole.get_mut(self.text_at()..self.front)?;
            beet::write_pseudo(room, self.options_len, self.next_header)?;
        }
        Some(())
    }

    /// Whether the outer header needs an identification.
    pub(crate) const fn needs_id(&self) -> bool {
        !self.keeps_header && !self.fields.dont_fragment
    }

    /// The next header, as the peer shall see it.
    pub(crate) const fn sent_next_header(&self) -> u8 {
        if self.pseudo_len > 0 { protocol::BEET } else { self.next_header }
    }
}
