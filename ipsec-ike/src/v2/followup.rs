//! IKE_FOLLOWUP_KE: further key exchanges after CREATE_CHILD_SA, for a child or for a new IKE SA (RFC 9370 section 2.2.4).
//!
//! CREATE_CHILD_SA agrees on all, and does the first of them. What it makes is not there before the last: until then the
//! context of the exchange goes on, with the secrets so far in a buffer of the pool. A responder keeps that for its peer's
//! next request; if that asks for something else, or does not come, it has to begin again.

use ipsec_core::bytes::{Reader, Writer};
use ipsec_core::crypto::{Group, Provider};
use ipsec_core::path::Path;

use super::message::Inner;
use super::negotiation::Refusal;
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Failure;
use crate::exchange::{Exchange, Kind, Stage, Work};
use crate::ike_sa::SaState;
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT, RESPONSE_KEPT, RETRY};
use crate::wire::{Collected, ExchangeType, Header, Notify, NotifyType};

/// Bytes of what links our answers to the requests that follow: the beginning of our nonce.
pub(super) const LINK_LEN: usize = 8;
/// The longest link of a responder's that we give back.
const MAX_LINK: usize = 64;

/// The secrets of several key exchanges, as they lie in a buffer: three lengths, then SK(0) | Ni | Nr | SK(1) | ...
pub(super) struct Secrets<'b> {
    pub(super) first: &'b [u8],
    pub(super) ni: &'b [u8],
    pub(super) nr: &'b [u8],
    /// Of all key exchanges after the first.
    pub(super) more: &'b [u8],
}

impl<'b> Secrets<'b> {
    pub(super) fn of(stored: &'b [u8]) -> Option<Self> {
        let mut r = Reader::new(stored);
        let [first, ni, nr] = [r.u16()?, r.u16()?, r.u16()?].map(usize::from);
        Some(Self { first: r.take(first)?, ni: r.take(ni)?, nr: r.take(nr)?, more: r.rest() })
    }

    fn write(buffer: &mut [u8], parts: [&[u8]; 3]) -> Option<usize> {
        let mut w = Writer::new(buffer);
        for part in parts {
            w.u16(u16::try_from(part.len()).ok()?)?;
        }
        parts.iter().try_for_each(|part| w.bytes(part))?;
        Some(w.len())
    }
}

impl<P: Provider> Exchange<P> {
    /// Whether CREATE_CHILD_SA is over, and further key exchanges are not. IKE_AUTH keeps something else there.
    pub(crate) const fn follows_up(&self) -> bool {
        P::HYBRID && !self.secrets.is_none() && !matches!(self.kind, Kind::Auth)
    }

    /// Which exchange its messages are of, if it began with CREATE_CHILD_SA.
    pub(crate) const fn exchange_type(&self) -> ExchangeType {
        if self.round > 0 || self.follows_up() {
            ExchangeType::IKE_FOLLOWUP_KE
        } else {
            ExchangeType::CREATE_CHILD_SA
        }
    }

    pub(super) fn link(&self) -> &[u8] {
        self.nonce.get(..LINK_LEN).unwrap_or_default()
    }
}

