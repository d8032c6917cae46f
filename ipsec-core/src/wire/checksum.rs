//! The Internet checksum (RFC 1071).

use core::net::{Ipv4Addr, Ipv6Addr};

/// A running sum over parts, which may have odd lengths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum {
    sum: u64,
    odd: bool,
}

impl Checksum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// Adds `bytes` as they follow what was added before.
    #[must_use]
    pub fn bytes(mut self, mut bytes: &[u8]) -> Self {
        if self.odd
            && let Some((first, rest)) = bytes.split_first()
        {
            self.add(u64::from(*first));
            self.odd = false;
            bytes = rest;
        }
        let (words, tail) = bytes.as_chunks::<4>();
        for word in words {
            self.add(u64::from(u32::from_be_bytes(*word)));
        }
        let (halves, last) = tail.as_chunks::<2>();
        for half in halves {
            self.add(u64::from(u16::from_be_bytes(*half)));
        }
        if let [last] = last {
            self.add(u64::from(u16::from_be_bytes([*last, 0])));
            self.odd = true;
        }
        self
    }

    /// Adds a 32-bit field, at an even place.
    #[must_use]
    pub const fn u32(mut self, value: u32) -> Self {
        self.sum = self.sum.wrapping_add(value as u64);
        self
    }

    /// Adds a 16-bit field, at an even place.
    #[must_use]
    pub const fn u16(mut self, value: u16) -> Self {
        self.sum = self.sum.wrapping_add(value as u64);
        self
    }

    /// Adds the pseudo-header of an IPv4 transport (RFC 768).
    #[must_use]
    pub fn pseudo_v4(
        self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        len: u16,
    ) -> Self {
        self.bytes(&source.octets()).bytes(&destination.octets()).u16(protocol.into()).u16(len)
    }

    /// Adds the pseudo-header of an IPv6 transport (RFC 8200 section 8.1).
    #[must_use]
    pub fn pseudo_v6(
        self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        protocol: u8,
        len: u32,
    ) -> Self {
        self.bytes(&source.octets())
            .bytes(&destination.octets())
            .bytes(&len.to_be_bytes())
            .u16(protocol.into())
    }

    /// The checksum field: the complement of the folded sum. Over data that holds a correct field, zero.
    pub const fn finish(self) -> u16 {
        !fold(self.sum)
    }

    /// The checksum field of UDP, where zero would mean that there is none.
    pub const fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => u16::MAX,
            sum => sum,
        }
    }

    const fn add(&mut self, value: u64) {
        // 2^32 additions of 32 bits fit; a packet has fewer.
        self.sum = self.sum.wrapping_add(value);
    }
}

/// The checksum `field` after one 16-bit value that it covers changed from `old` to `new` (RFC 1624 section 3).
#[must_use]
pub const fn adjust(field: u16, old: u16, new: u16) -> u16 {
    !fold((!field as u64).wrapping_add(!old as u64).wrapping_add(new as u64))
}

/// Adds the halves, and what that carries, twice: a carry leaves too little for another.
const fn fold(sum: u64) -> u16 {
    let (sum, carry) = ((sum & 0xffff_ffff) as u32).overflowing_add((sum >> 32) as u32);
    let sum = sum.wrapping_add(carry as u32);
    let (sum, carry) = ((sum & 0xffff) as u16).overflowing_add((sum >> 16) as u16);
    sum.wrapping_add(carry as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !((sum & 0xffff) as u16)
    }

    #[test]
    fn the_example_of_rfc_1071() {
        // RFC 1071 section 3: the sum of these is ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Checksum::new().bytes(&bytes).finish(), !0xddf2);
    }

    #[test]
    fn parts_of_any_length_add_up() {
        let bytes: [u8; 61] = core::array::from_fn(|i| u8::try_from(i * 4 + 3).unwrap());
        for a in 0..=bytes.len() {
            for b in a..=bytes.len() {
                let parts =
                    Checksum::new().bytes(&bytes[..a]).bytes(&bytes[a..b]).bytes(&bytes[b..]);
                assert_eq!(parts.finish(), naive(&bytes), "{a} {b}");
            }
        }
        let ones = [0xff; 9000];
        assert_eq!(Checksum::new().bytes(&ones).finish(), naive(&ones));
    }

    #[test]
    fn an_adjusted_field_is_the_recomputed_one() {
        // RFC 1624 section 3, by the example of section 4: the field goes from dd2f to 0000 when 5555 becomes 3285.
        assert_eq!(adjust(0xdd2f, 0x5555, 0x3285), 0x0000);
        let mut bytes = *b"\x45\x00\x12\x34\x00\x00\x40\x01";
        let before = Checksum::new().bytes(&bytes).finish();
        bytes[2..4].copy_from_slice(&[0xfe, 0xdc]);
        assert_eq!(adjust(before, 0x1234, 0xfedc), Checksum::new().bytes(&bytes).finish());
    }
}
