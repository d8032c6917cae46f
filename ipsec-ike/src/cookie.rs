//! Stateless cookies against floods from forged addresses (RFC 7296 section 2.6).

use core::net::IpAddr;
use core::time::Duration;

use ipsec_core::bytes;
use ipsec_core::crypto::suite::MAX_PRF;
use ipsec_core::crypto::{CryptoError, Prf, PrfId, Provider};
use ipsec_core::time::Instant;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The longest cookie of any peer (RFC 7296 section 2.6).
pub(crate) const MAX_COOKIE: usize = 64;
/// Bytes of our cookies.
pub(crate) const COOKIE_LEN: usize = 1 + TAG_LEN;

const TAG_LEN: usize = 16;
const SECRET_LEN: usize = 32;
/// Secrets change after this time, so a cookie can be returned for as long, and for at most twice as long.
const PERIOD: Duration = Duration::from_secs(120);

/// What our cookies are made with. All zero has no secrets, and neither makes nor accepts a cookie.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct CookieSecrets {
    current: [u8; SECRET_LEN],
    previous: [u8; SECRET_LEN],
    /// Names the current secret; 0 before the first.
    version: u8,
    #[zeroize(skip)]
    changed_at: Instant,
}

impl CookieSecrets {
    /// No secrets, until the first [`CookieSecrets::rotate`].
    pub(crate) const EMPTY: Self = Self {
        current: [0; SECRET_LEN],
        previous: [0; SECRET_LEN],
        version: 0,
        changed_at: Instant::ZERO,
    };

    /// Changes the secrets if it is time: to be called before the other methods.
    ///
    /// RFC 7296 section 2.6: the secret should change often under attack; the previous one is still accepted.
    pub(crate) fn rotate(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        let age = now.since(self.changed_at);
        if self.version != 0 && age < PERIOD {
            return;
        }
        if self.version == 0 || age >= PERIOD.saturating_mul(2) {
            rng.fill_bytes(&mut self.previous);
        } else {
            self.previous = self.current;
        }
        rng.fill_bytes(&mut self.current);
        self.version = self.version.checked_add(1).unwrap_or(1);
        self.changed_at = now;
    }

    /// The cookie that the sender of this IKE_SA_INIT request must return: <VersionIDofSecret> |
    /// prf (<secret>, SPIi | IPi | Ni) (RFC 7296 section 2.6).
    pub(crate) fn make<P: Provider>(
        &self,
        spi_i: u64,
        nonce: &[u8],
        address: IpAddr,
    ) -> Result<[u8; COOKIE_LEN], CryptoError> {
        cookie::<P>(self.version, &self.current, spi_i, nonce, address)
    }

    /// Whether `received` is our cookie, made with the current or the previous secret.
    pub(crate) fn verify<P: Provider>(
        &self,
        spi_i: u64,
        nonce: &[u8],
        address: IpAddr,
        received: &[u8],
    ) -> bool {
        let Some(version) = received.first().copied() else { return false };
        let secret = if version == self.version { &self.current } else { &self.previous };
        // The version is not authenticated: a cookie of an older secret fails against the previous one.
        match cookie::<P>(version, secret, spi_i, nonce, address) {
            Ok(expected) if self.version != 0 => received.ct_eq(&expected).into(),
            _ => false,
        }
    }
}

fn cookie<P: Provider>(
    version: u8,
    secret: &[u8; SECRET_LEN],
    spi_i: u64,
    nonce: &[u8],
    address: IpAddr,
) -> Result<[u8; COOKIE_LEN], CryptoError> {
    if version == 0 {
        return Err(CryptoError::Failed);
    }
    let (v4, v6);
    let (family, address): (u8, &[u8]) = match address {
        IpAddr::V4(a) => {
            v4 = a.octets();
            (4, &v4)
        }
        IpAddr::V6(a) => {
            v6 = a.octets();
            (6, &v6)
        }
    };
    // Only the nonce, at the end, varies in length once the family is known.
    let parts = [&spi_i.to_be_bytes()[..], &[family], address, nonce];
    let mut out = [0; MAX_PRF];
    let tag = P::PRFS
        .iter()
        .find_map(|id| tag::<P>(*id, secret, &parts, &mut out))
        .ok_or(CryptoError::Unsupported)?;
    let mut cookie = [version; COOKIE_LEN];
    let room = cookie.get_mut(1..).ok_or(CryptoError::Length)?;
    bytes::copy(room, &tag).ok_or(CryptoError::Length)?;
    Ok(cookie)
}

