//! A plugin file as it is read: opened once, without waiting for anybody, and judged by
//! what was opened, whatever becomes of its name meanwhile.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::plugin_file::Signature;
use super::preamble::{self, NotAComponent, Sections};
use crate::files;

/// How much is read before it is looked whether the host stops.
const CHUNK: usize = 1 << 20;

/// How much of a file is looked at to tell what it is; its text may begin with spaces.
const HEAD: usize = 256;

/// A regular file that is open.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    pub(super) signature: Signature,
    /// The user whose file it is.
    pub(super) owner: u32,
}

/// Why a file was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The host stops.
    #[error("the host stops")]
    Stopping,
}

impl Opened {
    /// Opens a file; none where there is nothing of the name. Symbolic links are followed.
    ///
    /// # Errors
    /// When it cannot be opened, or is something else than a file.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = files::open(path)? else { return Ok(None) };
        let metadata = file.metadata()?;
        let (signature, owner) = (Signature::from(&metadata), metadata.uid());
        Ok(Some(Self { file, signature, owner }))
    }

    /// Whether it is as it was when it was opened.
    pub(super) fn is_unchanged(&self) -> io::Result<bool> {
        Ok(Signature::from(&self.file.metadata()?) == self.signature)
    }

    /// What it is, by its first bytes and the lengths of its sections; nothing else of it is
    /// read.
    pub(super) fn look(&self) -> io::Result<Result<(), NotAComponent>> {
        let mut head = Vec::with_capacity(HEAD);
        self.read_at(0, HEAD, &mut head)?;
        if let Err(error) = preamble::check(&head) {
            return Ok(Err(error));
        }
        let mut sections = Sections::new(self.signature.bytes);
        while let Some(at) = sections.next() {
            head.clear();
            self.read_at(at, Sections::HEAD, &mut head)?;
            if let Err(error) = sections.is(&head) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// All of it, and one byte more than there was if it grew.
    pub(super) fn read(&self, stopping: &CancellationToken) -> Result<Vec<u8>, Unread> {
        let most = self.signature.bytes + 1;
        let mut bytes = Vec::with_capacity(usize::try_from(most).unwrap_or_default());
        let mut file = (&self.file).take(most);
        loop {
            if stopping.is_cancelled() {
                return Err(Unread::Stopping);
            }
            if file.by_ref().take(CHUNK as u64).read_to_end(&mut bytes)? == 0 {
                return Ok(bytes);
            }
        }
    }

    fn read_at(&self, at: u64, most: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.resize(most, 0);
        let mut filled = 0;
        while filled < most {
            match self.file.read_at(&mut into[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        into.truncate(filled);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::Mode;

    use super::*;

    fn component(sections: &[u8]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0", sections].concat()
    }

    fn looked_at(bytes: &[u8]) -> Result<(), NotAComponent> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        Opened::open(file.path()).expect("opened").expect("a file").look().expect("read")
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::RUSR).expect("a pipe");
        std::fs::create_dir(at("folder")).expect("a folder");
        std::os::unix::fs::symlink("loop", at("loop")).expect("a link");
        std::os::unix::fs::symlink("/dev/zero", at("device")).expect("a link");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
        std::os::unix::fs::symlink("nothing", at("nowhere")).expect("a link");
        for name in ["pipe", "folder", "device", "socket", "nowhere"] {
            let error = Opened::open(&at(name)).expect_err(name).to_string();
            assert!(error.starts_with("it is "), "{name}: {error}");
        }
        assert!(Opened::open(&at("nothing")).expect("no error").is_none());
        assert!(Opened::open(&at("loop")).is_err());
    }

    #[test]
    fn a_file_is_read_as_it_was_opened_whatever_its_name_leads_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cart.wasm");
        std::fs::write(&path, "old").expect("a file");
        let opened = Opened::open(&path).expect("opened").expect("a file");
        std::fs::write(folder.path().join("new"), "newer").expect("a file");
        std::fs::rename(folder.path().join("new"), &path).expect("renamed");
        let never = CancellationToken::new();
        assert_eq!(opened.read(&never).expect("read"), b"old");
        let opened = Opened::open(&path).expect("opened").expect("a file");
        std::fs::write(&path, "it grew meanwhile").expect("written");
        assert_eq!(opened.read(&never).expect("read").len(), 6, "no more than shows it");
        assert!(!opened.is_unchanged().expect("looked at"));
        never.cancel();
        assert!(matches!(opened.read(&never), Err(Unread::Stopping)));
    }

    #[test]
    fn a_large_file_is_known_by_few_of_its_bytes() {
        let good = component(&[0, 3, 1, b'x', 0, 8, 0]);
        assert_eq!(looked_at(&good), Ok(()));
        let cut = NotAComponent::CutShort { at: 8, bytes: 100, left: 1 };
        assert_eq!(looked_at(&component(&[0, 100, 1])), Err(cut));
        let other = NotAComponent::NoSection { at: 13, id: 99 };
        assert_eq!(looked_at(&component(&[0, 3, 1, b'x', 0, 99, 0])), Err(other));
        let sparse = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(sparse.path(), component(&[])).expect("written");
        sparse.as_file().set_len(200 << 20).expect("a length");
        let opened = Opened::open(sparse.path()).expect("opened").expect("a file");
        assert!(opened.look().expect("read").is_err());
    }
}
