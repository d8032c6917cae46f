//! The checks that every crypto provider must pass. They panic with a message that names the algorithm.
//!
//! They show that a provider keeps the contract of [`ipsec_core::crypto::provider`], not that its algorithms are the
//! ones they claim to be: that takes published test vectors, which live with the provider.

use std::vec;
use std::vec::Vec;

use ipsec_core::crypto::{
    CryptoError, Encr, Group, HashId, Integ, Iv, KeyExchange, Mac, PacketCipher, Prf, PrfId,
    Provider, Shape, Suite, Work,
};

use crate::rng::SeededRng;

/// All of them.
pub fn all<P: Provider>() {
    suites::<P>();
    macs::<P>();
    prfs::<P>();
    groups::<P>();
    hashes::<P>();
}

/// One packet with everything that belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Packet {
    nonce: Vec<u8>,
    head: Vec<u8>,
    text: Vec<u8>,
    tail: Vec<u8>,
    icv: Vec<u8>,
}

impl Packet {
    fn random(rng: &mut SeededRng, shape: &Shape, head: usize, text: usize) -> Self {
        let tail = if shape.aead { 0 } else { 4 };
        Self {
            nonce: random(rng, shape.nonce_len()),
            head: random(rng, head),
            text: random(rng, text),
            tail: random(rng, tail),
            icv: vec![0; shape.icv_len],
        }
    }

    fn work(&mut self) -> Work<'_> {
        Work {
            nonce: &self.nonce,
            head: &self.head,
            text: &mut self.text,
            tail: &self.tail,
            icv: &mut self.icv,
        }
    }
}

