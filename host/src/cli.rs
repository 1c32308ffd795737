//! The command line. What its exit codes mean is in `exit`.

mod argument;
mod bench_invoke;
mod check;
mod completions;
mod console;
mod dependents;
mod deploy;
mod deployments;
mod diff;
mod drain;
mod elapsed;
mod events;
mod exit;
mod graph;
mod inspect;
mod logs;
mod man;
mod pack;
mod registry;
mod remote;
mod signals;
mod status;
mod steer;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::runtime::Processor;

/// Runs services compiled to WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "hotdock", version, max_term_width = 100, after_help = exit::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the components in a folder; drop newer ones there to deploy them
    Up(up::Up),
    /// Say whether components could be deployed, and every reason why not
    Check(check::Check),
    /// Show what a component is and asks for
    Inspect(inspect::Inspect),
    /// Show what differs between two components, and whom it breaks
    Diff(diff::DiffCommand),
    /// Embed a component's manifest in it; push it to a registry, or pull it from there
    Pack(pack::Pack),
    /// Show what an invocation of a component costs, stage by stage
    BenchInvoke(bench_invoke::BenchInvoke),
    /// Deploy a component on a running host
    Deploy(deploy::Deploy),
    /// Show the services of a running host, and how their traffic is shared
    Status(status::Status),
    /// Show which services call which, and whose events they get
    Graph(graph::GraphCommand),
    /// Show the deployments since a host's start, or one with its steps
    Deployments(deployments::Deployments),
    /// Show the versions of a service that are kept
    Versions(status::Versions),
    /// Give a version all of its service's traffic
    Promote(steer::Promote),
    /// Give an earlier version all of its service's traffic back
    Rollback(steer::Rollback),
    /// Show how a service's traffic is shared, or share it anew
    Traffic(steer::Traffic),
    /// End what is still on versions that have no traffic any more
    Drain(drain::Drain),
    /// Undeploy a service; its state, its versions and its file are kept
    Undeploy(steer::Undeploy),
    /// Show what becomes of events on a running host, and decide about those that wait
    Events(events::Events),
    /// Show what a running host and its services logged
    Logs(logs::Logs),
    /// Print a script that completes commands and flags in a shell
    Completions(completions::Completions),
    /// Print the manual page, or write one for each command into a folder
    Man(man::Manual),
    /// Compile a component; used by the host, in a process of its own
    #[command(hide = true)]
    Compile {
        /// For any processor of this architecture
        #[arg(long)]
        portable: bool,
        /// The component
        input: PathBuf,
        /// Where the machine code goes
        output: PathBuf,
    },
}

impl Command {
    /// Whether all there is of it is what it prints: it is over where nobody reads that. Of any
    /// other the exit code says what came of it.
    fn only_prints(&self) -> bool {
        match self {
            Self::Inspect(_)
            | Self::Status(_)
            | Self::Graph(_)
            | Self::Deployments(_)
            | Self::Versions(_)
            | Self::Logs(_)
            | Self::Completions(_) => true,
            Self::Events(events) => events.only_prints(),
            Self::Man(manual) => manual.only_prints(),
            _ => false,
        }
    }
}

/// Reads the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| console::usage(&error));
    let only_prints = arguments.command.only_prints();
    if !only_prints {
        console::go_on_unread();
    }
    let result = match arguments.command {
        Command::Up(up) => up.run(),
        Command::Check(check) => check.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Diff(diff) => diff.run(),
        Command::Pack(pack) => pack.run(),
        Command::BenchInvoke(bench) => bench.run(),
        Command::Deploy(deploy) => deploy.run(),
        Command::Status(status) => status.run(),
        Command::Graph(graph) => graph.run(),
        Command::Deployments(deployments) => deployments.run(),
        Command::Versions(versions) => versions.run(),
        Command::Promote(promote) => promote.run(),
        Command::Rollback(rollback) => rollback.run(),
        Command::Traffic(traffic) => traffic.run(),
        Command::Drain(drain) => drain.run(),
        Command::Undeploy(undeploy) => undeploy.run(),
        Command::Events(events) => events.run(),
        Command::Logs(logs) => logs.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(manual) => manual.run(),
        Command::Compile { portable, input, output } => {
            let processor = if portable { Processor::Any } else { Processor::This };
            match crate::deploy::compile_child(&input, &output, processor) {
                Ok(()) => Ok(ExitCode::SUCCESS),
                Err(error) => {
                    let code = error.exit_code();
                    console::error(&error.into());
                    Ok(ExitCode::from(code))
                }
            }
        }
    };
    result.unwrap_or_else(|error| {
        if only_prints && is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        console::error(&error);
        if let Some(code) = exit::of(&error) {
            return ExitCode::from(code);
        }
        let refused = error.downcast_ref::<remote::Refused>();
        refused.map_or(ExitCode::from(exit::FAILED), remote::Refused::exit_code)
    })
}

/// Whoever reads what is printed has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
