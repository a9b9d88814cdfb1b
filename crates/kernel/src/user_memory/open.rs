//! Open files of processes: pipes and sockets with unread data, deleted files, and the processes
//! that have each file open.
//!
//! Tables of open files change while they are read; what is closed meanwhile is skipped.
//!
//! **Invariant:** what several processes have open counts once, for a process that can read it.

use std::collections::HashMap;

use sysak_base::numbers::{half, word};
use sysak_base::{Cancel, PAGE_SIZE, Va};

use super::Process;
use crate::read::gather;
use crate::shape::{ArrayPlace, OpenShape, PipeShape, SocketShape};
use crate::{Coverage, Kernel, Omitted, Reason};

/// Open files that are looked at.
const MOST_OPEN: usize = 1 << 21;
/// A table has no more slots (`fs.nr_open` allows up to 2³⁰; no real table is that large).
const MOST_SLOTS: u64 = 1 << 22;
/// Slots of a table that are read at once.
const SLOTS_AT_ONCE: u64 = 1 << 13;
/// Packets of one socket that are counted.
const MOST_PACKETS: u32 = 1 << 16;
/// `FMODE_READ`
const READS: u32 = 1;
/// `AF_UNIX`: unread data is charged to the sender.
const UNIX: u32 = 1;

/// Memory of pipes and sockets of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Pipes that hold data.
    pub pipes: u64,
    /// Pages of these, in bytes.
    pub pipe_bytes: u64,
    /// Sockets that hold data.
    pub sockets: u64,
    /// Packets of these and their bookkeeping (`truesize`).
    pub socket_bytes: u64,
}

/// Who has a file open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// Index of the first such process.
    pub process: usize,
    /// How many processes.
    pub processes: u64,
}

/// A deleted file that is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletedFile {
    /// Its inode.
    pub inode: Va,
    /// Bytes that it takes on its device or in memory.
    pub bytes: u64,
}

/// What the processes have open.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Unread data, by the index of a process.
    pub unread: HashMap<usize, Unread>,
    /// By inode.
    pub openers: HashMap<Va, Opener>,
    /// DeletedFile files, each once.
    pub deleted: Vec<DeletedFile>,
}

/// An open file.
#[derive(Clone, Copy, Debug)]
struct OpenFile {
    at: Va,
    opener: Opener,
    inode: Va,
    private: Va,
    reads: bool,
}

/// A pipe or a socket of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Channel {
    at: Va,
    /// Index of the process.
    process: usize,
}

/// Walks the tables of all processes.
pub(super) fn find(
    kernel: &Kernel<'_>,
    processes: &[Process],
    coverage: &mut Coverage,
    cancel: &Cancel,
) -> Opened {
    let Some(shape) = &kernel.shape.user_memory.open else {
        coverage.skip(Omitted::OpenFiles, Reason::NoTypeInfo);
        return Opened::default();
    };
    let mut open = Vec::new();
    for (index, process) in processes.iter().enumerate() {
        for table in &process.tables {
            slots(kernel, shape, *table, |file| open.push((file, index)));
        }
        let left = (processes.len() - index - 1) as u64;
        if let Some(why) = why_end(open.len(), cancel).filter(|_| left > 0) {
            coverage.skip(Omitted::OpenFilesOf(left), why);
            break;
        }
    }
    let files = files(kernel, shape, open);
    let mut opened = Opened::default();
    let (pipes, sockets) = sort(kernel, &files, &mut opened);
    if let Some(shape) = &shape.pipe {
        self::pipes(kernel, shape, pipes, &mut opened);
    }
    if let Some(shape) = &shape.socket {
        self::sockets(kernel, shape, sockets, &mut opened);
    }
    opened
}

/// Why no more tables are walked; `None` to go on.
fn why_end(open: usize, cancel: &Cancel) -> Option<Reason> {
    match open {
        _ if cancel.is_set() => Some(Reason::Interrupted),
        MOST_OPEN.. => Some(Reason::TooMany),
        _ => None,
    }
}

/// Every open file with the index of the first process that has it.
pub(super) fn files_of(kernel: &Kernel<'_>, processes: &[Process]) -> HashMap<Va, usize> {
    let mut open = HashMap::new();
    let Some(shape) = &kernel.shape.user_memory.open else { return open };
    for (index, process) in processes.iter().enumerate() {
        for table in &process.tables {
            slots(kernel, shape, *table, |file| {
                open.entry(file).or_insert(index);
            });
        }
        if open.len() >= MOST_OPEN {
            break;
        }
    }
    open
}

