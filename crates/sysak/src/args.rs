//! The command line: one description for parsing, help and error texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::{ArgValueCandidates, CompletionCandidate};

/// Finds out what is wrong with a production Linux machine.
#[derive(Debug, Parser)]
#[command(name = "sysak", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The tools of the toolbox.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Finds kernel memory leaks; where there is none, shows what uses the memory.
    #[command(after_help = include_str!("../help/memleak.txt").trim_end())]
    Memleak(Box<Memleak>),
    /// Shows what uses the memory: the kernel, the file cache, and which programs.
    #[command(after_help = include_str!("../help/memgraph.txt").trim_end())]
    Memgraph(Memgraph),
    /// Shows details for experts: an address, an object, what points to it, a slab cache.
    #[command(after_help = include_str!("../help/inspect.txt").trim_end())]
    Inspect(Inspect),
}

impl Command {
    /// How to print what it finds.
    pub fn output(&self) -> &Output {
        match self {
            Command::Memleak(args) => &args.output,
            Command::Memgraph(args) => &args.output,
            Command::Inspect(args) => &args.output,
        }
    }
}

/// Options of `sysak memleak`.
#[derive(Args, Debug)]
pub struct Memleak {
    /// Kind of memory to judge
    #[arg(short = 't', long = "type", value_name = "KIND", default_value = "auto")]
    pub kind: MemoryKind,

    /// Judge this slab cache only (a name of /proc/slabinfo, or of a cache merged into it);
    /// "all" judges every cache, and watches the allocations of every cache
    #[arg(short = 'n', long, value_name = "CACHE", add = ArgValueCandidates::new(cache_names))]
    pub name: Option<String>,

    /// Only check memory as it is (two snapshots); watch no allocations
    #[arg(short = 'c', long)]
    pub check: bool,

    /// Show the whole call stacks of the functions that allocate
    #[arg(short = 's', long)]
    pub stacks: bool,

    /// Longest time to watch a live machine, in seconds [default: 200]; with --check, seconds
    /// between the snapshot that finds suspects and the one that confirms them [default: 5]
    #[arg(short = 'i', long, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(5..=86400))]
    pub interval: Option<u64>,

    /// Percent of one CPU that watching may use; above it fewer call stacks are recorded, then fewer allocations
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percent)]
    pub max_overhead: f64,

    #[command(flatten)]
    pub source: Source,

    /// Objects are similar if at least this percentage of their bytes is equal
    #[arg(long, value_name = "PERCENT", default_value_t = 65,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub similarity: u32,

    #[command(flatten)]
    pub output: Output,

    /// Seconds that explanations may take [default: as long as the look took, or up to 10 where the whole run took as
    /// long; at least 3]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86400))]
    pub explain_limit: Option<u64>,

    /// Also list the totals of every slab cache
    #[arg(long)]
    pub all_caches: bool,

    /// Write the cache and address of every allocated slab object to this file
    #[arg(long, value_name = "FILE")]
    pub dump_objects: Option<PathBuf>,

    /// Write the cache (or page, vmalloc, percpu) and address of everything unreachable to this file
    #[arg(long, value_name = "FILE")]
    pub dump_lost: Option<PathBuf>,
}

/// Options of `sysak memgraph`.
#[derive(Args, Debug)]
pub struct Memgraph {
    /// Lines in each list [default: 5, and 10 slab caches]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub top: Option<u16>,

    #[command(flatten)]
    pub source: Source,

    #[command(flatten)]
    pub output: Output,
}

/// Options of `sysak inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// What to show.
    #[command(subcommand)]
    pub what: Inspected,

    #[command(flatten)]
    pub source: Source,

    #[command(flatten)]
    pub output: Output,
}

