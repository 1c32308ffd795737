//! What the kernel asks for.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use super::contents::{File, Folder, Node};
use super::{Operation, State};

/// How long the kernel may believe what it was told: all changes come by it.
const TTL: Duration = Duration::from_secs(3600);

const BLOCK: u32 = 4096;

/// Blocks that there are, and are free.
const BLOCKS: u64 = 1 << 24;

pub struct Mount(Arc<Mutex<State>>);

pub fn options() -> Config {
    let mut options = Config::default();
    options.mount_options = vec![MountOption::FSName("hotdock-test".to_owned())];
    options
}

impl Mount {
    pub fn of(state: &Arc<Mutex<State>>) -> Self {
        Self(Arc::clone(state))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic before")
    }
}

impl Filesystem for Mount {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.lock();
        let found = state.contents.find(parent.0, name);
        match found.and_then(|number| attributes(&state, number)) {
            Some(found) => reply.entry(&TTL, &found, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.lock(), number.0) {
            Some(found) => reply.attr(&TTL, &found),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.lock();
        if let (Some(size), Some(file)) = (size, state.contents.file(number.0)) {
            file.resize(index(size));
        }
        match attributes(&state, number.0) {
            Some(found) => reply.attr(&TTL, &found),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut state = self.lock();
        let added = state.contents.add(parent.0, name, Node::Folder(Folder::default()));
        match added.and_then(|number| attributes(&state, number)) {
            Some(added) => reply.entry(&TTL, &added, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.lock();
        let added = state.contents.add(parent.0, name, Node::File(File::of(name)));
        match added.and_then(|number| attributes(&state, number)) {
            Some(added) => {
                let flags = FopenFlags::empty();
                reply.created(&TTL, &added, Generation(0), FileHandle(0), flags);
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.lock();
        // The node stays: it may be open, and on the disk it may have a name yet.
        match state.contents.folder(parent.0).and_then(|folder| folder.entries.remove(name)) {
            Some(_) => reply.ok(),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.lock();
        let Some(number) = state.contents.find(parent.0, name) else {
            return reply.error(Errno::ENOENT);
        };
        if state.contents.folder(number).is_some_and(|folder| !folder.entries.is_empty()) {
            return reply.error(Errno::ENOTEMPTY);
        }
        if let Some(folder) = state.contents.folder(parent.0) {
            folder.entries.remove(name);
        }
        reply.ok();
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.lock();
        let Some(number) = state.contents.find(parent.0, name) else {
            return reply.error(Errno::ENOENT);
        };
        let Some(new_folder) = state.contents.folder(new_parent.0) else {
            return reply.error(Errno::ENOENT);
        };
        new_folder.entries.insert(new_name.to_owned(), number);
        if let Some(folder) = state.contents.folder(parent.0)
            && (parent, name) != (new_parent, new_name)
        {
            folder.entries.remove(name);
        }
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.lock();
        let Some(file) = state.contents.file(number.0) else { return reply.error(Errno::ENOENT) };
        let begin = index(offset).min(file.bytes.len());
        let end = (begin + index(size.into())).min(file.bytes.len());
        reply.data(&file.bytes[begin..end]);
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.lock();
        let fails = state.contents.file(number.0).is_some_and(|file| !file.is_shared_memory);
        if let Some(error) = fails.then(|| state.fault(Operation::Write)).flatten() {
            return reply.error(error);
        }
        let Some(file) = state.contents.file(number.0) else { return reply.error(Errno::ENOENT) };
        file.write(index(offset), data);
        reply.written(u32::try_from(data.len()).expect("as the kernel has it"));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = self.lock();
        if let Some(error) = state.fault(Operation::Sync) {
            // As on Linux: what failed once is not tried again.
            if let Some(file) = state.contents.file(number.0) {
                file.forget_unsynced();
            }
            return reply.error(error);
        }
        if !state.ignores_syncs
            && let Some(file) = state.contents.file(number.0)
        {
            file.sync();
        }
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = self.lock();
        // Of a folder's sync SQLite never says that it failed; the host has made its own
        // before, so it would change nothing.
        if !state.ignores_syncs
            && let Some(folder) = state.contents.folder(number.0)
        {
            folder.sync();
        }
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut state = self.lock();
        let Some(folder) = state.contents.folder(number.0) else {
            return reply.error(Errno::ENOTDIR);
        };
        let entries: Vec<_> =
            folder.entries.iter().map(|(name, number)| (name.clone(), *number)).collect();
        for (at, (name, number)) in entries.into_iter().enumerate().skip(index(offset)) {
            let Some(found) = attributes(&state, number) else { continue };
            if reply.add(INodeNo(number), at as u64 + 1, found.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCK, 255, BLOCK);
    }
}

fn attributes(state: &State, number: u64) -> Option<FileAttr> {
    let (kind, size, nlink) = match state.contents.node(number)? {
        Node::File(file) => (FileType::RegularFile, file.bytes.len() as u64, 1),
        Node::Folder(_) => (FileType::Directory, 0, 2),
    };
    let then = SystemTime::UNIX_EPOCH;
    Some(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: then,
        mtime: then,
        ctime: then,
        crtime: then,
        kind,
        perm: 0o755,
        nlink,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    })
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("it is in memory")
}
