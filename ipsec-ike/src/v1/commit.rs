//! The commit bit: a responder that sets it wants us to wait until it says that it receives (RFC 2408 section 3.1).
//!
//! ```text
//!       initiator                                            responder
//! 2                                                     <--  {HASH(2), SA, Nr [, KE] [, IDci, IDcr]}, with the bit
//! 3     {HASH(3)}                                       -->
//!       sends                                           <--  {HASH, N(CONNECTED)}
//! ```
//!
//! The last one is an Informational exchange with the message ID of Quick Mode, or, as others have it, its fourth message.
//! Nobody vouches for the bit, and CONNECTED may get lost: without it, we go on when the third message would be repeated.
//! We do not set it: we send nothing on an SA before the initiator has shown that it receives.

use ipsec_core::crypto::Provider;

use super::message::{Arrived, Hashed};
use super::{Kind, Step};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Direction;
use crate::exchange::{self, Stage};
use crate::timer::CALLER_TIMEOUT;
use crate::wire::v1::{Flags, Header, NotifyType};

/// What we wait for after the third message, as the header of the second one says.
pub(super) const fn awaited(second: &Header) -> Step {
    if second.flags.contains(Flags::COMMIT) { Step::Fourth } else { Step::Second }
}

impl<P: Provider> Ike<'_, P> {
    /// An Informational exchange says that the responder receives.
    pub(super) fn commit_notified(&mut self, env: &Env<'_>, sa: u32, message_id: u32) {
        let waiting = self.v1_exchange(sa, |x| {
            x.message_id == message_id
                && x.ours
                && x.kind == exchange::Kind::V1(Kind::QuickMode)
                && (x.stage, x.v1.step) == (Stage::Response, Step::Fourth)
        });
        if let Some(number) = waiting {
            self.commit_over(env, number);
        }
    }

    /// The fourth message of Quick Mode.
    pub(super) fn commit_received(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        number: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let iv = self.contexts.exchange(number).ok_or(DatagramError::Stale)?.v1.iv;
        let opened = self.v1_open(sa, &iv, &arrived.header, datagram)?;
        let collected = opened.collect()?;
        if !self.v1_is_hashed(sa, arrived.header.message_id, Hashed::First, &collected) {
            return Err(DatagramError::Integrity);
        }
        self.heard_from(env, sa, arrived.path);
        collected.notify(NotifyType::CONNECTED).ok_or(DatagramError::Unexpected)?;
        self.commit_over(env, number);
        Ok(())
    }

    /// The responder receives, or has had the time to: we send.
    pub(super) fn commit_over(&mut self, env: &Env<'_>, number: u32) {
        let node = self.context_node(number);
        let Some(x) = self.contexts.get(number) else { return };
        x.stage = Stage::Install(Direction::Outbound);
        x.install_told = false;
        self.events.push(node);
        self.give_up_after(env, number, CALLER_TIMEOUT);
    }
}
