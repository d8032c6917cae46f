//! What everything takes, in bytes.

use ipsec::ipsec_core::sad::{InboundSlot, OutboundSlot};
use ipsec::ipsec_ike::{ChildSlot, ExchangeSlot, HandshakeSlot, IkeSlot};
use ipsec::{Gateway, PairSlot, Policy, TunnelSlot};

use crate::config::{BUFFER_LEN, BUFFERS, Memory};
use crate::crypto::Crypto;
use crate::site::Site;
use crate::{Failed, stack};

/// Prints the size of each kind of slot, and what is made of them.
pub fn sizes() {
    const SAS: usize = size_of::<InboundSlot<Crypto>>() + size_of::<OutboundSlot<Crypto>>();
    const CHILD: usize = SAS + size_of::<ChildSlot>() + size_of::<PairSlot>();
    const FIXED: usize =
        size_of::<Policy>() + size_of::<TunnelSlot>() + size_of::<Gateway<'static, Crypto>>();
    const MESSAGES: usize = BUFFERS * BUFFER_LEN;
    for (size, what) in [
        (size_of::<IkeSlot>(), "an IKE SA: IkeSlot"),
        (size_of::<HandshakeSlot<Crypto>>(), "a half-open exchange: HandshakeSlot"),
        (size_of::<ExchangeSlot<Crypto>>(), "any other exchange: ExchangeSlot"),
        (size_of::<ChildSlot>(), "a child SA in the IKE engine: ChildSlot"),
        (size_of::<PairSlot>(), "a child SA in the gateway: PairSlot"),
        (size_of::<InboundSlot<Crypto>>(), "an SA to receive on: InboundSlot"),
        (size_of::<OutboundSlot<Crypto>>(), "an SA to send on: OutboundSlot"),
        (SAS, "a pair of SAs"),
        (CHILD, "a pair of SAs, with all that is known of it"),
        (size_of::<Policy>(), "a policy: Policy"),
        (size_of::<TunnelSlot>(), "a configured tunnel: TunnelSlot"),
        (size_of::<Gateway<'static, Crypto>>(), "a gateway without what it is lent: Gateway"),
        (size_of::<IkeSlot>() + CHILD + FIXED, "one tunnel that is up, and its gateway"),
        (
            size_of::<Memory>() - MESSAGES + size_of::<Gateway<'static, Crypto>>(),
            "the same with room to bring it up and to change all keys, without message buffers",
        ),
        (MESSAGES, "message buffers"),
    ] {
        say!("{:>7} bytes  {}", size, what);
    }
}

/// Does something, and prints how deep the stack was in it.
pub fn phase<T>(name: &str, body: impl FnOnce() -> Result<T, Failed>) -> Result<T, Failed> {
    let (result, stack) = stack::measure(body);
    say!("{:>7} bytes  stack of {}", stack, name);
    result
}

/// Prints what a gateway did.
pub fn site(site: &Site) {
    let counters = site.gateway.counters();
    say!(
        "{}: {} packets sealed, {} opened, {} IKE datagrams sent, at most {} of {} buffers used; all memory is free again",
        site.name,
        counters.sealed,
        counters.opened,
        counters.ike_out,
        BUFFERS - site.buffers_free,
        BUFFERS,
    );
}
