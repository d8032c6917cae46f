//! IKE_INTERMEDIATE: further key exchanges between IKE_SA_INIT and IKE_AUTH (RFC 9242, RFC 9370 section 2.2.2).
//!
//! Each round is one exchange, protected by the keys that there are, and each gives new keys. Nobody is authenticated yet:
//! both proofs of IKE_AUTH cover all rounds ([`IntAuth`]). There are as many rounds as IKE_SA_INIT agreed on, and one
//! answers no others.
//!
//! A responder goes on to the keys of a round with the first message that is protected by them: until then, the initiator
//! may repeat its request of that round under the old ones.

use ipsec_core::bytes::{self, Writer};
use ipsec_core::crypto::suite::MAX_PRF;
use ipsec_core::crypto::{CryptoError, Group, Prf, PrfId, Provider};
use ipsec_core::path::Path;
use zeroize::Zeroize;

use super::message::Inner;
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Failure;
use crate::exchange::{Handshake, Kind, Maybe, Stage, Work};
use crate::ike_sa;
use crate::keymat::{AuthKeys, IkeKeys, Role, Skeyseed};
use crate::protect;
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT, LINGER};
use crate::wire::{
    Collected, ExchangeType, Header, Notify, NotifyType, PayloadType, SkLayout, strip_padding,
};

/// Bytes of the IKE header and of the generic header of the encrypted payload.
const HEAD_LEN: usize = 32;

/// What the proofs of IKE_AUTH cover of all rounds: IntAuth_i | IntAuth_r | message ID of IKE_AUTH (RFC 9242 section
/// 3.3.2).
pub(crate) struct IntAuth {
    bytes: [u8; 2 * MAX_PRF + 4],
    /// Bytes of the value of each side; 0 before its first message.
    lens: [u8; 2],
}

impl IntAuth {
    /// Before the first round: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self { bytes: [0; 2 * MAX_PRF + 4], lens: [0; 2] };

    /// What is signed; empty if there was no round.
    pub(crate) fn signed(&self) -> &[u8] {
        let [i, r] = self.lens.map(usize::from);
        let len = if i == 0 { 0 } else { i.saturating_add(r).saturating_add(4) };
        self.bytes.get(..len).unwrap_or_default()
    }

    /// Takes one message of `sender`: its value becomes prf (SK_p, value | head | text), the value being absent at first.
    fn take<P: Provider>(
        &mut self,
        prf: PrfId,
        sk_p: &[u8],
        sender: Role,
        head: &[u8; HEAD_LEN],
        text: &[u8],
    ) -> Result<(), CryptoError> {
        let len = prf.output_len().ok_or(CryptoError::Unsupported)?;
        let before = self.lens.get_mut(sender.index()).ok_or(CryptoError::Length)?;
        let at = sender.index().saturating_mul(len);
        let value = self.bytes.get_mut(at..at.saturating_add(len)).ok_or(CryptoError::Length)?;
        let mut next = [0; MAX_PRF];
        let next = next.get_mut(..len).ok_or(CryptoError::Length)?;
        let previous = value.get(..usize::from(*before)).ok_or(CryptoError::Length)?;
        P::Prf::new(prf, sk_p)?.compute(&[previous, head, text], next)?;
        *before = u8::try_from(len).map_err(|_| CryptoError::Length)?;
        bytes::copy(value, next).ok_or(CryptoError::Length)
    }

    /// Says which message ID IKE_AUTH has.
    fn set_auth_id(&mut self, id: u32) {
        let at: usize =
            self.lens.iter().map(|len| usize::from(*len)).fold(0, usize::saturating_add);
        if let Some(place) = self.bytes.get_mut(at..at.saturating_add(4)) {
            let _ = bytes::copy(place, &id.to_be_bytes());
        }
    }
}

/// The IKE header and the generic header of the encrypted payload, as if nothing but `text_len` bytes followed, and in
/// one piece, however the message came (RFC 9242 section 3.3.2).
fn head_of(header: &Header, first: PayloadType, text_len: usize) -> Option<[u8; HEAD_LEN]> {
    let mut head = [0; HEAD_LEN];
    let mut w = Writer::new(&mut head);
    w.u64(header.initiator_spi)?;
    w.u64(header.responder_spi)?;
    let version = header.version.major.wrapping_shl(4) | header.version.minor;
    w.bytes(&[PayloadType::SK.0, version, header.exchange.0, header.flags.0])?;
    w.u32(header.message_id)?;
    w.u32(u32::try_from(HEAD_LEN.checked_add(text_len)?).ok()?)?;
    w.bytes(&[first.0, 0])?;
    w.u16(u16::try_from(text_len.checked_add(4)?).ok()?)?;
    Some(head)
}

