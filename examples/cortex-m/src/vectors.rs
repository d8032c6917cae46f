//! ESP and AH on the board, opposite somebody else: packets that scapy made, of every algorithm, in tunnel and transport
//! mode, over IPv4 and IPv6, are opened, and made again byte for byte.
//!
//! `cargo run --release --bin vectors --features legacy`. The packets are those of the tests of `ipsec-esp`.
#![no_std]
#![no_main]

/// Prints a line.
macro_rules! say {
    ($($line:tt)*) => {
        cortex_m_semihosting::hprintln!("{}", format_args!($($line)*))
    };
}

mod sads;
mod stack;

use core::convert::Infallible;
use core::fmt::{self, Display, Write};
use core::net::IpAddr;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use ipsec::ipsec_core::crypto::{Integ, Provider};
use ipsec::ipsec_core::mode::{AddressPair, Mode};
use ipsec::ipsec_core::sa::{Algorithms, SaParams, Spi};
use ipsec::ipsec_core::sad::{Sad, SpiAllocator};
use ipsec::ipsec_core::wire::IpPacket;
use ipsec::ipsec_esp::{self, Inbound};
use ipsec::{
    Encapsulation, Endpoint, Instant, Lifetime, PacketBuf, Path, Selectors, Suite, TrafficSelector,
};
use ipsec_rustcrypto::RustCrypto;
use rand_core::{TryCryptoRng, TryRng};
use static_cell::ConstStaticCell;

use sads::Memory;

/// Both files hold blocks of `name value` lines.
const ESP: &str = include_str!("../../../ipsec-esp/tests/vectors/esp.txt");
const AH: &str = include_str!("../../../ipsec-esp/tests/vectors/ah.txt");

static SENDER: ConstStaticCell<Memory<RustCrypto>> = ConstStaticCell::new(Memory::EMPTY);
static RECEIVER: ConstStaticCell<Memory<RustCrypto>> = ConstStaticCell::new(Memory::EMPTY);

/// Room before a packet: the longest AH in a tunnel over IPv6 needs 88.
const ROOM: usize = 96;
/// Room for any of the packets.
type Frame = [u8; 1024];

#[entry]
fn main() -> ! {
    let (passed, stack) = stack::measure(run);
    let all = vectors().count();
    say!("{:>7} bytes  stack, every algorithm linked", stack);
    say!("{} of {} packets were opened, and made again byte for byte", passed, all);
    // As many as the tests of `ipsec-esp` count.
    let as_expected = passed == all && all == 210 + 60;
    debug::exit(if as_expected { EXIT_SUCCESS } else { EXIT_FAILURE });
    idle()
}

fn vectors() -> impl Iterator<Item = Block<'static>> {
    ESP.trim().split("\n\n").chain(AH.trim().split("\n\n")).map(Block)
}

/// How many packets are as they should be.
fn run() -> usize {
    let (Some(sender), Some(receiver)) = (SENDER.try_take(), RECEIVER.try_take()) else { return 0 };
    let mut passed = 0;
    for block in vectors() {
        let opened = opens(&block, receiver);
        let sealed = seals(&block, sender);
        if opened.is_some() && sealed.is_some() {
            passed += 1;
        } else {
            say!("FAILED (opened {}, sealed {}):\n{}", opened.is_some(), sealed.is_some(), block.0);
        }
    }
    passed
}

/// What arrives comes out as scapy says.
#[inline(never)]
fn opens(block: &Block<'_>, memory: &mut Memory<RustCrypto>) -> Option<()> {
    let mut sad = Sad::new(memory.lend());
    let (mut keymat, mut selectors) = ([0; 128], Selectors::EMPTY);
    let there = block.params(&mut keymat, &mut selectors)?;
    // As the receiver sees it.
    let mode = match there.mode {
        Mode::Transport { original: Some(pair) } => {
            let original = AddressPair { local: pair.remote, remote: pair.local };
            Mode::Transport { original: Some(original) }
        }
        mode => mode,
    };
    let params = SaParams { path: Path::new(there.path.remote, there.path.local), mode, ..there };
    // A SAD of one slot takes any SPI.
    sad.reserve(&mut ChosenRng(params.spi.get())).filter(|spi| *spi == params.spi)?;
    let id = sad.install_inbound(Instant::ZERO, &params).ok()?;
    let sequence = block.sequence()?;
    if sequence > 100 {
        // Earlier packets tell where the sequence number is.
        sad.accept(Instant::ZERO, id, sequence - 9, 0, None)?.ok()?;
    }
    let (mut frame, mut expected): (Frame, Frame) = ([0; 1024], [0; 1024]);
    let outer = block.bytes(block.field("arrived").or(block.field("outer"))?, &mut frame)?;
    if params.encapsulation == Encapsulation::Udp {
        // scapy's packet goes to the port that a NAT chose; ours is 4500.
        let upper = IpPacket::parse(outer).ok()?.upper;
        let ports = outer.get_mut(upper..)?.first_chunk_mut()?;
        *ports = [0xee, 0x48, 0x11, 0x94];
    }
    let expected = block.bytes(block.field("opened").or(block.field("inner"))?, &mut expected)?;
    match ipsec_esp::inbound_ip(&mut sad, Instant::ZERO, outer).ok()? {
        Inbound::Packet { opened, packet } => {
            (opened.sequence == sequence && packet == expected).then_some(())
        }
        _ => None,
    }
}

