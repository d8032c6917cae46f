//! The memory of a gateway: arrays for firmware, growable stores for daemons, and the slices that both lend.

use ipsec_core::crypto::Provider;
use ipsec_core::list::Deadline;
use ipsec_core::replay;
use ipsec_core::sad::{InboundSlot, OutboundSlot, SadMemory};
use ipsec_core::spd::{CacheEntry, IndexEntry, Policy, SpdMemory};
use ipsec_ike::{ChildSlot, ExchangeSlot, HandshakeSlot, IkeMemory, IkeSlot, Lease};

use crate::tunnel::{PairSlot, TunnelSlot};

/// How much a gateway has room for. What is exhausted refuses newcomers and touches nothing that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sizes {
    /// IKE SAs: those established, those half open, and those that replace others. Two for each peer is a good number.
    pub ike_sas: usize,
    /// Half-open exchanges, from IKE_SA_INIT to IKE_AUTH. A quarter is kept for those that this side begins. With one or
    /// two, every initiator must return a cookie first, which costs a round trip.
    pub handshakes: usize,
    /// Exchanges after IKE_AUTH: two for each peer, one of either side.
    pub exchanges: usize,
    /// Child SAs, each a pair of SAs: two for each tunnel, since a rekey has the old one and the new one at once.
    pub children: usize,
    /// Pairs of SAs besides: with manual keys, two for each where one protection goes around another; and of IKEv1, one for
    /// each child SA that is a bundle (`Child::around`).
    pub manual: usize,
    /// Policies: one for each configured child, and those that the caller adds.
    pub policies: usize,
    /// Message buffers: up to four for each half-open exchange, up to two for each other.
    pub buffers: usize,
    /// Bytes of each message buffer: the largest IKE message. One that is sent in fragments takes about 60 bytes more for
    /// each of them.
    pub buffer_len: usize,
    /// The largest anti-replay window, in packets.
    pub window: u32,
}

impl Sizes {
    /// Usual sizes for so many tunnels, each to a peer of its own.
    pub const fn for_tunnels(tunnels: usize) -> Self {
        let handshakes = tunnels / 8 + 4;
        let exchanges = 2 * tunnels + 2;
        let busy = if exchanges < 64 { exchanges } else { 64 };
        Self {
            ike_sas: 2 * tunnels + handshakes,
            handshakes,
            exchanges,
            children: 2 * tunnels + 2,
            manual: 0,
            policies: tunnels + 8,
            buffers: 4 * handshakes + exchanges + busy,
            buffer_len: 1500,
            window: 1024,
        }
    }

    /// Words of the engine's lists.
    pub const fn links<P: Provider>(&self) -> usize {
        let Self { ike_sas, handshakes, exchanges, children, buffers, .. } = *self;
        IkeMemory::<P>::links(ike_sas, handshakes, exchanges, children, buffers)
    }

    /// Deadlines of the engine.
    pub const fn deadlines(&self) -> usize {
        self.ike_sas + self.handshakes + self.exchanges + self.children
    }

    /// Places in the index of policies: four for each, which is enough while policies have, on average, no more than four
    /// pairs of a local and a remote selector. Without enough of them, look-ups go through all policies.
    pub const fn policy_index(&self) -> usize {
        self.policies.saturating_mul(4)
    }

    /// Flows whose policy is remembered: four for each policy, from 64 to 65,536.
    pub const fn policy_cache(&self) -> usize {
        match self.policies.saturating_mul(4) {
            flows @ 64..=65_536 => flows,
            flows if flows < 64 => 64,
            _ => 65_536,
        }
    }

    /// SAs of either direction: child SAs, and those with manual keys.
    pub const fn sas(&self) -> usize {
        self.children.saturating_add(self.manual)
    }

    /// Words of the index of SPIs that are not ours, as SAs with manual keys have.
    pub const fn foreign(&self) -> usize {
        self.sas().saturating_mul(2)
    }

    /// Words of the anti-replay bitmap of one SA.
    pub const fn window_words(&self) -> usize {
        replay::words_for(self.window)
    }
}

/// Everything that a gateway keeps, lent for as long as it lives. An empty slot is all zero bytes.
pub struct Memory<'r, P: Provider> {
    /// The security association database. As many slots of each direction as there are pairs.
    pub sad: SadMemory<'r, P>,
    /// The IKE engine.
    pub ike: IkeMemory<'r, P>,
    /// The security policy database. With an index and a cache, its look-ups do not get slower with more policies.
    pub spd: SpdMemory<'r>,
    /// One for each configured child, and each policy with manual keys.
    pub tunnels: &'r mut [TunnelSlot],
    /// One for each child SA, and behind them one for each pair of SAs with manual keys.
    pub pairs: &'r mut [PairSlot],
}

