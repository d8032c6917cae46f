//! Authentication by a pre-shared key (RFC 7296 section 2.15).

use ipsec_core::crypto::suite::MAX_PRF;
use ipsec_core::crypto::{CryptoError, Prf, PrfId, Provider};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::wire::IdPayload;

/// RFC 7296 section 2.15: 17 ASCII characters, without a terminator.
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// The proof of one side: AUTH = prf (prf (psk, "Key Pad for IKEv2"), message | nonce | prf (SK_p, id) | rounds).
///
/// `message` is the IKE_SA_INIT message of that side and `id` its identity, as sent; `sk_p` is its SK_pi or SK_pr;
/// `nonce` is the nonce of the other side, and `rounds` is IntAuth (RFC 9242 section 3.3.2), empty without such rounds. `out` takes the proof, whose length is returned.
pub(crate) fn sign<P: Provider>(
    prf: PrfId,
    psk: &[u8],
    sk_p: &[u8],
    message: &[u8],
    nonce: &[u8],
    id: &IdPayload<'_>,
    rounds: &[u8],
    out: &mut [u8; MAX_PRF],
) -> Result<usize, CryptoError> {
    let len = prf.output_len().ok_or(CryptoError::Unsupported)?;
    let out = out.get_mut(..len).ok_or(CryptoError::Length)?;

    let mut maced_id = [0; MAX_PRF];
    let maced_id = maced_id.get_mut(..len).ok_or(CryptoError::Length)?;
    P::Prf::new(prf, sk_p)?.compute(&[&id.head(), id.data], maced_id)?;

    let mut key = Zeroizing::new([0; MAX_PRF]);
    let key = key.get_mut(..len).ok_or(CryptoError::Length)?;
    P::Prf::new(prf, psk)?.compute(&[KEY_PAD], key)?;

    P::Prf::new(prf, key)?.compute(&[message, nonce, maced_id, rounds], out)?;
    Ok(len)
}

/// Whether `auth` is the proof of the side that the other arguments are about, as for [`sign`].
///
/// # Errors
/// [`CryptoError::Integrity`] if it is not; compared in constant time.
pub(crate) fn verify<P: Provider>(
    prf: PrfId,
    psk: &[u8],
    sk_p: &[u8],
    message: &[u8],
    nonce: &[u8],
    id: &IdPayload<'_>,
    rounds: &[u8],
    auth: &[u8],
) -> Result<(), CryptoError> {
    let mut expected = Zeroizing::new([0; MAX_PRF]);
    let len = sign::<P>(prf, psk, sk_p, message, nonce, id, rounds, &mut expected)?;
    let expected = expected.get(..len).ok_or(CryptoError::Length)?;
    if auth.ct_eq(expected).into() { Ok(()) } else { Err(CryptoError::Integrity) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::iana::{IdType, PayloadType};
    use ipsec_rustcrypto::RustCrypto;

    const PRF: PrfId = PrfId::HMAC_SHA2_256;
    const ID: IdPayload<'_> = IdPayload::new(IdType::FQDN, b"gw.example.org");

    /// Computed with Python's `hmac` from the formula of RFC 7296 section 2.15: PSK "secret", SK_p 32 bytes 7,
    /// message 100 bytes 1, nonce 32 bytes 2, the identity above.
    const EXPECTED: [u8; 32] = [
        0x92, 0x0d, 0xfa, 0xac, 0xc7, 0xcf, 0x05, 0x78, 0x3e, 0x38, 0xfb, 0x01, 0x08, 0x38, 0xee,
        0x19, 0xd7, 0x60, 0xfc, 0xd7, 0x27, 0xa6, 0xb0, 0x6c, 0xfc, 0x40, 0x64, 0xff, 0xe1, 0x34,
        0x0b, 0xd4,
    ];

    fn sign(psk: &[u8], sk_p: &[u8], message: &[u8], nonce: &[u8], id: &IdPayload<'_>) -> [u8; 32] {
        let mut out = [0; MAX_PRF];
        let len =
            super::sign::<RustCrypto>(PRF, psk, sk_p, message, nonce, id, &[], &mut out).unwrap();
        out[..len].try_into().unwrap()
    }

    /// RFC 7296 section 2.15: the formula, and everything that it covers.
    #[test]
    fn the_proof_covers_all_its_parts() {
        let proof = sign(b"secret", &[7; 32], &[1; 100], &[2; 32], &ID);
        assert_eq!(proof, EXPECTED);
        let reserved = [2, 0, 0, 1];
        let other_head = [&reserved[..], b"gw.example.org"].concat();
        let other_head = IdPayload::parse(PayloadType::IDI, &other_head).unwrap();
        for other in [
            sign(b"Secret", &[7; 32], &[1; 100], &[2; 32], &ID),
            sign(b"secret", &[8; 32], &[1; 100], &[2; 32], &ID),
            sign(b"secret", &[7; 32], &[1; 101], &[2; 32], &ID),
            sign(b"secret", &[7; 32], &[1; 100], &[3; 32], &ID),
            sign(
                b"secret",
                &[7; 32],
                &[1; 100],
                &[2; 32],
                &IdPayload::new(IdType::KEY_ID, ID.data),
            ),
            // The reserved bytes are covered as they were sent.
            sign(b"secret", &[7; 32], &[1; 100], &[2; 32], &other_head),
        ] {
            assert_ne!(other, EXPECTED);
        }
    }

    #[test]
    fn only_the_exact_proof_verifies() {
        let check = |auth: &[u8]| {
            verify::<RustCrypto>(PRF, b"secret", &[7; 32], &[1; 100], &[2; 32], &ID, &[], auth)
        };
        assert_eq!(check(&EXPECTED), Ok(()));
        for at in 0..EXPECTED.len() {
            let mut changed = EXPECTED;
            changed[at] ^= 0x80;
            assert_eq!(check(&changed), Err(CryptoError::Integrity));
            assert_eq!(check(&EXPECTED[..at]), Err(CryptoError::Integrity));
        }
        assert_eq!(check(&[&EXPECTED[..], &[0]].concat()), Err(CryptoError::Integrity));
    }

    extern crate std;
}
