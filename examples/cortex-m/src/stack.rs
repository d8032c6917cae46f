//! How deep the stack has been.
//!
//! The runtime fills the stack with a pattern before `main` (feature `paint-stack` of `cortex-m-rt`); whatever still
//! holds it has not been used.

use core::ptr::addr_of;

use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    /// The lowest address of the stack, by the linker script of `cortex-m-rt`.
    static _stack_end: u32;
    /// One past its highest address: where the stack pointer begins.
    static _stack_start: u32;
}

/// Bytes of stack that have been in use at some time since the start.
pub fn high_water() -> usize {
    let (low, high) = (addr_of!(_stack_end), addr_of!(_stack_start));
    let words = (high as usize).saturating_sub(low as usize) / size_of::<u32>();
    // SAFETY: both symbols bound one region of RAM, aligned to words, that nothing but the stack uses. Volatile reads of
    // words that are in use by the stack see some value, which is all that is asked.
    let untouched =
        (0..words).take_while(|i| unsafe { low.add(*i).read_volatile() } == STACK_PAINT_VALUE);
    words.saturating_sub(untouched.count()).saturating_mul(size_of::<u32>())
}
