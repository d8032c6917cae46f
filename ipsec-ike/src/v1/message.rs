//! Messages: from datagram to exchange, and back.

use ipsec_core::bytes;
use ipsec_core::crypto::Provider;
use ipsec_core::crypto::suite::MAX_PRF;
use ipsec_core::path::Path;

use super::keymat::{self, Digest, Iv};
use super::{Kind, Phase1, protect};
use crate::buffers::BufferId;
use crate::child_sa::Negotiation;
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::exchange::{self, Exchange, Parked, Stage};
use crate::ike_sa::{IkeSa, SaState};
use crate::v2::configuration::CONFIGURATION;
use crate::wire::v1::{
    Collected, ExchangeType, Flags, Header, Message, MessageWriter, PayloadType, Payloads,
};
use crate::wire::{self, HEADER_LEN, NoRoom};

/// So often one message is sent again because the peer's came again.
const MAX_REPEATED: u8 = 16;
/// Bytes of the header of a payload.
const PAYLOAD_HEADER_LEN: usize = 4;
/// Exchanges of one SA at a time, of both sides.
const MAX_EXCHANGES: usize = 24;

/// A decrypted message, still in its datagram.
#[derive(Clone, Copy)]
pub(super) struct Opened<'a> {
    pub(super) first: PayloadType,
    pub(super) text: &'a [u8],
    /// The chain's next initialization vector, once the message has turned out to be the peer's.
    pub(super) iv: Iv,
}

impl<'a> Opened<'a> {
    pub(super) fn collect(&self) -> Result<Collected<'a>, DatagramError> {
        let collected = Collected::collect(Payloads::padded(self.first, self.text))?;
        if is_padding(collected.padding, self.iv.bytes().len()) {
            Ok(collected)
        } else {
            Err(DatagramError::Integrity)
        }
    }
}

/// Whether the sender may have put this behind its payloads. No hash covers it, yet its last block is the vector of the next
/// message (RFC 2409 appendix B): whoever appends a block on the way ends the exchange, and if it was the last message of phase 1,
/// the two sides do not understand each other under that IKE SA, until one gives it up.
///
/// Less than a block cannot be changed without what shares the block. All zeros, of any length, nobody can make of a block
/// without the key. One block of racoon's is random and ends with its length less one, and this does not tell it from somebody
/// else's: of 256 blocks that were seen on the way, one is likely to decrypt so, and who knows how the messages around
/// them ended knows which. Who can do that can also drop messages; it does not get anything in that the peer did not say.
fn is_padding(padding: &[u8], block_len: usize) -> bool {
    let last = padding.last().map_or(0, |last| usize::from(*last));
    padding.len() < block_len
        || padding.iter().all(|octet| *octet == 0)
        || padding.len() == block_len && last.saturating_add(1) == block_len
}

/// The hash in front of a message after phase 1 (RFC 2409 sections 5.5 and 5.7).
#[derive(Clone, Copy)]
pub(super) enum Hashed<'a> {
    /// Of a first message, and of an Informational one.
    First,
    /// Of the second message of Quick Mode: with the initiator's nonce.
    Second(&'a [u8]),
    /// Of the third message of Quick Mode: with both nonces.
    Third(&'a [u8], &'a [u8]),
}

impl Hashed<'_> {
    fn of<P: Provider>(self, sa: &IkeSa, id: u32, after: &[u8]) -> Option<Digest> {
        let (prf, key) = (sa.choice.prf, sa.keys.v1()?.keys.skeyid_a());
        match self {
            Self::First => keymat::hash_1::<P>(prf, key, id, after),
            Self::Second(ni) => keymat::hash_2::<P>(prf, key, id, ni, after),
            Self::Third(ni, nr) => keymat::hash_3::<P>(prf, key, id, ni, nr),
        }
        .ok()
    }
}

