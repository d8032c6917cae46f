//! Quick Mode: a child, under the protection of phase 1 (RFC 2409 section 5.5).
//!
//! ```text
//!       initiator                                            responder
//! 1     {HASH(1), SA, Ni [, KE] [, IDci, IDcr]}         -->
//! 2                                                     <--  {HASH(2), SA, Nr [, KE] [, IDci, IDcr]}   receives
//! 3     {HASH(3)}                   receives, sends     -->                                            sends
//! ```
//!
//! Whoever sends a message can receive on the SA that follows from it: the responder has installed its inbound SA before
//! the second message leaves, the initiator both before the third.
//!
//! Whose traffic a child is for: `clients.rs`. What a replayed first message can do: `unconfirmed.rs`.

use core::time::Duration;

use ipsec_core::bytes;
use ipsec_core::crypto::{Group, Integ, Provider, Suite};
use ipsec_core::sa::Spi;
use ipsec_core::selector::Selectors;
use ipsec_core::time::Instant;

use super::bundle::{self, Deletion};
use super::clients::{Met, Refused, ends_of, ids_of, one_each, quick_choice};
use super::commit;
use super::keymat::Phase2Seed;
use super::message::{Arrived, Hashed};
use super::nat::{self, NatTraversal};
use super::proposal::{self, Lifetimes, QuickChoice, QuickOffer};
use super::{Kind, Step};
use crate::child_sa::{self, ChildState, Negotiation};
use crate::config::Child;
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::{ChildRef, DownReason, Failure, Traffic};
use crate::exchange::{self, Maybe, Stage, Work};
use crate::proposal::first_child_group;
use crate::selectors;
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT, RETRY, jittered};
use crate::wire::v1::{
    Collected, Encapsulation, ExchangeType, IpsecAttribute, LifeType, MAX_NONCE, MessageWriter,
    Notify, NotifyType, PayloadType, Payloads, ProtocolId,
};
use crate::wire::{self, NoRoom};

/// Marks an attribute whose value stands in the place of its length (RFC 2408 section 3.3).
const SHORT: u16 = 0x8000;

/// A nonce of the peer's.
type Nonce = heapless::Vec<u8, MAX_NONCE>;

