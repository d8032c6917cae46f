//! What the hosts do: Kolkata's pings Delhi's until it answers, then sends it a file over TCP.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ipsec::Instant;
use ipsec::ipsec_core::time::earliest;
use ipsec_testkit::rng::SeededRng;
use sha2::{Digest, Sha256};
use smoltcp::socket::tcp::{RecvError, State};

use crate::lan::Host;
use crate::report::Report;

/// The port on which Delhi's host waits.
const PORT: u16 = 9;
/// From one ping to the next.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Nothing has moved for so long: it never will.
const PATIENCE: Duration = Duration::from_secs(300);
/// The length of a generated file.
pub const GENERATED: u64 = 4_000_000;

/// Where the file comes from.
pub struct Source {
    reader: Box<dyn Read>,
    /// Its length, as far as it is known before it has been read.
    len: u64,
}

impl Source {
    /// A file.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(cannot)?;
        let metadata = file.metadata().with_context(cannot)?;
        ensure!(metadata.is_file(), "{} is no file", path.display());
        Ok(Self { len: metadata.len(), reader: Box::new(file) })
    }

    /// A text of numbered lines, which nobody could overlook in a capture.
    pub fn generate(mut rng: SeededRng) -> Self {
        let lines = (1u64..).flat_map(move |number| {
            format!("line {number:07} of a letter from Kolkata to Delhi, {:016x}\n", rng.next())
                .into_bytes()
        });
        Self { reader: Box::new(Bytes(lines).take(GENERATED)), len: GENERATED }
    }
}

struct Bytes<I>(I);

impl<I: Iterator<Item = u8>> Read for Bytes<I> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        Ok(room.iter_mut().zip(&mut self.0).map(|(to, from)| *to = from).count())
    }
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for an answer.
    Ping { number: u16, sent: Instant },
    /// The file is on its way.
    File { since: Instant },
    /// The file has arrived, and the connection is closed.
    Done,
}

/// What was achieved.
#[derive(Clone, Copy, Default)]
pub struct Achieved {
    /// The round trip of the ping that was answered.
    pub ping: Duration,
    /// How many pings it took.
    pub pings: u16,
    /// From the first SYN to the last byte.
    pub transfer: Duration,
}

/// The traffic.
pub struct Traffic {
    phase: Phase,
    source: Source,
    sink: BufWriter<File>,
    sent: (u64, Sha256),
    received: (u64, Sha256),
    moved_at: Instant,
    /// What was achieved so far.
    pub achieved: Achieved,
}

impl Traffic {
    /// From a source to a file. The first ping leaves now.
    pub fn new(
        now: Instant,
        source: Source,
        sink: &Path,
        kolkata: &mut Host,
        delhi: &mut Host,
        report: &mut Report,
    ) -> Result<Self> {
        let file =
            File::create(sink).with_context(|| format!("cannot write {}", sink.display()))?;
        delhi.tcp().listen(PORT)?;
        let mut traffic = Self {
            phase: Phase::Done,
            source,
            sink: BufWriter::new(file),
            sent: (0, Sha256::new()),
            received: (0, Sha256::new()),
            moved_at: now,
            achieved: Achieved::default(),
        };
        traffic.ping(now, 1, kolkata, delhi, report);
        Ok(traffic)
    }

    /// Bytes that have arrived.
    pub const fn arrived(&self) -> u64 {
        self.received.0
    }

    /// Bytes of the file, as far as that is known.
    pub const fn len(&self) -> u64 {
        self.source.len
    }

    /// Whether it is over.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// When something is to be done without any packet arriving.
    pub fn next_timeout(&self) -> Option<Instant> {
        let ping = match self.phase {
            Phase::Ping { sent, .. } => Some(sent.after(PING_EVERY)),
            _ => None,
        };
        earliest(ping, (!self.is_done()).then(|| self.moved_at.after(PATIENCE)))
    }

