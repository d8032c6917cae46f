//! Time as an argument: the library has no clock.

use core::time::Duration;

/// A point in time: microseconds since an epoch of the caller's choosing.
///
/// It must be monotonic. It need not be wall-clock time: certificate checks take that separately. 64 bits last for
/// 584,000 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

impl Instant {
    /// The epoch.
    pub const ZERO: Self = Self(0);
    /// Later than every deadline.
    pub const MAX: Self = Self(u64::MAX);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// From seconds since the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The instant `after` later, or [`Instant::MAX`] on overflow.
    #[inline(never)]
    pub fn after(self, after: Duration) -> Self {
        let micros = after.as_secs().saturating_mul(1_000_000);
        let micros = micros.saturating_add(after.subsec_micros().into());
        Self(self.0.saturating_add(micros))
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// The earlier of two deadlines, where `None` is never.
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Instant::MAX.after(Duration::MAX), Instant::MAX);
        assert_eq!(Instant::ZERO.since(Instant::from_secs(1)), Duration::ZERO);
        assert_eq!(Instant::from_secs(1).after(Duration::from_millis(5)).as_micros(), 1_005_000);
    }

    #[test]
    fn never_is_later_than_any_deadline() {
        assert_eq!(earliest(None, Some(Instant::MAX)), Some(Instant::MAX));
        assert_eq!(earliest(None, None), None);
    }
}
