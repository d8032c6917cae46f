//! The anti-replay window (RFC 4303 section 3.4.3).
//!
//! A [`Window`] is two numbers; its bitmap is a slice of the caller's. The bitmap is a ring of 32-bit words, so that
//! moving the window forward clears words instead of shifting bits (RFC 6479). The order is: [`Window::check`], verify
//! the packet, then [`Window::mark`], which checks again, since other packets may have been marked meanwhile.

/// Why a sequence number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Replay {
    /// The number lies below the window.
    TooOld,
    /// The number was accepted before.
    Repeated,
    /// Zero is never sent (RFC 4303 section 3.3.3).
    Zero,
    /// The number lies beyond what the last export of the SA has set aside ([`Sad::export`](crate::sad::Sad::export)). It
    /// counts as seen.
    Unreserved,
}

/// Words of bitmap that a window of `size` packets needs: a power of two, and one word more than the window fills.
pub const fn words_for(size: u32) -> usize {
    (size.div_ceil(32) as usize).saturating_add(1).next_power_of_two()
}

/// The largest window that fits a bitmap of `words` words; 0 if none does.
pub const fn capacity(words: usize) -> u32 {
    let ring = ring_words(words).saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the comparison")]
    if ring > (u32::MAX / 32) as usize { u32::MAX / 32 * 32 } else { ring as u32 * 32 }
}

/// The largest power of two that is not more than `words`.
const fn ring_words(words: usize) -> usize {
    match words.checked_ilog2() {
        Some(log) => 1 << log,
        None => 0,
    }
}

/// The state of a window but for its bitmap. All zero is a fresh one that accepts nothing until it is given a size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    top: u64,
    size: u32,
    /// One less than the words of the ring.
    mask: u32,
}

impl Window {
    /// A fresh window of `size` packets, limited to what `bitmap` can hold; the bitmap is cleared.
    ///
    /// Size 0 is a window that is off: it accepts every number but zero, repeated or not.
    pub fn new(size: u32, bitmap: &mut [u32]) -> Self {
        bitmap.fill(0);
        let mask = ring_words(bitmap.len()).saturating_sub(1);
        let size = size.min(capacity(bitmap.len()));
        Self { top: 0, size, mask: u32::try_from(mask).unwrap_or(u32::MAX) }
    }

    /// A window in which everything up to and including `top` counts as seen.
    pub fn closed(size: u32, bitmap: &mut [u32], top: u64) -> Self {
        let window = Self { top, ..Self::new(size, bitmap) };
        bitmap.fill(u32::MAX);
        let (index, bit) = window.position(top);
        if let Some(word) = bitmap.get_mut(index) {
            // The bits above that of `top` are of numbers to come.
            *word = bit | bit.wrapping_sub(1);
        }
        window
    }

    /// The highest number accepted so far.
    pub const fn top(&self) -> u64 {
        self.top
    }

    /// Packets that the window spans.
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Whether `seq` may be accepted. Changes nothing.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn check(&self, bitmap: &[u32], seq: u64) -> Result<(), Replay> {
        if seq > self.top {
            return Ok(());
        }
        if seq == 0 {
            return Err(Replay::Zero);
        }
        if self.size == 0 {
            return Ok(());
        }
        if self.top.saturating_sub(seq) >= u64::from(self.size) {
            return Err(Replay::TooOld);
        }
        let (index, bit) = self.position(seq);
        match bitmap.get(index) {
            Some(word) if word & bit == 0 => Ok(()),
            _ => Err(Replay::Repeated),
        }
    }

