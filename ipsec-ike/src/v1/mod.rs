//! IKEv1 (RFC 2407, 2408, 2409): what differs from IKEv2. The bytes are in [`wire::v1`](crate::wire::v1).
#![allow(dead_code, reason = "the exchanges that need it come later")]

pub(crate) mod fragment;
pub(crate) mod keymat;
pub(crate) mod proposal;
pub(crate) mod protect;
pub(crate) mod vendor;
