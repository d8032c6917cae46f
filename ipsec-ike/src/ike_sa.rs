//! IKE SAs: what stays of one between its exchanges.

use core::net::IpAddr;
#[cfg(feature = "ikev1")]
use core::time::Duration;

use crate::buffers::BufferId;
#[cfg(feature = "ikev1")]
use crate::config::Phase1Mode;
use crate::config::{self, Peer, RemoteAuth};
use crate::engine::{Env, Ike};
use crate::event::ChildRef;
use crate::timer::LINGER;
use crate::v2::chosen::Ends;
use crate::v2::mobike::Check;
use ipsec_core::crypto::Provider;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::time::Instant;

use crate::event::{DownReason, IkeAgreed, IkeId};
use crate::identity::Identity;
use crate::keymat::{Role, SaKeys};
use crate::proposal::IkeChoice;

/// Memory for one IKE SA. All zero is empty.
pub struct IkeSlot {
    pub(crate) generation: u32,
    pub(crate) sa: IkeSa,
}

impl IkeSlot {
    /// No IKE SA.
    pub const EMPTY: Self = Self { generation: 0, sa: IkeSa::EMPTY };
}

/// IKE SAs that one peer may have: the one in use, the one that replaces it, and what it has forgotten of earlier ones.
const SAS_PER_PEER: usize = 4;

/// What a peer has sent before it knew of an SA arrives within this time, if its last message of phase 1 does.
#[cfg(feature = "ikev1")]
const CROSSING: Duration = Duration::from_secs(5);

/// How far an IKE SA has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SaState {
    Empty = 0,
    /// Nobody is authenticated yet; a handshake, or the rekeying of another SA, holds the rest.
    Larval,
    /// Of two SAs that are to replace another, the one that was made first.
    Waiting,
    Established,
    /// Replaced by another one, and waiting for its deletion.
    Rekeyed,
    /// We are deleting it.
    Closing,
    /// The peer deleted it. It stays a little while to repeat the last response.
    Deleted,
}

/// Work that waits until our side has no request under way.
pub(crate) mod want {
    pub(crate) const CLOSE: u8 = 1;
    pub(crate) const REKEY: u8 = 2;
    pub(crate) const LIVENESS: u8 = 4;
    /// Some child of this SA wants something.
    pub(crate) const CHILD: u8 = 8;
    /// MOBIKE: the peer is to be told where we are.
    pub(crate) const UPDATE: u8 = 16;
    /// MOBIKE: the peer is to show that it is where it says.
    pub(crate) const CHECK: u8 = 32;
}

/// What the caller has not been told yet.
pub(crate) mod tell {
    pub(crate) const KEYS: u8 = 1;
    pub(crate) const UP: u8 = 2;
    pub(crate) const REKEYED: u8 = 4;
    pub(crate) const DOWN: u8 = 8;
    pub(crate) const GIVEN: u8 = 16;
    /// What was given has been told, and is wiped.
    pub(crate) const FORGET: u8 = 32;
}

