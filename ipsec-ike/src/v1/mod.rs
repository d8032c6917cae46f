//! IKEv1 (RFC 2407, 2408, 2409): what differs from IKEv2. The bytes are in [`wire::v1`](crate::wire::v1).