/// What is sent is what scapy sends.
#[inline(never)]
fn seals(block: &Block<'_>, memory: &mut Memory<RustCrypto>) -> Option<()> {
    let mut sad = Sad::new(memory.lend());
    let (mut keymat, mut selectors) = ([0; 128], Selectors::EMPTY);
    let params = block.params(&mut keymat, &mut selectors)?;
    let id = sad.install_outbound(Instant::ZERO, &params).ok()?;
    sad.skip_sequence(id, block.sequence()?.checked_sub(1)?);
    let (mut frame, mut expected): (Frame, Frame) = ([0; 1024], [0; 1024]);
    let len = block.bytes(block.field("inner")?, frame.get_mut(ROOM..)?)?.len();
    let expected = block.bytes(block.field("outer")?, &mut expected)?;
    let mut packet = PacketBuf::new(&mut frame, ROOM..ROOM + len)?;
    ipsec_esp::seal(&mut sad, Instant::ZERO, id, &mut packet).ok()?;
    let sent = packet.payload_mut();
    if params.encapsulation == Encapsulation::Udp && params.path.remote.address.is_ipv6() {
        // scapy leaves this checksum out.
        sent.get_mut(46..48)?.fill(0);
    }
    (sent == expected).then_some(())
}

/// One vector.
struct Block<'a>(&'a str);

impl<'a> Block<'a> {
    fn field(&self, name: &str) -> Option<&'a str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    }

    fn sequence(&self) -> Option<u64> {
        u64::from_str_radix(self.field("sequence")?, 16).ok()
    }

    /// Hexadecimal digits as bytes.
    fn bytes<'b>(&self, digits: &str, room: &'b mut [u8]) -> Option<&'b mut [u8]> {
        let (pairs, []) = digits.as_bytes().as_chunks() else { return None };
        let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let room = room.get_mut(..pairs.len())?;
        for (byte, [high, low]) in room.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(room)
    }

    /// The sender's SA.
    fn params<'k>(
        &self,
        keymat: &'k mut [u8; 128],
        selectors: &'k mut Selectors,
    ) -> Option<SaParams<'k>> {
        let udp = self.field("udp") == Some("yes");
        let ports = if udp { (4500, 61_000) } else { (0, 0) };
        let [local, remote] = if self.field("outer")?.starts_with('4') {
            [IpAddr::from([198, 51, 100, 1]), [203, 0, 113, 2].into()]
        } else {
            [1, 2].map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]))
        };
        for any in [TrafficSelector::ANY_V4, TrafficSelector::ANY_V6] {
            selectors.local.push(any).ok()?;
            selectors.remote.push(any).ok()?;
        }
        Some(SaParams {
            spi: Spi::new(u32::from_str_radix(self.field("spi")?, 16).ok()?)?,
            protection: match self.field("integrity") {
                Some(name) => Algorithms::ah(named::<Integ>(name, RustCrypto::INTEGS)?),
                None => named::<Suite>(self.field("suite")?, RustCrypto::SUITES)?.into(),
            },
            mode: match self.field("mode")? {
                "tunnel" => Mode::TUNNEL,
                _ => Mode::Transport { original: Some(AddressPair { local, remote }) },
            },
            keymat: self.bytes(self.field("keymat")?, keymat)?,
            path: Path::new(Endpoint::new(local, ports.0), Endpoint::new(remote, ports.1)),
            encapsulation: if udp { Encapsulation::Udp } else { Encapsulation::Ip },
            esn: self.field("esn") == Some("yes"),
            replay_window: 64,
            lifetime: Lifetime::UNLIMITED,
            selectors,
            tag: 0,
        })
    }
}

/// The algorithm that calls itself so.
fn named<T: Copy + Display>(name: &str, all: &[T]) -> Option<T> {
    all.iter().copied().find(|one| {
        let mut rest = Rest(name);
        write!(rest, "{one}").is_ok() && rest.0.is_empty()
    })
}

/// What is left of a text after what is written to it, as long as both agree.
struct Rest<'a>(&'a str);

impl Write for Rest<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// A "random" number that decides the SPI. NOT FOR PRODUCTS.
struct ChosenRng(u32);

impl TryRng for ChosenRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.into())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.fill(0);
        Ok(())
    }
}

impl TryCryptoRng for ChosenRng {}

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
