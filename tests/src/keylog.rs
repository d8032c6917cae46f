//! Keys, as lines of the three files with which Wireshark decrypts a capture of them.
//!
//! The files lie in Wireshark's configuration folder: `ikev1_decryption_table`, `ikev2_decryption_table` and `esp_sa`. For ESP the preferences
//! `esp.enable_encryption_decode` and `esp.enable_authentication_check` must be on. The names of algorithms are those
//! of Wireshark 4.0; what it does not know (ChaCha20-Poly1305, for one) has no line.
//!
//! Whoever has these lines reads everything. For tests only.

use core::fmt::Write;
use core::net::IpAddr;
use std::format;
use std::string::String;

use ipsec_core::crypto::{Encr, Integ, Suite};

/// The keys of one IKE SA.
#[derive(Clone, Copy)]
pub struct IkeKeys<'a> {
    /// SPI of the initiator.
    pub spi_i: u64,
    /// SPI of the responder.
    pub spi_r: u64,
    /// Its encryption and integrity.
    pub suite: Suite,
    /// Encryption from the initiator, salt included.
    pub sk_ei: &'a [u8],
    /// Encryption from the responder, salt included.
    pub sk_er: &'a [u8],
    /// Integrity from the initiator, empty for an AEAD.
    pub sk_ai: &'a [u8],
    /// Integrity from the responder, empty for an AEAD.
    pub sk_ar: &'a [u8],
}

impl IkeKeys<'_> {
    /// Whether they are of IKEv1: encryption with no integrity algorithm beside it is found nowhere else.
    pub fn is_v1(&self) -> bool {
        self.suite.integ == Integ::NONE && !self.suite.encr.is_aead()
    }

    /// A line of `ikev1_decryption_table`, without its end: the initiator's cookie, and the key that both sides have.
    pub fn line_v1(&self) -> String {
        format!("{:016x},{}", self.spi_i, hex(self.sk_ei))
    }

    /// A line of `ikev2_decryption_table`, without its end; `None` if Wireshark cannot decrypt the suite.
    pub fn line(&self) -> Option<String> {
        let encr = ike_encr(self.suite)?;
        let integ = ike_integ(self.suite.integ)?;
        Some(format!(
            "{:016x},{:016x},{},{},\"{encr}\",{},{},\"{integ}\"",
            self.spi_i,
            self.spi_r,
            hex(self.sk_ei),
            hex(self.sk_er),
            hex(self.sk_ai),
            hex(self.sk_ar),
        ))
    }
}

/// The keys of one direction of ESP.
#[derive(Clone, Copy)]
pub struct EspKeys<'a> {
    /// The address that the outer packets come from.
    pub source: IpAddr,
    /// The address that they go to.
    pub destination: IpAddr,
    /// SPI of the direction.
    pub spi: u32,
    /// Its encryption and integrity.
    pub suite: Suite,
    /// Encryption, salt included.
    pub encr_key: &'a [u8],
    /// Integrity, empty for an AEAD.
    pub integ_key: &'a [u8],
}

impl EspKeys<'_> {
    /// A line of `esp_sa`, without its end; `None` if Wireshark cannot decrypt the suite.
    ///
    /// Extended sequence numbers cannot be told to Wireshark 4.0: it decrypts what has them, but takes an integrity
    /// check value over one for a bad one.
    pub fn line(&self) -> Option<String> {
        let encr = esp_encr(self.suite.encr)?;
        let integ = esp_integ(self.suite.integ)?;
        let family = if self.source.is_ipv4() { "IPv4" } else { "IPv6" };
        Some(format!(
            "\"{family}\",\"{}\",\"{}\",\"0x{:08x}\",\"{encr}\",\"{}\",\"{integ}\",\"{}\"",
            self.source,
            self.destination,
            self.spi,
            key(self.encr_key),
            key(self.integ_key),
        ))
    }
}

fn ike_encr(suite: Suite) -> Option<String> {
    let bits = suite.key_bits;
    let icv =
        |mode: &str, octets: u8| format!("AES-{mode}-{bits} with {octets} octet ICV [RFC5282]");
    Some(match suite.encr {
        Encr::DES3 => "3DES [RFC2451]".into(),
        Encr::NULL => "NULL [RFC2410]".into(),
        Encr::AES_CBC => format!("AES-CBC-{bits} [RFC3602]"),
        Encr::AES_CTR => format!("AES-CTR-{bits} [RFC5930]"),
        Encr::AES_CCM_8 => icv("CCM", 8),
        Encr::AES_CCM_12 => icv("CCM", 12),
        Encr::AES_CCM_16 => icv("CCM", 16),
        Encr::AES_GCM_8 => icv("GCM", 8),
        Encr::AES_GCM_12 => icv("GCM", 12),
        Encr::AES_GCM_16 => icv("GCM", 16),
        _ => return None,
    })
}