/// What `sysak inspect` shows.
#[derive(Debug, Subcommand)]
pub enum Inspected {
    /// A slab cache: its objects by content, what they point to, and who holds them
    Cache {
        /// A name of /proc/slabinfo, or of a cache merged into it
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(cache_names))]
        name: String,
    },
    /// An object's words: symbols, objects, text and numbers
    Object {
        /// An address in the object
        #[arg(value_name = "ADDRESS", value_parser = address)]
        address: u64,
        /// Also show the objects that its words point to, this many steps deep
        #[arg(long, value_name = "N", default_value_t = 0,
              value_parser = clap::value_parser!(u32).range(0..=8))]
        depth: u32,
    },
    /// What points to an object, and how it is held (retention paths)
    Refs {
        /// An address in the object
        #[arg(value_name = "ADDRESS", value_parser = address)]
        address: u64,
    },
    /// A crash dump: format, filter, panic, the kernel's log, and which commands work on it
    Dump {
        /// The dump, as with --vmcore
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Show this many of the last lines of the kernel's log
        #[arg(long, value_name = "LINES", default_value_t = 12)]
        log: u32,
    },
    /// What an address is: symbol, object, stack, area, page
    Addr {
        /// The address
        #[arg(value_name = "ADDRESS", value_parser = address)]
        address: u64,
    },
}

/// `0xffff…`, or the same without the prefix, as crash and drgn print it.
fn address(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map_err(|_| "not an address: hexadecimal digits, such as 0xffff888004a1b0c0".to_owned())
}

/// The slab caches of this machine, for the shell to complete.
fn cache_names() -> Vec<CompletionCandidate> {
    let listed = std::fs::read_dir("/sys/kernel/slab").into_iter().flatten().flatten();
    let mut names: Vec<String> = listed
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with(':') && !name.contains(char::is_control))
        .collect();
    names.sort();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// What to look at.
#[derive(Args, Clone, Debug)]
pub struct Source {
    /// How to read a live kernel's memory
    #[arg(
        long,
        global = true,
        value_name = "READER",
        default_value = "auto",
        conflicts_with = "vmcore"
    )]
    pub reader: Reader,

    /// Analyse this crash dump instead of the live machine; once for each part of a split dump, or a quoted pattern
    #[arg(long, global = true, value_name = "FILE", long_help = include_str!("../help/vmcore.txt").trim_end())]
    pub vmcore: Vec<PathBuf>,

    /// Where the bytes of a raw image belong, as /proc/iomem writes it: 1000-9fbff,100000-bffdffff
    #[arg(long, global = true, value_name = "RUNS", requires = "vmcore")]
    pub ram_map: Option<sysak_target::RamMap>,

    /// Type information of the kernel (a BTF file, or a vmlinux with a .BTF section), where the target has none
    #[arg(long, global = true, value_name = "FILE")]
    pub btf: Option<PathBuf>,

    /// Symbols of the kernel (a copy of its /proc/kallsyms), where the target has none
    #[arg(long, global = true, value_name = "FILE")]
    pub kallsyms: Option<PathBuf>,

    /// Threads that read memory, the report is the same [default: as many as CPUs are idle, of a live machine a
    /// quarter of them; 8 at most]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: Option<u16>,
}

/// How to print it.
#[derive(Args, Debug)]
pub struct Output {
    /// Format of the report
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    /// Language of the report [default: from the locale]
    #[arg(long, global = true, value_name = "LANG")]
    pub lang: Option<Lang>,

    /// Replace kernel addresses, memory contents and the names of processes, files and the like with hashes
    #[arg(long, global = true)]
    pub redact: bool,
}

impl Output {
    /// The language that was asked for.
    pub fn lang(&self) -> Option<sysak_report::Lang> {
        self.lang.map(|lang| match lang {
            Lang::En => sysak_report::Lang::En,
            Lang::Zh => sysak_report::Lang::Zh,
        })
    }
}

/// A share that is no nonsense.
fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.1..=100.0).contains(&percent) => Ok(percent),
        _ => Err("not a number from 0.1 to 100".to_owned()),
    }
}

/// Kinds of kernel memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MemoryKind {
    /// Whatever leaks
    Auto,
    /// Slab objects
    Slab,
    /// Pages directly from the page allocator
    Page,
    /// vmalloc areas
    Vmalloc,
    /// Per-CPU memory
    Percpu,
}

/// Ways to read a live kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reader {
    /// /proc/kcore where it can be read, else BPF
    Auto,
    /// /proc/kcore
    Kcore,
    /// A BPF program that copies kernel memory
    Bpf,
}

/// Shapes of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person
    Text,
    /// For a program: one JSON document
    Json,
}

/// Languages of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English
    En,
    /// Chinese
    Zh,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_description_is_consistent() {
        Cli::command().debug_assert();
    }
}
