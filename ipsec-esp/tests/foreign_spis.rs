//! Inbound SAs at SPIs that somebody else chose: manual and multicast ones.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use std::collections::BTreeMap;
use std::net::IpAddr;

use common::{Memory, NOW, Setup, seal_copy, v4_packet, v4_path};
use ipsec_core::crypto::{Integ, Suite};
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::{Encapsulation, Protocol, Spi};
use ipsec_core::sad::{FoundBy, InboundId, InstallError, Sad, SpiAllocator};
use ipsec_esp::{Inbound, OpenError, inbound_ip};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::toy::Toy;
use rand_core::Rng;

const GROUP: [u8; 4] = [239, 1, 2, 3];
const OTHER_GROUP: [u8; 4] = [239, 1, 2, 4];

fn spi(number: u32) -> Spi {
    Spi::new(number).unwrap()
}

/// From a source to a group.
fn to_group(source: u8, group: [u8; 4]) -> Path {
    let end = |address: [u8; 4]| Endpoint::new(address.into(), 0);
    Path::new(end([10, 0, 0, source]), end(group))
}

fn install(setup: &Setup, sad: &mut Sad<'_, Toy>, by: FoundBy) -> Result<InboundId, InstallError> {
    setup.with_inbound(|params| sad.install_inbound_as(NOW, params, by))
}

