//! The headers of ESP and AH and of UDP encapsulation, and the options of IP.

pub mod ah;
pub mod esp;
pub(crate) mod options;
pub mod udp_encap;

pub use ah::AhHeader;
pub use esp::{EspHeader, EspTrailer};
pub use udp_encap::UdpPayload;
