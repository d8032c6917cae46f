//! The files with which Wireshark decrypts the capture: whoever has them reads everything.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};
use ipsec::{Algorithms, Direction, GatewayEvent, Manual, Suite};
use ipsec_testkit::keylog::{EspKeys, IkeKeys};

/// The key files of Wireshark's configuration folder.
pub struct KeyFiles {
    ike_v1: File,
    ike: File,
    esp: File,
    /// The last IKE SA, and where its line begins.
    last: (u64, u64),
    /// A suite of ESP that Wireshark cannot decrypt.
    pub without: Option<Suite>,
    /// An SA may have any addresses, since they change.
    pub anywhere: bool,
}

impl KeyFiles {
    /// Empty files in a new folder.
    pub fn create(folder: &Path) -> Result<Self> {
        let cannot = || format!("cannot write to {}", folder.display());
        fs::create_dir_all(folder).with_context(cannot)?;
        Ok(Self {
            ike_v1: File::create(folder.join("ikev1_decryption_table")).with_context(cannot)?,
            ike: File::create(folder.join("ikev2_decryption_table")).with_context(cannot)?,
            esp: File::create(folder.join("esp_sa")).with_context(cannot)?,
            last: (0, 0),
            without: None,
            anywhere: false,
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
                if keys.is_v1() {
                    writeln!(self.ike_v1, "{}", keys.line_v1())?;
                } else {
                    // An additional key exchange gives other keys before IKE_AUTH, and Wireshark takes the first that it finds.
                    if self.last.0 == keys.spi_i {
                        self.ike.set_len(self.last.1)?;
                        self.ike.seek(SeekFrom::End(0))?;
                    }
                    self.last = (keys.spi_i, self.ike.stream_position()?);
                    writeln!(self.ike, "{}", keys.line().context(unknown)?)?;
                }
            }
            // Nothing is encrypted by AH.
            GatewayEvent::EspKeys(keys) if keys.suite.is_ah() => {}
            GatewayEvent::EspKeys(keys) => {
                let (ours, theirs) = (keys.path.local.address, keys.path.remote.address);
                let (source, destination) = match keys.direction {
                    Direction::Inbound => (theirs, ours),
                    Direction::Outbound => (ours, theirs),
                };
                self.esp(EspKeys {
                    source,
                    destination,
                    spi: keys.spi.get(),
                    suite: keys.suite,
                    encr_key: keys.encryption(),
                    integ_key: keys.integrity(),
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes down manual keys.
    pub fn manual(&mut self, manual: &Manual<'_>) -> Result<()> {
        let Algorithms::Esp(suite) = manual.sas.protection else { return Ok(()) };
        let shape = suite.shape().context("no such suite")?;
        let (ours, theirs) = (manual.path.local.address, manual.path.remote.address);
        let keys = [(&manual.sas.inbound, theirs, ours), (&manual.sas.outbound, ours, theirs)];
        for (key, source, destination) in keys {
            let key = key.as_ref().context("both directions have keys")?;
            let (encr_key, integ_key) = key.keymat.split_at(shape.key_len + shape.salt_len);
            let spi = key.spi.get();
            self.esp(EspKeys { source, destination, spi, suite, encr_key, integ_key })?;
        }
        Ok(())
    }

    /// What Wireshark cannot decrypt has no line.
    fn esp(&mut self, keys: EspKeys<'_>) -> Result<()> {
        match keys.line() {
            Some(mut line) => {
                for address in [keys.source, keys.destination].into_iter().filter(|_| self.anywhere)
                {
                    line = line.replacen(&format!("\"{address}\""), "\"*\"", 1);
                }
                writeln!(self.esp, "{line}")?;
            }
            None => self.without = Some(keys.suite),
        }
        Ok(())
    }
}
