//! Panics on purpose: `scripts/nopanic --self-test` must find each one and name the function.

use ::core::hint::black_box;

/// In a function of its own.
#[inline(never)]
fn planted_call(bytes: &[u8], at: usize) -> u8 {
    bytes[at]
}

/// Inlined into whoever calls it.
#[inline(always)]
fn planted_inline(value: Option<u32>) -> u32 {
    value.unwrap()
}

/// Reached only through [`TABLE`].
fn planted_pointer(a: u32, b: u32) -> u32 {
    a / b
}

/// Nothing is left to do after the panic.
#[inline(never)]
fn planted_tail(len: usize) -> ! {
    panic!("{len}")
}

/// A function pointer in read-only data.
static TABLE: [fn(u32, u32) -> u32; 2] = [planted_pointer, u32::wrapping_add];

/// Reaches them as the rest of the library is reached.
pub fn all() {
    super::reach! {
        fn(_, _) -> _: planted_call;
        fn(_) -> _: planted_tail;
    }
    black_box(planted_inline(black_box(None)));
    black_box(black_box(&TABLE).map(|f| f(black_box(1), black_box(0))));
}
