//! How deep the stack has been.
//!
//! The runtime fills the stack with a pattern before `main` (feature `paint-stack` of `cortex-m-rt`); whatever still
//! holds it has not been used. The only unsafe code of the firmware is here.

use core::ptr::addr_of;
use core::sync::atomic::{AtomicUsize, Ordering};

use cortex_m::register::msp;
use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    /// The lowest address of the stack, by the linker script of `cortex-m-rt`.
    static _stack_end: u32;
    /// One past its highest address: where the stack pointer begins.
    static _stack_start: u32;
}

/// More than the frames of the functions here.
const MARGIN: usize = 256;

/// The depth before the stack was last painted.
static DEEPEST: AtomicUsize = AtomicUsize::new(0);

/// Bytes of stack that have been in use at some time since the start.
pub fn high_water() -> usize {
    since_painted().max(DEEPEST.load(Ordering::Relaxed))
}

/// Runs `body`, and gives what came of it with the bytes of stack that it used below its caller. Not to be nested.
pub fn measure<T>(body: impl FnOnce() -> T) -> (T, usize) {
    DEEPEST.store(high_water(), Ordering::Relaxed);
    let here = msp::read() as usize;
    paint(here.saturating_sub(MARGIN));
    let result = body();
    let depth = (addr_of!(_stack_start) as usize).saturating_sub(here);
    (result, since_painted().saturating_sub(depth))
}

/// Bytes of stack that have been in use since it was last painted.
#[inline(never)]
fn since_painted() -> usize {
    let (low, high) = (addr_of!(_stack_end), addr_of!(_stack_start));
    let words = (high as usize).saturating_sub(low as usize) / size_of::<u32>();
    // SAFETY: both symbols bound one region of RAM, aligned to words, that nothing but the stack uses. Volatile reads of
    // words that are in use by the stack see some value, which is all that is asked.
    let untouched =
        (0..words).take_while(|i| unsafe { low.add(*i).read_volatile() } == STACK_PAINT_VALUE);
    words.saturating_sub(untouched.count()).saturating_mul(size_of::<u32>())
}

/// Fills the unused stack below `top` with the pattern.
#[inline(never)]
fn paint(top: usize) {
    let low = addr_of!(_stack_end).cast_mut();
    let words = top.saturating_sub(low as usize) / size_of::<u32>();
    for i in 0..words {
        // SAFETY: the region belongs to the stack, and all of it lies below the frames in use: `top` is so far below the
        // stack pointer of our caller that our own frame is above it. No interrupt is enabled that could use it.
        unsafe { low.add(i).write_volatile(STACK_PAINT_VALUE) };
    }
}
