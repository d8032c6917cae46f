//! IP addresses as text. The formatting of `core::net` links panics; this links none, and writes the same.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

/// An address as people write it (IPv6: RFC 5952 section 4). Padding and width are not applied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AddressText(pub IpAddr);

impl fmt::Display for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => v4(address, f),
            IpAddr::V6(address) => v6(address, f),
        }
    }
}

impl fmt::Debug for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn v4(address: Ipv4Addr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let [a, b, c, d] = address.octets();
    write!(f, "{a}.{b}.{c}.{d}")
}

fn v6(address: Ipv6Addr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(mapped) = address.to_ipv4_mapped() {
        f.write_str("::ffff:")?;
        return v4(mapped, f);
    }
    let groups = address.segments();
    let zeros = longest_zeros(groups);
    let mut separator = "";
    for (i, group) in groups.into_iter().enumerate() {
        if i == zeros.start && !zeros.is_empty() {
            f.write_str("::")?;
            separator = "";
        }
        if !zeros.contains(&i) {
            write!(f, "{separator}{group:x}")?;
            separator = ":";
        }
    }
    Ok(())
}

/// The first of the longest runs of zero groups; empty unless two or more groups long.
fn longest_zeros(groups: [u16; 8]) -> Range<usize> {
    let (mut best, mut from): (Range<usize>, usize) = (0..0, 0);
    for (i, group) in groups.into_iter().enumerate() {
        let run = from..i.saturating_add(1);
        if group != 0 {
            from = run.end;
        } else if run.len() > best.len().max(1) {
            best = run;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    #[test]
    fn text_is_that_of_the_standard_library() {
        for address in ["0.0.0.0", "255.255.255.255", "192.168.1.7"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(AddressText(address).to_string(), address.to_string());
        }
        // Every pattern of zero and non-zero groups: the run to shorten is at the front, inside, at the end, or a tie
        // (RFC 5952 section 4.2.3).
        for pattern in 0u16..=0xff {
            for value in [0xffff, 0x0a, 1] {
                let groups: [u16; 8] =
                    core::array::from_fn(|i| if pattern >> i & 1 == 1 { value } else { 0 });
                let address = IpAddr::V6(Ipv6Addr::from(groups));
                assert_eq!(AddressText(address).to_string(), address.to_string(), "{groups:x?}");
            }
        }
    }
}