pub(crate) struct IkeSa {
    pub(crate) state: SaState,
    /// Whether we began it: which of the keys are ours.
    pub(crate) initiator: bool,
    pub(crate) want: u8,
    pub(crate) tell: u8,
    pub(crate) peer: u16,
    pub(crate) nat_local: bool,
    pub(crate) nat_remote: bool,
    pub(crate) keepalive_due: bool,
    /// Both sides support MOBIKE.
    pub(crate) mobike: bool,
    /// MOBIKE: we say where it goes, as the initiator of the first SA, of which this may be the hundredth (RFC 4555
    /// section 2.1).
    pub(crate) decides: bool,
    /// It is to replace another one by a new authentication.
    pub(crate) heir: bool,
    /// A new authentication has replaced it: it stays for what is on the way.
    pub(crate) outlived: bool,
    /// MOBIKE: whether traffic may go to the peer's address.
    pub(crate) check: Check,
    /// Another SA has taken its place: its end is not told.
    pub(crate) replaced: bool,
    /// Both sides understand fragments (RFC 7383 section 2.3).
    pub(crate) fragments: bool,
    /// A PPK went into its keys, or into those of the first SA that it replaces.
    pub(crate) ppk: bool,
    pub(crate) spi_i: u64,
    pub(crate) spi_r: u64,
    pub(crate) path: Path,
    /// Where the peer was in IKE_SA_INIT: it has proven that it receives what is sent there.
    pub(crate) proven: IpAddr,
    /// MOBIKE: how the peer saw us last, hashed; 0 if that is not known.
    pub(crate) mapping: u32,
    /// MOBIKE: where packets of the peer's came from last, from behind a NAT; port 0: from where its messages do.
    pub(crate) strayed: Endpoint,
    /// MOBIKE: our request under way tries other addresses of the peer.
    pub(crate) seeking: bool,
    /// MOBIKE: how often the peer has met a NAT on the path where we allow none.
    pub(crate) nats_met: u8,
    pub(crate) choice: IkeChoice,
    pub(crate) keys: SaKeys,
    /// The counter of initialization vectors, never used twice.
    pub(crate) iv: u64,
    /// The message ID of our next request.
    pub(crate) send_id: u32,
    /// The message ID of the peer's next request.
    pub(crate) receive_id: u32,
    /// Our exchange under way, plus one.
    pub(crate) ours: u32,
    /// The peer's last exchange, plus one.
    pub(crate) theirs: u32,
    /// The first child, plus one.
    pub(crate) children: u32,
    /// Where the index of peers has it; 0 if nowhere.
    pub(crate) file: u64,
    /// The peer's proven identity, hashed.
    pub(crate) identity: u64,
    /// The address that we gave to the peer, plus one.
    pub(crate) lease: u32,
    /// What the peer gave to us, until it has been told.
    pub(crate) given: BufferId,
    /// Fragments of the peer's request, and of its response.
    partial: [BufferId; 2],
    pub(crate) replaces: Option<IkeId>,
    pub(crate) down: DownReason,
    pub(crate) heard: Instant,
    pub(crate) sent: Instant,
    pub(crate) rekey_at: Instant,
    /// When its authentication is to be renewed, or is believed no more.
    pub(crate) reauth_at: Instant,
    pub(crate) expire_at: Instant,
}

/// What an SA knows of its moves and its authentication.
pub(crate) struct Moving {
    mobike: bool,
    decides: bool,
    check: Check,
    mapping: u32,
    strayed: Endpoint,
    reauth_at: Instant,
}

impl IkeSa {
    pub(crate) const EMPTY: Self = Self {
        state: SaState::Empty,
        initiator: false,
        want: 0,
        tell: 0,
        peer: 0,
        nat_local: false,
        nat_remote: false,
        keepalive_due: false,
        mobike: false,
        decides: false,
        heir: false,
        outlived: false,
        check: Check::None,
        replaced: false,
        fragments: false,
        ppk: false,
        spi_i: 0,
        spi_r: 0,
        path: Path::UNSPECIFIED,
        proven: Path::UNSPECIFIED.remote.address,
        mapping: 0,
        strayed: Path::UNSPECIFIED.remote,
        seeking: false,
        nats_met: 0,
        choice: IkeChoice::EMPTY,
        keys: SaKeys::EMPTY,
        iv: 0,
        send_id: 0,
        receive_id: 0,
        ours: 0,
        theirs: 0,
        children: 0,
        file: 0,
        identity: 0,
        lease: 0,
        given: BufferId::NONE,
        partial: [BufferId::NONE; 2],
        replaces: None,
        down: DownReason::Closed,
        heard: Instant::ZERO,
        sent: Instant::ZERO,
        rekey_at: Instant::ZERO,
        reauth_at: Instant::ZERO,
        expire_at: Instant::ZERO,
    };

    /// Whether it speaks IKEv1. No message of one version finds an SA of the other.
    pub(crate) const fn is_v1(&self) -> bool {
        self.keys.is_v1()
    }

    /// Of IKEv1: phase 1 is over, and what has to come before it is up may still come.
    #[cfg(feature = "ikev1")]
    pub(crate) const fn is_entering(&self) -> bool {
        matches!(self.keys.v1(), Some(phase1) if phase1.is_entering())
    }

    /// Never so.
    #[cfg(not(feature = "ikev1"))]
    pub(crate) const fn is_entering(&self) -> bool {
        false
    }

    /// Of IKEv1: the peer did not know of it when it asked for another one. An initiator of Aggressive Mode has its SA before the
    /// peer does, who says with another one that it has none (RFC 2407 section 4.6.3.3); not a peer that has spoken under this
    /// one before it asked.
    #[cfg(feature = "ikev1")]
    pub(crate) fn crosses(&self, asked: Instant, peer: &Peer<'_>) -> bool {
        let Some(phase1) = self.keys.v1() else { return false };
        let aggressive = peer.versions.v1().is_some_and(|v1| v1.mode == Phase1Mode::Aggressive);
        let spoke = self.heard > phase1.since && self.heard < asked;
        let unsure = self.initiator && aggressive && !spoke;
        phase1.since.after(if unsure { CROSSING } else { Duration::ZERO }) > asked
    }

