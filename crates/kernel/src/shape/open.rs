//! What a process has open: its table of files, pipes and sockets.

use super::{ArrayPlace, Names};

/// From a table of files to pipes and sockets.
#[derive(Clone, Debug)]
pub struct OpenShape {
    /// `files_struct.fdt`
    pub table: u64,
    /// `fdtable.max_fds`, 32 bits wide.
    pub slots: u64,
    /// `fdtable.fd`
    pub files: u64,
    /// Bytes of a `struct file`, as far as these walks read it.
    pub file_bytes: u64,
    /// `file.f_mode`, 32 bits wide.
    pub mode: u64,
    /// `file.f_inode`
    pub inode: u64,
    /// `file.private_data`
    pub private: u64,
    /// `file.f_path.dentry`
    pub entry: u64,
    /// Pipes; `None` where this kernel's types do not describe them.
    pub pipe: Option<PipeShape>,
    /// Sockets; `None` where this kernel's types do not describe them.
    pub socket: Option<SocketShape>,
}

/// `struct pipe_inode_info`.
#[derive(Clone, Debug)]
pub struct PipeShape {
    /// Bytes of it.
    pub bytes: u64,
    /// `head`, 32 bits wide.
    pub head: u64,
    /// `tail`, 32 bits wide.
    pub tail: u64,
    /// `ring_size`, 32 bits wide.
    pub slots: u64,
    /// Pages kept for the next write: `tmp_page`, or `prealloc.pages` (v7.3).
    pub spare: ArrayPlace,
    /// How many of them are there, 32 bits wide, where a number says it: `prealloc.count`. The others
    /// are left overs.
    pub spares: Option<u64>,
}

/// `struct socket`, `struct sock`, and the packets that wait.
#[derive(Clone, Debug)]
pub struct SocketShape {
    /// `socket.sk`
    pub sock: u64,
    /// Bytes of a `struct sock`, as far as these walks read it.
    pub bytes: u64,
    /// `__sk_common.skc_family`, 16 bits wide.
    pub family: u64,
    /// `sk_backlog.rmem_alloc`: bytes that wait to be read, 32 bits wide.
    pub received: u64,
    /// `sk_wmem_alloc`: bytes on their way out and one more, 32 bits wide.
    pub sent: u64,
    /// `sk_wmem_queued`: bytes that wait to be sent, 32 bits wide.
    pub queued: u64,
    /// `sk_receive_queue.next`
    pub queue: u64,
    /// `sk_receive_queue.qlen`, 32 bits wide.
    pub queue_len: u64,
    /// `sk_buff.next`
    pub next: u64,
    /// `sk_buff.truesize`, 32 bits wide.
    pub packet_bytes: u64,
}

impl OpenShape {
    pub(super) fn find(names: Names<'_>) -> Option<OpenShape> {
        let file = |path| names.find("file", path);
        let (mode, inode, private) = (file("f_mode")?, file("f_inode")?, file("private_data")?);
        Some(OpenShape {
            table: names.find("files_struct", "fdt")?,
            slots: names.find("fdtable", "max_fds")?,
            files: names.find("fdtable", "fd")?,
            file_bytes: mode.max(inode).max(private) + 8,
            mode,
            inode,
            private,
            entry: file("f_path.dentry")?,
            pipe: PipeShape::find(names),
            socket: SocketShape::find(names),
        })
    }
}

impl PipeShape {
    fn find(names: Names<'_>) -> Option<PipeShape> {
        let pipe = |path| names.find("pipe_inode_info", path);
        let spares = pipe("prealloc.count");
        let path = if spares.is_some() { "prealloc.pages" } else { "tmp_page" };
        let spare = pipe(path)?;
        let most = names.find_len("pipe_inode_info", path).unwrap_or(1);
        Some(PipeShape {
            bytes: names.find_size("pipe_inode_info")?,
            head: pipe("head")?,
            tail: pipe("tail")?,
            slots: pipe("ring_size")?,
            spare: ArrayPlace { at: spare, len: most.min(8) },
            spares,
        })
    }
}

impl SocketShape {
    fn find(names: Names<'_>) -> Option<SocketShape> {
        let sock = |path| names.find("sock", path);
        let mut shape = SocketShape {
            sock: names.find("socket", "sk")?,
            bytes: 0,
            family: sock("__sk_common.skc_family")?,
            received: sock("sk_backlog.rmem_alloc")?,
            sent: sock("sk_wmem_alloc")?,
            queued: sock("sk_wmem_queued")?,
            queue: sock("sk_receive_queue.next")?,
            queue_len: sock("sk_receive_queue.qlen")?,
            next: names.find("sk_buff", "next")?,
            packet_bytes: names.find("sk_buff", "truesize")?,
        };
        let ends = [shape.family, shape.received, shape.sent, shape.queued];
        let ends = ends.into_iter().chain([shape.queue, shape.queue_len]);
        shape.bytes = ends.fold(0, u64::max) + 8;
        Some(shape)
    }
}
