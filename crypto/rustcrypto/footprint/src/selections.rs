//! What is measured.

ipsec_rustcrypto::selection! {
    /// The least that two ends can agree on.
    pub enum Tiny { AesGcm, Aes128, HmacSha256, X25519 }
}

ipsec_rustcrypto::selection! {
    /// What an old peer has.
    pub enum Cbc { AesCbc, Aes128, Aes256, HmacSha256, Modp2048 }
}

ipsec_rustcrypto::selection! {
    /// A key encapsulation mechanism alone.
    pub enum MlKem { MlKem768 }
}

ipsec_rustcrypto::selection! {
    /// Signatures on one curve.
    pub enum P256 { EcdsaP256, HmacSha256 }
}

ipsec_rustcrypto::selection! {
    /// Signatures of the usual length.
    pub enum Rsa2048 { Rsa2048, HmacSha256 }
}
