//! SAs that survive: a device that sleeps or loses its power, or a second node that takes over. [`Sad::export`] tells how.

use core::time::Duration;

use super::record::{self, RECORD_LEN, RecordError, State};
use super::{
    FoundBy, InboundId, InboundState, InstallError, OutboundId, OutboundState, SaId, Sad, bitmap,
    flag, outbound_number,
};
use crate::crypto::Provider;
use crate::replay::Window;
use crate::sa::{Protection, Reserve, SaParams};
use crate::selector::Selectors;
use crate::seq;
use crate::time::Instant;

/// What an export has set aside: to be given to [`Sad::commit`] once the record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "without a commit the SA soon stops"]
pub struct Reservation {
    id: SaId,
    reserve: Reserve,
}

impl Reservation {
    /// The last sequence number that the SA will use before the next export.
    pub const fn edge(&self) -> u64 {
        self.reserve.up_to
    }
}

/// Why an SA was not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ExportError {
    /// Local: there is no such SA.
    NoSa,
    /// Local: the keying material has not the length that the algorithms want.
    Keymat,
    /// Local: an SA without anti-replay window accepts everything twice anyhow; there is nothing that could survive.
    NoWindow,
    /// Local: it is [hidden](Sad::hide_inbound), as one of a bundle is. Elsewhere packets would find it by its SPI alone.
    Hidden,
}

impl core::fmt::Display for ExportError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoSa => "no such security association",
            Self::Keymat => "keying material of the wrong length",
            Self::NoWindow => "no anti-replay window to export",
            Self::Hidden => "hidden behind another security association",
        })
    }
}

impl core::error::Error for ExportError {}

/// Why a record was not imported. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ImportError {
    /// Whoever kept it: the bytes are no record.
    Record(RecordError),
    /// The SA was not installed.
    Install(InstallError),
}

