//! The bytes of IKEv1: RFC 2407, 2408 and 2409 and what extends them, one file per payload. No cryptography and no
//! state.
//!
//! As for IKEv2, parsing borrows and checks everything at once, and writing goes into the caller's buffer. The types are
//! others than those of [`wire`](super), because the numbers mean other things: what reads one version cannot be
//! handed the other.
//!
//! In IKEv1, all that follows the header is encrypted, or nothing is. So there are two ways to the payloads:
//! [`Message::payloads`] of a message in the clear, and [`Payloads::padded`] of what has been decrypted.
//!
//! ```
//! use ipsec_ike::wire::NoRoom;
//! use ipsec_ike::wire::v1::{ExchangeType, Flags, Header, Message, MessageWriter, Notify, NotifyType};
//!
//! let mut buf = [0; 64];
//! let header = Header::new(1, 0, ExchangeType::INFORMATIONAL, Flags(0), 7);
//! let mut writer = MessageWriter::new(&mut buf, &header)?;
//! writer.notify(&Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, &[], &[]))?;
//! let len = writer.finish()?;
//!
//! let message = Message::parse(&buf[..len]).unwrap();
//! let payloads = message.collect().unwrap();
//! assert_eq!(payloads.error().unwrap().kind, NotifyType::NO_PROPOSAL_CHOSEN);
//! # Ok::<(), NoRoom>(())
//! ```

pub mod iana;

mod attributes;
mod chain;
mod collect;
mod compose;
mod delete;
mod fragment;
mod id;
mod message;
mod nat_oa;
mod notify;
mod sa;
#[cfg(test)]
pub(crate) mod testdata;

pub use attributes::{Attribute, Attributes, AttributesPayload, AttributesWriter};
pub use chain::{Payload, Payloads};
pub use collect::{Collected, MAX_NONCE, MIN_NONCE};
pub use compose::MessageWriter;
pub use delete::DeletePayload;
pub use fragment::FragmentPayload;
#[doc(no_inline)]
pub use iana::*;
pub use id::{IdPayload, SelectorId};
pub use message::{Header, Message};
pub use nat_oa::NatOa;
pub use notify::Notify;
pub use sa::{Proposal, ProposalWriter, SaPayload, SaWriter, Transform, TransformWriter};

/// What is wrong with a message of IKEv1. Always the peer's fault; or, after decryption, the wrong key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WireError {
    /// The datagram is shorter than a header.
    Truncated,
    /// The length in the header is not that of the datagram.
    DatagramLength,
    /// The message is of this major version, not 1.
    MajorVersion(u8),
    /// The initiator's cookie is zero.
    ZeroCookie,
    /// The header of a payload of this type is cut, or its length is under 4 or leads past the end of the message.
    PayloadLength(PayloadType),
    /// Bytes follow the last payload of a message in the clear.
    TrailingData,
    /// There are more than [`MAX_PAYLOADS`](super::MAX_PAYLOADS) payloads.
    TooManyPayloads,
    /// A payload that may be there once is there twice; an identification or an original address, three times.
    Duplicate(PayloadType),
    /// The body of a payload of this type breaks the rules of its format.
    Malformed(PayloadType),
    /// A security association or a notify of another domain of interpretation than IPsec.
    Doi(u32),
    /// A situation other than identity only.
    Situation(u32),
}

impl WireError {
    /// The notify that tells the peer; `None` where no answer may be given. Whether it may be sent is the exchange's
    /// decision (RFC 2408 section 5).
    pub const fn notify(self) -> Option<NotifyType> {
        match self {
            Self::Truncated | Self::DatagramLength | Self::MajorVersion(_) | Self::ZeroCookie => {
                None
            }
            Self::Doi(_) => Some(NotifyType::DOI_NOT_SUPPORTED),
            Self::Situation(_) => Some(NotifyType::SITUATION_NOT_SUPPORTED),
            Self::PayloadLength(_)
            | Self::TrailingData
            | Self::TooManyPayloads
            | Self::Duplicate(_)
            | Self::Malformed(_) => Some(NotifyType::PAYLOAD_MALFORMED),
        }
    }
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("datagram shorter than an ISAKMP header"),
            Self::DatagramLength => {
                f.write_str("length in the ISAKMP header differs from the datagram")
            }
            Self::MajorVersion(major) => write!(f, "IKE major version {major}"),
            Self::ZeroCookie => f.write_str("initiator cookie is zero"),
            Self::PayloadLength(kind) => write!(f, "bad length of payload {kind}"),
            Self::TrailingData => f.write_str("data after the last payload"),
            Self::TooManyPayloads => f.write_str("too many payloads"),
            Self::Duplicate(kind) => write!(f, "more than one payload {kind}"),
            Self::Malformed(kind) => write!(f, "malformed payload {kind}"),
            Self::Doi(doi) => write!(f, "domain of interpretation {doi}"),
            Self::Situation(situation) => write!(f, "situation {situation}"),
        }
    }
}

impl core::error::Error for WireError {}
