//! What is dropped is counted, and can be written into an audit log.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use std::net::IpAddr;

use common::{Memory, NOW, Setup, seal_copy, v4_packet, v4_path, v6_path};
use ipsec_core::crypto::{CryptoError, Integ, Suite};
use ipsec_core::lifetime::{Lifetime, Limits};
use ipsec_core::path::Path;
use ipsec_core::sad::{DropCause, InboundId, Sad};
use ipsec_core::selector::{Selectors, TrafficSelector};
use ipsec_core::wire::Ipv4Header;
use ipsec_esp::{Audit, AuditEntry, Inbound, OpenError, inbound_ip, open, open_begin, open_finish};
use ipsec_testkit::toy::Toy;
use zerocopy::FromBytes;

const LABEL: u32 = 0xabcde;

/// ESP and AH, over IPv4 and IPv6.
fn setups() -> [Setup; 4] {
    [v4_path(0, 0), v6_path(0, 0)]
        .map(|path| {
            [Setup::new(Suite::AES_128_GCM), Setup::ah(Integ::HMAC_SHA2_256_128)]
                .map(|setup| Setup { path, ..setup })
        })
        .concat()
        .try_into()
        .unwrap_or_else(|_| panic!("four"))
}

/// Gives an IPv6 packet a flow label, which nothing protects.
fn label(mut outer: Vec<u8>) -> Vec<u8> {
    if outer[0] >> 4 == 6 {
        let first = u32::from_be_bytes(outer[..4].try_into().unwrap());
        outer[..4].copy_from_slice(&(first & 0xfff0_0000 | LABEL).to_be_bytes());
    }
    outer
}

/// Delivers a packet that is refused; gives the entry, whose addresses and flow label are right.
fn refuse(sad: &mut Sad<'_, Toy>, path: &Path, outer: &[u8]) -> AuditEntry {
    let mut packet = outer.to_vec();
    let Err(error) = inbound_ip(sad, NOW, &mut packet) else { panic!("accepted") };
    let entry = AuditEntry::of_packet(&error, &packet).unwrap();
    assert_eq!(entry.cause, error.cause().unwrap());
    if entry.cause != DropCause::Selectors {
        assert_eq!((entry.source, entry.destination), (path.local.address, path.remote.address));
        assert_eq!(entry.flow_label, path.local.address.is_ipv6().then_some(LABEL));
    }
    entry
}

type Counts = Vec<(DropCause, u32)>;

/// Of the database, and of the SA.
fn counts(sad: &Sad<'_, Toy>, id: InboundId) -> (Counts, Counts) {
    (sad.drops().iter().collect(), sad.inbound(id).unwrap().drops().iter().collect())
}

#[test]
fn every_auditable_drop_has_its_entry_and_is_counted_once() {
    for setup in setups() {
        let (mut a, mut b) = (Memory::<Toy>::new(1), Memory::<Toy>::new(1));
        let (mut sender, mut receiver) = (a.sad(), b.sad());
        let out = setup.install_outbound(&mut sender);
        let id = setup.install_inbound(&mut receiver);
        let mut outer = || label(seal_copy(&mut sender, out, &v4_packet(60)).unwrap().1);
        let ip_len = if setup.path.local.address.is_ipv4() { 20 } else { 40 };
        let seen = |sequence| Some(Audit { spi: setup.spi, sequence });

        // RFC 4303 section 3.4.3, RFC 4302 section 3.4.3
        let first = outer();
        assert!(matches!(
            inbound_ip(&mut receiver, NOW, &mut first.clone()),
            Ok(Inbound::Packet { .. })
        ));
        let entry = refuse(&mut receiver, &setup.path, &first);
        assert_eq!((entry.cause, entry.audit), (DropCause::Replay, seen(1)));
        // RFC 4303 section 3.4.4, RFC 4302 section 3.4.4
        let mut changed = outer();
        *changed.last_mut().unwrap() ^= 1;
        let entry = refuse(&mut receiver, &setup.path, &changed);
        assert_eq!((entry.cause, entry.audit), (DropCause::Integrity, seen(2)));
        // RFC 4303 section 3.4.2, RFC 4302 section 3.4.2
        let mut unknown = outer();
        let spi_at = ip_len + if setup.ah.is_some() { 4 } else { 0 };
        unknown[spi_at] ^= 0x80;
        let entry = refuse(&mut receiver, &setup.path, &unknown);
        let spi = setup.spi ^ 0x8000_0000;
        assert_eq!(
            (entry.cause, entry.audit),
            (DropCause::UnknownSpi, Some(Audit { spi, sequence: 3 }))
        );
        // RFC 4303 section 3.4.1, RFC 4302 section 3.4.1
        if ip_len == 20 {
            let mut fragment = outer();
            fragment[6] = 0x20;
            Ipv4Header::mut_from_prefix(&mut fragment).unwrap().0.update_checksum();
            let entry = refuse(&mut receiver, &setup.path, &fragment);
            assert_eq!((entry.cause, entry.audit), (DropCause::Fragment, seen(4)));
        }
        let of_sa = [(DropCause::Replay, 1), (DropCause::Integrity, 1)];
        let mut of_all = of_sa.to_vec();
        of_all.push((DropCause::UnknownSpi, 1));
        if ip_len == 20 {
            of_all.push((DropCause::Fragment, 1));
        }
        assert_eq!(counts(&receiver, id), (of_all, of_sa.to_vec()));
    }
}

