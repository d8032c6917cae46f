//! Reaches every public function of the library from `main`.

mod core;
mod esp;
mod gateway;
mod ike;
mod ike_v1;
#[cfg(feature = "planted")]
mod planted;

/// Takes the address of each function, hidden from the optimiser: it must then be linked as it stands, ready for
/// arguments that nobody knows.
macro_rules! reach {
    ($($shape:ty: $($function:expr),+ $(,)?;)+) => {
        $($( ::core::hint::black_box($function as $shape); )+)+
    };
}
use reach;

/// All of it.
pub fn all() {
    core::all();
    esp::all();
    ike::all();
    ike_v1::all();
    gateway::all();
    #[cfg(feature = "planted")]
    planted::all();
}
