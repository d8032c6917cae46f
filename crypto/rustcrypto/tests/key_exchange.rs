//! Key exchange: the vectors of the RFCs, agreement, and what must be refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use common::{Script, hex, privates};
use ipsec_core::crypto::{CryptoError, Group, KeyExchange, Provider};
use ipsec_rustcrypto::RustCrypto;

type Kx = <RustCrypto as Provider>::Kx;

/// Starts with a private value that the test chose; gives the public one.
fn start(group: Group, private: &[u8]) -> (Kx, Vec<u8>) {
    let mut public = vec![0; group.public_len().unwrap()];
    let mut rng = Script::new(&[private]);
    let (kx, len) = Kx::start(group, &mut rng, &mut public).unwrap();
    assert_eq!(len, public.len());
    assert!(rng.is_spent());
    (kx, public)
}

/// The secret that a private value and a peer's public one give, or why there is none.
fn secret(group: Group, private: &[u8], peer: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let initiator = start(group, private).0.finish(peer).map(|s| s.as_ref().to_vec());
    let mut public = vec![0; group.public_len().unwrap()];
    let responder = Kx::respond(group, &mut Script::new(&[private]), peer, &mut public);
    match responder {
        Ok((secret, _)) => assert_eq!(Ok(secret.as_ref().to_vec()), initiator),
        Err(error) => {
            assert_eq!(Err(error), initiator);
            assert_eq!(public, vec![0; public.len()], "a refused peer gets no public value");
        }
    }
    initiator
}

const P256_I: &str = "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433";
const P256_R: &str = "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53";

#[test]
fn both_sides_agree() {
    for &group in RustCrypto::GROUPS {
        let (i, r) = privates(group);
        let (kx, public_i) = start(group, &i);
        let mut public_r = vec![0; group.answer_len().unwrap() + 3];
        let (secret_r, len) =
            Kx::respond(group, &mut Script::new(&[&r]), &public_i, &mut public_r).unwrap();
        assert_eq!(len, group.answer_len().unwrap(), "{group}");
        assert_eq!(public_r[len..], [0; 3], "{group} writes no more than it says");
        // A forged answer does not spoil the true one.
        assert_eq!(kx.finish(&public_r).err(), Some(CryptoError::PeerValue));
        let secret_i = kx.finish(&public_r[..len]).unwrap();
        assert_eq!(secret_i.as_ref(), secret_r.as_ref(), "{group}");
        assert!(!secret_i.as_ref().is_empty());
    }
}

#[test]
fn lengths_are_exact_and_unknown_groups_refused() {
    for &group in RustCrypto::GROUPS.iter().filter(|group| !group.is_kem()) {
        let (i, r) = privates(group);
        let (_, mut public) = start(group, &r);
        let len = public.len();
        public.push(0);
        for wrong in [0, 1, len / 2, len - 1, len + 1] {
            let result = secret(group, &i, &public[..wrong]);
            assert_eq!(result, Err(CryptoError::PeerValue), "{group} with {wrong} bytes");
        }
        let mut small = vec![0; len - 1];
        let result = Kx::start(group, &mut Script::new(&[&i]), &mut small).map(|_| ());
        assert_eq!(result, Err(CryptoError::Length), "{group}");
        assert_eq!(small, vec![0; len - 1], "{group}");
    }
    let legacy = [Group::MODP_768, Group::MODP_1024, Group::MODP_1536];
    for group in [Group::NONE, Group::X448, Group(0xfffe)].into_iter().chain(legacy) {
        if cfg!(feature = "legacy") && legacy.contains(&group) {
            assert!(RustCrypto::GROUPS.contains(&group));
            continue;
        }
        let mut public = [0; 2048];
        let started = Kx::start(group, &mut Script::new(&[]), &mut public).map(|_| ());
        assert_eq!(started, Err(CryptoError::Unsupported), "{group}");
        let answered = Kx::respond(group, &mut Script::new(&[]), &[], &mut public).map(|_| ());
        assert_eq!(answered, Err(CryptoError::Unsupported), "{group}");
    }
}

