//! A packet inside a larger buffer: headers grow into the room before it, trailers into the room behind it.

use core::ops::Range;

/// The caller's slice, and where in it the packet lies.
///
/// Bytes before the packet are its headroom, bytes behind it its tailroom. Growing and trimming move the borders; no
/// byte of the packet is ever moved.
#[derive(Debug)]
pub struct PacketBuf<'b> {
    buf: &'b mut [u8],
    start: usize,
    end: usize,
}

impl<'b> PacketBuf<'b> {
    /// The packet is `range` of `buf`; `None` if the range does not lie in the buffer.
    pub fn new(buf: &'b mut [u8], range: Range<usize>) -> Option<Self> {
        buf.get(range.clone())?;
        Some(Self { buf, start: range.start, end: range.end })
    }

    /// The packet is the whole of `buf`: no headroom, no tailroom.
    pub const fn whole(buf: &'b mut [u8]) -> Self {
        let end = buf.len();
        Self { buf, start: 0, end }
    }

    /// Bytes of the packet.
    pub const fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether the packet has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes free before the packet.
    pub const fn headroom(&self) -> usize {
        self.start
    }

    /// Bytes free behind the packet.
    pub const fn tailroom(&self) -> usize {
        self.buf.len().saturating_sub(self.end)
    }

    /// Where in the buffer the packet lies: for a caller whose hardware wants an offset.
    pub const fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The packet.
    pub fn payload(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or_default()
    }

    /// The packet, to be changed.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// The packet, for as long as the buffer was lent.
    pub fn into_slice(self) -> &'b mut [u8] {
        self.buf.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// The same packet, borrowed for a shorter time. Changes of the borders are lost with it.
    pub const fn reborrow(&mut self) -> PacketBuf<'_> {
        PacketBuf { buf: self.buf, start: self.start, end: self.end }
    }

    /// Whether `head` and `tail` more bytes fit. Changes nothing.
    pub const fn require(&self, head: usize, tail: usize) -> Result<(), NoRoom> {
        if self.headroom() < head || self.tailroom() < tail {
            return Err(NoRoom {
                needed_head: head,
                needed_tail: tail,
                head: self.headroom(),
                tail: self.tailroom(),
            });
        }
        Ok(())
    }

    /// Grows the packet by `len` bytes at the front and lends them. Their old contents are unspecified.
    pub fn prepend(&mut self, len: usize) -> Result<&mut [u8], NoRoom> {
        self.require(len, 0)?;
        let old = self.start;
        self.start = old.saturating_sub(len);
        Ok(self.buf.get_mut(self.start..old).unwrap_or_default())
    }

    /// Grows the packet by `len` bytes at the back and lends them. Their old contents are unspecified.
    pub fn append(&mut self, len: usize) -> Result<&mut [u8], NoRoom> {
        self.require(0, len)?;
        let old = self.end;
        self.end = old.saturating_add(len);
        Ok(self.buf.get_mut(old..self.end).unwrap_or_default())
    }

    /// Takes `len` bytes off the front. `None`, with nothing changed, if there are fewer.
    pub fn trim_front(&mut self, len: usize) -> Option<()> {
        let start = self.start.checked_add(len)?;
        (start <= self.end).then(|| self.start = start)
    }

    /// Takes `len` bytes off the back. `None`, with nothing changed, if there are fewer.
    pub fn trim_back(&mut self, len: usize) -> Option<()> {
        let end = self.end.checked_sub(len)?;
        (end >= self.start).then(|| self.end = end)
    }

    /// Shortens the packet to its first `len` bytes. `None`, with nothing changed, if there are fewer.
    pub fn truncate(&mut self, len: usize) -> Option<()> {
        self.trim_back(self.len().checked_sub(len)?)
    }

    /// Cuts the packet to `len` bytes, and grows it by `head` bytes before these and `tail` behind. `None` if it is
    /// shorter, or there is no room; nothing has changed then.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn reshape(&mut self, head: usize, len: usize, tail: usize) -> Option<&mut [u8]> {
        let Range { start, end } = self.reshaped(head, len, tail)?;
        let grown = self.buf.get_mut(start..end)?;
        (self.start, self.end) = (start, end);
        Some(grown)
    }

    /// The [range](Self::range) that [`reshape`](Self::reshape) would make of the packet. Changes nothing.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub const fn reshaped(&self, head: usize, len: usize, tail: usize) -> Option<Range<usize>> {
        let (Some(start), Some(cut)) = (self.start.checked_sub(head), self.start.checked_add(len))
        else {
            return None;
        };
        match cut.checked_add(tail) {
            Some(end) if cut <= self.end && end <= self.buf.len() => Some(start..end),
            _ => None,
        }
    }
}

