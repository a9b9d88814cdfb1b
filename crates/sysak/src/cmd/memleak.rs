//! `sysak memleak`: opens the target, diagnoses it, prints the report.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sysak::diagnose::diagnose;
use sysak::plan::{Plan, WatchPlan};
use sysak_base::heap::{Heap, Object};
use sysak_base::{Cancel, Stage, Watching};
use sysak_kernel::Kernel;
use sysak_kernel::shape::EventShape;
use sysak_report::{Lang, Style};
use sysak_symbols::TypeInfo;
use sysak_target::{Choice, Options};

use crate::args::{Format, Kind, Memleak, Reader};
use crate::facts;
use crate::progress::{Line, Words};

/// Caches that are described where nothing leaks.
const BIGGEST: usize = 10;

/// Runs the command; the result is the exit status.
pub fn run(args: &Memleak) -> Result<u8> {
    let start = Instant::now();
    refuse_what_is_not_built(args)?;
    let lang = language(args);
    let cancel = cancel_on_signals()?;
    if args.vmcore.is_none() {
        stay_out_of_the_way();
    }
    let line = Line::new(match lang {
        Lang::En => Words { stage: stage_en, watching: watching_en },
        Lang::Zh => Words { stage: stage_zh, watching: watching_zh },
    });
    let progress: &dyn sysak_base::Progress = &line;
    progress.tell(Stage::Open, 0, 1);
    let mut target = sysak_target::open(&options(args), &cancel)?;
    if !target.identity.live {
        // A running kernel lists its modules' symbols in /proc/kallsyms.
        let memory = target.memory.as_ref();
        sysak_kernel::modules::read_modules(memory, &target.types, &mut target.symbols);
    }
    let mut kernel =
        Kernel::new(target.memory.as_ref(), &target.anchors, &target.types, &target.symbols)?;
    let plan = plan(args, target.identity.live, &target.types);
    let diagnosis = diagnose(&mut kernel, &plan, progress, &cancel)?;
    line.clear();
    let heap = &diagnosis.look.heap;
    if let Some(file) = &args.dump_objects {
        dump(heap, file, |slab, each| heap.for_each_live(slab, each))?;
    }
    if let Some(file) = &args.dump_lost {
        dump(heap, file, |slab, each| heap.for_each_white(slab, each))?;
    }
    let mut report = facts::report(&target.identity, &kernel, &diagnosis, &plan, start.elapsed());
    if args.all_caches {
        report.caches = facts::all_caches(&diagnosis);
    }
    print(report, args, lang)
}

/// Stands for every cache where a cache's name is asked for.
const ALL: &str = "all";
/// How long a live machine is watched at most.
const WATCH_SECONDS: u64 = 200;
/// Between two looks where nothing is watched.
const SETTLE_SECONDS: u64 = 5;

fn plan(args: &Memleak, live: bool, types: &TypeInfo) -> Plan {
    let seconds = |default| Duration::from_secs(args.interval.unwrap_or(default));
    let all = args.name.as_deref() == Some(ALL);
    Plan {
        only_cache: args.name.clone().filter(|_| !all),
        similarity_percent: args.similarity,
        settle: live.then(|| match args.check {
            true => seconds(SETTLE_SECONDS),
            false => Duration::from_secs(SETTLE_SECONDS),
        }),
        biggest: BIGGEST,
        watch: (live && !args.check).then(|| WatchPlan {
            limit: seconds(WATCH_SECONDS),
            budget_percent: args.max_overhead,
            all,
            events: EventShape::find(types),
        }),
    }
}

/// What later releases will do answers now with a clear error, never silently.
fn refuse_what_is_not_built(args: &Memleak) -> Result<()> {
    let kind = match args.kind {
        Kind::Auto | Kind::Slab => return Ok(()),
        Kind::Page => "page",
        Kind::Vmalloc => "vmalloc",
        Kind::Percpu => "percpu",
    };
    bail!("-t {kind}: judging {kind} memory is not built yet; use -t slab or -t auto")
}

