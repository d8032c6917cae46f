//! A provider of no strength at all: it stands where a real one would, and adds no panic of its own.

use ipsec_core::crypto::{
    CryptoError, Group, HashId, Integ, KeyExchange, Mac, PacketCipher, Prf, PrfId, Provider, Suite,
    Work,
};
use rand_core::CryptoRng;

pub struct Toy;

impl Provider for Toy {
    type Cipher = ToyCipher;
    type Mac = ToyMac;
    type Prf = ToyPrf;
    type Kx = ToyKx;

    const SUITES: &'static [Suite] =
        &[Suite::AES_128_GCM, Suite::CHACHA20_POLY1305, Suite::AES_128_CBC_SHA256];
    const INTEGS: &'static [Integ] = &[Integ::HMAC_SHA2_256_128];
    const PRFS: &'static [PrfId] = &[PrfId::HMAC_SHA2_256];
    const GROUPS: &'static [Group] = &[Group::X25519];

    fn hash(_: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        fill(parts.iter().fold(1, |state, part| mix(state, part)), out);
        Ok(())
    }
}

/// FNV-1a.
fn mix(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

fn fill(state: u64, out: &mut [u8]) {
    for chunk in out.chunks_mut(8) {
        for (o, b) in chunk.iter_mut().zip(mix(state, &[1]).to_be_bytes()) {
            *o = b;
        }
    }
}

fn matches(state: u64, icv: &[u8]) -> bool {
    icv.chunks(8).all(|c| c.iter().zip(mix(state, &[1]).to_be_bytes()).all(|(a, b)| *a == b))
}

pub struct ToyCipher {
    key: u64,
}

impl ToyCipher {
    fn keystream(&self, nonce: &[u8], text: &mut [u8]) {
        let mut state = mix(self.key, nonce);
        for chunk in text.chunks_mut(8) {
            state = mix(state, &[2]);
            for (t, k) in chunk.iter_mut().zip(state.to_be_bytes()) {
                *t ^= k;
            }
        }
    }

    fn tag(&self, work: &Work<'_>) -> u64 {
        [work.nonce, work.head, work.text, work.tail].iter().fold(self.key, |s, p| mix(s, p))
    }
}

impl PacketCipher for ToyCipher {
    fn new(suite: Suite, encr_key: &[u8], integ_key: &[u8]) -> Result<Self, CryptoError> {
        suite.shape().ok_or(CryptoError::Unsupported)?;
        Ok(Self { key: mix(mix(3, encr_key), integ_key) })
    }

    fn unpredictable_iv(&self, counter: u64, iv: &mut [u8]) -> Result<(), CryptoError> {
        fill(mix(self.key, &counter.to_be_bytes()), iv);
        Ok(())
    }

    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        self.keystream(work.nonce, work.text);
        fill(self.tag(&work), work.icv);
        Ok(())
    }

    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        if !matches(self.tag(&work), work.icv) {
            work.text.fill(0);
            return Err(CryptoError::Integrity);
        }
        self.keystream(work.nonce, work.text);
        Ok(())
    }
}

pub struct ToyMac(u64);

impl Mac for ToyMac {
    fn new(_: Integ, key: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self(mix(4, key)))
    }

    fn sign(&self, nonce: &[u8], parts: &[&[u8]], icv: &mut [u8]) -> Result<(), CryptoError> {
        fill(parts.iter().fold(mix(self.0, nonce), |s, p| mix(s, p)), icv);
        Ok(())
    }

    fn verify(&self, nonce: &[u8], parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError> {
        let state = parts.iter().fold(mix(self.0, nonce), |s, p| mix(s, p));
        matches(state, icv).then_some(()).ok_or(CryptoError::Integrity)
    }
}

pub struct ToyPrf(u64);

impl Prf for ToyPrf {
    fn new(_: PrfId, key: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self(mix(5, key)))
    }

    fn compute(&self, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        fill(parts.iter().fold(self.0, |s, p| mix(s, p)), out);
        Ok(())
    }
}

pub struct ToyKx(u64);

impl KeyExchange for ToyKx {
    type Secret = [u8; 8];

    fn start(
        _: Group,
        rng: &mut dyn CryptoRng,
        public: &mut [u8],
    ) -> Result<(Self, usize), CryptoError> {
        let private = rng.next_u64();
        fill(private, public);
        Ok((Self(private), public.len()))
    }

    fn respond(
        _: Group,
        rng: &mut dyn CryptoRng,
        peer: &[u8],
        public: &mut [u8],
    ) -> Result<(Self::Secret, usize), CryptoError> {
        let private = rng.next_u64();
        fill(private, public);
        Ok((mix(private, peer).to_be_bytes(), public.len()))
    }

    fn finish(&self, peer: &[u8]) -> Result<Self::Secret, CryptoError> {
        Ok(mix(self.0, peer).to_be_bytes())
    }
}