    /// Never so.
    #[cfg(not(feature = "ikev1"))]
    pub(crate) const fn crosses(&self, _: Instant, _: &Peer<'_>) -> bool {
        false
    }

    /// Cipher and hash of IKEv1.
    #[cfg(feature = "ikev1")]
    pub(crate) const fn protection(&self) -> crate::v1::keymat::Protection {
        let suite = self.choice.suite;
        let prf = self.choice.prf;
        crate::v1::keymat::Protection { encr: suite.encr, key_bits: suite.key_bits, prf }
    }

    /// The SPI that we chose: it carries the number of the slot.
    pub(crate) const fn own_spi(&self) -> u64 {
        if self.initiator { self.spi_i } else { self.spi_r }
    }

    /// Our part in the keys.
    pub(crate) const fn role(&self) -> Role {
        if self.initiator { Role::Initiator } else { Role::Responder }
    }

    /// The peer's part in the keys.
    pub(crate) const fn peer_role(&self) -> Role {
        if self.initiator { Role::Responder } else { Role::Initiator }
    }

    /// Whether requests of either side are handled.
    pub(crate) const fn is_authenticated(&self) -> bool {
        !matches!(self.state, SaState::Empty | SaState::Larval)
    }

    /// Where it is.
    pub(crate) const fn ends(&self) -> Ends {
        let Self { path, proven, nat_local, nat_remote, .. } = *self;
        Ends { path, proven, nat_local, nat_remote }
    }

    /// What an SA that replaces it has to know of its moves and its authentication.
    pub(crate) const fn moving(&self) -> Moving {
        let Self { mobike, decides, check, mapping, strayed, reauth_at, .. } = *self;
        Moving { mobike, decides, check, mapping, strayed, reauth_at }
    }

    /// Takes what the SA knew that it replaces. What that one has asked is asked again.
    pub(crate) fn take_moving(&mut self, moving: Moving) {
        self.mobike = moving.mobike;
        self.decides = moving.decides;
        self.reauth_at = moving.reauth_at;
        self.mapping = moving.mapping;
        self.strayed = moving.strayed;
        if moving.check != Check::None {
            self.check = Check::Due;
            self.want |= want::CHECK;
        }
    }

    /// Where the packets of a child go: while it is not shown that the peer is at a new address, to the last one of which it
    /// was.
    pub(crate) fn data_path(&self, encapsulated: bool) -> Path {
        let mut path = self.path;
        if self.check != Check::None || self.seeking {
            path.remote.address = self.proven;
        } else if self.strayed.port != 0 {
            path.remote = self.strayed;
        }
        if encapsulated { path } else { path.with_ports(0, 0) }
    }

    pub(crate) const fn agreed(&self) -> IkeAgreed {
        IkeAgreed {
            initiator_spi: self.spi_i,
            responder_spi: self.spi_r,
            suite: self.choice.suite,
            prf: self.choice.prf,
            group: self.choice.group,
            additional: self.choice.additional.0,
            ppk: self.ppk,
            nat_local: self.nat_local,
            nat_remote: self.nat_remote,
        }
    }

    /// The fragments of a message that is not complete.
    pub(crate) const fn partial(&self, response: bool) -> BufferId {
        let [requests, responses] = self.partial;
        if response { responses } else { requests }
    }

    pub(crate) const fn partial_mut(&mut self, response: bool) -> &mut BufferId {
        let [requests, responses] = &mut self.partial;
        if response { responses } else { requests }
    }

    /// The next initialization vector's counter.
    pub(crate) const fn next_iv(&mut self) -> u64 {
        self.iv = self.iv.saturating_add(1);
        self.iv
    }
}

impl<'r, P: Provider> Ike<'r, P> {
    /// Takes a slot for an IKE SA and chooses our SPI: its low bits are the slot's number, the rest is random.
    pub(crate) fn new_sa(&mut self, env: &mut Env<'_>, initiator: bool) -> Option<u32> {
        let number = self.free_sas.first()?;
        let spi = self.choose_spi(env, number);
        let slot = self.sas.get_mut(number as usize)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.sa = IkeSa::EMPTY;
        slot.sa.state = SaState::Larval;
        slot.sa.initiator = initiator;
        slot.sa.heard = env.now;
        slot.sa.reauth_at = Instant::MAX;
        if initiator {
            slot.sa.spi_i = spi
        } else {
            slot.sa.spi_r = spi
        }
        let _ = self.free_sas.pop();
        Some(number)
    }