/// The tables of a process's files, and the arrays that these lead to.
pub(super) fn arrays_of(kernel: &Kernel<'_>, process: &Process) -> Vec<Va> {
    let Some(shape) = &kernel.shape.user_memory.open else { return Vec::new() };
    let read = |at: Va| kernel.memory.read_u64(at).ok().map(Va);
    let tables = process.tables.iter().filter_map(|files| read(files.at(shape.table)));
    tables.flat_map(|table| [Some(table), read(table.at(shape.files))]).flatten().collect()
}

/// Gives `each` the files of a table.
fn slots(kernel: &Kernel<'_>, shape: &OpenShape, table: Va, mut each: impl FnMut(Va)) {
    let memory = kernel.memory;
    let Ok(table) = memory.read_u64(table.at(shape.table)).map(Va) else { return };
    let (Ok(many), Ok(first)) =
        (memory.read_u32(table.at(shape.slots)), memory.read_u64(table.at(shape.files)))
    else {
        return;
    };
    let (many, mut scratch) = (u64::from(many).min(MOST_SLOTS), Vec::new());
    for start in (0..many).step_by(SLOTS_AT_ONCE as usize) {
        let len = (many - start).min(SLOTS_AT_ONCE) * 8;
        let Ok(raw) = memory.view(Va(first).at(start * 8), len as usize, &mut scratch) else {
            return;
        };
        let files = (0..len).step_by(8).map(|at| Va(word(raw, at)));
        files.filter(|file| kernel.direct_pfn(*file).is_some()).for_each(&mut each);
    }
}

/// Each file once, with its inode.
fn files(kernel: &Kernel<'_>, shape: &OpenShape, mut open: Vec<(Va, usize)>) -> Vec<OpenFile> {
    open.sort_unstable();
    open.dedup();
    let mut files = Vec::<OpenFile>::new();
    for (at, process) in open {
        match files.last_mut().filter(|last| last.at == at) {
            Some(last) => last.opener.processes += 1,
            None => files.push(OpenFile {
                at,
                opener: Opener { process, processes: 1 },
                inode: Va(0),
                private: Va(0),
                reads: false,
            }),
        }
    }
    let at: Vec<Va> = files.iter().map(|file| file.at).collect();
    gather(kernel.memory, &at, shape.file_bytes, |index, raw| {
        let file = &mut files[index];
        file.inode = Va(word(raw, shape.inode));
        file.private = Va(word(raw, shape.private));
        file.reads = half(raw, shape.mode) & READS != 0;
    });
    files.retain(|file| kernel.direct_pfn(file.inode).is_some());
    // Of several open files of one inode, one that can read comes first.
    files.sort_unstable_by_key(|file| (file.inode, !file.reads, file.opener.process));
    files
}

/// Pipes and sockets; deleted files and openers are noted.
fn sort(
    kernel: &Kernel<'_>,
    files: &[OpenFile],
    opened: &mut Opened,
) -> (Vec<Channel>, Vec<Channel>) {
    const KIND: u32 = 0o170_000;
    const FIFO: u32 = 0o010_000;
    const REGULAR: u32 = 0o100_000;
    const SOCKET: u32 = 0o140_000;
    let (mut pipes, mut sockets) = (Vec::new(), Vec::new());
    let Some(shape) = kernel.shape.user_memory.file.as_ref().map(|file| &file.inode) else {
        return (pipes, sockets);
    };
    let at: Vec<Va> = files.iter().map(|file| file.inode).collect();
    gather(kernel.memory, &at, shape.read_bytes, |index, raw| {
        let file = &files[index];
        let seen = opened.openers.get_mut(&file.inode);
        let is_first = seen.is_none();
        match seen {
            Some(opener) => opener.processes += u64::from(opener.process != file.opener.process),
            None => {
                opened.openers.insert(file.inode, file.opener);
            }
        }
        let channel = |at| Channel { at, process: file.opener.process };
        match half(raw, shape.mode) & KIND {
            _ if !is_first => {}
            FIFO => pipes.push(channel(Va(word(raw, shape.pipe)))),
            SOCKET => sockets.push(channel(file.private)),
            REGULAR if half(raw, shape.links) == 0 => {
                let bytes = word(raw, shape.blocks).saturating_mul(512);
                opened.deleted.push(DeletedFile { inode: file.inode, bytes });
            }
            _ => {}
        }
    });
    let is_sane = |channel: &Channel| kernel.direct_pfn(channel.at).is_some();
    pipes.retain(is_sane);
    sockets.retain(is_sane);
    pipes.sort_unstable();
    sockets.sort_unstable();
    (pipes, sockets)
}

