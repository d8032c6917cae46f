//! The Transaction exchange: two messages that carry attributes, of XAUTH and of Mode Config
//! (draft-dukes-ike-mode-cfg-02 section 3).
//!
//! ```text
//!       whoever asks, or tells                     the other
//! 1     {HASH, ATTR(REQUEST or SET)}         -->
//! 2                                          <--   {HASH, ATTR(REPLY or ACK)}
//! ```
//!
//! Between phase 1 and Quick Mode, these exchanges follow each other as [`Access`] says. Until the last one is over, the SA is
//! not up, and nothing but them, and what ends the SA, is acted on.

use core::time::Duration;

use ipsec_core::crypto::Provider;

use super::Kind;
use super::keymat::Iv;
use super::message::{Arrived, Hashed};
use crate::config::{Ask, Xauth};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::{ChildRef, Failure};
use crate::exchange::{self, Stage};
use crate::ike_sa::SaState;
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT, RETRY};
use crate::v2::configuration::CONFIGURATION;
use crate::wire::v1::{
    AttributesPayload, AttributesWriter, ConfigAttribute, ConfigType, ExchangeType, ProtocolId,
};
use crate::wire::{self, NoRoom};

/// What an SA of IKEv1 waits for between phase 1 and its first Quick Mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Access {
    /// Nothing: it is up, or phase 1 is not over.
    Done = 0,
    /// As server: the user's name and password.
    AskingUser,
    /// As server: that the user takes notice of being let in.
    AcceptingUser,
    /// As server: that the user takes notice of being refused.
    RefusingUser,
    /// As server: that the peer takes what it is given.
    GivingConfig,
    /// As client: that the server asks for our name and password.
    AwaitingUser,
    /// As client: what the server thinks of them.
    AwaitingVerdict,
    /// As client: what we asked for.
    AskingConfig,
    /// As client: what the server gives.
    AwaitingConfig,
    /// As client: the end, since we have been refused.
    Refused,
}

impl Access {
    /// What it is about, for whoever is told that nothing came.
    const fn failure(self, tries: u8) -> Failure {
        match self {
            Self::AwaitingUser => Failure::UserNotAsked,
            Self::AwaitingConfig => Failure::NotConfigured,
            _ => Failure::PeerSilent {
                exchange: wire::ExchangeType(ExchangeType::TRANSACTION.0),
                tries,
                nat_port: false,
                hint: None,
            },
        }
    }
}

/// A message that turned out to be the peer's.
#[derive(Clone, Copy)]
pub(super) struct Transacted<'a> {
    /// Its exchange, if that is known.
    pub(super) number: Option<u32>,
    pub(super) arrived: &'a Arrived,
    /// The chain's next initialization vector.
    pub(super) iv: Iv,
    pub(super) attributes: AttributesPayload<'a>,
}

/// Writes the attributes of a message.
pub(super) type Fill<'f> = &'f mut dyn FnMut(&mut AttributesWriter<'_, '_>) -> Result<(), NoRoom>;

