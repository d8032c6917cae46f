//! Packets that are cut, changed, repeated or made to mislead: each is refused with its reason, and the SA stays as it
//! was.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{
    Memory, NOW, Setup, ip_packet, reversed, seal_copy, v4_packet, v4_path, v6_packet, v6_path,
};
use ipsec_core::crypto::{CryptoError, PacketCipher, Suite, Work};
use ipsec_core::lifetime::{Lifetime, Limits, Usage};
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::replay::{Replay, Window};
use ipsec_core::sa::Encapsulation;
use ipsec_core::sad::{InboundId, Sad, SadEventKind};
use ipsec_core::selector::{PortRange, Selectors, TrafficSelector};
use ipsec_core::wire::IpError;
use ipsec_esp::{
    Audit, Fault, Inbound, OpenError, Opened, SealError, inbound_ip, inbound_udp, open, seal,
};
use ipsec_rustcrypto::RustCrypto;

const SUITES: [Suite; 3] =
    [Suite::AES_128_GCM, Suite::CHACHA20_POLY1305, Suite::AES_256_CBC_SHA256];

/// All that may be seen of an inbound SA.
fn state(sad: &Sad<'_, RustCrypto>, id: InboundId) -> (Window, Usage, Endpoint, Vec<bool>) {
    let sa = sad.inbound(id).unwrap();
    let fresh = (1..200).map(|seq| sad.check_replay(id, seq).unwrap().is_ok()).collect();
    (*sa.window(), sa.protection.usage, sa.protection.path.remote, fresh)
}

/// An ESP packet of `setup`, from a sender who has sent `before` packets.
fn esp_of(setup: &Setup, before: u64, inner: &[u8]) -> Vec<u8> {
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    sad.skip_sequence(id, before);
    let (sealed, outer) = seal_copy(&mut sad, id, inner).unwrap();
    outer[sealed.esp].to_vec()
}

