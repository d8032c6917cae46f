//! An IPsec gateway for Linux: IKEv2 and ESP by the `ipsec` crate, packets by a TUN device and sockets.
//!
//! The interesting file is `daemon.rs`: the driving loop, with the numbers of the library's documentation.

mod config;
mod control;
mod credentials;
mod daemon;
mod diagnosis;
mod distinguished;
mod icmp;
mod keylog;
mod keywords;
mod manual;
mod report;
mod sockets;
mod tun;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use config::Settings;
use ipsec::Provider;
use ipsec_rustcrypto::RustCrypto;

/// An IPsec gateway: IKEv2, and ESP between a TUN device and the network.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct CommandLine {
    /// List the algorithms of ESP, one a line, as the configuration names them
    #[arg(long, exclusive = true)]
    list_suites: bool,
    /// List the algorithms of AH, one a line, as the configuration names them
    #[arg(long, exclusive = true)]
    list_ah: bool,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<Run>,
}

#[derive(Args)]
struct Run {
    /// The configuration, see README.md
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only tell whether the configuration is right
    #[arg(long)]
    check: bool,
    /// Write the keys of every SA to this folder, for Wireshark. Whoever reads them reads all traffic
    #[arg(long, value_name = "DIR")]
    key_log: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Tell a running gateway to do something
    Ctl {
        /// Its control socket
        socket: PathBuf,
        #[command(subcommand)]
        command: control::Command,
    },
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    if line.list_suites || line.list_ah {
        list(line.list_suites);
        return ExitCode::SUCCESS;
    }
    let done = match (line.command, line.run) {
        (Some(Command::Ctl { socket, command }), _) => control::ask(&socket, &command),
        (None, Some(run)) => gateway(&run),
        (None, None) => Err("--config is missing".into()), // clap does not let it come to that
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn list(suites: bool) {
    if suites {
        RustCrypto::SUITES.iter().for_each(|suite| println!("{}", suite.keyword()));
    } else {
        let words = RustCrypto::INTEGS.iter().filter_map(|integ| integ.keyword());
        words.for_each(|word| println!("{word}"));
    }
}

fn gateway(run: &Run) -> Result<(), String> {
    let mut settings = Settings::read(&run.config).map_err(|e| e.to_string())?;
    if run.check {
        println!("{}: no mistakes", run.config.display());
        return Ok(());
    }
    let env = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(env).format_target(false).init();
    warn_of_readers(&run.config);
    let key_log = match &run.key_log {
        Some(folder) => {
            let opened = keylog::KeyLog::open(folder);
            Some(opened.map_err(|e| format!("key log in {}: {e}", folder.display()))?)
        }
        None => None,
    };
    settings.gateway.ike.key_log = key_log.is_some();
    daemon::run(settings, key_log)
}

/// The configuration holds pre-shared keys.
fn warn_of_readers(config: &Path) {
    let mode = std::fs::metadata(config).map_or(0, |found| found.permissions().mode());
    if mode & 0o044 != 0 {
        let shown = config.display();
        log::warn!("{shown} holds secrets, and others than its owner may read it: chmod 600");
    }
}