impl<P: Provider> Ike<'_, P> {
    // ---- the order of things ----

    /// What an SA waits for.
    pub(super) fn access(&self, sa: u32) -> Access {
        self.phase1(sa).filter(|_| CONFIGURATION).map_or(Access::Done, |phase1| phase1.access)
    }

    /// Whether phase 1 is over, and the SA is not up for all that.
    pub(super) fn awaits_access(&self, sa: u32) -> bool {
        self.access(sa) != Access::Done
    }

    pub(super) fn set_access(&mut self, sa: u32, access: Access) {
        if let Some(phase1) = self.phase1_mut(sa) {
            phase1.access = access;
        }
    }

    /// Waits for a message of the peer's, for so long.
    pub(super) fn access_await(
        &mut self,
        env: &Env<'_>,
        sa: u32,
        access: Access,
        patience: Duration,
    ) {
        self.set_access(sa, access);
        self.deadlines.set(sa, Some(env.now.after(patience)));
    }

    /// Phase 1 is over, with this identity: begins what has to come before the SA is up.
    pub(super) fn access_begin(&mut self, env: &mut Env<'_>, sa: u32, identity: u64) {
        let Some(v1) = self.peer_of(sa).and_then(|peer| peer.versions.v1()) else { return };
        match v1.user() {
            Xauth::None => {
                self.file_sa(sa, identity);
                self.access_config(env, sa);
            }
            Xauth::User(_) => {
                self.file_sa(sa, identity);
                self.access_await(env, sa, Access::AwaitingUser, CALLER_TIMEOUT);
            }
            Xauth::Users(_) | Xauth::Ask => {
                // Whoever it is, it is a user, whom it has not named yet.
                self.file_sa(sa, 0);
                self.user_ask(env, sa);
            }
        }
    }

    /// The user, if there is one, is accepted: the addresses.
    pub(super) fn access_config(&mut self, env: &mut Env<'_>, sa: u32) {
        let Some(peer) = self.peer_of(sa) else { return };
        let push = peer.versions.v1().is_some_and(|v1| v1.pushes());
        if peer.is_assigned() && push {
            self.config_give(env, sa);
        } else if peer.asks_for() == Ask::NOTHING {
            self.access_done(env, sa);
        } else if push {
            self.access_await(env, sa, Access::AwaitingConfig, CALLER_TIMEOUT);
        } else {
            self.config_ask(env, sa);
        }
    }

    /// Nothing is left to do: the SA is up.
    pub(super) fn access_done(&mut self, env: &mut Env<'_>, sa: u32) {
        self.set_access(sa, Access::Done);
        self.phase1_stands(env, sa);
    }

    /// Ends an SA that has not come up, and tells the caller why, and the peer that it is over.
    pub(super) fn access_failed(&mut self, env: &mut Env<'_>, sa: u32, failure: Failure) {
        self.access_tell(env, sa, failure);
        self.access_over(env, sa);
    }

    /// Tells the caller why an SA does not come up.
    pub(super) fn access_tell(&mut self, env: &mut Env<'_>, sa: u32, failure: Failure) {
        let Some(slot) = self.sa(sa) else { return };
        let (peer, path, initiator) = (slot.peer, slot.path, slot.initiator);
        let wanted = slot.children.checked_sub(1);
        let child = wanted.and_then(|child| self.child(child)).map(|child| child.config);
        let told = if initiator {
            self.begin_exchange(sa, exchange::Kind::V1(Kind::Transaction), true)
        } else {
            None
        };
        let Some(number) = told else { return self.refuse(Some(peer), child, path, failure) };
        // One that only replaces another is wanted by all of its children.
        let child = Some(child.unwrap_or(ChildRef { peer, child: 0 }));
        if let Some(x) = self.contexts.get(number) {
            x.path = path;
        }
        self.fail(env, number, child, failure);
    }

    /// Ends an SA that has not come up, and tells the peer that it is over.
    pub(crate) fn access_over(&mut self, env: &mut Env<'_>, sa: u32) {
        let Some((spi_i, spi_r)) = self.sa(sa).map(|sa| (sa.spi_i, sa.spi_r)) else { return };
        let _ = self.v1_say(env, sa, &mut |w| w.delete_isakmp(spi_i, spi_r));
        self.access_release(env, sa);
    }

    fn access_release(&mut self, env: &mut Env<'_>, sa: u32) {
        self.v1_end_exchanges(env, sa);
        self.release_larval(env, sa);
    }

    /// The peer has not said what we wait for.
    pub(crate) fn access_timeout(&mut self, env: &mut Env<'_>, sa: u32) {
        match self.access(sa) {
            Access::Done => {}
            Access::Refused => self.access_release(env, sa),
            access => self.access_failed(env, sa, access.failure(1)),
        }
    }

    /// Nobody has answered our message.
    pub(super) fn transaction_silent(&mut self, env: &mut Env<'_>, number: u32, tries: u8) {
        let Some(sa) = self.contexts.exchange(number).map(|x| x.sa) else { return };
        match self.access(sa) {
            Access::Done => self.end_exchange(env, number),
            Access::RefusingUser => self.access_over(env, sa),
            access => self.access_failed(env, sa, access.failure(tries)),
        }
    }

    /// The peer has gone on, and so has all that we said before: that is not kept any longer.
    fn transactions_over(&mut self, env: &mut Env<'_>, sa: u32, except: Option<u32>) {
        let kept = except.and_then(|number| Some(self.contexts.exchange(number)?.message_id));
        let over = |x: &exchange::Exchange<P>| {
            let begun = matches!(
                x.kind,
                exchange::Kind::V1(Kind::Transaction | Kind::MainMode | Kind::Aggressive)
            );
            begun && x.stage == Stage::Answered && Some(x.message_id) != kept
        };
        while let Some(number) = self.v1_exchange(sa, over) {
            self.end_exchange(env, number);
        }
    }

    // ---- receiving ----

    /// A message of a Transaction exchange.
    #[inline(never)]
    pub(super) fn transaction_received(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let id = arrived.header.message_id;
        let number = self.v1_exchange(sa, |x| {
            x.message_id == id && x.kind == exchange::Kind::V1(Kind::Transaction)
        });
        let known = number.and_then(|number| self.contexts.exchange(number));
        if let Some((number, x)) = number.zip(known) {
            if x.v1.received == arrived.hash {
                return self.v1_again(number);
            }
            if x.stage == Stage::Job {
                return Err(DatagramError::Busy);
            }
        }
        if number.is_none() && self.v1_is_reflected(sa, id) {
            return Err(DatagramError::Stale);
        }
        // Some go on with the message ID, and so with the chain, of the exchange before.
        let iv = known.map_or_else(|| self.v1_first_iv(sa, id), |x| Ok(x.v1.iv))?;
        let asked = known.is_some_and(|x| x.ours && x.stage == Stage::Response);
        let (opened, collected) = self.v1_open_hashed(sa, &iv, &arrived.header, datagram)?;
        if asked {
            self.heard_from(env, sa, arrived.path);
        } else if number.is_none() && self.phase1(sa).is_some_and(|phase1| phase1.has_seen(id)) {
            // It has been answered: an old message. So other requests do not show either that the peer lives, or where.
            return Err(DatagramError::Stale);
        }
        let attributes = collected.attributes.ok_or(DatagramError::Unexpected)?;
        self.transactions_over(env, sa, number);
        let message = Transacted { number, arrived, iv: opened.iv, attributes };
        let says = |kind: ConfigAttribute| attributes.value(kind).is_some();
        match (attributes.kind, number) {
            (ConfigType::REQUEST, _) if is_of_xauth(&attributes) => {
                self.user_asked(env, sa, &message)
            }
            (ConfigType::REQUEST, _) => self.config_asked(env, sa, &message),
            (ConfigType::SET, _) if says(ConfigAttribute::XAUTH_STATUS) => {
                self.user_judged(env, sa, &message)
            }
            (ConfigType::SET, _) => self.config_told(env, sa, &message),
            (ConfigType::REPLY, Some(number)) if asked => match self.access(sa) {
                Access::AskingUser => self.user_said(env, number, &message, &opened),
                Access::AskingConfig => {
                    self.end_exchange(env, number);
                    self.config_given(env, sa, &attributes);
                    Ok(())
                }
                _ => Err(DatagramError::Unexpected),
            },
            (ConfigType::ACK, Some(number)) if asked => {
                self.transaction_noted(env, sa, number);
                Ok(())
            }
            _ => Err(DatagramError::Unexpected),
        }
    }

    /// The peer has taken notice of what we told it.
    fn transaction_noted(&mut self, env: &mut Env<'_>, sa: u32, number: u32) {
        self.end_exchange(env, number);
        match self.access(sa) {
            Access::AcceptingUser => self.access_config(env, sa),
            Access::RefusingUser => self.access_over(env, sa),
            Access::GivingConfig => self.access_done(env, sa),
            _ => {}
        }
    }

    /// Something of an Informational exchange, before the SA is up: the peer may end it.
    pub(super) fn access_informed(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let id = arrived.header.message_id;
        if self.v1_is_reflected(sa, id) {
            return Err(DatagramError::Stale);
        }
        let iv = self.v1_first_iv(sa, id)?;
        let (_, collected) = self.v1_open_hashed(sa, &iv, &arrived.header, datagram)?;
        let slot = self.sa(sa).ok_or(DatagramError::Stale)?;
        let named = (slot.spi_i, slot.spi_r);
        let mut isakmp = collected.deletes().filter(|d| d.protocol == ProtocolId::ISAKMP);
        let deleted = isakmp.any(|d| d.cookies().any(|cookies| cookies == named));
        let error = collected.error().map(|e| Failure::Refused(wire::NotifyType(e.kind.0)));
        if !deleted && error.is_none() {
            return Ok(());
        }
        match self.access(sa) {
            Access::Refused | Access::RefusingUser => {}
            // Some refuse a user, or one who asks for an address, in no other way.
            Access::AwaitingVerdict => self.access_tell(env, sa, Failure::UserRefused),
            Access::AskingConfig | Access::AwaitingConfig if error.is_none() => {
                self.access_tell(env, sa, Failure::NotConfigured);
            }
            _ => self.access_tell(env, sa, error.unwrap_or(Failure::DeletedMeanwhile)),
        }
        self.access_release(env, sa);
        Ok(())
    }

    // ---- sending ----

    /// Begins an exchange of ours, and waits as `access` says.
    pub(super) fn transaction_begin(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        access: Access,
        kind: ConfigType,
        fill: Fill<'_>,
    ) {
        self.set_access(sa, access);
        self.deadlines.set(sa, None);
        let id = self.v1_message_id(sa);
        let Some(number) = self.v1_begin_exchange(env, sa, Kind::Transaction, true, id) else {
            return self.access_failed(env, sa, Failure::NoRoom);
        };
        let written = self.v1_first_iv(sa, id).and_then(|iv| {
            self.contexts.get(number).ok_or(DatagramError::Stale)?.v1.iv = iv;
            // All of XAUTH has one identifier (draft-beaulieu-ike-xauth-02 section 2).
            self.transaction_write(number, kind, self.identifier(sa), fill)
        });
        match written {
            Ok(()) => self.send_request(env, number),
            Err(_) => self.access_failed(env, sa, Failure::NoRoom),
        }
    }

    /// Answers a message in its own exchange, and keeps the answer for a peer that asks again.
    pub(super) fn transaction_answer(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        message: &Transacted<'_>,
        kind: ConfigType,
        fill: Fill<'_>,
    ) -> Result<(), DatagramError> {
        let id = message.arrived.header.message_id;
        let number = message
            .number
            .or_else(|| self.v1_begin_exchange(env, sa, Kind::Transaction, false, id))
            .ok_or(DatagramError::NoRoom)?;
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        x.v1.iv = message.iv;
        x.v1.received = message.arrived.hash;
        x.path = message.arrived.path;
        let written = self.transaction_write(number, kind, message.attributes.identifier, fill);
        if written.is_err() {
            self.end_exchange(env, number);
            return written;
        }
        if let Some(phase1) = self.phase1_mut(sa).filter(|_| message.number.is_none()) {
            phase1.note_seen(id);
        }
        self.send_response(env, number, HANDSHAKE_TIMEOUT);
        Ok(())
    }

    fn transaction_write(
        &mut self,
        number: u32,
        kind: ConfigType,
        identifier: u16,
        fill: Fill<'_>,
    ) -> Result<(), DatagramError> {
        self.v1_compose(number, ExchangeType::TRANSACTION, Some(Hashed::First), &mut |w| {
            w.attributes(kind, identifier, |w| fill(w))
        })
    }

    /// What our exchanges with the peer of an SA are called in their attributes: nothing secret, and the same each time.
    fn identifier(&self, sa: u32) -> u16 {
        let spi = self.sas.get(sa as usize).map_or(0, |slot| slot.sa.spi_i ^ slot.sa.spi_r);
        let [a, b, ..] = spi.to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// We are refused: the server ends the SA, and if not, we do.
    pub(super) fn access_refused(&mut self, env: &mut Env<'_>, sa: u32) {
        self.access_tell(env, sa, Failure::UserRefused);
        self.access_await(env, sa, Access::Refused, RETRY);
    }

    /// Whether an SA is up, so that what it asks for is given.
    pub(super) fn is_up(&self, sa: u32) -> bool {
        let state = self.sas.get(sa as usize).map(|slot| slot.sa.state);
        matches!(state, Some(SaState::Established | SaState::Rekeyed))
    }
}

