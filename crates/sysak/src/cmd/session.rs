//! What every command does before and after its own work.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};
use sysak_base::{Cancel, PAGE_SIZE};
use sysak_report as report;
use sysak_report::document::Detail;
use sysak_report::{Format, Lang, Present, Print, Style};
use sysak_target::{Choice, Identity, Options, Target};

use crate::args::{self, Reader, Shape, Source};

/// How to open what was asked for.
pub fn options(args: &Source) -> Options {
    Options {
        reader: match args.reader {
            Reader::Auto => Choice::Auto,
            Reader::Kcore => Choice::Kcore,
            Reader::Bpf => Choice::Bpf,
        },
        vmcore: args.vmcore.clone(),
        btf: args.btf.clone(),
        kallsyms: args.kallsyms.clone(),
    }
}

/// The language asked for, else the locale's.
pub fn language(asked: Option<args::Lang>) -> Lang {
    match asked {
        Some(args::Lang::En) => Lang::En,
        Some(args::Lang::Zh) => Lang::Zh,
        None => {
            let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
            let locale = set("LC_ALL").or_else(|| set("LC_MESSAGES")).or_else(|| set("LANG"));
            Lang::from_locale(&locale.unwrap_or_default())
        }
    }
}

/// The first Ctrl-C ends the work and prints what is known; the second one ends at once.
pub fn cancel_on_signals() -> Result<Cancel> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let cancel = Cancel::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_default(signal, cancel.0.clone())
            .and_then(|_| signal_hook::flag::register(signal, cancel.0.clone()))
            .context("cannot watch for Ctrl-C")?;
    }
    Ok(cancel)
}

/// How far behind the machine's own work: a quarter of a normal share. The lowest priority
/// would draw a look out over minutes on a busy machine, and what moves meanwhile looks lost.
const NICENESS: i32 = 5;

/// On a starved machine this process dies before its users' do, and it yields to them.
pub fn stay_out_of_the_way() {
    // Refused in some containers; the diagnosis is worth having all the same.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// Columns of a report where neither a terminal nor `COLUMNS` tells.
const WIDTH: usize = 100;

/// Prints a model on standard output in the shape and language that were asked for. Whoever closes the pipe early
/// (`sysak … | head`) has seen enough: that is no error, and the exit status still tells the verdict.
pub fn print(model: impl Present, shape: &Shape, detail: Detail) -> Result<()> {
    let stdout = io::stdout();
    let format = match shape.format {
        args::Format::Text => Format::Text(style(&stdout)),
        args::Format::Json => Format::Json,
    };
    let mut out = BufWriter::new(stdout.lock());
    let salt = shape.redact.then(salt);
    let print = Print { format, lang: language(shape.lang), detail, salt };
    match print.write(model, &mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

/// A number that nobody can guess, so that hashed addresses cannot be looked up.
fn salt() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// How text looks on this standard output.
fn style(stdout: &io::Stdout) -> Style {
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let asked = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    let width = match rustix::termios::tcgetwinsize(stdout) {
        Ok(size) => size.ws_col.into(),
        Err(_) => asked().unwrap_or(WIDTH),
    };
    Style { colour, width }
}

/// Our own process, which is no holder of anything on a live machine.
pub fn own_process(live: bool) -> u32 {
    if live { std::process::id() } else { 0 }
}

/// Reads the symbols of a dump's modules; a running kernel lists them in /proc/kallsyms.
pub fn complete_symbols(target: &mut Target) {
    if !target.identity.live {
        let memory = target.memory.as_memory();
        sysak_kernel::modules::read_modules(memory, &target.types, &mut target.symbols);
    }
}

/// What was looked at, in the report's terms.
pub fn target(identity: &Identity) -> report::Target {
    report::Target {
        kind: match identity.live {
            true => report::TargetKind::Live,
            false => report::TargetKind::Vmcore,
        },
        reader: match identity.reader {
            sysak_target::Reader::Kcore => report::Reader::Kcore,
            sysak_target::Reader::Bpf => report::Reader::Bpf,
            sysak_target::Reader::Elf => report::Reader::Elf,
        },
        kernel_release: identity.kernel_release.as_str().into(),
        arch: identity.arch.as_str().into(),
        page_size: PAGE_SIZE,
        hostname: identity.hostname.clone(),
        uptime_s: identity.uptime_s,
    }
}