impl core::fmt::Display for ImportError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Record(e) => e.fmt(f),
            Self::Install(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for ImportError {}

impl<P: Provider> Sad<'_, P> {
    /// Writes an SA down, with `ahead` sequence numbers set aside, so that it survives a restart or goes on elsewhere.
    ///
    /// A sequence number must never be sent twice, nor accepted twice, although the SA goes on being used after it was
    /// written down. So the record says that everything up to an *edge* is used, which is `ahead` numbers beyond the last
    /// one that was, and the SA stops at the edge until a later export has moved it:
    ///
    /// 1. `export` writes a record.
    /// 2. The caller makes it durable, in place of the one before, and wipes `out`, which holds keys.
    /// 3. [`Sad::commit`] lets the SA go on up to the new edge.
    /// 4. [`SadEventKind::Export`](super::SadEventKind::Export) tells when half of them are used: back to 1.
    ///
    /// Outbound, an imported SA resumes behind the edge, so that no sequence number, and with it no nonce, is used again
    /// (RFC 4303 section 3.3.3). Inbound, its window begins at the edge with everything up to it closed, so that what was
    /// accepted stays refused (RFC 4303 section 3.4.3). A packet beyond the edge of a living SA is dropped, and its
    /// number counts as seen, so that the next export reaches beyond it. Edges are numbers of 64 bits: the high half of
    /// extended ones survives with the rest.
    ///
    /// The price is what was set aside and not used: after an import that many outbound numbers are left out, and up to that
    /// many inbound packets are lost, since nobody knows whether they were accepted. Packets count against the lifetime as
    /// if all that was set aside had been used, bytes as far as they were counted, and of the time what was left remains.
    ///
    /// Only the latest record may be imported, once, after whoever exported it has stopped: nothing in a record can tell.
    /// The store must keep it secret, and let nobody change it or bring back an old one.
    ///
    /// `keymat` is what the SA was installed with, since the database holds only keys that the provider has prepared. Until
    /// the commit, the SA stops at the lower of this edge and the one before.
    ///
    /// # Errors
    /// See [`ExportError`]. Nothing has changed then but `out`.
    pub fn export(
        &mut self,
        now: Instant,
        id: SaId,
        keymat: &[u8],
        ahead: u32,
        out: &mut [u8; RECORD_LEN],
    ) -> Result<Reservation, ExportError> {
        let (protection, used, before) = match id {
            SaId::Inbound(id) => {
                let sa = self.inbound(id).ok_or(ExportError::NoSa)?;
                (&sa.protection, sa.window.top(), sa.reserved)
            }
            SaId::Outbound(id) => {
                let sa = self.outbound(id).ok_or(ExportError::NoSa)?;
                (&sa.protection, sa.sequence, sa.reserved)
            }
        };
        let last = seq::last(protection.esn);
        let edge = used.saturating_add(ahead.into()).min(last);
        self.write_record(now, id, keymat, edge, edge.saturating_sub(used), out)?;
        let low = u32::try_from(edge.saturating_sub(used)).unwrap_or(u32::MAX).div_ceil(2);
        let reserve = Reserve { up_to: edge, low };
        self.set_reserve(id, Reserve { up_to: edge.min(before.up_to), low: before.low });
        Ok(Reservation { id, reserve })
    }

    /// The record of an export is durable: the SA may go on up to its edge. Says whether the SA is still there.
    ///
    /// Of several exports the one committed last counts, which must be the one that the store holds.
    pub fn commit(&mut self, reservation: Reservation) -> bool {
        self.set_reserve(reservation.id, reservation.reserve)
    }

    /// No record of this SA will ever be imported again: it is used without exports, as if there had been none. Says
    /// whether the SA was there.
    pub fn stop_exports(&mut self, id: SaId) -> bool {
        self.set_reserve(id, Reserve::ALL)
    }

    /// Installs the SA of a record, all of whose numbers up to the edge are used. Nothing passes it before the next
    /// [export](Sad::export) has been committed, or [`Sad::stop_exports`].
    ///
    /// An inbound SA is found by its SPI, which this database did not choose: so memory must have been lent for
    /// [such SPIs](super::SadMemory::foreign). `elapsed` is the time since the export, as far as it is known, which counts
    /// against the lifetime.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn import(
        &mut self,
        now: Instant,
        elapsed: Duration,
        record: &[u8],
    ) -> Result<SaId, ImportError> {
        let mut selectors = Selectors::EMPTY;
        let (state, mut params) =
            record::read(record, &mut selectors).map_err(ImportError::Record)?;
        for time in [&mut params.lifetime.soft.time, &mut params.lifetime.hard.time] {
            if *time != Duration::MAX {
                let left = record::micros(*time).saturating_sub(record::micros(elapsed));
                *time = Duration::from_micros(left);
            }
        }
        self.install_again(now, state, &params).map_err(ImportError::Install)
    }

    fn install_again(
        &mut self,
        now: Instant,
        state: State,
        params: &SaParams<'_>,
    ) -> Result<SaId, InstallError> {
        let State { inbound, found_by, edge, packets, bytes } = state;
        let id = if inbound {
            let found_by = FoundBy::of(found_by).unwrap_or(FoundBy::Spi);
            SaId::Inbound(self.install_inbound_as(now, params, found_by)?)
        } else {
            SaId::Outbound(self.install_outbound(now, params)?)
        };
        self.resume(id, edge, packets, bytes);
        Ok(id)
    }

    /// Gives an SA that has just been installed its past.
    fn resume(&mut self, id: SaId, edge: u64, packets: u64, bytes: u64) {
        let (slot, flags, protection) = match id {
            SaId::Inbound(id) => {
                let bitmap = bitmap(self.windows, self.words, id.slot).unwrap_or_default();
                let Some(slot) = self.inbound.get_mut(id.slot as usize) else { return };
                let InboundState::Live(sa) = &mut slot.state else { return };
                sa.window = Window::closed(sa.window.size(), bitmap, edge);
                sa.reserved = Reserve { up_to: edge, low: 0 };
                (id.slot, &mut slot.flags, &mut sa.protection)
            }
            SaId::Outbound(id) => {
                let number = outbound_number(self.inbound.len(), id.slot);
                let Some(slot) = self.outbound.get_mut(id.slot as usize) else { return };
                let OutboundState::Live(sa) = &mut slot.state else { return };
                sa.sequence = edge;
                sa.reserved = Reserve { up_to: edge, low: 0 };
                (number, &mut slot.flags, &mut sa.protection)
            }
        };
        protection.usage.packets = packets;
        protection.usage.bytes = bytes;
        *flags |= flag::EXPORT;
        self.pending.push(slot);
    }

    fn write_record(
        &self,
        now: Instant,
        id: SaId,
        keymat: &[u8],
        edge: u64,
        ahead: u64,
        out: &mut [u8; RECORD_LEN],
    ) -> Result<(), ExportError> {
        let none = Selectors::EMPTY;
        let (inbound, found_by, protection, selectors, replay_window) = match id {
            SaId::Inbound(id) => {
                let slot = self.inbound.get(id.slot as usize).ok_or(ExportError::NoSa)?;
                let sa = self.inbound(id).ok_or(ExportError::NoSa)?;
                if slot.found_by == FoundBy::NOTHING {
                    return Err(ExportError::Hidden);
                }
                if sa.window.size() == 0 {
                    return Err(ExportError::NoWindow);
                }
                (true, slot.found_by, &sa.protection, &sa.selectors, sa.window.size())
            }
            SaId::Outbound(id) => {
                let sa = self.outbound(id).ok_or(ExportError::NoSa)?;
                (false, 0, &sa.protection, &none, 0)
            }
        };
        if protection.algorithms().keymat_len() != Some(keymat.len()) {
            return Err(ExportError::Keymat);
        }
        let usage = &protection.usage;
        let packets = usage.packets.saturating_add(ahead);
        let state = State { inbound, found_by, edge, packets, bytes: usage.bytes };
        let params = params_of(now, protection, keymat, selectors, replay_window);
        record::write(out, &state, &params).ok_or(ExportError::Keymat)
    }

    /// Says whether the SA is there.
    fn set_reserve(&mut self, id: SaId, reserve: Reserve) -> bool {
        match id {
            SaId::Inbound(id) => self.set_inbound_reserve(id, reserve),
            SaId::Outbound(id) => self.set_outbound_reserve(id, reserve),
        }
        .is_some()
    }

    fn set_inbound_reserve(&mut self, id: InboundId, reserve: Reserve) -> Option<()> {
        let InboundState::Live(sa) = &mut self.inbound_slot(id)?.state else { return None };
        sa.reserved = reserve;
        Some(())
    }

    fn set_outbound_reserve(&mut self, id: OutboundId, reserve: Reserve) -> Option<()> {
        let OutboundState::Live(sa) = &mut self.outbound_slot(id)?.state else { return None };
        sa.reserved = reserve.at_most(seq::last(sa.protection.esn));
        Some(())
    }
}

/// What would install the SA again.
fn params_of<'k, P: Provider>(
    now: Instant,
    protection: &Protection<P>,
    keymat: &'k [u8],
    selectors: &'k Selectors,
    replay_window: u32,
) -> SaParams<'k> {
    SaParams {
        spi: protection.spi,
        protection: protection.algorithms(),
        mode: protection.mode,
        keymat,
        path: protection.path,
        encapsulation: protection.encapsulation,
        esn: protection.esn,
        replay_window,
        lifetime: protection.usage.limits(now),
        selectors,
        tag: protection.tag,
    }
}