    /// Accepts `seq`, whose packet has been verified, unless [`Window::check`] now refuses it.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn mark(&mut self, bitmap: &mut [u32], seq: u64) -> Result<(), Replay> {
        self.check(bitmap, seq)?;
        let (index, bit) = self.position(seq);
        if seq > self.top {
            if seq >> 5 != self.top >> 5 {
                self.clear(bitmap, seq >> 5);
            }
            self.top = seq;
        }
        if let Some(word) = bitmap.get_mut(index) {
            *word |= bit;
        }
        Ok(())
    }

    /// Clears the words behind that of the top up to word `last`; of a ring that is passed as a whole, each once.
    #[inline(never)]
    fn clear(&self, bitmap: &mut [u32], last: u64) {
        let ring = u64::from(self.mask).saturating_add(1);
        let mut word = (self.top >> 5).max(last.saturating_sub(ring));
        while word < last {
            word = word.wrapping_add(1);
            let (index, _) = self.position(word << 5);
            if let Some(word) = bitmap.get_mut(index) {
                *word = 0;
            }
        }
    }

    /// Which word of the bitmap has the bit of `seq`, and that bit.
    const fn position(&self, seq: u64) -> (usize, u32) {
        let word = (seq >> 5 & self.mask as u64) as usize;
        (word, 1 << (seq & 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(
            (words_for(32), words_for(64), words_for(1024), words_for(65_536)),
            (2, 4, 64, 4096)
        );
        assert_eq!(
            (capacity(2), capacity(4), capacity(5), capacity(1), capacity(0)),
            (32, 96, 96, 0, 0)
        );
        for size in [32, 33, 64, 128, 1000, 65_536] {
            assert!(capacity(words_for(size)) >= size);
        }
    }

    #[test]
    fn accepts_each_number_once() {
        let mut bitmap = [0; 4];
        let mut w = Window::new(64, &mut bitmap);
        assert_eq!(w.mark(&mut bitmap, 0), Err(Replay::Zero));
        for seq in [1, 5, 3, 70, 69, 7] {
            assert_eq!(w.mark(&mut bitmap, seq), Ok(()), "{seq}");
            assert_eq!(w.mark(&mut bitmap, seq), Err(Replay::Repeated), "{seq}");
        }
        assert_eq!(w.mark(&mut bitmap, 6), Err(Replay::TooOld));
        assert_eq!(w.mark(&mut bitmap, 1 << 40), Ok(()));
        assert_eq!(w.mark(&mut bitmap, 70), Err(Replay::TooOld));
        assert_eq!(w.mark(&mut bitmap, (1 << 40) - 63), Ok(()));
    }

    #[test]
    fn a_refused_number_changes_nothing() {
        let mut bitmap = [0; 2];
        let mut w = Window::new(32, &mut bitmap);
        w.mark(&mut bitmap, 100).unwrap();
        let before = (w, bitmap);
        assert!(w.mark(&mut bitmap, 100).is_err() && w.mark(&mut bitmap, 5).is_err());
        assert_eq!((w, bitmap), before);
    }

    #[test]
    fn closed_refuses_up_to_its_top_and_accepts_everything_above_it_once() {
        for top in [1, 31, 32, 33, 95, 96, 1000, (1 << 32) - 1, 1 << 32, (1 << 40) + 17] {
            for size in [32, 64, 96] {
                let mut bitmap = [0; 4];
                let mut w = Window::closed(size, &mut bitmap, top);
                for seq in top.saturating_sub(200)..=top {
                    assert!(w.check(&bitmap, seq).is_err(), "{top} {seq}");
                }
                // The last first, so that the others come late.
                for seq in (top + 1..=top + u64::from(size)).rev() {
                    assert_eq!(w.mark(&mut bitmap, seq), Ok(()), "{top} {seq}");
                    assert_eq!(w.mark(&mut bitmap, seq), Err(Replay::Repeated));
                }
                assert!(w.check(&bitmap, top).is_err());
            }
        }
    }

    #[test]
    fn off_accepts_repeats() {
        let mut w = Window::new(0, &mut []);
        assert_eq!(w.mark(&mut [], 9), Ok(()));
        assert_eq!(w.mark(&mut [], 9), Ok(()));
        assert_eq!(w.top(), 9);
    }
}