/// An authentic AES-GCM packet around any plaintext, pad length and next header included.
fn forge(setup: &Setup, sequence: u64, text: &[u8]) -> Vec<u8> {
    assert_eq!(setup.suite, Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let keys = sad.outbound(id).unwrap().protection.esp().unwrap();
    let mut head = setup.spi.to_be_bytes().to_vec();
    head.extend_from_slice(&sequence.to_be_bytes()[4..]);
    let mut nonce = keys.salt().to_vec();
    nonce.extend_from_slice(&sequence.to_be_bytes());
    let (mut text, mut icv) = (text.to_vec(), [0; 16]);
    let work = Work { nonce: &nonce, head: &head, text: &mut text, tail: &[], icv: &mut icv };
    keys.cipher.seal(work).unwrap();
    [&head[..], &nonce[4..], &text, &icv].concat()
}

/// A fresh receiver of `setup` opens `esp`; gives the result and what is left in the buffer.
fn receive(setup: &Setup, mut esp: Vec<u8>) -> (Result<Opened, OpenError>, Vec<u8>) {
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    setup.install_inbound(&mut sad);
    let opened = open(&mut sad, NOW, &setup.arrival(), &mut esp);
    (opened, esp)
}

fn audit(setup: &Setup, sequence: u64) -> Audit {
    Audit { spi: setup.spi, sequence }
}

#[test]
fn a_packet_cut_anywhere_is_refused() {
    for setup in SUITES.map(Setup::new) {
        let esp = esp_of(&setup, 0, &v4_packet(80));
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        let id = setup.install_inbound(&mut sad);
        let before = state(&sad, id);
        for len in 0..esp.len() {
            let error = open(&mut sad, NOW, &setup.arrival(), &mut esp[..len].to_vec());
            let error = error.unwrap_err();
            assert_eq!(error.fault(), Fault::Peer);
            match error {
                OpenError::TooShort => assert!(len < 8),
                OpenError::Length(a) | OpenError::Integrity(a) => {
                    assert_eq!(a, audit(&setup, 1));
                }
                other => panic!("{len}: {other:?}"),
            }
            assert_eq!(state(&sad, id), before, "{len}");
        }
        assert_eq!(sad.poll_event(), None);
        open(&mut sad, NOW, &setup.arrival(), &mut esp.clone()).unwrap();
    }
}

#[test]
fn a_packet_with_more_bytes_is_refused() {
    for setup in SUITES.map(Setup::new) {
        for more in 1..40 {
            let mut esp = esp_of(&setup, 0, &v4_packet(80));
            esp.resize(esp.len() + more, 0);
            let (result, _) = receive(&setup, esp);
            assert!(matches!(result, Err(OpenError::Length(_) | OpenError::Integrity(_))));
        }
    }
}

#[test]
fn one_changed_bit_anywhere_is_refused() {
    // RFC 4303 section 3.4.4
    for (setup, esn) in SUITES.iter().flat_map(|s| [false, true].map(|e| (Setup::new(*s), e))) {
        let setup = Setup { esn, ..setup };
        let esp = esp_of(&setup, 4, &v6_packet(66));
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        let id = setup.install_inbound(&mut sad);
        let before = state(&sad, id);
        for bit in 0..esp.len() * 8 {
            let mut changed = esp.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = open(&mut sad, NOW, &setup.arrival(), &mut changed).unwrap_err();
            match error {
                OpenError::UnknownSpi(_) => assert!(bit < 32),
                OpenError::Replay(_, Replay::Zero) => panic!("5 is not one bit from 0"),
                OpenError::Integrity(_) => {
                    let text = 8 + setup.suite.shape().unwrap().iv_len..changed.len() - 16;
                    assert!(changed[text].iter().all(|b| *b == 0), "wiped");
                }
                other => panic!("{bit}: {other:?}"),
            }
            assert_eq!(state(&sad, id), before, "{bit}");
        }
        assert_eq!(sad.poll_event(), None);
        open(&mut sad, NOW, &setup.arrival(), &mut esp.clone()).unwrap();
    }
}

#[test]
fn a_repeated_packet_is_refused() {
    // RFC 4303 section 3.4.3
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_inbound(&mut sad);
    let first = esp_of(&setup, 99, &v4_packet(60));
    open(&mut sad, NOW, &setup.arrival(), &mut first.clone()).unwrap();
    let before = state(&sad, id);
    let again = open(&mut sad, NOW, &setup.arrival(), &mut first.clone());
    assert_eq!(again, Err(OpenError::Replay(audit(&setup, 100), Replay::Repeated)));
    let mut old = esp_of(&setup, 35, &v4_packet(60));
    let old = open(&mut sad, NOW, &setup.arrival(), &mut old);
    assert_eq!(old, Err(OpenError::Replay(audit(&setup, 36), Replay::TooOld)));
    let mut zero = first;
    zero[4..8].fill(0);
    let zero = open(&mut sad, NOW, &setup.arrival(), &mut zero);
    assert_eq!(zero, Err(OpenError::Replay(audit(&setup, 0), Replay::Zero)));
    assert_eq!(state(&sad, id), before);
    let mut late = esp_of(&setup, 36, &v4_packet(60));
    assert_eq!(open(&mut sad, NOW, &setup.arrival(), &mut late).unwrap().sequence, 37);
}

#[test]
fn a_guess_of_the_high_half_must_be_authentic() {
    // RFC 4303 section 2.2.1: the high half is covered by the ICV.
    for suite in SUITES {
        let setup = Setup { esn: true, ..Setup::new(suite) };
        let mut esp = esp_of(&setup, (1 << 32) | 4, &v4_packet(60));
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        let id = setup.install_inbound(&mut sad);
        let before = state(&sad, id);
        let guess = open(&mut sad, NOW, &setup.arrival(), &mut esp.clone());
        assert_eq!(guess, Err(OpenError::Integrity(audit(&setup, 5))));
        assert_eq!(state(&sad, id), before);
        sad.accept(NOW, id, 1 << 32, 0, None).unwrap().unwrap();
        let opened = open(&mut sad, NOW, &setup.arrival(), &mut esp).unwrap();
        assert_eq!(opened.sequence, (1 << 32) + 5);
    }
}

#[test]
fn an_unknown_spi_is_refused() {
    // RFC 4303 section 3.4.2
    let setup = Setup::new(Suite::AES_128_GCM);
    for spi in [0u32, 1, 255, 256, 0x1234_5679, u32::MAX] {
        let mut esp = esp_of(&setup, 0, &v4_packet(60));
        esp[..4].copy_from_slice(&spi.to_be_bytes());
        let (result, _) = receive(&setup, esp);
        assert_eq!(result, Err(OpenError::UnknownSpi(Audit { spi, sequence: 1 })));
    }
}

#[test]
fn a_trailer_that_lies_is_refused() {
    // RFC 4303 section 2.4
    let setup = Setup::new(Suite::AES_128_GCM);
    let inner = v4_packet(60);
    for pad_len in [1, 2, 3, 61, 62, 63, 255] {
        let text = [&inner[..], &[1, 2, pad_len, 4]].concat();
        let (result, left) = receive(&setup, forge(&setup, 1, &text));
        if pad_len == 2 {
            assert!(result.is_ok());
            continue;
        }
        assert_eq!(result, Err(OpenError::Padding(audit(&setup, 1))), "{pad_len}");
        assert!(left[16..left.len() - 16].iter().all(|b| *b == 0), "wiped");
    }
    // Padding may be longer than needed, and the payload may be followed by anything (RFC 4303 section 2.7).
    let longer: Vec<u8> = (1..=254).collect();
    let text = [&inner[..], &longer, &[254, 4]].concat();
    assert!(receive(&setup, forge(&setup, 1, &text)).0.is_ok());
    let text = [&inner[..], &[0xee; 42], &[0, 4]].concat();
    let (result, left) = receive(&setup, forge(&setup, 1, &text));
    assert_eq!(left[result.unwrap().range], inner);
}

#[test]
fn an_inner_packet_that_lies_is_refused() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let refused = |packet: &[u8], next: u8| {
        let text = [packet, &[1, 2, 2, next]].concat();
        let (result, left) = receive(&setup, forge(&setup, 1, &text));
        assert!(left[16..left.len() - 16].iter().all(|b| *b == 0), "wiped");
        let error = result.unwrap_err();
        assert_eq!(error.audit(), Some(audit(&setup, 1)));
        error
    };
    let audit = audit(&setup, 1);
    let v4 = v4_packet(60);
    let mut longer = v4.clone();
    longer[3] = 61;
    assert_eq!(refused(&longer, 4), OpenError::Inner(audit, IpError::Truncated));
    let mut headless = v4.clone();
    headless[0] = 0x44;
    assert_eq!(refused(&headless, 4), OpenError::Inner(audit, IpError::Length));
    assert_eq!(refused(&v4, 41), OpenError::Inner(audit, IpError::Version));
    assert_eq!(refused(&v6_packet(60), 4), OpenError::Inner(audit, IpError::Version));
    assert_eq!(refused(&[0x55; 60], 4), OpenError::Inner(audit, IpError::Version));
    assert_eq!(refused(&[], 4), OpenError::Inner(audit, IpError::Truncated));
    for next in [0, 6, 17, 50, 51, 58, 60, 255] {
        assert_eq!(refused(&v4, next), OpenError::NextHeader(audit, next));
    }
}

