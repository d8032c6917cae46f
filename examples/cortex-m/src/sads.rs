//! Memory for a SAD without IKE.

use ipsec::ipsec_core::crypto::Provider;
use ipsec::ipsec_core::replay;
use ipsec::ipsec_core::sad::{InboundSlot, OutboundSlot, SadMemory};

/// Words of the anti-replay bitmap: a window of 64 packets.
const WINDOW: usize = replay::words_for(64);

/// All that a SAD with one SA of each direction keeps.
pub struct Memory<P: Provider> {
    inbound: [InboundSlot<P>; 1],
    outbound: [OutboundSlot<P>; 1],
    window: [u32; WINDOW],
    links: [u32; 4],
}

impl<P: Provider> Memory<P> {
    pub const EMPTY: Self = Self {
        inbound: [InboundSlot::EMPTY],
        outbound: [OutboundSlot::EMPTY],
        window: [0; WINDOW],
        links: [0; 4],
    };

    pub fn lend(&mut self) -> SadMemory<'_, P> {
        SadMemory {
            inbound: &mut self.inbound,
            outbound: &mut self.outbound,
            windows: &mut self.window,
            links: &mut self.links,
            foreign: &mut [],
        }
    }
}
