//! IKEv2 (RFC 7296): one exchange, one file.

mod auth;
pub(crate) mod chosen;
pub(crate) mod configuration;
mod create_child;
mod delete;
pub(crate) mod disturbed;
mod followup;
mod informational;
mod install;
pub(crate) mod intermediate;
mod message;
pub(crate) mod mobike;
mod negotiation;
mod offer;
mod ppk;
mod proof;
pub(crate) mod reauth;
mod rekey_ike;
pub(crate) mod rivals;
mod sa_init;
#[cfg(feature = "store")]
mod store;

#[cfg(feature = "ikev1")]
pub(crate) use proof::key_of;
