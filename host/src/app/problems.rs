//! What keeps a host with these settings from starting, as far as it can be told before: so
//! `up --check` says what `up` says.

use std::net::SocketAddr;
use std::path::Path;

use crate::config::{Config, TOKEN_VARIABLE};
use crate::events::webhook::{KeyError, WebhookTarget};

/// What a host has in its data folder, of which one at least is there from its first start on.
const OWN: [&str; 6] = ["lock", "host.db", "bus.db", "stores", "components", "compiled"];

/// What a new file system has at its top.
const OF_A_NEW_DISK: &str = "lost+found";

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The settings that it is of, by their keys.
    pub settings: &'static [&'static str],
    /// What is wrong.
    pub words: String,
}

/// All of it, each in words.
#[must_use]
pub fn problems(config: &Config) -> Vec<Problem> {
    let webhooks = config.webhooks.iter().filter_map(|webhook| WebhookTarget::check(webhook).err());
    let of_webhooks = |error: KeyError| of(&["webhook"], error.to_string());
    [of_addresses(config), of_folders(config), webhooks.map(of_webhooks).collect()].concat()
}

fn of(settings: &'static [&'static str], words: String) -> Problem {
    Problem { settings, words }
}

fn of_addresses(config: &Config) -> Vec<Problem> {
    let Config { listen, admin, .. } = config;
    let mut found = Vec::new();
    if config.token.is_none() && !admin.ip().is_loopback() {
        let words = format!(
            "the admin address {admin} can be reached from elsewhere: set a token with \
             --token-file or {TOKEN_VARIABLE}"
        );
        found.push(of(&["admin", "token-file"], words));
    }
    let all = |address: &SocketAddr| address.ip().is_unspecified();
    let is_same = listen.ip() == admin.ip() || all(listen) || all(admin);
    if is_same && listen.port() == admin.port() && listen.port() != 0 {
        let words = format!(
            "requests and operators cannot have the same port, {listen} and {admin}: name another \
             with --listen or --admin"
        );
        found.push(of(&["admin", "listen"], words));
    }
    found
}

fn of_folders(config: &Config) -> Vec<Problem> {
    let Config { folder, data, secrets, .. } = config;
    let mut found = Vec::new();
    let plugins = is_folder(folder, "the plugin folder", "name another, or make it");
    found.extend(plugins.map(|words| of(&["folder"], words)));
    if let Some(secrets) = secrets {
        let way_out = "see --secrets, or `secrets` in the file";
        let words = is_folder(secrets, "the folder of secrets", way_out);
        found.extend(words.map(|words| of(&["secrets"], words)));
    }
    let same = |one: &Path, other: &Path| one.canonicalize().ok() == other.canonicalize().ok();
    if data.exists() && same(folder, data) {
        let words = format!(
            "the data folder cannot be the plugin folder, {}: name another with --data",
            folder.display()
        );
        found.push(of(&["data", "folder"], words));
    } else {
        found.extend(of_data(data).map(|words| of(&["data"], words)));
    }
    found
}

/// Refuses a folder that isn't there, or is none.
fn is_folder(path: &Path, what: &str, way_out: &str) -> Option<String> {
    let wrong = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(_) => "is no folder".to_owned(),
        Err(error) => format!("cannot be used: {error}"),
    };
    Some(format!("{what} {} {wrong}; {way_out}", path.display()))
}

/// Why this cannot become a host's data folder. One that others have files in is not taken from
/// them.
pub(super) fn of_data(data: &Path) -> Option<String> {
    let name = data.display();
    if data.exists() && !data.is_dir() {
        return Some(format!("the data folder {name} is no folder: name another with --data"));
    }
    let is_empty = std::fs::read_dir(data)
        .is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == OF_A_NEW_DISK));
    let is_hosts = OWN.iter().any(|name| data.join(name).exists());
    (data.is_dir() && !is_empty && !is_hosts).then(|| {
        format!(
            "the data folder {name} has files, and none of them is a host's: name a folder that \
             is empty, or not there yet, with --data; the host makes it its own"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_is_a_new_one_a_new_disk_or_a_hosts() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path();
        assert_eq!(of_data(&data.join("nothing")), None);
        std::fs::create_dir(data.join(OF_A_NEW_DISK)).expect("a folder");
        assert_eq!(of_data(data), None);
        std::fs::write(data.join("letter.txt"), "").expect("a file");
        assert!(of_data(data).is_some_and(|why| why.contains("none of them is a host's")));
        std::fs::write(data.join("host.db"), "").expect("a file");
        assert_eq!(of_data(data), None);
    }
}
