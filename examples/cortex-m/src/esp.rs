//! ESP without IKE, on the same board: SAs whose keys lie in the image, and packets from one SAD to the other, in tunnel
//! and in transport mode.
//!
//! `cargo run --release --bin esp`; with `--features ah`, AH has its turn too. Such keys can never be changed, so that this is for a bench, or beneath another way
//! of agreeing on keys.
#![no_std]
#![no_main]

/// Prints a line, unless the image is to be quiet.
macro_rules! say {
    ($($line:tt)*) => {
        if !cfg!(feature = "quiet") {
            cortex_m_semihosting::hprintln!("{}", format_args!($($line)*));
        }
    };
}

mod rng;
mod sads;
mod stack;

use core::net::{IpAddr, Ipv4Addr};
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use ipsec::ipsec_core::crypto::Integ;
use ipsec::ipsec_core::mode::Mode;
use ipsec::ipsec_core::sa::{Algorithms, SaParams};
use ipsec::ipsec_core::sad::{InboundId, OutboundId, Sad, SpiAllocator};
use ipsec::ipsec_core::wire::{IpPacket, Ipv4Header};
use ipsec::ipsec_esp::{self, Inbound};
use ipsec::{Encapsulation, Endpoint, Instant, Lifetime, Path, Selectors, Suite, TrafficSelector};
use ipsec::{MAX_HEADROOM, PacketBuf};
use static_cell::ConstStaticCell;
use zerocopy::IntoBytes;

use rng::PredictableRng;
use sads::Memory;

type Crypto = ipsec_rustcrypto::Only<Ours>;

#[cfg(not(feature = "ah"))]
ipsec_rustcrypto::selection! {
    /// What these SAs need.
    pub enum Ours { AesGcm, Aes128 }
}

#[cfg(feature = "ah")]
ipsec_rustcrypto::selection! {
    /// What these SAs need.
    pub enum Ours { AesGcm, Aes128, HmacSha256 }
}

/// What packets are protected with, in turn.
const PROTECTIONS: &[Algorithms] = if cfg!(feature = "ah") {
    &[Algorithms::Esp(Suite::AES_128_GCM), Algorithms::ah(Integ::HMAC_SHA2_256_128)]
} else {
    &[Algorithms::Esp(Suite::AES_128_GCM)]
};

static KOLKATA: ConstStaticCell<Memory<Crypto>> = ConstStaticCell::new(Memory::EMPTY);
static DELHI: ConstStaticCell<Memory<Crypto>> = ConstStaticCell::new(Memory::EMPTY);
static FRAME: ConstStaticCell<[u8; 1600]> = ConstStaticCell::new([0; 1600]);

/// An IP protocol for experiments (RFC 3692).
const EXPERIMENT: u8 = 253;

/// Keys and salts. NOT FOR PRODUCTS: whoever reads this file knows them.
const KEYMAT: &[u8] = b"a key of 16 bytesalt, or a longer one for AH";

const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 1, 9), Ipv4Addr::new(192, 168, 2, 9)];
const GATEWAYS: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(198, 51, 100, 1)];

#[entry]
fn main() -> ! {
    let (result, stack) = stack::measure(run);
    match result {
        Some(()) => say!("{:>7} bytes  stack of packets; all arrived", stack),
        None => say!("FAILED"),
    }
    debug::exit(if result.is_some() { EXIT_SUCCESS } else { EXIT_FAILURE });
    idle()
}

/// Packets from Kolkata to Delhi: through a tunnel those of the hosts, in transport mode those of the gateways.
/// `None` if one did not arrive as it was.
fn run() -> Option<()> {
    let (kolkata, delhi) = (KOLKATA.try_take()?, DELHI.try_take()?);
    let (mut kolkata, mut delhi) = (Sad::new(kolkata.lend()), Sad::new(delhi.lend()));
    let frame = FRAME.try_take()?;
    for protection in PROTECTIONS {
        for (mode, ends) in [(Mode::TUNNEL, HOSTS), (Mode::TRANSPORT, GATEWAYS)] {
            let (sends, receives) = install(&mut kolkata, &mut delhi, *protection, mode)?;
            for len in [20, 64, 576, 1400] {
                pass(&mut kolkata, &mut delhi, sends, ends, len, frame)?;
            }
            let removed = kolkata.remove_outbound(sends) && delhi.remove_inbound(receives);
            removed.then_some(())?;
        }
    }
    Some(())
}

/// A packet of `len` bytes from one database to the other.
fn pass(
    kolkata: &mut Sad<'_, Crypto>,
    delhi: &mut Sad<'_, Crypto>,
    id: OutboundId,
    [from, to]: [Ipv4Addr; 2],
    len: usize,
    frame: &mut [u8],
) -> Option<()> {
    let header = Ipv4Header::new(from, to, EXPERIMENT, 0, 64, len - Ipv4Header::LEN)?;
    let header: [u8; Ipv4Header::LEN] = header.as_bytes().try_into().ok()?;
    let bytes = header.into_iter().chain((0..=u8::MAX).cycle()).take(len);
    let range = MAX_HEADROOM..MAX_HEADROOM + len;
    let room = frame.get_mut(range.clone())?;
    room.iter_mut().zip(bytes.clone()).for_each(|(to, from)| *to = from);
    let mut packet = PacketBuf::new(frame, range)?;
    let sealed = ipsec_esp::seal(kolkata, Instant::ZERO, id, &mut packet).ok()?;
    let outer = packet.into_slice();
    // Neither is as it was between the two.
    let protocol = IpPacket::parse(outer).ok()?.flow.protocol;
    (protocol == sealed.protocol.number() && outer.len() > len).then_some(())?;
    match ipsec_esp::inbound_ip(delhi, Instant::ZERO, outer).ok()? {
        Inbound::Packet { packet, .. } => packet.iter().copied().eq(bytes).then_some(()),
        _ => None,
    }
}

/// Puts an SA from Kolkata to Delhi into both databases.
fn install(
    kolkata: &mut Sad<'_, Crypto>,
    delhi: &mut Sad<'_, Crypto>,
    protection: Algorithms,
    mode: Mode,
) -> Option<(OutboundId, InboundId)> {
    let spi = delhi.reserve(&mut PredictableRng(1))?;
    let [here, there] = GATEWAYS.map(|a| Endpoint::new(IpAddr::V4(a), 0));
    let mut selectors = Selectors::EMPTY;
    selectors.local.push(TrafficSelector::ANY_V4).ok()?;
    selectors.remote.push(TrafficSelector::ANY_V4).ok()?;
    let params = SaParams {
        spi,
        protection,
        mode,
        keymat: KEYMAT.get(..protection.keymat_len()?)?,
        path: Path::new(here, there),
        encapsulation: Encapsulation::Ip,
        esn: false,
        replay_window: 64,
        lifetime: Lifetime::UNLIMITED,
        selectors: &selectors,
        tag: 0,
    };
    let receives = SaParams { path: Path::new(there, here), ..params.clone() };
    let receives = delhi.install_inbound(Instant::ZERO, &receives).ok()?;
    Some((kolkata.install_outbound(Instant::ZERO, &params).ok()?, receives))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("{}", info);
    debug::exit(EXIT_FAILURE);
    idle()
}

fn idle() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