    /// An SPI of ours for a slot.
    pub(crate) fn choose_spi(&self, env: &mut Env<'_>, number: u32) -> u64 {
        let random = env.rng.next_u64() & !self.slot_mask;
        // An SPI is never zero (RFC 7296 section 3.1).
        let random = if random == 0 { !self.slot_mask } else { random };
        random | u64::from(number)
    }

    /// Wipes an IKE SA and gives back its slot.
    pub(crate) fn release_sa(&mut self, number: u32) {
        self.free_lease(number);
        self.forget_given(number);
        self.forget_partial(number, false);
        self.forget_partial(number, true);
        if let Some(slot) = self.sas.get_mut(number as usize)
            && slot.sa.state != SaState::Empty
        {
            self.by_peer.remove(slot.sa.file, number);
            slot.sa = IkeSa::EMPTY;
            slot.generation = slot.generation.wrapping_add(1);
            self.deadlines.set(number, None);
            self.free_sas.push(number);
        }
    }

    /// Gives back the buffer with what the peer gave.
    pub(crate) fn forget_given(&mut self, number: u32) {
        if let Some(slot) = self.sas.get_mut(number as usize) {
            self.buffers.release(&mut slot.sa.given);
        }
    }

    /// Puts an SA where [`Ike::sas_of`] finds it: by its peer, and where many may come from one entry of the
    /// configuration, by the identity as well.
    pub(crate) fn file_sa(&mut self, number: u32, identity: u64) {
        let Some(sa) = self.sa(number) else { return };
        sa.identity = identity;
        let (peer, before) = (sa.peer, sa.file);
        let file = self.file_of(peer, identity);
        self.by_peer.remove(before, number);
        self.by_peer.insert(file, number);
        if let Some(sa) = self.sa(number) {
            sa.file = file;
        }
    }

    /// Names a peer: by its entry, and where many may come from one entry, by the identity as well. Never 0.
    pub(crate) fn file_of(&self, peer: u16, identity: u64) -> u64 {
        let config = self.config.peers.get(usize::from(peer));
        let one = config.is_some_and(|p| {
            // One key is one peer, whoever it says it is.
            let one_key = matches!(p.auth.remote, RemoteAuth::RawPublicKey { .. });
            (p.remote.is_some() || p.remote_id != Identity::Any || one_key) && !p.wants_user()
        });
        let identity = if one { 0 } else { identity };
        self.by_peer.hash(&[&peer.to_be_bytes(), &identity.to_be_bytes()]).max(1)
    }

    /// The SAs of a peer, or if it is one of many with the same entry, of this identity.
    pub(crate) fn sas_of(&self, peer: u16, identity: u64) -> impl Iterator<Item = (u32, &IkeSa)> {
        let found = self.by_peer.find(self.file_of(peer, identity));
        found.filter_map(move |number| {
            let sa = &self.sas.get(number as usize)?.sa;
            (sa.state != SaState::Empty && sa.peer == peer).then_some((number, sa))
        })
    }

    /// Makes room for one more SA of a peer. It has a few at most, so that none are taken from others: the oldest of those
    /// that are over go, and with `anew` the oldest at all. `false` if there is none but `keep`.
    pub(crate) fn limit_sas(
        &mut self,
        env: &mut Env<'_>,
        keep: u32,
        (peer, identity): (u16, u64),
        anew: bool,
    ) -> bool {
        let file = self.file_of(peer, identity);
        for _ in 0..=SAS_PER_PEER {
            let (mut count, mut oldest) = (0usize, None);
            for (number, sa) in self.sas_of(peer, identity).filter(|(_, sa)| sa.file == file) {
                let goes = match sa.state {
                    SaState::Established => anew,
                    SaState::Rekeyed => true,
                    SaState::Deleted => sa.tell == 0,
                    // Those that we delete end soon, whatever the peer does.
                    SaState::Empty | SaState::Larval | SaState::Waiting | SaState::Closing => {
                        continue;
                    }
                };
                count = count.saturating_add(1);
                if goes && number != keep {
                    oldest = Some((number, sa.state, sa.theirs));
                }
            }
            if count < SAS_PER_PEER {
                return true;
            }
            match oldest {
                None => return false,
                Some((number, SaState::Deleted, theirs)) => {
                    if let Some(context) = theirs.checked_sub(1) {
                        self.end_exchange(env, context);
                    }
                    self.release_sa(number);
                }
                Some((number, _, _)) => self.sa_down(env, number, DownReason::Replaced),
            }
        }
        false
    }

