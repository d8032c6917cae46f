//! A pool of message buffers over lent memory.
//!
//! A message is lent a buffer only as long as an exchange needs it, so that an idle SA costs none.

use ipsec_core::bytes;
use ipsec_core::list::SlotList;
use zeroize::Zeroize;

/// Names a buffer of a [`Buffers`] pool. All zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BufferId(u32);

impl BufferId {
    /// No buffer: what an empty slot holds.
    pub(crate) const NONE: Self = Self(0);

    /// Whether this names no buffer.
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    const fn of(index: u32) -> Self {
        Self(index.saturating_add(1))
    }

    fn index(self) -> Option<u32> {
        self.0.checked_sub(1)
    }
}

/// Buffers of equal length, each free or taken.
pub(crate) struct Buffers<'r> {
    bytes: &'r mut [u8],
    len: usize,
    /// Bytes in use of each buffer.
    used: &'r mut [u32],
    free: SlotList<'r>,
    free_count: usize,
}

impl<'r> Buffers<'r> {
    /// As many buffers of `len` bytes as fit in `bytes`, and as have two words each in `links`.
    pub(crate) fn new(bytes: &'r mut [u8], len: usize, links: &'r mut [u32]) -> Self {
        let count = bytes.len().checked_div(len).unwrap_or(0).min(links.len() / 2);
        let (used, links) = links.split_at_mut_checked(count).unwrap_or_default();
        used.fill(0);
        let links = links.get_mut(..count).unwrap_or_default();
        let mut free = SlotList::new(links);
        for index in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            free.push(index);
        }
        Self { bytes, len, used, free, free_count: count }
    }

    /// Bytes of each buffer.
    pub(crate) const fn buffer_len(&self) -> usize {
        self.len
    }

    /// How many buffers there are.
    pub(crate) const fn count(&self) -> usize {
        self.used.len()
    }

    /// How many buffers are free.
    pub(crate) const fn free(&self) -> usize {
        self.free_count
    }

    /// Takes a buffer, with no byte in use. `None` if all are taken.
    pub(crate) fn take(&mut self) -> Option<BufferId> {
        let index = self.free.pop()?;
        self.free_count = self.free_count.saturating_sub(1);
        Some(BufferId::of(index))
    }

    /// Takes a buffer and puts `message` in it. `None`, with nothing taken, if all are taken or too short.
    pub(crate) fn store(&mut self, message: &[u8]) -> Option<BufferId> {
        if message.len() > self.len {
            return None;
        }
        let id = self.take()?;
        bytes::copy_prefix(self.bytes_mut(id), message)?;
        self.set_len(id, message.len());
        Some(id)
    }

    /// Gives a buffer back, wiped, and makes `id` [`BufferId::NONE`]. Nothing happens if it is that already.
    pub(crate) fn release(&mut self, id: &mut BufferId) {
        let released = core::mem::take(id);
        let Some(index) = self.taken(released) else { return };
        self.bytes_mut(released).zeroize();
        self.set_len(released, 0);
        self.free.push(index);
        self.free_count = self.free_count.saturating_add(1);
    }

    /// The bytes in use; none of a buffer that is not taken.
    pub(crate) fn bytes(&self, id: BufferId) -> &[u8] {
        self.range(id, self.used_len(id)).and_then(|r| self.bytes.get(r)).unwrap_or_default()
    }

    /// The whole buffer; empty if it is not taken.
    pub(crate) fn bytes_mut(&mut self, id: BufferId) -> &mut [u8] {
        self.range(id, self.len).and_then(|r| self.bytes.get_mut(r)).unwrap_or_default()
    }

    /// Says that the first `len` bytes are in use, at most the whole buffer.
    pub(crate) fn set_len(&mut self, id: BufferId, len: usize) {
        let len = u32::try_from(len.min(self.len)).unwrap_or(u32::MAX);
        if let Some(used) = self.taken(id).and_then(|i| self.used.get_mut(i as usize)) {
            *used = len;
        }
    }

    /// The bytes in use of `from`, and all of `to`. `None` if they are the same buffer, or one is not taken.
    pub(crate) fn pair(&mut self, from: BufferId, to: BufferId) -> Option<(&[u8], &mut [u8])> {
        let whole = self.range(from, self.len)?;
        let used = self.used_len(from);
        let [from, to] = self.bytes.get_disjoint_mut([whole, self.range(to, self.len)?]).ok()?;
        Some((from.get(..used)?, to))
    }

    fn used_len(&self, id: BufferId) -> usize {
        let used = id.index().and_then(|i| self.used.get(i as usize));
        used.and_then(|used| usize::try_from(*used).ok()).unwrap_or(0)
    }

    fn range(&self, id: BufferId, len: usize) -> Option<core::ops::Range<usize>> {
        let index = usize::try_from(self.taken(id)?).ok()?;
        let start = index.checked_mul(self.len)?;
        Some(start..start.checked_add(len)?)
    }

    /// The number of a buffer that is taken.
    fn taken(&self, id: BufferId) -> Option<u32> {
        let index = id.index()?;
        (self.used.get(index as usize).is_some() && !self.free.contains(index)).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_is_taken_once() {
        let (mut bytes, mut links) = ([0xa5; 35], [7; 9]);
        let mut pool = Buffers::new(&mut bytes, 10, &mut links);
        let ids = [pool.take(), pool.take(), pool.take(), pool.take()];
        let [Some(a), Some(b), Some(c), None] = ids else { panic!("{ids:?}") };
        assert!(a != b && b != c && a != c && !a.is_none());
        assert_eq!((pool.free(), pool.store(b"x")), (0, None));
        for id in [a, b, c] {
            assert_eq!((pool.bytes_mut(id).len(), pool.bytes(id).len()), (10, 0));
        }
    }

    #[test]
    fn a_released_buffer_is_wiped_and_gone() {
        let (mut bytes, mut links) = ([0; 20], [0; 4]);
        let mut pool = Buffers::new(&mut bytes, 10, &mut links);
        let mut id = pool.store(b"secret").unwrap();
        assert_eq!(pool.bytes(id), b"secret");
        // Bytes beyond those in use are wiped too.
        pool.bytes_mut(id)[9] = 1;
        let stale = id;
        pool.release(&mut id);
        assert_eq!((id, pool.free()), (BufferId::NONE, 2));
        pool.release(&mut id);
        pool.release(&mut { stale });
        assert_eq!((pool.free(), pool.bytes(stale).len()), (2, 0));
        assert!(pool.bytes_mut(stale).is_empty());
        assert_eq!(bytes, [0; 20]);
    }

    #[test]
    fn a_message_that_does_not_fit_takes_nothing() {
        let (mut bytes, mut links) = ([0; 20], [0; 4]);
        let mut pool = Buffers::new(&mut bytes, 10, &mut links);
        assert_eq!(pool.store(&[1; 11]), None);
        assert_eq!(pool.free(), 2);
        let id = pool.store(&[1; 10]).unwrap();
        pool.set_len(id, 100);
        assert_eq!(pool.bytes(id), [1; 10]);
    }

    #[test]
    fn two_buffers_at_once() {
        let (mut bytes, mut links) = ([0; 20], [0; 4]);
        let mut pool = Buffers::new(&mut bytes, 10, &mut links);
        let (a, b) = (pool.store(b"from").unwrap(), pool.take().unwrap());
        let (from, to) = pool.pair(a, b).unwrap();
        to[..4].copy_from_slice(from);
        pool.set_len(b, 4);
        assert_eq!(pool.bytes(b), b"from");
        assert!(pool.pair(b, a).is_some());
        assert!(pool.pair(a, a).is_none() && pool.pair(a, BufferId::NONE).is_none());
    }

    #[test]
    fn no_memory_is_no_buffer() {
        for (bytes, len, links) in [(0, 10, 4), (20, 0, 4), (20, 10, 1), (9, 10, 4)] {
            let (mut bytes, mut links) = ([0; 20][..bytes].to_owned(), [0; 4][..links].to_owned());
            let mut pool = Buffers::new(&mut bytes, len, &mut links);
            assert_eq!((pool.free(), pool.take()), (0, None));
        }
    }

    extern crate std;
    use std::borrow::ToOwned;
}