#[test]
fn a_dummy_packet_is_dropped_and_counted() {
    // RFC 4303 section 2.6
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_inbound(&mut sad);
    for (sequence, text) in [(1, &[0, 59][..]), (2, &[7; 30])] {
        let text = if sequence == 1 {
            [&[1, 2], &[2, 59][..]].concat()
        } else {
            [text, &[0, 59]].concat()
        };
        let mut esp = forge(&setup, sequence, &text);
        let error = open(&mut sad, NOW, &setup.arrival(), &mut esp).unwrap_err();
        assert_eq!(error, OpenError::Dummy(audit(&setup, sequence)));
        assert_eq!(error.fault(), Fault::Nobody);
    }
    let sa = sad.inbound(id).unwrap();
    assert_eq!((sa.window().top(), sa.protection.usage.packets), (2, 2));
}

#[test]
fn a_packet_that_is_not_the_sas_is_refused() {
    // RFC 4301 section 5.2
    let mut setup = Setup::new(Suite::AES_128_GCM);
    let net = |third| TrafficSelector::network([192, 168, third, 0].into(), 24).unwrap();
    let dns = TrafficSelector { protocol: 17, ports: PortRange::single(2222), ..net(2) };
    setup.selectors = Selectors::pair(net(1), dns);
    assert!(receive(&setup, esp_of(&setup, 0, &v4_packet(60))).0.is_ok());

    let mut other_port = v4_packet(60);
    other_port[23] = 9;
    let mut tcp = v4_packet(60);
    tcp[9] = 6;
    let mut later_fragment = v4_packet(60);
    later_fragment[6..8].copy_from_slice(&[0, 1]);
    let backwards = ip_packet([192, 168, 2, 6].into(), [192, 168, 1, 5].into(), 0, 60);
    let outside = ip_packet([192, 168, 1, 5].into(), [192, 168, 3, 6].into(), 0, 60);
    for inner in [other_port, tcp, later_fragment, backwards, outside, v6_packet(60)] {
        let (result, left) = receive(&setup, esp_of(&setup, 0, &inner));
        match result {
            Err(OpenError::Selectors(a, _)) => assert_eq!(a, audit(&setup, 1)),
            other => panic!("{other:?}"),
        }
        assert!(left[16..left.len() - 16].iter().all(|b| *b == 0), "wiped");
    }
}

