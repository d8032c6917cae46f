//! A hash index of slots over lent memory: look-ups by something that we did not choose.

/// No slot, and the link of a slot that is not in the index.
const ABSENT: u32 = 0;
/// The link of the last slot of a bucket. Any other link is the next slot's number plus [`OFFSET`].
const LAST: u32 = 1;
const OFFSET: u32 = 2;

/// Slot numbers by the hash of their key; each slot at most once.
///
/// It holds no keys: whoever looks up compares the key of each slot that is found. Where strangers choose keys, the hash
/// must be keyed, so that they cannot make many of them meet in one bucket.
pub struct HashIndex<'r> {
    /// [`ABSENT`], or the number plus [`OFFSET`] of the first slot of the bucket.
    buckets: &'r mut [u32],
    links: &'r mut [u32],
    mask: u64,
}

impl<'r> HashIndex<'r> {
    /// An empty index of the slots that have a link in `next`.
    ///
    /// The largest power of two of `buckets` is used, and that many low bits of a hash; without a bucket, nothing is ever
    /// found. With as many buckets as slots, a look-up meets one or two slots, however many there are.
    pub fn new(buckets: &'r mut [u32], next: &'r mut [u32]) -> Self {
        buckets.fill(ABSENT);
        next.fill(ABSENT);
        let count = buckets.len().checked_ilog2().map_or(0, |log| 1u64 << log);
        Self { buckets, links: next, mask: count.saturating_sub(1) }
    }

    /// How many slots it can hold.
    pub const fn capacity(&self) -> usize {
        if self.buckets.is_empty() { 0 } else { self.links.len() }
    }

    /// Adds `slot` under `hash`. A slot that is in the index already, or has no link, is ignored.
    pub fn insert(&mut self, hash: u64, slot: u32) {
        let bucket = self.bucket(hash);
        let (Some(head), Some(link)) =
            (self.buckets.get_mut(bucket), self.links.get_mut(slot as usize))
        else {
            return;
        };
        if *link == ABSENT {
            *link = if *head == ABSENT { LAST } else { *head };
            *head = slot.saturating_add(OFFSET);
        }
    }

    /// Takes `slot` out, which was added under `hash`. Nothing happens if it was not.
    pub fn remove(&mut self, hash: u64, slot: u32) {
        let mut before = None;
        if !self.find(hash).any(|s| {
            s == slot || {
                before = Some(s);
                false
            }
        }) {
            return;
        }
        let Some(link) = self.links.get_mut(slot as usize) else { return };
        let after = core::mem::replace(link, ABSENT);
        match before {
            Some(before) => {
                if let Some(link) = self.links.get_mut(before as usize) {
                    *link = after;
                }
            }
            None => {
                let bucket = self.bucket(hash);
                if let Some(head) = self.buckets.get_mut(bucket) {
                    *head = if after == LAST { ABSENT } else { after };
                }
            }
        }
    }

    /// The slots that may have the key of `hash`: all those of its bucket, the latest first.
    pub fn find(&self, hash: u64) -> impl Iterator<Item = u32> + use<'_> {
        let mut next = self.buckets.get(self.bucket(hash)).copied().unwrap_or(ABSENT);
        // A chain has no cycle, and if it had one the walk would end none the less.
        (0..self.links.len()).map_while(move |_| {
            let slot = next.checked_sub(OFFSET)?;
            next = self.links.get(slot as usize).copied()?;
            Some(slot)
        })
    }

    fn bucket(&self, hash: u64) -> usize {
        usize::try_from(hash & self.mask).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn slots_of_one_bucket_are_all_found_until_removed() {
        let (mut buckets, mut next) = ([9; 1], [9; 5]);
        let mut index = HashIndex::new(&mut buckets, &mut next);
        for slot in [3, 0, 4, 3, 5] {
            index.insert(u64::from(slot), slot);
        }
        assert_eq!(index.find(77).collect::<Vec<_>>(), [4, 0, 3]);
        index.remove(0, 0);
        index.remove(0, 1);
        assert_eq!(index.find(0).collect::<Vec<_>>(), [4, 3]);
        index.remove(0, 4);
        index.remove(0, 3);
        assert_eq!(index.find(0).count(), 0);
        index.insert(0, 3);
        assert_eq!(index.find(0).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn agrees_with_a_naive_model() {
        // Six buckets are lent and four used.
        let (mut buckets, mut next) = ([0; 6], [0; 32]);
        let mut index = HashIndex::new(&mut buckets, &mut next);
        let mut naive = vec![None; 32];
        let mut random = 1u64;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let slot = u32::try_from((random >> 40) % 32).unwrap();
            let hash = u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            if random >> 63 == 0 {
                index.insert(hash, slot);
                naive[slot as usize] = Some(hash);
            } else {
                index.remove(hash, slot);
                naive[slot as usize] = None;
            }
            for bucket in 0..4 {
                let mut found: Vec<u32> = index.find(bucket).collect();
                found.sort();
                let expected =
                    (0..32u32).filter(|s| naive[*s as usize].is_some_and(|h| h & 3 == bucket));
                assert_eq!(found, expected.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn no_memory_finds_nothing() {
        let mut none = HashIndex::new(&mut [], &mut []);
        none.insert(5, 0);
        none.remove(5, 0);
        assert_eq!(none.find(5).count(), 0);
    }
}
