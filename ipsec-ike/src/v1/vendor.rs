//! Vendor IDs: how IKEv1 says what else one can do.

use super::nat::NatTraversal;
use crate::wire::NoRoom;
use crate::wire::v1::{Collected, MessageWriter, PayloadType};

/// What a peer has said by vendor IDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// NAT traversal by RFC 3947.
    pub(crate) nat_rfc: bool,
    /// NAT traversal by the drafts 02 or 03: other numbers of payloads and modes.
    pub(crate) nat_draft: bool,
    /// It answers R_U_THERE (RFC 3706).
    pub(crate) dpd: bool,
    /// XAUTH.
    pub(crate) xauth: bool,
    /// It reassembles fragments.
    pub(crate) fragmentation: bool,
    /// Attributes of Cisco Unity.
    pub(crate) unity: bool,
}

/// RFC 3947 section 3.1: the MD5 of "RFC 3947".
pub(crate) const NAT_T: &[u8] = &hash(0x4a13_1c81_0703_5845_5c57_28f2_0e95_452f);
/// The MD5 of "draft-ietf-ipsec-nat-t-ike-03".
pub(crate) const NAT_T_DRAFT_03: &[u8] = &hash(0x7d94_19a6_5310_ca6f_2c17_9d92_1552_9d56);
/// The MD5 of "draft-ietf-ipsec-nat-t-ike-02" and a line feed, which most have.
pub(crate) const NAT_T_DRAFT_02_N: &[u8] = &hash(0x90cb_8091_3ebb_696e_0863_81b5_ec42_7b1f);
/// The MD5 of "draft-ietf-ipsec-nat-t-ike-02".
pub(crate) const NAT_T_DRAFT_02: &[u8] = &hash(0xcd60_4643_35df_21f8_7cfd_b2fc_68b6_a448);
/// RFC 3706 section 5.1, version 1.0.
pub(crate) const DPD: &[u8] = &hash(0xafca_d713_68a1_f1c9_6b86_96fc_7757_0100);
/// The draft on XAUTH, version 6.
pub(crate) const XAUTH: &[u8] = &[0x09, 0x00, 0x26, 0x89, 0xdf, 0xd6, 0xb7, 0x12];
/// The MD5 of "FRAGMENTATION"; some append four bytes of flags.
pub(crate) const FRAGMENTATION: &[u8] = &hash(0x4048_b7d5_6ebc_e885_25e7_de7f_00d6_c2d3);
/// Cisco Unity, version 1.0.
pub(crate) const UNITY: &[u8] = &hash(0x12f5_f28c_4571_68a9_702d_9fe2_74cc_0100);

/// Those that are always sent: NAT traversal, the preferred first, and DPD.
const ALWAYS: [&[u8]; 5] = [NAT_T, NAT_T_DRAFT_03, NAT_T_DRAFT_02_N, NAT_T_DRAFT_02, DPD];

/// Writes what we can, with [`FRAGMENTATION`] if we reassemble fragments, and `further` of the above: [`XAUTH`], [`UNITY`].
pub(super) fn write_all(
    w: &mut MessageWriter<'_>,
    fragments: bool,
    further: &[&[u8]],
) -> Result<(), NoRoom> {
    let fragmentation = fragments.then_some(&FRAGMENTATION);
    let mut all = ALWAYS.iter().chain(fragmentation).chain(further);
    all.try_for_each(|id| w.raw(PayloadType::VENDOR_ID, id))
}

/// As [`write_all`], as an answer to who has not proven anything: only what it can too, so that the answer to a small
/// message is small.
pub(super) fn write_answer(
    w: &mut MessageWriter<'_>,
    (nat, dpd, sends_fragments): (NatTraversal, bool, bool),
    fragments: bool,
    further: &[&[u8]],
) -> Result<(), NoRoom> {
    let fragmentation = (fragments && sends_fragments).then_some(&FRAGMENTATION);
    let common = |id: &&&[u8]| match **id {
        DPD => dpd,
        NAT_T => nat == NatTraversal::Rfc,
        _ => nat == NatTraversal::Draft,
    };
    let mut all = ALWAYS.iter().filter(common).chain(fragmentation).chain(further);
    all.try_for_each(|id| w.raw(PayloadType::VENDOR_ID, id))
}