/// The memory of a gateway as arrays: for a `static`, or for the stack. [`resources!`](crate::resources) names the
/// type.
///
/// All of it is zero bytes, so that a static costs no flash.
pub struct Resources<
    P: Provider,
    const IKE_SAS: usize,
    const HANDSHAKES: usize,
    const EXCHANGES: usize,
    const CHILDREN: usize,
    const SAS: usize,
    const FOREIGN: usize,
    const POLICIES: usize,
    const BUFFERS: usize,
    const BUFFER_LEN: usize,
    const WINDOW_WORDS: usize,
    const LINKS: usize,
    const DEADLINES: usize,
> {
    inbound: [InboundSlot<P>; SAS],
    outbound: [OutboundSlot<P>; SAS],
    windows: [[u32; WINDOW_WORDS]; SAS],
    sad_links: [[u32; 4]; SAS],
    sad_foreign: [u32; FOREIGN],
    ike_sas: [IkeSlot; IKE_SAS],
    handshakes: [HandshakeSlot<P>; HANDSHAKES],
    exchanges: [ExchangeSlot<P>; EXCHANGES],
    children: [ChildSlot; CHILDREN],
    buffers: [[u8; BUFFER_LEN]; BUFFERS],
    links: [u32; LINKS],
    deadlines: [Deadline; DEADLINES],
    policies: [Policy; POLICIES],
    tunnels: [TunnelSlot; POLICIES],
    pairs: [PairSlot; SAS],
}

impl<
    P: Provider,
    const IKE_SAS: usize,
    const HANDSHAKES: usize,
    const EXCHANGES: usize,
    const CHILDREN: usize,
    const SAS: usize,
    const FOREIGN: usize,
    const POLICIES: usize,
    const BUFFERS: usize,
    const BUFFER_LEN: usize,
    const WINDOW_WORDS: usize,
    const LINKS: usize,
    const DEADLINES: usize,
>
    Resources<
        P,
        IKE_SAS,
        HANDSHAKES,
        EXCHANGES,
        CHILDREN,
        SAS,
        FOREIGN,
        POLICIES,
        BUFFERS,
        BUFFER_LEN,
        WINDOW_WORDS,
        LINKS,
        DEADLINES,
    >
{
    /// Nothing but zeros. It does not compile if the lists are shorter than the pools ask for.
    pub const fn new() -> Self {
        const {
            let links = IkeMemory::<P>::links(IKE_SAS, HANDSHAKES, EXCHANGES, CHILDREN, BUFFERS);
            assert!(LINKS >= links, "LINKS is less than Sizes::links");
            let deadlines = IKE_SAS + HANDSHAKES + EXCHANGES + CHILDREN;
            assert!(DEADLINES >= deadlines, "DEADLINES is less than Sizes::deadlines");
            assert!(SAS >= CHILDREN, "SAS is less than Sizes::sas");
        }
        Self {
            inbound: [const { InboundSlot::EMPTY }; SAS],
            outbound: [const { OutboundSlot::EMPTY }; SAS],
            windows: [[0; WINDOW_WORDS]; SAS],
            sad_links: [[0; 4]; SAS],
            sad_foreign: [0; FOREIGN],
            ike_sas: [const { IkeSlot::EMPTY }; IKE_SAS],
            handshakes: [const { HandshakeSlot::EMPTY }; HANDSHAKES],
            exchanges: [const { ExchangeSlot::EMPTY }; EXCHANGES],
            children: [const { ChildSlot::EMPTY }; CHILDREN],
            buffers: [[0; BUFFER_LEN]; BUFFERS],
            links: [0; LINKS],
            deadlines: [Deadline::EMPTY; DEADLINES],
            policies: [const { Policy::EMPTY }; POLICIES],
            tunnels: [const { TunnelSlot::EMPTY }; POLICIES],
            pairs: [const { PairSlot::EMPTY }; SAS],
        }
    }

    /// Lends all of it to a gateway.
    pub const fn lend(&mut self) -> Memory<'_, P> {
        Memory {
            sad: SadMemory {
                inbound: &mut self.inbound,
                outbound: &mut self.outbound,
                windows: self.windows.as_flattened_mut(),
                links: self.sad_links.as_flattened_mut(),
                foreign: &mut self.sad_foreign,
            },
            ike: IkeMemory {
                sas: &mut self.ike_sas,
                handshakes: &mut self.handshakes,
                exchanges: &mut self.exchanges,
                children: &mut self.children,
                buffers: self.buffers.as_flattened_mut(),
                buffer_len: BUFFER_LEN,
                // Who wants messages in fragments lends this apart.
                assembly: &mut [],
                links: &mut self.links,
                deadlines: &mut self.deadlines,
                // Who gives addresses away lends this apart.
                leases: &mut [],
            },
            // Firmware has few policies: they are looked at one by one.
            spd: SpdMemory {
                policies: &mut self.policies,
                index: &mut [],
                buckets: &mut [],
                cache: &mut [],
            },
            tunnels: &mut self.tunnels,
            pairs: &mut self.pairs,
        }
    }
}

