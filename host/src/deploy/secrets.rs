//! Secrets: files that the operator puts beside the host, one per service and
//! name, read when a version comes in and kept in memory only.

use std::io::Read as _;
use std::path::Path;

use crate::files;
use crate::manifest::Manifest;
use crate::runtime::Secrets;

/// Bytes of one secret.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// Reads what the manifest names from `FOLDER/<service>/<NAME>`; one line end at
/// the file's end is not part of the secret.
///
/// # Errors
/// Every secret that is not there or cannot be used, and where it is looked for.
pub(super) fn read(folder: Option<&Path>, manifest: &Manifest) -> Result<Secrets, Vec<String>> {
    let mut secrets = Secrets::default();
    let mut reasons = Vec::new();
    for name in &manifest.capabilities.secrets {
        let Some(folder) = folder else {
            reasons.push(format!(
                "secret {name} is not supplied: start the host with --secrets FOLDER and put it \
                 into FOLDER/{}/{name}",
                manifest.service
            ));
            continue;
        };
        let path = folder.join(manifest.service.as_str()).join(name);
        match read_one(&path) {
            Ok(secret) => secrets.insert(name.clone(), secret),
            Err(reason) => reasons.push(format!("secret {name} {reason}")),
        }
    }
    if reasons.is_empty() { Ok(secrets) } else { Err(reasons) }
}

fn read_one(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let file = files::open(path)
        .map_err(|error| format!("cannot be read: {shown}: {error}"))?
        .ok_or_else(|| format!("is not supplied: there is no {shown}"))?;
    let mut text = String::new();
    file.take(MAX_SECRET_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {shown}: {error}"))?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(format!("is too large: {shown} has more than {MAX_SECRET_BYTES} bytes"));
    }
    let without_end = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(without_end.map_or(text.clone(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Capabilities, Manifest};

    fn manifest(secrets: &[&str]) -> Manifest {
        let mut manifest = Manifest::default_for("cart".parse().expect("a name"));
        let secrets = secrets.iter().map(|&name| name.to_owned()).collect();
        manifest.capabilities = Capabilities { secrets, ..Capabilities::default() };
        manifest
    }

    #[test]
    fn a_secret_is_its_file_without_the_last_line_end() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("cart")).expect("the service's folder");
        std::fs::write(folder.path().join("cart/KEY"), "s3cret\n").expect("a secret");
        std::fs::write(folder.path().join("cart/RAW"), "two\nlines").expect("a secret");
        let secrets = read(Some(folder.path()), &manifest(&["KEY", "RAW"])).expect("both");
        assert_eq!((secrets.get("KEY"), secrets.get("RAW")), (Some("s3cret"), Some("two\nlines")));
        assert!(!format!("{secrets:?}").contains("s3cret"));
    }

    #[test]
    fn every_missing_secret_is_named_with_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let reasons = read(Some(folder.path()), &manifest(&["ONE", "TWO"])).expect_err("missing");
        assert_eq!(reasons.len(), 2);
        assert!(reasons[0].contains("secret ONE is not supplied: there is no "), "{reasons:?}");
        assert!(reasons[1].ends_with("cart/TWO"), "{reasons:?}");
        let reasons = read(None, &manifest(&["ONE"])).expect_err("no folder");
        assert!(reasons[0].contains("--secrets FOLDER"), "{reasons:?}");
    }

    #[test]
    fn a_pipe_is_no_secret_and_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("cart")).expect("the service's folder");
        let pipe = folder.path().join("cart/KEY");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
            .expect("a pipe");
        // Nobody ever writes to it.
        let reasons = read(Some(folder.path()), &manifest(&["KEY"])).expect_err("refused");
        assert!(reasons[0].ends_with("it is a pipe, no file"), "{reasons:?}");
    }
}
