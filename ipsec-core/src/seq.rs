//! Sequence numbers, plain and extended (RFC 4303 section 2.2).
//!
//! A sequence number is 64 bits throughout. Without extension the high half is zero.

/// The last number that an SA without extended sequence numbers may send.
pub const MAX_SHORT: u64 = u32::MAX as u64;

/// The last number that an SA may send.
pub(crate) const fn last(esn: bool) -> u64 {
    if esn { u64::MAX } else { MAX_SHORT }
}

/// Recovers a whole sequence number from the low half that was sent: RFC 4303 appendix A2.1.
///
/// `top` is the highest number accepted so far and `window` the size of the anti-replay window. The result is the only
/// number with this low half that lies above the lower edge of the window and less than 2^32 beyond it. It is a guess
/// until the integrity check, which covers the high half, has confirmed it.
pub fn recover(top: u64, window: u32, low: u32) -> u64 {
    let bottom = top.saturating_sub(u64::from(window).saturating_sub(1));
    let candidate = (bottom & !MAX_SHORT) | u64::from(low);
    if candidate >= bottom { candidate } else { candidate.saturating_add(1 << 32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_one_subspace() {
        // RFC 4303 appendix A2.1, case A: the window lies within one subspace.
        assert_eq!(recover(1000, 64, 1001), 1001);
        assert_eq!(recover(1000, 64, 937), 937);
        // Below the window: it must be from the next subspace.
        assert_eq!(recover(1000, 64, 936), (1 << 32) + 936);
    }

    #[test]
    fn across_the_wrap() {
        // RFC 4303 appendix A2.1, case B: the window spans two subspaces.
        let top = (1u64 << 32) + 5;
        assert_eq!(recover(top, 64, 6), (1 << 32) + 6);
        assert_eq!(recover(top, 64, u32::MAX), u64::from(u32::MAX));
        assert_eq!(recover(top, 64, u32::MAX - 57), u64::from(u32::MAX - 57));
        assert_eq!(recover(top, 64, u32::MAX - 58), (1 << 32) + u64::from(u32::MAX - 58));
    }

    #[test]
    fn at_the_very_end_nothing_wraps() {
        assert_eq!(recover(u64::MAX, 64, 0), u64::MAX);
    }
}
