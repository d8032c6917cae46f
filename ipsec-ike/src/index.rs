//! An index of slots by something a peer or an administrator chose.

use core::hash::Hasher;
use core::ops::{Deref, DerefMut};

use siphasher::sip::SipHasher13;

/// A [`HashIndex`](ipsec_core::index::HashIndex) with a keyed hash, so that nobody outside can make many keys meet in one
/// bucket.
pub(crate) struct HashIndex<'r> {
    index: ipsec_core::index::HashIndex<'r>,
    key: [u64; 2],
}

impl<'r> HashIndex<'r> {
    /// An empty index of the slots that have a link in `next`. `key` is random and secret.
    pub(crate) fn new(buckets: &'r mut [u32], next: &'r mut [u32], key: [u64; 2]) -> Self {
        Self { index: ipsec_core::index::HashIndex::new(buckets, next), key }
    }

    /// The hash of a key given in parts. Parts are not separated: at most one may vary in length.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.hasher();
        parts.iter().for_each(|part| feed(&mut hasher, part));
        result(&hasher)
    }

    /// The hash of a key given byte by byte.
    pub(crate) fn hash_bytes(&self, bytes: impl Iterator<Item = u8>) -> u64 {
        let mut hasher = self.hasher();
        bytes.for_each(|byte| feed(&mut hasher, &[byte]));
        result(&hasher)
    }

    fn hasher(&self) -> SipHasher13 {
        let [k0, k1] = self.key;
        SipHasher13::new_with_keys(k0, k1)
    }
}

// One copy of each: the rounds are long where there are no 64-bit registers.

#[inline(never)]
fn feed(hasher: &mut SipHasher13, bytes: &[u8]) {
    bytes.iter().for_each(|byte| hasher.write_u8(*byte));
}

#[inline(never)]
fn result(hasher: &SipHasher13) -> u64 {
    hasher.finish()
}

impl<'r> Deref for HashIndex<'r> {
    type Target = ipsec_core::index::HashIndex<'r>;

    fn deref(&self) -> &Self::Target {
        &self.index
    }
}

impl DerefMut for HashIndex<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_its_key_and_not_on_the_cut() {
        let hash = |key, parts: &[&[u8]]| HashIndex::new(&mut [], &mut [], key).hash(parts);
        assert_eq!(hash([1, 2], &[b"ab", b"c"]), hash([1, 2], &[b"a", b"bc"]));
        assert_ne!(hash([1, 2], &[b"abc"]), hash([1, 3], &[b"abc"]));
        assert_ne!(hash([1, 2], &[b"abc"]), hash([1, 2], &[b"abd"]));
    }
}
