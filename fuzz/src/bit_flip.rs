//! One changed bit: what ESP or AH protects is noticed, whatever the algorithm, the mode and the packet.
//!
//! What is not protected is told by a second opinion of what may change on the way (RFC 4302 section 3.3.3.1).

use ipsec_core::crypto::Provider;
use ipsec_core::sa::{AhAlign, Algorithms};
use ipsec_core::sad::{InboundSlot, OutboundSlot, Sad, SadMemory};
use ipsec_core::wire::protocol;
use ipsec_esp::{Inbound, inbound_ip};
use ipsec_testkit::toy::Toy;

use crate::esp_modes::{NOW, Sent, World};
use crate::input::Input;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut inbound, mut outbound) = ([InboundSlot::EMPTY], [OutboundSlot::EMPTY]);
    let (mut windows, mut links) = ([0; 4], [0; 4]);
    let sad = Sad::new(SadMemory {
        inbound: &mut inbound,
        outbound: &mut outbound,
        windows: &mut windows,
        links: &mut links,
        foreign: &mut [],
    });
    let bits = input.u8();
    let protection = if bits & 1 != 0 {
        let align = if bits & 2 != 0 { AhAlign::Eight } else { AhAlign::Standard };
        Algorithms::Ah(input.one_of(Toy::INTEGS), align)
    } else {
        Algorithms::Esp(input.one_of(Toy::SUITES))
    };
    let Some(mut world) = World::with(&mut input, sad, bits, protection) else { return };
    let packet = world.packet(&mut input);
    world.seal(&packet);
    if world.sent.is_empty() {
        let ordinary = world.ordinary();
        world.seal(&ordinary);
    }
    let Some(sent) = world.sent.first().cloned() else { return };
    let mut random = input.seed();
    for _ in 0..24 {
        let chosen = input.step().map(|high| usize::from(high) << 8 | usize::from(input.u8()));
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let bit = chosen.unwrap_or((random >> 40) as usize) % (sent.outer.len() * 8);
        if !refuses(&mut world, &sent, bit) {
            return; // the number is spent
        }
    }
    // Nothing was taken from the true packet.
    world.deliver(&sent, &sent.outer);
}

/// Changes one bit. A packet that is then accepted must have been changed where it may be; says whether it was not.
fn refuses(world: &mut World<'_>, sent: &Sent, bit: usize) -> bool {
    let mut changed = sent.outer.clone();
    changed[bit / 8] ^= 0x80 >> (bit % 8);
    let state = |world: &World<'_>| {
        let sa = world.sad.inbound(world.into).unwrap();
        (sa.protection.usage, *sa.window())
    };
    let before = state(world);
    let passed =
        matches!(inbound_ip(&mut world.sad, NOW, &mut changed), Ok(Inbound::Packet { .. }));
    let unchanged = state(world) == before;
    if is_protected(world, sent, bit) {
        let what = (world.protection, bit, &sent.outer);
        assert!(!passed && unchanged, "{what:02x?}");
    }
    unchanged
}

fn is_protected(world: &World<'_>, sent: &Sent, bit: usize) -> bool {
    let at = bit / 8;
    if at >= sent.header_at {
        return true;
    }
    let header = &sent.outer[..sent.header_at];
    match (world.protection, header[0] >> 4) {
        (Algorithms::Esp(_), _) => false,
        (Algorithms::Ah(..), 4) => match at {
            // DSCP and ECN, flags and fragment offset, time to live, checksum.
            1 | 6..=8 | 10 | 11 => false,
            0..20 => true,
            // Record route, which is all that this target makes, is mutable.
            _ => !has_mutable_option(&header[20..]),
        },
        (Algorithms::Ah(..), _) => match at {
            0 => bit % 8 < 4,
            // The rest of the traffic class and the flow label; hop limit.
            1..=3 | 7 => false,
            4..40 => true,
            _ => is_immutable_extension(header, at),
        },
    }
}

/// Whether there is an option that is not one of those that RFC 4302 appendix A1 calls immutable.
fn has_mutable_option(mut options: &[u8]) -> bool {
    while let [kind, rest @ ..] = options {
        match kind {
            0 => return false,
            1 => options = rest,
            130 | 133 | 134 | 148 | 149 => {
                let len = rest.first().map_or(0, |len| usize::from(*len)).max(2);
                options = options.get(len..).unwrap_or_default();
            }
            _ => return true,
        }
    }
    false
}

/// Whether the byte belongs to hop-by-hop or destination options, and not to the data of one that may change (RFC 4302
/// section 3.3.3.1.2.2). Nothing is said of other headers.
fn is_immutable_extension(header: &[u8], at: usize) -> bool {
    let (mut next, mut start) = (header[6], 40);
    while matches!(next, protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS) {
        let Some(len) = header.get(start + 1).map(|len| (usize::from(*len) + 1) * 8) else {
            return false;
        };
        let end = start + len;
        if at < start + 2 {
            return true;
        }
        if at < end {
            let mut option = start + 2;
            while option < end {
                let size = match header.get(option..option + 2) {
                    Some([0, _]) => 1,
                    Some([_, len]) => 2 + usize::from(*len),
                    _ => 1,
                };
                if at < option + size {
                    let mutable = header[option] & 0x20 != 0 && header[option] != 0;
                    return !mutable || at < option + 2;
                }
                option += size;
            }
            return false;
        }
        next = header[start];
        start = end;
    }
    false
}