fn ike_integ(integ: Integ) -> Option<&'static str> {
    Some(match integ {
        Integ::NONE => "NONE [RFC4306]",
        Integ::HMAC_MD5_96 => "HMAC_MD5_96 [RFC2403]",
        Integ::HMAC_SHA1_96 => "HMAC_SHA1_96 [RFC2404]",
        Integ::HMAC_SHA2_256_128 => "HMAC_SHA2_256_128 [RFC4868]",
        Integ::HMAC_SHA2_384_192 => "HMAC_SHA2_384_192 [RFC4868]",
        Integ::HMAC_SHA2_512_256 => "HMAC_SHA2_512_256 [RFC4868]",
        // Their values can be skipped, not checked.
        Integ::AES_XCBC_96 | Integ::AES_CMAC_96 => "ANY 96-bits of Authentication [No Checking]",
        _ => return None,
    })
}

fn esp_encr(encr: Encr) -> Option<&'static str> {
    Some(match encr {
        Encr::DES => "DES-CBC [RFC2405]",
        Encr::DES3 => "TripleDES-CBC [RFC2451]",
        Encr::NULL => "NULL",
        Encr::AES_CBC => "AES-CBC [RFC3602]",
        Encr::AES_CTR => "AES-CTR [RFC3686]",
        Encr::AES_GCM_8 => "AES-GCM with 8 octet ICV [RFC4106]",
        Encr::AES_GCM_12 => "AES-GCM with 12 octet ICV [RFC4106]",
        Encr::AES_GCM_16 => "AES-GCM with 16 octet ICV [RFC4106]",
        _ => return None,
    })
}

fn esp_integ(integ: Integ) -> Option<&'static str> {
    Some(match integ {
        Integ::NONE => "NULL",
        Integ::HMAC_MD5_96 => "HMAC-MD5-96 [RFC2403]",
        Integ::HMAC_SHA1_96 => "HMAC-SHA-1-96 [RFC2404]",
        Integ::HMAC_SHA2_256_128 => "HMAC-SHA-256-128 [RFC4868]",
        Integ::HMAC_SHA2_384_192 => "HMAC-SHA-384-192 [RFC4868]",
        Integ::HMAC_SHA2_512_256 => "HMAC-SHA-512-256 [RFC4868]",
        Integ::AES_XCBC_96 | Integ::AES_CMAC_96 => "ANY 96 bit authentication [no checking]",
        _ => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A key of ESP: with a prefix, or nothing at all.
fn key(bytes: &[u8]) -> String {
    if bytes.is_empty() { String::new() } else { format!("0x{}", hex(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ike_line() {
        let keys = IkeKeys {
            spi_i: 0x1122_3344_5566_7788,
            spi_r: 0x0a,
            suite: Suite::AES_128_CBC_SHA256,
            sk_ei: &[1, 2],
            sk_er: &[3],
            sk_ai: &[0xff],
            sk_ar: &[0xab, 0xcd],
        };
        assert_eq!(
            keys.line().unwrap(),
            "1122334455667788,000000000000000a,0102,03,\"AES-CBC-128 [RFC3602]\",ff,abcd,\
             \"HMAC_SHA2_256_128 [RFC4868]\""
        );
        assert_eq!(IkeKeys { suite: Suite::CHACHA20_POLY1305, ..keys }.line(), None);
    }

    #[test]
    fn an_esp_line() {
        let keys = EspKeys {
            source: "192.0.2.1".parse().unwrap(),
            destination: "192.0.2.2".parse().unwrap(),
            spi: 0xc0de,
            suite: Suite::AES_256_GCM,
            encr_key: &[1, 2],
            integ_key: &[],
        };
        assert_eq!(
            keys.line().unwrap(),
            "\"IPv4\",\"192.0.2.1\",\"192.0.2.2\",\"0x0000c0de\",\
             \"AES-GCM with 16 octet ICV [RFC4106]\",\"0x0102\",\"NULL\",\"\""
        );
    }
}
