//! IKE_SA_INIT: algorithms, nonces and a key exchange, before anybody is authenticated (RFC 7296 section 1.2).
//!
//! What arrives here may come from anyone. A responder spends nothing lasting on it: a handshake of a bounded pool, and
//! a cookie first if many are half open. An initiator keeps its request until a reply has led to an authenticated peer.

use core::net::IpAddr;
use core::time::Duration;

use ipsec_core::bytes;
use ipsec_core::crypto::{Group, Provider};
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::selector::Flow;

use super::intermediate::IntAuth;
use super::proof;
use crate::auth::signature::SignatureHashes;
use crate::buffers::{BufferId, Buffers};
use crate::engine::{Env, Ike};
use crate::error::{CommandError, DatagramError};
use crate::event::{ChildRef, Failure, IkeId};
use crate::exchange::{Exchange, Handshake, Kind, Maybe, Stage, Work};
use crate::fragment;
use crate::ike_sa::{self, SaState};
use crate::keymat::Skeyseed;
use crate::nat;
use crate::proposal::{self, Implemented};
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT, RETRY};
use crate::wire::{
    Collected, ExchangeType, Flags, Header, Message, MessageWriter, NoRoom, Notify, NotifyType,
};

/// Other groups and cookies that an initiator tries, in all.
const MAX_RETRIES: u8 = 5;
/// Half-open exchanges that one address, or one network of IPv6, may have.
const PER_SOURCE: usize = 8;
/// Half-open exchanges that were begun in the name of one address, before it is asked for cookies.
const UNPROVEN_PER_SOURCE: usize = 2;

/// RFC 7383 section 2.3: both sides say so, or nothing is sent in fragments.
const FRAGMENTATION_SUPPORTED: Notify<'static> =
    Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, &[]);

/// What goes into an IKE_SA_INIT message besides the proposal.
struct Offer<'a> {
    group: Group,
    public: &'a [u8],
    nonce: &'a [u8],
    path: Path,
    /// Pretend to be behind a NAT, so that ESP travels in UDP.
    hide: bool,
}

impl Offer<'_> {
    fn write<P: Provider>(
        &self,
        w: &mut MessageWriter<'_>,
        spi_i: u64,
        spi_r: u64,
    ) -> Result<(), NoRoom> {
        w.ke(self.group, self.public)?;
        w.nonce(self.nonce)?;
        // Any wrong hash will do; this one stays the same when the message is written again.
        nat::write::<P>(w, (spi_i, spi_r), self.path, self.hide.then_some(self.nonce))
    }
}

