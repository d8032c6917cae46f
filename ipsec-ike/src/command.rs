//! What the caller wants, and what it has noticed.

use crate::child_sa::{self, ChildState};
use crate::engine::{Env, Ike};
use crate::error::CommandError;
use crate::event::{ChildId, ChildRef, DownReason, IkeId};
use crate::ike_sa::{self, IkeSa, SaState};
use crate::v2::mobike::Check;
use ipsec_core::crypto::Provider;
use ipsec_core::path::Endpoint;
use ipsec_core::selector::Flow;
use ipsec_core::time::Instant;

impl<P: Provider> Ike<'_, P> {
    /// Brings up a child: first traffic wants it, or somebody at the keyboard. Does nothing while it is under way.
    ///
    /// If there is no IKE SA with the peer, one is made, and the child with it.
    pub fn initiate(&mut self, env: &mut Env<'_>, config: ChildRef) -> Result<(), CommandError> {
        self.begin(env, config, None)
    }

    /// [`Ike::initiate`], perhaps for a packet.
    pub(crate) fn begin(
        &mut self,
        env: &mut Env<'_>,
        config: ChildRef,
        packet: Option<&Flow>,
    ) -> Result<(), CommandError> {
        let packet = packet.copied();
        let peer = self.config.peers.get(usize::from(config.peer)).ok_or(CommandError::Unknown)?;
        peer.children.get(usize::from(config.child)).ok_or(CommandError::Unknown)?;
        let mut established = None;
        let mut begun = None;
        for (number, sa) in self.sas_of(config.peer, 0) {
            match sa.state {
                SaState::Established => established = Some(number),
                SaState::Larval if sa.initiator && (sa.ours != 0 || sa.is_entering()) => {
                    begun = Some((number, sa.ours));
                }
                _ => {}
            }
        }
        if let (None, Some((sa, ours))) = (established, begun) {
            // It brings one child along; the others follow.
            let handshake = ours.checked_sub(1).and_then(|c| self.contexts.handshake(c));
            let comes = handshake.is_some_and(|(_, h)| h.child == config);
            let context = self.place_of_handshake(ours.saturating_sub(1));
            if comes && self.ask_alike(config, self.packet_of(context), packet) {
                return Ok(());
            }
            return self.want_child(env, sa, config, packet);
        }
        match established {
            Some(sa) => self.want_child(env, sa, config, packet),
            #[cfg(feature = "ikev1")]
            None if peer.versions.begins_with_v1() => self.phase1_begin(env, config, packet),
            None => self.sa_init_begin(env, config, packet, None),
        }
    }

    /// Replaces a child's keys.
    pub fn rekey_child(&mut self, env: &mut Env<'_>, child: ChildId) -> Result<(), CommandError> {
        let number = self.child_number(child).ok_or(CommandError::Unknown)?;
        self.want_of_child(env, number, child_sa::want::REKEY);
        Ok(())
    }

    /// Deletes a child, on both sides.
    pub fn close_child(&mut self, env: &mut Env<'_>, child: ChildId) -> Result<(), CommandError> {
        let number = self.child_number(child).ok_or(CommandError::Unknown)?;
        if let Some(child) = self.child(number) {
            child.reason = DownReason::Closed;
        }
        self.want_of_child(env, number, child_sa::want::DELETE);
        Ok(())
    }

    /// Replaces the keys of an IKE SA.
    pub fn rekey_ike(&mut self, env: &mut Env<'_>, ike: IkeId) -> Result<(), CommandError> {
        let number = self.sa_number(ike).ok_or(CommandError::Unknown)?;
        self.want_of_sa(env, number, ike_sa::want::REKEY);
        Ok(())
    }

    /// Deletes an IKE SA and its children, on both sides.
    pub fn close_ike(&mut self, env: &mut Env<'_>, ike: IkeId) -> Result<(), CommandError> {
        let number = self.sa_number(ike).ok_or(CommandError::Unknown)?;
        if let Some(sa) = self.sa(number) {
            sa.down = DownReason::Closed;
        }
        self.want_of_sa(env, number, ike_sa::want::CLOSE);
        Ok(())
    }

    /// Deletes every IKE SA and its children, on both sides, and gives up every handshake: for a program that ends. Its
    /// cost grows with the number of slots.
    pub fn close_all(&mut self, env: &mut Env<'_>) {
        for number in 0..u32::try_from(self.sas.len()).unwrap_or(u32::MAX) {
            let Some(sa) = self.sa(number) else { continue };
            match sa.state {
                SaState::Established | SaState::Rekeyed => {
                    sa.down = DownReason::Closed;
                    self.want_of_sa(env, number, ike_sa::want::CLOSE);
                }
                // The successor of another SA goes with the exchange that makes it.
                #[cfg(feature = "ikev1")]
                SaState::Larval if sa.is_entering() => self.access_over(env, number),
                SaState::Larval => {
                    let contexts =
                        [sa.ours, sa.theirs].into_iter().filter_map(|n| n.checked_sub(1));
                    if contexts.into_iter().any(|context| self.contexts.is_handshake(context)) {
                        self.sa_down(env, number, DownReason::Closed);
                    }
                }
                SaState::Empty | SaState::Waiting | SaState::Closing | SaState::Deleted => {}
            }
        }
    }

    /// Whether nothing is left to say to any peer, nor to the caller: no SA but those that linger to repeat their last
    /// response, and no child. Scans; for a program that ends.
    pub fn is_idle(&self) -> bool {
        let quiet = |sa: &IkeSa| match sa.state {
            SaState::Empty => true,
            SaState::Deleted => sa.tell == 0,
            _ => false,
        };
        self.sas.iter().all(|s| quiet(&s.sa))
            && self.children.iter().all(|c| c.child.state == ChildState::Empty)
    }

    /// Goes on with these message IDs, as if all before had been used: for tests of what happens at their end.
    #[doc(hidden)]
    pub fn skip_message_ids(&mut self, ike: IkeId, (send, receive): (u32, u32)) {
        if let Some(sa) = self.sa_number(ike).and_then(|number| self.sa(number)) {
            sa.send_id = sa.send_id.max(send);
            sa.receive_id = sa.receive_id.max(receive);
        }
    }

    /// A limit of bytes, packets or sequence numbers was reached by one of a child's SAs.
    pub fn expired(&mut self, env: &mut Env<'_>, child: ChildId, hard: bool) {
        let Some(number) = self.child_number(child) else { return };
        if hard {
            if let Some(child) = self.child(number) {
                child.reason = DownReason::Expired;
            }
            self.want_of_child(env, number, child_sa::want::DELETE);
        } else {
            self.want_of_child(env, number, child_sa::want::REKEY);
        }
    }

    /// An authenticated packet arrived on a child: its peer is alive.
    pub fn heard(&mut self, now: Instant, child: ChildId) {
        let Some(number) = self.child_number(child) else { return };
        let Some(sa) = self.child(number).map(|c| c.ike) else { return };
        if let Some(sa) = self.sa(sa) {
            sa.heard = sa.heard.max(now);
        }
    }

    /// The newest authenticated packet of a child came from another endpoint. Believed only behind a NAT; with MOBIKE, only
    /// of packets, and if [`Mobike::check`](crate::config::Mobike::check) wants it so, only of a port.
    pub fn peer_moved(&mut self, child: ChildId, remote: Endpoint) {
        let Some(number) = self.child_number(child) else { return };
        let Some(number) = self.child(number).map(|c| c.ike) else { return };
        let policy = self.peer_of(number).and_then(|peer| peer.mobike);
        let Some(sa) = self.sa(number) else { return };
        let Some(policy) = policy.filter(|_| sa.mobike) else {
            return self.move_sa(number, remote);
        };
        // RFC 4555 section 3.8: packets may move packets, and never messages. To where the peer need not receive, they do
        // not go (section 3.7).
        let receives = !policy.check || remote.address == sa.path.remote.address;
        if sa.nat_remote && sa.check == Check::None && receives {
            sa.strayed = remote;
            self.tell_moved(number);
        }
    }

    /// Moves an SA and its children to another endpoint of the peer, if a NAT is before it (RFC 7296 section 2.23).
    ///
    /// RFC 4555 section 3.8: with MOBIKE, the initiator says when it has moved, and has to show that it receives there.
    pub(crate) fn move_sa(&mut self, number: u32, remote: Endpoint) {
        let Some(sa) = self.sa(number).filter(|sa| sa.nat_remote && !sa.mobike) else { return };
        if sa.path.remote == remote {
            return;
        }
        sa.path.remote = remote;
        self.tell_moved(number);
    }

    /// Has the caller told that the children of an SA are at another path.
    pub(crate) fn tell_moved(&mut self, number: u32) {
        let mut next = self.sa(number).map_or(0, |sa| sa.children);
        while let Some(index) = next.checked_sub(1) {
            let Some(child) = self.child(index) else { return };
            next = child.next;
            if child.state == ChildState::Established || child.state == ChildState::Leaving {
                child.tell |= child_sa::tell::MOVED;
                self.events.push(self.child_node(index));
            }
        }
    }
}
