//! AH: every algorithm, mode and IP version; what may change on the way and what may not; headers that lie.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{Memory, NOW, Setup, ip_packet, seal_copy, v4_packet, v4_path, v6_packet, v6_path};
use ipsec_core::crypto::{CryptoError, Integ, Mac, Provider, Suite};
use ipsec_core::lifetime::Usage;
use ipsec_core::mode::Mode;
use ipsec_core::packet::PacketBuf;
use ipsec_core::replay::{Replay, Window};
use ipsec_core::sa::{AhAlign, Algorithms, Encapsulation};
use ipsec_core::sad::{InboundId, InstallError, Sad, SpiAllocator};
use ipsec_core::wire::IpPacket;
use ipsec_esp::{
    Audit, Fault, Inbound, OpenError, Overhead, SealError, ah, inbound_ip, open_begin, seal_begin,
    seal_dummy,
};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::toy::Toy;

fn setups(integ: Integ) -> Vec<Setup> {
    let mut all = Vec::new();
    for path in [v4_path(0, 0), v6_path(0, 0)] {
        for mode in [Mode::TUNNEL, Mode::TRANSPORT] {
            for esn in [false, true] {
                for align in [AhAlign::Standard, AhAlign::Eight] {
                    let ah = Some((integ, align));
                    all.push(Setup { path, mode, esn, ah, ..Setup::ah(integ) });
                }
            }
        }
    }
    all
}

/// What may be sent on an SA of this setup.
fn packets(setup: &Setup, len: usize) -> Vec<Vec<u8>> {
    match setup.mode {
        Mode::Tunnel(_) => vec![v4_packet(len), v6_packet(len)],
        _ => {
            vec![ip_packet(setup.path.local.address, setup.path.remote.address, 0x28, len)]
        }
    }
}

fn state<P: Provider>(sad: &Sad<'_, P>, id: InboundId) -> (Window, Usage) {
    let sa = sad.inbound(id).unwrap();
    (*sa.window(), sa.protection.usage)
}

/// The outer packet of one `inner`, sent by an SA that has sent `before`.
fn signed<P: Provider>(setup: &Setup, before: u64, inner: &[u8]) -> Vec<u8> {
    let mut memory = Memory::<P>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    sad.skip_sequence(id, before);
    seal_copy(&mut sad, id, inner).unwrap().1
}

fn every_algorithm<P: Provider>() {
    for setup in P::INTEGS.iter().flat_map(|integ| setups(*integ)) {
        let (mut a, mut b) = (Memory::<P>::new(1), Memory::<P>::new(1));
        let (mut sender, mut receiver) = (a.sad(), b.sad());
        let out = setup.install_outbound(&mut sender);
        let id = setup.install_inbound(&mut receiver);
        let overhead = Overhead::of(&sender.outbound(out).unwrap().protection);
        let mut sequence = 0;
        for inner in [50, 51, 53].into_iter().flat_map(|len| packets(&setup, len)) {
            let (sealed, mut outer) = seal_copy(&mut sender, out, &inner).unwrap();
            sequence += 1;
            let seen = IpPacket::parse(&outer).unwrap();
            assert_eq!(
                (seen.flow.protocol, seen.len, seen.upper),
                (51, outer.len(), sealed.esp.start)
            );
            assert_eq!(outer.len(), overhead.sealed_len(inner.len()), "{:?}", setup.ah);
            // RFC 4302 section 2.2
            let ah_len = (usize::from(outer[seen.upper + 1]) + 2) * 4;
            let aligned = seen.is_ipv4() && setup.ah.unwrap().1 == AhAlign::Standard;
            assert_eq!(ah_len % if aligned { 4 } else { 8 }, 0);
            let Inbound::Packet { opened, packet } =
                inbound_ip(&mut receiver, NOW, &mut outer).unwrap()
            else {
                panic!("not AH")
            };
            assert_eq!(packet, inner, "{:?} {:?}", setup.ah, setup.mode);
            assert_eq!((opened.id, opened.tag, opened.sequence), (id, 7, sequence));
        }
        let usage = receiver.inbound(id).unwrap().protection.usage;
        assert_eq!(
            (usage.packets, usage),
            (sequence, sender.outbound(out).unwrap().protection.usage)
        );
    }
}

