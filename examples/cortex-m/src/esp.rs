//! ESP without IKE, on the same board: two SAs whose keys lie in the image, and packets from one SAD to the other.
//!
//! `cargo run --release --bin esp`. Such keys can never be changed, so that this is for a bench, or beneath another way
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
mod stack;

use core::net::{IpAddr, Ipv4Addr};
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use ipsec::ipsec_core::mode::Mode;
use ipsec::ipsec_core::sa::{Algorithms, SaParams};
use ipsec::ipsec_core::sad::{InboundSlot, OutboundId, OutboundSlot, Sad, SadMemory, SpiAllocator};
use ipsec::ipsec_core::wire::{Ipv4Header, protocol};
use ipsec::ipsec_esp::{self, Inbound};
use ipsec::{Encapsulation, Endpoint, Instant, Lifetime, Path, Selectors, Suite, TrafficSelector};
use ipsec::{MAX_HEADROOM, PacketBuf};
use static_cell::ConstStaticCell;
use zerocopy::IntoBytes;

use rng::PredictableRng;

type Crypto = ipsec_rustcrypto::Only<Ours>;

ipsec_rustcrypto::selection! {
    /// What these two SAs need.
    pub enum Ours { AesGcm, Aes128 }
}

/// Words of the anti-replay bitmap: a window of 64 packets.
const WINDOW: usize = ipsec::ipsec_core::replay::words_for(64);

/// All that a SAD with one SA of each direction keeps.
struct Memory {
    inbound: [InboundSlot<Crypto>; 1],
    outbound: [OutboundSlot<Crypto>; 1],
    window: [u32; WINDOW],
    links: [u32; 4],
}

impl Memory {
    const EMPTY: Self = Self {
        inbound: [InboundSlot::EMPTY],
        outbound: [OutboundSlot::EMPTY],
        window: [0; WINDOW],
        links: [0; 4],
    };

    fn lend(&mut self) -> SadMemory<'_, Crypto> {
        SadMemory {
            inbound: &mut self.inbound,
            outbound: &mut self.outbound,
            windows: &mut self.window,
            links: &mut self.links,
            foreign: &mut [],
        }
    }
}

static KOLKATA: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::EMPTY);
static DELHI: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::EMPTY);
static FRAME: ConstStaticCell<[u8; 1600]> = ConstStaticCell::new([0; 1600]);

/// A key of AES-128-GCM and its salt. NOT FOR PRODUCTS: whoever reads this file knows it.
const KEYMAT: [u8; 20] = *b"a key of 16 bytesalt";

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

/// Packets from Kolkata to Delhi. `None` if one did not arrive as it was.
fn run() -> Option<()> {
    let mut kolkata = Sad::<Crypto>::new(KOLKATA.try_take()?.lend());
    let mut delhi = Sad::<Crypto>::new(DELHI.try_take()?.lend());
    let id = install(&mut kolkata, &mut delhi)?;
    let frame = FRAME.try_take()?;
    for (now, len) in [20, 64, 576, 1400].into_iter().enumerate() {
        let now = Instant::from_millis(now as u64);
        let header = Ipv4Header::new(HOSTS[0], HOSTS[1], protocol::UDP, 0, 64, len - 20)?;
        let header: [u8; Ipv4Header::LEN] = header.as_bytes().try_into().ok()?;
        let bytes = header.into_iter().chain((0..=u8::MAX).cycle()).take(len);
        let range = MAX_HEADROOM..MAX_HEADROOM + len;
        frame
            .get_mut(range.clone())?
            .iter_mut()
            .zip(bytes.clone())
            .for_each(|(to, from)| *to = from);
        let mut packet = PacketBuf::new(frame, range)?;
        ipsec_esp::seal(&mut kolkata, now, id, &mut packet).ok()?;
        match ipsec_esp::inbound_ip(&mut delhi, now, packet.into_slice()).ok()? {
            Inbound::Packet { packet, .. } if packet.iter().copied().eq(bytes) => {}
            _ => return None,
        }
    }
    Some(())
}

const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 1, 9), Ipv4Addr::new(192, 168, 2, 9)];

/// Puts an SA from Kolkata to Delhi into both databases.
fn install(kolkata: &mut Sad<'_, Crypto>, delhi: &mut Sad<'_, Crypto>) -> Option<OutboundId> {
    let spi = delhi.reserve(&mut PredictableRng(1))?;
    let ends = [[203, 0, 113, 1], [198, 51, 100, 1]]
        .map(|a| Endpoint::new(IpAddr::V4(Ipv4Addr::from(a)), 0));
    let mut selectors = Selectors::EMPTY;
    selectors.local.push(TrafficSelector::ANY_V4).ok()?;
    selectors.remote.push(TrafficSelector::ANY_V4).ok()?;
    let params = SaParams {
        spi,
        protection: Algorithms::Esp(Suite::AES_128_GCM),
        mode: Mode::TUNNEL,
        keymat: &KEYMAT,
        path: Path::new(ends[0], ends[1]),
        encapsulation: Encapsulation::Ip,
        esn: false,
        replay_window: 64,
        lifetime: Lifetime::UNLIMITED,
        selectors: &selectors,
        tag: 0,
    };
    let there = SaParams { path: Path::new(ends[1], ends[0]), ..params.clone() };
    delhi.install_inbound(Instant::ZERO, &there).ok()?;
    kolkata.install_outbound(Instant::ZERO, &params).ok()
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