fn options(args: &Memleak) -> Options {
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
fn language(args: &Memleak) -> Lang {
    match args.lang {
        Some(crate::args::Lang::En) => Lang::En,
        Some(crate::args::Lang::Zh) => Lang::Zh,
        None => {
            let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
            let locale = set("LC_ALL").or_else(|| set("LC_MESSAGES")).or_else(|| set("LANG"));
            Lang::from_locale(&locale.unwrap_or_default())
        }
    }
}

/// The first Ctrl-C ends the work and prints what is known; the second one ends at once.
fn cancel_on_signals() -> Result<Cancel> {
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
fn stay_out_of_the_way() {
    // Refused in some containers; the diagnosis is worth having all the same.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

fn dump(heap: &Heap, file: &Path, each: impl Fn(u32, &mut dyn FnMut(u16))) -> Result<()> {
    let describe = || format!("cannot write {}", file.display());
    let mut out = BufWriter::new(File::create(file).with_context(describe)?);
    let mut failed = Ok(());
    for slab in 0..heap.slabs.len() as u32 {
        let name = &heap.caches[usize::from(heap.slabs[slab as usize].cache)].name;
        each(slab, &mut |index| {
            if failed.is_ok() {
                let at = heap.object_va(Object { slab, index });
                failed = writeln!(out, "{name} {at}");
            }
        });
    }
    failed.and_then(|()| out.flush()).with_context(describe)
}

fn print(mut report: sysak_report::Report, args: &Memleak, lang: Lang) -> Result<u8> {
    report.render_sentences(lang);
    if args.redact {
        report = report.redacted(salt());
    }
    let stdout = std::io::stdout();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let width = rustix::termios::tcgetwinsize(&stdout).map_or(100, |size| size.ws_col.into());
    let mut out = BufWriter::new(stdout.lock());
    match args.format {
        Format::Text => sysak_report::text(
            &report,
            lang,
            Style { colour, width, stacks: args.stacks },
            &mut out,
        )?,
        Format::Json => sysak_report::json(&report, &mut out)?,
    }
    out.flush()?;
    Ok(report.verdict.exit_status())
}

/// A number that nobody can guess, so that hashed addresses cannot be looked up.
fn salt() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn stage_en(stage: Stage) -> &'static str {
    match stage {
        Stage::Open => "opening the target",
        Stage::Census => "finding the owner of every page",
        Stage::Walk => "finding the live objects of every slab",
        Stage::Reach => "following pointers from the roots",
        Stage::Alike => "grouping objects of like content",
        Stage::Collect => "watching allocations",
        Stage::Drain => "letting short-lived objects go",
        Stage::Settle => "waiting to confirm suspects",
        Stage::SecondLook => "looking again",
    }
}

fn stage_zh(stage: Stage) -> &'static str {
    match stage {
        Stage::Open => "打开目标",
        Stage::Census => "统计每个页面的归属",
        Stage::Walk => "遍历每个 slab 的对象",
        Stage::Reach => "从根开始沿指针标记",
        Stage::Alike => "按内容对对象分组",
        Stage::Collect => "跟踪分配和释放",
        Stage::Drain => "等待短期对象释放",
        Stage::Settle => "等待复查可疑对象",
        Stage::SecondLook => "复查",
    }
}

fn watching_en(seen: &Watching<'_>) -> String {
    let front = seen.front_runner.map_or(String::new(), |name| format!(", most by {name}"));
    format!("{} events, {} not freed yet{front}", seen.events, seen.outstanding)
}

fn watching_zh(seen: &Watching<'_>) -> String {
    let front = seen.front_runner.map_or(String::new(), |name| format!("，最多：{name}"));
    format!("{} 次事件，{} 个未释放{front}", seen.events, seen.outstanding)
}
