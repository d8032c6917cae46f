//! MOBIKE: an IKE SA and its children move to other addresses (RFC 4555).
//!
//! The initiator of an IKE SA says where it goes on ([`Ike::move_ike`]); the responder follows what the initiator says,
//! and where packets merely come from moves nothing. Traffic goes to an address only after the peer has shown that it
//! receives there, unless policy does without.

use core::net::{IpAddr, Ipv4Addr};

use ipsec_core::crypto::Provider;
use ipsec_core::path::{Endpoint, Path};

use crate::child_sa::{self, ChildState};
use crate::config::{Mobike, Peer};
use crate::engine::{Env, Ike};
use crate::error::CommandError;
use crate::event::{DownReason, Failure, IkeId};
use crate::exchange::Kind;
use crate::ike_sa::{self, SaState};
use crate::nat;
use crate::retransmit::Retransmit;
use crate::wire::{Collected, ExchangeType, MessageWriter, NoRoom, Notify, NotifyType, ProtocolId};

/// Bytes of the cookies that we send: 8 to 64 (RFC 4555 section 4.2.5).
const COOKIE_LEN: usize = 16;
/// The longest that is returned.
const MAX_COOKIE: usize = 64;
/// So often an update is repeated that has met a NAT where none is allowed.
const MAX_NATS: u8 = 3;
/// A request is sent so often to the address that it is for, before it is sent to others of the peer.
const TRIES_AT_HOME: u8 = 3;
/// Addresses that are remembered of a peer.
const MAX_OTHERS: usize = 5;

/// Where a peer can be reached: from where it has said so, and at what it has named besides (RFC 4555 section 3.4). Memory
/// for [`Ike::remember_addresses`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddresses([IpAddr; MAX_OTHERS]);

impl PeerAddresses {
    /// Nowhere.
    pub const EMPTY: Self = Self([IpAddr::V4(Ipv4Addr::UNSPECIFIED); MAX_OTHERS]);

    /// Those that a message names, and if it says that there are none, none.
    fn of(collected: &Collected<'_>) -> Option<Self> {
        let mut named = Self::EMPTY;
        let mut free = named.0.iter_mut();
        let mut says = collected.notify(NotifyType::NO_ADDITIONAL_ADDRESSES).is_some();
        for notify in collected.notifies() {
            let address = match notify.kind {
                NotifyType::ADDITIONAL_IP4_ADDRESS => {
                    <[u8; 4]>::try_from(notify.data).ok().map(IpAddr::from)
                }
                NotifyType::ADDITIONAL_IP6_ADDRESS => {
                    <[u8; 16]>::try_from(notify.data).ok().map(IpAddr::from)
                }
                _ => None,
            };
            if let Some(address) = address {
                says = true;
                if let Some(place) = free.next() {
                    *place = address;
                }
            }
        }
        says.then_some(named)
    }
}

/// Whether the peer has to show that it receives at its address before traffic goes there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Check {
    /// It has, or policy does without.
    #[default]
    None = 0,
    /// It is to be asked.
    Due,
    /// It has been asked.
    Asked,
}

