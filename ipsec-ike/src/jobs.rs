//! Slow cryptography as jobs, so that nothing blocks the engine.
//!
//! The engine names a job ([`Ike::poll_job`](crate::Ike::poll_job)), lends its inputs as often as asked
//! ([`Ike::job`](crate::Ike::job)), and takes the answer ([`Ike::handle_job`](crate::Ike::handle_job)), at once, later,
//! or never: then the exchange times out. [`run_jobs`] is the synchronous way, and [`run_jobs_with`] that with signatures.

#[cfg(feature = "store")]
use crate::auth::LookUpJob;
#[cfg(feature = "ikev1")]
use crate::auth::UserJob;
use crate::auth::{Authenticator, SIGNATURES, SignJob, Untrusted, VerifyJob};
use crate::exchange::{Kind, Maybe, Stage, Work};
#[cfg(feature = "ikev1")]
use crate::v2::configuration::CONFIGURATION;
use crate::wire::{Message, NotifyType};
use ipsec_core::crypto::{CryptoError, Group, KeyExchange, Provider};
use rand_core::CryptoRng;

use crate::engine::{Env, Ike};

/// The longest public value of any group, of ML-KEM-1024, and longer than any signature.
pub const MAX_PUBLIC: usize = 1568;
/// Room for the public values of groups up to MODP-4096, and for any signature.
const USUAL_PUBLIC: usize = 512;

/// Names a job. Harmless once the exchange it belongs to is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct JobId {
    pub(crate) exchange: u32,
    pub(crate) generation: u32,
}