/// A pipe has a page for each slot that is not empty, and spares.
fn pipes(kernel: &Kernel<'_>, shape: &PipeShape, pipes: Vec<Channel>, opened: &mut Opened) {
    let at: Vec<Va> = pipes.iter().map(|pipe| pipe.at).collect();
    gather(kernel.memory, &at, shape.bytes, |index, raw| {
        let used = half(raw, shape.head).wrapping_sub(half(raw, shape.tail));
        if used == 0 || used > half(raw, shape.slots) {
            return;
        }
        let ArrayPlace { at: spare, len: many } = shape.spare;
        let many = shape.spares.map_or(many, |at| many.min(u64::from(half(raw, at))));
        let spares = (0..many).filter(|slot| word(raw, spare + slot * 8) != 0).count() as u64;
        let unread = opened.unread.entry(pipes[index].process).or_default();
        unread.pipes += 1;
        unread.pipe_bytes += (u64::from(used) + spares) * PAGE_SIZE;
    });
}

fn sockets(kernel: &Kernel<'_>, shape: &SocketShape, sockets: Vec<Channel>, opened: &mut Opened) {
    let at: Vec<Va> = sockets.iter().map(|socket| socket.at).collect();
    let mut inner: Vec<Channel> = Vec::new();
    gather(kernel.memory, &at, shape.sock + 8, |index, raw| {
        inner.push(Channel { at: Va(word(raw, shape.sock)), ..sockets[index] });
    });
    inner.retain(|sock| kernel.direct_pfn(sock.at).is_some());
    inner.sort_unstable();
    let at: Vec<Va> = inner.iter().map(|sock| sock.at).collect();
    let mut held = vec![0; inner.len()];
    let mut walk = Vec::new();
    gather(kernel.memory, &at, shape.bytes, |index, raw| {
        let waiting = |at: u64| u64::from(half(raw, at)).min(i32::MAX as u64);
        if half(raw, shape.family) & 0xffff == UNIX {
            let many = half(raw, shape.queue_len).min(MOST_PACKETS);
            walk.push((index, Va(word(raw, shape.queue)), many));
        } else {
            let leaving = waiting(shape.queued).max(waiting(shape.sent).saturating_sub(1));
            held[index] = waiting(shape.received) + leaving;
        }
    });
    for (index, first, many) in walk {
        held[index] = packets(kernel, shape, at[index].at(shape.queue), first, many);
    }
    for (Channel { process, .. }, bytes) in
        inner.into_iter().zip(held).filter(|(_, bytes)| *bytes > 0)
    {
        let unread = opened.unread.entry(process).or_default();
        unread.sockets += 1;
        unread.socket_bytes += bytes;
    }
}

/// Bytes of the packets on a socket's queue, which ends where it began, at `head`.
fn packets(kernel: &Kernel<'_>, shape: &SocketShape, head: Va, first: Va, many: u32) -> u64 {
    let (mut bytes, mut at) = (0, first);
    let (start, end) = (shape.next.min(shape.packet_bytes), shape.next.max(shape.packet_bytes) + 8);
    let mut raw = vec![0; (end - start) as usize];
    for _ in 0..many {
        if at == head || kernel.memory.read(at.at(start), &mut raw).is_err() {
            break;
        }
        bytes += u64::from(half(&raw, shape.packet_bytes - start));
        at = Va(word(&raw, shape.next - start));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_somebody_ended_is_not_called_too_long() {
        let cancel = Cancel::default();
        assert_eq!(why_end(10, &cancel), None);
        assert_eq!(why_end(MOST_OPEN, &cancel), Some(Reason::TooMany));
        cancel.0.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(why_end(10, &cancel), Some(Reason::Interrupted));
    }
}