impl<P: Provider> Ike<'_, P> {
    // ---- initiator ----

    /// Begins an exchange for a child: `number` itself, or with `rekey` one to replace it. `false` if there is no room.
    pub(super) fn quick_begin(&mut self, env: &mut Env<'_>, number: u32, rekey: bool) -> bool {
        let Some((sa, config)) = self.child(number).map(|c| (c.ike, c.config)) else {
            return false;
        };
        if rekey && self.quick_replaces(sa, number) {
            if let Some(child) = self.child(number) {
                child.want &= !child_sa::want::REKEY;
            }
            return true;
        }
        let id = self.v1_message_id(sa);
        let Some(context) = self.v1_begin_exchange(env, sa, Kind::QuickMode, true, id) else {
            return false;
        };
        let made = if rekey {
            let replaces = self.child_id(number);
            let Some(made) = self.new_child(env, sa, config) else {
                self.end_exchange(env, context);
                return false;
            };
            self.set_packet(made, self.packet_of(number));
            if let Some(child) = self.child(made) {
                child.replaces = Some(replaces);
            }
            made
        } else {
            number
        };
        if let Some(child) = self.child(number) {
            child.want &= !(child_sa::want::REKEY | child_sa::want::CREATE);
        }
        let implemented = self.implemented_for(sa);
        let group =
            self.child_config(config).and_then(|c| first_child_group(c.proposals, &implemented));
        let group = group.unwrap_or(Group::NONE);
        if let Some(x) = self.contexts.get(context) {
            env.rng.fill_bytes(&mut x.nonce);
            x.negotiation.child = made.saturating_add(1);
            x.group = group;
        }
        if group == Group::NONE {
            self.quick_request(env, context, None);
        } else {
            self.queue_job(context, Work::Generate);
            self.give_up_after(env, context, CALLER_TIMEOUT);
        }
        true
    }

    /// Whether an exchange of ours makes the child that is to replace this one.
    fn quick_replaces(&self, sa: u32, child: u32) -> bool {
        let old = Some(self.child_id(child));
        let made = |number: u32| self.children.get(number as usize).map(|slot| slot.child.replaces);
        let ours = |x: &exchange::Exchange<P>| {
            x.ours && x.negotiation.child.checked_sub(1).and_then(made) == Some(old)
        };
        self.v1_exchange(sa, ours).is_some()
    }

    /// Sends the first message.
    pub(super) fn quick_request(&mut self, env: &mut Env<'_>, number: u32, public: Option<&[u8]>) {
        let child = self.contexts.get(number).and_then(|x| x.negotiation.child.checked_sub(1));
        let reserved = child.map_or(Ok(()), |child| self.reserve_around(env, child));
        match reserved.and_then(|()| self.quick_write_first(number, public)) {
            Ok(()) => {
                if let Some(x) = self.contexts.get(number) {
                    x.v1.step = Step::Second;
                }
                self.send_request(env, number);
            }
            Err(failure) => self.quick_abandon(env, number, failure),
        }
    }

    fn quick_write_first(&mut self, number: u32, public: Option<&[u8]>) -> Result<(), Failure> {
        let x = self.contexts.get(number).ok_or(Failure::Protocol)?;
        let (sa, id, nonce, group) = (x.sa, x.message_id, x.nonce, x.group);
        let child = x.negotiation.child.checked_sub(1).ok_or(Failure::Protocol)?;
        let made = self.child(child).ok_or(Failure::Protocol)?;
        let (spi, around, config) = (made.spi_in, made.around.spi_in, made.config);
        let config = self.child_config(config).ok_or(Failure::Protocol)?;
        let offer = self.child_offer(child)?;
        let (local, remote) =
            ids_of(&offer.local, &offer.remote).ok_or(Failure::TooManySelectors)?;
        let encapsulation = self.quick_encapsulation(sa, offer.transport);
        let ends = self.nat_original(sa, true);
        let quick = QuickOffer {
            proposals: config.proposals,
            around: config.around,
            implemented: self.implemented_for(sa),
            encapsulation,
            lifetime: config.lifetime.hard,
            group,
        };
        let bundled = !config.around.is_empty();
        if bundled && !bundle::can_offer(&quick) {
            let nat = encapsulation.is_udp();
            return Err(if nat { Failure::AhBehindNat } else { Failure::NothingToOffer });
        }
        let iv = self.v1_first_iv(sa, id).map_err(|_| Failure::Crypto)?;
        if let Some(x) = self.contexts.get(number) {
            x.v1.iv = iv;
        }
        self.v1_compose(number, ExchangeType::QUICK_MODE, Some(Hashed::First), &mut |w| {
            w.sa(|sa| match bundled {
                true => bundle::offer(sa, &quick, spi, around),
                false => proposal::offer_quick(sa, &quick, spi),
            })?;
            write_rest(w, &nonce, public)?;
            w.id(&local.payload())?;
            w.id(&remote.payload())?;
            let ends = ends.filter(|_| offer.transport && encapsulation.is_udp());
            ends.map_or(Ok(()), |ends| nat::write_original(w, ends))
        })
        .map_err(|_| Failure::NoRoom)
    }

    /// How the packets of a child travel.
    fn quick_encapsulation(&self, sa: u32, transport: bool) -> Encapsulation {
        let draft = self.phase1(sa).is_some_and(|phase1| phase1.nat == NatTraversal::Draft);
        Encapsulation::of(transport, self.encapsulates(sa), draft)
    }

    /// A message of Quick Mode.
    pub(super) fn quick_received(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let id = arrived.header.message_id;
        let known = self.v1_exchange(sa, |x| {
            x.message_id == id && x.kind == exchange::Kind::V1(Kind::QuickMode)
        });
        let Some(number) = known else {
            // RFC 2409 section 5.5: a message ID is not used twice.
            let seen = self.phase1(sa).is_some_and(|phase1| phase1.has_seen(id));
            if seen || self.v1_is_reflected(sa, id) {
                return Err(DatagramError::Stale);
            }
            return self.quick_first(env, sa, arrived, datagram);
        };
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        if x.v1.received == arrived.hash {
            return self.v1_again(number);
        }
        match (x.ours, x.stage, x.v1.step) {
            (true, Stage::Response, Step::Second) => {
                self.quick_second(env, sa, number, arrived, datagram)
            }
            (true, Stage::Response, Step::Fourth) => {
                self.commit_received(env, sa, number, arrived, datagram)
            }
            (false, Stage::Response, Step::Third) => {
                self.quick_third(env, sa, number, arrived, datagram)
            }
            (_, Stage::Job | Stage::Install(_), _) => Err(DatagramError::Busy),
            _ => Err(DatagramError::Stale),
        }
    }

    /// The responder's answer.
    fn quick_second(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        number: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let (iv, nonce, group) = (x.v1.iv, x.nonce, x.group);
        let child = x.negotiation.child.checked_sub(1).ok_or(DatagramError::Stale)?;
        let opened = self.v1_open(sa, &iv, &arrived.header, datagram)?;
        let collected = opened.collect()?;
        let id = arrived.header.message_id;
        if !self.v1_is_hashed(sa, id, Hashed::Second(&nonce), &collected) {
            return Err(DatagramError::Integrity);
        }
        self.heard_from(env, sa, arrived.path);
        if let Some(x) = self.contexts.get(number) {
            x.v1.iv = opened.iv;
            x.v1.received = arrived.hash;
            x.v1.step = commit::awaited(&arrived.header);
        }
        if let Err(failure) = self.quick_take_answer(number, child, group, &collected) {
            // The responder has it already, and receives on it.
            self.quick_disown(env, number, failure);
            return Err(DatagramError::Refused);
        }
        self.v1_park(number, &opened)?;
        if group == Group::NONE {
            self.quick_agreed(env, number, None);
        } else {
            self.queue_job(number, Work::Agree);
            self.give_up_after(env, number, CALLER_TIMEOUT);
        }
        Ok(())
    }

    /// Takes what the responder chose, if it is of what we offered.
    fn quick_take_answer(
        &mut self,
        number: u32,
        child: u32,
        group: Group,
        collected: &Collected<'_>,
    ) -> Result<(), Failure> {
        let (Some(answer), Some(_)) = (collected.sa, collected.nonce) else {
            return Err(Failure::Protocol);
        };
        let offered = self.child_offer(child)?;
        let made = self.child(child).ok_or(Failure::Protocol)?;
        let (sa, config) = (made.ike, made.config);
        let config = self.child_config(config).ok_or(Failure::Protocol)?;
        let quick = QuickOffer {
            proposals: config.proposals,
            around: config.around,
            implemented: self.implemented_for(sa),
            encapsulation: self.quick_encapsulation(sa, offered.transport),
            lifetime: config.lifetime.hard,
            group,
        };
        let chosen = proposal::accept_quick(&answer, &quick).ok_or(Failure::Protocol)?;
        let public = collected.ke.map_or(0, <[u8]>::len);
        if group != Group::NONE && group.public_len() != Some(public) {
            return Err(Failure::PfsMismatch { theirs: Group::NONE, ours: group });
        }
        let mut selectors =
            Selectors { local: offered.local.clone(), remote: offered.remote.clone() };
        if let (Some(local), Some(remote)) = (collected.id, collected.second_id) {
            let (Some(ours), Some(theirs)) = (local.selector(), remote.selector()) else {
                return Err(Failure::Protocol);
            };
            // It repeats what we sent, or takes less of it; or, behind a NAT, says what it sees.
            let ends = self.sas.get(sa as usize).map(|s| s.sa.ends()).ok_or(Failure::Protocol)?;
            selectors = match ends_of(&ends, &ours, &theirs).filter(|_| offered.transport) {
                Some((ours, theirs)) => one_each(ours, theirs),
                None => one_each(ours, theirs),
            };
            if !selectors::acceptable(&selectors.local, &offered.local)
                || !selectors::acceptable(&selectors.remote, &offered.remote)
            {
                return Err(Failure::NotNarrowed { ours: Some(ours), theirs: Some(theirs) });
            }
        }
        let transport = offered.transport;
        let digest = self.quick_digest(sa, &selectors);
        if let Some(made) = self.child(child) {
            made.clients = digest;
        }
        if let Some(x) = self.contexts.get(number) {
            x.negotiation.selectors = selectors;
            // RFC 2407 section 4.6.3.1: the responder's own may be shorter; of a bundle, it says so of each.
            let said = collected.notifies().filter(|n| n.kind == NotifyType::RESPONDER_LIFETIME);
            let said = said.filter_map(|notify| Lifetimes::said(notify.data));
            x.v1.lifetime = said.fold(chosen.lifetime, Lifetimes::shorter);
        }
        self.agree_on(child, chosen.choice, chosen.spi, transport, false);
        self.agree_on_around(child, chosen.around);
        Ok(())
    }

    /// All secrets are known: writes the third message, which leaves when both SAs are installed.
    pub(super) fn quick_agreed(&mut self, env: &mut Env<'_>, number: u32, secret: Option<&[u8]>) {
        match self.quick_write_third(number, secret) {
            Ok(()) => {
                self.release_parked(number);
                self.begin_install(env, number);
            }
            Err(failure) => self.quick_disown(env, number, failure),
        }
    }

    fn quick_write_third(&mut self, number: u32, secret: Option<&[u8]>) -> Result<(), Failure> {
        let nr = self.quick_parked_nonce(number)?;
        let x = self.contexts.get(number).ok_or(Failure::Protocol)?;
        let ni = x.nonce;
        self.quick_derive(number, secret, &ni, &nr)?;
        let hashed = Hashed::Third(&ni, &nr);
        self.v1_compose(number, ExchangeType::QUICK_MODE, Some(hashed), &mut |_| Ok(()))
            .map_err(|_| Failure::NoRoom)
    }

    /// The peer has told why it refuses a child; of several under way, nobody knows which.
    pub(super) fn quick_refused(&mut self, env: &mut Env<'_>, sa: u32, kind: NotifyType) {
        let asking = self.v1_exchange(sa, |x| {
            x.kind == exchange::Kind::V1(Kind::QuickMode) && x.ours && x.v1.step == Step::Second
        });
        let Some(number) = asking else { return };
        let several = self.v1_exchange(sa, |x| {
            x.kind == exchange::Kind::V1(Kind::QuickMode)
                && x.ours
                && x.v1.step == Step::Second
                && self.contexts.exchange(number).is_some_and(|a| a.message_id != x.message_id)
        });
        if several.is_some() {
            return;
        }
        let failure = match kind {
            NotifyType::NO_PROPOSAL_CHOSEN => Failure::ProposalRefused,
            NotifyType::INVALID_ID_INFORMATION => Failure::SelectorsRefused,
            kind => Failure::Refused(wire::NotifyType(kind.0)),
        };
        self.quick_abandon(env, number, failure);
    }

    /// Our exchange came to nothing, and the peer has made nothing. What was to be replaced is rekeyed later.
    pub(super) fn quick_abandon(&mut self, env: &mut Env<'_>, number: u32, failure: Failure) {
        self.quick_over(env, number, failure, false);
    }

    /// As [`Ike::quick_abandon`], where the peer has made the child: it is told to delete it, if there is room to say so.
    pub(super) fn quick_disown(&mut self, env: &mut Env<'_>, number: u32, failure: Failure) {
        self.quick_over(env, number, failure, true);
    }

    fn quick_over(&mut self, env: &mut Env<'_>, number: u32, failure: Failure, made: bool) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, slot) = (x.sa, x.negotiation.child.checked_sub(1));
        let child = slot.and_then(|slot| self.child(slot));
        let child = child.map(|c| (c.config, c.replaces, Deletion::of(c)));
        let (config, replaces) = child.map_or((None, None), |(c, old, _)| (Some(c), old));
        self.fail(env, number, config, failure);
        // Now, since the buffers of the exchange are free, and before anything else takes them.
        if let Some((_, _, deletion)) = child.filter(|_| made) {
            let _ = self.v1_say_deleted(env, sa, deletion);
        }
        self.retry_rekey(env, replaces, RETRY.saturating_mul(30));
        self.next_task(env, sa);
    }

    // ---- responder ----

    /// The peer asks for a child.
    fn quick_first(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let message_id = arrived.header.message_id;
        let iv = self.v1_first_iv(sa, message_id)?;
        let (opened, collected) = self.v1_open_hashed(sa, &iv, &arrived.header, datagram)?;
        // HASH(1) does not cover the type of the exchange: without an offer, this is another one's message, renamed.
        if collected.sa.is_none() {
            return Err(DatagramError::Unexpected);
        }
        if !self.quick_admits(env, sa) {
            return Err(DatagramError::NoRoom);
        }
        // It may be an old message: where the peer is, and that it lives, the third one shows.
        let number = self
            .v1_begin_exchange(env, sa, Kind::QuickMode, false, message_id)
            .ok_or(DatagramError::NoRoom)?;
        if let Some(x) = self.contexts.get(number) {
            x.path = arrived.path;
            x.v1.received = arrived.hash;
            x.v1.iv = opened.iv;
            env.rng.fill_bytes(&mut x.nonce);
        }
        if let Some(phase1) = self.phase1_mut(sa) {
            phase1.note_seen(message_id);
        }
        let met = self.quick_meet(sa, &collected);
        let taken = met.and_then(|met| self.quick_take(env, sa, number, met));
        match taken {
            Ok(group) => {
                if self.v1_park(number, &opened).is_err() {
                    self.end_exchange(env, number);
                    return Err(DatagramError::NoRoom);
                }
                if group == Group::NONE {
                    self.quick_respond(env, number, None);
                } else {
                    self.queue_job(number, Work::Respond);
                    self.give_up_after(env, number, CALLER_TIMEOUT);
                }
                Ok(())
            }
            Err((kind, failure, child)) => {
                let peer = self.sa(sa).map(|sa| sa.peer);
                let child = peer.zip(child).map(|(peer, child)| ChildRef { peer, child });
                self.refuse(peer, child, arrived.path, failure);
                self.end_exchange(env, number);
                let cookies = self.v1_cookies(sa).unwrap_or_default();
                let _ = self.v1_say(env, sa, &mut |w| w.notify(&Notify::new(kind, &cookies, &[])));
                Err(DatagramError::Refused)
            }
        }
    }

    /// Takes a slot for the child that was found. Gives the group of its key exchange.
    fn quick_take(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        number: u32,
        met: Met<'_>,
    ) -> Result<Group, Refused> {
        let no_room = || (NotifyType::NO_PROPOSAL_CHOSEN, Failure::NoRoom, Some(met.child));
        let Met { child, selectors, choice, original } = met;
        let QuickChoice { choice, spi, transport, lifetime, around, .. } = choice;
        let peer = self.sa(sa).ok_or_else(no_room)?.peer;
        let config = ChildRef { peer, child };
        let digest = self.quick_digest(sa, &selectors);
        let replaces = self.quick_like(sa, config, digest);
        let replaces = replaces.map(|old| self.child_id(old));
        // New keys are no additional child.
        let renews = replaces.is_some();
        let room = self.limit_children(env, sa, renews)
            || self.quick_yields(env, sa) && self.limit_children(env, sa, renews);
        let made = room.then(|| self.new_child(env, sa, config)).flatten().ok_or_else(no_room)?;
        let like = self.child_config(config).and_then(|c| self.packet_like(c, &selectors));
        self.set_packet(made, like);
        if let Some(child) = self.child(made) {
            child.replaces = replaces;
            child.clients = digest;
        }
        self.agree_on(made, choice, spi, transport, false);
        self.agree_on_around(made, around);
        if let Some(x) = self.contexts.get(number) {
            x.negotiation.child = made.saturating_add(1);
            x.negotiation.selectors = selectors;
            x.negotiation.original = original.map_or(Maybe::Nothing, Maybe::Just);
            x.group = choice.group;
            x.v1.lifetime = lifetime;
        }
        self.reserve_around(env, made).map_err(|_| no_room())?;
        Ok(choice.group)
    }

    /// An established child of this configuration and for this traffic: one that a new one replaces.
    fn quick_like(&self, sa: u32, config: ChildRef, clients: u32) -> Option<u32> {
        let mut next = self.sas.get(sa as usize)?.sa.children;
        while let Some(number) = next.checked_sub(1) {
            let child = &self.children.get(number as usize)?.child;
            let alike = child.config == config && child.clients == clients;
            if child.state == ChildState::Established && alike {
                return Some(number);
            }
            next = child.next;
        }
        None
    }

    /// All secrets are known: writes the second message, which leaves when we can receive.
    pub(super) fn quick_respond(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        key_exchange: Option<(&[u8], &[u8])>,
    ) {
        match self.quick_write_second(number, key_exchange) {
            // The third message covers the nonce in what is parked.
            Ok(()) => self.begin_install(env, number),
            Err(failure) => {
                let Some(x) = self.contexts.get(number) else { return };
                let (sa, path) = (x.sa, x.path);
                let peer = self.sa(sa).map(|sa| sa.peer);
                self.refuse(peer, None, path, failure);
                self.end_exchange(env, number);
            }
        }
    }

    fn quick_write_second(
        &mut self,
        number: u32,
        key_exchange: Option<(&[u8], &[u8])>,
    ) -> Result<(), Failure> {
        let ni = self.quick_parked_nonce(number)?;
        let x = self.contexts.exchange(number).ok_or(Failure::Protocol)?;
        let (sa, nr, parked) = (x.sa, x.nonce, x.received);
        let child = x.negotiation.child.checked_sub(1).ok_or(Failure::Protocol)?;
        self.quick_derive(number, key_exchange.map(|(secret, _)| secret), &ni, &nr)?;
        let made = self.child(child).ok_or(Failure::Protocol)?;
        let (spi, config, transport) = (made.spi_in, made.config, made.transport);
        let around = made.around.spi_in;
        let config = self.child_config(config).ok_or(Failure::Protocol)?;
        let implemented = self.implemented_for(sa);
        let encapsulated = self.encapsulates(sa);
        let modes = (!transport, transport);
        let ends = self.nat_original(sa, false).filter(|_| transport && encapsulated);
        let hashed = Some(Hashed::Second(&ni));
        self.v1_compose_from(
            number,
            ExchangeType::QUICK_MODE,
            hashed,
            parked.buffer,
            &mut |w, text| {
                let first = PayloadType(parked.first.0);
                let asked =
                    Collected::collect(Payloads::padded(first, text)).map_err(|_| NoRoom)?;
                let offer = asked.sa.ok_or(NoRoom)?;
                let chosen = quick_choice(&offer, config, &implemented, encapsulated, modes);
                let chosen = chosen.map_err(|_| NoRoom)?;
                // The answer repeats what was chosen.
                w.sa(|sa| match &chosen.around {
                    Some(ah) => bundle::answer(sa, &chosen, ah, (spi, around)),
                    None => proposal::answer_quick(sa, &chosen, spi),
                })?;
                write_rest(w, &nr, key_exchange.map(|(_, public)| public))?;
                [asked.id, asked.second_id].iter().flatten().try_for_each(|id| w.id(id))?;
                ends.map_or(Ok(()), |ends| nat::write_original(w, ends))?;
                write_lifetime(w, &chosen, config, (spi, around))
            },
        )
        .map_err(|_| Failure::NoRoom)
    }

    /// The initiator knows that we can receive, and can do so itself.
    fn quick_third(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        number: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let (iv, nr) = (x.v1.iv, x.nonce);
        let ni = self.quick_parked_nonce(number).map_err(|_| DatagramError::Stale)?;
        let opened = self.v1_open(sa, &iv, &arrived.header, datagram)?;
        let collected = opened.collect()?;
        let id = arrived.header.message_id;
        if !self.v1_is_hashed(sa, id, Hashed::Third(&ni, &nr), &collected) {
            return Err(DatagramError::Integrity);
        }
        self.heard_from(env, sa, arrived.path);
        let node = self.context_node(number);
        if let Some(x) = self.contexts.get(number) {
            x.v1.received = arrived.hash;
            x.stage = Stage::Install(crate::event::Direction::Outbound);
            x.install_told = false;
        }
        self.events.push(node);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    // ---- both ----

    /// The caller has installed the inbound SA. As initiator, the outbound one is next; as responder, the second message
    /// can leave.
    pub(crate) fn quick_receives(&mut self, env: &mut Env<'_>, number: u32) {
        let node = self.context_node(number);
        let Some(x) = self.contexts.get(number) else { return };
        if x.ours && x.v1.step == Step::Fourth {
            self.send_request(env, number);
        } else if x.ours {
            x.stage = Stage::Install(crate::event::Direction::Outbound);
            x.install_told = false;
            self.events.push(node);
        } else {
            x.v1.step = Step::Third;
            self.send_request(env, number);
        }
    }

    /// Both SAs of a child are installed.
    pub(crate) fn quick_up(&mut self, env: &mut Env<'_>, number: u32, slot: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (ours, sa, agreed) = (x.ours, x.sa, x.v1.lifetime);
        x.negotiation = Negotiation::EMPTY;
        let Some(config) = self.child(slot).map(|c| c.config) else { return };
        let lifetime = self.child_config(config).map(|c| c.lifetime);
        let (soft, hard) = lifetime.map_or((Duration::MAX, Duration::MAX), |l| {
            // The shorter of both sides wins (RFC 2407 section 4.5.4).
            let hard = l.hard.time.min(agreed.time());
            (l.soft.time.min(super::shortened(hard)), hard)
        });
        let (rekey_at, expire_at) = (jittered(env, soft), env.now.after(hard));
        let node = self.child_node(slot);
        let Some(child) = self.child(slot) else { return };
        child.state = ChildState::Established;
        child.rekey_at = rekey_at;
        child.expire_at = expire_at;
        // Nothing acknowledges the third message, and a responder may install its SAs only then: while there is another
        // child, no packet of ours outruns it.
        let follows = ours && child.replaces.is_some();
        child.traffic = if follows { Traffic::AfterFirstPacket } else { Traffic::Now };
        child.tell |= child_sa::tell::UP;
        self.schedule_child(slot);
        self.events.push(node);
        self.phase1_follow(sa, slot);
        self.quick_leave_others(env, slot, ours);
        if ours {
            let said = self.contexts.get(number).is_some_and(|x| {
                x.stage = Stage::Answered;
                core::mem::replace(&mut x.v1.step, Step::Done) == Step::Fourth
            });
            if said {
                self.give_up_after(env, number, HANDSHAKE_TIMEOUT);
            } else {
                self.send_response(env, number, HANDSHAKE_TIMEOUT);
            }
        } else {
            self.end_exchange(env, number);
        }
        self.next_task(env, sa);
    }

    /// The children for the same traffic as that in `slot` have been replaced. Those that were before, the peer was to delete, and
    /// its Delete is lost: nobody sends on them any more, and they would stay until their lifetime is over.
    fn quick_leave_others(&mut self, env: &mut Env<'_>, slot: u32, ours: bool) {
        let Some(new) = self.child(slot) else { return };
        let (sa, config, clients, replaces) = (new.ike, new.config, new.clients, new.replaces);
        let mut next = self.sa(sa).map_or(0, |sa| sa.children);
        while let Some(number) = next.checked_sub(1) {
            let is_replaced = replaces == Some(self.child_id(number));
            let Some(child) = self.child(number) else { return };
            next = child.next;
            let alike = child.config == config && child.clients == clients || is_replaced;
            if !alike || number == slot {
                continue;
            }
            if child.state == ChildState::Established {
                self.quick_leave(env, number, ours);
            } else if child.state == ChildState::Leaving
                && child.reason == DownReason::Rekeyed
                && child.expire_at > env.now.after(RETRY)
            {
                let _ = self.v1_delete_child(env, sa, number);
            }
        }
    }

    /// A child has been replaced. Who asked for its replacement deletes it, in a moment.
    fn quick_leave(&mut self, env: &Env<'_>, number: u32, deletes: bool) {
        let Some(child) = self.child(number) else { return };
        child.state = ChildState::Leaving;
        child.reason = DownReason::Rekeyed;
        child.want = 0;
        child.rekey_at = Instant::MAX;
        if deletes {
            child.expire_at = env.now.after(RETRY);
        }
        self.schedule_child(number);
    }

    /// The caller could not install an SA, or does not say whether it did.
    pub(crate) fn quick_not_installed(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        if x.ours {
            return self.quick_disown(env, number, Failure::NotInstalled);
        }
        let (sa, path, slot) = (x.sa, x.path, x.negotiation.child.checked_sub(1));
        let outbound = x.stage == Stage::Install(crate::event::Direction::Outbound);
        let child = slot.and_then(|slot| self.child(slot));
        let child = child.map(|c| (c.config, Deletion::of(c)));
        let Some((config, deletion)) = child else { return };
        self.refuse(Some(config.peer), Some(config), path, Failure::NotInstalled);
        self.end_exchange(env, number);
        if outbound {
            let _ = self.v1_say_deleted(env, sa, deletion);
        } else {
            let cookies = self.v1_cookies(sa).unwrap_or_default();
            let _ = self.v1_say(env, sa, &mut |w| {
                w.notify(&Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, &cookies, &[]))
            });
        }
    }

    fn quick_parked_nonce(&self, number: u32) -> Result<Nonce, Failure> {
        let parked = self.v1_parked(number).ok_or(Failure::Protocol)?;
        Nonce::from_slice(parked.nonce.ok_or(Failure::Protocol)?).map_err(|_| Failure::Protocol)
    }

    /// KEYMAT = prf (SKEYID_d, [g^xy |] protocol | SPI | Ni | Nr), for each of the two SAs (RFC 2409 section 5.5).
    fn quick_derive(
        &mut self,
        number: u32,
        secret: Option<&[u8]>,
        ni: &[u8],
        nr: &[u8],
    ) -> Result<(), Failure> {
        let x = self.contexts.get(number).ok_or(Failure::Protocol)?;
        let ours = x.ours;
        let child = x.negotiation.child.checked_sub(1).ok_or(Failure::Protocol)?;
        let made = &self.children.get(child as usize).ok_or(Failure::Protocol)?.child;
        let (choice, around) = (made.choice, made.around);
        let ends = |spi_in, spi_out| {
            let (spi_in, spi_out) = (Spi::new(spi_in), Spi::new(spi_out));
            let (to_responder, to_initiator) =
                if ours { (spi_out, spi_in) } else { (spi_in, spi_out) };
            to_responder.zip(to_initiator).ok_or(Failure::Protocol)
        };
        let (to_responder, to_initiator) = ends(made.spi_in, made.spi_out)?;
        let sa = &self.sas.get(x.sa as usize).ok_or(Failure::Protocol)?.sa;
        let skeyid_d = sa.keys.v1().ok_or(Failure::Protocol)?.keys.skeyid_d();
        let seed = Phase2Seed { prf: sa.choice.prf, skeyid_d, secret, ni, nr };
        let Negotiation { keys, keys_around, .. } = &mut x.negotiation;
        if around.integ != Integ::NONE {
            let (to_responder, to_initiator) = ends(around.spi_in, around.spi_out)?;
            seed.child::<P>(keys_around, Suite::ah(around.integ), to_responder, to_initiator)
                .map_err(|_| Failure::Crypto)?;
        }
        seed.child::<P>(keys, choice.suite, to_responder, to_initiator).map_err(|_| Failure::Crypto)
    }
}

