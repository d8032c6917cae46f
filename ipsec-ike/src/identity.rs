//! Identities: who a side says it is (RFC 7296 section 3.5).

use core::fmt::{self, Display, Formatter, Write};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipsec_core::address::AddressText;
use ipsec_core::bytes;

use crate::wire::IdPayload;
use crate::wire::iana::IdType;

/// Who somebody is, or must be.
///
/// Equal means written alike; [`Identity::matches`] compares with what a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'r> {
    /// Of a peer: anybody who can prove what is asked for. With a pre-shared key, the identity itself is then not
    /// proven: whoever has the key may claim any, and with it the place, the children and the address of another who
    /// has the key. Of ourselves: our address, see [`Identity::or_address`].
    Any,
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// A domain name, not resolved.
    Fqdn(&'r str),
    /// A mail address.
    Email(&'r str),
    /// Bytes that mean something to both sides.
    KeyId(&'r [u8]),
    /// A distinguished name: the DER of an X.501 Name, compared byte by byte (RFC 4945 section 3.1.5).
    Dn(&'r [u8]),
}

impl<'r> Identity<'r> {
    /// An identity as administrators write it: an IP address, `user@host`, a domain name with or without a `@` in
    /// front, or `%any`.
    pub fn parse(text: &'r str) -> Self {
        if text == "%any" {
            return Self::Any;
        }
        if let Some(address) = parse_address(text.as_bytes()) {
            return Self::from(address);
        }
        match text.strip_prefix('@') {
            Some(name) => Self::Fqdn(name),
            None if text.as_bytes().contains(&b'@') => Self::Email(text),
            None => Self::Fqdn(text),
        }
    }

    /// This identity, or `address` in place of [`Identity::Any`]: who we are.
    pub fn or_address(self, address: IpAddr) -> Self {
        match self {
            Self::Any => Self::from(address),
            known => known,
        }
    }

    /// The identity as a payload. An address is written to `scratch`.
    ///
    /// [`Identity::Any`] is nobody, an empty key ID: use [`Identity::or_address`] before.
    pub fn payload<'s>(&'s self, scratch: &'s mut [u8; 16]) -> IdPayload<'s> {
        match self {
            Self::Any => IdPayload::new(IdType::KEY_ID, &[]),
            Self::Ipv4(a) => IdPayload::new(IdType::IPV4_ADDR, written(scratch, &a.octets())),
            Self::Ipv6(a) => IdPayload::new(IdType::IPV6_ADDR, written(scratch, &a.octets())),
            Self::Fqdn(name) => IdPayload::new(IdType::FQDN, name.as_bytes()),
            Self::Email(address) => IdPayload::new(IdType::RFC822_ADDR, address.as_bytes()),
            Self::KeyId(id) => IdPayload::new(IdType::KEY_ID, id),
            Self::Dn(der) => IdPayload::new(IdType::DER_ASN1_DN, der),
        }
    }

    /// Whether `id` is this identity. The case of ASCII letters does not count in domain names, also not in those of
    /// mail addresses; there are no wildcards.
    pub fn matches(&self, id: &IdPayload<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Ipv4(a) => id.kind == IdType::IPV4_ADDR && id.data == a.octets(),
            Self::Ipv6(a) => id.kind == IdType::IPV6_ADDR && id.data == a.octets(),
            Self::Fqdn(name) => {
                id.kind == IdType::FQDN && id.data.eq_ignore_ascii_case(name.as_bytes())
            }
            Self::Email(address) => {
                id.kind == IdType::RFC822_ADDR && is_same_mailbox(id.data, address.as_bytes())
            }
            Self::KeyId(bytes) => id.kind == IdType::KEY_ID && id.data == *bytes,
            Self::Dn(der) => id.kind == IdType::DER_ASN1_DN && id.data == *der,
        }
    }
}

impl From<IpAddr> for Identity<'_> {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self::Ipv4(a),
            IpAddr::V6(a) => Self::Ipv6(a),
        }
    }
}

impl Display for Identity<'_> {
    /// As [`Identity::parse`] reads it; a key ID in hexadecimal.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("%any"),
            known => DisplayId(known.payload(&mut [0; 16])).fmt(f),
        }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Identity<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

/// Shows what a peer sent as its identity: printable ASCII at most, and never more than [`DisplayId::MAX_SHOWN`]
/// bytes of it.
#[derive(Clone, Copy)]
pub struct DisplayId<'a>(
    /// The identity.
    pub IdPayload<'a>,
);