#[test]
fn an_outer_fragment_is_refused() {
    // RFC 4303 section 3.4.1
    for (encapsulation, ports) in [(Encapsulation::Ip, 0), (Encapsulation::Udp, 4500)] {
        let setup =
            Setup { encapsulation, path: v4_path(ports, ports), ..Setup::new(Suite::AES_128_GCM) };
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        let out = setup.install_outbound(&mut sad);
        setup.install_inbound(&mut sad);
        let (_, mut outer) = seal_copy(&mut sad, out, &v4_packet(60)).unwrap();
        outer[6] = 0x20;
        let refused = inbound_ip(&mut sad, NOW, &mut outer);
        assert!(matches!(refused, Err(OpenError::Fragment)));
    }
}

#[test]
fn an_outer_packet_cut_anywhere_is_refused() {
    let setup = Setup {
        encapsulation: Encapsulation::Udp,
        path: v4_path(4500, 4500),
        ..Setup::new(Suite::AES_128_GCM)
    };
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let out = setup.install_outbound(&mut sad);
    let id = setup.install_inbound(&mut sad);
    let (_, outer) = seal_copy(&mut sad, out, &v4_packet(60)).unwrap();
    let before = state(&sad, id);
    for len in 0..outer.len() {
        let mut cut = outer[..len].to_vec();
        let refused = inbound_ip(&mut sad, NOW, &mut cut);
        assert!(matches!(refused, Err(OpenError::Outer(IpError::Truncated))), "{len}");
    }
    for udp_len in [0, 7, 8, 9, 11, 200] {
        let mut lies = outer.clone();
        lies[25] = udp_len;
        assert!(inbound_ip(&mut sad, NOW, &mut lies).is_err(), "{udp_len}");
    }
    assert_eq!(state(&sad, id), before);
}