/// Writes a message's payloads, with a look at what another buffer holds.
type FillFrom<'f> = &'f mut dyn FnMut(&mut MessageWriter<'_>, &[u8]) -> Result<(), NoRoom>;

/// What is known of a message before it is decrypted.
#[derive(Clone, Copy)]
pub(super) struct Arrived {
    pub(super) header: Header,
    pub(super) path: Path,
    /// All of it, hashed.
    pub(super) hash: u64,
}

impl<P: Provider> Ike<'_, P> {
    /// Takes a message of IKEv1. It reaches no SA of IKEv2.
    #[inline(never)]
    pub(crate) fn v1_datagram(
        &mut self,
        env: &mut Env<'_>,
        path: Path,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let header = Message::parse(datagram)?.header;
        let hash = self.half_open.hash(&[datagram]).max(1);
        let arrived = Arrived { header, path, hash };
        if header.responder_cookie == 0 && header.exchange != ExchangeType::INFORMATIONAL {
            return self.phase1_begun(env, &arrived, datagram);
        }
        let Some(number) = self.v1_sa(&header) else {
            self.phase1_rivalled(&arrived);
            return Err(DatagramError::UnknownSpi);
        };
        if header.next_payload == PayloadType::FRAGMENT && !header.is_encrypted() {
            return self.v1_fragment_received(env, number, path, datagram);
        }
        match header.exchange {
            ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE
                if header.message_id == 0 =>
            {
                self.phase1_received(env, number, &arrived, datagram)
            }
            ExchangeType::INFORMATIONAL if !header.is_encrypted() => {
                self.hint_received(number, datagram)
            }
            ExchangeType::INFORMATIONAL if self.awaits_access(number) => {
                self.access_informed(env, number, &arrived, datagram)
            }
            ExchangeType::INFORMATIONAL if !self.speaks(number) => self.hint_unread(number),
            _ if header.message_id == 0 => Err(DatagramError::Unexpected),
            ExchangeType::TRANSACTION
                if CONFIGURATION
                    && header.is_encrypted()
                    && (self.awaits_access(number) || self.speaks(number)) =>
            {
                self.transaction_received(env, number, &arrived, datagram)
            }
            // Nothing else is acted on before the peer and its user are authenticated, or in the clear.
            _ if !header.is_encrypted() || !self.speaks(number) => Err(DatagramError::Unexpected),
            ExchangeType::INFORMATIONAL => {
                self.v1_informational_received(env, number, &arrived, datagram)
            }
            ExchangeType::QUICK_MODE => self.quick_received(env, number, &arrived, datagram),
            _ => Err(DatagramError::Unexpected),
        }
    }

    /// The SA of IKEv1 that a header names: one of the two cookies is ours, and carries the number of the slot.
    fn v1_sa(&self, header: &Header) -> Option<u32> {
        let (spi_i, spi_r) = (header.initiator_cookie, header.responder_cookie);
        let of = |own: u64, initiator: bool| {
            let number = u32::try_from(own & self.slot_mask).ok()?;
            let sa = &self.sas.get(number as usize)?.sa;
            // The responder's cookie is not known before its first answer.
            let unknown = initiator && sa.spi_r == 0 && sa.state == SaState::Larval;
            let fits = sa.is_v1()
                && sa.initiator == initiator
                && sa.spi_i == spi_i
                && (sa.spi_r == spi_r || unknown);
            fits.then_some(number)
        };
        of(spi_i, true).or_else(|| of(spi_r, false))
    }

    /// Whether exchanges other than phase 1 are handled.
    fn speaks(&self, number: u32) -> bool {
        self.sas
            .get(number as usize)
            .is_some_and(|slot| matches!(slot.sa.state, SaState::Established | SaState::Rekeyed))
    }

    pub(crate) fn phase1(&self, number: u32) -> Option<&Phase1> {
        self.sas.get(number as usize)?.sa.keys.v1()
    }

    pub(crate) fn phase1_mut(&mut self, number: u32) -> Option<&mut Phase1> {
        self.sas.get_mut(number as usize)?.sa.keys.v1_mut()
    }

    // ---- the exchanges of an SA ----

    /// The exchanges of an SA, the newest first.
    pub(super) fn v1_exchanges(&self, sa: u32) -> impl Iterator<Item = u32> {
        let mut next = self.phase1(sa).map_or(0, |phase1| phase1.exchanges);
        let each = core::iter::from_fn(move || {
            let number = next.checked_sub(1)?;
            next = self.contexts.exchange(number)?.v1.next;
            Some(number)
        });
        each.take(MAX_EXCHANGES)
    }

    /// The first exchange of an SA that fits. Not by the iterator, which takes more code at each of many places.
    pub(crate) fn v1_exchange(&self, sa: u32, fits: impl Fn(&Exchange<P>) -> bool) -> Option<u32> {
        let mut next = self.phase1(sa)?.exchanges;
        for _ in 0..MAX_EXCHANGES {
            let number = next.checked_sub(1)?;
            let x = self.contexts.exchange(number)?;
            if fits(x) {
                return Some(number);
            }
            next = x.v1.next;
        }
        None
    }

    /// Takes a context for an exchange after phase 1. `None` if there is no room, for this SA or at all.
    pub(super) fn v1_begin_exchange(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        kind: Kind,
        ours: bool,
        message_id: u32,
    ) -> Option<u32> {
        if self.v1_exchanges(sa).count() >= MAX_EXCHANGES {
            return None;
        }
        // What we ask leaves room to answer the peer, so that two sides that ask a lot do not wait for each other; but an
        // answer that is kept does not keep the first child waiting. Before the SA is up, each waits for the other.
        let kept = |x: &Exchange<P>| x.stage == Stage::Answered;
        let asking = self.v1_exchange(sa, |x| x.ours && !kept(x)).is_some();
        let first = !asking && self.v1_exchange(sa, kept).is_some();
        let needed = if ours && !first && kind != Kind::Transaction { 2 } else { 1 };
        let needed = needed.min(self.contexts.exchanges.len());
        self.v1_make_room(env, sa, needed, 2).then_some(())?;
        self.v1_take_exchange(env, sa, kind, ours, message_id)
    }

    /// Sees to it that so many contexts and buffers are free for something new with the peer of an SA: what is only kept gives
    /// way, one after the other. `false` if all of it together would not be enough: then all of it stays.
    pub(super) fn v1_make_room(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        contexts: usize,
        buffers: usize,
    ) -> bool {
        let (contexts_free, buffers_free) = (self.free_exchanges.len(), self.buffers.free());
        if contexts_free >= contexts && buffers_free >= buffers {
            return true;
        }
        let answers = self.v1_sas_of_peer(sa).flat_map(|sa| self.v1_answers(sa));
        let kept =
            self.v1_said().chain(answers).filter_map(|number| self.contexts.exchange(number));
        let (contexts_kept, buffers_kept) = kept.fold((0usize, 0usize), |(all, held), x| {
            (all.saturating_add(1), held.saturating_add(buffers_of(x)))
        });
        if contexts_free.saturating_add(contexts_kept) < contexts
            || buffers_free.saturating_add(buffers_kept) < buffers
        {
            return false;
        }
        while self.free_exchanges.len() < contexts || self.buffers.free() < buffers {
            // Of an SA, the oldest.
            let answer = || self.v1_sas_of_peer(sa).find_map(|sa| self.v1_answers(sa).last());
            let Some(kept) = self.v1_said().next().or_else(answer) else { return false };
            self.end_exchange(env, kept);
        }
        true
    }

    /// What was said to anybody and has left, which nobody will ask for again. Looks at 64 contexts, no more.
    fn v1_said(&self) -> impl Iterator<Item = u32> {
        let first = self.contexts.handshake_numbers().end;
        let all = (first..first.saturating_add(64)).take(self.contexts.exchanges.len());
        all.filter(|number| {
            let said = self.contexts.exchange(*number).is_some_and(|x| {
                x.stage == Stage::Answered && x.kind == exchange::Kind::V1(Kind::Informational)
            });
            said && !self.transmits.contains(*number)
        })
    }

    /// The SAs of version 1 with the peer of an SA, itself the last of them.
    pub(super) fn v1_sas_of_peer(&self, sa: u32) -> impl Iterator<Item = u32> {
        let of = self.sas.get(sa as usize).map(|slot| (slot.sa.peer, slot.sa.identity));
        let all = of.into_iter().flat_map(|(peer, identity)| self.sas_of(peer, identity));
        let others = all.filter(move |(number, other)| *number != sa && other.is_v1());
        others.map(|(number, _)| number).chain([sa])
    }

    /// The answers of an SA that have left, and are only kept in case they were lost, the newest first.
    fn v1_answers(&self, sa: u32) -> impl Iterator<Item = u32> {
        self.v1_exchanges(sa).filter(|number| {
            let answered = |x: &Exchange<P>| x.stage == Stage::Answered;
            self.contexts.exchange(*number).is_some_and(answered)
                && !self.transmits.contains(*number)
        })
    }

    /// As [`Ike::v1_begin_exchange`], as long as there is a context.
    pub(super) fn v1_take_exchange(
        &mut self,
        env: &Env<'_>,
        sa: u32,
        kind: Kind,
        ours: bool,
        message_id: u32,
    ) -> Option<u32> {
        let path = self.sas.get(sa as usize)?.sa.path;
        let number = self.begin_exchange(sa, exchange::Kind::V1(kind), ours)?;
        let phase1 = self.sas.get_mut(sa as usize)?.sa.keys.v1_mut()?;
        let head = core::mem::replace(&mut phase1.exchanges, number.saturating_add(1));
        if let Some(x) = self.contexts.get(number) {
            x.v1.next = head;
            x.v1.since = env.now;
            x.message_id = message_id;
            x.path = path;
        }
        Some(number)
    }

    /// Takes a context out of the list of its SA, if it is in it.
    pub(crate) fn v1_leave_list(&mut self, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, after) = (x.sa, x.v1.next);
        let wanted = number.saturating_add(1);
        let Some(phase1) = self.phase1_mut(sa) else { return };
        if phase1.exchanges == wanted {
            phase1.exchanges = after;
            return;
        }
        let before = self.v1_exchange(sa, |x| x.v1.next == wanted);
        if let Some(x) = before.and_then(|before| self.contexts.get(before)) {
            x.v1.next = after;
        }
    }

    /// No exchange of an SA names a child that is gone: those of ours that were making it end.
    pub(crate) fn v1_forget_child(&mut self, env: &mut Env<'_>, sa: u32, child: u32) {
        let wanted = child.saturating_add(1);
        while let Some(number) = self.v1_exchange(sa, |x| x.negotiation.child == wanted) {
            if let Some(x) = self.contexts.get(number) {
                x.negotiation = Negotiation::EMPTY;
            }
            self.end_exchange(env, number);
        }
    }

    /// Ends all exchanges of an SA but those of phase 1.
    pub(crate) fn v1_end_exchanges(&mut self, env: &mut Env<'_>, sa: u32) {
        for _ in 0..MAX_EXCHANGES {
            let Some(number) = self.v1_exchange(sa, |_| true) else { return };
            self.end_exchange(env, number);
        }
    }

    // ---- receiving ----

    /// Decrypts a message in place. Whose it is, its HASH tells.
    pub(super) fn v1_open<'d>(
        &self,
        sa: u32,
        iv: &Iv,
        header: &Header,
        datagram: &'d mut [u8],
    ) -> Result<Opened<'d>, DatagramError> {
        let slot = &self.sas.get(sa as usize).ok_or(DatagramError::Stale)?.sa;
        let phase1 = slot.keys.v1().ok_or(DatagramError::Stale)?;
        let iv = protect::open::<P>(slot.protection(), phase1.keys.key(), iv, datagram)
            .map_err(|_| DatagramError::Integrity)?;
        let text = datagram.get(HEADER_LEN..).unwrap_or_default();
        Ok(Opened { first: header.next_payload, text, iv })
    }

    /// Decrypts a message in place whose first payload must be HASH(1): it begins an exchange, or stands alone.
    pub(super) fn v1_open_hashed<'d>(
        &self,
        sa: u32,
        iv: &Iv,
        header: &Header,
        datagram: &'d mut [u8],
    ) -> Result<(Opened<'d>, Collected<'d>), DatagramError> {
        let opened = self.v1_open(sa, iv, header, datagram)?;
        let collected = opened.collect()?;
        if !self.v1_is_hashed(sa, header.message_id, Hashed::First, &collected) {
            return Err(DatagramError::Integrity);
        }
        Ok((opened, collected))
    }

    /// Whether the first payload is this hash.
    pub(super) fn v1_is_hashed(
        &self,
        sa: u32,
        message_id: u32,
        hashed: Hashed<'_>,
        collected: &Collected<'_>,
    ) -> bool {
        let theirs = collected.hash.filter(|_| collected.first == PayloadType::HASH);
        let ours = self.sas.get(sa as usize);
        let ours = ours.and_then(|s| hashed.of::<P>(&s.sa, message_id, collected.after_first));
        ours.zip(theirs).is_some_and(|(ours, theirs)| ours.matches(theirs))
    }

    /// The very same message again: so is the answer, as often as somebody may lose it.
    pub(super) fn v1_again(&mut self, number: u32) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        if !matches!(x.stage, Stage::Answered | Stage::Response) {
            return Err(DatagramError::Busy);
        }
        if x.v1.repeated >= MAX_REPEATED || x.message.is_none() {
            return Err(DatagramError::Stale);
        }
        x.v1.repeated = x.v1.repeated.saturating_add(1);
        self.transmits.push(number);
        Ok(())
    }

    /// Keeps the peer's decrypted message while a job runs.
    pub(super) fn v1_park(
        &mut self,
        number: u32,
        opened: &Opened<'_>,
    ) -> Result<(), DatagramError> {
        let buffer = self.buffers.store(opened.text).ok_or(DatagramError::NoRoom)?;
        if let Some(x) = self.contexts.get(number) {
            let parked = Parked { buffer, first: wire::PayloadType(opened.first.0) };
            let mut old = core::mem::replace(&mut x.received, parked);
            self.buffers.release(&mut old.buffer);
        }
        Ok(())
    }

    /// The peer's message, decrypted.
    pub(super) fn v1_parked(&self, number: u32) -> Option<Collected<'_>> {
        let received = self.contexts.exchange(number)?.received;
        let first = PayloadType(received.first.0);
        Collected::collect(Payloads::padded(first, self.buffers.bytes(received.buffer))).ok()
    }

    /// The payloads of a message that was stored as it came.
    pub(super) fn v1_stored(&self, message: BufferId) -> Option<Collected<'_>> {
        Message::parse(self.buffers.bytes(message)).ok()?.collect().ok()
    }

    // ---- sending ----

    /// Writes a message of phase 1 in the clear, in place of the context's last one.
    pub(super) fn v1_compose_clear(
        &mut self,
        number: u32,
        exchange: ExchangeType,
        fill: &mut dyn FnMut(&mut MessageWriter<'_>) -> Result<(), NoRoom>,
    ) -> Result<(), DatagramError> {
        let header = self.v1_header(number, exchange, Flags(0))?;
        let message = self.v1_message(number)?;
        let len = MessageWriter::new(self.buffers.bytes_mut(message), &header)
            .and_then(|mut w| fill(&mut w).and_then(|()| w.finish()))
            .map_err(|_: NoRoom| DatagramError::NoRoom)?;
        self.buffers.set_len(message, len);
        Ok(())
    }

    /// Writes and encrypts a message, in place of the context's last one, with HASH in front if it has one.
    pub(super) fn v1_compose(
        &mut self,
        number: u32,
        exchange: ExchangeType,
        hashed: Option<Hashed<'_>>,
        fill: &mut dyn FnMut(&mut MessageWriter<'_>) -> Result<(), NoRoom>,
    ) -> Result<(), DatagramError> {
        self.v1_compose_from(number, exchange, hashed, BufferId::NONE, &mut |w, _| fill(w))
    }

    /// As [`Ike::v1_compose`], where `fill` looks at what another buffer holds.
    pub(super) fn v1_compose_from(
        &mut self,
        number: u32,
        exchange: ExchangeType,
        hashed: Option<Hashed<'_>>,
        from: BufferId,
        fill: FillFrom<'_>,
    ) -> Result<(), DatagramError> {
        let header = self.v1_header(number, exchange, Flags::ENCRYPTION)?;
        let message = self.v1_message(number)?;
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        let sa = x.sa;
        let id = x.message_id;
        let slot = &self.sas.get(sa as usize).ok_or(DatagramError::Stale)?.sa;
        let (_, block_len) = slot.protection().sizes().ok_or(DatagramError::Crypto)?;
        let hash_len = slot.choice.prf.output_len().ok_or(DatagramError::Crypto)?;
        let (from, buffer) = if from.is_none() {
            (&[][..], self.buffers.bytes_mut(message))
        } else {
            self.buffers.pair(from, message).ok_or(DatagramError::NoRoom)?
        };
        let (len, padded) = MessageWriter::new(&mut *buffer, &header)
            .and_then(|mut w| {
                if hashed.is_some() {
                    w.raw(PayloadType::HASH, [0; MAX_PRF].get(..hash_len).ok_or(NoRoom)?)?;
                }
                fill(&mut w, from)?;
                w.finish_padded(block_len)
            })
            .map_err(|_: NoRoom| DatagramError::NoRoom)?;
        let buffer = buffer.get_mut(..padded).ok_or(DatagramError::NoRoom)?;
        if let Some(hashed) = hashed {
            let at = HEADER_LEN.saturating_add(PAYLOAD_HEADER_LEN);
            let after = at.saturating_add(hash_len);
            let hash = hashed.of::<P>(slot, id, buffer.get(after..len).unwrap_or_default());
            let place = buffer.get_mut(at..after);
            place
                .zip(hash)
                .and_then(|(place, hash)| bytes::copy(place, hash.bytes()))
                .ok_or(DatagramError::Crypto)?;
        }
        let key = slot.keys.v1().ok_or(DatagramError::Stale)?.keys.key();
        x.v1.iv = protect::seal::<P>(slot.protection(), key, &x.v1.iv, buffer)
            .map_err(|_| DatagramError::Crypto)?;
        self.buffers.set_len(message, padded);
        Ok(())
    }

    pub(super) fn v1_header(
        &self,
        number: u32,
        exchange: ExchangeType,
        flags: Flags,
    ) -> Result<Header, DatagramError> {
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let sa = &self.sas.get(x.sa as usize).ok_or(DatagramError::Stale)?.sa;
        Ok(Header::new(sa.spi_i, sa.spi_r, exchange, flags, x.message_id))
    }

    /// The buffer of a context's message: the one that it has, or another one.
    pub(super) fn v1_message(&mut self, number: u32) -> Result<BufferId, DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        x.v1.repeated = 0;
        if x.message.is_none() {
            x.message = self.buffers.take().ok_or(DatagramError::NoRoom)?;
        }
        Ok(x.message)
    }
}

/// How many buffers an exchange has.
pub(super) fn buffers_of<P: Provider>(x: &Exchange<P>) -> usize {
    let held = [x.message, x.received.buffer, x.secrets];
    held.iter().filter(|buffer| !buffer.is_none()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2409 appendix B: strongSwan appends a block of zeros to what fills its blocks, racoon a random one that ends with
    /// 15; who else's block it is, is not known.
    #[test]
    fn what_peers_append() {
        let mut racoon = [0xa5; 16];
        racoon[15] = 15;
        let sound: [&[u8]; 7] = [&[], &[9], &[7; 15], &[0; 16], &[0; 17], &[0; 64], &racoon];
        for padding in sound {
            assert!(is_padding(padding, 16), "{padding:?}");
        }
        let mut longer = [15; 17];
        longer[0] = 0;
        let foreign: [&[u8]; 4] = [&[7; 16], &[15; 17], &[16; 16], &longer];
        for padding in foreign {
            assert!(!is_padding(padding, 16), "{padding:?}");
        }
    }
}
