//! Databases of many SAs and many policies, and what to look up in them.

use std::hint::black_box;

use ipsec_core::crypto::Suite;
use ipsec_core::lifetime::Lifetime;
use ipsec_core::mode::Mode;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::{Encapsulation, Protocol, SaParams, Spi};
use ipsec_core::sad::{InboundSlot, Sad, SadMemory, SpiAllocator};
use ipsec_core::selector::{Flow, Selectors, TrafficSelector};
use ipsec_core::spd::{Action, CacheEntry, Direction, IndexEntry, Policy, Spd, SpdMemory};
use ipsec_core::time::Instant;
use ipsec_testkit::rng::SeededRng;

use crate::no_cipher::NoCipher;
use crate::packets::KEYMAT;

/// An SA database with inbound SAs only.
pub struct Sas {
    sad: Sad<'static, NoCipher>,
    /// Their SPIs, in no order.
    pub spis: Vec<Spi>,
}

impl Sas {
    /// So many SAs. Their memory is leaked.
    ///
    /// # Panics
    /// If one is not installed.
    pub fn new(count: usize) -> Self {
        let mut sad = Sad::new(SadMemory {
            inbound: Vec::leak((0..count).map(|_| InboundSlot::EMPTY).collect()),
            outbound: &mut [],
            windows: Vec::leak(vec![0; 4 * count]),
            links: Vec::leak(vec![0; 2 * count]),
            foreign: &mut [],
        });
        let selectors = Selectors::pair(TrafficSelector::ANY_V4, TrafficSelector::ANY_V4);
        let [a, b] = [[192, 0, 2, 1], [198, 51, 100, 2]].map(|a| Endpoint::new(a.into(), 0));
        let mut rng = SeededRng::new(1);
        let mut spis = Vec::new();
        for _ in 0..count {
            let spi = sad.reserve(&mut rng).expect("a slot is free");
            let params = SaParams {
                spi,
                protection: Suite::AES_128_GCM.into(),
                mode: Mode::TUNNEL,
                keymat: &KEYMAT[..20],
                path: Path::new(a, b),
                encapsulation: Encapsulation::Ip,
                esn: false,
                replay_window: 64,
                lifetime: Lifetime::UNLIMITED,
                selectors: &selectors,
                tag: 0,
            };
            sad.install_inbound(Instant::ZERO, &params).expect("it is good");
            spis.push(spi);
        }
        shuffle(&mut spis);
        Self { sad, spis }
    }

    /// Looks up all of these, by SPI, and reads of each SA where it begins.
    ///
    /// # Panics
    /// If one is not found.
    pub fn look_up(&self, spis: &[Spi]) {
        for spi in spis {
            let id = self.sad.lookup(Protocol::Esp, *spi).expect("it is there");
            black_box(self.sad.inbound(id).expect("it is there").protection.spi);
        }
    }
}

/// Entries of the cache of flows.
pub const CACHE: usize = 1024;

/// A policy database, and a flow of each policy.
pub struct Policies {
    spd: Spd<'static>,
    /// In no order.
    pub flows: Vec<Flow>,
}

impl Policies {
    /// So many policies, with networks of three sizes, an index and a cache. Their memory is leaked.
    ///
    /// # Panics
    /// If one is not added.
    pub fn new(count: usize) -> Self {
        let mut spd = Spd::with_index(SpdMemory {
            policies: Vec::leak(vec![Policy::EMPTY; count]),
            index: Vec::leak(vec![IndexEntry::EMPTY; count]),
            buckets: Vec::leak(vec![0; (2 * count).next_power_of_two()]),
            cache: Vec::leak(vec![CacheEntry::EMPTY; CACHE]),
        });
        let mut flows = Vec::new();
        for number in 0..count {
            let [_, high, middle, low] =
                u32::try_from(number).expect("not that many").to_be_bytes();
            let prefix = [24, 28, 32][number % 3];
            // Every network has a /24 of its own.
            let side = |net: u8| [10 + net + high, middle, low, 0].into();
            let selector = |net| TrafficSelector::network(side(net), prefix).expect("it is one");
            let tag = u32::try_from(number).expect("not that many");
            let selectors = Selectors::pair(selector(0), selector(100));
            spd.push(Policy::new(selectors, Action::Protect(tag))).expect("there is room");
            flows.push(Flow {
                source: side(0),
                destination: side(100),
                protocol: 17,
                source_port: Some(40_000),
                destination_port: Some(443),
            });
        }
        shuffle(&mut flows);
        Self { spd, flows }
    }

    /// Looks up all of these through the index.
    ///
    /// # Panics
    /// If one is not found.
    pub fn look_up(&self, flows: &[Flow]) {
        for flow in flows {
            let found = self.spd.lookup(Direction::Outbound, black_box(flow));
            assert!(black_box(found).is_some());
        }
    }

    /// Looks up all of these in the cache first.
    ///
    /// # Panics
    /// If one is not found.
    pub fn look_up_cached(&mut self, flows: &[Flow]) {
        for flow in flows {
            let found = self.spd.lookup_cached(Direction::Outbound, black_box(flow));
            assert!(black_box(found).is_some());
        }
    }
}

/// The same order in every run.
fn shuffle<T>(list: &mut [T]) {
    let mut state = 1u64;
    for end in (1..list.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let other = usize::try_from(state >> 33).expect("31 bits") % (end + 1);
        list.swap(end, other);
    }
}