impl<
    P: Provider,
    const IKE_SAS: usize,
    const HANDSHAKES: usize,
    const EXCHANGES: usize,
    const CHILDREN: usize,
    const SAS: usize,
    const FOREIGN: usize,
    const POLICIES: usize,
    const BUFFERS: usize,
    const BUFFER_LEN: usize,
    const WINDOW_WORDS: usize,
    const LINKS: usize,
    const DEADLINES: usize,
> Default
    for Resources<
        P,
        IKE_SAS,
        HANDSHAKES,
        EXCHANGES,
        CHILDREN,
        SAS,
        FOREIGN,
        POLICIES,
        BUFFERS,
        BUFFER_LEN,
        WINDOW_WORDS,
        LINKS,
        DEADLINES,
    >
{
    fn default() -> Self {
        Self::new()
    }
}

/// Names the [`Resources`] of these [`Sizes`]: a type, for firmware whose memory is static.
///
/// ```
/// use ipsec_rustcrypto::RustCrypto;
///
/// type Memory = ipsec::resources!(
///     RustCrypto;
///     ike_sas: 2,
///     handshakes: 1,
///     exchanges: 2,
///     children: 2,
///     policies: 1,
///     buffers: 4,
///     buffer_len: 1280,
///     window: 64,
/// );
/// static MEMORY: std::sync::Mutex<Memory> = std::sync::Mutex::new(Memory::new());
/// ```
///
/// IKE messages in fragments (RFC 7383) need memory besides, as long as the largest message: it goes into
/// [`IkeMemory::assembly`] of what [`Resources::lend`] gives.
///
/// With manual keys, `manual: 1,` follows `children`: see [`Sizes::manual`].
///
/// Firmware puts it into a `static_cell::ConstStaticCell<Memory>` and lends from `MEMORY.try_take()`, which, unlike
/// `take()`, links no panic. That gives a `Gateway<'static, P>`, which a task can own.
#[macro_export]
macro_rules! resources {
    (
        $provider:ty;
        ike_sas: $ike_sas:expr,
        handshakes: $handshakes:expr,
        exchanges: $exchanges:expr,
        children: $children:expr,
        $(manual: $manual:expr,)?
        policies: $policies:expr,
        buffers: $buffers:expr,
        buffer_len: $buffer_len:expr,
        window: $window:expr $(,)?
    ) => {
        $crate::Resources<
            $provider,
            { $ike_sas },
            { $handshakes },
            { $exchanges },
            { $children },
            { $children $(+ $manual)? },
            { 0 $(+ 2 * ($children + $manual))? },
            { $policies },
            { $buffers },
            { $buffer_len },
            { $crate::ipsec_core::replay::words_for($window) },
            {
                $crate::ipsec_ike::IkeMemory::<$provider>::links(
                    $ike_sas, $handshakes, $exchanges, $children, $buffers,
                )
            },
            { $ike_sas + $handshakes + $exchanges + $children },
        >
    };
}

/// What a growable store is: this crate has no heap, so a program that has one says so, once.
///
/// ```
/// struct Vecs;
///
/// impl ipsec::Store for Vecs {
///     type Of<T> = Vec<T>;
///
///     fn collect<T>(items: impl Iterator<Item = T>) -> Vec<T> {
///         items.collect()
///     }
/// }
///
/// let sizes = ipsec::Sizes::for_tunnels(100);
/// let mut pools = ipsec::Pools::<ipsec_rustcrypto::RustCrypto, Vecs>::new(&sizes);
/// let memory = pools.lend(); // for Gateway::new
/// # let _ = memory;
/// ```
pub trait Store {
    /// A store of `T`.
    type Of<T>: AsMut<[T]>;

    /// A store with these items.
    fn collect<T>(items: impl Iterator<Item = T>) -> Self::Of<T>;
}

