//! Policies found by the networks of a flow, instead of one after another.

use core::net::IpAddr;

use crate::selector::{AddressRange, Flow, Selectors, TrafficSelector};

/// A place of a policy in the index. All zero is unused.
#[derive(Clone, Copy, Debug, Default)]
pub struct IndexEntry {
    policy: u32,
    /// The next entry of the chain, plus one.
    next: u32,
}

impl IndexEntry {
    /// Unused.
    pub const EMPTY: Self = Self { policy: 0, next: 0 };
}

/// Pairs of prefix lengths that the index tells apart; policies with others share the pair 0, 0.
const MAX_TUPLES: usize = 32;

/// An index by tuple space search: the policies of each pair of prefix lengths form a hash table of their networks, and
/// a flow is looked up in each of these. A range that is no network is filed under the smallest network around it.
pub(super) struct Index<'r> {
    entries: &'r mut [IndexEntry],
    /// The first entry of each chain, plus one.
    buckets: &'r mut [u32],
    used: usize,
    complete: bool,
    tuples: heapless::Vec<Tuple, MAX_TUPLES>,
}

/// A pair of prefix lengths.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tuple {
    v6: bool,
    local: u8,
    remote: u8,
    /// The first policy that has it.
    first: usize,
}

impl<'r> Index<'r> {
    pub(super) fn new(entries: &'r mut [IndexEntry], buckets: &'r mut [u32]) -> Self {
        Self { entries, buckets, used: 0, complete: false, tuples: heapless::Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill(0);
        self.used = 0;
        self.complete = !self.buckets.is_empty();
        self.tuples.clear();
    }

    /// Whether every policy is in it.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Adds a policy behind all those that are there.
    pub(super) fn add(&mut self, number: usize, selectors: &Selectors) {
        for local in &selectors.local {
            for remote in &selectors.remote {
                if self.complete {
                    self.complete = self.add_pair(number, local, remote).is_some();
                }
            }
        }
    }

    fn add_pair(
        &mut self,
        number: usize,
        local: &TrafficSelector,
        remote: &TrafficSelector,
    ) -> Option<()> {
        let ((v6, local_at, local_len), (remote_v6, remote_at, remote_len)) =
            (network_around(&local.addresses), network_around(&remote.addresses));
        if v6 != remote_v6 {
            return Some(()); // no packet has two families
        }
        let tuple = self.tuple(Tuple { v6, local: local_len, remote: remote_len, first: number });
        let bucket = self.bucket(&tuple, local_at, remote_at);
        let place = self.used;
        let entry = self.entries.get_mut(place)?;
        *entry = IndexEntry { policy: u32::try_from(number).ok()?, next: 0 };
        let link = u32::try_from(place).ok()?.checked_add(1)?;
        self.used = place.saturating_add(1);
        // Chains are in the order of policies: the newcomer goes to the end.
        let mut at = *self.buckets.get(bucket)?;
        if at == 0 {
            *self.buckets.get_mut(bucket)? = link;
            return Some(());
        }
        loop {
            let entry = self.entries.get_mut(at.checked_sub(1)? as usize)?;
            if entry.next == 0 {
                entry.next = link;
                return Some(());
            }
            at = entry.next;
        }
    }

    /// The tuple of this kind, made if there is none; or once they have run out, the one that fits every policy.
    fn tuple(&mut self, wanted: Tuple) -> Tuple {
        let same =
            |t: &&Tuple| (t.v6, t.local, t.remote) == (wanted.v6, wanted.local, wanted.remote);
        if let Some(tuple) = self.tuples.iter().find(same) {
            return *tuple;
        }
        // The last two places are for those that fit everything of one family.
        if self.tuples.len() < MAX_TUPLES.saturating_sub(2) {
            let _ = self.tuples.push(wanted);
            return wanted;
        }
        let any = Tuple { local: 0, remote: 0, ..wanted };
        match self.tuples.iter().find(|t| (t.v6, t.local, t.remote) == (any.v6, 0, 0)) {
            Some(tuple) => *tuple,
            None => {
                let _ = self.tuples.push(any);
                any
            }
        }
    }

    fn bucket(&self, tuple: &Tuple, local: u128, remote: u128) -> usize {
        let (local, remote) = (prefix_of(local, tuple.local), prefix_of(remote, tuple.remote));
        let lengths = u64::from(tuple.local) << 16 | u64::from(tuple.remote) << 1;
        let hash = mix_wide(mix_wide(lengths | u64::from(tuple.v6), local), remote);
        low_bits(hash, ring_mask(self.buckets.len()))
    }

    /// The first policy that may match the flow, and does.
    pub(super) fn first(&self, flow: &Flow, matches: impl Fn(usize) -> bool) -> Option<usize> {
        let (v6, local) = left_aligned(flow.source);
        let (_, remote) = left_aligned(flow.destination);
        let mut best = None;
        // Tuples are in the order of their first policies.
        for tuple in self.tuples.iter().filter(|t| t.v6 == v6) {
            if best.is_some_and(|best| best <= tuple.first) {
                break;
            }
            let mut at = self.buckets.get(self.bucket(tuple, local, remote)).copied();
            while let Some(entry) =
                at.and_then(|at| at.checked_sub(1)).and_then(|at| self.entries.get(at as usize))
            {
                let number = entry.policy as usize;
                if best.is_some_and(|best| best <= number) {
                    break;
                }
                if matches(number) {
                    best = Some(number);
                    break;
                }
                at = Some(entry.next);
            }
        }
        best
    }
}

/// The smallest network that holds a range: its family, its address in the high bits, and its prefix length.
fn network_around(range: &AddressRange) -> (bool, u128, u8) {
    let (v6, start) = left_aligned(range.start());
    let (_, end) = left_aligned(range.end());
    let common = (start ^ end).leading_zeros();
    let width = if v6 { 128 } else { 32 };
    (v6, start, u8::try_from(common.min(width)).unwrap_or(0))
}

/// Whether an address is IPv6, and its bits, at the high end.
pub(super) fn left_aligned(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(a) => (false, u128::from(a.to_bits()) << 96),
        IpAddr::V6(a) => (true, a.to_bits()),
    }
}

fn prefix_of(address: u128, len: u8) -> u128 {
    address & !u128::MAX.checked_shr(len.into()).unwrap_or(0)
}

/// One step of a multiplicative hash. Whoever makes flows collide gains a miss of the cache.
pub(crate) const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 29)
}

pub(crate) fn mix_wide(hash: u64, wide: u128) -> u64 {
    let (high, low) = ((wide >> 64) & u128::from(u64::MAX), wide & u128::from(u64::MAX));
    mix(mix(hash, u64::try_from(high).unwrap_or(0)), u64::try_from(low).unwrap_or(0))
}

/// The mask of the largest power of two that is not more than `len`.
pub(super) fn ring_mask(len: usize) -> u64 {
    len.checked_ilog2().map_or(0, |log| (1u64 << log).saturating_sub(1))
}

pub(super) fn low_bits(hash: u64, mask: u64) -> usize {
    usize::try_from((hash >> 32) & mask).unwrap_or(0)
}
