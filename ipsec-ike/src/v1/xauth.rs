//! XAUTH: a user's name and password, after phase 1 has shown that both sides know each other
//! (draft-beaulieu-ike-xauth-02).
//!
//! ```text
//!       server                                            client
//! 1     {HASH, REQUEST(NAME="", PASSWORD="")}        -->
//! 2                                                  <--  {HASH, REPLY(NAME, PASSWORD)}
//! 3     {HASH, SET(STATUS)}                          -->
//! 4                                                  <--  {HASH, ACK(STATUS)}
//! ```
//!
//! A pre-shared key of phase 1 is here the key of a group, which every member knows. So the server acts on nothing that a
//! client says before its user is known: no tunnel, no address, no end of another one's SA.

use ipsec_core::crypto::Provider;
use subtle::{Choice, ConstantTimeEq};

use super::message::Opened;
use super::transaction::{Access, Transacted};
use crate::auth::UserJob;
use crate::config::{Peer, User, V1, Xauth};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Failure;
use crate::exchange::Work;
use crate::identity::ClaimedId;
use crate::ike_sa::SaState;
use crate::timer::CALLER_TIMEOUT;
use crate::wire::v1::{AttributesPayload, ConfigAttribute, ConfigType, XauthType};
use crate::wire::{IdPayload, IdType};

type Attribute = ConfigAttribute;

/// The value of XAUTH_STATUS: the user is accepted.
const OK: u16 = 1;
/// The value of XAUTH_STATUS: the user is refused.
const FAIL: u16 = 0;

impl<'r, P: Provider> Ike<'r, P> {
    // ---- server ----

    /// Whether the peer of an entry has to be a user.
    pub(crate) fn wants_user(&self, peer: u16) -> bool {
        self.config.peers.get(usize::from(peer)).is_some_and(Peer::wants_user)
    }

    /// Whether one more client of this entry may wait for its user: all of them together have as much room as half-open
    /// exchanges.
    pub(super) fn may_wait_for_user(&self, peer: u16) -> bool {
        let limit = self.half_open_limit();
        let waiting = self.sas_of(peer, 0).filter(|(_, sa)| sa.state == SaState::Larval);
        waiting.take(limit).count() < limit && self.free_sas.len() > 1
    }

    /// Asks who the user is.
    pub(super) fn user_ask(&mut self, env: &mut Env<'_>, sa: u32) {
        self.transaction_begin(env, sa, Access::AskingUser, ConfigType::REQUEST, &mut |w| {
            w.short(Attribute::XAUTH_TYPE.0, XauthType::GENERIC.0)?;
            w.long(Attribute::XAUTH_USER_NAME.0, &[])?;
            w.long(Attribute::XAUTH_USER_PASSWORD.0, &[])
        });
    }