impl Known {
    /// What all vendor IDs of a message say.
    pub(super) fn of(collected: &Collected<'_>) -> Self {
        let mut all = Self::default();
        collected.vendor_ids().for_each(|id| all.take(id));
        all
    }

    fn take(&mut self, id: &[u8]) {
        match id {
            _ if id == NAT_T => self.nat_rfc = true,
            _ if id == NAT_T_DRAFT_03 || id == NAT_T_DRAFT_02_N || id == NAT_T_DRAFT_02 => {
                self.nat_draft = true;
            }
            _ if id == DPD => self.dpd = true,
            _ if id == XAUTH => self.xauth = true,
            _ if id.starts_with(FRAGMENTATION) => self.fragmentation = true,
            _ if id == UNITY => self.unity = true,
            _ => {}
        }
    }
}

const fn hash(bits: u128) -> [u8; 16] {
    bits.to_be_bytes()
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::wire::v1::testdata::CONVERSATIONS;
    use crate::wire::v1::{ExchangeType, Flags, Header, Message};
    use ipsec_core::crypto::{HashId, Provider};
    use ipsec_rustcrypto::RustCrypto;

    /// What strongSwan sends first: XAUTH, DPD, FRAGMENTATION, NAT-T of the RFC and of a draft.
    #[test]
    fn vendors_of_strongswan() {
        for conversation in CONVERSATIONS {
            let first = conversation.said[0].datagram();
            let known = Known::of(&Message::parse(&first).unwrap().collect().unwrap());
            let expected = Known {
                nat_rfc: true,
                nat_draft: true,
                dpd: true,
                xauth: true,
                fragmentation: true,
                unity: false,
            };
            assert_eq!(known, expected);
        }
    }

    fn known(ids: &[&[u8]]) -> Known {
        let mut all = Known::default();
        ids.iter().for_each(|id| all.take(id));
        all
    }

    #[test]
    fn each_says_one_thing() {
        for draft in [NAT_T_DRAFT_02, NAT_T_DRAFT_02_N, NAT_T_DRAFT_03] {
            assert_eq!(known(&[draft]), Known { nat_draft: true, ..Known::default() });
        }
        assert_eq!(known(&[NAT_T]), Known { nat_rfc: true, ..Known::default() });
        assert_eq!(known(&[UNITY]), Known { unity: true, ..Known::default() });
        let windows = [FRAGMENTATION, &[0x80, 0, 0, 0]].concat();
        assert_eq!(known(&[&windows]), Known { fragmentation: true, ..Known::default() });
        assert_eq!(known(&[&[], b"other"]), Known::default());
    }

    #[test]
    fn what_we_say() {
        let header = Header::new(1, 0, ExchangeType::IDENTITY_PROTECTION, Flags(0), 0);
        let mut buf = [0; 256];
        for further in [&[][..], &[XAUTH]] {
            let mut w = MessageWriter::new(&mut buf, &header).unwrap();
            write_all(&mut w, !further.is_empty(), further).unwrap();
            let len = w.finish().unwrap();
            let known = Known::of(&Message::parse(&buf[..len]).unwrap().collect().unwrap());
            assert!(known.nat_rfc && known.nat_draft && known.dpd && !known.unity);
            assert_eq!(
                (known.xauth, known.fragmentation),
                (!further.is_empty(), !further.is_empty())
            );
        }
    }

    /// Most are hashes of names.
    #[test]
    fn hashes_of_names() {
        for (id, name) in [
            (NAT_T, "RFC 3947"),
            (NAT_T_DRAFT_03, "draft-ietf-ipsec-nat-t-ike-03"),
            (NAT_T_DRAFT_02_N, "draft-ietf-ipsec-nat-t-ike-02\n"),
            (NAT_T_DRAFT_02, "draft-ietf-ipsec-nat-t-ike-02"),
            (FRAGMENTATION, "FRAGMENTATION"),
        ] {
            let mut md5 = [0; 16];
            match RustCrypto::hash(HashId::Md5, &[name.as_bytes()], &mut md5) {
                Ok(()) => assert_eq!(id, md5, "{name:?}"),
                Err(_) => assert!(std::env::var_os("IPSEC_LEGACY").is_none(), "needs `legacy`"),
            }
        }
    }
}