/// `None` if the provider cannot, or if the output is too short to be a tag.
fn tag<P: Provider>(
    id: PrfId,
    secret: &[u8],
    parts: &[&[u8]],
    out: &mut [u8; MAX_PRF],
) -> Option<[u8; TAG_LEN]> {
    let out = out.get_mut(..id.output_len()?)?;
    P::Prf::new(id, secret).ok()?.compute(parts, out).ok()?;
    out.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use ipsec_rustcrypto::RustCrypto;
    use rand_core::{TryCryptoRng, TryRng};

    /// Counts. No two outputs are alike, which is all that is asked of it here.
    struct Counter(u8);

    impl TryRng for Counter {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            self.0 += 1;
            Ok(self.0.into())
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            self.0 += 1;
            Ok(self.0.into())
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
            self.0 += 1;
            out.fill(self.0);
            Ok(())
        }
    }

    impl TryCryptoRng for Counter {}

    const NONCE: &[u8] = &[5; 32];
    const V4: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));
    const V6: IpAddr = IpAddr::V6(core::net::Ipv6Addr::LOCALHOST);

    fn at(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    fn verify(secrets: &CookieSecrets, cookie: &[u8]) -> bool {
        secrets.verify::<RustCrypto>(1, NONCE, V4, cookie)
    }

    /// RFC 7296 section 2.6: a cookie is bound to the nonce, the address and the SPI of the initiator.
    #[test]
    fn a_cookie_is_good_for_the_request_it_was_made_for_only() {
        let mut secrets = CookieSecrets::EMPTY;
        secrets.rotate(at(0), &mut Counter(0));
        let cookie = secrets.make::<RustCrypto>(1, NONCE, V4).unwrap();
        assert!(verify(&secrets, &cookie));
        assert!(!secrets.verify::<RustCrypto>(2, NONCE, V4, &cookie));
        assert!(!secrets.verify::<RustCrypto>(1, &[6; 32], V4, &cookie));
        assert!(!secrets.verify::<RustCrypto>(1, &[5; 31], V4, &cookie));
        assert!(!secrets.verify::<RustCrypto>(1, NONCE, [192, 0, 2, 2].into(), &cookie));
        assert!(!secrets.verify::<RustCrypto>(1, NONCE, V6, &cookie));
        let of_v6 = secrets.make::<RustCrypto>(1, NONCE, V6).unwrap();
        assert!(secrets.verify::<RustCrypto>(1, NONCE, V6, &of_v6));
    }

    #[test]
    fn a_changed_or_cut_cookie_is_refused() {
        let mut secrets = CookieSecrets::EMPTY;
        secrets.rotate(at(0), &mut Counter(0));
        let cookie = secrets.make::<RustCrypto>(1, NONCE, V4).unwrap();
        for at in 0..COOKIE_LEN {
            let mut changed = cookie;
            changed[at] ^= 1;
            assert!(!verify(&secrets, &changed) && !verify(&secrets, &cookie[..at]));
        }
        assert!(!verify(&secrets, &[&cookie[..], &[0]].concat()));
    }

    /// RFC 7296 section 2.6: secrets change, and the previous one is still accepted for a while.
    #[test]
    fn a_cookie_outlives_one_change_of_secrets() {
        let (mut secrets, mut rng) = (CookieSecrets::EMPTY, Counter(0));
        secrets.rotate(at(1000), &mut rng);
        let cookie = secrets.make::<RustCrypto>(1, NONCE, V4).unwrap();
        secrets.rotate(at(1119), &mut rng);
        assert_eq!(secrets.make::<RustCrypto>(1, NONCE, V4), Ok(cookie));
        secrets.rotate(at(1120), &mut rng);
        assert_ne!(secrets.make::<RustCrypto>(1, NONCE, V4), Ok(cookie));
        assert!(verify(&secrets, &cookie));
        secrets.rotate(at(1240), &mut rng);
        assert!(!verify(&secrets, &cookie));
    }

    #[test]
    fn a_cookie_does_not_outlive_a_long_silence() {
        let (mut secrets, mut rng) = (CookieSecrets::EMPTY, Counter(0));
        secrets.rotate(at(0), &mut rng);
        let cookie = secrets.make::<RustCrypto>(1, NONCE, V4).unwrap();
        secrets.rotate(at(240), &mut rng);
        assert!(!verify(&secrets, &cookie));
    }

    #[test]
    fn without_secrets_there_are_no_cookies() {
        let empty = CookieSecrets::EMPTY;
        assert_eq!(empty.make::<RustCrypto>(1, NONCE, V4), Err(CryptoError::Failed));
        let of_zeros = cookie::<RustCrypto>(1, &[0; SECRET_LEN], 1, NONCE, V4).unwrap();
        assert!(!verify(&empty, &of_zeros) && !verify(&empty, &[]) && !verify(&empty, &[0; 17]));
    }

    #[test]
    fn version_numbers_skip_zero() {
        let (mut secrets, mut rng) = (CookieSecrets::EMPTY, Counter(0));
        for i in 0..300u64 {
            rng.0 = 0;
            secrets.rotate(at(i * 120), &mut rng);
            assert_ne!(secrets.version, 0);
        }
    }

    extern crate std;
}
