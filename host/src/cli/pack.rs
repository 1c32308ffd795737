//! `hotdock pack`

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::registry::{self, Registry};
use super::{argument, console, exit};
use crate::component::Interfaces;
use crate::deploy::Pair;
use crate::digest::Digest;
use crate::escape;
use crate::oci::{self, Reference};

/// Embed a component's manifest in it, so that the one file is all there is to deploy.
///
/// The manifest is checked first, and takes the place of one that is embedded already. The same
/// component and manifest always give the same bytes. With --push the result goes to a registry,
/// under the same digest whenever it is pushed.
#[derive(Debug, clap::Args)]
pub(super) struct Pack {
    #[command(flatten)]
    registry: Registry,
    /// The component
    #[arg(value_name = "FILE.wasm", required_unless_present = "pull")]
    file: Option<PathBuf>,
    /// Take the component from a registry
    #[arg(long, value_name = "oci://…", conflicts_with = "file", requires = "output",
          value_parser = argument::reference)]
    pull: Option<Reference>,
    /// The manifest [default: FILE.toml, if it exists; else the embedded one stays]
    #[arg(long, value_name = "FILE.toml")]
    manifest: Option<PathBuf>,
    /// Where the result goes [default: with --push nowhere else, else in place of FILE.wasm]
    #[arg(long, short, value_name = "OUT.wasm", value_parser = output)]
    output: Option<PathBuf>,
    /// Push the result to a registry: oci://REGISTRY/REPOSITORY:TAG
    #[arg(long, value_name = "oci://…", value_parser = argument::reference)]
    push: Option<Reference>,
}

impl Pack {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
        tokio.context("the asynchronous runtime")?.block_on(Box::pin(self.pack()))
    }

    async fn pack(self) -> anyhow::Result<ExitCode> {
        let pair = self.pair().await?;
        let packed = match self.packed(&pair) {
            Ok(packed) => packed,
            Err(reasons) => {
                console::refused("it cannot be packed", &reasons);
                return Ok(ExitCode::from(exit::REFUSED));
            }
        };
        let in_place = self.file.as_ref().filter(|_| self.push.is_none());
        if let Some(output) = self.output.as_ref().or(in_place) {
            let shown = escape::path(output);
            let written = write(output, &packed);
            written
                .map_err(|error| exit::Unusable(format!("{shown} cannot be written: {error}")))?;
            console::print(&format!("{}  {shown}", Digest::of(&packed)))?;
        }
        if let Some(reference) = &self.push {
            let interfaces = Interfaces::read(packed.as_slice())?;
            let access = self.registry.access(reference)?;
            let (_, manifest) =
                pair.manifest.as_ref().map_err(|_| anyhow::anyhow!("no manifest"))?;
            let name = manifest.service.as_str();
            let pushed = oci::push(reference, packed, (&interfaces, name), &access).await?;
            console::print(&pushed.to_string())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn pair(&self) -> anyhow::Result<Pair> {
        match (&self.pull, &self.file) {
            (Some(reference), _) => {
                let pulled = self.registry.pull(reference).await?;
                console::print(&pulled.reference.to_string())?;
                registry::pair(reference, pulled.component, self.manifest.as_ref())
            }
            (None, Some(file)) => {
                Ok(Pair::read(file, self.manifest.as_deref()).map_err(exit::Unusable)?)
            }
            (None, None) => anyhow::bail!("a component is needed"),
        }
    }

    /// With its manifest; as it is where it is only to be moved.
    fn packed(&self, pair: &Pair) -> Result<Vec<u8>, Vec<String>> {
        let has_manifest = pair.manifest.as_ref().is_ok_and(|(text, _)| text.is_some());
        let moved = self.pull.is_some() || self.push.is_some();
        if pair.manifest.is_ok() && !has_manifest && !moved {
            return Err(vec![
                "there is no manifest to embed: name it with --manifest FILE.toml".to_owned(),
            ]);
        }
        crate::deploy::pack(pair)
    }
}

/// A file's name: what goes to standard output is the digest.
fn output(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" => Err("a component goes to a file; ./- is one of that name".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}

/// Written beside and renamed: a host may be watching the folder. What a link leads to is
/// replaced, and not the link; what is no file (a pipe, a terminal) is written to.
fn write(output: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let found = std::fs::metadata(output).ok();
    if found.as_ref().is_some_and(|found| found.permissions().readonly()) {
        let words = "it is there and must not be written to; remove it, or name another";
        return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, words));
    }
    if found.as_ref().is_some_and(|found| !found.is_file()) {
        return std::fs::File::options().write(true).open(output)?.write_all(bytes);
    }
    let target = if found.is_some() { output.canonicalize()? } else { output.to_owned() };
    let output = target.as_path();
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let words = format!("there is no folder {}", escape::path(folder));
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, words));
    }
    let file = tempfile::Builder::new()
        .prefix(".hotdock-")
        .permissions(permissions(output))
        .tempfile_in(folder);
    // Its errors name the file beside, which nobody gave.
    let mut file = file.map_err(|error| {
        let words = format!("no file can be made in {}: {}", escape::path(folder), error.kind());
        std::io::Error::new(error.kind(), words)
    })?;
    file.as_file_mut().write_all(bytes)?;
    file.persist(output).map_err(|unkept| unkept.error)?;
    Ok(())
}

/// Those of the file that is replaced, else as any other file's.
fn permissions(output: &Path) -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    let replaced = std::fs::metadata(output).map(|metadata| metadata.permissions());
    replaced.unwrap_or_else(|_| std::fs::Permissions::from_mode(0o666))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_links_target_is_replaced_and_the_link_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("cart-1.wasm"), folder.path().join("cart.wasm"));
        std::fs::write(&target, "old").expect("a file");
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).expect("set");
        symlink("cart-1.wasm", &link).expect("a link");
        write(&link, b"new").expect("written");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&target).expect("the target"), b"new");
        let mode = target.metadata().expect("the target").permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "it has the permissions of what it replaces");
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 2);
    }

    #[test]
    fn a_device_or_a_pipe_is_written_to_and_not_replaced() {
        write(Path::new("/dev/null"), b"new").expect("written");
        let is_device = |path: &str| std::fs::metadata(path).expect("it").file_type();
        assert!(is_device("/dev/null").is_char_device());
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
            .expect("a pipe");
        let reads = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe)
        });
        write(&pipe, b"new").expect("written");
        assert_eq!(reads.join().expect("no panic").expect("read"), b"new");
        assert!(std::fs::metadata(&pipe).expect("it").file_type().is_fifo());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_as_it_was_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let there = folder.path().join("nowhere");
        let refused = write(&there.join("x.wasm"), b"new").expect_err("refused").to_string();
        assert_eq!(refused, format!("there is no folder {}", there.display()));
    }

    #[test]
    fn a_folder_in_which_no_file_can_be_made_is_named() {
        let refused = write(Path::new("/proc/x"), b"new").expect_err("refused").to_string();
        assert!(refused.starts_with("no file can be made in /proc: "), "{refused}");
    }

    #[test]
    fn a_file_that_must_not_be_written_to_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cart.wasm");
        std::fs::write(&file, "old").expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o444)).expect("set");
        let refused = write(&file, b"new").expect_err("refused");
        assert!(refused.to_string().contains("must not be written to"), "{refused}");
        assert_eq!(std::fs::read(&file).expect("the file"), b"old");
    }
}
