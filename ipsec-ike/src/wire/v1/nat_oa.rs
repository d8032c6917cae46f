//! The original address payload (RFC 3947 section 5.2).

use core::net::IpAddr;

use ipsec_core::bytes::Reader;

use super::super::NoRoom;
use super::WireError;
use super::compose::MessageWriter;
use super::iana::{IdType, PayloadType};

/// The address that an end of a transport mode SA has before a NAT changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatOa {
    /// It.
    pub address: IpAddr,
}

impl NatOa {
    /// Parses the body of a payload: an address of the length that its type says.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(PayloadType::NAT_OA))
    }

    fn read(body: &[u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let [kind, _, _, _] = r.array()?;
        let address = match IdType(kind) {
            IdType::IPV4_ADDR => IpAddr::from(r.array::<4>()?),
            IdType::IPV6_ADDR => IpAddr::from(r.array::<16>()?),
            _ => return None,
        };
        r.is_empty().then_some(Self { address })
    }
}

impl MessageWriter<'_> {
    /// Appends an original address; `payload` is [`PayloadType::NAT_OA`], or that of the drafts.
    pub fn nat_oa(&mut self, payload: PayloadType, address: IpAddr) -> Result<(), NoRoom> {
        self.payload(payload, |w| match address {
            IpAddr::V4(a) => {
                w.bytes(&[IdType::IPV4_ADDR.0, 0, 0, 0])?;
                w.bytes(&a.octets())
            }
            IpAddr::V6(a) => {
                w.bytes(&[IdType::IPV6_ADDR.0, 0, 0, 0])?;
                w.bytes(&a.octets())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3947 section 5.2: type, three reserved bytes, address.
    #[test]
    fn addresses_of_both_families() {
        let v4 = NatOa::parse(&[1, 0, 0, 0, 192, 0, 2, 1]).unwrap();
        assert_eq!(v4.address, IpAddr::from([192, 0, 2, 1]));
        assert!(NatOa::parse(&[&[5, 0, 0, 0][..], &[1; 16]].concat()).is_ok());
        for body in [
            &[][..],
            &[1, 0, 0, 0, 1, 2, 3],
            &[1, 0, 0, 0, 1, 2, 3, 4, 5],
            &[2, 0, 0, 0, 1, 2, 3, 4],
        ] {
            assert_eq!(NatOa::parse(body), Err(WireError::Malformed(PayloadType::NAT_OA)));
        }
    }
}
