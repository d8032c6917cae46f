//! The library as firmware: no heap, no operating system. QEMU runs it: `cargo run --release` in this folder.
#![no_std]
#![no_main]

mod stack;

use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hprintln;
use ipsec_core::selector::{AddressRange, TrafficSelector};

#[entry]
fn main() -> ! {
    let status = match run() {
        Ok(()) => EXIT_SUCCESS,
        Err(what) => {
            hprintln!("FAILED: {}", what);
            EXIT_FAILURE
        }
    };
    hprintln!("stack high-water mark: {} bytes", stack::high_water());
    debug::exit(status);
    loop {
        cortex_m::asm::wfi();
    }
}

/// What the firmware does.
fn run() -> Result<(), &'static str> {
    let lan = AddressRange::network([192, 168, 1, 0].into(), 24).ok_or("not a network")?;
    hprintln!("ipsec on a Cortex-M4F, for {}", TrafficSelector::addresses(lan));
    Ok(())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}
