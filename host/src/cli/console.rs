//! What people read on a terminal.

#![expect(clippy::print_stdout, reason = "this is where the command line prints")]

use std::time::Duration;

use crate::deploy::{Notice, Status};
use crate::service::Share;

/// What empties a terminal and begins at its top (ECMA-48 `ED`, `CUP`).
pub(super) const CLEAR: &str = "\x1b[2J\x1b[H";

/// Rows in columns as wide as their widest cell.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Prints why the command failed.
pub(super) fn error(error: &anyhow::Error) {
    eprintln!("hotdock: {error:#}");
}

/// Prints a line.
pub(super) fn line(text: &str) {
    println!("{text}");
}

/// A deployment's notice in words; `None` for what people need not see.
pub(super) fn notice(notice: &Notice) -> Option<String> {
    Some(match notice {
        Notice::Compiling { service, bytes, .. } => {
            format!("  {service}: compiling {}", size(*bytes))
        }
        Notice::Refused { service, file, reasons } => {
            let file = file.as_deref().unwrap_or("an upload");
            let name = service.as_ref().map_or(file, |service| service.as_str());
            let mut text = format!("  {name}: {file} is refused; what served before still does");
            for reason in reasons {
                text.push_str("\n      - ");
                text.push_str(&reason.replace('\n', "\n        "));
            }
            text
        }
        Notice::Serving { version, routes, compile_time, restored } => {
            let how = match compile_time {
                Some(time) => format!("compiled in {}", duration(*time)),
                None if *restored => "restored from the cache".to_owned(),
                None => "compiled before".to_owned(),
            };
            let what = if routes.is_empty() {
                "handles events".to_owned()
            } else {
                format!("serves {}", routes.join(", "))
            };
            format!("  {version}: {what} ({how})")
        }
        Notice::Draining { version, leases } if *leases > 0 => {
            format!("  {version}: {leases} requests under way go on")
        }
        Notice::Drained { version, leases_left } if *leases_left > 0 => {
            format!("  {version}: ended with {leases_left} requests still under way")
        }
        Notice::Undeployed { service, file: Some(file) } => {
            format!("  {service}: {file} is gone, no longer served; its state is kept")
        }
        Notice::Undeployed { service, file: None } => {
            format!("  {service}: undeployed, no longer served; its state is kept")
        }
        Notice::Shared { service, traffic } if traffic.versions.len() > 1 => {
            let share = |share: &Share| format!("v{} {} %", share.version, share.weight);
            let shares: Vec<String> = traffic.versions.iter().map(share).collect();
            format!("  {service}: traffic is shared: {}", shares.join(", "))
        }
        Notice::RolledBack { version, to, reason } => {
            format!("  {version}: rolled back to v{to}: {reason}")
        }
        Notice::Held { version, reason } => format!("  {version}: waits for you: {reason}"),
        Notice::Deployment(_)
        | Notice::Shared { .. }
        | Notice::Draining { .. }
        | Notice::Drained { .. } => return None,
    })
}

/// What the host serves once the folder was looked through.
pub(super) fn summary(status: &Status) -> String {
    let serving = status.services.iter().filter(|service| service.serving.is_some()).count();
    let refused = status.files.len();
    match (serving, refused) {
        (0, 0) => "Nothing to serve yet: drop a component into the folder.".to_owned(),
        (_, 0) => {
            format!("Ready: {serving} services. Drop a newer .wasm into the folder to deploy it.")
        }
        _ => format!("Ready: {serving} services; {refused} files are not served, see above."),
    }
}

/// 13.2 MB
pub(super) fn size(bytes: usize) -> String {
    bytesize::ByteSize::b(bytes as u64).display().si().to_string()
}

fn duration(time: Duration) -> String {
    if time.as_secs() >= 1 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} ms", time.as_millis())
    }
}
