//! Encrypted messages: from datagram to exchange, and back.

use ipsec_core::crypto::Provider;
use ipsec_core::path::Path;
use zeroize::Zeroize;

use super::intermediate;
use crate::buffers::BufferId;
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::exchange::{Exchange, Kind, Parked, Stage};
use crate::fragment;
use crate::ike_sa::{self, SaState};
use crate::protect;
use crate::timer::RESPONSE_KEPT;
use crate::wire::{
    Collected, ExchangeType, Flags, Header, Message, MessageWriter, NoRoom, Notify, NotifyType,
    PayloadType, Payloads, ProtocolId, SkWriter, Version, WireError, strip_padding,
};

impl<P: Provider> Ike<'_, P> {
    /// Takes a datagram that arrived on an IKE port: the message alone, without a non-ESP marker. It is decrypted in
    /// place; its contents are unspecified afterwards.
    ///
    /// # Errors
    /// Why it was dropped. No SA has changed then.
    #[inline(never)]
    pub fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        path: Path,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let header = Header::parse(datagram)?;
        #[cfg(feature = "ikev1")]
        if header.version.major == Version::IKEV1.major {
            return self.v1_datagram(env, path, datagram);
        }
        if header.version.major != Version::IKEV2.major {
            return Err(WireError::MajorVersion(header.version.major).into());
        }
        if header.exchange == ExchangeType::IKE_SA_INIT {
            let message = Message::parse(datagram)?;
            return if header.is_response() {
                self.sa_init_response(env, path, &message)
            } else {
                self.sa_init_received(env, path, &message)
            };
        }
        self.protected(env, path, &header, datagram)
    }

    /// A message that must be encrypted, and of an SA that we know.
    fn protected(
        &mut self,
        env: &mut Env<'_>,
        path: Path,
        header: &Header,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let from_initiator = header.from_initiator();
        let (own, peers) = if from_initiator {
            (header.responder_spi, header.initiator_spi)
        } else {
            (header.initiator_spi, header.responder_spi)
        };
        let number = self.sa_by_spi(own, peers).ok_or(DatagramError::UnknownSpi)?;
        let sa = self.sa(number).ok_or(DatagramError::UnknownSpi)?;
        if from_initiator == sa.initiator {
            return Err(DatagramError::Unexpected);
        }
        let (ours, theirs) = (sa.ours.checked_sub(1), sa.theirs.checked_sub(1));
        let (suite, role, expected) = (sa.choice.suite, sa.peer_role(), sa.receive_id);
        // Who asks for what is checked before any work is spent on it.
        let context = if header.is_response() {
            let asked = ours.filter(|n| {
                self.contexts.exchange(*n).is_some_and(|x| {
                    x.stage == Stage::Response
                        && x.kind != Kind::SaInit
                        && x.message_id == header.message_id
                })
            });
            Some(asked.ok_or(DatagramError::Stale)?)
        } else if header.message_id == expected {
            let busy = theirs.and_then(|n| self.contexts.exchange(n)).is_some_and(|x| {
                // A handshake answers IKE_SA_INIT, and then waits for IKE_AUTH.
                !matches!(x.stage, Stage::Answered | Stage::Response)
            });
            if busy {
                return Err(DatagramError::Busy);
            }
            None
        } else if header.message_id == expected.wrapping_sub(1) {
            let answered = theirs.filter(|n| {
                self.contexts.exchange(*n).is_some_and(|x| {
                    // IKE_SA_INIT has the same number as the first request of some, and is not protected.
                    x.message_id == header.message_id && x.kind != Kind::SaInit
                })
            });
            Some(answered.ok_or(DatagramError::Stale)?)
        } else {
            return Err(DatagramError::Stale);
        };

        let message = Message::parse(datagram)?;
        let encrypted = message.collect()?.encrypted.ok_or(DatagramError::Unexpected)?;
        let again = context.is_some() && !header.is_response();
        self.is_fragment_wanted(number, header, &encrypted, again)?;
        let shape = suite.shape().ok_or(DatagramError::Crypto)?;
        let layout = encrypted.layout(datagram.len(), &shape)?;
        let next = P::HYBRID
            && context.is_none()
            && theirs
                .and_then(|n| self.contexts.handshakes.get(n as usize))
                .is_some_and(|slot| !slot.handshake.next.is_empty());
        let opened = if next {
            self.open_next(number, &layout, datagram)
        } else {
            let keys = self.sas.get(number as usize).map(|s| s.sa.keys.v2());
            let keys = keys.ok_or(DatagramError::UnknownSpi)?;
            protect::open::<P>(keys, suite, role, &layout, datagram)
        };
        opened.map_err(|_| DatagramError::Integrity)?;
        let text = strip_padding(datagram.get(layout.text()).unwrap_or_default());

        // From here on, the message is the peer's: at least of whoever made the key exchange with us.
        let Some(fragment) = encrypted.fragment.filter(|_| fragment::LINKED && !again) else {
            let inner = text.map(|text| Inner { text, first: encrypted.first });
            return self.opened(env, number, path, header, context, inner);
        };
        let kept = self.keep_fragment(env, number, header, (encrypted.first, fragment), text?);
        if kept == Err(DatagramError::NoRoom) && self.buffers.free() > 0 {
            self.tell_too_long(number, path);
        }
        if !kept? {
            return Ok(());
        }
        let assembly = core::mem::take(&mut self.assembly);
        let done = match self.assemble(number, header, assembly) {
            Some((len, first)) => {
                let inner = Inner { text: assembly.get(..len).unwrap_or_default(), first };
                self.opened(env, number, path, header, context, Ok(inner))
            }
            None => {
                self.tell_too_long(number, path);
                Err(DatagramError::NoRoom)
            }
        };
        assembly.zeroize();
        self.assembly = assembly;
        done
    }

    /// A message that is authentic, whole and decrypted. `context`: whose response it is, or what it was answered by.
    fn opened(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        path: Path,
        header: &Header,
        context: Option<u32>,
        inner: Result<Inner<'_>, WireError>,
    ) -> Result<(), DatagramError> {
        let inner = inner.and_then(|inner| {
            let collected = Collected::collect(Payloads::inner(inner.first, inner.text))?;
            Ok((collected, inner))
        });
        if context.is_none() || header.is_response() {
            // Fragments of the same message, if it came whole as well.
            self.forget_partial(number, header.is_response());
            // Newer than all before: a repeated request may come from anywhere.
            self.heard_from(env, number, path);
        }
        match (context, header.is_response()) {
            (Some(context), true) => {
                let (collected, received) = inner?;
                if let Some(mobile) = self.mobile {
                    (mobile.answered)(self, number, context, path);
                }
                self.response(env, number, context, header, &collected, received)
            }
            (Some(context), false) => {
                // A request again: the same response again (RFC 7296 section 2.1).
                if self.contexts.exchange(context).is_some_and(|x| x.stage == Stage::Answered) {
                    if let Some(x) = self.contexts.get(context) {
                        x.path = path;
                    }
                    self.transmits.push(context);
                    Ok(())
                } else {
                    Err(DatagramError::Busy)
                }
            }
            (None, _) => match inner {
                Ok((collected, received)) => {
                    self.request(env, number, path, header, &collected, received)
                }
                Err(error) => {
                    let Some((kind, data)) = error.notify() else { return Err(error.into()) };
                    let data = data.as_slice();
                    self.refuse_request(env, number, path, header, &Notify::new(kind, data));
                    Err(error.into())
                }
            },
        }
    }

    /// Notes a sign of life, and a peer that a NAT has moved.
    pub(crate) fn heard_from(&mut self, env: &Env<'_>, number: u32, path: Path) {
        let Some(sa) = self.sa(number) else { return };
        if !sa.is_authenticated() {
            return;
        }
        sa.heard = sa.heard.max(env.now);
        // RFC 4555 section 3.8: with MOBIKE, the initiator says when it has moved.
        if sa.path.local.address == path.local.address && !sa.mobike {
            if sa.nat_remote && sa.path.remote != path.remote {
                // RFC 7296 section 2.23: what the peer sends to is where it expects us to send from.
                sa.path.local.port = path.local.port;
            }
            self.move_sa(number, path.remote);
        }
    }

    fn request(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        path: Path,
        header: &Header,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let state = self.sa(number).map_or(SaState::Empty, |sa| sa.state);
        if state == SaState::Larval {
            // Nothing but IKE_AUTH is acted on before the peer is authenticated (RFC 7296 section 2.21.2).
            return match header.exchange {
                ExchangeType::IKE_AUTH => {
                    self.auth_received(env, number, path, collected, received)
                }
                ExchangeType::IKE_INTERMEDIATE if P::HYBRID => {
                    self.intermediate_received(env, number, path, header, collected, received)
                }
                _ => Err(DatagramError::Unexpected),
            };
        }
        if state == SaState::Waiting {
            let deletes = collected.deletes().any(|d| d.protocol == ProtocolId::IKE);
            if !deletes {
                // The peer has decided already.
                self.prefer(env, number);
            }
        }
        let state = self.sa(number).map_or(SaState::Empty, |sa| sa.state);
        match (header.exchange, state) {
            (_, SaState::Deleted) => Err(DatagramError::Stale),
            (ExchangeType::CREATE_CHILD_SA, SaState::Established) => {
                self.create_child_received(env, number, path, header, collected, received)
            }
            (ExchangeType::IKE_FOLLOWUP_KE, SaState::Established) if P::HYBRID => {
                self.followup_received(env, number, path, header, collected, received)
            }
            (ExchangeType::INFORMATIONAL, _) => {
                self.informational_received(env, number, path, header, collected)
            }
            _ => {
                let notify = Notify::new(NotifyType::TEMPORARY_FAILURE, &[]);
                self.refuse_request(env, number, path, header, &notify);
                Err(DatagramError::Refused)
            }
        }
    }

    fn response(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        context: u32,
        header: &Header,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let kind = self.contexts.exchange(context).map_or(Kind::None, |x| x.kind);
        if P::HYBRID && self.contexts.exchange(context).is_some_and(Exchange::follows_up) {
            return self.followup_response(env, context, collected, received);
        }
        match kind {
            Kind::Auth => self.auth_response(env, number, context, collected, received),
            Kind::Intermediate if P::HYBRID => {
                self.intermediate_response(env, context, header, collected, received)
            }
            Kind::CreateChild => self.create_child_response(env, context, collected, received),
            Kind::RekeyIke => self.rekey_ike_response(env, context, collected, received),
            Kind::DeleteChild => {
                self.delete_child_response(env, context);
                Ok(())
            }
            Kind::DeleteIke => {
                self.delete_ike_response(env, number, context);
                Ok(())
            }
            Kind::Mobike => {
                if let Some(mobile) = self.mobile {
                    (mobile.response)(self, env, number, context, collected);
                }
                Ok(())
            }
            Kind::Informational => {
                self.end_exchange(env, context);
                self.next_task(env, number);
                self.schedule_sa(env.now, number);
                Ok(())
            }
            Kind::None | Kind::SaInit | Kind::Intermediate => Err(DatagramError::Stale),
            #[cfg(feature = "ikev1")]
            Kind::V1(_) => Err(DatagramError::Stale),
        }
    }

    /// Keeps the peer's decrypted message while a job runs.
    pub(crate) fn park(&mut self, context: u32, received: Inner<'_>) -> Result<(), DatagramError> {
        let buffer = self.buffers.store(received.text).ok_or(DatagramError::NoRoom)?;
        if let Some(x) = self.contexts.get(context) {
            let mut old =
                core::mem::replace(&mut x.received, Parked { buffer, first: received.first });
            self.buffers.release(&mut old.buffer);
        }
        Ok(())
    }

    /// A context for a request of the peer's, in place of its last one: the response to that is superseded.
    ///
    /// Nothing changes if there is no room.
    pub(crate) fn begin_answer(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        path: Path,
        header: &Header,
        kind: Kind,
    ) -> Result<u32, DatagramError> {
        if header.message_id == u32::MAX {
            // RFC 7296 section 2.2: there is no number for another one.
            self.want_of_sa(env, sa, ike_sa::want::CLOSE);
            return Err(DatagramError::Stale);
        }
        self.count_message(env, sa, header.message_id);
        let last = self.sa(sa).and_then(|sa| sa.theirs.checked_sub(1));
        let reusable = last.filter(|n| !self.contexts.is_handshake(*n));
        if reusable.is_none() && self.free_exchanges.is_empty() {
            self.forget_farewell(env);
        }
        if reusable.is_none() && self.free_exchanges.is_empty() {
            return Err(DatagramError::NoRoom);
        }
        let freed = usize::from(
            reusable.and_then(|n| self.contexts.exchange(n)).is_some_and(|x| !x.message.is_none()),
        );
        if self.buffers.free().saturating_add(freed) < 2 {
            return Err(DatagramError::NoRoom);
        }
        if let Some(last) = last {
            self.end_exchange(env, last);
        }
        let number = self.begin_exchange(sa, kind, false).ok_or(DatagramError::NoRoom)?;
        if let Some(x) = self.contexts.get(number) {
            x.path = path;
            x.message_id = header.message_id;
        }
        if let Some(sa) = self.sa(sa) {
            sa.theirs = number.saturating_add(1);
            sa.receive_id = header.message_id.wrapping_add(1);
        }
        Ok(number)
    }

    /// Answers a request of an established SA with an error, and nothing else.
    pub(crate) fn refuse_request(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        path: Path,
        header: &Header,
        notify: &Notify<'_>,
    ) {
        if !self.sa(sa).is_some_and(|sa| sa.is_authenticated()) {
            return;
        }
        let Ok(number) = self.begin_answer(env, sa, path, header, Kind::Informational) else {
            return;
        };
        self.answer_error(env, number, header.exchange, notify);
    }

    /// Answers the request of a context with an error.
    pub(crate) fn answer_error(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        exchange: ExchangeType,
        notify: &Notify<'_>,
    ) {
        if self.compose(number, exchange, |w| w.notify(notify)).is_ok() {
            self.send_response(env, number, RESPONSE_KEPT);
        } else {
            self.end_exchange(env, number);
        }
    }

    /// Writes and seals the message of a context: our request, or the response to the peer's. A message that it had
    /// before is replaced, and never sent again.
    pub(crate) fn compose(
        &mut self,
        number: u32,
        exchange: ExchangeType,
        mut fill: impl FnMut(&mut SkWriter<'_>) -> Result<(), NoRoom>,
    ) -> Result<(), DatagramError> {
        // Compiled once for all messages.
        self.compose_filled(number, exchange, &mut fill)
    }

    fn compose_filled(
        &mut self,
        number: u32,
        exchange: ExchangeType,
        fill: &mut dyn FnMut(&mut SkWriter<'_>) -> Result<(), NoRoom>,
    ) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        if x.message.is_none() {
            x.message = self.buffers.take().ok_or(DatagramError::NoRoom)?;
        }
        x.sent = 0;
        let (message, ours, message_id) = (x.message, x.ours, x.message_id);
        let (path, kind) = (x.path, x.kind);
        let sa = self.sas.get_mut(x.sa as usize).map(|s| &mut s.sa).ok_or(DatagramError::Stale)?;
        let mut flags = if ours { Flags(0) } else { Flags::RESPONSE };
        if sa.initiator {
            flags = flags.union(Flags::INITIATOR);
        }
        let header = Header::new(sa.spi_i, sa.spi_r, exchange, flags, message_id);
        let suite = sa.choice.suite;
        let shape = suite.shape().ok_or(DatagramError::Crypto)?;
        let peer = self
            .config
            .peers
            .get(usize::from(sa.peer))
            .filter(|_| fragment::LINKED && sa.fragments);
        let longest = peer.and_then(|peer| fragment::longest(peer, path)).unwrap_or(usize::MAX);
        let buffer = self.buffers.bytes_mut(message);
        let layout = MessageWriter::new(buffer, &header)
            .and_then(|w| w.begin_sk(&shape))
            .and_then(|mut w| fill(&mut w).map(|()| w))
            .and_then(SkWriter::finish)
            .map_err(|_: NoRoom| DatagramError::NoRoom)?;
        if P::HYBRID && kind == Kind::Intermediate {
            let plain = intermediate::plain(buffer, &layout).ok_or(DatagramError::NoRoom)?;
            let (_, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
            handshake.note_round(sa.choice.prf, sa.role(), &header, plain)?;
        }
        let len = if layout.len() > longest {
            fragment::seal::<P>(sa, &header, &layout, longest, buffer)?
        } else {
            let counter = sa.next_iv();
            protect::seal::<P>(sa.keys.v2(), suite, sa.role(), counter, &layout, buffer)
                .map_err(|_| DatagramError::Crypto)?;
            layout.len()
        };
        self.buffers.set_len(message, len);
        Ok(())
    }

    /// A context for a request of ours, with the next message ID, which is used up when the request is sent. `None` if
    /// there is no room.
    pub(crate) fn begin_request(&mut self, sa: u32, kind: Kind) -> Option<u32> {
        if self.buffers.free() < 2 {
            return None;
        }
        if let Some(sa) = self.sa(sa).filter(|sa| sa.send_id == u32::MAX)
            && kind != Kind::DeleteIke
        {
            // RFC 7296 section 2.2: the last number is for the end.
            sa.want = ike_sa::want::CLOSE;
            return None;
        }
        let number = self.begin_exchange(sa, kind, true)?;
        let sa = self.sa(sa)?;
        let (message_id, path) = (sa.send_id, sa.path);
        sa.ours = number.saturating_add(1);
        if let Some(x) = self.contexts.get(number) {
            x.message_id = message_id;
            x.path = path;
        }
        Some(number)
    }

    /// Sends an answer that belongs to no exchange. One that was not fetched yet gives way.
    pub(crate) fn store_reply(&mut self, path: Path, message: BufferId) {
        let mut old = core::mem::replace(&mut self.reply.message, message);
        self.buffers.release(&mut old);
        self.reply.path = path;
    }
}

/// A decrypted message, still in its datagram.
#[derive(Clone, Copy)]
pub(crate) struct Inner<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) first: PayloadType,
}