/// The memory of a gateway whose sizes are known only when the program runs. It must outlive the gateway.
pub struct Pools<P: Provider, S: Store> {
    inbound: S::Of<InboundSlot<P>>,
    outbound: S::Of<OutboundSlot<P>>,
    windows: S::Of<u32>,
    sad_links: S::Of<u32>,
    sad_foreign: S::Of<u32>,
    ike_sas: S::Of<IkeSlot>,
    handshakes: S::Of<HandshakeSlot<P>>,
    exchanges: S::Of<ExchangeSlot<P>>,
    children: S::Of<ChildSlot>,
    buffers: S::Of<u8>,
    buffer_len: usize,
    assembly: S::Of<u8>,
    links: S::Of<u32>,
    deadlines: S::Of<Deadline>,
    leases: S::Of<Lease>,
    policies: S::Of<Policy>,
    policy_index: S::Of<IndexEntry>,
    policy_buckets: S::Of<u32>,
    policy_cache: S::Of<CacheEntry>,
    tunnels: S::Of<TunnelSlot>,
    pairs: S::Of<PairSlot>,
}

impl<P: Provider, S: Store> Pools<P, S> {
    /// Memory of these sizes, all empty.
    pub fn new(sizes: &Sizes) -> Self {
        let (children, sas) = (sizes.children, sizes.sas());
        Self {
            inbound: fill::<S, _>(sas, || InboundSlot::EMPTY),
            outbound: fill::<S, _>(sas, || OutboundSlot::EMPTY),
            windows: fill::<S, _>(sas.saturating_mul(sizes.window_words()), || 0),
            sad_links: fill::<S, _>(sas.saturating_mul(4), || 0),
            sad_foreign: fill::<S, _>(sizes.foreign(), || 0),
            ike_sas: fill::<S, _>(sizes.ike_sas, || IkeSlot::EMPTY),
            handshakes: fill::<S, _>(sizes.handshakes, || HandshakeSlot::EMPTY),
            exchanges: fill::<S, _>(sizes.exchanges, || ExchangeSlot::EMPTY),
            children: fill::<S, _>(children, || ChildSlot::EMPTY),
            buffers: fill::<S, _>(sizes.buffers.saturating_mul(sizes.buffer_len), || 0),
            assembly: fill::<S, _>(sizes.buffer_len, || 0),
            buffer_len: sizes.buffer_len,
            links: fill::<S, _>(sizes.links::<P>(), || 0),
            deadlines: fill::<S, _>(sizes.deadlines(), || Deadline::EMPTY),
            leases: fill::<S, _>(0, || Lease::EMPTY),
            policies: fill::<S, _>(sizes.policies, || Policy::EMPTY),
            policy_index: fill::<S, _>(sizes.policy_index(), || IndexEntry::EMPTY),
            policy_buckets: fill::<S, _>(sizes.policy_index(), || 0),
            policy_cache: fill::<S, _>(sizes.policy_cache(), || CacheEntry::EMPTY),
            tunnels: fill::<S, _>(sizes.policies, || TunnelSlot::EMPTY),
            pairs: fill::<S, _>(sas, || PairSlot::EMPTY),
        }
    }

    /// With room for so many peers that take an address of [`Config::pool`](ipsec_ike::config::Config::pool).
    #[must_use]
    pub fn with_leases(mut self, leases: usize) -> Self {
        self.leases = fill::<S, _>(leases, || Lease::EMPTY);
        self
    }

    /// Lends all of it to a gateway.
    pub fn lend(&mut self) -> Memory<'_, P> {
        Memory {
            sad: SadMemory {
                inbound: self.inbound.as_mut(),
                outbound: self.outbound.as_mut(),
                windows: self.windows.as_mut(),
                links: self.sad_links.as_mut(),
                foreign: self.sad_foreign.as_mut(),
            },
            ike: IkeMemory {
                sas: self.ike_sas.as_mut(),
                handshakes: self.handshakes.as_mut(),
                exchanges: self.exchanges.as_mut(),
                children: self.children.as_mut(),
                buffers: self.buffers.as_mut(),
                buffer_len: self.buffer_len,
                assembly: self.assembly.as_mut(),
                links: self.links.as_mut(),
                deadlines: self.deadlines.as_mut(),
                leases: self.leases.as_mut(),
            },
            spd: SpdMemory {
                policies: self.policies.as_mut(),
                index: self.policy_index.as_mut(),
                buckets: self.policy_buckets.as_mut(),
                cache: self.policy_cache.as_mut(),
            },
            tunnels: self.tunnels.as_mut(),
            pairs: self.pairs.as_mut(),
        }
    }
}

fn fill<S: Store, T>(len: usize, empty: fn() -> T) -> S::Of<T> {
    S::collect((0..len).map(|_| empty()))
}
