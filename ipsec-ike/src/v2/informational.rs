//! INFORMATIONAL: liveness, and what the peer deletes (RFC 7296 section 1.4).

use ipsec_core::crypto::Provider;
use ipsec_core::path::Path;

use super::mobike::Response;
use crate::child_sa::{self, ChildState};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::{ChildId, DownReason, Failure};
use crate::exchange::Kind;
use crate::ike_sa;
use crate::timer::{LINGER, RESPONSE_KEPT, RETRY};
use crate::wire::{Collected, ExchangeType, Header, Notify, NotifyType, ProtocolId};

/// Children that one message can delete; more are told of one by one.
const MAX_DELETED: usize = 16;
/// Ours, which the answer names.
type DeletedSpis = heapless::Vec<u32, MAX_DELETED>;

impl<P: Provider> Ike<'_, P> {
    /// Asks a silent peer whether it lives (RFC 7296 section 2.4). `false` if there is no room.
    pub(crate) fn liveness_begin(&mut self, env: &mut Env<'_>, sa: u32) -> bool {
        let looks = self.sa(sa).is_some_and(|sa| sa.mobike && sa.decides && sa.nat_local);
        if let Some(mobile) = self.mobile.filter(|_| looks) {
            // RFC 4555 section 3.8: has the NAT given us another port?
            return (mobile.begin)(self, env, sa);
        }
        let Some(context) = self.begin_request(sa, Kind::Informational) else { return false };
        if let Some(sa) = self.sa(sa) {
            sa.want &= !ike_sa::want::LIVENESS;
        }
        if self.compose(context, ExchangeType::INFORMATIONAL, |_| Ok(())).is_err() {
            self.end_exchange(env, context);
            return false;
        }
        self.send_request(env, context);
        true
    }

    /// The peer's request: deletions, or a question whether we live.
    #[inline(never)]
    pub(crate) fn informational_received(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        path: Path,
        header: &Header,
        collected: &Collected<'_>,
    ) -> Result<(), DatagramError> {
        let context = self.begin_answer(env, sa, path, header, Kind::Informational)?;
        if collected.deletes().any(|d| d.protocol == ProtocolId::IKE) {
            // RFC 7296 section 1.4.1: the answer to the deletion of an IKE SA is empty.
            if self.compose(context, ExchangeType::INFORMATIONAL, |_| Ok(())).is_ok() {
                self.send_response(env, context, LINGER);
            }
            self.sa_down(env, sa, DownReason::Deleted);
            return Ok(());
        }
        let mobile = self.mobile.filter(|_| self.sas.get(sa as usize).is_some_and(|s| s.sa.mobike));
        if let Some(mobile) = mobile
            && let Err(kind) = (mobile.request)(self, env, sa, path, collected)
        {
            self.answer_error(env, context, ExchangeType::INFORMATIONAL, &Notify::new(kind, &[]));
            return Err(DatagramError::Refused);
        }
        self.take_auth_lifetime(env, sa, super::reauth::auth_lifetime(collected));
        let (mut esp, mut ah) = (DeletedSpis::new(), DeletedSpis::new());
        let deleting = self.child_being_deleted(sa);
        let outbound = collected.deletes().flat_map(|d| d.spis().map(move |spi| (d.protocol, spi)));
        for (protocol, spi) in outbound.take(MAX_DELETED) {
            let Some(number) = self.child_by_outbound(sa, protocol, spi) else {
                self.note_deleted(sa, spi);
                continue;
            };
            let Some(child) = self.child(number) else { continue };
            let replaced =
                child.state == ChildState::Leaving && matches!(child.reason, DownReason::Rekeyed);
            let (spi_in, own_reason, replaces) = (child.spi_in, child.reason, child.replaces);
            let ours = deleting == Some(number);
            if !ours {
                // RFC 7296 section 1.4.1: if both sides delete it, neither names it in its answer.
                let _ = if protocol == ProtocolId::AH { &mut ah } else { &mut esp }.push(spi_in);
            }
            if replaced {
                self.child_lingers(env, number);
            } else {
                self.child_down(env, number, if ours { own_reason } else { DownReason::Deleted });
                self.stay_with(env, sa, replaces);
            }
        }
        let invalid = collected.notify(NotifyType::INVALID_SELECTORS);
        let invalid = invalid.and_then(|n| self.child_by_outbound(sa, n.protocol, n.spi_u32()?));
        if let Some(config) = invalid.and_then(|number| self.child(number)).map(|c| c.config) {
            // RFC 7296 section 3.10.1
            self.refuse(Some(config.peer), Some(config), path, Failure::InvalidSelectors);
        }
        let peer = self.peer_of(sa).ok_or(DatagramError::Stale)?;
        let spis = self.sa(sa).map_or((0, 0), |sa| (sa.spi_i, sa.spi_r));
        let written = self.compose(context, ExchangeType::INFORMATIONAL, |w| {
            if let Some(mobile) = mobile {
                (mobile.write_response)(&Response { spis, path, peer }, collected, w)?;
            }
            for (protocol, spis) in [(ProtocolId::ESP, &esp), (ProtocolId::AH, &ah)] {
                if !spis.is_empty() {
                    w.delete(protocol, spis)?;
                }
            }
            Ok(())
        });
        if written.is_ok() {
            self.send_response(env, context, RESPONSE_KEPT);
        } else {
            self.end_exchange(env, context);
        }
        if mobile.is_some() {
            self.next_task(env, sa);
        }
        Ok(())
    }

    /// The peer has given up the replacement of a child that it began: the old one stays, and is rekeyed later.
    fn stay_with(&mut self, env: &Env<'_>, sa: u32, old: Option<ChildId>) {
        let Some(number) = old.and_then(|id| self.child_number(id)) else { return };
        if self.rival(sa, number, old).is_some() || self.child_being_deleted(sa) == Some(number) {
            return;
        }
        let Some(child) = self.child(number) else { return };
        let replaced = child.state == ChildState::Leaving && child.reason == DownReason::Rekeyed;
        if replaced && child.want & child_sa::want::DELETE == 0 {
            child.state = ChildState::Established;
            child.rekey_at = child.rekey_at.min(env.now.after(RETRY.saturating_mul(30)));
            self.schedule_child(number);
        }
    }

    /// The peer deletes a child that we do not know: it may have made it at our request, and the response got lost.
    fn note_deleted(&mut self, sa: u32, spi: u32) {
        let ours = self.sa(sa).and_then(|sa| sa.ours.checked_sub(1));
        if let Some(x) = ours.and_then(|n| self.contexts.get(n))
            && x.kind == Kind::CreateChild
        {
            x.negotiation.deleted = spi;
        }
    }

    /// The child that our request under way deletes.
    pub(crate) fn child_being_deleted(&mut self, sa: u32) -> Option<u32> {
        let ours = self.sa(sa)?.ours.checked_sub(1)?;
        let x = self.contexts.exchange(ours).filter(|x| x.kind == Kind::DeleteChild)?;
        x.negotiation.child.checked_sub(1)
    }
}