fn random(rng: &mut SeededRng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

/// Each of [`Provider::SUITES`] seals, opens, notices every change, wipes, and refuses wrong lengths.
pub fn suites<P: Provider>() {
    assert!(!P::SUITES.is_empty(), "the provider has no suite");
    for &suite in P::SUITES {
        assert!(P::has_suite(suite) && P::has_encr(suite.encr), "{suite}");
        suite_of::<P::Cipher>(suite);
    }
    let unknown = [
        Suite::aead(Encr(0xfffe), 128),
        Suite::aead(Encr::AES_CBC, 128),
        Suite { integ: Integ(0xfffe), ..Suite::AES_128_CBC_SHA256 },
        Suite { key_bits: 100, ..Suite::AES_128_GCM },
        Suite { integ: Integ::HMAC_SHA2_256_128, ..Suite::AES_128_GCM },
    ];
    for suite in unknown {
        assert!(!P::has_suite(suite), "{suite}");
        let result = P::Cipher::new(suite, &[0; 16], &[]);
        assert_eq!(result.err(), Some(CryptoError::Unsupported), "{suite}");
    }
}

fn suite_of<C: PacketCipher>(suite: Suite) {
    let Some(shape) = suite.shape() else { panic!("{suite} is offered but has no shape") };
    let mut rng = SeededRng::new(u64::from(suite.encr.0) << 32 | u64::from(suite.integ.0));
    let encr_key = random(&mut rng, shape.key_len);
    let integ_key = random(&mut rng, shape.integ_key_len);
    let make = |encr_key: &[u8], integ_key: &[u8]| {
        C::new(suite, encr_key, integ_key).unwrap_or_else(|e| panic!("{suite}: {e}"))
    };
    let cipher = make(&encr_key, &integ_key);
    let same = make(&encr_key, &integ_key);

    key_lengths::<C>(suite, &encr_key, &integ_key);
    for blocks in [0, 1, 2, 3, 5, 17] {
        // Ends within a block of the cipher are tried where the suite allows them.
        for odd in [0, 1, 7, 15] {
            for head in [0, 8, 12, 16, 33] {
                let text = 16 * blocks + odd;
                if text % shape.block_len == 0 {
                    let packet = Packet::random(&mut rng, &shape, head, text);
                    round_trip(suite, &cipher, &same, packet);
                }
            }
        }
    }
    // The length of a full Ethernet frame, and one more than fits the counter byte of some accelerators.
    for text in [1424, 256 * 16 + 16] {
        let packet = Packet::random(&mut rng, &shape, 8, text);
        round_trip(suite, &cipher, &same, packet);
    }

    let plain = Packet::random(&mut rng, &shape, 12, 48);
    let mut sealed = plain.clone();
    cipher.seal(sealed.work()).unwrap_or_else(|e| panic!("{suite}: {e}"));
    every_change_is_noticed(suite, &shape, &cipher, &sealed);
    wrong_lengths_are_refused(suite, &shape, &cipher, &plain, &sealed);
    every_key_bit_counts(suite, &encr_key, &integ_key, &make, &sealed);
    nonces_matter(suite, &shape, &cipher, &plain, &sealed);
    ivs_are_distinct(suite, &shape, &cipher, &same);
    batches_agree(suite, &shape, &cipher, &make(&vec![9; shape.key_len], &integ_key), &mut rng);
}

fn key_lengths<C: PacketCipher>(suite: Suite, encr_key: &[u8], integ_key: &[u8]) {
    let refused = |encr_key: &[u8], integ_key: &[u8]| {
        let result = C::new(suite, encr_key, integ_key).err();
        assert_eq!(
            result,
            Some(CryptoError::Length),
            "{suite}: keys of {} and {} bytes",
            encr_key.len(),
            integ_key.len()
        );
    };
    let longer = |key: &[u8]| [key, &[1]].concat();
    refused(&longer(encr_key), integ_key);
    refused(encr_key, &longer(integ_key));
    if let Some((_, shorter)) = encr_key.split_last() {
        refused(shorter, integ_key);
        refused(&[], integ_key);
    }
    if let Some((_, shorter)) = integ_key.split_last() {
        refused(encr_key, shorter);
        refused(encr_key, &[]);
    }
}

fn round_trip<C: PacketCipher>(suite: Suite, cipher: &C, same: &C, plain: Packet) {
    let len = plain.text.len();
    let mut sealed = plain.clone();
    assert_eq!(cipher.seal(sealed.work()), Ok(()), "{suite}: {len} bytes");
    let hides = !matches!(suite.encr, Encr::NULL | Encr::NULL_AES_GMAC);
    if len >= 16 {
        assert_eq!(sealed.text != plain.text, hides, "{suite}: is the text encrypted?");
    }
    if len >= 32 && hides {
        assert_ne!(sealed.text[16..32], plain.text[16..32], "{suite}: the second block is plain");
    }
    assert_ne!(sealed.icv, plain.icv, "{suite}: no integrity check value");
    let mut again = plain.clone();
    assert_eq!(same.seal(again.work()), Ok(()));
    assert_eq!(again, sealed, "{suite}: equal keys seal differently");
    let icv = sealed.icv.clone();
    assert_eq!(same.open(sealed.work()), Ok(()), "{suite}: {len} bytes");
    assert_eq!(sealed.text, plain.text, "{suite}: {len} bytes come back different");
    assert_eq!(sealed.icv, icv, "{suite}: open changed the integrity check value");
}

fn must_not_open<C: PacketCipher>(
    suite: Suite,
    cipher: &C,
    mut packet: Packet,
    error: CryptoError,
    what: &str,
) {
    assert_eq!(cipher.open(packet.work()), Err(error), "{suite}: {what}");
    assert!(packet.text.iter().all(|&b| b == 0), "{suite}: {what}: the text is not wiped");
}

fn every_change_is_noticed<C: PacketCipher>(
    suite: Suite,
    shape: &Shape,
    cipher: &C,
    sealed: &Packet,
) {
    let bad = |packet: Packet, what: &str| {
        must_not_open(suite, cipher, packet, CryptoError::Integrity, what);
    };
    type Part = fn(&mut Packet) -> &mut Vec<u8>;
    let parts: [(&str, Part); 5] = [
        ("nonce", |p| &mut p.nonce),
        ("head", |p| &mut p.head),
        ("text", |p| &mut p.text),
        ("tail", |p| &mut p.tail),
        ("icv", |p| &mut p.icv),
    ];
    for (name, part) in parts {
        // A separate MAC covers the IV on the wire, not the salt.
        let first = if name == "nonce" && !shape.aead { shape.salt_len } else { 0 };
        let len = part(&mut sealed.clone()).len();
        for bit in first * 8..len * 8 {
            let mut packet = sealed.clone();
            part(&mut packet)[bit / 8] ^= 1 << (bit % 8);
            bad(packet, &std::format!("{name}, bit {bit} flipped"));
        }
    }

    let mut packet = sealed.clone();
    packet.head.push(0);
    bad(packet, "longer head");
    let mut packet = sealed.clone();
    packet.head.pop();
    bad(packet, "shorter head");
    let mut packet = sealed.clone();
    packet.text.truncate(sealed.text.len() - shape.block_len);
    bad(packet, "shorter text");
    let mut packet = sealed.clone();
    packet.text.extend(vec![0; shape.block_len]);
    bad(packet, "longer text");
    let mut packet = sealed.clone();
    packet.text.clear();
    bad(packet, "no text");
    let mut packet = sealed.clone();
    let (last_but_one, last) = (sealed.text.len() - 32, sealed.text.len() - 16);
    for i in 0..16 {
        packet.text.swap(last_but_one + i, last + i);
    }
    bad(packet, "blocks in another order");
    if shape.aead {
        // Unlike a plain MAC, an AEAD knows where the head ends.
        let mut packet = sealed.clone();
        let moved = packet.text.remove(0);
        packet.head.push(moved);
        bad(packet, "a byte moved from the text to the head");
    } else {
        let mut packet = sealed.clone();
        packet.tail.clear();
        bad(packet, "no tail");
    }
    let mut packet = sealed.clone();
    packet.icv.fill(0);
    bad(packet, "icv of zeros");

    let mut packet = sealed.clone();
    assert_eq!(cipher.open(packet.work()), Ok(()), "{suite}: after all that");
}

fn wrong_lengths_are_refused<C: PacketCipher>(
    suite: Suite,
    shape: &Shape,
    cipher: &C,
    plain: &Packet,
    sealed: &Packet,
) {
    let refused = |change: &dyn Fn(&mut Packet), what: &str| {
        let mut packet = plain.clone();
        change(&mut packet);
        assert_eq!(cipher.seal(packet.work()), Err(CryptoError::Length), "{suite}: seal: {what}");
        let mut packet = sealed.clone();
        change(&mut packet);
        let result = cipher.open(packet.work());
        // Where the MAC is verified first, it says what is wrong with the length of the text.
        let verified_first = packet.text.len() != sealed.text.len();
        assert!(
            result == Err(CryptoError::Length)
                || verified_first && result == Err(CryptoError::Integrity),
            "{suite}: open: {what}: {result:?}"
        );
        assert!(packet.text.iter().all(|&b| b == 0), "{suite}: {what}: the text is not wiped");
    };
    refused(&|p| p.nonce.push(0), "longer nonce");
    if shape.nonce_len() > 0 {
        refused(&|p| p.nonce.truncate(p.nonce.len() - 1), "shorter nonce");
    }
    refused(&|p| p.icv.push(0), "longer icv");
    refused(&|p| p.icv.truncate(p.icv.len() - 1), "shorter icv");
    refused(&|p| p.icv.clear(), "no icv");
    if shape.block_len > 1 {
        refused(&|p| p.text.push(0), "one byte beyond a block");
        refused(&|p| p.text.truncate(p.text.len() - 1), "one byte less than a block");
    }
    if shape.aead {
        refused(&|p| p.tail.push(0), "an AEAD has no tail");
    }
}

fn every_key_bit_counts<C: PacketCipher>(
    suite: Suite,
    encr_key: &[u8],
    integ_key: &[u8],
    make: &dyn Fn(&[u8], &[u8]) -> C,
    sealed: &Packet,
) {
    // A bit in eight, which is another one in each byte. DES ignores the lowest one of each byte (its parity).
    let bits = |key: &[u8]| (0..key.len()).map(|i| (i, 2u8 << (i % 7))).collect::<Vec<_>>();
    let mut plain = sealed.clone();
    assert_eq!(make(encr_key, integ_key).open(plain.work()), Ok(()));
    for (i, bit) in bits(encr_key) {
        let mut key = encr_key.to_vec();
        key[i] ^= bit;
        let mut packet = sealed.clone();
        let result = make(&key, integ_key).open(packet.work());
        if result.is_ok() {
            // A separate MAC does not know the cipher's key.
            assert!(suite.integ != Integ::NONE, "{suite}: opened with another key");
            assert_ne!(packet.text, plain.text, "{suite}: byte {i} of the key is ignored");
        }
    }
    for (i, bit) in bits(integ_key) {
        let mut key = integ_key.to_vec();
        key[i] ^= bit;
        let other = make(encr_key, &key);
        must_not_open(suite, &other, sealed.clone(), CryptoError::Integrity, "another MAC key");
    }
}

fn nonces_matter<C: PacketCipher>(
    suite: Suite,
    shape: &Shape,
    cipher: &C,
    plain: &Packet,
    sealed: &Packet,
) {
    for bit in 0..shape.nonce_len() * 8 {
        let mut packet = plain.clone();
        packet.nonce[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(cipher.seal(packet.work()), Ok(()), "{suite}");
        if suite.encr != Encr::NULL_AES_GMAC {
            assert_ne!(packet.text, sealed.text, "{suite}: bit {bit} of the nonce is ignored");
        }
        assert_ne!(packet.icv, sealed.icv, "{suite}: bit {bit} of the nonce is ignored");
    }
}

fn ivs_are_distinct<C: PacketCipher>(suite: Suite, shape: &Shape, cipher: &C, same: &C) {
    if shape.iv != Iv::Unpredictable {
        return;
    }
    let iv = |cipher: &C, counter: u64| {
        let mut iv = vec![0; shape.iv_len];
        assert_eq!(cipher.unpredictable_iv(counter, &mut iv), Ok(()), "{suite}");
        iv
    };
    let mut seen: Vec<_> = (0..1000).map(|counter| iv(cipher, counter)).collect();
    seen.extend((8..64).map(|bit| iv(cipher, 1 << bit | 1 << 63)));
    let count = seen.len();
    assert_eq!(seen[77], iv(same, 77), "{suite}: equal keys give different IVs");
    for (counter, iv) in seen.iter().enumerate() {
        let counter = (counter as u64).to_be_bytes();
        assert!(!iv.windows(8).any(|w| w == counter), "{suite}: an IV shows its counter");
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "{suite}: an IV came twice");
    for wrong in [0, shape.iv_len - 1, shape.iv_len + 1] {
        let result = cipher.unpredictable_iv(1, &mut vec![0; wrong]);
        assert_eq!(result, Err(CryptoError::Length), "{suite}: IV of {wrong} bytes");
    }
}

fn batches_agree<C: PacketCipher>(
    suite: Suite,
    shape: &Shape,
    one: &C,
    other: &C,
    rng: &mut SeededRng,
) {
    let cipher = |i: usize| if i.is_multiple_of(3) { other } else { one };
    let plain: Vec<_> =
        (0..7).map(|i| Packet::random(rng, shape, 8 + 4 * (i % 2), 16 * i)).collect();
    let mut single = plain.clone();
    for (i, packet) in single.iter_mut().enumerate() {
        assert_eq!(cipher(i).seal(packet.work()), Ok(()));
    }
    let mut batch = plain.clone();
    let mut jobs: Vec<_> = batch
        .iter_mut()
        .enumerate()
        .map(|(i, packet)| (cipher(i), packet.work(), Err(CryptoError::Failed)))
        .collect();
    C::seal_batch(&mut jobs);
    assert!(jobs.iter().all(|job| job.2 == Ok(())), "{suite}: a batch fails to seal");
    drop(jobs);
    assert_eq!(batch, single, "{suite}: a batch seals differently");

    batch[4].icv[0] ^= 1;
    let mut jobs: Vec<_> = batch
        .iter_mut()
        .enumerate()
        .map(|(i, packet)| (cipher(i), packet.work(), Err(CryptoError::Failed)))
        .collect();
    C::open_batch(&mut jobs);
    for (i, job) in jobs.iter().enumerate() {
        let expected = if i == 4 { Err(CryptoError::Integrity) } else { Ok(()) };
        assert_eq!(job.2, expected, "{suite}: packet {i} of a batch");
    }
    drop(jobs);
    for (i, packet) in batch.iter().enumerate() {
        let expected = if i == 4 { vec![0; plain[i].text.len()] } else { plain[i].text.clone() };
        assert_eq!(packet.text, expected, "{suite}: packet {i} of a batch");
    }
}

/// Each of [`Provider::INTEGS`] signs and verifies, whatever the parts, and notices every change.
pub fn macs<P: Provider>() {
    for &integ in P::INTEGS {
        mac_of::<P::Mac>(integ);
    }
    for unknown in [Integ::NONE, Integ(0xfffe)] {
        assert!(!P::INTEGS.contains(&unknown));
        let result = P::Mac::new(unknown, &[0; 16]).err();
        assert_eq!(result, Some(CryptoError::Unsupported), "{unknown}");
    }
}

fn mac_of<M: Mac>(integ: Integ) {
    let (Some(key_len), Some(icv_len)) = (integ.key_len(), integ.icv_len()) else {
        panic!("{integ} is offered but unknown")
    };
    let gmac = [Integ::AES_128_GMAC, Integ::AES_192_GMAC, Integ::AES_256_GMAC].contains(&integ);
    let mut rng = SeededRng::new(u64::from(integ.0));
    let nonce = random(&mut rng, if gmac { 12 } else { 0 });
    let key = random(&mut rng, key_len);
    let make = |key: &[u8]| M::new(integ, key).unwrap_or_else(|e| panic!("{integ}: {e}"));
    let mac = make(&key);

    for wrong in [0, key_len - 1, key_len + 1, 200] {
        let result = M::new(integ, &vec![0; wrong]).err();
        assert_eq!(result, Some(CryptoError::Length), "{integ}: key of {wrong} bytes");
    }

    let text = random(&mut rng, 200);
    let sign = |mac: &M, parts: &[&[u8]]| {
        let mut icv = vec![0; icv_len];
        assert_eq!(mac.sign(&nonce, parts, &mut icv), Ok(()), "{integ}");
        icv
    };
    for len in [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 119, 120, 127, 128, 129, 200] {
        let text = &text[..len];
        let icv = sign(&mac, &[text]);
        for at in [0, 1, 7, 16, 64, 127].into_iter().filter(|&at| at <= len) {
            let (a, b) = text.split_at(at);
            let (b, c) = b.split_at(b.len() / 2);
            assert_eq!(sign(&mac, &[a, b, &[], c]), icv, "{integ}: {len} bytes, cut at {at}");
        }
        assert_eq!(mac.verify(&nonce, &[text], &icv), Ok(()), "{integ}: {len} bytes");
        if let Some((_, shorter)) = text.split_last() {
            let result = mac.verify(&nonce, &[shorter], &icv);
            assert_eq!(result, Err(CryptoError::Integrity), "{integ}: a byte less than {len}");
        }
        let result = mac.verify(&nonce, &[text, &[0]], &icv);
        assert_eq!(result, Err(CryptoError::Integrity), "{integ}: a byte more than {len}");
    }

    let text = &text[..40];
    let icv = sign(&mac, &[text]);
    assert_eq!(make(&key).verify(&nonce, &[text], &icv), Ok(()), "{integ}: equal keys differ");
    let bad = |mac: &M, nonce: &[u8], text: &[u8], icv: &[u8], what: &str| {
        let result = mac.verify(nonce, &[text], icv);
        assert_eq!(result, Err(CryptoError::Integrity), "{integ}: {what}");
    };
    for bit in 0..text.len() * 8 {
        bad(&mac, &nonce, &flipped(text, bit), &icv, "text changed");
    }
    for bit in 0..icv_len * 8 {
        bad(&mac, &nonce, text, &flipped(&icv, bit), "icv changed");
    }
    for bit in 0..nonce.len() * 8 {
        bad(&mac, &flipped(&nonce, bit), text, &icv, "nonce changed");
    }
    for bit in 0..key_len * 8 {
        bad(&make(&flipped(&key, bit)), &nonce, text, &icv, "key changed");
    }

    for wrong in [0, icv_len - 1, icv_len + 1, 64] {
        let result = mac.sign(&nonce, &[text], &mut vec![0; wrong]);
        assert_eq!(result, Err(CryptoError::Length), "{integ}: icv of {wrong} bytes");
        let long = [&icv[..], &[0; 64]].concat();
        let result = mac.verify(&nonce, &[text], &long[..wrong]);
        assert_eq!(result, Err(CryptoError::Length), "{integ}: icv of {wrong} bytes");
    }
    let wrong = [&nonce[..], &[0]].concat();
    assert_eq!(mac.sign(&wrong, &[text], &mut vec![0; icv_len]), Err(CryptoError::Length));
    assert_eq!(mac.verify(&wrong, &[text], &icv), Err(CryptoError::Length), "{integ}: nonce");
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// Each of [`Provider::PRFS`] takes keys of any length and parts in any cut.
pub fn prfs<P: Provider>() {
    assert!(!P::PRFS.is_empty(), "the provider has no pseudo-random function");
    for &id in P::PRFS {
        prf_of::<P::Prf>(id);
    }
    assert_eq!(P::Prf::new(PrfId(0xfffe), &[0; 16]).err(), Some(CryptoError::Unsupported));
}

fn prf_of<F: Prf>(id: PrfId) {
    let Some(output_len) = id.output_len() else { panic!("{id} is offered but unknown") };
    let mut rng = SeededRng::new(u64::from(id.0));
    let prf = |key: &[u8], parts: &[&[u8]]| {
        let prf = F::new(id, key).unwrap_or_else(|e| panic!("{id}: {} bytes: {e}", key.len()));
        let mut out = vec![0; output_len];
        assert_eq!(prf.compute(parts, &mut out), Ok(()), "{id}");
        out
    };
    let text = random(&mut rng, 150);
    let mut seen = Vec::new();
    for key_len in [0, 1, 8, 15, 16, 17, 20, 32, 48, 63, 64, 65, 127, 128, 129, 144, 200, 300] {
        // The last byte is not zero: HMAC cannot tell a key from the same key with zeros after it.
        let mut key = random(&mut rng, key_len);
        if let Some(last) = key.last_mut() {
            *last |= 1;
        }
        for text_len in [0, 1, 16, 55, 56, 64, 111, 112, 128, 150] {
            let text = &text[..text_len];
            let out = prf(&key, &[text]);
            let (a, b) = text.split_at(text_len / 3);
            assert_eq!(prf(&key, &[a, &[], b]), out, "{id}: {key_len}-byte key, {text_len} bytes");
            seen.push(out);
        }
        if key_len > 0 {
            let other = prf(&flipped(&key, key_len * 8 - 3), &[&text]);
            assert_ne!(other, prf(&key, &[&text]), "{id}: the end of a {key_len}-byte key");
        }
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "{id}: different inputs give equal outputs");

    let prf = F::new(id, &[1; 32]).unwrap_or_else(|e| panic!("{id}: {e}"));
    for wrong in [0, output_len - 1, output_len + 1] {
        let result = prf.compute(&[b"x"], &mut vec![0; wrong]);
        assert_eq!(result, Err(CryptoError::Length), "{id}: output of {wrong} bytes");
    }
}

/// Each of [`Provider::GROUPS`] agrees, and refuses public values of wrong lengths and degenerate ones.
pub fn groups<P: Provider>() {
    assert!(!P::GROUPS.is_empty(), "the provider has no group");
    for &group in P::GROUPS {
        group_of::<P::Kx>(group);
    }
    for unknown in [Group::NONE, Group(0xfffe)] {
        assert!(!P::GROUPS.contains(&unknown));
        let rng = &mut SeededRng::new(1);
        let result = P::Kx::start(unknown, rng, &mut [0; 2048]).err();
        assert_eq!(result, Some(CryptoError::Unsupported), "{unknown}");
        let result = P::Kx::respond(unknown, rng, &[2; 32], &mut [0; 2048]).err();
        assert_eq!(result, Some(CryptoError::Unsupported), "{unknown}");
    }
}

fn group_of<K: KeyExchange>(group: Group) {
    let Some(public_len) = group.public_len() else { panic!("{group} is offered but unknown") };
    let is_kem = group.is_kem();
    let rng = &mut SeededRng::new(u64::from(group.0));

    let mut public_i = vec![0; 2048];
    let (kx, len) =
        K::start(group, rng, &mut public_i).unwrap_or_else(|e| panic!("{group}: start: {e}"));
    assert_eq!(len, public_len, "{group}: length of the public value");
    assert!(public_i[len..].iter().all(|&b| b == 0), "{group}: wrote beyond its public value");
    public_i.truncate(len);

    let respond = |rng: &mut SeededRng| {
        let mut public = vec![0; 2048];
        let (secret, len) = K::respond(group, rng, &public_i, &mut public)
            .unwrap_or_else(|e| panic!("{group}: respond: {e}"));
        public.truncate(len);
        (secret.as_ref().to_vec(), public)
    };
    let (secret, public_r) = respond(rng);
    assert_eq!(
        Some(public_r.len()),
        group.answer_len(),
        "{group}: length of the responder's value"
    );
    let finish = |peer: &[u8]| kx.finish(peer).map(|secret| secret.as_ref().to_vec());
    assert_eq!(finish(&public_r).as_deref(), Ok(&secret[..]), "{group}: the sides disagree");
    assert!(secret.iter().any(|&b| b != 0), "{group}: the secret is zero");
    // RFC 7296 section 2.14: MODP secrets have the length of the prime. RFC 5903 section 7: one coordinate.
    match group {
        Group::P256 | Group::P384 | Group::P521 => assert_eq!(secret.len(), public_len / 2),
        _ if is_kem => assert_eq!(secret.len(), 32),
        _ => assert_eq!(secret.len(), public_len, "{group}: length of the secret"),
    }

    // Another exchange gives another secret, and `finish` can be called again, also after a refused value.
    let (other_secret, other_public) = respond(rng);
    assert_ne!(other_secret, secret, "{group}: two exchanges, one secret");
    assert_ne!(other_public, public_r, "{group}: two exchanges, one public value");
    assert_eq!(finish(&[]), Err(CryptoError::PeerValue), "{group}: empty value");
    assert_eq!(finish(&other_public), Ok(other_secret), "{group}: finish a second time");
    assert_eq!(finish(&public_r).as_deref(), Ok(&secret[..]), "{group}: finish a third time");

    // The same random numbers give the same values.
    let again = |seed| {
        let mut public = vec![0; public_len];
        K::start(group, &mut SeededRng::new(seed), &mut public).map(|_| public)
    };
    assert_eq!(again(5), again(5), "{group}: not repeatable");
    assert_ne!(again(5), again(6), "{group}: does not use its random numbers");

    let mut degenerate = vec![
        ("no value", vec![]),
        ("a byte too few", public_i[1..].to_vec()),
        ("a byte too many", [&public_i[..], &[0]].concat()),
    ];
    // The numbers of a key of ML-KEM may all be zero, but must be below 3329 (FIPS 203 section 7.2).
    if !is_kem {
        degenerate.push(("zero", vec![0; public_len]));
    }
    if group != Group::X25519 && group != Group::X448 {
        degenerate.push(("all ones", vec![0xff; public_len]));
    }
    if is_modp(group) {
        // RFC 6989 section 2.1. Both ends of every MODP prime are 64 bits of ones.
        let mut one = vec![0; public_len];
        one[public_len - 1] = 1;
        degenerate.push(("one", one));
    }
    if group == Group::P256 || group == Group::P384 || group == Group::P521 {
        // RFC 6989 section 2.3: not on the curve.
        degenerate.push(("off the curve", flipped(&public_i, 7)));
        degenerate.push(("off the curve", flipped(&public_i, public_len * 8 - 8)));
    }
    for (what, value) in degenerate {
        // The responder's value of a KEM has another form.
        if !is_kem {
            assert_eq!(finish(&value), Err(CryptoError::PeerValue), "{group}: finish: {what}");
        }
        let result = K::respond(group, rng, &value, &mut [0; 2048]).err();
        assert_eq!(result, Some(CryptoError::PeerValue), "{group}: respond: {what}");
    }

    for room in [0, public_len - 1] {
        let result = K::start(group, rng, &mut vec![0; room]).err();
        assert_eq!(result, Some(CryptoError::Length), "{group}: room for {room} bytes");
        let room = room.min(public_r.len() - 1);
        let result = K::respond(group, rng, &public_i, &mut vec![0; room]).err();
        assert_eq!(result, Some(CryptoError::Length), "{group}: room for {room} bytes");
    }
}

fn is_modp(group: Group) -> bool {
    matches!(group.0, 1 | 2 | 5 | 14..=18)
}

/// CBC mode alone, of each cipher that has it and is there with any integrity algorithm.
pub fn cbc<P: Provider>() {
    let sizes = [(Encr::AES_CBC, 16, 16), (Encr::AES_CBC, 24, 16), (Encr::AES_CBC, 32, 16)];
    for (encr, key_len, block) in sizes.into_iter().chain([(Encr::DES3, 24, 8), (Encr::DES, 8, 8)])
    {
        let bits = if block == 16 { key_len * 8 } else { 0 };
        let there = |s: &Suite| s.encr == encr && usize::from(s.key_bits) == bits;
        let rng = &mut SeededRng::new(5);
        let (key, iv, text) = (random(rng, key_len), random(rng, block), random(rng, 4 * block));
        let encrypt = |iv: &[u8], text: &[u8]| {
            let mut text = text.to_vec();
            P::cbc_encrypt(encr, &key, iv, &mut text).map(|()| text)
        };
        if !P::SUITES.iter().any(there) {
            let refused = [Err(CryptoError::Unsupported), Err(CryptoError::Length)];
            assert!(refused.contains(&encrypt(&iv, &text)), "{encr}");
            continue;
        }
        let sealed = encrypt(&iv, &text).unwrap();
        assert_ne!(sealed, text, "{encr}");
        assert_ne!(encrypt(&flipped(&iv, 3), &text).unwrap(), sealed, "{encr}: the vector matters");
        let mut opened = sealed.clone();
        P::cbc_decrypt(encr, &key, &iv, &mut opened).unwrap();
        assert_eq!(opened, text, "{encr}");
        for (iv, len) in [(&iv[1..], 4 * block), (&iv[..], 4 * block - 1), (&iv[..], block / 2)] {
            assert_eq!(encrypt(iv, &text[..len]), Err(CryptoError::Length), "{encr}");
            let mut kept = sealed[..len].to_vec();
            let result = P::cbc_decrypt(encr, &key, iv, &mut kept);
            assert_eq!((result, &kept[..]), (Err(CryptoError::Length), &sealed[..len]), "{encr}");
        }
        let result = P::cbc_encrypt(encr, &key[1..], &iv, &mut text.clone());
        assert_eq!(result, Err(CryptoError::Length), "{encr}: a short key");
    }
    let unknown = P::cbc_encrypt(Encr::AES_GCM_16, &[0; 16], &[0; 16], &mut [0; 16]);
    assert_eq!(unknown, Err(CryptoError::Unsupported));
}

/// The hash functions.
pub fn hashes<P: Provider>() {
    for id in [HashId::Sha1, HashId::Sha256] {
        let hash = |parts: &[&[u8]]| {
            let mut out = vec![0; id.output_len()];
            assert_eq!(P::hash(id, parts, &mut out), Ok(()), "{id:?}");
            out
        };
        let text = random(&mut SeededRng::new(3), 130);
        for len in [0, 1, 22, 55, 56, 64, 130] {
            let (a, b) = text[..len].split_at(len / 2);
            assert_eq!(hash(&[a, b]), hash(&[&text[..len]]), "{id:?}: {len} bytes");
        }
        assert_ne!(hash(&[&text]), hash(&[&flipped(&text, 700)]), "{id:?}");
        assert_ne!(hash(&[]), hash(&[&[0]]), "{id:?}");
        for wrong in [0, id.output_len() - 1, id.output_len() + 1] {
            let result = P::hash(id, &[&text], &mut vec![0; wrong]);
            assert_eq!(result, Err(CryptoError::Length), "{id:?}: output of {wrong} bytes");
        }
    }
}