/// Nonce, and perhaps key exchange.
fn write_rest(
    w: &mut MessageWriter<'_>,
    nonce: &[u8],
    public: Option<&[u8]>,
) -> Result<(), NoRoom> {
    w.raw(PayloadType::NONCE, nonce)?;
    match public {
        Some(public) => w.raw(PayloadType::KE, public),
        None => Ok(()),
    }
}

/// Tells the initiator where our lifetime is shorter than its own (RFC 2407 section 4.6.3.1).
fn write_lifetime(
    w: &mut MessageWriter<'_>,
    chosen: &QuickChoice<'_>,
    config: &Child<'_>,
    (spi, around): (u32, u32),
) -> Result<(), NoRoom> {
    let ours = Lifetimes::of(&config.lifetime.hard);
    let agreed = ours.shorter(chosen.lifetime);
    if agreed == chosen.lifetime.shorter(Lifetimes::EMPTY) {
        return Ok(());
    }
    let mut data = [0; 24];
    let mut attributes = bytes::Writer::new(&mut data);
    for (unit, limit) in
        [(LifeType::SECONDS, agreed.seconds), (LifeType::KILOBYTES, agreed.kilobytes)]
    {
        if limit != 0 {
            let written = attributes
                .u16(IpsecAttribute::LIFE_TYPE.0 | SHORT)
                .and_then(|()| attributes.u16(unit.0))
                .and_then(|()| attributes.u16(IpsecAttribute::LIFE_DURATION.0))
                .and_then(|()| attributes.u16(4))
                .and_then(|()| attributes.u32(limit));
            written.ok_or(NoRoom)?;
        }
    }
    let kind = NotifyType::RESPONDER_LIFETIME;
    let around = chosen.around.map(|_| (ProtocolId::AH, around));
    let inside = (proposal::protocol_of(chosen.choice.suite.is_ah()), spi);
    [Some(inside), around].into_iter().flatten().try_for_each(|(protocol, spi)| {
        w.notify(&Notify::with_spi(protocol, &spi.to_be_bytes(), kind, attributes.written()))
    })
}