/// Whether a request is about a user.
fn is_of_xauth(attributes: &AttributesPayload<'_>) -> bool {
    let of = |kind: u16| {
        (ConfigAttribute::XAUTH_TYPE.0..=ConfigAttribute::XAUTH_ANSWER.0).contains(&kind)
    };
    attributes.attributes.iter().any(|attribute| of(attribute.kind))
}

#[cfg(test)]
#[cfg(feature = "configuration")]
mod tests {
    use super::*;
    use crate::child_sa::ChildSlot;
    use crate::config::{Config, Peer, Phase1Proposal, User, V1, Versions};
    use crate::engine::IkeMemory;
    use crate::event::{ChildRef, Direction, Event};
    use crate::exchange::{ExchangeSlot, HandshakeSlot};
    use crate::identity::Identity;
    use crate::ike_sa::IkeSlot;
    use crate::jobs::run_jobs;
    use crate::pool::Lease;
    use core::net::IpAddr;
    use ipsec_core::crypto::Group;
    use ipsec_core::list::Deadline;
    use ipsec_core::path::Path;
    use ipsec_core::sa::Spi;
    use ipsec_core::sad::SpiAllocator;
    use ipsec_core::selector::TrafficSelector;
    use ipsec_core::time::Instant;
    use ipsec_rustcrypto::RustCrypto;
    use rand_core::{CryptoRng, TryCryptoRng, TryRng};