    #[inline(never)]
    pub(crate) fn sa(&mut self, number: u32) -> Option<&mut IkeSa> {
        self.sas.get_mut(number as usize).map(|s| &mut s.sa).filter(|s| s.state != SaState::Empty)
    }

    /// The slot of a live handle.
    pub(crate) fn sa_number(&self, id: IkeId) -> Option<u32> {
        let slot = self.sas.get(id.slot as usize)?;
        (slot.generation == id.generation && slot.sa.is_authenticated()).then_some(id.slot)
    }

    #[inline(never)]
    pub(crate) fn ike_id(&self, number: u32) -> IkeId {
        let generation = self.sas.get(number as usize).map_or(0, |s| s.generation);
        IkeId { slot: number, generation }
    }

    /// The slot that an SPI of ours names.
    pub(crate) fn sa_by_spi(&self, own_spi: u64, peer_spi: u64) -> Option<u32> {
        let number = self.sa_by_own_spi(own_spi)?;
        let sa = &self.sas.get(number as usize)?.sa;
        let theirs = if sa.initiator { sa.spi_r } else { sa.spi_i };
        (theirs == peer_spi).then_some(number)
    }

    /// The slot that an SPI of ours names, whatever the peer's is. Only SAs of IKEv2 are found.
    pub(crate) fn sa_by_own_spi(&self, own_spi: u64) -> Option<u32> {
        let number = u32::try_from(own_spi & self.slot_mask).ok()?;
        let sa = &self.sas.get(number as usize)?.sa;
        (sa.state != SaState::Empty && !sa.is_v1() && sa.own_spi() == own_spi).then_some(number)
    }

    /// The configuration of an SA's peer.
    #[inline(never)]
    pub(crate) fn peer_of(&self, sa: u32) -> Option<&'r Peer<'r>> {
        let peer = self.sas.get(sa as usize)?.sa.peer;
        self.config.peers.get(usize::from(peer))
    }

    /// The configuration of a child.
    #[inline(never)]
    pub(crate) fn child_config(&self, config: ChildRef) -> Option<&'r config::Child<'r>> {
        let peer = self.config.peers.get(usize::from(config.peer))?;
        peer.children.get(usize::from(config.child))
    }

    /// Ends an IKE SA: its exchanges and children end, and the caller is told.
    ///
    /// One that the peer deleted stays a little, to repeat its last response to a peer that asks again.
    pub(crate) fn sa_down(&mut self, env: &mut Env<'_>, number: u32, reason: DownReason) {
        if self.sa(number).is_some_and(|sa| sa.state == SaState::Established)
            && let Some(waiting) = self.waiting_for(number)
        {
            if reason == DownReason::Deleted {
                // RFC 7296 section 2.8.2: the peer has it, and needs the old one no more.
                self.prefer(env, waiting);
            } else {
                self.release_waiting(env, waiting);
            }
        }
        #[cfg(feature = "ikev1")]
        self.v1_end_exchanges(env, number);
        let Some(sa) = self.sa(number) else { return };
        let lingers = reason == DownReason::Deleted;
        sa.tell &= !(tell::GIVEN | tell::FORGET);
        let announced = sa.is_authenticated() && !sa.replaced;
        sa.down = reason;
        sa.state = if lingers { SaState::Deleted } else { SaState::Closing };
        sa.want = 0;
        let (ours, theirs) = (sa.ours, if lingers { 0 } else { sa.theirs });
        for context in [ours, theirs].into_iter().filter_map(|n| n.checked_sub(1)) {
            self.end_exchange(env, context);
        }
        let why = match reason {
            DownReason::Closed | DownReason::PeerSilent { .. } => reason,
            _ => DownReason::IkeGone,
        };
        while let Some(child) = self.sa(number).and_then(|sa| sa.children.checked_sub(1)) {
            self.child_down(env, child, why);
        }
        self.free_lease(number);
        self.forget_given(number);
        self.deadlines.set(number, lingers.then(|| env.now.after(LINGER)));
        if announced {
            if let Some(sa) = self.sa(number) {
                sa.tell = tell::DOWN;
            }
            self.events.push(number);
        } else if !lingers {
            self.release_sa(number);
        }
    }
}
