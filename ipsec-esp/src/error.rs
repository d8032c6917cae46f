//! Why a packet was not sealed or not opened, whose fault that is, and what an audit log should have.

use ipsec_core::crypto::CryptoError;
use ipsec_core::packet::NoRoom;
use ipsec_core::replay::Replay;
use ipsec_core::selector::Flow;
use ipsec_core::wire::IpError;

#[cfg(doc)]
use crate::open::Arrival;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Fault {
    /// Nobody's: it is meant to happen.
    Nobody,
    /// Whoever made the packet.
    Peer,
    /// This side's configuration, or its cryptography.
    Local,
    /// Something ran out.
    Capacity,
}

/// What RFC 4303 wants in an audit log besides time, addresses and flow label: [`AuditEntry`](crate::AuditEntry) has these
/// too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Audit {
    /// The SPI of the packet, or of the SA it should have used.
    pub spi: u32,
    /// Its sequence number. Where the SA is not known, or not extended, only the low half.
    pub sequence: u64,
}

/// Why a packet was not sealed. Unless said otherwise, no byte and no counter has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SealError {
    /// Peer (the host behind us): not an IP packet.
    Inner(IpError),
    /// Local: there is no such SA, or no longer. From finish: it went while the job was under way, the packet's
    /// contents are unspecified, and it must not be sent.
    NoSa,
    /// Local: the SA is one of AH, and the call is for ESP.
    NotEsp,
    /// Local: the SA is one of ESP, and the call is for AH.
    NotAh,
    /// Local: the packet is not between the addresses of the SA, as transport and BEET mode want it.
    Addresses,
    /// Peer (the host behind us): the packet is a fragment, which only tunnels carry (RFC 4301 section 7).
    Fragment,
    /// Local: a hard limit of the SA's lifetime is reached.
    Expired(Audit),
    /// Local: the SA's last sequence number has been used (RFC 4303 section 3.3.3).
    SequenceOverflow(Audit),
    /// Local: the sequence numbers that the SA's last export has set aside are used up: export again
    /// ([`Sad::export`](ipsec_core::sad::Sad::export)).
    Unreserved(Audit),
    /// Local: the SA's path goes from one IP version to the other, or is to be UDP without a port.
    Path,
    /// Local: the provider failed. From finish: a sequence number is spent, and the packet's contents are unspecified.
    Crypto(CryptoError),
    /// Capacity: the buffer is too small around the packet.
    NoRoom(NoRoom),
    /// Capacity: the result would be longer than IP can carry.
    TooLong,
}

impl SealError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Inner(_) | Self::Fragment => Fault::Peer,
            Self::NoSa
            | Self::NotEsp
            | Self::NotAh
            | Self::Addresses
            | Self::Expired(_)
            | Self::SequenceOverflow(_)
            | Self::Unreserved(_)
            | Self::Path
            | Self::Crypto(_) => Fault::Local,
            Self::NoRoom(_) | Self::TooLong => Fault::Capacity,
        }
    }

    /// What an audit log should have, where RFC 4303 asks for an entry.
    pub const fn audit(&self) -> Option<Audit> {
        match self {
            Self::Expired(audit) | Self::SequenceOverflow(audit) => Some(*audit),
            _ => None,
        }
    }
}

impl core::fmt::Display for SealError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Inner(e) => e.fmt(f),
            Self::NoSa => f.write_str("no such security association"),
            Self::NotEsp => f.write_str("the security association is not one of ESP"),
            Self::NotAh => f.write_str("the security association is not one of AH"),
            Self::Addresses => f.write_str("not between the addresses of the security association"),
            Self::Fragment => f.write_str("a fragment outside a tunnel"),
            Self::Expired(audit) => write!(f, "{audit}: lifetime is over"),
            Self::SequenceOverflow(audit) => write!(f, "{audit}: sequence numbers are used up"),
            Self::Unreserved(audit) => write!(f, "{audit}: not set aside by an export"),
            Self::Path => f.write_str("the outer addresses or ports are not usable"),
            Self::Crypto(e) => e.fmt(f),
            Self::NoRoom(e) => e.fmt(f),
            Self::TooLong => f.write_str("longer than IP can carry"),
        }
    }
}

impl core::error::Error for SealError {}