#[test]
fn every_algorithm_of_rustcrypto() {
    every_algorithm::<RustCrypto>();
}

#[test]
fn every_algorithm_of_the_toy_provider() {
    every_algorithm::<Toy>();
}

#[test]
fn gmac_sends_its_iv() {
    // RFC 4543 section 4: the IV, then the tag; RFC 4543 section 5.1: a salt of 4 bytes behind the key.
    let integ = Integ::AES_256_GMAC;
    assert_eq!(Algorithms::ah(integ).keymat_len(), Some(36));
    for (path, len) in [(v4_path(0, 0), 36), (v6_path(0, 0), 40)] {
        let setup = Setup { path, ..Setup::ah(integ) };
        let outer = signed::<Toy>(&setup, 6, &v4_packet(40));
        let at = IpPacket::parse(&outer).unwrap().upper;
        assert_eq!((usize::from(outer[at + 1]) + 2) * 4, len);
        assert_eq!(outer[at + 12..at + 20], 7u64.to_be_bytes());
    }
}

#[test]
fn what_may_change_on_the_way_and_what_may_not() {
    // RFC 4302 section 3.3.3.1.1.1, RFC 4302 section 3.3.3.1.2.1
    for setup in setups(Integ::HMAC_SHA2_256_128).into_iter().step_by(2) {
        let inner = packets(&setup, 48).remove(0);
        let outer = signed::<RustCrypto>(&setup, 4, &inner);
        let v4 = setup.path.local.address.is_ipv4();
        let tunnel = setup.mode != Mode::TRANSPORT;
        let mut memory = Memory::<RustCrypto>::new(1);
        for bit in 0..outer.len() * 8 {
            let mut sad = memory.sad();
            let id = setup.install_inbound(&mut sad);
            let before = state(&sad, id);
            let mut changed = outer.clone();
            changed[bit / 8] ^= 0x80 >> (bit % 8);
            // TOS, the reserved flag and DF, TTL and checksum; traffic class, flow label and hop limit. A fragment is
            // refused for another reason.
            let mutable = if v4 {
                matches!(bit, 8..=15 | 48 | 49 | 64..=71 | 80..=95)
            } else {
                matches!(bit, 4..=31 | 56..=63)
            };
            // An inner packet that is not ECN-capable is dropped where there was congestion (RFC 6040 section 4.2),
            // which takes two bits.
            match inbound_ip(&mut sad, NOW, &mut changed) {
                Ok(Inbound::Packet { packet, .. }) => {
                    assert!(mutable, "{bit} {:?}", setup.path);
                    assert!(!tunnel || packet == inner);
                    sad.remove_inbound(id);
                    continue;
                }
                // Another version, or another protocol.
                Ok(Inbound::Clear(_)) => {
                    let protocol = if v4 { 72..80 } else { 48..56 };
                    assert!(bit < 4 || protocol.contains(&bit), "{bit}");
                }
                Ok(other) => panic!("{bit}: {other:?}"),
                Err(error) => assert_eq!(error.fault(), Fault::Peer, "{bit}: {error}"),
            }
            assert!(!mutable, "{bit}");
            assert_eq!((state(&sad, id), sad.poll_event()), (before, None));
            sad.remove_inbound(id);
        }
    }
}

#[test]
fn a_packet_cut_anywhere_is_refused() {
    for setup in setups(Integ::HMAC_SHA1_96) {
        let outer = signed::<RustCrypto>(&setup, 0, &packets(&setup, 60)[0]);
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        let id = setup.install_inbound(&mut sad);
        let before = state(&sad, id);
        for len in 0..outer.len() {
            // Cut, and the IP header says so.
            let mut cut = outer[..len].to_vec();
            assert!(matches!(ah::open(&mut sad, NOW, &mut cut), Err(OpenError::Outer(_))));
            let header = if outer[0] >> 4 == 4 { (2, 0) } else { (4, 40) };
            if len >= 40 {
                let says = u16::try_from(len - header.1).unwrap().to_be_bytes();
                cut[header.0..header.0 + 2].copy_from_slice(&says);
                let error = ah::open(&mut sad, NOW, &mut cut).unwrap_err();
                assert!(
                    matches!(
                        error,
                        OpenError::TooShort | OpenError::Length(_) | OpenError::Integrity(_)
                    ),
                    "{len}: {error}"
                );
            }
            assert_eq!(state(&sad, id), before);
        }
        ah::open(&mut sad, NOW, &mut outer.clone()).unwrap();
    }
}