impl<P: Provider> Ike<'_, P> {
    /// The key exchange of the round that is under way, or next; `None` after the last.
    pub(crate) fn next_group(&self, number: u32) -> Option<Group> {
        if !P::HYBRID {
            return None;
        }
        let x = self.contexts.exchange(number)?;
        self.sas.get(x.sa as usize)?.sa.choice.additional.nth(x.round)
    }

    // ---- initiator ----

    /// IKE_SA_INIT or a round is done: begins the next round, or IKE_AUTH after the last.
    pub(crate) fn intermediate_next(&mut self, env: &mut Env<'_>, number: u32) {
        if self.next_group(number).is_none() {
            return self.auth_request(env, number);
        }
        let path = self.leave_sa_init(number);
        let Some(x) = self.contexts.get(number) else { return };
        x.kind = Kind::Intermediate;
        x.message_id = u32::from(x.round).saturating_add(1);
        x.path = path;
        self.queue_job(number, Work::Generate);
        self.give_up_after(env, number, CALLER_TIMEOUT);
    }

    /// Sends the request.
    pub(crate) fn intermediate_request(&mut self, env: &mut Env<'_>, number: u32, public: &[u8]) {
        let Some(group) = self.next_group(number) else { return };
        let written = self.compose(number, ExchangeType::IKE_INTERMEDIATE, |w| w.ke(group, public));
        match written {
            Ok(()) => self.send_request(env, number),
            Err(_) => {
                let failure = self.not_composed(number);
                self.handshake_failed(env, number, failure);
            }
        }
    }

    /// The peer's answer.
    #[inline(never)]
    pub(crate) fn intermediate_response(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        header: &Header,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        if header.exchange != ExchangeType::IKE_INTERMEDIATE || !x.failure.is_nothing() {
            return Err(DatagramError::Stale);
        }
        let group = self.next_group(number).ok_or(DatagramError::Stale)?;
        let sound = collected
            .ke
            .is_some_and(|ke| ke.group == group && group.answer_len() == Some(ke.data.len()));
        if !sound {
            let error = collected.error().map(|notify| notify.kind);
            self.doubt(env, number, error.map_or(Failure::Protocol, Failure::Refused));
            return Err(DatagramError::Refused);
        }
        self.park(number, received)?;
        self.note_round(number, header, received)?;
        self.queue_job(number, Work::Agree);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// The shared secret of the round is known.
    pub(crate) fn intermediate_agreed(&mut self, env: &mut Env<'_>, number: u32, secret: &[u8]) {
        self.release_parked(number);
        let derived = self.finish_round(number, secret).and_then(|()| self.take_next_keys(number));
        if derived.is_err() {
            return self.handshake_failed(env, number, Failure::Crypto);
        }
        self.intermediate_next(env, number);
    }

    /// A key exchange of a round failed, or was never done: nobody knows who the peer is.
    pub(crate) fn intermediate_job_failed(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (ours, agreeing) = (x.ours, x.work == Work::Agree);
        x.work = Work::None;
        if ours && agreeing {
            x.stage = Stage::Response;
            self.release_parked(number);
            self.doubt(env, number, Failure::Crypto);
        } else if ours {
            self.handshake_failed(env, number, Failure::Crypto);
        } else {
            self.intermediate_refuse(env, number, Failure::Crypto);
        }
    }

    // ---- responder ----

    /// The initiator's part of a round.
    #[inline(never)]
    pub(crate) fn intermediate_received(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        path: Path,
        header: &Header,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let number = self.handshake_of(sa, path)?;
        let group = self.next_group(number).ok_or(DatagramError::Unexpected)?;
        let sound = collected
            .ke
            .is_some_and(|ke| ke.group == group && group.public_len() == Some(ke.data.len()));
        if sound && !self.may_park() {
            return Err(DatagramError::NoRoom);
        }
        if sound {
            self.park(number, received)?;
            self.note_round(number, header, received)?;
        }
        if let Some(x) = self.contexts.get(number) {
            x.kind = Kind::Intermediate;
            x.message_id = header.message_id;
            x.path = path;
        }
        if let Some(sa) = self.sa(sa) {
            sa.receive_id = header.message_id.wrapping_add(1);
        }
        if !sound {
            self.intermediate_refuse(env, number, Failure::Protocol);
            return Err(DatagramError::Unexpected);
        }
        self.queue_job(number, Work::Respond);
        self.give_up_after(env, number, HANDSHAKE_TIMEOUT);
        Ok(())
    }

    /// The shared secret of the round is known: answers. The keys that follow from it wait for the next request.
    pub(crate) fn intermediate_respond(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        secret: &[u8],
        public: &[u8],
    ) {
        let Some(group) = self.next_group(number) else { return };
        self.release_parked(number);
        let written = self
            .compose(number, ExchangeType::IKE_INTERMEDIATE, |w| w.ke(group, public))
            .and_then(|()| self.finish_round(number, secret));
        match written {
            Ok(()) => self.send_response(env, number, HANDSHAKE_TIMEOUT),
            Err(_) => {
                let sa = self.contexts.get(number).map(|x| x.sa);
                self.end_exchange(env, number);
                if let Some(sa) = sa {
                    self.release_larval(env, sa);
                }
            }
        }
    }

    /// Refuses an initiator whose part of a round is wrong: all is over.
    fn intermediate_refuse(&mut self, env: &mut Env<'_>, number: u32, failure: Failure) {
        let Some((sa, path)) = self.contexts.get(number).map(|x| (x.sa, x.path)) else { return };
        let peer = self.sa(sa).map(|sa| sa.peer);
        self.refuse(peer, None, path, failure);
        self.forget_init(number);
        if let Some(x) = self.contexts.get(number) {
            // It takes no other message.
            x.kind = Kind::Auth;
        }
        let notify = Notify::new(NotifyType::INVALID_SYNTAX, &[]);
        if self.compose(number, ExchangeType::IKE_INTERMEDIATE, |w| w.notify(&notify)).is_ok() {
            self.send_response(env, number, LINGER);
        } else {
            self.end_exchange(env, number);
            self.release_larval(env, sa);
        }
    }

    /// Opens a request, which may be the first under the keys of the round that was answered last: these are taken then.
    #[inline(never)]
    pub(crate) fn open_next(
        &mut self,
        sa: u32,
        layout: &SkLayout,
        datagram: &mut [u8],
    ) -> Result<(), CryptoError> {
        let slot = &self.sas.get(sa as usize).ok_or(CryptoError::Key)?.sa;
        let number = slot.theirs.checked_sub(1).ok_or(CryptoError::Key)?;
        let handshake = self.contexts.handshakes.get(number as usize).ok_or(CryptoError::Key)?;
        let (ni, nr) = handshake.handshake.nonces(&self.buffers).ok_or(CryptoError::Key)?;
        let (mut keys, mut auth) = (IkeKeys::EMPTY, AuthKeys::EMPTY);
        let seed = Skeyseed::Known(&handshake.handshake.next);
        let (choice, role) = (slot.choice, slot.peer_role());
        keys.derive::<P>(&mut auth, &choice, seed, ni, nr, slot.spi_i, slot.spi_r)?;
        protect::open::<P>(&keys, choice.suite, role, layout, datagram)?;
        self.take_next_keys(number).map_err(|_| CryptoError::Key)
    }

    // ---- both ----

    /// Notes a message of the peer's that the proofs are to cover.
    fn note_round(
        &mut self,
        number: u32,
        header: &Header,
        message: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        let sa = &self.sas.get(x.sa as usize).ok_or(DatagramError::Stale)?.sa;
        handshake.note_round(sa.choice.prf, sa.peer_role(), header, message)
    }

    /// SKEYSEED(n) = prf (SK_d(n-1), SK(n) | Ni | Nr) (RFC 9370 section 2.2.2), for [`Ike::take_next_keys`]. The round is
    /// over.
    fn finish_round(&mut self, number: u32, secret: &[u8]) -> Result<(), DatagramError> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        let (ni, nr) = handshake.nonces(&self.buffers).ok_or(DatagramError::Stale)?;
        let sa = &self.sas.get(x.sa as usize).ok_or(DatagramError::Stale)?.sa;
        let prf = sa.choice.prf;
        let seed =
            Skeyseed::Rekey { more: &[], old_prf: prf, old_sk_d: sa.keys.v2().sk_d(), secret };
        handshake.next.keep::<P>(&seed, prf, (ni, nr)).map_err(|_| DatagramError::Crypto)?;
        handshake.additional = Maybe::Nothing;
        handshake.int_auth.set_auth_id(x.message_id.wrapping_add(1));
        x.round = x.round.saturating_add(1);
        Ok(())
    }

    /// Goes on to the keys of the round that is over.
    fn take_next_keys(&mut self, number: u32) -> Result<(), DatagramError> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        let (ni, nr) = handshake.nonces(&self.buffers).ok_or(DatagramError::Stale)?;
        let sa = self.sas.get_mut(x.sa as usize).map(|s| &mut s.sa).ok_or(DatagramError::Stale)?;
        let (choice, spi_i, spi_r) = (sa.choice, sa.spi_i, sa.spi_r);
        let seed = Skeyseed::Known(&handshake.next);
        let derived = sa.keys.v2_mut().ok_or(DatagramError::Stale)?.derive::<P>(
            &mut handshake.auth,
            &choice,
            seed,
            ni,
            nr,
            spi_i,
            spi_r,
        );
        handshake.next.zeroize();
        derived.map_err(|_| DatagramError::Crypto)?;
        if self.config.key_log {
            sa.tell |= ike_sa::tell::KEYS;
            self.events.push(x.sa);
        }
        Ok(())
    }

    /// The handshake of the peer's that takes a message at `path`, once it is answered.
    pub(super) fn handshake_of(&mut self, sa: u32, path: Path) -> Result<u32, DatagramError> {
        let number = self.sa(sa).and_then(|sa| sa.theirs.checked_sub(1));
        let number = number.ok_or(DatagramError::Stale)?;
        let nat = self.sas.get(sa as usize).is_some_and(|s| s.sa.nat_remote);
        let (x, _) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        if !matches!(x.kind, Kind::SaInit | Kind::Intermediate) || x.stage != Stage::Answered {
            return Err(DatagramError::Busy);
        }
        if path.local.address != x.path.local.address
            || (path.remote.address != x.path.remote.address && !nat)
        {
            // Sent on by somebody on the path: without a NAT, an address does not change.
            return Err(DatagramError::Unexpected);
        }
        Ok(number)
    }
}