/// One piece of slow work. It borrows from the engine: copy what has to cross a thread or an `await`.
#[non_exhaustive]
pub enum Job<'s, P: Provider> {
    /// Begin a key exchange: [`KeyExchange::start`].
    Generate {
        /// The group.
        group: Group,
    },
    /// Answer a key exchange: [`KeyExchange::respond`].
    Respond {
        /// The group.
        group: Group,
        /// The peer's public value.
        peer: &'s [u8],
    },
    /// Complete a key exchange: [`KeyExchange::finish`].
    Agree {
        /// What `start` gave.
        kx: &'s P::Kx,
        /// The peer's public value.
        peer: &'s [u8],
    },
    /// Sign for us: [`Authenticator::sign`].
    Sign(SignJob<'s>),
    /// Verify a peer's signature, and its certificate: [`Authenticator::verify`].
    Verify(VerifyJob<'s>),
    /// Look up a peer in the caller's store: [`Authenticator::look_up`].
    #[cfg(feature = "store")]
    LookUp(LookUpJob<'s>),
    /// Check a user's password: [`Authenticator::check_user`].
    #[cfg(feature = "ikev1")]
    User(UserJob<'s>),
}

/// What came of a [`Job`].
#[non_exhaustive]
pub enum Answer<'p, P: Provider> {
    /// Of [`Job::Generate`].
    Generated {
        /// The private part.
        kx: P::Kx,
        /// The public value.
        public: &'p [u8],
    },
    /// Of [`Job::Respond`].
    Responded {
        /// The shared secret.
        secret: <P::Kx as KeyExchange>::Secret,
        /// The public value.
        public: &'p [u8],
    },
    /// Of [`Job::Agree`].
    Agreed {
        /// The shared secret.
        secret: <P::Kx as KeyExchange>::Secret,
    },
    /// Of [`Job::Sign`].
    Signed(&'p [u8]),
    /// Of [`Job::Verify`]: the peer is the one that it says it is.
    Verified,
    /// Of [`Job::Verify`]: the peer is not believed.
    Refused(Untrusted),
    /// Of [`Job::LookUp`].
    #[cfg(feature = "store")]
    Found {
        /// The entry of the configuration that counts for the peer.
        peer: u16,
        /// Its secret, for [`RemoteAuth::Store`](crate::config::RemoteAuth::Store) and
        /// [`LocalAuth::Store`](crate::config::LocalAuth::Store); otherwise not looked at. It is not kept.
        secret: &'p [u8],
    },
    /// Of [`Job::LookUp`]: nobody knows it.
    #[cfg(feature = "store")]
    Unknown,
    /// Of [`Job::User`]: whether the user is who he says he is, and may come in.
    #[cfg(feature = "ikev1")]
    User(bool),
    /// Of any job that failed.
    Failed(CryptoError),
}

impl<P: Provider> Job<'_, P> {
    /// Does the work of key exchanges. A signature is another matter ([`Job::run_with`]), and fails here.
    ///
    /// `public` is scratch space for a public value: [`Group::public_len`] tells how much one who begins needs,
    /// [`Group::answer_len`] one who answers.
    pub fn run<'p>(self, rng: &mut dyn CryptoRng, public: &'p mut [u8]) -> Answer<'p, P> {
        match self {
            Self::Generate { group } => match P::Kx::start(group, rng, public) {
                Ok((kx, len)) => {
                    Answer::Generated { kx, public: public.get(..len).unwrap_or_default() }
                }
                Err(e) => Answer::Failed(e),
            },
            Self::Respond { group, peer } => match P::Kx::respond(group, rng, peer, public) {
                Ok((secret, len)) => {
                    Answer::Responded { secret, public: public.get(..len).unwrap_or_default() }
                }
                Err(e) => Answer::Failed(e),
            },
            Self::Agree { kx, peer } => match kx.finish(peer) {
                Ok(secret) => Answer::Agreed { secret },
                Err(e) => Answer::Failed(e),
            },
            _ => Answer::Failed(CryptoError::Unsupported),
        }
    }

    /// Does the work of key exchanges and of signatures. `scratch` has room for a public value or for a signature:
    /// [`MAX_PUBLIC`] is enough for both.
    pub fn run_with<'p>(
        self,
        rng: &mut dyn CryptoRng,
        scratch: &'p mut [u8],
        authenticator: &dyn Authenticator,
    ) -> Answer<'p, P> {
        match self {
            Self::Sign(job) => match authenticator.sign(&job, rng, scratch) {
                Ok(len) => Answer::Signed(scratch.get(..len).unwrap_or_default()),
                Err(e) => Answer::Failed(e),
            },
            Self::Verify(job) => match authenticator.verify(&job) {
                Ok(()) => Answer::Verified,
                Err(reason) => Answer::Refused(reason),
            },
            #[cfg(feature = "ikev1")]
            Self::User(job) => Answer::User(authenticator.check_user(&job)),
            #[cfg(feature = "store")]
            Self::LookUp(job) => match authenticator.look_up(&job, scratch) {
                Some((peer, len)) => {
                    Answer::Found { peer, secret: scratch.get(..len).unwrap_or_default() }
                }
                None => Answer::Unknown,
            },
            other => other.run(rng, scratch),
        }
    }
}

/// Does every job that is waiting, at once. Those of signatures fail: [`run_jobs_with`] does them, too. Says whether there
/// was one.
///
/// Call after every `handle_*` of the engine, before its polls.
pub fn run_jobs<P: Provider>(engine: &mut Ike<'_, P>, env: &mut Env<'_>) -> bool {
    let mut any = false;
    with_scratch::<P>(&mut |scratch| {
        while let Some(id) = engine.poll_job() {
            let Some(job) = engine.job(id) else { continue };
            let answer = job.run(env.rng, scratch);
            engine.handle_job(env, id, answer);
            any = true;
        }
    });
    any
}

/// Does every job that is waiting, at once, signatures included. Says whether there was one.
///
/// Call after every `handle_*` of the engine, before its polls.
pub fn run_jobs_with<P: Provider>(
    engine: &mut Ike<'_, P>,
    env: &mut Env<'_>,
    authenticator: &dyn Authenticator,
) -> bool {
    let mut any = false;
    with_scratch::<P>(&mut |scratch| {
        while let Some(id) = engine.poll_job() {
            let Some(job) = engine.job(id) else { continue };
            let answer = job.run_with(env.rng, scratch, authenticator);
            engine.handle_job(env, id, answer);
            any = true;
        }
    });
    any
}

