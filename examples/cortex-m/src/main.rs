//! The library as firmware: no heap, no operating system. QEMU runs it: `cargo run --release` in this folder.
//!
//! Two gateways live in one image, with a wire between them. They agree on keys by IKEv2, carry packets both ways,
//! change the keys, carry packets again, and close; each of them then has all of its memory back. On the way, the
//! firmware says what everything takes.
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

mod config;
mod crypto;
mod proof;
mod report;
mod rng;
mod site;
mod stack;

use core::fmt::Display;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use ipsec::{Gateway, Instant};
use static_cell::{ConstStaticCell, StaticCell};

use config::{CONFIG_OF_DELHI, CONFIG_OF_KOLKATA, HOST_1, HOST_2, Memory, TUNNEL};
use crypto::Crypto;
use site::{Frame, Net, Site};

static KOLKATA: StaticCell<Gateway<'static, Crypto>> = StaticCell::new();
static DELHI: StaticCell<Gateway<'static, Crypto>> = StaticCell::new();
// All of it is zero bytes, so that it lies in .bss and costs no flash.
static MEMORY_OF_KOLKATA: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
static MEMORY_OF_DELHI: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
static FRAME: ConstStaticCell<Frame> = ConstStaticCell::new([0; size_of::<Frame>()]);

/// What went wrong.
pub struct Failed(pub &'static str);

/// Prints an error of the library, and says what it means here.
pub fn because<E: Display>(what: &'static str) -> impl Fn(E) -> Failed {
    move |error| {
        say!("{}", error);
        Failed(what)
    }
}

#[entry]
fn main() -> ! {
    let result = run();
    say!("{:>7} bytes  stack at most, with that of the program", stack::high_water());
    if let Err(Failed(what)) = &result {
        say!("FAILED: {}", what);
    }
    debug::exit(if result.is_ok() { EXIT_SUCCESS } else { EXIT_FAILURE });
    idle()
}

/// Makes the two gateways.
fn start() -> Result<Net, Failed> {
    Ok(Net {
        now: Instant::ZERO,
        sites: [
            Site::new("Kolkata", HOST_1, &CONFIG_OF_KOLKATA, &MEMORY_OF_KOLKATA, &KOLKATA, 0)?,
            Site::new("Delhi", HOST_2, &CONFIG_OF_DELHI, &MEMORY_OF_DELHI, &DELHI, 1)?,
        ],
        frame: FRAME.try_take().ok_or(Failed("the frame is taken"))?,
        lose: 1,
    })
}

/// What the firmware does.
fn run() -> Result<(), Failed> {
    report::sizes();
    let net = &mut report::phase("the making of both gateways", start)?;
    report::phase("the handshake, one datagram of it lost", || {
        // The first packet is lost to the negotiation that it asks for.
        expect(!net.send(0, 100)?, "a packet passed, and there was no tunnel")?;
        net.drive(Site::is_settled)
    })?;
    report::phase("packets", || packets(net))?;
    report::phase("new keys", || {
        let Net { now, sites: [_, delhi], .. } = net;
        delhi.gateway.rekey(*now, &mut delhi.rng, TUNNEL).map_err(because("no new keys"))?;
        delhi.settle(*now);
        net.drive(Site::is_settled)
    })?;
    let rekeys = net.sites.iter().map(|site| site.gateway.counters().rekeys);
    expect(rekeys.eq([1, 1]), "the keys are the old ones")?;
    report::phase("packets under the new keys", || packets(net))?;
    report::phase("the end", || {
        let Net { now, sites: [kolkata, _], .. } = net;
        kolkata.gateway.close_all(*now, &mut kolkata.rng);
        kolkata.settle(*now);
        net.drive(Site::is_empty)
    })?;
    for site in &net.sites {
        report::site(site);
    }
    Ok(())
}

/// Packets of several sizes, both ways.
fn packets(net: &mut Net) -> Result<(), Failed> {
    let [kolkata, _] = &net.sites;
    let overhead = kolkata.gateway.overhead(TUNNEL).ok_or(Failed("the tunnel is not up"))?;
    let longest = overhead.effective_mtu(CONFIG_OF_KOLKATA.path_mtu);
    for len in [28, 64, 65, 576, longest] {
        for from in [0, 1] {
            expect(net.send(from, len)?, "a packet did not arrive as it was sent")?;
        }
    }
    say!("{:>8} us  packets of 28 to {} bytes passed both ways", net.now.as_micros(), longest);
    Ok(())
}

fn expect(as_it_should_be: bool, otherwise: &'static str) -> Result<(), Failed> {
    if as_it_should_be { Ok(()) } else { Err(Failed(otherwise)) }
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
