//! Copying, reading and writing without a panic: the only places where lengths meet.

/// `src` into `dst`, which must have the same length: the one guarded copy.
///
/// Says `None` and copies nothing where the lengths differ.
#[inline]
pub fn copy(dst: &mut [u8], src: &[u8]) -> Option<()> {
    if dst.len() != src.len() {
        return None;
    }
    // `copy_from_slice` compares the lengths again, and at opt-level z links its panic; this becomes a memcpy.
    for (to, from) in dst.iter_mut().zip(src) {
        *to = *from;
    }
    Some(())
}

/// `src` into the beginning of `dst`; says `None` and copies nothing where `dst` is too short.
#[inline]
pub fn copy_prefix(dst: &mut [u8], src: &[u8]) -> Option<()> {
    copy(dst.get_mut(..src.len())?, src)
}

/// Moves `len` bytes inside `buf` from `from` to `to`; the two may overlap. Says `None` if either is out of bounds.
#[inline]
pub fn move_within(buf: &mut [u8], from: usize, to: usize, len: usize) -> Option<()> {
    buf.get(from..from.checked_add(len)?)?;
    buf.get(to..to.checked_add(len)?)?;
    // `copy_within` checks again and links its panic; a loop over checked bytes does not.
    let mut step = |i: usize| {
        if let Some(byte) = buf.get(from.wrapping_add(i)).copied()
            && let Some(slot) = buf.get_mut(to.wrapping_add(i))
        {
            *slot = byte;
        }
    };
    if to <= from {
        (0..len).for_each(&mut step)
    } else {
        (0..len).rev().for_each(&mut step)
    }
    Some(())
}

/// Reads big-endian fields from the front of a slice. `None` once the slice is too short.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

/// Writes big-endian fields to the front of a slice. `None`, with nothing written, once the slice is too short.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Begins at the front of `buf`.
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, at: 0 }
    }

    /// Begins at `at`, after what is there already.
    pub const fn at(buf: &'a mut [u8], at: usize) -> Self {
        Self { buf, at }
    }

    /// Bytes written so far, those before the start of a [`Writer::at`] included.
    pub const fn len(&self) -> usize {
        self.at
    }

    /// Whether nothing has been written.
    pub const fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// What has been written.
    pub fn written(&mut self) -> &mut [u8] {
        self.buf.get_mut(..self.at).unwrap_or_default()
    }

    /// Room for `len` bytes, to be filled by the caller. Its old contents are unspecified.
    pub fn reserve(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.at.checked_add(len)?;
        let room = self.buf.get_mut(self.at..end)?;
        self.at = end;
        Some(room)
    }

    /// Room left, to be filled in part; [`Writer::advance`] then says how much was.
    pub fn room(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.at..).unwrap_or_default()
    }

    /// Counts `len` bytes of the room as written.
    pub fn advance(&mut self, len: usize) -> Option<()> {
        self.reserve(len).map(|_| ())
    }

    /// Appends `bytes`.
    pub fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        copy(self.reserve(bytes.len())?, bytes)
    }

    /// Appends a byte.
    pub fn u8(&mut self, value: u8) -> Option<()> {
        self.bytes(&[value])
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// Overwrites bytes that were already written: a length that is only known at the end.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        copy(self.written().get_mut(at..at.checked_add(bytes.len())?)?, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_overlap_both_ways() {
        let mut a = [1, 2, 3, 4, 5];
        move_within(&mut a, 0, 1, 4).unwrap();
        assert_eq!(a, [1, 1, 2, 3, 4]);
        move_within(&mut a, 1, 0, 4).unwrap();
        assert_eq!(a, [1, 2, 3, 4, 4]);
        assert_eq!(move_within(&mut a, 2, 0, 4), None);
        assert_eq!(move_within(&mut a, usize::MAX, 0, 4), None);
    }

    #[test]
    fn a_short_read_takes_nothing() {
        let mut r = Reader::new(&[1, 2, 3]);
        assert_eq!(r.u32(), None);
        assert_eq!(r.u16(), Some(0x0102));
        assert_eq!(r.rest(), [3]);
    }

    #[test]
    fn a_short_write_leaves_no_half() {
        let mut buf = [0u8; 3];
        let mut w = Writer::new(&mut buf);
        w.u16(0x0102).unwrap();
        assert_eq!(w.u16(0x0304), None);
        assert_eq!(w.len(), 2);
        w.patch(0, &[9]).unwrap();
        assert_eq!(w.patch(1, &[9, 9]), None);
        assert_eq!(buf, [9, 2, 0]);
    }
}
