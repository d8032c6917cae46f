//! Detection of NATs on the path (RFC 7296 section 2.23).

use core::net::IpAddr;

use ipsec_core::crypto::{CryptoError, HashId, Provider};
use ipsec_core::path::{Endpoint, Path};

use crate::wire::iana::NotifyType;
use crate::wire::{Collected, MessageWriter, NoRoom, Notify};

/// Bytes of a NAT detection notify.
pub(crate) const DETECTION_LEN: usize = 20;

/// What the NAT detection notifies of the peer tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NatStatus {
    /// The peer sent both kinds of notify.
    pub(crate) supported: bool,
    /// A NAT is before us.
    pub(crate) local_behind: bool,
    /// A NAT is before the peer, or it claims so to get encapsulation.
    pub(crate) remote_behind: bool,
}

/// The data of a NAT_DETECTION_SOURCE_IP or NAT_DETECTION_DESTINATION_IP notify: the hash of SPIs, address and port
/// (RFC 7296 section 2.23).
pub(crate) fn detection<P: Provider>(
    spi_i: u64,
    spi_r: u64,
    endpoint: Endpoint,
) -> Result<[u8; DETECTION_LEN], CryptoError> {
    let (v4, v6);
    let address: &[u8] = match endpoint.address {
        IpAddr::V4(a) => {
            v4 = a.octets();
            &v4
        }
        IpAddr::V6(a) => {
            v6 = a.octets();
            &v6
        }
    };
    let (spi_i, spi_r) = (spi_i.to_be_bytes(), spi_r.to_be_bytes());
    let mut out = [0; DETECTION_LEN];
    P::hash(HashId::Sha1, &[&spi_i, &spi_r, address, &endpoint.port.to_be_bytes()], &mut out)?;
    Ok(out)
}

/// Writes both notifies for a message that travels along `path`. To hide our own endpoint, so that ESP travels in UDP, at
/// least 20 bytes of `hidden` stand for its hash.
pub(crate) fn write<P: Provider>(
    w: &mut MessageWriter<'_>,
    (spi_i, spi_r): (u64, u64),
    path: Path,
    hidden: Option<&[u8]>,
) -> Result<(), NoRoom> {
    let detection = |endpoint| detection::<P>(spi_i, spi_r, endpoint).map_err(|_| NoRoom);
    let mut source = detection(path.local)?;
    if let Some(hidden) = hidden {
        source = *hidden.first_chunk().ok_or(NoRoom)?;
    }
    w.notify(&Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, &source))?;
    let destination = detection(path.remote)?;
    w.notify(&Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, &destination))
}

/// Compares what the peer knew of both endpoints with those that its message travelled between.
///
/// The SPIs are those of the message's header. RFC 7296 section 2.23: there may be several notifies about the source,
/// of which one must fit. Without SHA-1 in the provider nothing can be told, as if the peer supported nothing.
pub(crate) fn detect<P: Provider>(
    collected: &Collected<'_>,
    spi_i: u64,
    spi_r: u64,
    path: &Path,
) -> NatStatus {
    use NotifyType as N;
    let (Ok(local), Ok(remote)) =
        (detection::<P>(spi_i, spi_r, path.local), detection::<P>(spi_i, spi_r, path.remote))
    else {
        return NatStatus::default();
    };
    let sent = |kind| collected.notify(kind).is_some();
    if !sent(N::NAT_DETECTION_SOURCE_IP) || !sent(N::NAT_DETECTION_DESTINATION_IP) {
        return NatStatus::default();
    }
    let fits = |kind, hash: &[u8]| collected.notifies().any(|n| n.kind == kind && n.data == hash);
    NatStatus {
        supported: true,
        local_behind: !fits(N::NAT_DETECTION_DESTINATION_IP, &local),
        remote_behind: !fits(N::NAT_DETECTION_SOURCE_IP, &remote),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::iana::{ExchangeType, Flags};
    use crate::wire::{Header, Message, MessageWriter, Notify};
    use ipsec_rustcrypto::RustCrypto;

    const A: Endpoint = Endpoint::new(IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1)), 500);
    const B: Endpoint = Endpoint::new(IpAddr::V6(core::net::Ipv6Addr::LOCALHOST), 4500);

    fn hash(endpoint: Endpoint) -> [u8; DETECTION_LEN] {
        detection::<RustCrypto>(1, 2, endpoint).unwrap()
    }

    fn detect(notifies: &[(NotifyType, [u8; DETECTION_LEN])]) -> NatStatus {
        let mut buf = [0; 300];
        let header = Header::new(1, 2, ExchangeType::IKE_SA_INIT, Flags::RESPONSE, 0);
        let mut w = MessageWriter::new(&mut buf, &header).unwrap();
        for (kind, data) in notifies {
            w.notify(&Notify::new(*kind, data)).unwrap();
        }
        let len = w.finish().unwrap();
        let collected = Message::parse(&buf[..len]).unwrap().collect().unwrap();
        super::detect::<RustCrypto>(&collected, 1, 2, &Path::new(A, B))
    }

    const SOURCE: NotifyType = NotifyType::NAT_DETECTION_SOURCE_IP;
    const DESTINATION: NotifyType = NotifyType::NAT_DETECTION_DESTINATION_IP;

    /// RFC 7296 section 2.23: SPIs, address and port in network order. The expected hash was computed by another
    /// program (`printf | sha1sum`).
    #[test]
    fn the_hash_covers_spis_address_and_port() {
        let hash = detection::<RustCrypto>(0x0102_0304_0506_0708, 0, A).unwrap();
        assert_eq!(hash, EXPECTED);
        for (spi_i, spi_r, endpoint) in
            [(1, 0, A), (0x0102_0304_0506_0708, 1, A), (0x0102_0304_0506_0708, 0, A.with_port(501))]
        {
            assert_ne!(detection::<RustCrypto>(spi_i, spi_r, endpoint), Ok(EXPECTED));
        }
    }

    const EXPECTED: [u8; DETECTION_LEN] = [
        0x64, 0x4b, 0x45, 0x75, 0x45, 0x5b, 0xd6, 0xfc, 0xc1, 0xef, 0xe2, 0xbe, 0x81, 0x62, 0xa9,
        0x21, 0x8e, 0x44, 0x8e, 0x5f,
    ];

    /// RFC 7296 section 2.23: which hash differs tells which side is behind a NAT.
    #[test]
    fn a_hash_that_differs_tells_which_side_is_behind_a_nat() {
        let status = |local_behind, remote_behind| NatStatus {
            supported: true,
            local_behind,
            remote_behind,
        };
        let elsewhere = hash(A.with_port(1));
        for (source, destination, expected) in [
            (hash(B), hash(A), status(false, false)),
            (hash(B), elsewhere, status(true, false)),
            (elsewhere, hash(A), status(false, true)),
            (elsewhere, elsewhere, status(true, true)),
        ] {
            assert_eq!(detect(&[(SOURCE, source), (DESTINATION, destination)]), expected);
        }
    }

    /// RFC 7296 section 2.23: a sender with several addresses sends a hash of each.
    #[test]
    fn one_of_several_sources_is_enough() {
        let other = hash(A.with_port(1));
        let notifies = [(SOURCE, other), (DESTINATION, hash(A)), (SOURCE, hash(B))];
        assert!(!detect(&notifies).remote_behind);
    }

    #[test]
    fn a_peer_that_sends_one_kind_only_supports_nothing() {
        for notifies in [&[][..], &[(SOURCE, hash(A))], &[(DESTINATION, hash(B))]] {
            assert_eq!(detect(notifies), NatStatus::default());
        }
    }
}