    /// The user's name and password.
    pub(super) fn user_said(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        message: &Transacted<'_>,
        opened: &Opened<'_>,
    ) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        x.v1.received = message.arrived.hash;
        let sa = x.sa;
        let (name, password) = said(&message.attributes);
        let xauth = self.peer_of(sa).and_then(|peer| peer.versions.v1()).map(V1::user);
        match xauth {
            Some(Xauth::Users(users)) => {
                let known = is_known(users, name, password);
                self.user_checked(env, number, name, known);
            }
            // What is cut off is not worth a question.
            Some(Xauth::Ask) if !name.is_empty() => {
                if let Err(e) = self.v1_park(number, opened) {
                    self.access_failed(env, sa, Failure::NoRoom);
                    return Err(e);
                }
                self.queue_job(number, Work::User);
                self.give_up_after(env, number, CALLER_TIMEOUT);
            }
            _ => self.user_checked(env, number, name, false),
        }
        Ok(())
    }

    /// Who is to be checked.
    pub(crate) fn user_job(&self, number: u32) -> Option<UserJob<'_>> {
        let x = self.contexts.exchange(number)?;
        let peer = self.sas.get(x.sa as usize)?.sa.peer;
        let (name, password) = said(&self.v1_parked(number)?.attributes?);
        Some(UserJob { peer, name, password, path: x.path })
    }

    /// The caller knows the user, or does not.
    pub(super) fn user_answered(&mut self, env: &mut Env<'_>, number: u32, known: bool) {
        let mut name = heapless::Vec::<u8, MAX_NAME>::new();
        if let Some(job) = self.user_job(number) {
            for byte in job.name {
                let _ = name.push(*byte); // not more than there is room for
            }
        }
        self.user_checked(env, number, &name, known);
    }

    fn user_checked(&mut self, env: &mut Env<'_>, number: u32, name: &[u8], known: bool) {
        let Some(sa) = self.contexts.exchange(number).map(|x| x.sa) else { return };
        // With it goes the password.
        self.end_exchange(env, number);
        let Some((peer, path)) = self.sa(sa).map(|sa| (sa.peer, sa.path)) else { return };
        let id = IdPayload::new(IdType::RFC822_ADDR, name);
        if !known {
            let failure = Failure::UserUnknown { claimed: ClaimedId::of(&id) };
            self.refuse(Some(peer), None, path, failure);
            return self.user_judge(env, sa, Access::RefusingUser, FAIL);
        }
        // From here on, the peer is this user.
        let identity = self.identity_hash(&id);
        self.file_sa(sa, identity);
        if self.limit_sas(env, sa, (peer, identity), true) {
            self.user_judge(env, sa, Access::AcceptingUser, OK);
        } else {
            self.access_failed(env, sa, Failure::NoRoom);
        }
    }

    fn user_judge(&mut self, env: &mut Env<'_>, sa: u32, access: Access, status: u16) {
        self.transaction_begin(env, sa, access, ConfigType::SET, &mut |w| {
            w.short(Attribute::XAUTH_STATUS.0, status)
        });
    }

    // ---- client ----

    /// The name and the password that we have for the peer of an SA.
    fn own_user(&self, sa: u32) -> Option<User<'r>> {
        match self.peer_of(sa)?.versions.v1()?.user() {
            Xauth::User(user) => Some(user),
            _ => None,
        }
    }

    /// The server asks who we are.
    pub(super) fn user_asked(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        message: &Transacted<'_>,
    ) -> Result<(), DatagramError> {
        let access = self.access(sa);
        let awaited = matches!(access, Access::AwaitingUser | Access::AwaitingVerdict);
        let user = self.own_user(sa).filter(|_| awaited).ok_or(DatagramError::Unexpected)?;
        let asked = message.attributes;
        let kind = asked.attributes.first(Attribute::XAUTH_TYPE.0).map_or(0, |kind| kind.number());
        // A password is said once: who asks again does not like it.
        let can = kind == u64::from(XauthType::GENERIC.0) && access == Access::AwaitingUser;
        self.transaction_answer(env, sa, message, ConfigType::REPLY, &mut |w| {
            if !can {
                return w.short(Attribute::XAUTH_STATUS.0, FAIL);
            }
            let values = [
                (Attribute::XAUTH_USER_NAME, user.name),
                (Attribute::XAUTH_USER_PASSWORD, user.password),
                (Attribute::XAUTH_PASSCODE, user.password),
            ];
            let wanted = values.into_iter().filter(|(kind, _)| asked.value(*kind).is_some());
            wanted.into_iter().try_for_each(|(kind, value)| w.long(kind.0, value))
        })?;
        if can {
            self.access_await(env, sa, Access::AwaitingVerdict, CALLER_TIMEOUT);
        } else {
            self.access_refused(env, sa);
        }
        Ok(())
    }

    /// The server accepts us, or does not.
    pub(super) fn user_judged(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        message: &Transacted<'_>,
    ) -> Result<(), DatagramError> {
        let status = message.attributes.attributes.first(Attribute::XAUTH_STATUS.0);
        let accepted = status.is_some_and(|status| status.number() == u64::from(OK));
        match self.access(sa) {
            Access::AwaitingVerdict => {}
            // It may refuse at once, and does not accept whom it has not asked.
            Access::AwaitingUser if !accepted => {}
            _ => return Err(DatagramError::Unexpected),
        }
        self.transaction_answer(env, sa, message, ConfigType::ACK, &mut |w| {
            w.short(Attribute::XAUTH_STATUS.0, if accepted { OK } else { FAIL })
        })?;
        if accepted {
            self.access_config(env, sa);
        } else {
            self.access_refused(env, sa);
        }
        Ok(())
    }
}

/// Bytes of a user's name that are looked at; a longer one is another one.
const MAX_NAME: usize = 128;

/// Name and password of a reply, empty where there is none. Some end them with a zero.
fn said<'a>(attributes: &AttributesPayload<'a>) -> (&'a [u8], &'a [u8]) {
    let value = |kind| {
        let value = attributes.value(kind).unwrap_or_default();
        value.strip_suffix(&[0]).unwrap_or(value)
    };
    let name = value(Attribute::XAUTH_USER_NAME);
    let name = if name.len() > MAX_NAME { &[] } else { name };
    (name, value(Attribute::XAUTH_USER_PASSWORD))
}

/// Whether this is one of the users. All of them are compared, in constant time.
fn is_known(users: &[User<'_>], name: &[u8], password: &[u8]) -> bool {
    let mut known = Choice::from(0);
    for user in users.iter().filter(|user| !user.name.is_empty() && !user.password.is_empty()) {
        known |= user.name.ct_eq(name) & user.password.ct_eq(password);
    }
    known.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &[User<'static>] = &[
        User { name: b"asha", password: b"secret of asha" },
        User { name: b"ravi", password: b"secret of ravi" },
        User { name: b"nobody", password: b"" },
    ];

    #[test]
    fn users_are_known_by_name_and_password() {
        for (name, password, known) in [
            (&b"asha"[..], &b"secret of asha"[..], true),
            (b"ravi", b"secret of ravi", true),
            (b"asha", b"secret of ravi", false),
            (b"asha", b"secret of ash", false),
            (b"asha", b"", false),
            (b"", b"", false),
            (b"nobody", b"", false),
            (b"Asha", b"secret of asha", false),
        ] {
            assert_eq!(is_known(USERS, name, password), known, "{name:?}");
        }
        assert!(!is_known(&[], b"asha", b"secret of asha"));
    }

    /// No password is shown by mistake.
    #[test]
    fn debug_shows_no_password() {
        extern crate std;
        let shown = std::format!("{:?} {:?}", USERS[0], Xauth::Users(USERS));
        assert!(shown.contains("asha") && !shown.contains("secret"), "{shown}");
        assert!(!shown.contains("115"), "{shown}");
    }
}
