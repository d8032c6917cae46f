//! Reauthentication: a new IKE SA from scratch, with new children, before the old one goes (RFC 7296 section 2.8.3).
//!
//! Only the initiator can do that, since the responder may not know how to reach it or may not be able to ask it for its
//! proof. A responder says how long it believes one (RFC 4478), and ends the SA after that.

use core::time::Duration;

use ipsec_core::crypto::Provider;
use ipsec_core::time::Instant;

use crate::child_sa::ChildState;
use crate::engine::{Env, Ike};
use crate::event::{ChildRef, DownReason, IkeId};
use crate::ike_sa::{self, SaState};
use crate::timer::REPLACED_KEPT;
use crate::wire::{Collected, MessageWriter, NoRoom, Notify, NotifyType};

/// How the new SA comes along is seen so often.
const LOOK: Duration = Duration::from_secs(1);
/// No peer makes us authenticate ourselves anew more often: there would be no end of IKE SAs.
const LEAST_LIFETIME: Duration = Duration::from_secs(10);

/// Whether there is any, in this image.
const REAUTHENTICATION: bool = cfg!(feature = "reauthentication");

impl<P: Provider> Ike<'_, P> {
    /// Sets how long an authentication is believed that has just been made: as the configuration says, and if we began, no
    /// longer than the peer said.
    pub(crate) fn begin_authenticated_life(&mut self, env: &mut Env<'_>, number: u32) {
        let own = self.peer_of(number).map_or(Duration::MAX, |peer| peer.authenticated_for());
        let at = env.now.after(own);
        if let Some(sa) = self.sa(number) {
            sa.reauth_at = if sa.initiator { sa.reauth_at.min(at) } else { at };
        }
    }

    /// The peer says how long it believes our authentication (RFC 4478 section 3): we renew it when nine tenths of that
    /// are over.
    pub(crate) fn take_auth_lifetime(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        seconds: Option<u32>,
    ) {
        let Some(seconds) = seconds.filter(|_| REAUTHENTICATION) else { return };
        let renewed = Duration::from_secs(u64::from(seconds.saturating_sub(seconds / 10)));
        let at = env.now.after(renewed.max(LEAST_LIFETIME));
        if let Some(sa) = self.sa(number).filter(|sa| sa.decides) {
            sa.reauth_at = sa.reauth_at.min(at);
        }
        self.schedule_sa(env.now, number);
    }

    /// The time has come: the initiator begins anew, or looks how far that is; the responder ends the SA.
    pub(crate) fn reauthenticate(&mut self, env: &mut Env<'_>, number: u32) {
        if !REAUTHENTICATION {
            return;
        }
        let id = self.ike_id(number);
        let Some(sa) = self.sa(number).filter(|sa| sa.state == SaState::Established) else {
            return;
        };
        if !sa.decides || sa.outlived {
            sa.down = if sa.outlived { DownReason::Reauthenticated } else { DownReason::Expired };
            sa.reauth_at = Instant::MAX;
            sa.want |= ike_sa::want::CLOSE;
            return;
        }
        sa.reauth_at = env.now.after(LOOK);
        let (peer, identity) = (sa.peer, sa.identity);
        let heir = self.sas_of(peer, identity).find(|(_, sa)| sa.replaces == Some(id));
        match heir.map(|(heir, sa)| (heir, sa.state)) {
            None => {
                // One that fails is told like any other, and begun again.
                let first = self.first_tunnel(number);
                let _ = self.sa_init_begin(env, first, None, Some(id));
            }
            Some((heir, SaState::Established)) if self.is_succeeded(env, number, heir) => {
                // Packets that are on the way still find the old children.
                if let Some(sa) = self.sa(number) {
                    sa.outlived = true;
                    sa.rekey_at = Instant::MAX;
                    sa.reauth_at = env.now.after(REPLACED_KEPT);
                }
            }
            Some(_) => {}
        }
    }

    /// A tunnel that an SA has, to begin with.
    fn first_tunnel(&mut self, number: u32) -> ChildRef {
        let mut next = self.sa(number).map_or(0, |sa| sa.children);
        let mut first = ChildRef { peer: self.sa(number).map_or(0, |sa| sa.peer), child: 0 };
        while let Some(child) = next.checked_sub(1).and_then(|n| self.child(n)) {
            if child.state == ChildState::Established {
                first = child.config; // the oldest is the last
            }
            next = child.next;
        }
        first
    }

    /// Whether each child of `old` is on `heir` as well; those that are not are asked for.
    fn is_succeeded(&mut self, env: &mut Env<'_>, old: u32, heir: u32) -> bool {
        let mut all = true;
        let mut next = self.sa(old).map_or(0, |sa| sa.children);
        while let Some(number) = next.checked_sub(1) {
            let Some(child) = self.child(number) else { break };
            next = child.next;
            if child.state != ChildState::Established {
                continue;
            }
            let config = child.config;
            let packet = self.packet_of(number);
            let _ = self.want_child(env, heir, config, packet);
            all &= self.has_tunnel(heir, config);
        }
        all
    }

    /// Whether an SA has a child of this configuration that is up.
    fn has_tunnel(&mut self, sa: u32, config: ChildRef) -> bool {
        let mut next = self.sa(sa).map_or(0, |sa| sa.children);
        while let Some(child) = next.checked_sub(1).and_then(|n| self.child(n)) {
            if child.state == ChildState::Established && child.config == config {
                return true;
            }
            next = child.next;
        }
        false
    }

    /// Whether another SA with the peer of `sa` has such a tunnel: it carries the traffic until the peer uses a new one.
    pub(crate) fn has_tunnel_elsewhere(&mut self, sa: u32, config: ChildRef) -> bool {
        let Some((peer, identity)) = self.sa(sa).map(|sa| (sa.peer, sa.identity)) else {
            return false;
        };
        let mut others = [u32::MAX; 4];
        let found = self.sas_of(peer, identity).map(|(number, _)| number);
        for (slot, number) in others.iter_mut().zip(found.filter(|number| *number != sa)) {
            *slot = number;
        }
        others.into_iter().any(|other| self.has_tunnel(other, config))
    }

    /// What was to replace an SA by a new authentication replaces the one that has taken its place by a rekey.
    pub(crate) fn bequeath(&mut self, old: IkeId, number: u32) {
        if !REAUTHENTICATION {
            return;
        }
        let new = self.ike_id(number);
        let Some((peer, identity)) = self.sa(number).map(|sa| (sa.peer, sa.identity)) else {
            return;
        };
        let mut heirs = self.sas_of(peer, identity);
        let heir = heirs.find(|(heir, sa)| *heir != number && sa.replaces == Some(old) && sa.heir);
        let heir = heir.map(|(heir, _)| heir);
        drop(heirs);
        if let Some(sa) = heir.and_then(|heir| self.sa(heir)) {
            sa.replaces = Some(new);
        }
    }
}

/// How long the peer believes our authentication.
pub(crate) fn auth_lifetime(collected: &Collected<'_>) -> Option<u32> {
    let notify = collected.notify(NotifyType::AUTH_LIFETIME)?;
    notify.data.try_into().ok().map(u32::from_be_bytes)
}

/// Says how long the initiator's authentication is believed, if not for ever (RFC 4478 section 3).
pub(crate) fn write_auth_lifetime(
    after: Duration,
    w: &mut MessageWriter<'_>,
) -> Result<(), NoRoom> {
    match u32::try_from(after.as_secs()) {
        Ok(seconds) => w.notify(&Notify::new(NotifyType::AUTH_LIFETIME, &seconds.to_be_bytes())),
        Err(_) => Ok(()),
    }
}
