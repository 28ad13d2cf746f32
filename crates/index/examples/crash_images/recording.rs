//! A FUSE file system in memory that remembers everything that was done to it, in order.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

/// Number of a file or directory, never used again.
pub type Node = u64;
/// The directory everything is in.
pub const ROOT: Node = 1;

/// One name of a directory, and what it stands for from now on.
pub type Naming = (Node, String, Option<Node>);

/// Something that was done.
#[derive(Clone, Debug)]
pub enum Op {
    /// Bytes of a file.
    Write { file: Node, at: u64, bytes: Vec<u8> },
    /// A file's length.
    Resize { file: Node, length: u64 },
    /// Names that change in one step.
    Names(Vec<Naming>),
    /// `fsync` or `fdatasync` of a file.
    SyncFile(Node),
    /// `fsync` of a directory.
    SyncDir(Node),
    /// What whoever uses the file system wants to know afterwards.
    Note(Note),
}

/// Where the user of the file system was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A rotation, by number, is about to be written.
    Writing(usize),
    /// Everything up to this rotation was written with `sync`.
    Synced(usize),
    /// The store was closed and opened again, and was as it was at this rotation.
    Reopened(usize),
}

/// What was done, and which nodes are directories.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub ops: Vec<Op>,
    pub dirs: Vec<Node>,
}

#[derive(Debug)]
enum Content {
    File(Vec<u8>),
    Dir(BTreeMap<String, Node>),
}

#[derive(Debug)]
struct Tree {
    nodes: BTreeMap<Node, Content>,
    last: Node,
    recording: Recording,
}

/// Shared between the mount and whoever takes notes.
#[derive(Clone, Debug)]
pub struct Recorder {
    tree: Arc<Mutex<Tree>>,
}

impl Recorder {
    pub fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Content::Dir(BTreeMap::new()))]);
        let recording = Recording { ops: Vec::new(), dirs: vec![ROOT] };
        Self { tree: Arc::new(Mutex::new(Tree { nodes, last: ROOT, recording })) }
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, note: Note) {
        self.lock().recording.ops.push(Op::Note(note));
    }

    /// What was done so far.
    pub fn recording(&self) -> Recording {
        self.lock().recording.clone()
    }

    /// Mounts it; the mount ends when the session is dropped.
    pub fn mount(&self, dir: &Path) -> io::Result<BackgroundSession> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("timbermq-recording".into()), MountOption::NoAtime];
        fuser::spawn_mount(Mounted { recorder: self.clone() }, dir, &config)
    }
}