#[test]
fn what_is_not_for_the_sa_is_told_with_its_own_addresses() {
    // RFC 4301 section 5.2
    for setup in setups() {
        let (mut a, mut b) = (Memory::<Toy>::new(1), Memory::<Toy>::new(1));
        let (mut sender, mut receiver) = (a.sad(), b.sad());
        let out = setup.install_outbound(&mut sender);
        let other = TrafficSelector::network([10, 0, 0, 0].into(), 8).unwrap();
        let narrow = Setup { selectors: Selectors::pair(other, other), ..setup.clone() };
        let id = narrow.install_inbound(&mut receiver);
        let (_, outer) = seal_copy(&mut sender, out, &v4_packet(60)).unwrap();
        let entry = refuse(&mut receiver, &setup.path, &outer);
        let ends = [IpAddr::from([192, 168, 1, 5]), IpAddr::from([192, 168, 2, 6])];
        assert_eq!([entry.source, entry.destination], ends);
        assert_eq!(entry.audit, Some(Audit { spi: setup.spi, sequence: 1 }));
        let expected = vec![(DropCause::Selectors, 1)];
        assert_eq!(counts(&receiver, id), (expected.clone(), expected));
    }
}

#[test]
fn jobs_are_counted_when_they_finish() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let (mut a, mut b) = (Memory::<Toy>::new(1), Memory::<Toy>::new(1));
    let (mut sender, mut receiver) = (a.sad(), b.sad());
    let out = setup.install_outbound(&mut sender);
    let id = setup.install_inbound(&mut receiver);
    let (sealed, outer) = seal_copy(&mut sender, out, &v4_packet(60)).unwrap();
    let mut esp = outer[sealed.esp].to_vec();
    let job = open_begin(&receiver, &setup.arrival(), &esp).unwrap();
    let result = open_finish(&mut receiver, NOW, job, Err(CryptoError::Integrity), &mut esp);
    let error = result.unwrap_err();
    let once = vec![(DropCause::Integrity, 1)];
    assert_eq!(counts(&receiver, id), (once.clone(), once));
    let entry = AuditEntry::of_payload(&error, &setup.arrival().path).unwrap();
    assert_eq!(entry.source, setup.path.local.address);
    assert_eq!(
        entry.to_string(),
        "198.51.100.1 -> 203.0.113.2 SPI 12345678 sequence 1: integrity check failed"
    );
    let short = open(&mut receiver, NOW, &setup.arrival(), &mut [0; 7]).unwrap_err();
    assert_eq!(short, OpenError::TooShort);
    assert_eq!(receiver.drops().count(DropCause::Malformed), 1);
    // What is amiss here is nobody's attack.
    assert_eq!(
        AuditEntry::of_payload(&OpenError::Dummy(Audit { spi: 1, sequence: 1 }), &setup.path),
        None
    );
}

#[test]
fn the_end_of_an_outbound_sa_is_audited() {
    // RFC 4303 section 3.3.3
    let path = v6_path(0, 0);
    let hard = Limits { packets: 1, ..Limits::NONE };
    let short = Lifetime { soft: hard, hard };
    let unlimited = Setup { path, ..Setup::new(Suite::AES_128_GCM) };
    let limited = Setup { lifetime: short, ..unlimited.clone() };
    let mut memory = Memory::<Toy>::new(2);
    let mut sad = memory.sad();
    let (a, b) = (unlimited.install_outbound(&mut sad), limited.install_outbound(&mut sad));
    sad.skip_sequence(a, u32::MAX.into());
    let _ = seal_copy(&mut sad, b, &v4_packet(60)).unwrap();
    let inner = label(common::v6_packet(60));
    for (id, cause, sequence) in
        [(a, DropCause::SequenceOverflow, u64::from(u32::MAX) + 1), (b, DropCause::Expired, 2)]
    {
        let error = seal_copy(&mut sad, id, &inner).unwrap_err();
        let entry = AuditEntry::of_seal(&error, &path, &inner).unwrap();
        let expected = AuditEntry {
            cause,
            audit: Some(Audit { spi: unlimited.spi, sequence }),
            source: path.local.address,
            destination: path.remote.address,
            flow_label: Some(LABEL),
        };
        assert_eq!(entry, expected);
        assert_eq!(sad.drops().count(cause), 1);
    }
}
