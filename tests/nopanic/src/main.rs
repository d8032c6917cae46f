//! The whole library in one image, to be read rather than run.
//!
//! `scripts/nopanic` links it for small processors, takes it apart, and fails if a panic function of `core` can be
//! reached from `main`. Each file of [`drive`] names every public function of one crate.
#![no_std]
#![no_main]

mod drive;
/// The test kit's provider: it stands where a real one would, and adds no panic of its own.
#[path = "../../src/toy.rs"]
#[allow(dead_code)]
mod toy;

use core::panic::PanicInfo;

/// Where the linker begins: everything that is not reached from here is not linked.
#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    drive::all();
    loop {
        core::hint::spin_loop();
    }
}

/// What the check looks for: the one symbol that every panic ends in, whatever was inlined on the way.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    nopanic_panic_reached()
}

/// A loop that no other loop of the image is merged with.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nopanic_panic_reached() -> ! {
    loop {
        core::hint::black_box(0x6e6f_7061u32);
    }
}
