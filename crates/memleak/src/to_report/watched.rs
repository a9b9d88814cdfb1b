//! Results of watching allocations, in the report's terms.

use std::collections::HashMap;

use sysak_base::Va;
use sysak_kernel::Kernel;
use sysak_report as report;
use sysak_snapshot::to_report::rounded;

use crate::callers::Caller;
use crate::decision::End;
use crate::diagnose::Diagnosis;
use crate::judge::Case;
use crate::rank::{PROVED_OBJECTS, Ranked};
use crate::trend;
use crate::watch::rounds::Watched;
use crate::watch::{FunctionId, Known};

/// Functions of a cache that are reported.
const MOST_FUNCTIONS: usize = 50;
/// Stacks and processes of a function that are reported.
const MOST_WAYS: usize = 5;

/// How allocations were watched; `None` where nobody wanted that.
pub fn trace(diagnosis: &Diagnosis<'_>) -> Option<report::Trace> {
    if let Some(refused) = &diagnosis.observed.refused {
        let refusal = Some(refused.clone());
        return Some(report::Trace { refusal, ..report::Trace::default() });
    }
    let watched = diagnosis.observed.watched.as_ref()?;
    let name = |cache: &u16| {
        diagnosis.observed.snapshot.heap.caches[usize::from(*cache)].name.as_str().into()
    };
    Some(report::Trace {
        collect_s: rounded(watched.watch.collected),
        drain_s: rounded(watched.watch.drained),
        events: watched.seen.allocs + watched.seen.frees,
        recorded: watched.seen.recorded,
        outstanding: watched.counted.outstanding,
        lost_records: watched.seen.lost + watched.counted.damaged,
        caches: watched.followed.iter().map(name).collect(),
        one_in: watched.watch.pace.thinnest,
        stacks_thinned: watched.watch.pace.stacks_thinned,
        overhead_percent: watched.watch.pace.overhead_percent(),
        ended: match watched.end {
            // Rounds judge by numbers alone: what is a leak by content too is known only now.
            End::Quiet if diagnosis.leaks() || diagnosis.suspects() => report::TraceEnd::Conclusive,
            End::Conclusive => report::TraceEnd::Conclusive,
            End::Quiet => report::TraceEnd::Quiet,
            End::TimeLimit => report::TraceEnd::TimeLimit,
            End::Interrupted(_) => report::TraceEnd::Interrupted,
        },
        wait_more_s: watched.wait_more.map(|more| more.as_secs_f64().round()),
        refused: None,
        refusal: None,
    })
}

/// How memory grew meanwhile.
pub fn trend(diagnosis: &Diagnosis<'_>) -> Option<report::Trend> {
    let watched = diagnosis.observed.watched.as_ref()?;
    let samples = &watched.watch.samples;
    let (first, last) = (samples.taken.first()?, samples.taken.last()?);
    let watched_s = (last.at - first.at).as_secs_f64();
    if watched_s < 1.0 {
        return None;
    }
    let unreclaimable = trend::rate(&samples.unreclaimable());
    let looks = lost_looks(diagnosis, watched);
    let leak = leak_rate(diagnosis, watched, &looks);
    let available = last.pulse.available_bytes;
    // A loss that held is lost for ever, and a habit goes on; other growth ends by itself.
    let habit = unreclaimable.filter(|_| trend::is_steady(&samples.unreclaimable()));
    let held = leak.filter(|_| trend::holds(&looks));
    let rate = held.into_iter().chain(habit).fold(0.0, f64::max);
    Some(report::Trend {
        watched_s: (watched_s * 10.0).round() / 10.0,
        unreclaimable_bytes_per_s: unreclaimable.map(f64::round),
        leak_bytes_per_s: leak,
        available_bytes: available,
        full_in_s: available.and_then(|available| trend::full_in(available, rate)),
    })
}