#[test]
fn a_length_that_lies_is_refused() {
    // RFC 4302 section 2.2
    let setup = Setup::ah(Integ::HMAC_SHA1_96);
    let outer = signed::<RustCrypto>(&setup, 0, &v4_packet(60));
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    setup.install_inbound(&mut sad);
    assert_eq!(outer[21], 4);
    for payload_len in (0..=255).filter(|len| *len != 4) {
        let mut lies = outer.clone();
        lies[21] = payload_len;
        let error = ah::open(&mut sad, NOW, &mut lies).unwrap_err();
        let audit = Audit { spi: setup.spi, sequence: 1 };
        let fits = (4..=19).contains(&payload_len);
        let expected = if fits { OpenError::Integrity(audit) } else { OpenError::Length(audit) };
        assert_eq!(error, expected, "{payload_len}");
    }
}

/// A packet of AH with padding of one's own, signed with the keys of `setup`.
fn forge(setup: &Setup, padding: &[u8], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let keys = sad.outbound(id).unwrap().protection.ah().unwrap();
    let ah_len = 12 + keys.icv_len + padding.len();
    let (from, to) = (setup.path.local.address, setup.path.remote.address);
    let mut header = ip_packet(from, to, 0, 20 + 8)[..20].to_vec();
    header[2..4]
        .copy_from_slice(&u16::try_from(20 + ah_len + payload.len()).unwrap().to_be_bytes());
    header[9] = 51;
    let mut masked = header.clone();
    for at in [1, 6, 7, 8, 10, 11] {
        masked[at] = 0;
    }
    let mut fixed = vec![next, u8::try_from(ah_len / 4 - 2).unwrap(), 0xbe, 0xef];
    fixed.extend(setup.spi.to_be_bytes());
    fixed.extend([0, 0, 0, 1]);
    let (zeros, mut icv) = (vec![0; keys.icv_len], vec![0; keys.icv_len]);
    keys.mac.sign(&[], &[&masked, &fixed, &zeros, padding, payload], &mut icv).unwrap();
    [&header[..], &fixed, &icv, padding, payload].concat()
}

#[test]
fn padding_is_taken_as_it_comes() {
    // RFC 4302 section 2.6, RFC 4302 section 2.3: covered by the check, and otherwise ignored.
    let setup = Setup::ah(Integ::HMAC_SHA2_256_128);
    let inner = v4_packet(60);
    for padding in [&[][..], &[0; 4], b"any!", &[0xee; 64]] {
        let mut packet = forge(&setup, padding, 4, &inner);
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        setup.install_inbound(&mut sad);
        let opened = ah::open(&mut sad, NOW, &mut packet).unwrap();
        assert_eq!(packet[opened.range], inner);
    }
}

#[test]
fn an_authentic_packet_that_lies_inside_is_refused() {
    let tunnel = Setup::ah(Integ::HMAC_SHA2_256_128);
    let (v4, v6) = (v4_packet(60), v6_packet(60));
    let refused = |setup: &Setup, next: u8, payload: &[u8]| {
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        setup.install_inbound(&mut sad);
        ah::open(&mut sad, NOW, &mut forge(setup, &[], next, payload)).unwrap_err()
    };
    assert!(matches!(refused(&tunnel, 17, &v4), OpenError::NextHeader(_, 17)));
    assert!(matches!(refused(&tunnel, 41, &v4), OpenError::Inner(..)));
    assert!(matches!(refused(&tunnel, 4, &v6), OpenError::Inner(..)));
    assert!(matches!(refused(&tunnel, 4, &v4[..59]), OpenError::Inner(..)));
    assert!(matches!(refused(&tunnel, 4, &[]), OpenError::Inner(..)));
    assert!(matches!(refused(&tunnel, 59, &v4), OpenError::Dummy(_)));
}