impl<P: Provider> Ike<'_, P> {
    /// The next of the further key exchanges for what an exchange makes; `None` after the last.
    pub(crate) fn followup_group(&self, number: u32) -> Option<Group> {
        if !P::HYBRID {
            return None;
        }
        let x = self.contexts.exchange(number)?;
        let additional = match (x.kind, x.successor.checked_sub(1)) {
            (Kind::RekeyIke, Some(sa)) => self.sas.get(sa as usize)?.sa.choice.additional,
            (Kind::CreateChild, _) => {
                let child = x.negotiation.child.checked_sub(1)?;
                self.children.get(child as usize)?.child.choice.additional
            }
            _ => return None,
        };
        additional.nth(x.round)
    }

    /// Keeps what the first key exchange gave, if others follow. Says whether they do.
    pub(super) fn followup_keep(
        &mut self,
        number: u32,
        secret: &[u8],
        (ni, nr): (&[u8], &[u8]),
    ) -> Result<bool, Failure> {
        if self.followup_group(number).is_none() {
            return Ok(false);
        }
        let buffer = self.buffers.take().ok_or(Failure::NoRoom)?;
        let x = self.contexts.get(number).ok_or(Failure::Protocol)?;
        let mut old = core::mem::replace(&mut x.secrets, buffer);
        self.buffers.release(&mut old);
        let written = Secrets::write(self.buffers.bytes_mut(buffer), [secret, ni, nr]);
        self.buffers.set_len(buffer, written.ok_or(Failure::NoRoom)?);
        Ok(true)
    }

    /// Keeps what a further key exchange gave; that is over.
    fn followup_add(&mut self, number: u32, secret: &[u8]) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        let (buffer, used) = (x.secrets, self.buffers.bytes(x.secrets).len());
        let mut w = Writer::at(self.buffers.bytes_mut(buffer), used);
        w.bytes(secret).ok_or(DatagramError::NoRoom)?;
        let used = w.len();
        self.buffers.set_len(buffer, used);
        x.round = x.round.saturating_add(1);
        Ok(())
    }

    // ---- we ask ----

    /// Begins the next key exchange.
    pub(super) fn followup_begin(&mut self, env: &mut Env<'_>, number: u32) {
        self.queue_job(number, Work::Generate);
        self.give_up_after(env, number, CALLER_TIMEOUT);
    }

    /// Sends the request.
    pub(crate) fn followup_request(&mut self, env: &mut Env<'_>, number: u32, public: &[u8]) {
        let mut link = heapless::Vec::<u8, MAX_LINK>::new();
        let given = self.parked(number).and_then(|answer| {
            let notify = answer.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE)?;
            notify.data.iter().try_for_each(|byte| link.push(*byte)).ok()
        });
        let group = self.followup_group(number).filter(|_| given.is_some());
        let Some(group) = group else {
            return self.followup_failed(env, number, Failure::Protocol, RETRY.saturating_mul(30));
        };
        self.release_parked(number);
        let sa = self.contexts.get(number).map_or(u32::MAX, |x| x.sa);
        let message_id = self.sa(sa).map_or(0, |sa| sa.send_id);
        if let Some(x) = self.contexts.get(number) {
            x.message_id = message_id;
        }
        let written = self.compose(number, ExchangeType::IKE_FOLLOWUP_KE, |w| {
            w.ke(group, public)?;
            w.notify(&Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, &link))
        });
        match written {
            Ok(()) => self.send_request(env, number),
            Err(_) => self.followup_failed(env, number, Failure::NoRoom, RETRY),
        }
    }

    /// The peer's answer.
    #[inline(never)]
    pub(crate) fn followup_response(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let group = self.followup_group(number);
        if let Some(error) = collected.error() {
            // RFC 9370 section 2.2.4: what the responder has forgotten is begun again.
            let again =
                matches!(error.kind, NotifyType::STATE_NOT_FOUND | NotifyType::TEMPORARY_FAILURE);
            let pause = if again { RETRY } else { RETRY.saturating_mul(30) };
            self.followup_failed(env, number, Failure::Refused(error.kind), pause);
            return Err(DatagramError::Refused);
        }
        let sound = collected.ke.is_some_and(|ke| {
            Some(ke.group) == group && ke.group.answer_len() == Some(ke.data.len())
        });
        if !sound {
            self.followup_failed(env, number, Failure::Protocol, RETRY.saturating_mul(30));
            return Err(DatagramError::Unexpected);
        }
        self.park(number, received)?;
        self.queue_job(number, Work::Agree);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// The shared secret is known: the next key exchange, or what all of them are for.
    pub(crate) fn followup_agreed(&mut self, env: &mut Env<'_>, number: u32, secret: &[u8]) {
        if self.followup_add(number, secret).is_err() {
            return self.followup_failed(env, number, Failure::NoRoom, RETRY);
        }
        if self.followup_group(number).is_some() {
            return self.followup_begin(env, number);
        }
        match self.contexts.get(number).map(|x| x.kind) {
            Some(Kind::CreateChild) => self.create_child_made(env, number, None, (&[], &[])),
            _ => self.rekey_ike_made(env, number, &[], (&[], &[])),
        }
    }

    /// Gives up what the exchange was to make; a rekey is tried again after about `pause`.
    fn followup_failed(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        failure: Failure,
        pause: core::time::Duration,
    ) {
        let Some(x) = self.contexts.get(number) else { return };
        let (kind, sa) = (x.kind, x.sa);
        x.round = x.round.saturating_add(1);
        // The peer has made it, if it has answered the last one.
        let made = self.followup_group(number).is_none() && !matches!(failure, Failure::Refused(_));
        if kind == Kind::CreateChild {
            let replaces =
                self.contexts.get(number).and_then(|x| x.negotiation.child.checked_sub(1));
            let replaces = replaces.and_then(|child| self.child(child)).and_then(|c| c.replaces);
            self.abandon_child(env, number, failure, made);
            self.retry_rekey(env, replaces, pause);
        } else {
            self.fail(env, number, None, failure);
            self.retry_rekey_ike(env, sa, pause);
            self.next_task(env, sa);
        }
    }

    // ---- the peer asks ----

    /// The peer's part of a further key exchange.
    #[inline(never)]
    pub(crate) fn followup_received(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        path: Path,
        header: &Header,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let link = collected.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).map(|notify| notify.data);
        let number = self.sa(sa).and_then(|sa| sa.theirs.checked_sub(1)).filter(|number| {
            self.contexts.exchange(*number).is_some_and(|x| {
                x.follows_up() && x.stage == Stage::Answered && link == Some(x.link())
            })
        });
        let expected = number.and_then(|number| Some((number, self.followup_group(number)?)));
        let Some((number, group)) = expected else {
            let notify = Notify::new(NotifyType::STATE_NOT_FOUND, &[]);
            self.refuse_request(env, sa, path, header, &notify);
            return Err(DatagramError::Refused);
        };
        let sound = collected
            .ke
            .is_some_and(|ke| ke.group == group && group.public_len() == Some(ke.data.len()));
        if sound {
            self.park(number, received)?;
        }
        if let Some(x) = self.contexts.get(number) {
            x.message_id = header.message_id;
            x.path = path;
        }
        if let Some(sa) = self.sa(sa) {
            sa.receive_id = header.message_id.wrapping_add(1);
        }
        if !sound {
            self.drop_negotiation(env, number);
            self.answer_refusal(env, number, &Refusal::new(NotifyType::INVALID_SYNTAX));
            return Err(DatagramError::Unexpected);
        }
        self.queue_job(number, Work::Respond);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// The shared secret is known: answers. After the last one, what all are for is made.
    pub(crate) fn followup_respond(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        secret: &[u8],
        public: &[u8],
    ) {
        if self.try_followup_respond(env, number, secret, public).is_err() {
            self.drop_negotiation(env, number);
            self.answer_refusal(env, number, &Refusal::new(NotifyType::TEMPORARY_FAILURE));
        }
    }

    fn try_followup_respond(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        secret: &[u8],
        public: &[u8],
    ) -> Result<(), DatagramError> {
        let group = self.followup_group(number).ok_or(DatagramError::Stale)?;
        self.followup_add(number, secret)?;
        self.release_parked(number);
        let more = self.followup_group(number).is_some();
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        let (kind, sa, nonce) = (x.kind, x.sa, x.nonce);
        if kind == Kind::RekeyIke && self.sa(sa).is_none_or(|sa| sa.state == SaState::Closing) {
            // RFC 7296 section 2.25.2: what is being closed meanwhile gets no successor.
            return Err(DatagramError::Stale);
        }
        let link = nonce.get(..LINK_LEN).unwrap_or_default();
        let mut successor = None;
        if !more && kind == Kind::CreateChild {
            let derived = self.derive_child_keys(number, None, None);
            derived.map_err(|_| DatagramError::Crypto)?;
        } else if !more {
            successor = Some(self.derive_successor(number, &[], (&[], &[]))?);
        }
        self.compose(number, ExchangeType::IKE_FOLLOWUP_KE, |w| {
            w.ke(group, public)?;
            if more {
                w.notify(&Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link))?;
            }
            Ok(())
        })?;
        match successor {
            _ if more => self.send_response(env, number, HANDSHAKE_TIMEOUT),
            None => {
                self.forget_secrets(number);
                self.begin_install(env, number);
            }
            Some(made) => {
                self.forget_secrets(number);
                self.send_response(env, number, RESPONSE_KEPT);
                self.successor_made(env, number, sa, made);
            }
        }
        Ok(())
    }

    /// Gives back the secrets, once the keys are derived.
    pub(super) fn forget_secrets(&mut self, number: u32) {
        if let Some(x) = self.contexts.get(number) {
            self.buffers.release(&mut x.secrets);
        }
    }
}