/// The unreachable bytes of all that leaks, by snapshot.
fn lost_looks(diagnosis: &Diagnosis<'_>, watched: &Watched<'_>) -> Vec<trend::Sample> {
    let leaking = || diagnosis.cases.iter().filter(|case| case.leaks);
    let of = |bytes: &[u64], cache: u16| bytes.get(usize::from(cache)).copied().unwrap_or(0);
    let look = |(at, bytes): &(f64, Vec<u64>)| {
        (*at, leaking().map(|case| of(bytes, case.cache)).sum::<u64>())
    };
    watched.lost.iter().map(look).collect()
}

/// Bytes that the guilty functions lost in a second: no more than the lost memory grew by in all.
fn leak_rate(
    diagnosis: &Diagnosis<'_>,
    watched: &Watched<'_>,
    looks: &[trend::Sample],
) -> Option<f64> {
    let net = trend::net_rate(looks)?;
    let lost: u64 = diagnosis
        .cases
        .iter()
        .filter(|case| case.leaks)
        .map(|case| {
            let guilty = case.functions.iter().filter(|f| f.unreachable >= PROVED_OBJECTS);
            guilty.map(|function| function.unreachable_bytes).sum::<u64>()
        })
        .sum();
    let seconds = watched.watch.collected.as_secs_f64();
    (lost > 0 && seconds > 0.0).then(|| (lost as f64 / seconds).min(net).round())
}

/// Who allocates the objects of a cache.
pub fn functions(
    kernel: &Kernel<'_>,
    diagnosis: &Diagnosis<'_>,
    case: &Case,
) -> Vec<report::Function> {
    if !case.callers.is_empty() {
        return callers(kernel, diagnosis, case);
    }
    let Some(watched) = &diagnosis.observed.watched else { return Vec::new() };
    // Where marking did not end, or nobody looked again, nothing is known to be lost.
    let judged = diagnosis.interrupted().is_none();
    let allocated = allocated(watched);
    let shown = case.functions.iter().take(MOST_FUNCTIONS);
    shown
        .map(|ranked| {
            let marked = (!case.similarity.groups.is_empty()).then_some(ranked.marked);
            let mut function = function(kernel, watched, ranked);
            function.allocated = allocated.get(&ranked.key).copied();
            function.marked = marked;
            function.unreachable = judged.then_some(ranked.unreachable);
            function.unreachable_bytes = judged.then_some(ranked.unreachable_bytes);
            function
        })
        .collect()
}

/// Who asked for areas, as the kernel notes it; and how, where that was watched.
fn callers(kernel: &Kernel<'_>, diagnosis: &Diagnosis<'_>, case: &Case) -> Vec<report::Function> {
    let judged = diagnosis.observed.interrupted.is_none();
    let is_reported = |caller: &&Caller| match case.is_suspected() {
        true => caller.lost > 0 || caller.grew_bytes.is_some_and(|bytes| bytes > 0),
        false => caller.lost > 0,
    };
    let reported = case.callers.iter().filter(is_reported).take(MOST_FUNCTIONS);
    reported
        .map(|caller| {
            let noted = report::Function {
                source: report::FunctionSource::Content,
                outstanding: Some(caller.areas),
                unreachable: judged.then_some(caller.lost),
                unreachable_bytes: judged.then_some(caller.lost_bytes),
                grew_bytes: caller.grew_bytes,
                ..named(kernel, caller.at)
            };
            let seen = diagnosis.observed.watched.as_ref().and_then(|watched| {
                let passes = |ranked: &&Ranked<FunctionId>| passes(watched, ranked, caller.at);
                Some(function(kernel, watched, case.functions.iter().find(passes)?))
            });
            match seen {
                Some(report::Function { stack, stacks, processes, .. }) => {
                    report::Function { stack, stacks, processes, ..noted }
                }
                None => noted,
            }
        })
        .collect()
}