impl DisplayId<'_> {
    /// How many bytes of an identity are shown before an ellipsis.
    pub const MAX_SHOWN: usize = 128;
}

impl Display for DisplayId<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let IdPayload { kind, data, .. } = self.0;
        if kind == IdType::IPV4_ADDR
            && let Ok(octets) = <[u8; 4]>::try_from(data)
        {
            return AddressText(octets.into()).fmt(f);
        }
        if kind == IdType::IPV6_ADDR
            && let Ok(octets) = <[u8; 16]>::try_from(data)
        {
            return AddressText(octets.into()).fmt(f);
        }
        let is_name = matches!(kind, IdType::FQDN | IdType::RFC822_ADDR);
        if !is_name {
            write!(f, "{kind}:")?;
        }
        // A domain name that reads like something else, such as an address, is marked as what it is.
        if kind == IdType::FQDN
            && core::str::from_utf8(data)
                .is_ok_and(|name| Identity::parse(name) != Identity::Fqdn(name))
        {
            f.write_char('@')?;
        }
        for byte in data.iter().take(Self::MAX_SHOWN) {
            match byte {
                b'!'..=b'~' if is_name && *byte != b'\\' => f.write_char(char::from(*byte))?,
                _ if is_name => write!(f, "\\x{byte:02x}")?,
                _ => write!(f, "{byte:02x}")?,
            }
        }
        if data.len() > Self::MAX_SHOWN { f.write_str("...") } else { Ok(()) }
    }
}

impl fmt::Debug for DisplayId<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// A copy of what a peer sent as its identity, for an event: its first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClaimedId {
    kind: IdType,
    /// Of the whole identity; 255 stands for more, too.
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

impl ClaimedId {
    /// How many bytes of an identity are kept.
    pub const MAX_LEN: usize = 64;

    /// Copies an identity.
    pub fn of(id: &IdPayload<'_>) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.iter_mut().zip(id.data).for_each(|(to, from)| *to = *from);
        Self { kind: id.kind, len: u8::try_from(id.data.len()).unwrap_or(u8::MAX), bytes }
    }
}

impl Display for ClaimedId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let len = usize::from(self.len);
        let kept = self.bytes.get(..len.min(Self::MAX_LEN)).unwrap_or_default();
        DisplayId(IdPayload::new(self.kind, kept)).fmt(f)?;
        if len > Self::MAX_LEN { f.write_str("...") } else { Ok(()) }
    }
}

impl fmt::Debug for ClaimedId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for ClaimedId {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

fn written<'s>(scratch: &'s mut [u8; 16], octets: &[u8]) -> &'s [u8] {
    match bytes::copy_prefix(scratch, octets) {
        Some(()) => scratch.get(..octets.len()).unwrap_or_default(),
        None => &[],
    }
}

/// The parser of `core::net` links panics; this links none, and accepts the same.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    parse_v4(text).map(IpAddr::V4).or_else(|| parse_v6(text).map(IpAddr::V6))
}

fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut address, mut dots, mut octet) = (0u32, 0u32, None);
    for byte in text {
        match (byte, octet) {
            (b'.', Some(value)) => {
                address = address << 8 | value;
                dots = dots.saturating_add(1);
                octet = None;
            }
            // No leading zeros: some read them as octal.
            (b'0'..=b'9', None | Some(1..)) => {
                let digit = u32::from(byte & 0x0f);
                let value = octet.unwrap_or(0).saturating_mul(10).saturating_add(digit);
                octet = Some(value).filter(|value| *value <= 255);
                octet?;
            }
            _ => return None,
        }
    }
    let last = octet.filter(|_| dots == 3)?;
    Some(Ipv4Addr::from_bits(address << 8 | last))
}

/// RFC 4291 section 2.2: groups of hexadecimal digits, one run of zero groups written as `::`, and perhaps an IPv4
/// address at the end.
fn parse_v6(text: &[u8]) -> Option<Ipv6Addr> {
    let mut groups = heapless::Vec::<u16, 8>::new();
    let (mut zeros_at, mut rest) = match text {
        [b':', b':', rest @ ..] => (Some(0), rest),
        _ => (None, text),
    };
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b':').unwrap_or(rest.len());
        let (group, after) = rest.split_at_checked(end)?;
        if after.is_empty()
            && let Some(address) = parse_v4(group)
        {
            let [a, b, c, d] = address.octets();
            groups.push(u16::from_be_bytes([a, b])).ok()?;
            groups.push(u16::from_be_bytes([c, d])).ok()?;
            break;
        }
        groups.push(parse_group(group)?).ok()?;
        rest = match after {
            [] => break,
            [b':', b':', after @ ..] if zeros_at.is_none() => {
                zeros_at = Some(groups.len());
                after
            }
            [b':', after @ ..] if !after.is_empty() => after,
            _ => return None,
        };
    }
    let mut all = [0; 8];
    let (head, tail) = match zeros_at {
        Some(at) if groups.len() < all.len() => groups.split_at_checked(at)?,
        None if groups.len() == all.len() => (groups.as_slice(), &[][..]),
        _ => return None,
    };
    all.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
    all.iter_mut().rev().zip(tail.iter().rev()).for_each(|(to, from)| *to = *from);
    Some(Ipv6Addr::from(all))
}

