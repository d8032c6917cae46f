//! How long a security association may be used: in time, bytes and packets (RFC 4301 section 4.4.2.1).

use core::time::Duration;

use crate::seq;
use crate::time::Instant;

/// Three limits; the first one reached counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Limits {
    /// Time since the SA was installed.
    pub time: Duration,
    /// Bytes given to the cipher.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

impl Limits {
    /// No limit but the sequence numbers.
    pub const NONE: Self = Self { time: Duration::MAX, bytes: u64::MAX, packets: u64::MAX };
}

/// When an SA should be replaced, and when it must not be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Lifetime {
    /// Begin to replace it.
    pub soft: Limits,
    /// Stop using it.
    pub hard: Limits,
}

impl Lifetime {
    /// No limit but the sequence numbers.
    pub const UNLIMITED: Self = Self { soft: Limits::NONE, hard: Limits::NONE };
}

/// What of a [`Lifetime`] has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Age {
    /// Nothing: go on.
    Young,
    /// A soft limit: go on, and replace the SA.
    Soft,
    /// A hard limit: stop.
    Hard,
}

/// The running account of one SA against its [`Lifetime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Packets so far.
    pub packets: u64,
    /// Bytes given to the cipher so far.
    pub bytes: u64,
    // No soft limit is beyond what a hard one lets pass: before the soft ones nothing is due.
    soft_at: Instant,
    hard_at: Instant,
    soft: (u64, u64),
    hard: (u64, u64),
}

impl Usage {
    /// Begins at `now`. Without extended sequence numbers, 2^32 - 1 packets is a hard limit (RFC 4303 section 3.3.3),
    /// and seven eighths of the hard packets a soft one.
    pub fn new(now: Instant, lifetime: &Lifetime, esn: bool) -> Self {
        let last = if esn { u64::MAX } else { seq::MAX_SHORT };
        let hard_packets = lifetime.hard.packets.min(last);
        let soft_packets = lifetime.soft.packets.min(hard_packets - hard_packets / 8);
        let soft_bytes = lifetime.soft.bytes.min(lifetime.hard.bytes.saturating_add(1));
        let hard_at = now.after(lifetime.hard.time);
        Self {
            packets: 0,
            bytes: 0,
            soft_at: now.after(lifetime.soft.time).min(hard_at),
            hard_at,
            soft: (soft_packets, soft_bytes),
            hard: (hard_packets, lifetime.hard.bytes),
        }
    }

    /// What a packet of `bytes` at `now` would reach. Changes nothing.
    ///
    /// A hard limit is exceeded by the packet that would go beyond it; a soft limit is reached by the packet that
    /// touches it.
    pub fn age(&self, now: Instant, bytes: usize) -> Age {
        let packets = self.packets.saturating_add(1);
        let bytes = self.bytes.saturating_add(bytes as u64);
        if now >= self.hard_at || packets > self.hard.0 || bytes > self.hard.1 {
            Age::Hard
        } else if now >= self.soft_at || packets >= self.soft.0 || bytes >= self.soft.1 {
            Age::Soft
        } else {
            Age::Young
        }
    }

    /// Counts a packet of `bytes` at `now`, if it reaches no limit; says whether it did.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn count_young(&mut self, now: Instant, bytes: usize) -> bool {
        let (Some(packets), Some(bytes)) =
            (self.packets.checked_add(1), self.bytes.checked_add(bytes as u64))
        else {
            return false;
        };
        let young = now < self.soft_at && packets < self.soft.0 && bytes < self.soft.1;
        if young {
            (self.packets, self.bytes) = (packets, bytes);
        }
        young
    }

    /// The limits, with the time that is left of them at `now`.
    pub fn limits(&self, now: Instant) -> Lifetime {
        let left = |at: Instant| if at == Instant::MAX { Duration::MAX } else { at.since(now) };
        let limits = |at, (packets, bytes)| Limits { time: left(at), bytes, packets };
        Lifetime { soft: limits(self.soft_at, self.soft), hard: limits(self.hard_at, self.hard) }
    }

    /// Counts a packet.
    pub fn count(&mut self, bytes: usize) {
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Lifetime = Lifetime {
        soft: Limits { time: Duration::from_secs(8), bytes: 800, packets: 80 },
        hard: Limits { time: Duration::from_secs(10), bytes: 1000, packets: 100 },
    };

    #[test]
    fn the_first_limit_counts() {
        let u = Usage::new(Instant::from_secs(1), &LIFE, false);
        assert_eq!(u.age(Instant::from_secs(2), 10), Age::Young);
        assert_eq!(u.age(Instant::from_secs(9), 10), Age::Soft);
        assert_eq!(u.age(Instant::from_secs(11), 10), Age::Hard);
        assert_eq!(u.age(Instant::from_secs(2), 800), Age::Soft);
        assert_eq!(u.age(Instant::from_secs(2), 1000), Age::Soft);
        assert_eq!(u.age(Instant::from_secs(2), 1001), Age::Hard);
    }

    #[test]
    fn a_soft_limit_beyond_the_hard_one_is_no_limit_before_it() {
        let life = Lifetime { soft: Limits::NONE, hard: LIFE.hard };
        let u = Usage::new(Instant::ZERO, &life, true);
        for (at, bytes, age) in
            [(9, 1000, Age::Young), (9, 1001, Age::Hard), (10, 1, Age::Hard), (0, 0, Age::Young)]
        {
            let (mut counted, now) = (u, Instant::from_secs(at));
            assert_eq!(u.age(now, bytes), age, "{at} s, {bytes} bytes");
            assert_eq!(counted.count_young(now, bytes), age == Age::Young);
            assert_eq!(counted != u, age == Age::Young);
        }
    }

    #[test]
    fn packets_are_counted() {
        let mut u = Usage::new(Instant::ZERO, &LIFE, false);
        let mut ages = [0; 3];
        while u.age(Instant::ZERO, 1) != Age::Hard {
            ages[u.age(Instant::ZERO, 1) as usize] += 1;
            u.count(1);
        }
        assert_eq!((ages, u.packets), ([79, 21, 0], 100));
    }

    #[test]
    fn sequence_numbers_are_a_limit() {
        let mut u = Usage::new(Instant::ZERO, &Lifetime::UNLIMITED, false);
        u.packets = u64::from(u32::MAX) - 1;
        assert_eq!(u.age(Instant::ZERO, 0), Age::Soft);
        u.packets += 1;
        assert_eq!(u.age(Instant::ZERO, 0), Age::Hard);
        let mut esn = Usage::new(Instant::ZERO, &Lifetime::UNLIMITED, true);
        esn.packets = 1 << 40;
        assert_eq!(esn.age(Instant::ZERO, 0), Age::Young);
    }
}