/// Whether a way to allocations of a function leads through the function that goes on at `at`.
fn passes(watched: &Watched<'_>, ranked: &Ranked<FunctionId>, at: Va) -> bool {
    let names = &watched.watch.names;
    let mut frames = ranked.stacks.iter().flat_map(|(stack, _)| names.stack(*stack));
    frames.any(|frame| names.is_same(*frame, at))
}

/// The function that a return address lies in.
fn named(kernel: &Kernel<'_>, at: Va) -> report::Function {
    let symbol = kernel.symbols.symbolize_return(at);
    report::Function {
        name: match symbol {
            Some(symbol) => symbol.name.into(),
            // No call site, and no stack was taken.
            None if at.0 == 0 => report::UNKNOWN_FUNCTION.into(),
            None => at.to_string().into(),
        },
        offset: symbol.map(|symbol| symbol.offset.into()),
        size: symbol.and_then(|symbol| symbol.size).map(Into::into),
        module: symbol.and_then(|symbol| symbol.module).map(Into::into),
        ..report::Function::default()
    }
}

/// Allocations by function, as far as they were counted.
fn allocated(watched: &Watched<'_>) -> HashMap<FunctionId, u64> {
    let mut allocated = HashMap::new();
    for (site, count) in &watched.seen.sites {
        // A wrapper's call site is many functions'.
        if let Some(function) = watched.watch.names.of_site(*site) {
            *allocated.entry(function).or_insert(0) += count;
        }
    }
    allocated
}

fn function(
    kernel: &Kernel<'_>,
    watched: &Watched<'_>,
    ranked: &Ranked<FunctionId>,
) -> report::Function {
    let blamed = watched.watch.names.function(ranked.key);
    let place = |at: &Va| place(kernel, *at);
    let stacks: Vec<report::Stack> = ranked
        .stacks
        .iter()
        .take(MOST_WAYS)
        .map(|(stack, outstanding)| report::Stack {
            frames: watched.watch.names.stack(*stack).iter().map(place).collect(),
            outstanding: *outstanding,
        })
        .filter(|stack| !stack.frames.is_empty())
        .collect();
    report::Function {
        call_site: blamed.call_site.as_ref().map(place),
        source: report::FunctionSource::Traced,
        outstanding: Some(ranked.outstanding),
        stack: stacks.first().map_or(Vec::new(), |stack| stack.frames.clone()),
        stacks: if stacks.len() > 1 { stacks } else { Vec::new() },
        processes: ranked
            .processes
            .iter()
            .take(MOST_WAYS)
            .map(|process| report::Process {
                pid: process.pid,
                comm: comm(&process.comm),
                outstanding: process.count,
            })
            .collect(),
        ..named(kernel, blamed.at)
    }
}

/// `bond_vminfo_add+0x7c/0x200 [bonding]`
fn place(kernel: &Kernel<'_>, at: Va) -> report::Symbolic {
    let symbol = kernel.symbols.symbolize_return(at);
    symbol.map_or_else(|| at.to_string(), |symbol| symbol.to_string()).into()
}

fn comm(bytes: &[u8; 16]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A count that grew as the cache did.
pub fn explanation(case: &Case) -> Option<report::Explanation> {
    let (known, grew_by) = case.growth.as_ref()?.explained?;
    let count = match known {
        Known::Files => report::CountKind::Files,
        Known::Inodes => report::CountKind::Inodes,
        Known::Dentries => report::CountKind::Dentries,
        Known::Sockets => report::CountKind::Sockets,
        Known::Threads => report::CountKind::Threads,
        Known::Connections => report::CountKind::Connections,
        Known::Keys => report::CountKind::Keys,
        Known::Mounts => report::CountKind::Mounts,
        Known::Cgroups => report::CountKind::Cgroups,
        Known::Modules => report::CountKind::Modules,
        Known::Balloon => report::CountKind::BalloonPages,
        Known::Unread => report::CountKind::UnreadBytes,
    };
    Some(report::Explanation { count, grew_by })
}