fn parse_group(digits: &[u8]) -> Option<u16> {
    let sound = (1..=4).contains(&digits.len());
    digits
        .iter()
        .filter(|_| sound)
        .try_fold(0u16, |value, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(value << 4 | u16::try_from(digit).ok()?)
        })
        .filter(|_| sound)
}

/// The bytes of an identity, the same for all that [`Identity::matches`] takes for one: names in lower case.
pub(crate) fn canonical<'a>(id: &IdPayload<'a>) -> impl Iterator<Item = u8> + use<'a> {
    let data = id.data;
    let folded_from = match id.kind {
        IdType::FQDN => 0,
        IdType::RFC822_ADDR => data.iter().rposition(|byte| *byte == b'@').unwrap_or(0),
        _ => data.len(),
    };
    let folded = move |(at, byte): (usize, &u8)| {
        if at < folded_from { *byte } else { byte.to_ascii_lowercase() }
    };
    data.iter().enumerate().map(folded)
}

/// RFC 5321 section 2.4: the case of the local part counts, that of the domain does not.
pub(crate) fn is_same_mailbox(a: &[u8], b: &[u8]) -> bool {
    let local_len = b.iter().rposition(|byte| *byte == b'@').unwrap_or(0);
    a.eq_ignore_ascii_case(b) && a.get(..local_len) == b.get(..local_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::iana::PayloadType;

    extern crate std;
    use std::format;
    use std::string::ToString;
    use std::vec;

    const ALL: [(&str, Identity<'_>, u8, &[u8]); 5] = [
        ("192.0.2.1", Identity::Ipv4(Ipv4Addr::new(192, 0, 2, 1)), 1, &[192, 0, 2, 1]),
        (
            "::1",
            Identity::Ipv6(Ipv6Addr::LOCALHOST),
            5,
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ),
        ("gw.example.org", Identity::Fqdn("gw.example.org"), 2, b"gw.example.org"),
        ("me@example.org", Identity::Email("me@example.org"), 3, b"me@example.org"),
        ("KEY_ID:00ff", Identity::KeyId(&[0, 255]), 11, &[0, 255]),
    ];

    /// RFC 7296 section 3.5: types and data.
    #[test]
    fn identities_become_payloads_that_match_them_only() {
        for (text, identity, kind, data) in ALL {
            let mut scratch = [9; 16];
            let payload = identity.payload(&mut scratch);
            assert_eq!((payload.kind, payload.data), (IdType(kind), data));
            for (_, other, ..) in ALL {
                assert_eq!(other.matches(&payload), other == identity, "{other} {text}");
            }
            assert!(Identity::Any.matches(&payload));
            // The same data under another type is somebody else.
            for wrong in (0..=13).filter(|k| *k != kind) {
                assert!(!identity.matches(&IdPayload::new(IdType(wrong), data)));
            }
        }
    }

    #[test]
    fn identities_parse_and_print_alike() {
        for (text, identity, kind, _) in ALL {
            assert_eq!(identity.to_string(), text);
            if kind != 11 {
                assert_eq!(Identity::parse(text), identity);
            }
        }
        assert_eq!(Identity::parse("@gw"), Identity::Fqdn("gw"));
        assert_eq!(Identity::parse("%any"), Identity::Any);
        assert_eq!(Identity::parse("%any").to_string(), "%any");
        for text in ["@10.0.0.1", "@user@host", "@%any", "@@"] {
            assert_eq!(Identity::parse(text).to_string(), text);
        }
        assert_eq!(Identity::parse(""), Identity::Fqdn(""));
        assert_eq!(Identity::parse("10.0.0.256"), Identity::Fqdn("10.0.0.256"));
    }

    #[test]
    fn addresses_are_read_as_by_the_standard_library() {
        let seeds = [
            "192.0.2.255",
            "0.0.0.0",
            "::",
            "::1",
            "fe80::",
            "1:2:3:4:5:6:7:8",
            "2001:db8::a:0:F",
            "::ffff:192.0.2.1",
            "1:2:3:4:5:6:7.8.9.10",
            "1::2:3:4:5:6:7",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
        ];
        let mut random = 1u32;
        let mut below = |n: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as usize % n
        };
        let mut valid = 0;
        for round in 0..100_000 {
            let mut text: vec::Vec<char> = seeds[round % seeds.len()].chars().collect();
            for _ in 0..below(4) {
                let at = below(text.len() + 1);
                let new = ":.0159afFg+".chars().nth(below(11)).unwrap();
                match below(3) {
                    0 => text.insert(at, new),
                    1 if at < text.len() => drop(text.remove(at)),
                    _ if at < text.len() => text[at] = new,
                    _ => {}
                }
            }
            let text: std::string::String = text.into_iter().collect();
            let expected = text.parse::<IpAddr>().ok();
            assert_eq!(parse_address(text.as_bytes()), expected, "{text}");
            valid += usize::from(expected.is_some());
        }
        assert!((30_000..70_000).contains(&valid), "{valid}");
    }

    #[test]
    fn the_case_of_domains_does_not_count() {
        let fqdn =
            |data| Identity::Fqdn("Gw.Example.org").matches(&IdPayload::new(IdType::FQDN, data));
        assert!(fqdn(b"gW.eXAMPLE.ORG"));
        assert!(!fqdn(b"gw.example.or") && !fqdn(b"gw.example.org.") && !fqdn(b""));
        let mail = |data| {
            Identity::Email("Me@x@Example.org").matches(&IdPayload::new(IdType::RFC822_ADDR, data))
        };
        assert!(mail(b"Me@x@eXAMPLE.org"));
        assert!(
            !mail(b"me@x@Example.org") && !mail(b"Me@X@Example.org") && !mail(b"Me@x@example.com")
        );
    }

    /// What is the same to [`Identity::matches`] is the same here, and nothing else.
    #[test]
    fn an_identity_has_one_canonical_form() {
        let of = |kind, data| canonical(&IdPayload::new(kind, data)).collect::<vec::Vec<u8>>();
        assert_eq!(of(IdType::FQDN, b"Gw.Example.ORG"), b"gw.example.org");
        assert_eq!(of(IdType::RFC822_ADDR, b"Me@X@Example.ORG"), b"Me@X@example.org");
        assert_eq!(of(IdType::RFC822_ADDR, b"Example.ORG"), b"example.org");
        assert_eq!(of(IdType::KEY_ID, b"Key"), b"Key");
        assert_eq!(of(IdType::DER_ASN1_DN, b"0\x02AB"), b"0\x02AB");
    }

    #[test]
    fn anybody_of_ours_is_our_address() {
        let address = IpAddr::from([192, 0, 2, 9]);
        assert_eq!(Identity::Any.or_address(address), Identity::from(address));
        assert_eq!(Identity::Fqdn("gw").or_address(address), Identity::Fqdn("gw"));
        assert_eq!(Identity::Any.payload(&mut [0; 16]).data, b"");
    }

    /// Nothing of a peer gets unescaped or at full length into a log.
    #[test]
    fn what_a_peer_sent_is_shown_escaped() {
        let show = |kind: IdType, data: &[u8]| format!("{}", DisplayId(IdPayload::new(kind, data)));
        assert_eq!(show(IdType::FQDN, b"a b\\\n\x1b[\xff"), "a\\x20b\\x5c\\x0a\\x1b[\\xff");
        assert_eq!(show(IdType::KEY_ID, b"\n"), "KEY_ID:0a");
        assert_eq!(show(IdType(99), b"\x01"), "IdType(99):01");
        assert_eq!(show(IdType::IPV4_ADDR, &[1, 2, 3]), "IPV4_ADDR:010203");
        for kind in 0..=255 {
            let all: vec::Vec<u8> = (0..=255).collect();
            let shown = show(IdType(kind), &all);
            assert!(shown.ends_with("..."));
            assert!(shown.bytes().all(|b| b.is_ascii_graphic()) && shown.len() < 4 * 128 + 20);
        }
        let parsed = IdPayload::parse(PayloadType::IDI, &[1, 0, 0, 0, 192, 0, 2, 1]).unwrap();
        assert_eq!(format!("{:?}", DisplayId(parsed)), "192.0.2.1");
    }
}