#[test]
fn replays_and_foreign_spis_are_refused() {
    let setup = Setup::ah(Integ::HMAC_SHA1_96);
    let outer = signed::<RustCrypto>(&setup, 99, &v4_packet(60));
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_inbound(&mut sad);
    ah::open(&mut sad, NOW, &mut outer.clone()).unwrap();
    let audit = Audit { spi: setup.spi, sequence: 100 };
    let again = ah::open(&mut sad, NOW, &mut outer.clone());
    assert_eq!(again, Err(OpenError::Replay(audit, Replay::Repeated)));
    let mut foreign = outer.clone();
    foreign[24] ^= 1;
    assert!(matches!(ah::open(&mut sad, NOW, &mut foreign), Err(OpenError::UnknownSpi(_))));
    // The same SPI with the other protocol is another SA (RFC 4301 section 4.1).
    let esp = &outer[24..];
    let refused = open_begin(&sad, &setup.arrival(), esp).map(|_| ());
    assert!(matches!(refused, Err(OpenError::UnknownSpi(_))));
    sad.remove_inbound(id);
    let esp = Setup { spi: setup.spi, ..Setup::new(Suite::AES_128_GCM) };
    esp.install_inbound(&mut sad);
    let refused = ah::open(&mut sad, NOW, &mut outer.clone());
    assert!(matches!(refused, Err(OpenError::UnknownSpi(_))));
}

#[test]
fn a_fragment_or_a_route_that_is_not_at_its_end_is_refused() {
    // RFC 4302 section 3.4.1
    let setup = Setup { path: v6_path(0, 0), ..Setup::ah(Integ::HMAC_SHA1_96).transport() };
    let inner = &packets(&setup, 60)[0];
    let plain = signed::<RustCrypto>(&setup, 0, inner);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    setup.install_inbound(&mut sad);
    let with = |number: u8, header: &[u8]| {
        let mut packet = [&plain[..40], header, &plain[40..]].concat();
        packet[6] = number;
        packet[5] += u8::try_from(header.len()).unwrap();
        packet
    };
    let mut routing = vec![51, 2, 0, 1, 0, 0, 0, 0];
    routing.extend([1; 16]);
    let mut fragment = with(44, &[51, 0, 0, 1, 0, 0, 0, 9]);
    assert!(matches!(ah::open(&mut sad, NOW, &mut fragment), Err(OpenError::Fragment)));
    for mut packet in [
        with(44, &[51, 0, 0, 0, 0, 0, 0, 9]),
        with(43, &routing),
        with(60, &[51, 0, 1, 9, 0, 0, 0, 0]),
    ] {
        assert!(matches!(ah::open(&mut sad, NOW, &mut packet), Err(OpenError::Outer(_))));
    }
}

#[test]
fn a_route_that_cannot_be_foretold_is_not_signed() {
    let setup = Setup { path: v6_path(0, 0), ..Setup::ah(Integ::HMAC_SHA1_96).transport() };
    let inner = &packets(&setup, 60)[0];
    let mut routing = vec![17, 2, 4, 1, 0, 0, 0, 0];
    routing.extend(&inner[24..40]);
    let mut packet = [&inner[..40], &routing, &inner[40..]].concat();
    packet[6] = 43;
    packet[5] += 24;
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    assert!(matches!(seal_copy(&mut sad, id, &packet), Err(SealError::Inner(_))));
    assert_eq!(sad.outbound(id).unwrap().sequence(), 0);
    packet[42] = 2;
    assert!(seal_copy(&mut sad, id, &packet).is_ok());
}

