//! ESP, IKE and keepalives on UDP port 4500 (RFC 3948 section 2).

/// Where IKE listens.
pub const IKE_PORT: u16 = 500;

/// Where IKE and UDP-encapsulated ESP listen together.
pub const NAT_T_PORT: u16 = 4500;

/// What precedes an IKE message on port 4500, where ESP would have its SPI (RFC 3948 section 2.2).
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// The whole payload of a keepalive (RFC 3948 section 2.3).
pub const KEEPALIVE: [u8; 1] = [0xff];

/// What a datagram on port 4500 holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum UdpPayload {
    /// An IKE message, behind the marker.
    Ike,
    /// An ESP packet: all of the payload.
    Esp,
    /// A keepalive, which means nothing and is to be ignored.
    Keepalive,
    /// Nothing that RFC 3948 knows.
    TooShort,
}

/// Tells what `payload`, from port 4500, holds.
pub fn classify(payload: &[u8]) -> UdpPayload {
    match payload.first_chunk() {
        Some(&NON_ESP_MARKER) => UdpPayload::Ike,
        Some(_) => UdpPayload::Esp,
        None if payload == KEEPALIVE => UdpPayload::Keepalive,
        None => UdpPayload::TooShort,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_told_apart() {
        // RFC 3948 section 2.2, RFC 3948 section 2.3
        assert_eq!(classify(&[0xff]), UdpPayload::Keepalive);
        assert_eq!(classify(&[0, 0, 0, 0]), UdpPayload::Ike);
        assert_eq!(classify(&[0, 0, 0, 0, 9]), UdpPayload::Ike);
        assert_eq!(classify(&[0xff, 0xff, 0xff, 0xff]), UdpPayload::Esp);
        for short in [&[][..], &[0], &[0, 0, 0], &[0xff, 0xff]] {
            assert_eq!(classify(short), UdpPayload::TooShort);
        }
    }
}
