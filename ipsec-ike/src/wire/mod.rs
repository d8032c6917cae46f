//! The bytes of IKE: RFC 7296 section 3, one file per payload. No cryptography and no state.
//!
//! Parsing borrows from the datagram and checks everything at once: a payload that exists is well formed, and its
//! iterators cannot fail. [`Message::parse`] takes a datagram, [`Collected`] finds the payloads in it. Writing goes
//! into the caller's buffer by [`MessageWriter`].
//!
//! ```
//! use ipsec_ike::wire::{ExchangeType, Flags, Header, Message, MessageWriter, NoRoom, Notify, NotifyType};
//!
//! let mut buf = [0; 64];
//! let header = Header::new(1, 0, ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
//! let mut writer = MessageWriter::new(&mut buf, &header)?;
//! writer.notify(&Notify::new(NotifyType::COOKIE, b"a cookie"))?;
//! let len = writer.finish()?;
//!
//! let message = Message::parse(&buf[..len]).unwrap();
//! let payloads = message.collect().unwrap();
//! assert_eq!(payloads.notify(NotifyType::COOKIE).unwrap().data, b"a cookie");
//! # Ok::<(), NoRoom>(())
//! ```

pub mod iana;
pub mod nonce;

mod auth;
mod cert;
mod certreq;
mod chain;
mod collect;
mod compose;
mod cp;
mod delete;
mod header;
mod id;
mod ke;
mod message;
mod notify;
mod sa;
mod sk;
#[cfg(test)]
mod testdata;
mod ts;
#[cfg(feature = "ikev1")]
pub mod v1;
mod vendor;

pub use auth::{AuthPayload, DigitalSignature};
pub use cert::{CertPayload, MAX_CERTS};
pub use certreq::CertReqPayload;
pub use chain::{MAX_PAYLOADS, Payload, Payloads};
pub use collect::{Certs, Collected};
pub use compose::{MessageWriter, NoRoom, SkWriter};
pub use cp::{ConfigPayload, ConfigWriter};
pub use delete::DeletePayload;
pub use header::{HEADER_LEN, Header, Version};
#[doc(no_inline)]
pub use iana::*;
pub use id::IdPayload;
pub use ke::KePayload;
pub use message::Message;
pub use notify::Notify;
pub use sa::{Proposal, ProposalWriter, SaPayload, SaWriter, Transform};
pub use sk::{Encrypted, Fragment, SkLayout, SkParts, strip_padding};
pub use ts::{Selector, TsPayload};

/// What is wrong with a message. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WireError {
    /// The datagram is shorter than an IKE header.
    Truncated,
    /// The length in the header is not that of the datagram.
    DatagramLength,
    /// The message is of this major version, not 2. [`Header::parse`] still gives what a reply needs.
    MajorVersion(u8),
    /// The initiator's SPI is zero.
    ZeroSpi,
    /// A payload of unknown type has its critical bit set.
    UnsupportedCritical(PayloadType),
    /// The header of a payload of this type is cut, or its length is under 4 or leads past the end of the message.
    PayloadLength(PayloadType),
    /// Bytes follow the last payload, or another payload follows an encrypted one.
    TrailingData,
    /// There are more than [`MAX_PAYLOADS`] payloads.
    TooManyPayloads,
    /// An encrypted payload within an encrypted payload.
    Unexpected(PayloadType),
    /// A payload that may be there once is there twice.
    Duplicate(PayloadType),
    /// The body of a payload of this type breaks the rules of its format.
    Malformed(PayloadType),
    /// The padding of an encrypted payload is longer than what was encrypted.
    Padding,
}

impl WireError {
    /// The notify that tells the peer, with its data of at most one byte; `None` where no answer may be given.
    ///
    /// Whether it may be sent is the exchange's decision: an unprotected reply is never due to anything but a request,
    /// and INVALID_SYNTAX only to a message whose integrity was verified (RFC 7296 section 3.10.1).
    pub const fn notify(self) -> Option<(NotifyType, Option<u8>)> {
        match self {
            Self::Truncated | Self::DatagramLength | Self::ZeroSpi => None,
            // RFC 7296 section 2.5: only a higher version is answered.
            Self::MajorVersion(major) if major > Version::IKEV2.major => {
                Some((NotifyType::INVALID_MAJOR_VERSION, None))
            }
            Self::MajorVersion(_) => None,
            Self::UnsupportedCritical(kind) => {
                Some((NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, Some(kind.0)))
            }
            Self::PayloadLength(_)
            | Self::TrailingData
            | Self::TooManyPayloads
            | Self::Unexpected(_)
            | Self::Duplicate(_)
            | Self::Malformed(_)
            | Self::Padding => Some((NotifyType::INVALID_SYNTAX, None)),
        }
    }
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("datagram shorter than an IKE header"),
            Self::DatagramLength => {
                f.write_str("length in the IKE header differs from the datagram")
            }
            Self::MajorVersion(major) => write!(f, "IKE major version {major}"),
            Self::ZeroSpi => f.write_str("initiator SPI is zero"),
            Self::UnsupportedCritical(kind) => write!(f, "unsupported critical payload {kind}"),
            Self::PayloadLength(kind) => write!(f, "bad length of payload {kind}"),
            Self::TrailingData => f.write_str("data after the last payload"),
            Self::TooManyPayloads => f.write_str("too many payloads"),
            Self::Unexpected(kind) => write!(f, "payload {kind} within an encrypted payload"),
            Self::Duplicate(kind) => write!(f, "more than one payload {kind}"),
            Self::Malformed(kind) => write!(f, "malformed payload {kind}"),
            Self::Padding => f.write_str("padding longer than the decrypted text"),
        }
    }
}

impl core::error::Error for WireError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7296 section 2.5: a higher major version is answered, a lower one is not; an unsupported critical payload
    /// is answered with its type.
    #[test]
    fn errors_choose_their_notify() {
        assert_eq!(
            WireError::MajorVersion(3).notify(),
            Some((NotifyType::INVALID_MAJOR_VERSION, None))
        );
        assert_eq!(WireError::MajorVersion(1).notify(), None);
        assert_eq!(
            WireError::UnsupportedCritical(PayloadType(200)).notify(),
            Some((NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, Some(200)))
        );
        assert_eq!(
            WireError::Malformed(PayloadType::SA).notify(),
            Some((NotifyType::INVALID_SYNTAX, None))
        );
        assert_eq!(WireError::Truncated.notify(), None);
    }
}
