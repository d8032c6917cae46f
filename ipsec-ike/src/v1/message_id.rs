//! Message IDs of what we begin (RFC 2408 section 3.1): different from each other, not to be guessed, and known again.
//!
//! The hash of a first message is the same in either direction (RFC 2409 sections 5.5 and 5.7), so that somebody on the way can
//! send back to us what we have said, and it looks like the peer's. So our IDs are a counter, encrypted: what decrypts to a
//! number that was counted already is ours, and a peer's is taken for it as often as there are such numbers in 2^32.

use ipsec_core::crypto::Provider;

use super::Kind;
use crate::engine::Ike;
use crate::exchange;

impl<P: Provider> Ike<'_, P> {
    /// The next message ID of an SA.
    pub(super) fn v1_message_id(&mut self, sa: u32) -> u32 {
        loop {
            let Some(phase1) = self.phase1_mut(sa) else { return 0 };
            let count = phase1.said;
            phase1.said = count.wrapping_add(1);
            let id = self.encrypted(sa, count);
            // The peer chooses its own.
            if id != 0 && self.v1_exchange(sa, |x| x.message_id == id).is_none() {
                return id;
            }
        }
    }

    /// Whether a first message is one of ours that somebody has sent back. CONNECTED has the ID of the Quick Mode that it is
    /// about.
    pub(super) fn v1_is_reflected(&self, sa: u32, id: u32) -> bool {
        let quick = exchange::Kind::V1(Kind::QuickMode);
        let said = self.phase1(sa).map_or(0, |phase1| phase1.said);
        self.decrypted(sa, id) < said
            && self.v1_exchange(sa, |x| x.message_id == id && x.kind == quick).is_none()
    }

    /// Four rounds of a Feistel network on two halves.
    fn encrypted(&self, sa: u32, count: u32) -> u32 {
        let halves = (count >> 16, count & 0xffff);
        let (l, r) = (0..4).fold(halves, |(l, r), round| (r, l ^ self.round(sa, round, r)));
        l << 16 | r
    }

    fn decrypted(&self, sa: u32, id: u32) -> u32 {
        let halves = (id >> 16, id & 0xffff);
        let rounds = (0..4).rev();
        let (l, r) = rounds.fold(halves, |(l, r), round| (r ^ self.round(sa, round, l), l));
        l << 16 | r
    }

    fn round(&self, sa: u32, round: u8, half: u32) -> u32 {
        let cookies =
            self.sas.get(sa as usize).map_or((0, 0), |slot| (slot.sa.spi_i, slot.sa.spi_r));
        let (i, r) = (cookies.0.to_be_bytes(), cookies.1.to_be_bytes());
        let hash = self.half_open.hash(&[&i, &r, &[round], &half.to_be_bytes()]);
        u32::try_from(hash & 0xffff).unwrap_or_default()
    }
}
