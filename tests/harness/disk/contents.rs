//! Files and folders, as they are and as they are on the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::Unsynced;

pub const ROOT: u64 = 1;

const PAGE: usize = 4096;

pub struct Contents {
    nodes: HashMap<u64, Node>,
    last: u64,
}

#[derive(Clone)]
pub enum Node {
    File(File),
    Folder(Folder),
}

#[derive(Clone, Default)]
pub struct File {
    pub bytes: Vec<u8>,
    synced: Vec<u8>,
    /// Pages that differ.
    unsynced: BTreeSet<usize>,
    /// Whether it is a database's shared memory.
    pub is_shared_memory: bool,
}

#[derive(Clone, Default)]
pub struct Folder {
    pub entries: BTreeMap<OsString, u64>,
    synced: BTreeMap<OsString, u64>,
}

impl Default for Contents {
    fn default() -> Self {
        Self { nodes: HashMap::from([(ROOT, Node::Folder(Folder::default()))]), last: ROOT }
    }
}

impl Contents {
    pub fn node(&self, number: u64) -> Option<&Node> {
        self.nodes.get(&number)
    }

    pub fn file(&mut self, number: u64) -> Option<&mut File> {
        match self.nodes.get_mut(&number)? {
            Node::File(file) => Some(file),
            Node::Folder(_) => None,
        }
    }

    pub fn folder(&mut self, number: u64) -> Option<&mut Folder> {
        match self.nodes.get_mut(&number)? {
            Node::Folder(folder) => Some(folder),
            Node::File(_) => None,
        }
    }

    pub fn find(&mut self, folder: u64, name: &OsStr) -> Option<u64> {
        self.folder(folder)?.entries.get(name).copied()
    }

    pub fn add(&mut self, folder: u64, name: &OsStr, node: Node) -> Option<u64> {
        let number = self.last + 1;
        self.folder(folder)?.entries.insert(name.to_owned(), number);
        self.nodes.insert(number, node);
        self.last = number;
        Some(number)
    }

    /// Writes the databases in a folder, and in those within it, to another one.
    pub fn copy_databases(&self, folder: u64, to: &Path) {
        let Some(Node::Folder(folder)) = self.nodes.get(&folder) else { return };
        for (name, number) in &folder.entries {
            let to = to.join(name);
            match self.nodes.get(number) {
                Some(Node::Folder(_)) => {
                    std::fs::create_dir(&to).expect("a folder");
                    self.copy_databases(*number, &to);
                }
                Some(Node::File(file))
                    if !file.is_shared_memory && name.to_string_lossy().contains(".db") =>
                {
                    std::fs::write(to, &file.bytes).expect("a file");
                }
                _ => {}
            }
        }
    }

    /// Everything is as it is on the disk.
    pub fn cut_power(&mut self, unsynced: Unsynced) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.cut_power(unsynced),
                Node::Folder(folder) => folder.entries.clone_from(&folder.synced),
            }
        }
        self.forget_unreachable();
    }

    fn forget_unreachable(&mut self) {
        let (mut reached, mut open) = (BTreeSet::new(), vec![ROOT]);
        while let Some(number) = open.pop() {
            if reached.insert(number)
                && let Some(Node::Folder(folder)) = self.nodes.get(&number)
            {
                open.extend(folder.entries.values());
            }
        }
        self.nodes.retain(|number, _| reached.contains(number));
    }
}

impl File {
    pub fn of(name: &OsStr) -> Self {
        let is_shared_memory = name.to_string_lossy().ends_with("-shm");
        Self { is_shared_memory, ..Self::default() }
    }

    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.bytes.len() {
            self.resize(end);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.unsynced.extend(offset / PAGE..end.div_ceil(PAGE));
    }

    pub fn resize(&mut self, size: usize) {
        let before = self.bytes.len();
        self.bytes.resize(size, 0);
        // Also what is cut off: it is zeros should it come again.
        self.unsynced.extend(before.min(size) / PAGE..before.max(size).div_ceil(PAGE));
    }

    pub fn sync(&mut self) {
        self.synced.resize(self.bytes.len(), 0);
        for page in std::mem::take(&mut self.unsynced) {
            copy_page(&self.bytes, &mut self.synced, page);
        }
    }

    /// What is not on the disk never gets there, though it can be read until then.
    pub fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    fn cut_power(&mut self, unsynced: Unsynced) {
        let written = std::mem::replace(&mut self.bytes, self.synced.clone());
        let pages = std::mem::take(&mut self.unsynced);
        if let Unsynced::Torn = unsynced {
            for page in pages.into_iter().filter(|_| fastrand::bool()) {
                let end = (page * PAGE + PAGE).min(written.len());
                self.bytes.resize(self.bytes.len().max(end), 0);
                copy_page(&written, &mut self.bytes, page);
            }
            self.synced.clone_from(&self.bytes);
        }
    }
}

impl Folder {
    pub fn sync(&mut self) {
        self.synced.clone_from(&self.entries);
    }
}

/// As much of it as both have.
fn copy_page(from: &[u8], to: &mut [u8], page: usize) {
    let begin = page * PAGE;
    let end = (begin + PAGE).min(from.len()).min(to.len());
    if begin < end {
        to[begin..end].copy_from_slice(&from[begin..end]);
    }
}
