//! What keeps a host with these settings from starting, as far as it can be told before: so
//! `up --check` says what `up` says.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access, statfs};
use rustix::io::Errno;

use super::OF_THE_BUS;
use crate::bus::Bus;
use crate::config::{Config, TOKEN_VARIABLE};
use crate::escape;
use crate::events::webhook::{KeyError, WebhookTarget};
use crate::{deploy, machine};

/// What a host has in its data folder, of which one at least is there from its first start on.
const OWN: [&str; 6] = ["lock", "host.db", "bus.db", "stores", "components", "compiled"];

/// Where the kernel shows what it has. What is mounted below may be of any file system: the control
/// groups of version 1 are in one that is in memory.
const OF_THE_KERNEL: [&str; 3] = ["/proc", "/sys", "/dev/pts"];

/// The file systems of these, wherever they are mounted, by their numbers (statfs(2)).
const KERNELS: [u32; 6] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x6462_6720, 0x7472_6163];

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
            escape::path(folder)
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
    Some(format!("{what} {} {wrong}; {way_out}", escape::path(path)))
}

/// Why this cannot become, or be, a host's data folder. One that others have files in is not taken
/// from them.
pub(super) fn of_data(data: &Path) -> Option<String> {
    let name = escape::path(data);
    match std::fs::metadata(data) {
        Ok(metadata) if !metadata.is_dir() => {
            return Some(format!("the data folder {name} is no folder: name another with --data"));
        }
        Ok(_) if is_the_kernels(data) => return Some(of_the_kernels(data, data)),
        Ok(_) => {}
        Err(_) if std::fs::symlink_metadata(data).is_err() => return of_place(data),
        Err(error) => {
            return Some(format!(
                "the data folder {name} is a link that cannot be followed ({error}): name another with --data"
            ));
        }
    }
    if let Err(error) = access(data, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        return Some(denied(&format!("the data folder {name}"), data, error));
    }
    let is_empty = std::fs::read_dir(data)
        .is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == OF_A_NEW_DISK));
    let is_hosts = OWN.iter().any(|name| data.join(name).exists());
    if !is_empty && !is_hosts {
        return Some(format!(
            "the data folder {name} has files, and none of them is a host's: name a folder that \
             is empty, or not there yet, with --data; the host makes it its own"
        ));
    }
    OWN.iter().map(|name| data.join(name)).filter(|path| path.exists()).find_map(|path| {
        let error = access(&path, Access::READ_OK | Access::WRITE_OK).err()?;
        Some(denied(&escape::path(&path), &path, error))
    })
}

/// Why a folder cannot be made here.
fn of_place(data: &Path) -> Option<String> {
    let above = data.ancestors().skip(1).map(|folder| match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    });
    let parent = above.into_iter().find(|folder| folder.exists())?;
    let name = escape::path(data);
    if !parent.is_dir() {
        let parent = escape::path(parent);
        return Some(format!(
            "the data folder {name} cannot be made, since {parent} is no folder: name another with --data"
        ));
    }
    if is_the_kernels(parent) {
        return Some(of_the_kernels(data, parent));
    }
    let error = access(parent, Access::WRITE_OK | Access::EXEC_OK).err()?;
    let what = format!("the data folder {name} cannot be made: {}", escape::path(parent));
    Some(denied(&what, parent, error))
}

/// Whether a folder shows what the kernel has, and takes nobody's: to root it seems one that can be
/// written to. A link's is judged by where it leads.
fn is_the_kernels(folder: &Path) -> bool {
    let place = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    OF_THE_KERNEL.iter().any(|kernels| place.starts_with(kernels))
        || statfs(folder).is_ok_and(|found| {
            KERNELS.iter().any(|kind| i128::from(*kind) == i128::from(found.f_type))
        })
}

/// Says that a data folder would be the kernel's, or below what is.
fn of_the_kernels(data: &Path, kernels: &Path) -> String {
    let (data, kernels) = (escape::path(data), escape::path(kernels));
    format!(
        "the data folder {data} cannot be made: {kernels} is the kernel's own: name another with --data"
    )
}

fn denied(what: &str, path: &Path, error: Errno) -> String {
    if error != Errno::ACCESS {
        return format!("{what} cannot be used: {error}; name another with --data");
    }
    let owner = std::fs::metadata(path).ok().map(|metadata| machine::user(metadata.uid()));
    let owner = owner.map_or_else(String::new, |owner| format!(", it is {owner}'s"));
    format!(
        "{what} cannot be used: permission denied{owner}; run hotdock as who may, or name another with --data"
    )
}

/// What of the files that are there a host would refuse when it opens them. Another host may
/// have them open.
#[must_use]
pub fn problems_of_files(config: &Config) -> Vec<String> {
    let (record, bus) = (config.data.join("host.db"), config.data.join("bus.db"));
    let record = deploy::check_record(&record).err().map(|error| error.to_string());
    let bus = Bus::check(&bus).err().map(|error| format!("{OF_THE_BUS}: {error}"));
    record.into_iter().chain(bus).collect()
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

    #[test]
    fn no_data_folder_can_be_made_where_the_kernel_shows_what_it_has() {
        assert!(is_the_kernels(Path::new("/proc")) && !is_the_kernels(Path::new("/tmp")));
        let refused = of_data(Path::new("/proc/nothing/x")).expect("it cannot be made");
        assert!(refused.contains("cannot be made: /proc is the kernel's own"), "{refused}");
        let refused = of_data(Path::new("/proc/self")).expect("it is no data folder");
        let expected = "the data folder /proc/self cannot be made: /proc/self is the kernel's own";
        assert!(refused.starts_with(expected), "{refused}");
    }

    #[test]
    fn what_the_kernel_shows_is_known_by_its_place_and_through_links() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!is_the_kernels(folder.path()));
        for (name, place) in [("proc", "/proc"), ("sys", "/sys"), ("pts", "/dev/pts")] {
            let place = Path::new(place);
            if !place.is_dir() {
                continue;
            }
            assert!(is_the_kernels(place), "{place:?}");
            let link = folder.path().join(name);
            std::os::unix::fs::symlink(place, &link).expect("a link");
            let refused = of_data(&link.join("nothing")).expect("it cannot be made");
            assert!(refused.contains("is the kernel's own"), "{refused}");
        }
        // Of any file system: in containers it is in memory.
        let groups = Path::new("/sys/fs/cgroup");
        assert!(!groups.is_dir() || is_the_kernels(groups));
    }

    #[test]
    fn a_folder_is_told_on_one_line() {
        let missing = is_folder(Path::new("a\nb"), "the plugin folder", "make it").expect("none");
        assert!(missing.starts_with("the plugin folder a\\nb cannot be used: "), "{missing}");
    }

    #[test]
    fn a_folder_of_another_user_is_said_to_be_theirs() {
        let folder = tempfile::tempdir().expect("a folder");
        let uid = std::fs::metadata(folder.path()).expect("a folder").uid();
        let said = denied("the data folder x", folder.path(), Errno::ACCESS);
        let theirs =
            format!("x cannot be used: permission denied, it is {}'s; ", machine::user(uid));
        assert!(said.contains(&theirs), "{said}");
        let said = denied("the data folder x", folder.path(), Errno::ROFS);
        assert!(
            said.ends_with(
                "cannot be used: Read-only file system (os error 30); name another with --data"
            ),
            "{said}"
        );
    }
}
