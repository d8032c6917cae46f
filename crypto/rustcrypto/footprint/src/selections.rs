//! What is measured.

ipsec_rustcrypto::selection! {
    /// The least that two ends can agree on.
    pub enum Tiny { AesGcm, Aes128, HmacSha256, X25519 }
}

ipsec_rustcrypto::selection! {
    /// What an old peer has.
    pub enum Cbc { AesCbc, Aes128, Aes256, HmacSha256, Modp2048 }
}