#[test]
fn other_traffic_is_told_apart() {
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let mut clear = v4_packet(60);
    assert!(matches!(inbound_ip(&mut sad, NOW, &mut clear), Ok(Inbound::Clear(_))));
    let mut ike = v4_packet(60);
    ike[22..24].copy_from_slice(&500u16.to_be_bytes());
    match inbound_ip(&mut sad, NOW, &mut ike) {
        Ok(Inbound::Ike { path, message }) => {
            assert_eq!((path.local.port, path.remote.port, message.len()), (500, 1111, 32));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_an_authentic_newest_packet_moves_the_peer() {
    let setup = Setup {
        encapsulation: Encapsulation::Udp,
        path: v4_path(4500, 4500),
        ..Setup::new(Suite::AES_128_GCM)
    };
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_inbound(&mut sad);
    let moved = Endpoint::new([203, 0, 113, 77].into(), 4501);
    let mut path = reversed(setup.path);
    path.remote = moved;

    let mut forged = esp_of(&setup, 0, &v4_packet(60));
    forged[20] ^= 1;
    assert!(inbound_udp(&mut sad, NOW, path, 0, &mut forged).is_err());
    assert_eq!(sad.poll_event(), None);
    let mut newest = esp_of(&setup, 9, &v4_packet(60));
    assert!(inbound_udp(&mut sad, NOW, reversed(setup.path), 0, &mut newest).is_ok());
    let mut older = esp_of(&setup, 5, &v4_packet(60));
    assert!(inbound_udp(&mut sad, NOW, path, 0, &mut older).is_ok());
    assert_eq!(sad.poll_event().unwrap().kind, SadEventKind::FirstPacket);
    assert_eq!(sad.poll_event(), None);
    let mut newer = esp_of(&setup, 10, &v4_packet(60));
    assert!(inbound_udp(&mut sad, NOW, path, 0, &mut newer).is_ok());
    assert_eq!(sad.poll_event().unwrap().kind, SadEventKind::PeerMoved(moved));
    assert_eq!(sad.inbound(id).unwrap().protection.path.remote, moved);
}

#[test]
fn sequence_numbers_end_before_they_wrap() {
    // RFC 4303 section 3.3.3
    for (esn, last) in [(false, u64::from(u32::MAX)), (true, u64::MAX)] {
        let setup = Setup { esn, ..Setup::new(Suite::AES_128_GCM) };
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        let id = setup.install_outbound(&mut sad);
        sad.skip_sequence(id, last - 1);
        assert_eq!(seal_copy(&mut sad, id, &v4_packet(60)).unwrap().0.sequence, last);
        for _ in 0..2 {
            let error = seal_copy(&mut sad, id, &v4_packet(60)).unwrap_err();
            assert!(matches!(error, SealError::SequenceOverflow(a) if a.spi == setup.spi));
            assert_eq!(sad.outbound(id).unwrap().sequence(), last);
        }
        let told: Vec<_> = std::iter::from_fn(|| sad.poll_event()).map(|e| e.kind).collect();
        assert_eq!(told, [SadEventKind::Soft, SadEventKind::Hard]);
    }
}

#[test]
fn a_life_that_is_over_stops_both_ends() {
    let lifetime = Lifetime { soft: Limits::NONE, hard: Limits { packets: 2, ..Limits::NONE } };
    let short = Setup { lifetime, ..Setup::new(Suite::AES_128_GCM) };
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let (out, id) = (short.install_outbound(&mut sad), short.install_inbound(&mut sad));
    for sequence in 1..=2 {
        seal_copy(&mut sad, out, &v4_packet(60)).unwrap();
        let mut esp = forge(&short, sequence, &[&v4_packet(60)[..], &[1, 2, 2, 4]].concat());
        open(&mut sad, NOW, &short.arrival(), &mut esp).unwrap();
    }
    let sealed = seal_copy(&mut sad, out, &v4_packet(60)).map(|_| ());
    assert_eq!(sealed, Err(SealError::Expired(audit(&short, 3))));
    let mut esp = forge(&short, 3, &[&v4_packet(60)[..], &[1, 2, 2, 4]].concat());
    let opened = open(&mut sad, NOW, &short.arrival(), &mut esp);
    assert_eq!(opened, Err(OpenError::Expired(audit(&short, 3))));
    assert_eq!(sad.inbound(id).unwrap().protection.usage.packets, 2);
}

#[test]
fn a_packet_that_is_not_sealed_is_left_alone() {
    use ipsec_core::packet::{NoRoom, PacketBuf};
    let setup = Setup::new(Suite::AES_256_CBC_SHA256);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let inner = v4_packet(60);
    // 60 and 2 bytes of trailer are padded to 64; an ICV of 16 follows.
    for (head, tail, enough) in [(43, 20, false), (44, 19, false), (0, 0, false), (44, 20, true)] {
        let mut buf = vec![0xa5; head + 60 + tail];
        buf[head..head + 60].copy_from_slice(&inner);
        let before = (buf.clone(), sad.outbound(id).unwrap().protection.usage);
        let mut packet = PacketBuf::new(&mut buf, head..head + 60).unwrap();
        let result = seal(&mut sad, NOW, id, &mut packet);
        if enough {
            assert_eq!(result.unwrap().sequence, 1);
            continue;
        }
        let needed = NoRoom { needed_head: 44, needed_tail: 20, head, tail };
        assert_eq!(result, Err(SealError::NoRoom(needed)));
        assert_eq!(packet.range(), head..head + 60);
        assert_eq!((buf, sad.outbound(id).unwrap().protection.usage), before);
    }
    for junk in [&[][..], &[0x45; 19], &[0x99; 60]] {
        assert!(matches!(seal_copy(&mut sad, id, junk), Err(SealError::Inner(_))));
    }
    let longest = v4_packet(65_535);
    assert_eq!(seal_copy(&mut sad, id, &longest).map(|_| ()), Err(SealError::TooLong));
    assert_eq!(sad.outbound(id).unwrap().sequence(), 1);
    for path in [Path::new(v4_path(0, 0).local, v6_path(0, 0).remote), Path::UNSPECIFIED] {
        let encapsulation = Encapsulation::Udp;
        sad.remove_outbound(id);
        let id = Setup { path, encapsulation, ..setup.clone() }.install_outbound(&mut sad);
        assert_eq!(seal_copy(&mut sad, id, &inner).map(|_| ()), Err(SealError::Path));
        assert_eq!(sad.outbound(id).unwrap().sequence(), 0);
        sad.remove_outbound(id);
    }
    assert_eq!(seal_copy(&mut sad, id, &inner).map(|_| ()), Err(SealError::NoSa));
}

#[test]
fn errors_can_be_read() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let text = OpenError::Integrity(audit(&setup, 5)).to_string();
    assert_eq!(text, "SPI 12345678 sequence 5: integrity check failed");
    let text = SealError::Crypto(CryptoError::Failed).to_string();
    assert_eq!(text, "cryptographic hardware or random source failed");
}