impl Tree {
    fn dir(&self, node: Node) -> Result<&BTreeMap<String, Node>, Errno> {
        match self.nodes.get(&node) {
            Some(Content::Dir(names)) => Ok(names),
            Some(Content::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn file(&mut self, node: Node) -> Result<&mut Vec<u8>, Errno> {
        match self.nodes.get_mut(&node) {
            Some(Content::File(bytes)) => Ok(bytes),
            Some(Content::Dir(_)) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn find(&self, dir: Node, name: &str) -> Result<Node, Errno> {
        self.dir(dir)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    fn attributes(&self, node: Node) -> Result<FileAttr, Errno> {
        let (kind, size) = match self.nodes.get(&node).ok_or(Errno::ENOENT)? {
            Content::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
            Content::Dir(_) => (FileType::Directory, 0),
        };
        Ok(FileAttr {
            ino: INodeNo(node),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn name(&mut self, namings: Vec<Naming>) {
        for (dir, name, node) in &namings {
            if let Some(Content::Dir(names)) = self.nodes.get_mut(dir) {
                match node {
                    Some(node) => names.insert(name.clone(), *node),
                    None => names.remove(name),
                };
            }
        }
        self.recording.ops.push(Op::Names(namings));
    }

    fn create(&mut self, dir: Node, name: &str, content: Content) -> Result<FileAttr, Errno> {
        if self.dir(dir)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.last += 1;
        let node = self.last;
        if matches!(content, Content::Dir(_)) {
            self.recording.dirs.push(node);
        }
        self.nodes.insert(node, content);
        self.name(vec![(dir, name.to_owned(), Some(node))]);
        self.attributes(node)
    }

    /// An open file stays readable without its name, so nodes are kept for ever.
    fn remove(&mut self, dir: Node, name: &str, a_dir: bool) -> Result<(), Errno> {
        let node = self.find(dir, name)?;
        match self.nodes.get(&node) {
            Some(Content::Dir(_)) if !a_dir => return Err(Errno::EISDIR),
            Some(Content::Dir(names)) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
            Some(Content::File(_)) if a_dir => return Err(Errno::ENOTDIR),
            _ => {}
        }
        self.name(vec![(dir, name.to_owned(), None)]);
        Ok(())
    }

    fn write(&mut self, file: Node, at: u64, bytes: &[u8]) -> Result<u32, Errno> {
        overwrite(self.file(file)?, at, bytes);
        self.recording.ops.push(Op::Write { file, at, bytes: bytes.to_vec() });
        u32::try_from(bytes.len()).map_err(|_| Errno::EINVAL)
    }

    fn resize(&mut self, file: Node, length: u64) -> Result<(), Errno> {
        let content = self.file(file)?;
        if content.len() as u64 != length {
            content.resize(size(length), 0);
            self.recording.ops.push(Op::Resize { file, length });
        }
        Ok(())
    }
}

/// A length in memory.
pub fn size(length: u64) -> usize {
    usize::try_from(length).expect("a 64-bit machine")
}

/// Writes into a file that may be shorter.
pub fn overwrite(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let (from, to) = (size(at), size(at) + bytes.len());
    if content.len() < to {
        content.resize(to, 0);
    }
    content[from..to].copy_from_slice(bytes);
}

/// Nobody but the kernel changes the tree, so it may remember what it was told.
const TTL: Duration = Duration::from_secs(3600);

struct Mounted {
    recorder: Recorder,
}

fn text(name: &OsStr) -> Result<&str, Errno> {
    name.to_str().ok_or(Errno::EINVAL)
}

impl Mounted {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.recorder.lock()
    }
}

fn entry(found: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match found {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = self.tree();
        entry(text(name).and_then(|name| tree.find(parent.0, name)).and_then(|node| tree.attributes(node)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.tree().attributes(ino.0) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.tree();
        let resized = size.map_or(Ok(()), |length| tree.resize(ino.0, length));
        match resized.and_then(|()| tree.attributes(ino.0)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut tree = self.tree();
        entry(text(name).and_then(|name| tree.create(parent.0, name, Content::Dir(BTreeMap::new()))), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(text(name).and_then(|name| self.tree().remove(parent.0, name, false)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(text(name).and_then(|name| self.tree().remove(parent.0, name, true)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut tree = self.tree();
        let rename = || {
            if !flags.is_empty() {
                return Err(Errno::EINVAL);
            }
            let (name, newname) = (text(name)?, text(newname)?);
            let node = tree.find(parent.0, name)?;
            tree.dir(newparent.0)?;
            tree.name(vec![(parent.0, name.to_owned(), None), (newparent.0, newname.to_owned(), Some(node))]);
            Ok(())
        };
        let mut rename = rename;
        empty(rename(), reply);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        match text(name).and_then(|name| self.tree().create(parent.0, name, Content::File(Vec::new()))) {
            Ok(attributes) => {
                reply.created(&TTL, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.tree().file(ino.0) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.tree().file(ino.0) {
            Ok(bytes) => {
                let from = size(offset).min(bytes.len());
                let to = (from + length as usize).min(bytes.len());
                reply.data(&bytes[from..to]);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.tree().write(ino.0, offset, data) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.tree().recording.ops.push(Op::SyncFile(ino.0));
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.tree().recording.ops.push(Op::SyncDir(ino.0));
        reply.ok();
    }

    /// Space ahead of the end changes nothing that could be seen later.
    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const KEEP_SIZE: i32 = 1;
        let mut tree = self.tree();
        let end = offset + length;
        let done = match mode {
            KEEP_SIZE => Ok(()),
            0 => tree.file(ino.0).map(|bytes| bytes.len() as u64).and_then(|now| tree.resize(ino.0, now.max(end))),
            _ => Err(Errno::EOPNOTSUPP),
        };
        empty(done, reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let tree = self.tree();
        let names = match tree.dir(ino.0) {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        let dots = [(".", ROOT), ("..", ROOT)].into_iter();
        let all = dots.chain(names.iter().map(|(name, node)| (name.as_str(), *node)));
        for ((name, node), next) in all.zip(1_u64..).skip(size(offset)) {
            let kind = match tree.nodes.get(&node) {
                Some(Content::Dir(_)) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(node), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