    extern crate std;
    use std::boxed::Box;
    use std::vec::Vec;

    /// Repeats itself after a very long time, and is nobody's secret.
    struct Counter(u64);

    impl TryRng for Counter {
        type Error = core::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Ok(u32::try_from(self.0 >> 32).unwrap())
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(u64::from(self.try_next_u32()?) << 32 | u64::from(self.try_next_u32()?))
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            out.iter_mut().try_for_each(|byte| {
                *byte = self.try_next_u32()?.to_be_bytes()[0];
                Ok(())
            })
        }
    }

    impl TryCryptoRng for Counter {}

    struct Spis(u32);

    impl SpiAllocator for Spis {
        fn reserve(&mut self, _: &mut dyn CryptoRng) -> Option<Spi> {
            self.0 += 1;
            Spi::new(self.0)
        }

        fn release(&mut self, _: Spi) {}
    }

    type Engine = Ike<'static, RustCrypto>;

    fn lend<T>(len: usize, empty: impl Fn() -> T) -> &'static mut [T] {
        Vec::leak((0..len).map(|_| empty()).collect())
    }

    fn engine(peer: Peer<'static>, rng: &mut Counter) -> Engine {
        let (sas, handshakes, exchanges, children, buffers) = (4, 4, 8, 4, 16);
        let links = IkeMemory::<RustCrypto>::links(sas, handshakes, exchanges, children, buffers);
        let memory = IkeMemory {
            sas: lend(sas, || IkeSlot::EMPTY),
            handshakes: lend(handshakes, || HandshakeSlot::EMPTY),
            exchanges: lend(exchanges, || ExchangeSlot::EMPTY),
            children: lend(children, || ChildSlot::EMPTY),
            buffers: lend(buffers * 1024, || 0),
            buffer_len: 1024,
            assembly: &mut [],
            links: lend(links, || 0),
            deadlines: lend(sas + handshakes + exchanges + children, || Deadline::EMPTY),
            leases: lend(0, || Lease::EMPTY),
        };
        let peers = Vec::leak(std::vec![peer]);
        Ike::new(Config::new(peers), memory, rng)
    }

    const PROPOSALS: &[Phase1Proposal<'static>] =
        &[Phase1Proposal { groups: &[Group::P256], ..Phase1Proposal::DEFAULT[0] }];
    const CHILD: crate::config::Child<'static> =
        crate::config::Child::new("all", &[TrafficSelector::ANY_V4], &[TrafficSelector::ANY_V4]);
    const ASHA: User<'static> = User { name: b"asha", password: b"a secret of her own" };

    /// Client and server, and what the server was told.
    struct Two {
        now: Instant,
        rng: Counter,
        client: Engine,
        server: Engine,
        refused: Vec<DatagramError>,
        told: Vec<&'static str>,
        /// The server's Transaction messages get lost.
        deaf: bool,
    }

    fn entry(us: u8, them: u8, xauth: Xauth<'static>) -> Peer<'static> {
        let at = |n| Some(IpAddr::from([192, 0, 2, n]));
        let mut peer =
            Peer::psk((at(us), Identity::Any), (at(them), Identity::Any), b"the group's key");
        peer.children = Box::leak(Box::new([CHILD]));
        peer.versions = Versions::V1(V1 { xauth, proposals: PROPOSALS, ..V1::MAIN });
        peer
    }

    impl Two {
        fn new() -> Self {
            let mut rng = Counter(7);
            let client = engine(entry(1, 2, Xauth::User(ASHA)), &mut rng);
            let server = engine(entry(2, 1, Xauth::Users(&[ASHA])), &mut rng);
            let (now, refused, told) = (Instant::from_secs(1), Vec::new(), Vec::new());
            Self { now, rng, client, server, refused, told, deaf: true }
        }

        fn with<R>(&mut self, client: bool, f: impl FnOnce(&mut Engine, &mut Env<'_>) -> R) -> R {
            let env = &mut Env { now: self.now, rng: &mut self.rng, spis: &mut Spis(0x1000) };
            f(if client { &mut self.client } else { &mut self.server }, env)
        }

        /// Until nothing is left to say.
        fn settle(&mut self) {
            loop {
                let mut said = false;
                for client in [true, false] {
                    said |= self.step(client);
                }
                if !said {
                    return;
                }
            }
        }

        fn step(&mut self, client: bool) -> bool {
            let mut told = Vec::new();
            let datagram = self.with(client, |engine, env| {
                run_jobs(engine, env);
                while let Some(event) = engine.poll_event() {
                    let (child, direction) = match event {
                        Event::Install { child, direction, .. } => (child, direction),
                        Event::IkeUp { .. } => {
                            told.push("up");
                            continue;
                        }
                        Event::ChildUp { .. } => {
                            told.push("child");
                            continue;
                        }
                        _ => continue,
                    };
                    if direction == Direction::Inbound {
                        told.push("install");
                    }
                    engine.installed(env, child, direction, Ok(()));
                }
                let mut buf = [0; 1024];
                let sent = engine.poll_transmit(&mut buf).unwrap();
                sent.map(|sent| (sent.path, buf[..sent.len].to_vec()))
            });
            if !client {
                self.told.extend(told);
            }
            let Some((path, mut datagram)) = datagram else { return false };
            if self.deaf && !client && datagram[18] == ExchangeType::TRANSACTION.0 {
                return true;
            }
            let path = Path::new(path.remote, path.local);
            let result =
                self.with(!client, |engine, env| engine.handle_datagram(env, path, &mut datagram));
            if client {
                self.refused.extend(result.err());
            }
            true
        }
    }

    /// A member of the group that knows the key of phase 1, and no password, asks for a tunnel: it gets none, before it is asked
    /// for its user and after: nothing of phase 2 is acted on before all that comes before it is over.
    #[test]
    fn no_tunnel_before_the_user_is_known() {
        let mut two = Two::new();
        two.with(true, |client, env| client.initiate(env, ChildRef { peer: 0, child: 0 })).unwrap();
        two.settle();
        assert_eq!(two.client.access(0), Access::AwaitingUser);
        assert_eq!(two.server.access(0), Access::AskingUser);
        assert_eq!((&two.refused[..], &two.told[..]), (&[][..], &[][..]));
        // It thinks that all is done, and begins Quick Mode; and asks for an address.
        two.with(true, |client, env| client.access_done(env, 0));
        two.settle();
        assert_eq!(two.refused, [DatagramError::Unexpected]);
        two.with(true, |client, env| {
            client.transaction_begin(env, 0, Access::AskingConfig, ConfigType::REQUEST, &mut |w| {
                w.long(ConfigAttribute::INTERNAL_IP4_ADDRESS.0, &[])
            });
        });
        two.settle();
        // And it says that it has taken notice of what was never said.
        two.with(true, |client, env| {
            client.transaction_begin(env, 0, Access::AskingConfig, ConfigType::ACK, &mut |w| {
                w.short(ConfigAttribute::XAUTH_STATUS.0, 1)
            });
        });
        two.settle();
        assert_eq!(two.refused, [DatagramError::Unexpected; 3]);
        assert_eq!(two.server.access(0), Access::AskingUser);
        assert!(two.told.is_empty(), "{:?}", two.told);
        assert_eq!(two.server.established().count(), 0);
    }

    /// RFC 2409 section 5: both sides prove themselves in the same way, or there is no way.
    #[test]
    fn no_way_to_prove_both_sides() {
        use crate::config::{Auth, LocalAuth, RemoteAuth};
        use crate::error::CommandError;
        let psk = Auth::psk(b"the group's key");
        let schemes = &[ipsec_core::crypto::SignatureScheme::RsaIkev1];
        let signs = RemoteAuth::RawPublicKey { spki: &[], schemes };
        let schemes = &[ipsec_core::crypto::SignatureScheme::Ed25519];
        let other = LocalAuth::RawPublicKey {
            spki: &[],
            key: crate::config::SigningKey { id: 0, schemes },
        };
        for (auth, user, can) in [
            (psk, Xauth::None, true),
            (psk, Xauth::User(ASHA), true),
            (Auth { remote: signs, ..psk }, Xauth::None, false),
            (Auth { local: other, remote: signs }, Xauth::None, false),
            (Auth { local: LocalAuth::User, remote: signs }, Xauth::None, false),
            (Auth { local: LocalAuth::User, remote: signs }, Xauth::User(ASHA), true),
            (Auth { local: LocalAuth::User, ..psk }, Xauth::User(ASHA), false),
        ] {
            let mut peer = entry(1, 2, user);
            peer.auth = auth;
            assert_eq!(peer.has_v1_method(), can, "{user:?}");
            let mut rng = Counter(7);
            let mut engine = engine(peer, &mut rng);
            let env =
                &mut Env { now: Instant::from_secs(1), rng: &mut rng, spis: &mut Spis(0x1000) };
            let begun = engine.initiate(env, ChildRef { peer: 0, child: 0 });
            assert_eq!(begun, if can { Ok(()) } else { Err(CommandError::NoMethod) }, "{user:?}");
        }
    }

    /// The same two, without a change, do get their tunnel.
    #[test]
    fn a_tunnel_when_the_user_is_known() {
        let mut two = Two::new();
        two.deaf = false;
        two.with(true, |client, env| client.initiate(env, ChildRef { peer: 0, child: 0 })).unwrap();
        two.settle();
        assert_eq!((&two.refused[..], &two.told[..]), (&[][..], &["up"][..]));
        // Quick Mode does not leave together with the last message before.
        two.now = two.client.next_timeout().unwrap();
        two.with(true, |client, env| client.handle_timeout(env));
        two.settle();
        assert_eq!((&two.refused[..], &two.told[..]), (&[][..], &["up", "install", "child"][..]));
    }
}