/// The buffer is too small around the packet. Nothing has changed. Fault: capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NoRoom {
    /// Bytes needed before the packet.
    pub needed_head: usize,
    /// Bytes needed behind the packet.
    pub needed_tail: usize,
    /// Bytes that were free before the packet.
    pub head: usize,
    /// Bytes that were free behind the packet.
    pub tail: usize,
}

impl core::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { needed_head, needed_tail, head, tail } = self;
        write!(
            f,
            "needs {needed_head} bytes before and {needed_tail} behind, has {head} and {tail}"
        )
    }
}

impl core::error::Error for NoRoom {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_both_ways_in_place() {
        let mut memory = [0, 0, 7, 8, 0];
        let mut packet = PacketBuf::new(&mut memory, 2..4).unwrap();
        packet.prepend(2).unwrap().fill(1);
        packet.append(1).unwrap().fill(2);
        assert_eq!((packet.payload(), packet.range()), (&[1, 1, 7, 8, 2][..], 0..5));
        packet.trim_front(2).unwrap();
        packet.trim_back(1).unwrap();
        assert_eq!(packet.into_slice(), [7, 8]);
    }

    #[test]
    fn reshaping_is_all_or_nothing() {
        let mut memory = [9, 9, 7, 8, 9];
        let mut packet = PacketBuf::new(&mut memory, 2..4).unwrap();
        for (head, len, tail) in [(3, 1, 0), (0, 3, 0), (0, 2, 2), (0, usize::MAX, 1)] {
            assert_eq!(packet.reshaped(head, len, tail), None);
            assert_eq!(packet.reshape(head, len, tail), None);
            assert_eq!(packet.range(), 2..4);
        }
        assert_eq!(packet.reshaped(1, 1, 2), Some(1..5));
        assert_eq!(packet.reshape(1, 1, 2), Some(&mut [9, 7, 8, 9][..]));
        assert_eq!(packet.range(), 1..5);
    }

    #[test]
    fn without_room_nothing_changes() {
        let mut memory = [0; 5];
        let mut packet = PacketBuf::new(&mut memory, 2..4).unwrap();
        let refused = NoRoom { needed_head: 3, needed_tail: 0, head: 2, tail: 1 };
        assert_eq!(packet.prepend(3), Err(refused));
        assert!(packet.append(2).is_err());
        assert_eq!(packet.trim_front(3), None);
        assert_eq!(packet.trim_back(usize::MAX), None);
        assert_eq!(packet.truncate(3), None);
        assert_eq!(packet.range(), 2..4);
        packet.truncate(0).unwrap();
        assert!(packet.is_empty());
    }

    #[test]
    fn a_range_outside_the_buffer_is_refused() {
        let mut memory = [0; 5];
        assert!(PacketBuf::new(&mut memory, 3..6).is_none());
        #[expect(clippy::reversed_empty_ranges, reason = "the caller's mistake that is tested")]
        let backwards = 4..3;
        assert!(PacketBuf::new(&mut memory, backwards).is_none());
        assert_eq!(PacketBuf::whole(&mut memory).tailroom(), 0);
    }
}
