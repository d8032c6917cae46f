//! How the two gateways prove who they are: by a secret that both know, or with the feature `certificates`, each by an ECDSA
//! key and a certificate of one authority.

#[cfg(feature = "certificates")]
pub use certificates::{AUTH_OF_DELHI, AUTH_OF_KOLKATA, Proof};
#[cfg(not(feature = "certificates"))]
pub use secret::{AUTH_OF_DELHI, AUTH_OF_KOLKATA, Proof};

#[cfg(not(feature = "certificates"))]
mod secret {
    use ipsec::{Auth, Gateway, GatewayEvent, Instant};

    use crate::Failed;
    use crate::crypto::Crypto;
    use crate::rng::PredictableRng;

    const SECRET: &[u8] = b"sixteen bytes or more that nobody can guess";

    pub const AUTH_OF_KOLKATA: Auth<'static> = Auth::psk(SECRET);
    pub const AUTH_OF_DELHI: Auth<'static> = Auth::psk(SECRET);

    /// Nothing but the configuration.
    pub struct Proof;

    impl Proof {
        pub fn new(_: usize) -> Result<Self, Failed> {
            Ok(Self)
        }

        pub fn settle(
            &self,
            gateway: &mut Gateway<'static, Crypto>,
            now: Instant,
            rng: &mut PredictableRng,
            on_event: impl FnMut(GatewayEvent),
        ) {
            gateway.settle(now, rng, on_event);
        }
    }
}

#[cfg(feature = "certificates")]
mod certificates {
    use ipsec::ipsec_core::crypto::{HashId, SignatureScheme};
    use ipsec::ipsec_ike::auth::x509::{Clock, Crls, X509};
    use ipsec::{
        Auth, Credentials, Gateway, GatewayEvent, Instant, LocalAuth, RemoteAuth, SigningKey,
    };
    use ipsec_rustcrypto::{PrivateKey, Verifier};

    use crate::crypto::{Crypto, Ours};
    use crate::rng::PredictableRng;
    use crate::{Failed, because};

    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("../../site-to-site/credentials/ecdsa/", $name))
        };
    }

    const SCHEMES: &[SignatureScheme] = &[SignatureScheme::Ecdsa(HashId::Sha256)];
    const CHAINS: [&[&[u8]]; 2] = [&[file!("kolkata.der")], &[file!("delhi.der")]];
    /// A product keeps its key where nobody can read it.
    const KEYS: [&[u8]; 2] = [file!("kolkata.key"), file!("delhi.key")];
    /// Seconds since 1970 when the firmware was made, more or less: it has no calendar.
    const MADE: u64 = 1_800_000_000;

    const fn auth(site: usize) -> Auth<'static> {
        Auth {
            local: LocalAuth::Certificate {
                chain: CHAINS[site],
                key: SigningKey { id: 0, schemes: SCHEMES },
            },
            remote: RemoteAuth::Certificate { anchors: &[file!("root.der")], schemes: SCHEMES },
        }
    }

    pub const AUTH_OF_KOLKATA: Auth<'static> = auth(0);
    pub const AUTH_OF_DELHI: Auth<'static> = auth(1);

    /// A private key.
    pub struct Proof(PrivateKey<Ours>);

    impl Proof {
        pub fn new(site: usize) -> Result<Self, Failed> {
            let key = KEYS.get(site).ok_or(Failed("there is no such site"))?;
            PrivateKey::from_der(key).map(Self).map_err(because("the key is malformed"))
        }

        pub fn settle(
            &self,
            gateway: &mut Gateway<'static, Crypto>,
            now: Instant,
            rng: &mut PredictableRng,
            on_event: impl FnMut(GatewayEvent),
        ) {
            let certificates = X509 {
                algorithms: Verifier::<Ours>::ALGORITHMS,
                clock: Clock::Unknown { not_before: MADE },
                crls: Crls::default(),
                tls_usage: false,
            };
            let credentials = Credentials {
                signers: &[(0, &self.0)],
                signatures: &Verifier::<Ours>::new(),
                certificates: Some(&certificates),
            };
            gateway.settle_with(now, rng, &credentials, on_event);
        }
    }
}