#[test]
fn begin_and_finish_apart() {
    let setup = Setup::ah(Integ::HMAC_SHA2_512_256);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let mut buf = vec![0; 260];
    buf[100..160].copy_from_slice(&v4_packet(60));
    let mut packet = PacketBuf::new(&mut buf, 100..160).unwrap();
    let job = ah::sign_begin(&mut sad, NOW, id, &mut packet).unwrap();
    assert_eq!(job.id(), id);
    {
        let work = job.work(packet.payload_mut()).unwrap();
        job.mac(&sad).unwrap().sign(work.nonce, &work.parts, work.icv).unwrap();
    }
    assert_eq!(ah::sign_finish(&sad, job, Ok(())).unwrap().sequence, 1);
    let outer = packet.payload().to_vec();

    // A provider that fails, and an SA that goes meanwhile.
    let mut packet = PacketBuf::new(&mut buf, 100..160).unwrap();
    packet.payload_mut().copy_from_slice(&v4_packet(60));
    let job = ah::sign_begin(&mut sad, NOW, id, &mut packet).unwrap();
    let failed = ah::sign_finish(&sad, job, Err(CryptoError::Failed));
    assert_eq!(failed, Err(SealError::Crypto(CryptoError::Failed)));
    packet = PacketBuf::new(&mut buf, 100..160).unwrap();
    packet.payload_mut().copy_from_slice(&v4_packet(60));
    let job = ah::sign_begin(&mut sad, NOW, id, &mut packet).unwrap();
    sad.remove_outbound(id);
    assert_eq!(ah::sign_finish(&sad, job, Ok(())), Err(SealError::NoSa));

    let id = setup.install_inbound(&mut sad);
    let audit = Audit { spi: setup.spi, sequence: 1 };
    let mut bytes = outer.clone();
    let first = ah::open_begin(&sad, &bytes).unwrap();
    let second = ah::open_begin(&sad, &bytes).unwrap();
    let failed = ah::open_finish(&mut sad, NOW, first, Err(CryptoError::Integrity), &mut bytes);
    assert_eq!(failed, Err(OpenError::Integrity(audit)));
    let result = second.run(&sad, &mut bytes);
    let third = ah::open_begin(&sad, &bytes).unwrap();
    assert!(ah::open_finish(&mut sad, NOW, second, result, &mut bytes).is_ok());
    let mut bytes = outer.clone();
    let result = third.run(&sad, &mut bytes);
    let again = ah::open_finish(&mut sad, NOW, third, result, &mut bytes);
    assert_eq!(again, Err(OpenError::Replay(audit, Replay::Repeated)));
    assert!(sad.remove_inbound(id));
}

#[test]
fn each_protocol_has_its_calls() {
    let setup = Setup::ah(Integ::HMAC_SHA1_96);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let mut buf = vec![0; 260];
    buf[100..160].copy_from_slice(&v4_packet(60));
    let mut packet = PacketBuf::new(&mut buf, 100..160).unwrap();
    let refused = seal_begin(&mut sad, NOW, id, &mut packet).map(|_| ());
    assert_eq!(refused, Err(SealError::NotEsp));
    assert_eq!(seal_dummy(&mut sad, NOW, id, &mut packet), Err(SealError::NotEsp));
    sad.remove_outbound(id);
    let id = Setup::new(Suite::AES_128_GCM).install_outbound(&mut sad);
    assert_eq!(ah::sign(&mut sad, NOW, id, &mut packet), Err(SealError::NotAh));
    assert_eq!(sad.outbound(id).unwrap().sequence(), 0);
}

#[test]
fn ah_has_no_udp_and_no_beet() {
    use ipsec_core::lifetime::Lifetime;
    use ipsec_core::mode::AddressPair;
    use ipsec_core::sa::{SaParams, Spi};
    let setup = Setup::ah(Integ::HMAC_SHA1_96);
    let (local, remote) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let params = SaParams {
        spi: Spi::new(0x1234_5678).unwrap(),
        protection: Algorithms::ah(Integ::HMAC_SHA1_96),
        mode: Mode::TUNNEL,
        keymat: &setup.keymat,
        path: setup.path,
        encapsulation: Encapsulation::Ip,
        esn: false,
        replay_window: 64,
        lifetime: Lifetime::UNLIMITED,
        selectors: &setup.selectors,
        tag: 0,
    };
    let udp = SaParams { encapsulation: Encapsulation::Udp, ..params.clone() };
    let beet = SaParams { mode: Mode::Beet(AddressPair { local, remote }), ..params.clone() };
    let short = SaParams { keymat: &setup.keymat[1..], ..params };
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let spi = sad.reserve(&mut common::Fixed(0x1234_5678)).unwrap();
    assert_eq!(spi, udp.spi);
    for (params, error) in [
        (udp, InstallError::NotForAh),
        (beet, InstallError::NotForAh),
        (short, InstallError::Crypto(CryptoError::Length)),
    ] {
        assert_eq!(sad.install_outbound(NOW, &params).map(|_| ()), Err(error));
        assert_eq!(sad.install_inbound(NOW, &params).map(|_| ()), Err(error));
    }
    assert_eq!(sad.outbound_in_use(), 0);
}
