//! Files that others put where the host reads them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Opens a file to read it; none where there is nothing of the name. Symbolic links are
/// followed; one that leads nowhere is something. What is something else than a file is not waited for, and does not become the
/// host's terminal.
///
/// # Errors
/// When it cannot be opened, or is something else than a file.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) if path.is_symlink() => {
            return Err(no_file("a link that leads nowhere"));
        }
        Err(Errno::NOENT) => return Ok(None),
        // A socket, or a device that nobody drives.
        Err(Errno::NXIO | Errno::NODEV) => return Err(no_file("no file")),
        Err(error) => return Err(error.into()),
    };
    use std::os::unix::fs::FileTypeExt as _;
    let kind = file.metadata()?.file_type();
    match () {
        () if kind.is_file() => Ok(Some(file)),
        () if kind.is_dir() => Err(no_file("a folder, no file")),
        () if kind.is_fifo() => Err(no_file("a pipe, no file")),
        () => Err(no_file("no file")),
    }
}

/// The text of a file, as [`open`] opens it.
///
/// # Errors
/// When there is none, it cannot be read, or it has more than `most` bytes.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let file = open(path)?.ok_or(Errno::NOENT)?;
    let mut text = String::new();
    if file.take(most + 1).read_to_string(&mut text)? as u64 > most {
        let said = format!("it has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, said));
    }
    Ok(text)
}

fn no_file(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}"))
}
