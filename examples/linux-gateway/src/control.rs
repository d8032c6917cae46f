//! The control socket: one line in, an answer out.
//!
//! The answer begins with `ok` or `error: why`; what follows is for people.

use std::collections::HashMap;
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// The longest line.
const LONGEST: usize = 1024;
/// More clients at once are turned away.
const MOST_CLIENTS: usize = 32;
/// A client that does not read its answer keeps the daemon this long at most.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a gateway can be told.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Tell what is up
    Status,
    /// Bring a child up
    Initiate {
        /// Its name, or peer/name
        child: String,
    },
    /// Give a child new keys
    RekeyChild {
        /// Its name, or peer/name
        child: String,
    },
    /// Give the IKE SA of a peer new keys
    RekeyIke {
        /// Its name
        peer: String,
    },
    /// Take a child down
    TerminateChild {
        /// Its name, or peer/name
        child: String,
    },
    /// Take down all there is with a peer
    Terminate {
        /// Its name
        peer: String,
    },
}

impl Command {
    fn line(&self) -> String {
        match self {
            Self::Status => "status".into(),
            Self::Initiate { child } => format!("initiate {child}"),
            Self::RekeyChild { child } => format!("rekey-child {child}"),
            Self::RekeyIke { peer } => format!("rekey-ike {peer}"),
            Self::TerminateChild { child } => format!("terminate-child {child}"),
            Self::Terminate { peer } => format!("terminate {peer}"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let name = words.next()?;
        let argument = words.next();
        if words.next().is_some() {
            return None;
        }
        Some(match (name.as_str(), argument) {
            ("status", None) => Self::Status,
            ("initiate", Some(child)) => Self::Initiate { child },
            ("rekey-child", Some(child)) => Self::RekeyChild { child },
            ("rekey-ike", Some(peer)) => Self::RekeyIke { peer },
            ("terminate-child", Some(child)) => Self::TerminateChild { child },
            ("terminate", Some(peer)) => Self::Terminate { peer },
            _ => return None,
        })
    }
}

/// Tells a running gateway something, and prints what it answers.
pub(crate) fn ask(socket: &Path, command: &Command) -> Result<(), String> {
    let wrong = |e: io::Error| format!("{}: {e}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(wrong)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(wrong)?;
    stream.write_all(format!("{}\n", command.line()).as_bytes()).map_err(wrong)?;
    stream.shutdown(Shutdown::Write).map_err(wrong)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(wrong)?;
    let (first, rest) = answer.split_once('\n').unwrap_or((&answer, ""));
    print!("{rest}");
    match first.strip_prefix("error: ") {
        None if first == "ok" => Ok(()),
        None => Err(format!("{}: no answer", socket.display())),
        Some(why) => Err(why.into()),
    }
}

/// The listening socket and its clients.
pub(crate) struct Control {
    path: PathBuf,
    listener: UnixListener,
    clients: HashMap<usize, Client>,
    /// Tokens from here on are clients.
    first: usize,
    last: usize,
}

struct Client {
    stream: UnixStream,
    line: Vec<u8>,
}

impl Control {
    /// Listens at `path`, where only this user may write. Clients have tokens from `first` on.
    pub(crate) fn open(path: &Path, first: usize) -> Result<Self, String> {
        let open = || {
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::other("another program listens there"));
            }
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {} // nothing was there, or what somebody left behind
            }
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let wrong = |e| format!("control socket {}: {e}", path.display());
        let listener = open().map_err(wrong)?;
        Ok(Self { path: path.into(), listener, clients: HashMap::new(), first, last: first })
    }

    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.listener.as_raw_fd()), token, Interest::READABLE)
    }

    /// Takes in whoever has come.
    pub(crate) fn accept(&mut self, registry: &Registry) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() >= MOST_CLIENTS || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let token = self.last;
            self.last = self.last.checked_add(1).unwrap_or(self.first);
            let fd = stream.as_raw_fd();
            if registry.register(&mut SourceFd(&fd), Token(token), Interest::READABLE).is_ok() {
                self.clients.insert(token, Client { stream, line: Vec::new() });
            }
        }
    }

    /// Reads what a client says. If that is a whole command, gives it; it must be answered.
    pub(crate) fn read(&mut self, token: usize) -> Option<Command> {
        let client = self.clients.get_mut(&token)?;
        let mut buf = [0; LONGEST];
        loop {
            match client.stream.read(&mut buf) {
                Ok(0) => break,
                Ok(len) if client.line.len() + len <= LONGEST => {
                    client.line.extend(buf.iter().take(len));
                    if client.line.contains(&b'\n') {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(_) | Err(_) => {
                    self.clients.remove(&token);
                    return None;
                }
            }
        }
        let line = String::from_utf8_lossy(&client.line);
        let command = Command::parse(line.lines().next().unwrap_or(""));
        if command.is_none() {
            self.answer(token, Err("no such command".into()));
        }
        command
    }

    /// Answers, and closes the connection.
    pub(crate) fn answer(&mut self, token: usize, answer: Result<String, String>) {
        let Some(mut client) = self.clients.remove(&token) else { return };
        let text = match answer {
            Ok(text) => format!("ok\n{text}"),
            Err(why) => format!("error: {why}\n"),
        };
        // Whoever does not wait for the answer does not get it.
        let _ = client.stream.set_nonblocking(false);
        let _ = client.stream.set_write_timeout(Some(PATIENCE));
        let _ = client.stream.write_all(text.as_bytes());
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_lines_and_lines_are_commands() {
        let name = || "delhi/lan".to_owned();
        for command in [
            Command::Status,
            Command::Initiate { child: name() },
            Command::RekeyChild { child: name() },
            Command::RekeyIke { peer: name() },
            Command::TerminateChild { child: name() },
            Command::Terminate { peer: name() },
        ] {
            assert_eq!(Command::parse(&command.line()), Some(command));
        }
        for wrong in ["", "status now", "initiate", "initiate a b", "stop"] {
            assert_eq!(Command::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_command_is_answered() {
        let path = std::env::temp_dir().join(format!("control-{}", std::process::id()));
        let mut control = Control::open(&path, 100).unwrap();
        let poll = mio::Poll::new().unwrap();
        let socket = path.clone();
        let wait = || std::thread::sleep(Duration::from_millis(5));
        for (answer, told) in [(Ok("x\n"), Ok(())), (Err("why"), Err("why".to_owned()))] {
            let socket = socket.clone();
            let client = std::thread::spawn(move || ask(&socket, &Command::Status));
            while control.clients.is_empty() {
                control.accept(poll.registry());
                wait();
            }
            let token = *control.clients.keys().next().unwrap();
            let command = loop {
                match control.read(token) {
                    Some(command) => break command,
                    None => wait(),
                }
            };
            assert_eq!(command, Command::Status);
            control.answer(token, answer.map(str::to_owned).map_err(str::to_owned));
            assert_eq!(client.join().unwrap(), told);
        }
        assert!(Control::open(&path, 100).is_err(), "somebody listens");
        drop(control);
        assert!(!path.exists());
    }
}
