//! The files with which Wireshark decrypts the capture: whoever has them reads everything.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use ipsec::{Direction, GatewayEvent};
use ipsec_testkit::keylog::{EspKeys, IkeKeys};

/// The two key files of Wireshark's configuration folder.
pub struct KeyFiles {
    ike: File,
    esp: File,
}

impl KeyFiles {
    /// Empty files in a new folder.
    pub fn create(folder: &Path) -> Result<Self> {
        let cannot = || format!("cannot write to {}", folder.display());
        fs::create_dir_all(folder).with_context(cannot)?;
        Ok(Self {
            ike: File::create(folder.join("ikev2_decryption_table")).with_context(cannot)?,
            esp: File::create(folder.join("esp_sa")).with_context(cannot)?,
        })
    }

    /// Writes down the keys in an event.
    pub fn log(&mut self, event: &GatewayEvent) -> Result<()> {
        let unknown = "Wireshark cannot decrypt the agreed suite";
        match event {
            GatewayEvent::IkeKeys(keys) => {
                let keys = IkeKeys {
                    spi_i: keys.initiator_spi,
                    spi_r: keys.responder_spi,
                    suite: keys.suite,
                    sk_ei: keys.encryption_i(),
                    sk_er: keys.encryption_r(),
                    sk_ai: keys.integrity_i(),
                    sk_ar: keys.integrity_r(),
                };
                writeln!(self.ike, "{}", keys.line().context(unknown)?)?;
            }
            GatewayEvent::EspKeys(keys) => {
                let (ours, theirs) = (keys.path.local.address, keys.path.remote.address);
                let (source, destination) = match keys.direction {
                    Direction::Inbound => (theirs, ours),
                    Direction::Outbound => (ours, theirs),
                };
                let keys = EspKeys {
                    source,
                    destination,
                    spi: keys.spi.get(),
                    suite: keys.suite,
                    encr_key: keys.encryption(),
                    integ_key: keys.integrity(),
                };
                writeln!(self.esp, "{}", keys.line().context(unknown)?)?;
            }
            _ => {}
        }
        Ok(())
    }
}
