//! The headers of ESP and of its UDP encapsulation.

pub mod ah;
pub mod esp;
pub mod udp_encap;

pub use ah::AhHeader;
pub use esp::{EspHeader, EspTrailer};
pub use udp_encap::UdpPayload;
