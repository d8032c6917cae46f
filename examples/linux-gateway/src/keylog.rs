//! The keys of every SA, in the three files from which Wireshark decrypts a capture. Whoever reads them reads everything.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ipsec::{Direction, EspKeysLog, IkeKeysLog};
use ipsec_testkit::keylog::{EspKeys, IkeKeys};

/// The open files.
pub(crate) struct KeyLog {
    ike_v1: File,
    ike: File,
    esp: File,
    ah: File,
}

impl KeyLog {
    /// Opens the files in `folder`, and makes them if need be, readable by their owner only.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let open = |name: &str| {
            OpenOptions::new().append(true).create(true).mode(0o600).open(folder.join(name))
        };
        Ok(Self {
            ike_v1: open("ikev1_decryption_table")?,
            ike: open("ikev2_decryption_table")?,
            esp: open("esp_sa")?,
            ah: open("ah_sa")?,
        })
    }

    /// Adds the keys of an IKE SA.
    pub(crate) fn ike(&mut self, keys: &IkeKeysLog) {
        let keys = IkeKeys {
            spi_i: keys.initiator_spi,
            spi_r: keys.responder_spi,
            suite: keys.suite,
            sk_ei: keys.encryption_i(),
            sk_er: keys.encryption_r(),
            sk_ai: keys.integrity_i(),
            sk_ar: keys.integrity_r(),
        };
        if keys.is_v1() {
            append(&mut self.ike_v1, Some(keys.line_v1()), "an IKE SA");
        } else {
            append(&mut self.ike, keys.line(), "an IKE SA");
        }
    }

    /// Adds the keys of one direction of a child SA.
    pub(crate) fn esp(&mut self, keys: &EspKeysLog) {
        let (source, destination) = ends(keys);
        let line = EspKeys {
            source,
            destination,
            spi: keys.spi.get(),
            suite: keys.suite,
            encr_key: keys.encryption(),
            integ_key: keys.integrity(),
        }
        .line();
        append(&mut self.esp, line, "a child SA");
    }

    /// Adds the key of AH around a child SA, if there is one: source, destination, SPI, algorithm and key. Wireshark, which
    /// checks no AH, has no use for it.
    pub(crate) fn ah(&mut self, keys: &EspKeysLog) {
        let Some(ah) = &keys.around else { return };
        let (source, destination) = ends(keys);
        let key: String = ah.key().iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{source},{destination},0x{},{},0x{key}", ah.spi, ah.integ);
        append(&mut self.ah, Some(line), "AH");
    }

    /// Adds a line about ESP; `None` stands for what Wireshark cannot decrypt.
    pub(crate) fn line(&mut self, line: Option<String>, what: &str) {
        append(&mut self.esp, line, what);
    }
}

/// From where to where the packets of an SA go.
fn ends(keys: &EspKeysLog) -> (IpAddr, IpAddr) {
    let (local, remote) = (keys.path.local.address, keys.path.remote.address);
    match keys.direction {
        Direction::Inbound => (remote, local),
        Direction::Outbound => (local, remote),
    }
}

fn append(file: &mut File, line: Option<String>, what: &str) {
    match line {
        Some(line) => {
            if let Err(e) = file.write_all(format!("{line}\n").as_bytes()) {
                log::warn!("key log: {e}");
            }
        }
        None => log::debug!("key log: Wireshark cannot decrypt the algorithms of {what}"),
    }
}