/// Lends scratch space for the jobs of a provider, from the stack: 512 bytes, or [`MAX_PUBLIC`] if a public value of one of
/// its groups needs more.
pub fn with_scratch<P: Provider>(f: &mut dyn FnMut(&mut [u8])) {
    if P::LONGEST_PUBLIC > USUAL_PUBLIC {
        on_stack::<MAX_PUBLIC>(f);
    } else {
        on_stack::<USUAL_PUBLIC>(f);
    }
}

#[inline(never)]
fn on_stack<const LEN: usize>(f: &mut dyn FnMut(&mut [u8])) {
    let mut scratch = [0; LEN];
    f(&mut scratch);
    // A secret of the store may lie there.
    #[cfg(feature = "store")]
    zeroize::Zeroize::zeroize(&mut scratch[..]);
}

impl<P: Provider> Ike<'_, P> {
    /// Names a job that waits to be done, once.
    ///
    /// Call again after every `handle_*`, `installed` and command, until `None`.
    #[must_use]
    pub fn poll_job(&mut self) -> Option<JobId> {
        while let Some(number) = self.jobs.pop() {
            let Some(slot) = self.contexts.slot(number) else { continue };
            if slot.exchange.stage == Stage::Job {
                return Some(JobId { exchange: number, generation: slot.generation });
            }
        }
        None
    }

    /// The inputs of a job, as often as asked, until it is answered or its exchange is over.
    pub fn job(&self, id: JobId) -> Option<Job<'_, P>> {
        let slot = self.contexts.slot(id.exchange).filter(|s| s.generation == id.generation)?;
        let x = &slot.exchange;
        if x.stage != Stage::Job {
            return None;
        }
        let group = self.job_group(id.exchange)?;
        match x.work {
            Work::None => None,
            Work::Generate => Some(Job::Generate { group }),
            Work::Respond => Some(Job::Respond { group, peer: self.peer_public(id.exchange)? }),
            Work::Agree => {
                let additional = self.contexts.handshakes.get(id.exchange as usize);
                let kx = match additional.filter(|_| x.kind == Kind::Intermediate) {
                    Some(slot) => slot.handshake.additional.as_ref()?,
                    None => x.kx.as_ref()?,
                };
                Some(Job::Agree { kx, peer: self.peer_public(id.exchange)? })
            }
            #[cfg(feature = "ikev1")]
            Work::Sign if SIGNATURES && matches!(x.kind, Kind::V1(_)) => {
                self.phase1_sign_job(id.exchange).map(Job::Sign)
            }
            #[cfg(feature = "ikev1")]
            Work::Verify if SIGNATURES && matches!(x.kind, Kind::V1(_)) => {
                self.phase1_verify_job(id.exchange).map(Job::Verify)
            }
            Work::Sign if SIGNATURES => self.sign_job(id.exchange).map(Job::Sign),
            Work::Verify if SIGNATURES => self.verify_job(id.exchange).map(Job::Verify),
            Work::Sign | Work::Verify => None,
            #[cfg(feature = "store")]
            Work::LookUp => self.look_up_job(id.exchange).map(Job::LookUp),
            #[cfg(feature = "ikev1")]
            Work::User if CONFIGURATION => self.user_job(id.exchange).map(Job::User),
            #[cfg(feature = "ikev1")]
            Work::User => None,
        }
    }

    /// The group of the key exchange under way.
    fn job_group(&self, number: u32) -> Option<Group> {
        let x = self.contexts.exchange(number)?;
        match x.kind {
            Kind::Intermediate => self.next_group(number),
            _ if x.follows_up() => self.followup_group(number),
            _ => Some(x.group),
        }
    }

    /// The public value in the peer's message.
    fn peer_public(&self, number: u32) -> Option<&[u8]> {
        let x = self.contexts.exchange(number)?;
        #[cfg(feature = "ikev1")]
        if let Kind::V1(kind) = x.kind {
            return self.v1_peer_public(number, kind);
        }
        let collected = match self.contexts.handshakes.get(number as usize) {
            Some(slot) if x.kind == Kind::SaInit => {
                let id = if x.ours { slot.handshake.response } else { slot.handshake.request };
                Message::parse(self.buffers.bytes(id)).ok()?.collect().ok()?
            }
            _ => self.parked(number)?,
        };
        collected.ke.map(|ke| ke.data)
    }

    /// Gives the answer to a job. One that is late, repeated or of the wrong kind is ignored.
    #[inline(never)]
    pub fn handle_job(&mut self, env: &mut Env<'_>, id: JobId, answer: Answer<'_, P>) {
        let Some(slot) = self
            .contexts
            .slot_mut(id.exchange)
            .filter(|s| s.generation == id.generation && s.exchange.stage == Stage::Job)
        else {
            return;
        };
        let x = &mut slot.exchange;
        let number = id.exchange;
        #[cfg(feature = "ikev1")]
        if let Kind::V1(kind) = x.kind {
            return self.v1_job_done(env, number, kind, answer);
        }
        match (x.work, answer) {
            (Work::Generate, Answer::Generated { kx, public }) => {
                x.work = Work::None;
                let (kind, follows_up) = (x.kind, x.follows_up());
                let additional = self.contexts.handshakes.get_mut(number as usize);
                if let Some(slot) = additional.filter(|_| kind == Kind::Intermediate) {
                    slot.handshake.additional = Maybe::Just(kx);
                } else if let Some(x) = self.contexts.get(number) {
                    x.kx = Maybe::Just(kx);
                }
                match kind {
                    Kind::SaInit => self.sa_init_request(env, number, public),
                    Kind::Intermediate if P::HYBRID => {
                        self.intermediate_request(env, number, public);
                    }
                    _ if follows_up => self.followup_request(env, number, public),
                    Kind::CreateChild => self.create_child_request(env, number, Some(public)),
                    Kind::RekeyIke => self.rekey_ike_request(env, number, public),
                    _ => {}
                }
            }
            (Work::Respond, Answer::Responded { secret, public }) => {
                x.work = Work::None;
                match x.kind {
                    _ if x.follows_up() => {
                        self.followup_respond(env, number, secret.as_ref(), public);
                    }
                    Kind::SaInit => self.sa_init_respond(env, number, secret.as_ref(), public),
                    Kind::Intermediate if P::HYBRID => {
                        self.intermediate_respond(env, number, secret.as_ref(), public);
                    }
                    Kind::CreateChild => {
                        self.create_child_respond(env, number, Some((secret.as_ref(), public)));
                    }
                    Kind::RekeyIke => self.rekey_ike_respond(env, number, secret.as_ref(), public),
                    _ => {}
                }
            }
            (Work::Agree, Answer::Agreed { secret }) => {
                x.work = Work::None;
                match x.kind {
                    _ if x.follows_up() => self.followup_agreed(env, number, secret.as_ref()),
                    Kind::SaInit => self.sa_init_agreed(env, number, secret.as_ref()),
                    Kind::Intermediate if P::HYBRID => {
                        self.intermediate_agreed(env, number, secret.as_ref());
                    }
                    Kind::CreateChild => {
                        self.create_child_agreed(env, number, Some(secret.as_ref()));
                    }
                    Kind::RekeyIke => self.rekey_ike_agreed(env, number, secret.as_ref()),
                    _ => {}
                }
            }
            (Work::Sign, Answer::Signed(signature)) if SIGNATURES => {
                self.auth_signed(env, number, signature);
            }
            (Work::Verify, Answer::Verified) if SIGNATURES => self.auth_verified(env, number),
            (Work::Verify, Answer::Refused(reason)) if SIGNATURES => {
                self.auth_untrusted(env, number, reason);
            }
            #[cfg(feature = "store")]
            (Work::LookUp, Answer::Found { peer, secret }) => {
                self.auth_found(env, number, Some((peer, secret)));
            }
            #[cfg(feature = "store")]
            (Work::LookUp, Answer::Unknown) => self.auth_found(env, number, None),
            (_, Answer::Failed(_)) => self.job_failed(env, number, NotifyType::INVALID_SYNTAX),
            _ => {}
        }
    }
}
