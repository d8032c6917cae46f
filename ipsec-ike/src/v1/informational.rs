//! Informational exchanges: notifies and deletes, each said once, and believed only with a good HASH (RFC 2409
//! section 5.7); and the question whether the peer lives (RFC 3706).

use ipsec_core::crypto::Provider;

use super::Kind;
use super::bundle::Deletion;
use super::keymat::Iv;
use super::message::{Arrived, Hashed};
use crate::child_sa::ChildState;
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::DownReason;
use crate::exchange;
use crate::ike_sa::{self, SaState};
use crate::timer::RETRY;
use crate::wire::v1::{ExchangeType, MessageWriter, Notify, NotifyType, ProtocolId};
use crate::wire::{self, NoRoom};

/// SPIs that are looked at in one message.
const MAX_DELETED: usize = 16;

impl<P: Provider> Ike<'_, P> {
    /// A message of an Informational exchange, encrypted.
    #[inline(never)]
    pub(super) fn v1_informational_received(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        if self.v1_is_reflected(sa, arrived.header.message_id) {
            return Err(DatagramError::Stale);
        }
        let iv = self.v1_first_iv(sa, arrived.header.message_id)?;
        let (_, collected) = self.v1_open_hashed(sa, &iv, &arrived.header, datagram)?;
        // HASH(1) does not cover the type of the exchange: somebody may have renamed another message on the way.
        if collected.sa.is_some() || collected.attributes.is_some() {
            return Err(DatagramError::Unexpected);
        }
        let peer = self.sa(sa).map(|sa| (sa.peer, sa.identity));
        let (peer, identity) = peer.ok_or(DatagramError::Stale)?;
        let mut fresh = false;
        for notify in collected.notifies() {
            fresh |= self.dpd_notified(env, sa, &notify);
        }
        if fresh {
            self.heard_from(env, sa, arrived.path);
        }
        let id = arrived.header.message_id;
        let phase1 = self.phase1_mut(sa).ok_or(DatagramError::Stale)?;
        if phase1.has_seen(id) {
            return Err(DatagramError::Stale);
        }
        // What asks whether we live has numbers of its own, and comes too often to be remembered.
        if !fresh {
            phase1.note_seen(id);
        }
        if let Some(error) = collected.error() {
            self.quick_refused(env, sa, error.kind);
        }
        if collected.notify(NotifyType::CONNECTED).is_some() {
            self.commit_notified(env, sa, id);
        }
        for delete in collected.deletes() {
            let protocol = wire::ProtocolId(match delete.protocol {
                ProtocolId::AH => wire::ProtocolId::AH.0,
                ProtocolId::ESP => wire::ProtocolId::ESP.0,
                _ => continue,
            });
            for spi in delete.spis().take(MAX_DELETED) {
                self.v1_deleted(env, (peer, identity), protocol, spi);
            }
        }
        for (spi_i, spi_r) in collected.deletes().flat_map(|d| d.cookies()).take(MAX_DELETED) {
            let named = self.sas_of(peer, identity).find(|(_, sa)| {
                sa.is_v1() && sa.is_authenticated() && (sa.spi_i, sa.spi_r) == (spi_i, spi_r)
            });
            if let Some((number, _)) = named {
                self.phase1_deleted(env, number);
            }
        }
        Ok(())
    }

    /// The peer has deleted a child: it may be in the care of any SA with that peer.
    fn v1_deleted(
        &mut self,
        env: &mut Env<'_>,
        (peer, identity): (u16, u64),
        protocol: wire::ProtocolId,
        spi: u32,
    ) {
        let mut sas = heapless::Vec::<u32, 8>::new();
        for (number, _) in self.sas_of(peer, identity).filter(|(_, sa)| sa.is_v1()) {
            if sas.push(number).is_err() {
                break;
            }
        }
        let found = sas.iter().find_map(|sa| self.child_by_outbound(*sa, protocol, spi));
        let Some(number) = found else { return };
        let replaced = self.child(number).is_some_and(|child| {
            child.state == ChildState::Leaving && child.reason == DownReason::Rekeyed
        });
        if replaced {
            self.child_lingers(env, number);
        } else {
            self.child_down(env, number, DownReason::Deleted);
        }
    }

    /// The peer has deleted an IKE SA. Its children are not orphaned: another SA with the same peer takes them, or they go.
    fn phase1_deleted(&mut self, env: &mut Env<'_>, number: u32) {
        let Some((peer, identity)) = self.sa(number).map(|sa| (sa.peer, sa.identity)) else {
            return;
        };
        let other = self.sas_of(peer, identity).find(|(other, sa)| {
            let lives = matches!(sa.state, SaState::Established | SaState::Rekeyed);
            *other != number && sa.is_v1() && lives && sa.identity == identity
        });
        if let Some((other, _)) = other
            && self.sa(number).is_some_and(|sa| sa.state == SaState::Established)
        {
            self.phase1_inherits(number, other);
            self.inherit_lease(other);
            // It was to end soon: it may live as long as was agreed on.
            let lives = self.phase1(other).map(|phase1| phase1.since.after(phase1.lifetime.time()));
            let until = lives.unwrap_or(env.now);
            let deleted = self.ike_id(number);
            let back = self.sa(other).is_some_and(|sa| sa.state == SaState::Rekeyed);
            if let Some(sa) = self.sa(other) {
                sa.state = SaState::Established;
                sa.replaced = false;
                sa.expire_at = until;
            }
            if back {
                // The two sides took different SAs for the one that stays: this one, which may not have been told of.
                if let Some(sa) = self.sa(other) {
                    sa.replaces = Some(deleted);
                    sa.tell |= ike_sa::tell::REKEYED;
                }
                if let Some(sa) = self.sa(number) {
                    sa.replaced = true;
                }
                self.events.push(other);
            }
            self.schedule_sa(env.now, other);
        }
        self.v1_end_exchanges(env, number);
        self.sa_down(env, number, DownReason::Deleted);
    }

    /// A notify of dead peer detection. Says whether it shows that the peer lives: it is no older message again.
    fn dpd_notified(&mut self, env: &mut Env<'_>, sa: u32, notify: &Notify<'_>) -> bool {
        let sequence = notify.sequence();
        match (notify.kind, sequence) {
            (NotifyType::R_U_THERE, Some(number)) => self.dpd_asked(env, sa, number),
            (NotifyType::R_U_THERE_ACK, Some(number)) => self.dpd_answered(env, sa, number),
            _ => false,
        }
    }

    // ---- sending ----

    /// Says something once. Nobody answers, and nothing waits. `false` if there is no room.
    pub(super) fn v1_say(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        fill: &mut dyn FnMut(&mut MessageWriter<'_>) -> Result<(), NoRoom>,
    ) -> bool {
        let id = self.v1_message_id(sa);
        let Some(number) = self.begin_said(env, sa, id) else { return false };
        if self.v1_write_said(number, sa, id, fill).is_err() {
            self.end_exchange(env, number);
            return false;
        }
        self.send_response(env, number, RETRY);
        true
    }

    /// Frees the contexts that keep for an SA that is to end what nobody will ask for again, and those of messages that
    /// were said and have left. Looks at 64 of them, no more.
    pub(super) fn forget_kept(&mut self, env: &mut Env<'_>, sa: u32) {
        let first = self.contexts.handshake_numbers().end;
        for number in (first..first.saturating_add(64)).take(self.contexts.exchanges.len()) {
            let kept = self.contexts.exchange(number).is_some_and(|x| {
                let of_it = x.sa == sa && matches!(x.kind, exchange::Kind::V1(_));
                let said = x.kind == exchange::Kind::V1(Kind::Informational);
                x.stage == exchange::Stage::Answered && (of_it || said)
            });
            if kept && !self.transmits.contains(number) {
                self.end_exchange(env, number);
            }
        }
    }

    fn begin_said(&mut self, env: &mut Env<'_>, sa: u32, message_id: u32) -> Option<u32> {
        self.v1_make_room(env, sa, 1, 1).then_some(())?;
        let path = self.sas.get(sa as usize)?.sa.path;
        let number = self.begin_exchange(sa, exchange::Kind::V1(Kind::Informational), false)?;
        if let Some(x) = self.contexts.get(number) {
            x.message_id = message_id;
            x.path = path;
        }
        Some(number)
    }

    fn v1_write_said(
        &mut self,
        number: u32,
        sa: u32,
        message_id: u32,
        fill: &mut dyn FnMut(&mut MessageWriter<'_>) -> Result<(), NoRoom>,
    ) -> Result<(), DatagramError> {
        let iv = self.v1_first_iv(sa, message_id)?;
        if let Some(x) = self.contexts.get(number) {
            x.v1.iv = iv;
        }
        self.v1_compose(number, ExchangeType::INFORMATIONAL, Some(Hashed::First), fill)
    }

    /// The initialization vector of the first message of an exchange after phase 1 (RFC 2409 appendix B).
    pub(super) fn v1_first_iv(&self, sa: u32, message_id: u32) -> Result<Iv, DatagramError> {
        let slot = &self.sas.get(sa as usize).ok_or(DatagramError::Stale)?.sa;
        let last = &slot.keys.v1().ok_or(DatagramError::Stale)?.last;
        last.of_phase_2::<P>(slot.protection(), message_id).map_err(|_| DatagramError::Crypto)
    }

    /// Both cookies of an SA, which name it.
    pub(super) fn v1_cookies(&self, sa: u32) -> Option<[u8; 16]> {
        let sa = &self.sas.get(sa as usize)?.sa;
        let mut cookies = [0; 16];
        let mut w = ipsec_core::bytes::Writer::new(&mut cookies);
        w.u64(sa.spi_i)?;
        w.u64(sa.spi_r)?;
        Some(cookies)
    }

    // ---- dead peer detection ----

    /// Asks a silent peer whether it lives, if it would answer. `false` if there is no room.
    pub(super) fn dpd_begin(&mut self, env: &mut Env<'_>, sa: u32) -> bool {
        let Some(phase1) = self.phase1_mut(sa) else { return true };
        let known = phase1.dpd;
        if phase1.dpd_sent == 0 {
            phase1.dpd_sent = env.rng.next_u32() >> 1 | 1;
        }
        if let Some(slot) = self.sa(sa) {
            slot.want &= !ike_sa::want::LIVENESS;
        }
        let asking = self.v1_exchange(sa, |x| x.kind == exchange::Kind::V1(Kind::Dpd)).is_some();
        if !known && let Some(slot) = self.sa(sa) {
            // It would not answer: that it is silent tells nothing.
            slot.heard = env.now;
        }
        if !known || asking {
            return true;
        }
        let id = self.v1_message_id(sa);
        let Some(number) = self.v1_begin_exchange(env, sa, Kind::Dpd, true, id) else {
            return false;
        };
        if self.dpd_write(number, sa).is_err() {
            self.end_exchange(env, number);
            return false;
        }
        self.send_request(env, number);
        true
    }

    /// The question once more: another message, since an Informational exchange is never repeated, with another number.
    pub(super) fn dpd_write(&mut self, number: u32, sa: u32) -> Result<(), DatagramError> {
        let id = self.v1_message_id(sa);
        let cookies = self.v1_cookies(sa).ok_or(DatagramError::Stale)?;
        let phase1 = self.phase1_mut(sa).ok_or(DatagramError::Stale)?;
        phase1.dpd_sent = phase1.dpd_sent.wrapping_add(1);
        let sequence = phase1.dpd_sent.to_be_bytes();
        if let Some(x) = self.contexts.get(number) {
            x.message_id = id;
        }
        self.v1_write_said(number, sa, id, &mut |w| {
            w.notify(&Notify::with_spi(
                ProtocolId::ISAKMP,
                &cookies,
                NotifyType::R_U_THERE,
                &sequence,
            ))
        })
    }

    /// The peer asks whether we live. An old question again is not answered (RFC 3706 section 7).
    fn dpd_asked(&mut self, env: &mut Env<'_>, sa: u32, number: u32) -> bool {
        let Some(cookies) = self.v1_cookies(sa) else { return false };
        let Some(phase1) = self.phase1_mut(sa) else { return false };
        let newer = number.wrapping_sub(phase1.dpd_received);
        if phase1.dpd_asked && newer > u32::MAX / 2 {
            return false;
        }
        // The same once more: our answer may be lost, or somebody else repeats it.
        let fresh = !phase1.dpd_asked || newer != 0;
        phase1.dpd_asked = true;
        phase1.dpd_received = number;
        let sequence = number.to_be_bytes();
        let _ = self.v1_say(env, sa, &mut |w| {
            w.notify(&Notify::with_spi(
                ProtocolId::ISAKMP,
                &cookies,
                NotifyType::R_U_THERE_ACK,
                &sequence,
            ))
        });
        fresh
    }

    /// The peer lives, if this answers what we ask now (RFC 3706 section 7).
    fn dpd_answered(&mut self, env: &mut Env<'_>, sa: u32, number: u32) -> bool {
        let sent = self.phase1(sa).map_or(0, |phase1| phase1.dpd_sent);
        let asking = self.v1_exchange(sa, |x| {
            let asked = u32::from(x.retransmit.sent());
            x.kind == exchange::Kind::V1(Kind::Dpd) && sent.wrapping_sub(number) < asked
        });
        let Some(asking) = asking else { return false };
        self.end_exchange(env, asking);
        self.schedule_sa(env.now, sa);
        true
    }

    // ---- deletes ----

    /// Tells the peer that a child is gone: of a bundle both, in a payload each (RFC 2408 section 3.15), and a message each:
    /// racoon's hash covers only the first payload. `false` if there is no room for all of it: then nothing is said.
    pub(super) fn v1_say_deleted(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        deletion: Deletion,
    ) -> bool {
        let Deletion { protocol, spi, around } = deletion;
        // With one context in all, only the first is said.
        let messages = deletion.messages().min(self.contexts.exchanges.len());
        if !self.v1_make_room(env, sa, messages, messages) {
            return false;
        }
        let mut say = |protocol, spi| self.v1_say(env, sa, &mut |w| w.delete(protocol, &[spi]));
        let outer = around != 0 && say(ProtocolId::AH, around);
        let inner = say(protocol, spi);
        outer || inner
    }
}