    /// Does what can be done now.
    pub fn poll(
        &mut self,
        now: Instant,
        kolkata: &mut Host,
        delhi: &mut Host,
        report: &mut Report,
    ) -> Result<()> {
        match self.phase {
            Phase::Ping { number, sent } => {
                if let Some(answered) = kolkata.pong() {
                    // Numbers go up by one a period.
                    let age = PING_EVERY.saturating_mul(number.saturating_sub(answered).into());
                    self.achieved.ping = now.since(sent).saturating_add(age);
                    self.achieved.pings = number;
                    self.moved_at = now;
                    let ms = self.achieved.ping.as_secs_f64() * 1e3;
                    report.line(
                        now,
                        "host K",
                        &format!("ping {answered} answered after {ms:.1} ms"),
                    );
                    report.line(
                        now,
                        "host K",
                        &format!(
                            "TCP: {}:{PORT}, a file of {} bytes",
                            delhi.address(),
                            self.source.len
                        ),
                    );
                    kolkata.connect(delhi.address(), PORT)?;
                    self.phase = Phase::File { since: now };
                } else if now >= sent.after(PING_EVERY) {
                    self.ping(now, number.saturating_add(1), kolkata, delhi, report);
                }
            }
            Phase::File { since } => {
                let before = (self.sent.0, self.received.0);
                self.send(kolkata)?;
                self.receive(now, since, delhi, report)?;
                if before != (self.sent.0, self.received.0) {
                    self.moved_at = now;
                    report.progress(self.received.0, self.source.len);
                }
                let closed =
                    |host: &mut Host| matches!(host.tcp().state(), State::Closed | State::TimeWait);
                if closed(kolkata) && closed(delhi) {
                    self.phase = Phase::Done;
                }
            }
            Phase::Done => return Ok(()),
        }
        if now >= self.moved_at.after(PATIENCE) {
            let secs = PATIENCE.as_secs();
            match self.phase {
                Phase::Ping { number, .. } => bail!("no answer to {number} pings in {secs} s"),
                _ => bail!(
                    "the transfer stands still: after {} of {} bytes, nothing came for {secs} s",
                    self.received.0,
                    self.source.len
                ),
            }
        }
        Ok(())
    }

    fn ping(
        &mut self,
        now: Instant,
        number: u16,
        kolkata: &mut Host,
        delhi: &Host,
        report: &mut Report,
    ) {
        let (from, to) = (kolkata.address(), delhi.address());
        report.line(now, "host K", &format!("{from} pings {to}, number {number}"));
        kolkata.ping(to, number);
        self.phase = Phase::Ping { number, sent: now };
    }

    /// Fills the sender's buffer, straight from the source.
    fn send(&mut self, host: &mut Host) -> Result<()> {
        let (source, (count, hash)) = (&mut self.source.reader, &mut self.sent);
        while host.tcp().can_send() {
            let read = host.tcp().send(|room| match source.read(room) {
                Ok(len) => {
                    hash.update(&room[..len]);
                    (len, Ok(len))
                }
                Err(error) => (0, Err(error)),
            })?;
            match read.context("cannot read the file")? {
                0 => host.tcp().close(),
                len => *count += len as u64,
            }
        }
        Ok(())
    }

    /// Empties the receiver's buffer, straight into the file.
    fn receive(
        &mut self,
        now: Instant,
        since: Instant,
        host: &mut Host,
        report: &mut Report,
    ) -> Result<()> {
        let (sink, (count, hash)) = (&mut self.sink, &mut self.received);
        loop {
            let written = host.tcp().recv(|data| {
                hash.update(&*data);
                (data.len(), sink.write_all(data).map(|()| data.len()))
            });
            match written {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(len)) => *count += len as u64,
                Ok(Err(error)) => return Err(error).context("cannot write the received file"),
                Err(RecvError::Finished) if host.tcp().state() == State::CloseWait => {
                    host.tcp().close();
                    sink.flush().context("cannot write the received file")?;
                    self.achieved.transfer = now.since(since);
                    report.line(now, "host D", &format!("the last of {count} bytes has arrived"));
                }
                // Not connected yet, or closed already.
                Err(_) => return Ok(()),
            }
        }
    }

    /// The digests of what was sent and of what arrived.
    ///
    /// # Errors
    /// If they differ.
    pub fn verdict(&self) -> Result<[String; 2]> {
        let hex = |hash: &Sha256| {
            hash.clone().finalize().iter().map(|b| format!("{b:02x}")).collect::<String>()
        };
        let digests = [hex(&self.sent.1), hex(&self.received.1)];
        ensure!(
            self.sent.0 == self.received.0 && digests[0] == digests[1],
            "the file did not arrive whole: {} bytes were sent, SHA-256 {}; {} bytes arrived, SHA-256 {}",
            self.sent.0,
            digests[0],
            self.received.0,
            digests[1]
        );
        Ok(digests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_file_follows_from_its_seed() {
        let text = |seed| {
            let mut text = String::new();
            Source::generate(SeededRng::new(seed)).reader.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(text(1).len() as u64, GENERATED);
        assert!(text(1).starts_with("line 0000001 of a letter from Kolkata to Delhi, "));
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert!(Source::open(Path::new("/nonexistent/file")).is_err());
        assert!(Source::open(Path::new(".")).is_err());
    }
}
