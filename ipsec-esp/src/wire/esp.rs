//! The fixed fields of an ESP packet (RFC 4303 section 2).
//!
//! ```text
//!  0               1               2               3
//! +---------------+---------------+---------------+---------------+ \
//! |                 security parameters index (SPI)               |  | authenticated
//! +---------------+---------------+---------------+---------------+  |
//! |                        sequence number                        |  |
//! +---------------+---------------+---------------+---------------+  | \
//! |                   IV, by the algorithm's size                 |  |  |
//! +---------------+---------------+---------------+---------------+  |  | the IV apart,
//! |                     payload, then padding                     |  |  | encrypted
//! +                               +---------------+---------------+  |  |
//! |                               |  pad length   |  next header  |  |  |
//! +---------------+---------------+---------------+---------------+ /  /
//! |         integrity check value, by the algorithm's size        |
//! +---------------+---------------+---------------+---------------+
//! ```

use ipsec_core::sa::Spi;
use zerocopy::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What an ESP packet begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EspHeader {
    /// Names the SA to the receiver.
    pub spi: U32,
    /// The low half of the sequence number.
    pub sequence: U32,
}

impl EspHeader {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// Of the packet with this number, of which the low half is sent (RFC 4303 section 2.2.1).
    #[inline]
    pub const fn new(spi: Spi, sequence: u64) -> Self {
        let [_, _, _, _, low @ ..] = sequence.to_be_bytes();
        Self { spi: U32::new(spi.get()), sequence: U32::from_bytes(low) }
    }
}

/// What the encrypted part of an ESP packet ends with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EspTrailer {
    /// Bytes of padding before this trailer.
    pub pad_len: u8,
    /// What the payload is: a protocol number.
    pub next_header: u8,
}

impl EspTrailer {
    /// Bytes of the trailer.
    pub const LEN: usize = size_of::<Self>();
}