/// What other exchanges need of MOBIKE. The engine gets it from a program that supports it, so that others do not link it.
pub(crate) struct Mobile<P: Provider> {
    /// Writes what IKE_AUTH says of it.
    pub(crate) write_auth:
        fn(&Mobike<'_>, Path, bool, &mut MessageWriter<'_>) -> Result<(), NoRoom>,
    /// Looks whether a request came as it was sent, where its sender allows no NAT.
    pub(crate) is_direct: fn(&Collected<'_>, Path) -> bool,
    /// Notes the other addresses that the peer of an SA names in IKE_AUTH: in this message, or in the one that is parked.
    pub(crate) learn: fn(&mut Ike<'_, P>, u32, u32, Option<&Collected<'_>>),
    /// Our request of an SA goes out once more: perhaps to another address.
    pub(crate) unanswered: fn(&mut Ike<'_, P>, u32, u32),
    /// It has been answered from there.
    pub(crate) answered: fn(&mut Ike<'_, P>, u32, u32, Path),
    /// Asks the peer of an SA for what is wanted. `false` if there is no room.
    pub(crate) begin: fn(&mut Ike<'_, P>, &mut Env<'_>, u32) -> bool,
    /// Takes the response to that.
    pub(crate) response: fn(&mut Ike<'_, P>, &mut Env<'_>, u32, u32, &Collected<'_>),
    /// Acts on an INFORMATIONAL request, or says which error it is answered with.
    pub(crate) request: Request<P>,
    /// Writes what the response to it says.
    pub(crate) write_response:
        fn(&Response<'_>, &Collected<'_>, &mut MessageWriter<'_>) -> Result<(), NoRoom>,
}

type Request<P> =
    fn(&mut Ike<'_, P>, &mut Env<'_>, u32, Path, &Collected<'_>) -> Result<(), NotifyType>;

/// What a response depends on.
pub(crate) struct Response<'a> {
    /// The SPIs of initiator and responder.
    pub(crate) spis: (u64, u64),
    /// The path of the request.
    pub(crate) path: Path,
    pub(crate) peer: &'a Peer<'a>,
}

impl<'r, P: Provider> Ike<'r, P> {
    const MOBILE: Mobile<P> = Mobile {
        write_auth,
        is_direct,
        learn: |ike, number, context, collected| {
            let others = match collected {
                Some(collected) => PeerAddresses::of(collected),
                None => ike.parked(context).and_then(|parked| PeerAddresses::of(&parked)),
            };
            ike.keep_addresses(number, others.unwrap_or(PeerAddresses::EMPTY));
        },
        unanswered: |ike, number, context| {
            let _ = ike.seek(number, context);
        },
        answered: |ike, number, context, path| {
            let _ = ike.found(number, context, path);
        },
        begin: |ike, env, number| ike.mobike_begin(env, number),
        response: |ike, env, number, context, collected| {
            ike.mobike_response(env, number, context, collected);
        },
        request: |ike, env, number, path, collected| {
            ike.mobike_request(env, number, path, collected)
        },
        write_response: write_response::<P>,
    };

    /// Supports MOBIKE with those peers whose entry says so ([`Peer::mobike`](crate::config::Peer::mobike)). To be called
    /// before the first IKE SA. A program that does not call it links nothing of it.
    pub fn support_mobike(&mut self) {
        self.mobile = Some(&Self::MOBILE);
    }

    /// Lends memory for the other addresses that peers name, one for each slot of [`IkeMemory::sas`](crate::IkeMemory::sas).
    /// Where we began an SA whose peer answers no more, they are tried, and the SA goes where an answer comes from
    /// (RFC 4555 sections 3.4 and 3.10). Without it, that is up to the caller ([`Ike::move_ike`]).
    pub fn remember_addresses(&mut self, addresses: &'r mut [PeerAddresses]) {
        addresses.fill(PeerAddresses::EMPTY);
        self.addresses = addresses;
    }

    /// Our address has changed, or another path is to be taken: moves an IKE SA and its children. Of `path`, a port that
    /// is 0 stays as it was.
    ///
    /// If we began the IKE SA, its traffic leaves from the new address at once, and the peer is told to send there
    /// (RFC 4555 section 3.5). To another address of the peer it goes when the peer has shown that it receives there. If
    /// the peer began the IKE SA, only our own address changes, and it is told of it (section 3.6): to follow is up to it.
    ///
    /// Children in transport mode end, since they are for the addresses that they were made with.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] if there is no such SA, [`CommandError::Immovable`] if the peer does not support MOBIKE or
    /// the two addresses are of different IP versions.
    pub fn move_ike(
        &mut self,
        env: &mut Env<'_>,
        ike: IkeId,
        path: Path,
    ) -> Result<(), CommandError> {
        let number = self.sa_number(ike).ok_or(CommandError::Unknown)?;
        let policy = self.mobike_policy(number).ok_or(CommandError::Immovable)?;
        let sa = self.sa(number).ok_or(CommandError::Unknown)?;
        let keep = |new: Endpoint, old: Endpoint| {
            if new.port == 0 { new.with_port(old.port) } else { new }
        };
        let local = keep(path.local, sa.path.local);
        let remote = if sa.decides { keep(path.remote, sa.path.remote) } else { sa.path.remote };
        let one_version = local.address.is_ipv4() == remote.address.is_ipv4();
        if sa.state != SaState::Established || !one_version {
            return Err(CommandError::Immovable);
        }
        let (before, path) = (sa.path, Path::new(local, remote));
        if path == before {
            return Ok(());
        }
        sa.path = path;
        sa.mapping = 0;
        sa.strayed = Path::UNSPECIFIED.remote;
        sa.want |= ike_sa::want::UPDATE;
        if sa.decides && sa.path.remote.address != sa.proven && policy.check {
            sa.check = Check::Due;
        }
        let unchecked = sa.check == Check::None;
        self.move_replaced(env, number);
        if unchecked {
            self.move_children(number, before);
        }
        self.hasten(env, number);
        self.next_task(env, number);
        Ok(())
    }

    /// Our address `from` is gone, and `to` is there: [`Ike::move_ike`] for all IKE SAs from the one that can move to the
    /// other, of which it gives the number. Handshakes that begin from now on, where the configuration says `from`, begin at
    /// `to`. Its cost grows with the number of slots.
    pub fn move_address(&mut self, env: &mut Env<'_>, from: IpAddr, to: IpAddr) -> usize {
        self.moved = Some((self.moved.filter(|(_, to)| *to == from).map_or(from, |m| m.0), to));
        let mut count = 0usize;
        for number in 0..u32::try_from(self.sas.len()).unwrap_or(u32::MAX) {
            let Some(path) = self.sa(number).map(|sa| sa.path) else { continue };
            let to = Path::new(Endpoint::new(to, 0), path.remote.with_port(0));
            let ike = self.ike_id(number);
            if path.local.address != from {
                continue;
            }
            if self.move_ike(env, ike, to).is_ok() {
                count = count.saturating_add(1);
            } else if let Some(sa) = self.sa(number).filter(|sa| sa.mobike) {
                // It is about to end: that, too, is said from there.
                sa.path.local.address = to.local.address;
                self.hasten(env, number);
            }
        }
        count
    }

    /// The rules for the SA, if MOBIKE was agreed on for it.
    fn mobike_policy(&self, number: u32) -> Option<&'r Mobike<'r>> {
        let agreed = self.sas.get(number as usize)?.sa.mobike;
        self.peer_of(number)?.mobike.filter(|_| agreed)
    }

    // ---- we ask ----

    fn mobike_begin(&mut self, env: &mut Env<'_>, number: u32) -> bool {
        let Some(context) = self.begin_request(number, Kind::Mobike) else { return false };
        if let Some(x) = self.contexts.get(context) {
            env.rng.fill_bytes(&mut x.nonce);
        }
        if self.compose_mobike(number, context).is_none() {
            self.end_exchange(env, context);
            return false;
        }
        if let Some(sa) = self.sa(number) {
            sa.want &= !(ike_sa::want::UPDATE | ike_sa::want::CHECK | ike_sa::want::LIVENESS);
            if sa.check == Check::Due {
                sa.check = Check::Asked;
            }
        }
        self.send_request(env, context);
        true
    }

    /// The address update of an initiator, the addresses of a responder, a cookie to be returned, a look for NATs: what of it
    /// is wanted.
    fn compose_mobike(&mut self, number: u32, context: u32) -> Option<()> {
        let nonce = self.contexts.get(context)?.nonce;
        let peer = self.peer_of(number)?;
        let policy = peer.mobike?;
        let sa = self.sa(number)?;
        let update = sa.want & ike_sa::want::UPDATE != 0;
        let (path, decides, check) = (sa.path, sa.decides, sa.check != Check::None);
        let (spi_i, spi_r) = (sa.spi_i, sa.spi_r);
        let hidden = peer.force_encapsulation.then_some(&nonce[..]);
        let written = self.compose(context, ExchangeType::INFORMATIONAL, |w| {
            if decides && update {
                w.notify(&Notify::new(NotifyType::UPDATE_SA_ADDRESSES, &[]))?;
            }
            if decides && policy.nats {
                nat::write::<P>(w, (spi_i, spi_r), path, hidden)?;
            } else if decides && update {
                write_no_nats(path, w)?;
            }
            if check {
                let cookie = nonce.get(..COOKIE_LEN).ok_or(NoRoom)?;
                w.notify(&Notify::new(NotifyType::COOKIE2, cookie))?;
            }
            if !decides && update {
                write_others(policy, path, true, w)?;
            }
            Ok(())
        });
        written.ok()
    }

    fn mobike_response(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        context: u32,
        collected: &Collected<'_>,
    ) {
        let Some((path, nonce)) = self.contexts.get(context).map(|x| (x.path, x.nonce)) else {
            return;
        };
        let Some(sa) = self.sa(number) else { return };
        if sa.path != path {
            // RFC 4555 section 3.5: it has moved again meanwhile, and begins again. What was asked of the old path is void.
            if sa.check == Check::Asked {
                sa.check = Check::Due;
                sa.want |= ike_sa::want::CHECK;
            }
            if sa.decides {
                sa.want |= ike_sa::want::UPDATE;
            }
        } else if let Some(error) = collected.error().map(|e| e.kind) {
            if error == NotifyType::UNEXPECTED_NAT_DETECTED && sa.nats_met < MAX_NATS {
                // RFC 4555 section 3.9: somebody on the way may have changed it. Again in a moment.
                sa.nats_met = sa.nats_met.saturating_add(1);
                sa.want |= ike_sa::want::UPDATE;
                if sa.check == Check::Asked {
                    sa.check = Check::Due;
                }
                self.end_exchange(env, context);
                self.schedule_sa(env.now, number);
                return;
            }
            sa.nats_met = 0;
            self.fail(env, context, None, Failure::Refused(error));
            self.next_task(env, number);
            self.schedule_sa(env.now, number);
            return;
        } else if sa.check == Check::Asked {
            sa.nats_met = 0;
            let cookie = collected.notify(NotifyType::COOKIE2).map(|n| n.data);
            if cookie != nonce.get(..COOKIE_LEN) {
                // RFC 4555 section 3.7: whoever answers has not seen the question.
                sa.down = DownReason::Protocol;
                sa.want |= ike_sa::want::CLOSE;
            } else {
                sa.check = Check::None;
                sa.proven = path.remote.address;
                self.look_for_nats(env, number, path, collected);
                self.move_children(number, Path::UNSPECIFIED);
            }
        } else if self.look_for_nats(env, number, path, collected) {
            self.move_children(number, path);
        }
        self.end_exchange(env, context);
        self.next_task(env, number);
        self.schedule_sa(env.now, number);
    }

    /// Notes what the NAT detection of a message tells about the path that it took (RFC 4555 section 3.5). Says whether
    /// packets travel in another way from now on.
    fn look_for_nats(
        &mut self,
        env: &Env<'_>,
        number: u32,
        path: Path,
        collected: &Collected<'_>,
    ) -> bool {
        let before = self.encapsulates(number);
        let nats = self.mobike_policy(number).is_some_and(|policy| policy.nats);
        let Some(sa) = self.sa(number).filter(|_| nats) else { return false };
        let status = nat::detect::<P>(collected, sa.spi_i, sa.spi_r, &path);
        if !status.supported {
            return false;
        }
        sa.nat_local = status.local_behind;
        sa.nat_remote = status.remote_behind;
        sa.sent = env.now;
        if sa.decides {
            // RFC 4555 section 3.8: as the peer sees us, the NAT has given us another port or address.
            let seen = collected.notify(NotifyType::NAT_DETECTION_DESTINATION_IP);
            let seen =
                seen.and_then(|n| n.data.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b));
            let known = core::mem::replace(&mut sa.mapping, seen);
            if known != 0 && known != seen {
                sa.mapping = 0;
                sa.want |= ike_sa::want::UPDATE;
            }
        }
        before != self.encapsulates(number)
    }

    // ---- the peer asks ----

    fn mobike_request(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        path: Path,
        collected: &Collected<'_>,
    ) -> Result<(), NotifyType> {
        if let Some(others) = PeerAddresses::of(collected) {
            // RFC 4555 section 3.6
            self.keep_addresses(number, others);
        }
        if collected.notify(NotifyType::UPDATE_SA_ADDRESSES).is_none() {
            return Ok(());
        }
        let Some(policy) = self.mobike_policy(number) else { return Ok(()) };
        if self.sa(number).is_none_or(|sa| sa.decides) {
            return Ok(()); // RFC 4555 section 3.5: the initiator decides
        }
        if !is_direct(collected, path) {
            // RFC 4555 section 3.9
            return Err(NotifyType::UNEXPECTED_NAT_DETECTED);
        }
        if !policy.accepts(path.remote.address) {
            return Err(NotifyType::UNACCEPTABLE_ADDRESSES);
        }
        let Some(sa) = self.sa(number) else { return Ok(()) };
        sa.strayed = Path::UNSPECIFIED.remote;
        let before = core::mem::replace(&mut sa.path, path);
        self.look_for_nats(env, number, path, collected);
        let Some(sa) = self.sa(number) else { return Ok(()) };
        // RFC 4555 section 3.7: the request may have been sent in somebody else's name.
        if policy.check && path.remote.address != sa.proven {
            sa.check = Check::Due;
            sa.want |= ike_sa::want::CHECK;
        } else {
            sa.check = Check::None;
            self.move_children(number, before);
        }
        self.move_replaced(env, number);
        self.hasten(env, number);
        self.schedule_sa(env.now, number);
        Ok(())
    }

    // ---- a peer that does not answer ----

    fn keep_addresses(&mut self, number: u32, mut others: PeerAddresses) {
        let home = self.sa(number).map(|sa| sa.path.remote.address);
        if let Some((place, home)) = others.0.last_mut().zip(home) {
            *place = home;
        }
        if let Some(slot) = self.addresses.get_mut(number as usize) {
            *slot = others;
        }
    }

    /// Our request is sent to the next address of the peer (RFC 4555 section 3.10).
    fn seek(&mut self, number: u32, context: u32) -> Option<()> {
        let x = self.contexts.get(context)?;
        let (path, turn) =
            (x.path, x.retransmit.sent().checked_sub(TRIES_AT_HOME.saturating_add(1))?);
        let PeerAddresses(others) = *self.addresses.get(number as usize)?;
        let sa = self.sa(number).filter(|sa| sa.mobike && sa.decides)?;
        let fits = |address: &&IpAddr| {
            !address.is_unspecified()
                && **address != path.remote.address
                && address.is_ipv4() == path.local.address.is_ipv4()
        };
        let count = others.iter().filter(fits).count();
        let turn = usize::from(turn).checked_rem(count.saturating_add(1))?;
        // The one that it was sent to at first has its turn again, too.
        let next = others.iter().filter(fits).nth(turn).copied().unwrap_or(path.remote.address);
        if count > 0 {
            sa.path.remote.address = next;
            sa.seeking = true;
        }
        Some(())
    }

    /// The peer has answered our request, which was sent to several of its addresses: the SA goes where the answer came
    /// from.
    fn found(&mut self, number: u32, context: u32, path: Path) -> Option<()> {
        let before = self.contexts.get(context)?.path;
        let first = before.remote.address;
        let policy = self.mobike_policy(number)?;
        let PeerAddresses(others) = *self.addresses.get(number as usize)?;
        let sa = self.sa(number).filter(|sa| sa.seeking)?;
        sa.seeking = false;
        if path.remote.address == first || others.contains(&path.remote.address) {
            sa.path.remote.address = path.remote.address;
        }
        if sa.path.remote.address != first {
            sa.mapping = 0;
            sa.strayed = Path::UNSPECIFIED.remote;
            sa.want |= ike_sa::want::UPDATE;
            if policy.check && sa.path.remote.address != sa.proven {
                sa.check = Check::Due;
            }
            if sa.check == Check::None {
                self.move_children(number, before);
            }
        }
        Some(())
    }

    // ---- both ----

    /// Has the children of an SA moved, where the path from `before` differs. In transport mode they end if an address does:
    /// they are for those.
    fn move_children(&mut self, number: u32, before: Path) {
        let Some(path) = self.sa(number).map(|sa| sa.path) else { return };
        let encapsulates = self.encapsulates(number);
        let elsewhere = before.local.address != path.local.address
            || before.remote.address != path.remote.address;
        let mut next = self.sa(number).map_or(0, |sa| sa.children);
        let mut ends = false;
        while let Some(index) = next.checked_sub(1) {
            let Some(child) = self.child(index) else { break };
            next = child.next;
            child.encapsulated = encapsulates && child.choice.protocol() == ProtocolId::ESP;
            if child.transport && elsewhere && child.state == ChildState::Established {
                child.reason = DownReason::Closed;
                child.want |= child_sa::want::DELETE;
                ends = true;
            }
        }
        if let Some(sa) = self.sa(number).filter(|_| ends) {
            sa.want |= ike_sa::want::CHILD;
        }
        self.tell_moved(number);
    }

    /// The SA that this one has just replaced is deleted over the same path. As long as it is there, the peer may not know of
    /// this one, and hears of the move on that one.
    fn move_replaced(&mut self, env: &mut Env<'_>, number: u32) {
        let Some((path, id)) = self.sa(number).and_then(|sa| Some((sa.path, sa.replaces?))) else {
            return;
        };
        let Some(old) = self.sa_number(id) else { return };
        if let Some(sa) = self.sa(old) {
            sa.path = path;
            if sa.decides && sa.state == SaState::Rekeyed {
                sa.want |= ike_sa::want::UPDATE;
            }
        }
        self.hasten(env, old);
        self.next_task(env, old);
    }

    /// Sends our request under way at once, and as often as a new one: it may have been waiting for an answer on a path that
    /// is gone (RFC 4555 section 3.5).
    fn hasten(&mut self, env: &Env<'_>, number: u32) {
        let ours = self.sa(number).and_then(|sa| sa.ours.checked_sub(1));
        let Some(rules) = self.peer_of(number).map(|peer| peer.retransmission) else { return };
        let Some(context) = ours else { return };
        let Some(x) = self.contexts.get(context) else { return };
        if x.stage != crate::exchange::Stage::Response {
            return;
        }
        let (retransmit, at) = Retransmit::start(env.now, &rules);
        (x.retransmit, x.again_at) = (retransmit, at);
        self.transmits.push(context);
        self.deadlines.set(self.context_node(context), Some(at));
    }
}

/// What the response to an INFORMATIONAL request says of MOBIKE, whatever was asked.
fn write_response<P: Provider>(
    response: &Response<'_>,
    collected: &Collected<'_>,
    w: &mut MessageWriter<'_>,
) -> Result<(), NoRoom> {
    // RFC 4555 section 3.8: whoever looks for NATs is shown how its request came.
    if let Some(seen) = collected.notify(NotifyType::NAT_DETECTION_SOURCE_IP) {
        // Any hash that does not fit hides us: that of the peer is at hand.
        let hidden = response.peer.force_encapsulation.then_some(seen.data);
        nat::write::<P>(w, response.spis, response.path, hidden.filter(|h| h.len() >= 20))?;
    }
    // RFC 4555 section 3.7: the cookie comes back as it is.
    match collected.notify(NotifyType::COOKIE2) {
        Some(cookie) if cookie.data.len() <= MAX_COOKIE => {
            w.notify(&Notify::new(NotifyType::COOKIE2, cookie.data))
        }
        _ => Ok(()),
    }
}

/// MOBIKE is supported; from where the request comes, if it may not come through a NAT; other addresses of ours.
fn write_auth(
    policy: &Mobike<'_>,
    path: Path,
    request: bool,
    w: &mut MessageWriter<'_>,
) -> Result<(), NoRoom> {
    w.notify(&Notify::new(NotifyType::MOBIKE_SUPPORTED, &[]))?;
    if request && !policy.nats {
        write_no_nats(path, w)?;
    }
    write_others(policy, path, false, w)
}

/// RFC 4555 section 4.2.2: our addresses but for the one that the message comes from. `all`: if there is none, say so.
fn write_others(
    policy: &Mobike<'_>,
    path: Path,
    all: bool,
    w: &mut MessageWriter<'_>,
) -> Result<(), NoRoom> {
    let mut others = policy.others.iter().filter(|a| **a != path.local.address).peekable();
    if all && others.peek().is_none() {
        w.notify(&Notify::new(NotifyType::NO_ADDITIONAL_ADDRESSES, &[]))?;
    }
    for address in others {
        match address {
            IpAddr::V4(a) => {
                w.notify(&Notify::new(NotifyType::ADDITIONAL_IP4_ADDRESS, &a.octets()))?;
            }
            IpAddr::V6(a) => {
                w.notify(&Notify::new(NotifyType::ADDITIONAL_IP6_ADDRESS, &a.octets()))?;
            }
        }
    }
    Ok(())
}

/// The contents of NO_NATS_ALLOWED for a message that is sent, or came, from `source` to `destination` (RFC 4555
/// section 4.2.6).
fn no_nats(source: Endpoint, destination: Endpoint) -> Option<([u8; 36], usize)> {
    let mut data = [0; 36];
    let mut w = ipsec_core::bytes::Writer::new(&mut data);
    for endpoint in [source, destination] {
        match endpoint.address {
            IpAddr::V4(a) => w.bytes(&a.octets())?,
            IpAddr::V6(a) => w.bytes(&a.octets())?,
        }
    }
    w.u16(source.port)?;
    w.u16(destination.port)?;
    let len = w.len();
    Some((data, len))
}

fn write_no_nats(path: Path, w: &mut MessageWriter<'_>) -> Result<(), NoRoom> {
    let (data, len) = no_nats(path.local, path.remote).ok_or(NoRoom)?;
    w.notify(&Notify::new(NotifyType::NO_NATS_ALLOWED, data.get(..len).ok_or(NoRoom)?))
}

/// RFC 4555 section 3.9: what is allowed through no NAT has come from where, and to where, its sender says.
fn is_direct(collected: &Collected<'_>, path: Path) -> bool {
    let Some(said) = collected.notify(NotifyType::NO_NATS_ALLOWED) else { return true };
    no_nats(path.remote, path.local).is_some_and(|(data, len)| data.get(..len) == Some(said.data))
}
