//! The vendor ID payload (RFC 7296 section 3.12): opaque bytes that mean something only to those who know them.

use super::compose::{MessageWriter, NoRoom};
use super::iana::PayloadType;

impl MessageWriter<'_> {
    /// Appends a vendor ID payload.
    pub fn vendor_id(&mut self, data: &[u8]) -> Result<(), NoRoom> {
        self.raw(PayloadType::VENDOR_ID, data)
    }
}