/// The public value 0, which another made a key of, and 1 (RFC 6989 section 2.1, RFC 7748 section 6.1).
#[test]
fn cve_2015_3240_degenerate_values() {
    for &group in RustCrypto::GROUPS.iter().filter(|group| !group.is_kem()) {
        let (i, _) = privates(group);
        let len = group.public_len().unwrap();
        let mut one = vec![0; len];
        one[if group == Group::X25519 { 0 } else { len - 1 }] = 1;
        for peer in [vec![0; len], one] {
            assert_eq!(secret(group, &i, &peer), Err(CryptoError::PeerValue), "{group}");
        }
    }
}

// RFC 7748 section 6.1.
#[test]
fn x25519_diffie_hellman() {
    let (alice, alice_public) = start(
        Group::X25519,
        &hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
    );
    let (bob, bob_public) = start(
        Group::X25519,
        &hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"),
    );
    let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(
        alice_public,
        hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    assert_eq!(bob_public, hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    assert_eq!(alice.finish(&bob_public).unwrap().as_ref(), shared);
    assert_eq!(bob.finish(&alice_public).unwrap().as_ref(), shared);
}

// RFC 7748 section 5.2; the second value has the top bit set, which must be masked.
#[test]
fn x25519_function() {
    let cases = [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ];
    for (scalar, point, want) in cases {
        assert_eq!(secret(Group::X25519, &hex(scalar), &hex(point)), Ok(hex(want)));
    }
}

// RFC 7748 section 5.2: the iterated test.
#[test]
fn x25519_a_thousand_times() {
    let mut k = vec![0; 32];
    k[0] = 9;
    let mut u = k.clone();
    for round in 1..=1000 {
        let mut public = [0; 32];
        let (kx, _) = Kx::start(Group::X25519, &mut Script::new(&[&k]), &mut public).unwrap();
        let next = kx.finish(&u).unwrap().as_ref().to_vec();
        u = core::mem::replace(&mut k, next);
        if round == 1 {
            assert_eq!(k, hex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
        }
    }
    assert_eq!(k, hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
}

// RFC 7748 section 6.1: points of small order, canonical or not, give zero and are refused.
#[test]
fn x25519_small_order() {
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for point in points {
        let mut point = hex(point);
        for _ in 0..2 {
            let result = secret(Group::X25519, &[0x77; 32], &point);
            assert_eq!(result, Err(CryptoError::PeerValue), "{point:02x?}");
            point[31] |= 0x80;
        }
    }
    // The non-canonical 9 is a good point (RFC 7748 section 5: it must be accepted, and is 9).
    let mut nine = [0xff; 32];
    (nine[0], nine[31]) = (0xf6, 0x7f);
    let mut canonical = [0; 32];
    canonical[0] = 9;
    let both = [nine, canonical].map(|peer| secret(Group::X25519, &[0x77; 32], &peer).unwrap());
    assert_eq!(both[0], both[1]);
}

// RFC 5903 section 8.1.
#[test]
fn p256() {
    let (i, public_i) = start(Group::P256, &hex(P256_I));
    let (r, public_r) = start(Group::P256, &hex(P256_R));
    assert_eq!(
        public_i,
        hex(concat!(
            "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180",
            "5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3"
        ))
    );
    assert_eq!(
        public_r,
        hex(concat!(
            "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63",
            "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB"
        ))
    );
    let girx = hex("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE");
    assert_eq!(i.finish(&public_r).unwrap().as_ref(), girx);
    assert_eq!(r.finish(&public_i).unwrap().as_ref(), girx);
}

// RFC 5903 section 8.2 and section 8.3.
#[test]
fn p384_and_p521() {
    for (group, i, r, public_i, public_r, girx) in [P384, P521] {
        let (i, public) = start(group, &hex(i));
        assert_eq!(public, hex(public_i), "{group}");
        let (r, public) = start(group, &hex(r));
        assert_eq!(public, hex(public_r), "{group}");
        assert_eq!(i.finish(&hex(public_r)).unwrap().as_ref(), hex(girx), "{group}");
        assert_eq!(r.finish(&hex(public_i)).unwrap().as_ref(), hex(girx), "{group}");
    }
}

/// 521 bits are drawn as 66 bytes, and what is above them does not count.
#[test]
fn p521_draws() {
    let mut private = hex(P521.1);
    let (_, public) = start(Group::P521, &private);
    private[0] |= 0xfe;
    assert_eq!(start(Group::P521, &private).1, public);
}

type Ecp = (Group, &'static str, &'static str, &'static str, &'static str, &'static str);

const P384: Ecp = (
    Group::P384,
    "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194",
    "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
    concat!(
        "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA",
        "9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C"
    ),
    concat!(
        "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571",
        "DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C"
    ),
    "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746",
);

const P521: Ecp = (
    Group::P521,
    "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A095AA85A30FE1C2952C6771D937BA9777F5957B2639BAB072462F68C27A57382D4A52",
    "0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E9C677D600B343757A3BDBF2A3163E4C2F869CCA7458AA4A4EFFC311F5CB151685EB9",
    concat!(
        "0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBEE1E3BF42E00B8E380AEAE57C2D107564941885942AF5A7F4601723C4195D176CED3E",
        "017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10AD8A788015AC405D7799DC75E7B7D5B6CF2261A6A7F1507438BF01BEB6CA3926F9582"
    ),
    concat!(
        "00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A219B97C356436ADC6E95BB0352F6BE64A6C2912D4EF2D0433CED2B6171640012D9460F",
        "015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87220B6536C5C408A1D2AEBB8E86D678AE49CB57091F4732296579AB44FCD17F0FC56A"
    ),
    "01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04D1427E73CA4BAA240A34786859810C06B3C715A3A8CC3151F2BEE417996D19F3DDEA",
);

// RFC 6989 section 2.3: both coordinates below the prime, and the point on the curve.
#[test]
fn p256_peer_values() {
    let private = hex(P256_I);
    let refused = |peer: &[u8]| {
        let result = secret(Group::P256, &private, peer);
        assert_eq!(result, Err(CryptoError::PeerValue), "{peer:02x?}");
    };
    let (_, good) = start(Group::P256, &hex(P256_R));
    for bit in 0..512 {
        let mut off_curve = good.clone();
        off_curve[bit / 8] ^= 1 << (bit % 8);
        refused(&off_curve);
    }
    // The point at infinity and other encodings of SEC 1.
    refused(&[0]);
    refused(&[0; 64]);
    refused(&[0; 65]);
    refused(&[&[4][..], &good].concat());
    refused(&[&[2][..], &good[..32]].concat());
    refused(&good[..32]);
    refused(&[0xff; 64]);

    // (0, sqrt b) is on the curve; (p, sqrt b) is another encoding of it, which must be refused. The secret was
    // computed with OpenSSL.
    let zero = "0000000000000000000000000000000000000000000000000000000000000000";
    let prime = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
    let root = "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4";
    let on_curve = hex(&[zero, root].concat());
    let want = hex("1b2b6499613548dc171177ed60c6031caf220057e9c762dcb01da4d03b94a615");
    assert_eq!(secret(Group::P256, &private, &on_curve), Ok(want));
    refused(&hex(&[prime, root].concat()));
    refused(&hex(&[root, prime].concat()));
}

/// Draws that are no scalar are drawn anew; a broken random source ends in an error, not in a loop.
#[test]
fn p256_draws() {
    let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let draws: [&[u8]; 4] = [&[0; 32], &[0xff; 32], &order, &hex(P256_I)];
    let mut public = [0; 64];
    assert!(Kx::start(Group::P256, &mut Script::new(&draws), &mut public).is_ok());
    assert_eq!(public[..4], hex("DAD0B653"));
    for stuck in [[0; 128], [0xff; 128]] {
        let result = Kx::start(Group::P256, &mut Script::new(&[&stuck]), &mut public).map(|_| ());
        assert_eq!(result, Err(CryptoError::Failed));
    }
}

const MODP_2048_P: &str = concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
    "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
    "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
    "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF"
);

// The numbers were computed with Python's pow() and agree with OpenSSL's Diffie-Hellman; the prime was computed from
// the formula of RFC 3526 section 3, pi included.
#[test]
fn modp_2048() {
    let (xi, xr) = privates(Group::MODP_2048);
    let (i, public_i) = start(Group::MODP_2048, &xi);
    let (r, public_r) = start(Group::MODP_2048, &xr);
    assert_eq!(public_i, hex(MODP_2048_GI));
    assert_eq!(public_r, hex(MODP_2048_GR));
    assert_eq!(i.finish(&public_r).unwrap().as_ref(), hex(MODP_2048_GIR));
    assert_eq!(r.finish(&public_i).unwrap().as_ref(), hex(MODP_2048_GIR));
}

// RFC 7296 section 2.14: the secret is as long as the prime, leading zeros kept.
#[test]
fn modp_keeps_leading_zeros() {
    let mut peer = [0; 256];
    peer[255] = 200;
    let shared = secret(Group::MODP_2048, &privates(Group::MODP_2048).0, &peer).unwrap();
    assert_eq!(shared.len(), 256);
    assert_eq!(shared[..4], hex("008cb2c9"));
    assert_eq!(shared, hex(MODP_2048_200_I));
}

// RFC 6989 section 2.1: 1 < r < p-1.
#[test]
fn modp_peer_values() {
    let private = privates(Group::MODP_2048).0;
    let p = hex(MODP_2048_P);
    let p_with_last = |last| [&p[..255], &[last]].concat();
    let number = |n| {
        let mut value = vec![0; 256];
        value[255] = n;
        value
    };
    let mut above = vec![0; 256];
    above[0] = 0xff;
    above[..8].fill(0xff);
    above[8] = 0xca;
    let refused = [number(0), number(1), p_with_last(0xfe), p.clone(), above, vec![0xff; 256]];
    for peer in refused {
        let result = secret(Group::MODP_2048, &private, &peer);
        assert_eq!(result, Err(CryptoError::PeerValue), "{:02x?}", &peer[240..]);
    }
    assert_eq!(secret(Group::MODP_2048, &private, &number(2)), Ok(hex(MODP_2048_GI)));
    let last_good = secret(Group::MODP_2048, &private, &p_with_last(0xfd)).unwrap();
    assert_eq!(last_good, hex(MODP_2048_MINUS_2_I));
}

/// The exponent keeps its length whatever is drawn: even zeros do not give the public value 1.
#[test]
fn modp_exponents_have_full_length() {
    let (_, from_zeros) = start(Group::MODP_2048, &[0; 32]);
    let mut top = [0; 32];
    top[0] = 0x80;
    assert_eq!(from_zeros, start(Group::MODP_2048, &top).1);
    assert_ne!(from_zeros[..248], [0; 248]);
}

/// 2 to the initiator's exponent.
const MODP_2048_GI: &str = concat!(
    "c8d9d814c883b3f4f07b2605a5411355f74c1140f995cc4f0b6b7cfdf9d7b305",
    "368f98fa73a0c5aabe33f86032c2bc78b3a6707e68a099e3c179f66a27ea5dbd",
    "6206639e966e8a24326e2f159c8d46afa2316ca7d7b193982078b5e82ee03e49",
    "fa6966d0da833c4a7dafc80f7da1fea34c1244c97f0c0b7f169e6387608a8b33",
    "e4f2525899c6962a62c3e72c1b3ab7cfb230784c7b1cf37027c6a033bb6cb9b8",
    "fd750ec23fa315ef84cdabdfad236a21db62bb08cc1d6b51a352fd391efbbe5a",
    "72273c3577f8a5bdc7dedf2f82f0c8b9655425e78e3120f9f366283d7cc04720",
    "fcf56a19764aa6741cc2939ed85b127ebff8ca19b9b417d48819380adf1850b5"
);

/// 2 to the responder's exponent.
const MODP_2048_GR: &str = concat!(
    "cca2aee62ea16afae2e2d3655d1e8b959275b1d4e9f4cd39b912a540e3800a61",
    "96f60cc179011547c63b7f806b1b57194f26272bd728447e458046d010460bc6",
    "178b6dbe1ae3d842375223837801018895cdab5bba5f5f818bbaa9cdd51f53c8",
    "76ce3b31946935a8c8843b2b883d409d65306877816616b7e62d5328caab0e73",
    "82d1780b4bfa149d8d0ebf30df700496fe54a981cfa24b6701fe71a58d397961",
    "fda9b69527970eb7a8239d3b53e6521ccaead699e237056de0ba2d60cc52a9ae",
    "38342207bc8330cf7994f6be81ab1391f32c5ac3ee7087ef920c1f3ed1090100",
    "3aaa25a75c538bef3895d2edb053a9f07448b225da938b66eff1b15b1e3f47a7"
);

/// 2 to both exponents.
const MODP_2048_GIR: &str = concat!(
    "2ac029eb1fae90c8f0515c9b069d4a29231f6c65cda540bb7b190de2c5cca1b7",
    "e166ee4023ceb7c04a7ebfe7739479ab50165ae072f126dc0c3151d277a36673",
    "776e56992bf16010e6dc6f2b37cf210634a07f888fbf99c17ea454a850226d00",
    "b5acc2f418175da79f6423cccbf88dd49936fc98f7073897b3742490c1e673e4",
    "12a53959ab7ecdb01341df1324492daca864cc019dd07e5e135e742d11329cf5",
    "c7fab33d0f0ce73a1ee1e0f32aebd2eedb140fafb2d4dad2d02f78fb2b16bfd2",
    "24766f41a84852a7d408866e9e9f19439f53f25f50e2c5a78e24203090b6bff8",
    "3e9bbfca3a76325309751926748796e90da804405c12830242defbdb02c9b654"
);

/// 200 to the initiator's exponent.
const MODP_2048_200_I: &str = concat!(
    "008cb2c98a1052e6cdcd4034e9a3b64a4aac9a80be785b81c2a8ecec12478c0f",
    "d291be6a501b4f5802c40e0d148cf47b7c6b00307d5efb908520db6e6a208838",
    "ec4aa335bf3caffa4de14c1e6f0b332d5fa11b3ea128f9959193f3f9b8240348",
    "3a1a041c3bda5f3911f947f019395163212623238000755a77b720cd9162e50e",
    "fbe8cb0dca279bd4ccd326c71a4a8e5c69017f0cebe839a8f606c24773ba924f",
    "f7c1799784bf1683e065a6f71b3a8344b6aedd5de84ddfdb78babfe637c2cf77",
    "99425f36d2d597f250a90d1f7fd303f9a4b81fcc15b980366254d48052daa620",
    "8262ce4697ccd766d321515f89eafe0ffb575d5ec2d272086bf5b4eecfee9c4e"
);

/// p-2 to the initiator's exponent.
const MODP_2048_MINUS_2_I: &str = concat!(
    "372627eb377c4c0ad894b49c7c27aedecd7a514a874650821d96d10a9090196e",
    "cb7c25abc772d577931610195b7148653beea9356499a9376eb11403ca74b679",
    "eddad1ced6e33821b2178660c5d13817521ad641ce8659d2eb86a6cec52679a3",
    "f3cf052a8006635b30ef5c01fea92142fd1621886dd84fbeab62193140d933d1",
    "b3e7f5dd828f3d700652587ce1ea178fd134e4d76186ba25f49c532265189902",
    "a1601a4530f3807de23e896e9d992de31611b0fffdfab62a8f3d610d0f3b0fe1",
    "71773af6a015e045d348a4736916d9d650713808e11b31cfeac5a3b91897cff7",
    "3c9fdf63744ac470f90f9279c09ef2915579c440d0f8929477e6c7f520e7af4a"
);