impl<P: Provider> Ike<'_, P> {
    // ---- initiator ----

    /// Begins an IKE SA, and with it the child that is wanted.
    pub(crate) fn sa_init_begin(
        &mut self,
        env: &mut Env<'_>,
        config: ChildRef,
        packet: Option<Flow>,
        replaces: Option<IkeId>,
    ) -> Result<(), CommandError> {
        let peer = self.config.peers.get(usize::from(config.peer)).ok_or(CommandError::Unknown)?;
        let (Some(local), Some(remote)) = (peer.local, peer.remote) else {
            return Err(CommandError::NoAddress);
        };
        let local = self.moved.filter(|(from, _)| *from == local).map_or(local, |(_, to)| to);
        #[cfg(feature = "store")]
        if matches!(peer.auth.remote, crate::config::RemoteAuth::Store)
            || matches!(peer.auth.local, crate::config::LocalAuth::Store)
        {
            return Err(CommandError::NoAddress);
        }
        let group = proposal::first_ike_group(peer.proposals, &Implemented::of::<P>())
            .ok_or(CommandError::NothingToOffer)?;
        if self.free_sas.is_empty() || self.buffers.free() < 2 {
            return Err(CommandError::NoRoom);
        }
        let sa = self.new_sa(env, true).ok_or(CommandError::NoRoom)?;
        let Some(number) = self.begin_handshake(sa, true) else {
            self.release_sa(sa);
            return Err(CommandError::NoRoom);
        };
        let path = Path::new(
            Endpoint::new(local, self.config.ports.ike),
            Endpoint::new(remote, peer.ports.ike),
        );
        if let Some(slot) = self.sa(sa) {
            slot.peer = config.peer;
            slot.path = path;
            slot.replaces = replaces;
            slot.heir = replaces.is_some();
            slot.ours = number.saturating_add(1);
        }
        self.file_sa(sa, 0);
        if let Some((x, handshake)) = self.contexts.handshake(number) {
            x.path = path;
            x.group = group;
            env.rng.fill_bytes(&mut x.nonce);
            handshake.child = config;
        }
        self.set_packet(self.place_of_handshake(number), packet);
        self.queue_job(number, Work::Generate);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// The key exchange is begun: sends the request.
    pub(crate) fn sa_init_request(&mut self, env: &mut Env<'_>, number: u32, public: &[u8]) {
        let Some(buffer) = self.buffers.take() else {
            return self.handshake_failed(env, number, Failure::NoRoom);
        };
        match self.write_request(number, Public::Fresh(public), buffer) {
            Ok(()) => self.send_request(env, number),
            Err(_) => self.handshake_failed(env, number, Failure::NoRoom),
        }
    }

    /// Writes the request into `buffer`, which replaces the last one.
    fn write_request(
        &mut self,
        number: u32,
        public: Public<'_>,
        mut buffer: BufferId,
    ) -> Result<(), NoRoom> {
        let written = self.try_write_request(number, public, buffer);
        match written {
            Ok(len) => {
                self.buffers.set_len(buffer, len);
                if let Some((_, handshake)) = self.contexts.handshake(number) {
                    core::mem::swap(&mut handshake.request, &mut buffer);
                }
                self.buffers.release(&mut buffer);
                Ok(())
            }
            Err(e) => {
                self.buffers.release(&mut buffer);
                Err(e)
            }
        }
    }

    fn try_write_request(
        &mut self,
        number: u32,
        public: Public<'_>,
        buffer: BufferId,
    ) -> Result<usize, NoRoom> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(NoRoom)?;
        let peer = self.config.peers.get(usize::from(handshake.child.peer)).ok_or(NoRoom)?;
        let spi_i = self.sas.get(x.sa as usize).ok_or(NoRoom)?.sa.spi_i;
        let (old, new) = match public {
            Public::Fresh(_) => (&[][..], self.buffers.bytes_mut(buffer)),
            Public::OfLastRequest => self.buffers.pair(handshake.request, buffer).ok_or(NoRoom)?,
        };
        let public = match public {
            Public::Fresh(public) => public,
            Public::OfLastRequest => own_public(old).ok_or(NoRoom)?,
        };
        let header = Header::new(spi_i, 0, ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
        let fragments = fragment::is_wanted(peer, self.assembly);
        let mut w = MessageWriter::new(new, &header)?;
        if handshake.cookie_len > 0 {
            // RFC 7296 section 2.6: the cookie comes first, all else stays the same.
            w.notify(&Notify::new(NotifyType::COOKIE, handshake.cookie()))?;
        }
        w.sa(|sa| proposal::offer_ike(sa, peer.proposals, &Implemented::of::<P>(), &[]))?;
        let offer = Offer {
            group: x.group,
            public,
            nonce: &x.nonce,
            path: x.path,
            hide: peer.force_encapsulation,
        };
        offer.write::<P>(&mut w, spi_i, 0)?;
        if fragments {
            w.notify(&FRAGMENTATION_SUPPORTED)?;
        }
        proof::write_hashes(&mut w, core::iter::once(peer))?;
        if peer.ppk.is_some() {
            w.notify(&Notify::new(NotifyType::USE_PPK, &[]))?;
        }
        if proposal::offers_additional(peer.proposals, &Implemented::of::<P>()) {
            w.notify(&Notify::new(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, &[]))?;
        }
        w.finish()
    }

    /// An answer to our request, of which nobody knows yet whether it is the peer's.
    pub(crate) fn sa_init_response(
        &mut self,
        env: &mut Env<'_>,
        path: Path,
        message: &Message<'_>,
    ) -> Result<(), DatagramError> {
        let header = &message.header;
        if header.from_initiator() || header.message_id != 0 {
            return Err(DatagramError::Unexpected);
        }
        let sa = self.larval_by_spi(header.initiator_spi).ok_or(DatagramError::UnknownSpi)?;
        let context = self.sa(sa).and_then(|sa| sa.ours.checked_sub(1));
        let number = context.ok_or(DatagramError::Stale)?;
        let collected = message.collect()?;
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        if path.remote.address != x.path.remote.address {
            return Err(DatagramError::Unexpected);
        }
        match (x.kind, x.stage) {
            (Kind::SaInit, Stage::Response) => {}
            (Kind::SaInit, Stage::Job)
            | (Kind::Auth | Kind::Intermediate, Stage::Job | Stage::Response) => {
                // Another answer, while we try the first: kept, in case that one was forged.
                let known = [handshake.response, handshake.alternative];
                if known.iter().any(|id| self.buffers.bytes(*id) == message.bytes()) {
                    return Err(DatagramError::Stale);
                }
                handshake.disturbed = true;
                if collected.sa.is_none() || !handshake.alternative.is_none() {
                    return Err(DatagramError::Stale);
                }
                handshake.alternative =
                    self.buffers.store(message.bytes()).ok_or(DatagramError::NoRoom)?;
                if !x.failure.is_nothing() {
                    // The first has led nowhere already.
                    self.give_up_after(env, number, Duration::ZERO);
                }
                return Ok(());
            }
            _ => return Err(DatagramError::Stale),
        }
        if let Some(cookie) = collected.notify(NotifyType::COOKIE) {
            return self.sa_init_cookie(env, number, cookie.data);
        }
        if let Some(notify) = collected.notify(NotifyType::INVALID_KE_PAYLOAD) {
            let group = bytes::Reader::new(notify.data).u16().map(Group);
            return self.sa_init_other_group(env, number, group.ok_or(DatagramError::Unexpected)?);
        }
        if let Some(error) = collected.error() {
            handshake.hint = Some(error.kind);
            handshake.disturbed = true;
            return Err(DatagramError::Refused);
        }
        let mut old = core::mem::replace(&mut handshake.response, BufferId::NONE);
        self.buffers.release(&mut old);
        let stored = self.buffers.store(message.bytes()).ok_or(DatagramError::NoRoom)?;
        if let Some((_, handshake)) = self.contexts.handshake(number) {
            handshake.response = stored;
        }
        self.sa_init_consider(env, number)
    }

    fn larval_by_spi(&self, spi_i: u64) -> Option<u32> {
        // The responder's SPI is not known before its answer: any is taken as that of a larval SA.
        let number = self.sa_by_own_spi(spi_i)?;
        let sa = &self.sas.get(number as usize)?.sa;
        (sa.state == SaState::Larval && sa.initiator).then_some(number)
    }

    fn sa_init_cookie(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        cookie: &[u8],
    ) -> Result<(), DatagramError> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        if cookie == handshake.cookie() {
            return Err(DatagramError::Stale);
        }
        if cookie.is_empty() || x.retries >= MAX_RETRIES {
            return Err(DatagramError::Unexpected);
        }
        bytes::copy_prefix(&mut handshake.cookie, cookie).ok_or(DatagramError::Unexpected)?;
        handshake.cookie_len = cookie.len();
        x.retries = x.retries.saturating_add(1);
        handshake.disturbed = true;
        let buffer = self.buffers.take().ok_or(DatagramError::NoRoom)?;
        self.write_request(number, Public::OfLastRequest, buffer)
            .map_err(|_| DatagramError::NoRoom)?;
        self.send_request(env, number);
        Ok(())
    }

    fn sa_init_other_group(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        group: Group,
    ) -> Result<(), DatagramError> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        let peer = self.config.peers.get(usize::from(handshake.child.peer));
        let allowed = peer.is_some_and(|peer| {
            proposal::allows_ike_group(peer.proposals, &Implemented::of::<P>(), group)
        });
        if !allowed || group == x.group || x.retries >= MAX_RETRIES {
            handshake.hint = Some(NotifyType::INVALID_KE_PAYLOAD);
            handshake.disturbed = true;
            return Err(DatagramError::Refused);
        }
        x.retries = x.retries.saturating_add(1);
        x.group = group;
        x.kx = Maybe::Nothing;
        handshake.disturbed = true;
        self.queue_job(number, Work::Generate);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// Begins to follow the answer that was stored.
    pub(crate) fn sa_init_consider(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
    ) -> Result<(), DatagramError> {
        let considered = self.try_sa_init_consider(number);
        match considered {
            Ok(()) => {
                self.queue_job(number, Work::Agree);
                self.give_up_after(env, number, CALLER_TIMEOUT);
                Ok(())
            }
            Err(e) => {
                if let Some((_, handshake)) = self.contexts.handshake(number) {
                    handshake.unusable |= e == DatagramError::Unexpected;
                    let mut response = core::mem::replace(&mut handshake.response, BufferId::NONE);
                    self.buffers.release(&mut response);
                }
                Err(e)
            }
        }
    }

    fn try_sa_init_consider(&mut self, number: u32) -> Result<(), DatagramError> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        let message = Message::parse(self.buffers.bytes(handshake.response))?;
        let collected = message.collect()?;
        let (Some(sa_payload), Some(ke), Some(_)) = (collected.sa, collected.ke, collected.nonce)
        else {
            return Err(DatagramError::Unexpected);
        };
        let peer = self.config.peers.get(usize::from(handshake.child.peer));
        let peer = peer.ok_or(DatagramError::Stale)?;
        // RFC 7296 section 2.7: exactly one proposal, and nothing that we did not offer.
        let choice =
            proposal::accept_ike(&sa_payload, peer.proposals, &implemented::<P>(&collected))
                .ok_or(DatagramError::Unexpected)?;
        let spi_r = message.header.responder_spi;
        if choice.group != x.group || ke.group != x.group || spi_r == 0 {
            return Err(DatagramError::Unexpected);
        }
        if x.group.answer_len() != Some(ke.data.len()) {
            return Err(DatagramError::Unexpected); // a forged answer costs no key exchange
        }
        if peer.ppk.is_some_and(|ppk| ppk.required)
            && collected.notify(NotifyType::USE_PPK).is_none()
        {
            // Nobody vouches for this answer: another one may come.
            handshake.hint = Some(NotifyType::USE_PPK);
            handshake.disturbed = true;
            return Err(DatagramError::Refused);
        }
        let status = nat::detect::<P>(&collected, message.header.initiator_spi, spi_r, &x.path);
        let sa = self.sas.get_mut(x.sa as usize).map(|s| &mut s.sa).ok_or(DatagramError::Stale)?;
        sa.spi_r = spi_r;
        sa.choice = choice;
        sa.nat_local = status.local_behind;
        sa.nat_remote = status.remote_behind;
        sa.proven = x.path.remote.address;
        sa.fragments = fragment::is_wanted(peer, self.assembly)
            && collected.notify(FRAGMENTATION_SUPPORTED.kind).is_some();
        Ok(())
    }

    /// The shared secret is known: derives the keys, and goes on to IKE_AUTH.
    pub(crate) fn sa_init_agreed(&mut self, env: &mut Env<'_>, number: u32, secret: &[u8]) {
        if self.derive_initial_keys(number, secret).is_err() {
            return self.handshake_failed(env, number, Failure::Crypto);
        }
        self.intermediate_next(env, number);
    }

    // ---- responder ----

    /// Somebody begins.
    pub(crate) fn sa_init_received(
        &mut self,
        env: &mut Env<'_>,
        path: Path,
        message: &Message<'_>,
    ) -> Result<(), DatagramError> {
        let header = &message.header;
        if !header.from_initiator() || header.message_id != 0 || header.responder_spi != 0 {
            return Err(DatagramError::Unexpected);
        }
        if message.bytes().len() > self.buffers.buffer_len() {
            // It could not be kept: no work is spent on it.
            return Err(DatagramError::NoRoom);
        }
        let spi = header.initiator_spi.to_be_bytes();
        let (address, port) = (address_bytes(path.remote.address), path.remote.port.to_be_bytes());
        let hash = self.half_open.hash(&[&address, &port, &spi]).max(1);
        if let Some(number) = self.half_open_with(hash, path, message) {
            return self.sa_init_again(number);
        }
        let collected = message.collect()?;
        let (Some(offer), Some(ke), Some(nonce)) = (collected.sa, collected.ke, collected.nonce)
        else {
            return Err(DatagramError::Unexpected);
        };
        let Some((known, _)) = self.directory.at_v2(path).next() else {
            self.refuse(None, None, path, Failure::UnknownPeer);
            return Err(DatagramError::UnknownPeer);
        };
        let source = self.source_of(path.remote.address);
        // One source may have half of what there is for such. A part of it is for who returns a cookie, whatever others
        // send in its name.
        let most = PER_SOURCE.min(self.half_open_limit().div_ceil(2));
        let unproven = UNPROVEN_PER_SOURCE.min(most / 2);
        let proven = most.saturating_sub(unproven);
        let is_there =
            self.asks_for_cookies() || self.half_open_from(source, false, unproven) >= unproven;
        if is_there {
            self.cookies.rotate(env.now, env.rng);
            let presented = collected.notify(NotifyType::COOKIE).map(|n| n.data);
            let good = presented.is_some_and(|cookie| {
                self.cookies.verify::<P>(header.initiator_spi, nonce, path.remote.address, cookie)
            });
            if !good {
                let cookie = self
                    .cookies
                    .make::<P>(header.initiator_spi, nonce, path.remote.address)
                    .map_err(|_| DatagramError::Crypto)?;
                self.reply(header, path, &Notify::new(NotifyType::COOKIE, cookie.as_ref()));
                return Err(DatagramError::Challenged);
            }
        }
        let implemented = implemented::<P>(&collected);
        let chosen = self.directory.at_v2(path).find_map(|(index, peer)| {
            let chosen = proposal::choose_ike(&offer, peer.proposals, &implemented, Some(ke.group));
            chosen.map(|c| (index, c))
        });
        let Some((index, (_, choice, _))) = chosen else {
            let offered = proposal::offer_of(&offer);
            self.refuse(Some(known), None, path, Failure::NoProposal { offered });
            self.reply(header, path, &Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, &[]));
            return Err(DatagramError::Refused);
        };
        if choice.group != ke.group {
            // RFC 7296 section 1.2: the initiator guessed another group than we choose.
            let group = choice.group.0.to_be_bytes();
            self.reply(header, path, &Notify::new(NotifyType::INVALID_KE_PAYLOAD, &group));
            return Err(DatagramError::Challenged);
        }
        if choice.group.public_len() != Some(ke.data.len()) {
            return Err(DatagramError::Unexpected);
        }
        // Two for the messages, and two for what is established; and one with which those before it can go on.
        let needed = if self.half_open_count == 0 { 4 } else { 5 };
        if (is_there && self.half_open_from(source, true, proven) >= proven)
            || self.buffers.free() < needed
            || self.free_sas.is_empty()
        {
            return Err(DatagramError::NoRoom);
        }
        let sa = self.new_sa(env, false).ok_or(DatagramError::NoRoom)?;
        let Some(number) = self.begin_handshake(sa, false) else {
            self.release_sa(sa);
            return Err(DatagramError::NoRoom);
        };
        let request = self.buffers.store(message.bytes());
        let response = self.buffers.take();
        if let Some((x, handshake)) = self.contexts.handshake(number) {
            x.path = path;
            x.group = choice.group;
            env.rng.fill_bytes(&mut x.nonce);
            handshake.request = request.unwrap_or_default();
            handshake.response = response.unwrap_or_default();
            handshake.hash = hash;
            handshake.source = source;
            handshake.is_there = is_there;
        }
        self.half_open.insert(hash, number);
        self.sources.insert(source, number);
        self.half_open_count = self.half_open_count.saturating_add(1);
        if let Some(slot) = self.sa(sa) {
            slot.spi_i = header.initiator_spi;
            slot.peer = index;
            slot.path = path;
            slot.choice = choice;
            slot.theirs = number.saturating_add(1);
        }
        if request.is_none() {
            // Longer than a buffer.
            self.end_exchange(env, number);
            self.release_sa(sa);
            return Err(DatagramError::NoRoom);
        }
        self.queue_job(number, Work::Respond);
        self.give_up_after(env, number, HANDSHAKE_TIMEOUT);
        Ok(())
    }

    /// Names a source: an address, or all those of IPv6 that begin with the same 64 bits, since one host can have them all.
    pub(crate) fn source_of(&self, address: IpAddr) -> u64 {
        match address {
            IpAddr::V4(address) => self.sources.hash(&[&address.octets()]),
            IpAddr::V6(address) => {
                let network = address.to_bits().wrapping_shr(64);
                self.sources.hash(&[&network.to_be_bytes()])
            }
        }
    }

    /// How many half-open exchanges one source has, those that have returned a cookie or the others; counts up to `most`.
    pub(crate) fn half_open_from(&self, source: u64, is_there: bool, most: usize) -> usize {
        let of_source = |number: &u32| {
            let slot = self.contexts.handshakes.get(*number as usize);
            slot.is_some_and(|s| s.handshake.source == source && s.handshake.is_there == is_there)
        };
        self.sources.find(source).filter(of_source).take(most).count()
    }

    /// Whether a newcomer must show first that it is where it says (RFC 7296 section 2.6): before something gets scarce.
    fn asks_for_cookies(&self) -> bool {
        let threshold = self.config.cookie_threshold.min(self.half_open_limit() / 2);
        let last_sa = self.free_sas.len() < 2 && self.sas.len() > 1;
        let buffers = self.buffers.free() < self.buffers.count() / 2;
        self.half_open_count >= threshold || last_sa || buffers
    }

    /// The handshake that this very request began. Another request with the same SPI begins another one: one of the two
    /// may be forged, and nobody knows which.
    fn half_open_with(&self, hash: u64, path: Path, message: &Message<'_>) -> Option<u32> {
        self.half_open.find(hash).find(|number| {
            let slot = self.contexts.handshakes.get(*number as usize);
            slot.is_some_and(|slot| {
                slot.slot.exchange.path.remote == path.remote
                    && self.buffers.bytes(slot.handshake.request) == message.bytes()
            })
        })
    }

    /// The same request again gets the same response again.
    fn sa_init_again(&mut self, number: u32) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        match (x.kind, x.stage) {
            (Kind::SaInit, Stage::Answered) => {
                self.transmits.push(number);
                Ok(())
            }
            (Kind::SaInit, _) => Err(DatagramError::Busy),
            _ => Err(DatagramError::Stale),
        }
    }

    /// The shared secret is known: derives the keys, and answers.
    pub(crate) fn sa_init_respond(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        secret: &[u8],
        public: &[u8],
    ) {
        let written = self.write_response(number, public);
        let derived = written.and_then(|()| self.derive_initial_keys(number, secret));
        if derived.is_err() {
            let sa = self.contexts.get(number).map(|x| x.sa);
            self.end_exchange(env, number);
            if let Some(sa) = sa {
                self.release_larval(env, sa);
            }
            return;
        }
        if let Some(x) = self.contexts.get(number) {
            let sa = x.sa;
            if let Some(sa) = self.sa(sa) {
                sa.receive_id = 1;
            }
        }
        self.send_response(env, number, HANDSHAKE_TIMEOUT);
    }

    fn write_response(&mut self, number: u32, public: &[u8]) -> Result<(), DatagramError> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        if handshake.response.is_none() {
            handshake.response = self.buffers.take().ok_or(DatagramError::NoRoom)?;
        }
        let sa = self.sas.get_mut(x.sa as usize).map(|s| &mut s.sa).ok_or(DatagramError::Stale)?;
        let path = x.path;
        let here = || self.directory.at_v2(path).map(|(_, peer)| peer);
        let peer = self.config.peers.get(usize::from(sa.peer)).ok_or(DatagramError::Stale)?;
        let pair = self.buffers.pair(handshake.request, handshake.response);
        let (request, response) = pair.ok_or(DatagramError::NoRoom)?;
        let message = Message::parse(request)?;
        let collected = message.collect()?;
        let offer = collected.sa.ok_or(DatagramError::Unexpected)?;
        let (proposed, _, _) = proposal::choose_ike(
            &offer,
            peer.proposals,
            &implemented::<P>(&collected),
            Some(sa.choice.group),
        )
        .ok_or(DatagramError::Unexpected)?;
        let status = nat::detect::<P>(&collected, sa.spi_i, 0, &x.path);
        sa.nat_local = status.local_behind;
        sa.nat_remote = status.remote_behind;
        sa.proven = x.path.remote.address;
        sa.fragments = fragment::is_wanted(peer, self.assembly)
            && collected.notify(FRAGMENTATION_SUPPORTED.kind).is_some();
        let fragments = sa.fragments;
        let header = Header::new(sa.spi_i, sa.spi_r, ExchangeType::IKE_SA_INIT, Flags::RESPONSE, 0);
        let choice = sa.choice;
        let offer = Offer {
            group: x.group,
            public,
            nonce: &x.nonce,
            path: x.path,
            hide: peer.force_encapsulation,
        };
        let (spi_i, spi_r) = (sa.spi_i, sa.spi_r);
        let len = MessageWriter::new(response, &header)
            .and_then(|mut w| {
                w.sa(|sa| proposal::answer_ike(sa, proposed, &choice, &[]))?;
                offer.write::<P>(&mut w, spi_i, spi_r)?;
                if fragments {
                    w.notify(&FRAGMENTATION_SUPPORTED)?;
                }
                if SignatureHashes::of(&collected).is_some() {
                    proof::write_hashes(&mut w, here())?;
                }
                if here().any(|peer| peer.childless) {
                    // RFC 6023 section 3
                    w.notify(&Notify::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED, &[]))?;
                }
                let ppk = here().any(|peer| peer.ppk.is_some());
                if ppk && collected.notify(NotifyType::USE_PPK).is_some() {
                    w.notify(&Notify::new(NotifyType::USE_PPK, &[]))?;
                }
                if !choice.additional.is_none() {
                    w.notify(&Notify::new(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, &[]))?;
                }
                // RFC 7296 section 1.2: the initiator is told whom we trust before it says who it is.
                proof::write_cert_req::<P>(&mut w, here())?;
                w.finish()
            })
            .map_err(|_| DatagramError::NoRoom)?;
        self.buffers.set_len(handshake.response, len);
        Ok(())
    }

    // ---- both ----

    /// SKEYSEED and all that comes of it (RFC 7296 section 2.14), from the nonces of both messages.
    fn derive_initial_keys(&mut self, number: u32, secret: &[u8]) -> Result<(), DatagramError> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        let (ni, nr) = handshake.nonces(&self.buffers).ok_or(DatagramError::Unexpected)?;
        let sa = self.sas.get_mut(x.sa as usize).map(|s| &mut s.sa).ok_or(DatagramError::Stale)?;
        let (choice, spi_i, spi_r) = (sa.choice, sa.spi_i, sa.spi_r);
        handshake.int_auth = IntAuth::EMPTY;
        sa.keys
            .v2_mut()
            .ok_or(DatagramError::Stale)?
            .derive::<P>(
                &mut handshake.auth,
                &choice,
                Skeyseed::Initial { secret },
                ni,
                nr,
                spi_i,
                spi_r,
            )
            .map_err(|_| DatagramError::Crypto)?;
        if self.config.key_log {
            sa.tell |= ike_sa::tell::KEYS;
            self.events.push(x.sa);
        }
        Ok(())
    }

    /// Answers without an exchange, and forgets.
    fn reply(&mut self, header: &Header, path: Path, notify: &Notify<'_>) {
        let Some(mut buffer) = self.buffers.take() else { return };
        let answer =
            Header::new(header.initiator_spi, 0, ExchangeType::IKE_SA_INIT, Flags::RESPONSE, 0);
        let written = MessageWriter::new(self.buffers.bytes_mut(buffer), &answer)
            .and_then(|mut w| w.notify(notify).and_then(|()| w.finish()));
        match written {
            Ok(len) => {
                self.buffers.set_len(buffer, len);
                self.store_reply(path, buffer);
            }
            Err(_) => self.buffers.release(&mut buffer),
        }
    }

    /// A job of an exchange failed, or was never done. The peer, if it waits for it, is told so with `notify`.
    pub(crate) fn job_failed(&mut self, env: &mut Env<'_>, number: u32, notify: NotifyType) {
        let Some(x) = self.contexts.get(number) else { return };
        let (kind, ours, sa, path, agreeing) =
            (x.kind, x.ours, x.sa, x.path, x.work == Work::Agree);
        if kind == Kind::Auth {
            return self.auth_job_failed(env, number);
        }
        if P::HYBRID && kind == Kind::Intermediate {
            return self.intermediate_job_failed(env, number);
        }
        match (kind, ours) {
            (Kind::SaInit, true) if agreeing => {
                // The value may be forged: the request stands, and another answer may come.
                x.work = Work::None;
                if let Some((_, handshake)) = self.contexts.handshake(number) {
                    handshake.unusable = true;
                    let mut response = core::mem::replace(&mut handshake.response, BufferId::NONE);
                    handshake.response =
                        core::mem::replace(&mut handshake.alternative, BufferId::NONE);
                    let another = !handshake.response.is_none();
                    self.buffers.release(&mut response);
                    if another && self.sa_init_consider(env, number).is_ok() {
                        return;
                    }
                }
                self.await_another(number);
            }
            (Kind::SaInit, _) => self.handshake_failed(env, number, Failure::Crypto),
            (_, false) => {
                let peer = self.sa(sa).map(|sa| sa.peer);
                self.refuse(peer, None, path, Failure::Crypto);
                self.drop_negotiation(env, number);
                let notify = Notify::new(notify, &[]);
                let exchange = self.contexts.exchange(number).map(Exchange::exchange_type);
                let exchange = exchange.unwrap_or(ExchangeType::CREATE_CHILD_SA);
                self.answer_error(env, number, exchange, &notify);
            }
            (Kind::CreateChild, true) => self.abandon_child(env, number, Failure::Crypto, agreeing),
            (_, true) => {
                self.fail(env, number, None, Failure::Crypto);
                self.retry_rekey_ike(env, sa, RETRY.saturating_mul(30));
                self.next_task(env, sa);
            }
        }
    }
}