impl<P: Provider> Handshake<P> {
    /// Notes a message that the proofs are to cover: one of ours before it is sealed, or one of the peer's after it was
    /// opened.
    pub(super) fn note_round(
        &mut self,
        prf: PrfId,
        sender: Role,
        header: &Header,
        message: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let head = head_of(header, message.first, message.text.len());
        let head = head.ok_or(DatagramError::Unexpected)?;
        let sk_p = self.auth.sk_p(sender);
        let noted = self.int_auth.take::<P>(prf, sk_p, sender, &head, message.text);
        noted.map_err(|_| DatagramError::Crypto)
    }
}

/// What is inside a message that is not sealed yet.
pub(super) fn plain<'m>(message: &'m [u8], layout: &SkLayout) -> Option<Inner<'m>> {
    let first = PayloadType(*message.get(HEAD_LEN.checked_sub(4)?)?);
    Some(Inner { text: strip_padding(message.get(layout.text())?).ok()?, first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::psk;
    use crate::keymat::Seed;
    use crate::proposal::{Additional, IkeChoice};
    use crate::wire::{Message, Payloads};
    use ipsec_core::crypto::Suite;
    use ipsec_rustcrypto::RustCrypto;

    extern crate std;
    use std::vec::Vec;

    const PSK: &[u8] = b"a secret of the interoperability suite";
    const PRF: PrfId = PrfId::HMAC_SHA2_256;
    const CHOICE: IkeChoice = IkeChoice {
        suite: Suite::AES_128_GCM,
        prf: PRF,
        group: Group::X25519,
        additional: Additional([Group::ML_KEM_768, Group::NONE, Group::NONE]),
        ..IkeChoice::EMPTY
    };

    /// A value of the recorded handshake.
    fn recorded(name: &str) -> Vec<u8> {
        let mut lines = include_str!("mlkem.txt").lines().filter_map(|line| line.split_once(' '));
        let (_, hex) = lines.find(|(key, _)| *key == name).unwrap();
        let byte = |pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.as_bytes().chunks(2).map(byte).collect()
    }

    /// Decrypts a recorded message in place; gives its header and what is inside.
    fn open<'m>(keys: &IkeKeys, sender: Role, bytes: &'m mut [u8]) -> (Header, Inner<'m>) {
        let message = Message::parse(bytes).unwrap();
        let (header, encrypted) = (message.header, message.collect().unwrap().encrypted.unwrap());
        let layout = encrypted.layout(bytes.len(), &CHOICE.suite.shape().unwrap()).unwrap();
        protect::open::<RustCrypto>(keys, CHOICE.suite, sender, &layout, bytes).unwrap();
        let text = strip_padding(&bytes[layout.text()]).unwrap();
        (header, Inner { text, first: encrypted.first })
    }

    fn is_key_of(keys: &IkeKeys, auth: &AuthKeys, round: &str) {
        use Role::{Initiator, Responder};
        for (name, key) in [
            ("sk_d", keys.sk_d()),
            ("sk_ei", keys.encryption(Initiator)),
            ("sk_er", keys.encryption(Responder)),
            ("sk_pi", auth.sk_p(Initiator)),
            ("sk_pr", auth.sk_p(Responder)),
        ] {
            assert_eq!(key, recorded(&std::format!("{name}_{round}")), "{name} {round}");
        }
    }

    /// RFC 9370 section 2.2.2 and RFC 9242 section 3.3.2, by a handshake with strongSwan 6.0.6: its keys before and after
    /// the round, its values over the round, and both proofs.
    #[test]
    fn a_recorded_handshake() {
        let (request, response) = (recorded("init_request"), recorded("init_response"));
        let collected =
            [&request, &response].map(|m| Message::parse(m).unwrap().collect().unwrap());
        let [ni, nr] = collected.map(|collected| collected.nonce.unwrap());
        let header = Message::parse(&response).unwrap().header;
        let spis = (header.initiator_spi, header.responder_spi);

        let (mut keys, mut auth) = (IkeKeys::EMPTY, AuthKeys::EMPTY);
        let seed = Skeyseed::Initial { secret: &recorded("x25519_secret") };
        keys.derive::<RustCrypto>(&mut auth, &CHOICE, seed, ni, nr, spis.0, spis.1).unwrap();
        is_key_of(&keys, &auth, "0");

        let mut int_auth = IntAuth::EMPTY;
        assert!(int_auth.signed().is_empty());
        for (sender, name, kex_len) in [
            (Role::Initiator, "intermediate_request", 1184),
            (Role::Responder, "intermediate_response", 1088),
        ] {
            let mut bytes = recorded(name);
            let (header, inner) = open(&keys, sender, &mut bytes);
            let payloads = Collected::collect(Payloads::inner(inner.first, inner.text)).unwrap();
            let ke = payloads.ke.unwrap();
            assert_eq!((ke.group, ke.data.len()), (Group::ML_KEM_768, kex_len));
            let head = head_of(&header, inner.first, inner.text.len()).unwrap();
            int_auth.take::<RustCrypto>(PRF, auth.sk_p(sender), sender, &head, inner.text).unwrap();
        }
        int_auth.set_auth_id(2);
        let expected = [recorded("IntAuth_i"), recorded("IntAuth_r"), Vec::from([0, 0, 0, 2])];
        assert_eq!(int_auth.signed(), expected.concat());

        let mut next = Seed::EMPTY;
        let secret = recorded("mlkem_secret");
        let seed =
            Skeyseed::Rekey { more: &[], old_prf: PRF, old_sk_d: keys.sk_d(), secret: &secret };
        next.keep::<RustCrypto>(&seed, PRF, (ni, nr)).unwrap();
        let seed = Skeyseed::Known(&next);
        keys.derive::<RustCrypto>(&mut auth, &CHOICE, seed, ni, nr, spis.0, spis.1).unwrap();
        is_key_of(&keys, &auth, "1");

        for (sender, name, message, nonce) in [
            (Role::Initiator, "auth_request", &request, nr),
            (Role::Responder, "auth_response", &response, ni),
        ] {
            let mut bytes = recorded(name);
            let (_, inner) = open(&keys, sender, &mut bytes);
            let payloads = Collected::collect(Payloads::inner(inner.first, inner.text)).unwrap();
            let id = if sender == Role::Initiator { payloads.id_i } else { payloads.id_r }.unwrap();
            let proof = payloads.auth.unwrap().data;
            let sk_p = auth.sk_p(sender);
            let verify = |rounds: &[u8]| {
                psk::verify::<RustCrypto>(PRF, PSK, sk_p, message, nonce, &id, rounds, proof)
            };
            assert_eq!(verify(int_auth.signed()), Ok(()), "{name}");
            // Without the round, or with another message ID, it is no proof.
            let mut other = int_auth.signed().to_vec();
            *other.last_mut().unwrap() = 1;
            assert!(verify(&[]).is_err() && verify(&other).is_err());
        }
    }
}
