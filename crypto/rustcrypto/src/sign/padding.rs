//! The message representatives of RSA signatures: RFC 8017 section 9.

use core::iter;

use ipsec_core::crypto::{CryptoError, HashId};
use rand_core::CryptoRng;

use super::{Hash, hash};
use crate::select::Select;

/// What PKCS #1 v1.5 puts before a hash: the DER of a DigestInfo up to it (RFC 8017 section 9.2).
pub(super) const fn digest_info(id: HashId) -> &'static [u8] {
    match id {
        HashId::Sha1 => b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
        HashId::Sha256 => {
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
        }
        HashId::Sha384 => {
            b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30"
        }
        HashId::Sha512 => {
            b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"
        }
        _ => b"",
    }
}

/// EMSA-PKCS1-v1_5 around `parts`, as long as the modulus: 0, 1, at least eight times 0xff, 0, the parts.
fn pkcs1<'a>(len: usize, parts: &'a [&'a [u8]]) -> Option<impl Iterator<Item = u8> + 'a> {
    let inside = parts.iter().try_fold(0, |sum: usize, part| sum.checked_add(part.len()))?;
    let filling = len.checked_sub(inside)?.checked_sub(3).filter(|filling| *filling >= 8)?;
    let parts = parts.iter().flat_map(|part| part.iter().copied());
    Some([0, 1].into_iter().chain(iter::repeat_n(0xff, filling)).chain([0]).chain(parts))
}

/// Verifies one by making it again: there is nothing to parse.
pub(super) fn verify_pkcs1(encoded: &[u8], parts: &[&[u8]]) -> Result<(), CryptoError> {
    pkcs1(encoded.len(), parts)
        .is_some_and(|expected| expected.eq(encoded.iter().copied()))
        .then_some(())
        .ok_or(CryptoError::Signature)
}

/// Writes one.
pub(super) fn write_pkcs1(out: &mut [u8], parts: &[&[u8]]) -> Result<(), CryptoError> {
    let encoded = pkcs1(out.len(), parts).ok_or(CryptoError::Length)?;
    out.iter_mut().zip(encoded).for_each(|(to, from)| *to = from);
    Ok(())
}

/// Verifies EMSA-PSS over a hash, for a modulus of `bits` bits. The salt has the length of the hash.
pub(super) fn verify_pss<S: Select>(
    id: HashId,
    digest: &Hash,
    bits: usize,
    encoded: &mut [u8],
) -> Result<(), CryptoError> {
    let parts = Pss::of(id, bits, encoded).ok_or(CryptoError::Signature)?;
    let mask = parts.top_mask;
    let good = parts.zero.iter().all(|byte| *byte == 0)
        && *parts.last == 0xbc
        && parts.masked.first().is_some_and(|top| top & !mask == 0);
    xor_mgf1::<S>(id, parts.hash, parts.masked)?;
    if let Some(top) = parts.masked.first_mut() {
        *top &= mask;
    }
    let salt_at = parts.masked.len().saturating_sub(id.output_len());
    let (filling, salt) = parts.masked.split_at_checked(salt_at).ok_or(CryptoError::Signature)?;
    let (one, zeros) = filling.split_last().ok_or(CryptoError::Signature)?;
    let good = good && *one == 1 && zeros.iter().all(|byte| *byte == 0);
    let expected = hash::<S>(id, &[&[0; 8], digest.as_ref(), salt])?;
    if good && expected.as_ref() == parts.hash { Ok(()) } else { Err(CryptoError::Signature) }
}

/// Writes EMSA-PSS over a hash.
pub(super) fn write_pss<S: Select>(
    id: HashId,
    digest: &Hash,
    bits: usize,
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<(), CryptoError> {
    out.fill(0);
    let parts = Pss::of(id, bits, out).ok_or(CryptoError::Length)?;
    let salt_at = parts.masked.len().saturating_sub(id.output_len());
    let (filling, salt) = parts.masked.split_at_mut_checked(salt_at).ok_or(CryptoError::Length)?;
    *filling.last_mut().ok_or(CryptoError::Length)? = 1;
    rng.fill_bytes(salt);
    let hash = hash::<S>(id, &[&[0; 8], digest.as_ref(), salt])?;
    parts.hash.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    xor_mgf1::<S>(id, parts.hash, parts.masked)?;
    if let Some(top) = parts.masked.first_mut() {
        *top &= parts.top_mask;
    }
    *parts.last = 0xbc;
    Ok(())
}

/// Where the parts of EMSA-PSS lie (RFC 8017 section 9.1.1).
struct Pss<'a> {
    /// One byte, if the number of bits below the topmost is a multiple of 8; else nothing.
    zero: &'a mut [u8],
    masked: &'a mut [u8],
    hash: &'a mut [u8],
    last: &'a mut u8,
    /// The bits that the first byte of `masked` may have.
    top_mask: u8,
}

impl<'a> Pss<'a> {
    fn of(id: HashId, bits: usize, encoded: &'a mut [u8]) -> Option<Self> {
        let bits = bits.checked_sub(1)?;
        let zeros = encoded.len().checked_sub(bits.div_ceil(8))?;
        let (zero, encoded) = encoded.split_at_mut_checked(zeros)?;
        let top_mask = 0xff >> ((8 - bits % 8) % 8);
        let (last, encoded) = encoded.split_last_mut()?;
        let masked_len = encoded.len().checked_sub(id.output_len())?;
        let (masked, hash) = encoded.split_at_mut_checked(masked_len)?;
        Some(Self { zero, masked, hash, last, top_mask })
    }
}

/// Combines `text` with the mask that MGF1 makes of `seed` (RFC 8017 appendix B.2.1).
fn xor_mgf1<S: Select>(id: HashId, seed: &[u8], text: &mut [u8]) -> Result<(), CryptoError> {
    let (mut rest, mut counter) = (text, 0u32);
    while !rest.is_empty() {
        let mask = hash::<S>(id, &[seed, &counter.to_be_bytes()])?;
        rest.iter_mut().zip(mask.as_ref()).for_each(|(byte, mask)| *byte ^= mask);
        rest = rest.get_mut(mask.as_ref().len()..).unwrap_or_default();
        counter = counter.wrapping_add(1);
    }
    Ok(())
}
