//! Entries for an audit log: what RFC 4301 section 5.2, RFC 4302 and RFC 4303 say is auditable.
//!
//! Every packet that is dropped gives its caller an error, at once. [`AuditEntry`] adds to it what the RFCs want besides:
//! addresses and flow label, but for date and time, which the caller has. Nothing is kept, so nothing overflows, and
//! nothing is coalesced here: since strangers can cause entries as fast as they can send, a log should take one a second,
//! say, of each cause and SPI, and write how many there were meanwhile. [`Sad::drops`] and
//! [`InboundSa::drops`](ipsec_core::sa::InboundSa::drops) count all of them.

use core::net::IpAddr;

use ipsec_core::address::AddressText;
use ipsec_core::crypto::Provider;
use ipsec_core::path::Path;
use ipsec_core::sa::{Protocol, Spi};
use ipsec_core::sad::{DropCause, InboundId, Sad};
use ipsec_core::wire::{Fragment, IpPacket, Ipv6Header, protocol};
use zerocopy::FromBytes;

use crate::error::{Audit, OpenError, SealError};
use crate::wire::{AhHeader, EspHeader};

/// One entry, but for date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// What happened.
    pub cause: DropCause,
    /// SPI and sequence number; `None` where the packet does not show them, as a fragment after the first.
    pub audit: Option<Audit>,
    /// From where the packet came. Of [`DropCause::Selectors`] these are the addresses of the packet inside.
    pub source: IpAddr,
    /// Where it was to go.
    pub destination: IpAddr,
    /// The flow label of its IPv6 header; `None` for IPv4, and where the header was not seen.
    pub flow_label: Option<u32>,
}

impl AuditEntry {
    /// Of a whole IP packet that was not opened, which may be looked at after it was refused: its outer header is still
    /// there. `None` if the error is not auditable.
    pub fn of_packet(error: &OpenError, packet: &[u8]) -> Option<Self> {
        let outer = IpPacket::parse(packet).ok()?;
        let ends = (outer.flow.source, outer.flow.destination);
        let mut entry = Self::of_open(error, ends)?;
        if entry.audit.is_none() {
            entry.audit = seen(&outer, packet);
        }
        if entry.cause != DropCause::Selectors {
            entry.flow_label = flow_label(packet);
        }
        Some(entry)
    }

    /// Of what came through a socket of a kernel, without its IP header. `path` is ours and the sender's. `None` if the
    /// error is not auditable.
    pub fn of_payload(error: &OpenError, path: &Path) -> Option<Self> {
        Self::of_open(error, (path.remote.address, path.local.address))
    }

    fn of_open(error: &OpenError, ends: (IpAddr, IpAddr)) -> Option<Self> {
        let cause = error.cause()?;
        let (source, destination) = match error {
            OpenError::Selectors(_, inner) => (inner.source, inner.destination),
            _ => ends,
        };
        Some(Self { cause, audit: error.audit(), source, destination, flow_label: None })
    }

    /// Of a packet that was not sealed by an SA with this path. RFC 4303 section 3.3.3 and RFC 4302 section 3.3.2 want an
    /// entry when the sequence numbers are used up; a limit of the lifetime gives one as well. `packet` is that which was
    /// to be sealed. `None` if the error is not auditable.
    pub fn of_seal(error: &SealError, path: &Path, packet: &[u8]) -> Option<Self> {
        let cause = match error {
            SealError::SequenceOverflow(_) => DropCause::SequenceOverflow,
            SealError::Expired(_) => DropCause::Expired,
            _ => return None,
        };
        Some(Self {
            cause,
            audit: error.audit(),
            source: path.local.address,
            destination: path.remote.address,
            flow_label: flow_label(packet),
        })
    }
}

impl core::fmt::Display for AuditEntry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} -> {}", AddressText(self.source), AddressText(self.destination))?;
        if let Some(label) = self.flow_label {
            write!(f, " flow {label:05x}")?;
        }
        if let Some(audit) = self.audit {
            write!(f, " {audit}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for AuditEntry {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

impl OpenError {
    /// As what it is counted and audited; `None` for what is nobody's fault, and for what is amiss on this side.
    pub const fn cause(&self) -> Option<DropCause> {
        Some(match self {
            Self::Fragment => DropCause::Fragment,
            Self::UnknownSpi(_) => DropCause::UnknownSpi,
            Self::Replay(..) => DropCause::Replay,
            Self::Integrity(_) => DropCause::Integrity,
            Self::Selectors(..) => DropCause::Selectors,
            Self::Expired(_) => DropCause::Expired,
            Self::Outer(_)
            | Self::TooShort
            | Self::Length(_)
            | Self::Padding(_)
            | Self::NextHeader(..)
            | Self::Inner(..) => DropCause::Malformed,
            Self::Congestion(_) | Self::Dummy(_) | Self::NoSa(_) | Self::NoRoom(_) => return None,
            Self::Crypto(..) => return None,
        })
    }
}

/// Counts a packet that has been refused.
pub(crate) fn count<P: Provider>(sad: &mut Sad<'_, P>, id: Option<InboundId>, error: &OpenError) {
    if let Some(cause) = error.cause() {
        sad.count_drop(id, cause);
    }
}

/// Counts a packet that has been refused before its SA was settled.
#[cold]
pub(crate) fn count_early<P: Provider>(
    sad: &mut Sad<'_, P>,
    protocol: Protocol,
    path: &Path,
    error: &OpenError,
) {
    let spi = match error {
        OpenError::UnknownSpi(_) => None,
        _ => error.audit().and_then(|audit| Spi::new(audit.spi)),
    };
    let id = spi.and_then(|spi| sad.find(protocol, spi, path));
    count(sad, id, error);
}

/// SPI and sequence number as the packet shows them.
fn seen(outer: &IpPacket, packet: &[u8]) -> Option<Audit> {
    let upper = packet.get(outer.upper..outer.len)?;
    let (spi, sequence) = match (outer.flow.protocol, outer.fragment) {
        (_, Fragment::Later) => return None,
        (protocol::ESP, _) => {
            let (header, _) = EspHeader::ref_from_prefix(upper).ok()?;
            (header.spi.get(), header.sequence.get())
        }
        (protocol::AH, _) => {
            let (header, _) = AhHeader::ref_from_prefix(upper).ok()?;
            (header.spi.get(), header.sequence.get())
        }
        _ => return None,
    };
    Some(Audit { spi, sequence: sequence.into() })
}

fn flow_label(packet: &[u8]) -> Option<u32> {
    Ipv6Header::parse(packet).ok().map(|ip| ip.header.flow_label())
}