/// Where a request's public value comes from.
#[derive(Clone, Copy)]
enum Public<'a> {
    Fresh(&'a [u8]),
    OfLastRequest,
}

/// What we can do with a peer that says this: without IKE_INTERMEDIATE, there is one key exchange (RFC 9370 section
/// 2.2.1).
fn implemented<P: Provider>(collected: &Collected<'_>) -> Implemented<'static> {
    let known = collected.notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED).is_some();
    Implemented::of::<P>().with_intermediate(known)
}

fn own_public(request: &[u8]) -> Option<&[u8]> {
    Message::parse(request).ok()?.collect().ok()?.ke.map(|ke| ke.data)
}

/// The nonce of a message in the clear.
#[inline(never)]
pub(super) fn nonce_of<'b>(buffers: &'b Buffers<'_>, message: BufferId) -> Option<&'b [u8]> {
    let collected: Collected<'b> = Message::parse(buffers.bytes(message)).ok()?.collect().ok()?;
    collected.nonce
}

impl<P: Provider> Handshake<P> {
    /// Both nonces, the initiator's first.
    #[inline(never)]
    pub(super) fn nonces<'b>(&self, buffers: &'b Buffers<'_>) -> Option<(&'b [u8], &'b [u8])> {
        Some((nonce_of(buffers, self.request)?, nonce_of(buffers, self.response)?))
    }
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}