/// Why a packet was not opened. Its encrypted part, once touched, has been wiped.
///
/// Up to [`OpenError::Integrity`] nothing is known to come from the peer, and no SA has changed. The errors after it
/// are about an authentic packet, whose sequence number is now used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpenError {
    /// Peer: the outer packet is not an IP packet, or its UDP header is wrong.
    Outer(IpError),
    /// Peer: the outer packet is a fragment: reassembly comes first (RFC 4303 section 3.4.1, RFC 4302 section 3.4.1).
    Fragment,
    /// Peer: too short to have an SPI and a sequence number, or for its own length.
    TooShort,
    /// Peer: no SA has this SPI (RFC 4303 section 3.4.2).
    UnknownSpi(Audit),
    /// Peer: the length does not fit the SA's algorithms.
    Length(Audit),
    /// Peer: the sequence number was seen before, or is too old (RFC 4303 section 3.4.3).
    Replay(Audit, Replay),
    /// Peer: the integrity check failed (RFC 4303 section 3.4.4).
    Integrity(Audit),
    /// Peer, authentic: the padding is not 1, 2, 3 and so on, or longer than the packet (RFC 4303 section 2.4).
    Padding(Audit),
    /// Peer, authentic: this next header does not belong into a tunnel.
    NextHeader(Audit, u8),
    /// Peer, authentic: what came out is not an IP packet of the version that the next header says.
    Inner(Audit, IpError),
    /// Peer, authentic: what came out is not what the SA is for (RFC 4301 section 5.2).
    Selectors(Audit, Flow),
    /// Nobody: congestion was signalled on the way, and the packet's ends know only loss (RFC 6040 section 4.2).
    Congestion(Audit),
    /// Nobody: a dummy packet, sent to hide traffic patterns (RFC 4303 section 2.6).
    Dummy(Audit),
    /// Local: a hard limit of the SA's lifetime is reached.
    Expired(Audit),
    /// Local: the SA went while the job was under way.
    NoSa(Audit),
    /// Capacity: there is no room for the IP header that transport or BEET mode makes ([`Arrival::before`]). Nothing has
    /// changed.
    NoRoom(Audit),
    /// Local: the provider failed.
    Crypto(Audit, CryptoError),
}

impl OpenError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Outer(_)
            | Self::Fragment
            | Self::TooShort
            | Self::UnknownSpi(_)
            | Self::Length(_)
            | Self::Replay(..)
            | Self::Integrity(_)
            | Self::Padding(_)
            | Self::NextHeader(..)
            | Self::Inner(..)
            | Self::Selectors(..) => Fault::Peer,
            Self::Congestion(_) | Self::Dummy(_) => Fault::Nobody,
            Self::Expired(_) | Self::NoSa(_) | Self::Crypto(..) => Fault::Local,
            Self::NoRoom(_) => Fault::Capacity,
        }
    }

    /// What an audit log should have; `None` if the packet has no SPI.
    pub const fn audit(&self) -> Option<Audit> {
        match self {
            Self::Outer(_) | Self::Fragment | Self::TooShort => None,
            Self::UnknownSpi(audit)
            | Self::Length(audit)
            | Self::Replay(audit, _)
            | Self::Integrity(audit)
            | Self::Padding(audit)
            | Self::NextHeader(audit, _)
            | Self::Inner(audit, _)
            | Self::Selectors(audit, _)
            | Self::Congestion(audit)
            | Self::Dummy(audit)
            | Self::Expired(audit)
            | Self::NoSa(audit)
            | Self::NoRoom(audit)
            | Self::Crypto(audit, _) => Some(*audit),
        }
    }
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if let Some(audit) = self.audit() {
            write!(f, "{audit}: ")?;
        }
        match self {
            Self::Outer(e) => write!(f, "outer packet: {e}"),
            Self::Fragment => f.write_str("outer packet is a fragment"),
            Self::TooShort => f.write_str("too short for IPsec"),
            Self::UnknownSpi(_) => f.write_str("no security association has this SPI"),
            Self::Length(_) => f.write_str("length does not fit the algorithms"),
            Self::Replay(_, why) => f.write_str(match why {
                Replay::TooOld => "sequence number below the anti-replay window",
                Replay::Repeated => "sequence number seen before",
                Replay::Zero => "sequence number zero",
                Replay::Unreserved => "sequence number not set aside by an export",
            }),
            Self::Integrity(_) => f.write_str("integrity check failed"),
            Self::Padding(_) => f.write_str("bad padding"),
            Self::NextHeader(_, next) => {
                write!(f, "next header {next} does not belong into a tunnel")
            }
            Self::Inner(_, e) => write!(f, "inner packet: {e}"),
            Self::Selectors(_, flow) => {
                write!(f, "{flow} does not belong into this security association")
            }
            Self::Congestion(_) => f.write_str("congestion experienced, sender not ECN-capable"),
            Self::Dummy(_) => f.write_str("dummy packet"),
            Self::Expired(_) => f.write_str("lifetime is over"),
            Self::NoSa(_) => f.write_str("security association is gone"),
            Self::NoRoom(_) => f.write_str("no room for an IP header"),
            Self::Crypto(_, e) => e.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {}

impl core::fmt::Display for Audit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SPI {:08x} sequence {}", self.spi, self.sequence)
    }
}
