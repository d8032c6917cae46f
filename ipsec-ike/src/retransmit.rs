//! When to send a request again (RFC 7296 section 2.4).
//!
//! Only requests are repeated by the clock; a response is sent again when its request comes again
//! (RFC 7296 section 2.1).

use core::time::Duration;

use ipsec_core::time::Instant;

use crate::config::Retransmission;

/// How often one request has been repeated. All zero is a request that has just been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retransmit {
    repeated: u8,
}

impl Retransmit {
    /// Nothing sent yet: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self { repeated: 0 };

    /// A request is sent for the first time; also gives the instant when [`Retransmit::again`] is due.
    pub(crate) fn start(now: Instant, rules: &Retransmission) -> (Self, Instant) {
        (Self::EMPTY, now.after(Self::EMPTY.wait(rules)))
    }

    /// No answer has come. Gives the instant when it is due once more, after the request has been sent again now;
    /// `None` if the peer is to be given up, and nothing sent.
    pub(crate) fn again(&mut self, now: Instant, rules: &Retransmission) -> Option<Instant> {
        if self.repeated >= rules.tries {
            return None;
        }
        self.repeated = self.repeated.saturating_add(1);
        Some(now.after(self.wait(rules)))
    }

    /// How often the request has been sent.
    pub(crate) const fn sent(&self) -> u8 {
        self.repeated.saturating_add(1)
    }

    /// RFC 7296 section 2.4: the time between repetitions increases exponentially.
    fn wait(&self, rules: &Retransmission) -> Duration {
        let mut wait = rules.first.min(rules.longest);
        for _ in 0..self.repeated {
            let longer = wait.saturating_mul(3).checked_div(2).unwrap_or(wait);
            wait = longer.min(rules.longest);
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Retransmission =
        Retransmission { first: Duration::from_secs(2), longest: Duration::from_secs(5), tries: 4 };

    /// RFC 7296 section 2.4: waits grow, are bounded, and end.
    #[test]
    fn waits_grow_up_to_the_longest_and_then_the_peer_is_given_up() {
        let now = Instant::from_secs(100);
        let (mut request, due) = Retransmit::start(now, &RULES);
        assert_eq!((request.sent(), due), (1, Instant::from_secs(102)));
        let waits = [3_000, 4_500, 5_000, 5_000];
        for (i, wait) in waits.into_iter().enumerate() {
            let due = request.again(now, &RULES);
            assert_eq!(due, Some(now.after(Duration::from_millis(wait))));
            assert_eq!(usize::from(request.sent()), i + 2);
        }
        assert_eq!(request.again(now, &RULES), None);
        assert_eq!((request.again(now, &RULES), request.sent()), (None, 5));
    }

    #[test]
    fn the_usual_settings_last_about_two_and_a_half_minutes() {
        let (mut request, mut due) = Retransmit::start(Instant::ZERO, &Retransmission::DEFAULT);
        while let Some(next) = request.again(due, &Retransmission::DEFAULT) {
            due = next;
        }
        assert!((140..160).contains(&due.since(Instant::ZERO).as_secs()));
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        let rules = Retransmission { first: Duration::MAX, longest: Duration::MAX, tries: u8::MAX };
        let (mut request, due) = Retransmit::start(Instant::from_secs(1), &rules);
        assert_eq!(due, Instant::MAX);
        for _ in 0..u8::MAX {
            assert_eq!(request.again(Instant::from_secs(1), &rules), Some(Instant::MAX));
        }
        assert_eq!(request.again(Instant::ZERO, &rules), None);
    }
}