/// Sends a packet as `setup` says, and gives which SA opened it.
fn pass(setup: &Setup, receiver: &mut Sad<'_, Toy>) -> Result<InboundId, OpenError> {
    let mut memory = Memory::<Toy>::new(1);
    let mut sender = memory.sad();
    let out = setup.install_outbound(&mut sender);
    let (_, mut outer) = seal_copy(&mut sender, out, &v4_packet(60)).unwrap();
    match inbound_ip(receiver, NOW, &mut outer)? {
        Inbound::Packet { opened, .. } => Ok(opened.id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_manual_spi_is_found_and_forgotten() {
    let mut memory = Memory::<Toy>::new(4);
    let mut sad = memory.sad();
    // 0x100 is the lowest SPI there is; 0xffff_ffff carries the last slot in its low bits.
    for number in [0x100, 0x101, 0xffff_ffff] {
        let setup = Setup { spi: number, ..Setup::new(Suite::AES_128_GCM) };
        let id = install(&setup, &mut sad, FoundBy::Spi).unwrap();
        assert_eq!(sad.lookup(Protocol::Esp, spi(number)), Some(id));
        assert_eq!(sad.lookup(Protocol::Ah, spi(number)), None);
        assert_eq!(pass(&setup, &mut sad), Ok(id));
        assert_eq!(install(&setup, &mut sad, FoundBy::Spi), Err(InstallError::Spi));
        assert!(sad.remove_inbound(id) && !sad.remove_inbound(id));
        assert!(matches!(pass(&setup, &mut sad), Err(OpenError::UnknownSpi(_))));
    }
    assert_eq!(sad.inbound_in_use(), 0);
}

#[test]
fn the_numbers_up_to_255_are_no_spi() {
    // RFC 4303 section 2.1
    assert!((0..256).all(|number| Spi::new(number).is_none()));
}

#[test]
fn esp_and_ah_may_have_the_same_spi() {
    let mut memory = Memory::<Toy>::new(4);
    let mut sad = memory.sad();
    let esp = Setup { spi: 700, ..Setup::new(Suite::AES_128_GCM) };
    let ah = Setup { spi: 700, ..Setup::ah(Integ::HMAC_SHA2_256_128) };
    let esp_id = install(&esp, &mut sad, FoundBy::Spi).unwrap();
    let ah_id = install(&ah, &mut sad, FoundBy::Spi).unwrap();
    assert_eq!((pass(&esp, &mut sad), pass(&ah, &mut sad)), (Ok(esp_id), Ok(ah_id)));
    sad.remove_inbound(esp_id);
    assert!(matches!(pass(&esp, &mut sad), Err(OpenError::UnknownSpi(_))));
    assert_eq!(sad.lookup(Protocol::Ah, spi(700)), Some(ah_id));
}

#[test]
fn a_reserved_spi_and_a_foreign_one_never_meet() {
    let mut memory = Memory::<Toy>::new(2);
    let mut sad = memory.sad();
    let reserved = sad.reserve(&mut common::Fixed(0x9999_0000)).unwrap();
    let setup = Setup { spi: reserved.get(), ..Setup::new(Suite::AES_128_GCM) };
    assert_eq!(install(&setup, &mut sad, FoundBy::Spi), Err(InstallError::Spi));
    sad.release(reserved);
    // The next slot is the other one.
    let setup = Setup { spi: 0x9999_0001, ..setup };
    let by_hand = install(&setup, &mut sad, FoundBy::Spi).unwrap();
    sad.remove_inbound(by_hand);
    let by_hand = install(&setup, &mut sad, FoundBy::Spi).unwrap();
    let again = sad.reserve(&mut common::Fixed(0x9999_0000)).unwrap();
    assert_ne!(again.get(), setup.spi);
    assert_eq!(sad.lookup(Protocol::Esp, spi(setup.spi)), Some(by_hand));
}

#[test]
fn what_cannot_be_installed() {
    let (mut memory, mut less) = (Memory::<Toy>::new(1), Memory::<Toy>::new(1));
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut without = less.sad_without_foreign();
    assert_eq!(install(&setup, &mut without, FoundBy::Spi), Err(InstallError::NoIndex));
    let mut sad = memory.sad();
    for by in [FoundBy::Destination, FoundBy::DestinationAndSource] {
        assert_eq!(install(&setup, &mut sad, by), Err(InstallError::Group), "unicast");
    }
    let group = Setup { path: to_group(1, GROUP), ..setup.clone() };
    let udp = Setup { encapsulation: Encapsulation::Udp, ..group.clone() };
    assert_eq!(install(&udp, &mut sad, FoundBy::Destination), Err(InstallError::Group));
    let mut mixed = group.clone();
    mixed.path.local.address = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(install(&mixed, &mut sad, FoundBy::DestinationAndSource), Err(InstallError::Group));
    let from_group = Setup { path: Path::new(group.path.remote, group.path.remote), ..group };
    let result = install(&from_group, &mut sad, FoundBy::DestinationAndSource);
    assert_eq!(result, Err(InstallError::Group));
    assert_eq!(sad.inbound_in_use(), 0);
    install(&setup, &mut sad, FoundBy::Spi).unwrap();
    let second = Setup { spi: 999, ..setup };
    assert_eq!(install(&second, &mut sad, FoundBy::Spi), Err(InstallError::Full));
}

#[test]
fn the_longest_match_counts() {
    // RFC 4301 section 4.1: SPI, destination and source; SPI and destination; SPI and protocol.
    let mut memory = Memory::<Toy>::new(8);
    let mut sad = memory.sad();
    let setup = Setup { spi: 5000, ..Setup::new(Suite::AES_128_GCM) };
    let from = |source, group| Setup { path: to_group(source, group), ..setup.clone() };
    let unicast = install(&Setup { path: v4_path(0, 0), ..setup.clone() }, &mut sad, FoundBy::Spi);
    let any = install(&from(9, GROUP), &mut sad, FoundBy::Destination);
    let one = install(&from(1, GROUP), &mut sad, FoundBy::DestinationAndSource);
    let two = install(&from(2, GROUP), &mut sad, FoundBy::DestinationAndSource);
    let (unicast, any, one, two) = (unicast.unwrap(), any.unwrap(), one.unwrap(), two.unwrap());
    let find = |sad: &Sad<'_, Toy>, setup: &Setup| {
        sad.find(Protocol::Esp, spi(setup.spi), &common::reversed(setup.path))
    };
    assert_eq!(pass(&from(1, GROUP), &mut sad), Ok(one));
    assert_eq!(pass(&from(2, GROUP), &mut sad), Ok(two));
    assert_eq!(pass(&from(3, GROUP), &mut sad), Ok(any));
    assert_eq!(pass(&from(1, OTHER_GROUP), &mut sad), Ok(unicast));
    assert_eq!(find(&sad, &Setup { spi: 5001, ..from(1, GROUP) }), None);

    let again = [(any, 7, FoundBy::Destination), (one, 1, FoundBy::DestinationAndSource)];
    for (_, source, by) in again {
        assert_eq!(install(&from(source, GROUP), &mut sad, by), Err(InstallError::Spi));
    }
    // The protocol takes no part: an SA of AH in its place is a duplicate too.
    let ah = Setup { path: to_group(1, GROUP), spi: 5000, ..Setup::ah(Integ::HMAC_SHA1_96) };
    assert_eq!(install(&ah, &mut sad, FoundBy::Destination), Err(InstallError::Spi));
    assert!(matches!(pass(&ah, &mut sad), Err(OpenError::UnknownSpi(_))));

    assert!(!sad.move_inbound(one, v4_path(0, 0)), "a multicast SA stays where it is");
    assert!(sad.move_inbound(unicast, v4_path(0, 0)));
    sad.remove_inbound(one);
    assert_eq!(find(&sad, &from(1, GROUP)), Some(any));
    sad.remove_inbound(any);
    assert_eq!(find(&sad, &from(1, GROUP)), Some(unicast));
    sad.remove_inbound(unicast);
    assert_eq!(find(&sad, &from(1, GROUP)), None);
    assert_eq!(find(&sad, &from(2, GROUP)), Some(two));
}

#[test]
fn ipv6_groups_are_found_too() {
    let mut memory = Memory::<Toy>::new(2);
    let mut sad = memory.sad();
    let end = |text: &str| Endpoint::new(text.parse().unwrap(), 0);
    let path = Path::new(end("2001:db8::1"), end("ff3e::8000:1"));
    let setup = Setup { spi: 256, path, ..Setup::new(Suite::AES_128_GCM) };
    let id = install(&setup, &mut sad, FoundBy::DestinationAndSource).unwrap();
    assert_eq!(pass(&setup, &mut sad), Ok(id));
    let other = Setup { path: Path::new(end("2001:db8::2"), path.remote), ..setup };
    assert!(matches!(pass(&other, &mut sad), Err(OpenError::UnknownSpi(_))));
}

#[test]
fn agrees_with_a_naive_search() {
    // SAs come and go under few SPIs, groups and sources.
    let mut memory = Memory::<Toy>::new(16);
    let mut sad = memory.sad();
    let mut rng = SeededRng::new(3);
    let mut model: BTreeMap<(u8, u32, u8, u8), InboundId> = BTreeMap::new();
    for _ in 0..20_000 {
        let random = rng.next_u32();
        let [kind, number, group, source] = random.to_le_bytes().map(|b| b & 3);
        let number = 0x1000 + u32::from(number);
        let unicast = Setup { spi: number, ..Setup::new(Suite::AES_128_GCM) };
        let multicast = Setup { path: to_group(source, [239, 0, 0, group]), ..unicast.clone() };
        let (key, setup, by) = match kind {
            0 => ((0, number, 0, 0), unicast, FoundBy::Spi),
            1 => ((1, number, group, 0), multicast, FoundBy::Destination),
            _ => ((2, number, group, source), multicast, FoundBy::DestinationAndSource),
        };
        if random >> 31 == 0 {
            if let Some(id) = model.remove(&key) {
                assert!(sad.remove_inbound(id));
            }
        } else {
            let free = sad.inbound_in_use() < 16;
            match install(&setup, &mut sad, by) {
                Ok(id) => assert_eq!(model.insert(key, id), None),
                Err(InstallError::Spi) => assert!(model.contains_key(&key)),
                Err(e) => assert!(e == InstallError::Full && !free),
            }
        }
        let arrival = to_group(source, [239, 0, 0, group]);
        let keys = [(2, number, group, source), (1, number, group, 0), (0, number, 0, 0)];
        let expected = keys.iter().find_map(|key| model.get(key)).copied();
        let found = sad.find(Protocol::Esp, spi(number), &common::reversed(arrival));
        assert_eq!(found, expected);
        assert_eq!(sad.lookup(Protocol::Esp, spi(number)), model.get(&keys[2]).copied());
    }
}
