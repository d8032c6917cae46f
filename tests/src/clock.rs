//! Time that moves when told to.

use core::time::Duration;

use ipsec_core::time::Instant;

/// A virtual clock. It begins at a second after the epoch, so that an instant before "now" exists.
#[derive(Clone, Debug)]
pub struct Clock {
    now: Instant,
}

impl Clock {
    /// A clock that shows one second.
    pub const fn new() -> Self {
        Self::at(Instant::from_secs(1))
    }

    /// A clock that shows `now`.
    pub const fn at(now: Instant) -> Self {
        Self { now }
    }

    /// What it shows.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Lets `time` pass. Gives the new time.
    pub fn advance(&mut self, time: Duration) -> Instant {
        self.now = self.now.after(time);
        self.now
    }

    /// Moves to `instant`, unless that has passed already: a clock never goes back. Gives the new time.
    pub fn advance_to(&mut self, instant: Instant) -> Instant {
        self.now = self.now.max(instant);
        self.now
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let mut clock = Clock::new();
        assert_eq!(clock.advance(Duration::from_millis(500)), Instant::from_millis(1500));
        assert_eq!(clock.advance_to(Instant::from_secs(1)), Instant::from_millis(1500));
        assert_eq!(clock.advance_to(Instant::from_secs(9)), Instant::from_secs(9));
        assert_eq!(clock.now(), Instant::from_secs(9));
    }
}
