//! Pending timers: the wheels of `struct timer_list` and the trees of `struct hrtimer`.

use sysak_base::Va;
use sysak_symbols::Kallsyms;

use super::{ArrayPlace, Names};

/// The per-CPU variables that lead to pending timers.
pub const WHEELS: [&str; 2] = ["timer_bases", "hrtimer_bases"];

/// Where timers hang, and what they do.
#[derive(Clone, Debug)]
pub struct TimerShape {
    /// Bytes of a `struct timer_base`.
    pub base_bytes: u64,
    /// `timer_base.vectors`
    pub vectors: ArrayPlace,
    /// `timer_list.entry`
    pub entry: u64,
    /// `timer_list.function`
    pub function: u64,
    /// What a timer has to do with work that waits for it; `None` where that is not known.
    pub delayed: Option<DelayedShape>,
    /// Precise timers; `None` where this kernel's types do not describe them.
    pub precise: Option<PreciseShape>,
}

/// `struct delayed_work`
#[derive(Clone, Copy, Debug)]
pub struct DelayedShape {
    /// `timer`
    pub timer: u64,
    /// `work.func`
    pub function: u64,
}

/// `struct hrtimer` and where it hangs.
#[derive(Clone, Copy, Debug)]
pub struct PreciseShape {
    /// `hrtimer_cpu_base.clock_base`
    pub clocks: ArrayPlace,
    /// Bytes of a `struct hrtimer_clock_base`.
    pub clock_bytes: u64,
    /// The top of a clock's tree.
    pub root: u64,
    /// `rb_node.rb_left` and `rb_node.rb_right`
    pub sides: [u64; 2],
    /// `hrtimer.node.node`
    pub node: u64,
    /// `hrtimer.function`
    pub function: u64,
}

impl TimerShape {
    pub(super) fn find(names: Names<'_>) -> Option<TimerShape> {
        let vectors = names.find_array("timer_base", "vectors")?;
        let delayed = || {
            let delayed = |path| names.find("delayed_work", path);
            Some(DelayedShape { timer: delayed("timer")?, function: delayed("work.func")? })
        };
        Some(TimerShape {
            base_bytes: names.find_size("timer_base").filter(|bytes| *bytes > 0)?,
            vectors: ArrayPlace { len: vectors.len.min(1 << 12), ..vectors },
            entry: names.find("timer_list", "entry")?,
            function: names.find("timer_list", "function")?,
            delayed: delayed(),
            precise: PreciseShape::find(names),
        })
    }
}

impl PreciseShape {
    fn find(names: Names<'_>) -> Option<PreciseShape> {
        let clocks = names.find_array("hrtimer_cpu_base", "clock_base")?;
        Some(PreciseShape {
            clocks: ArrayPlace { len: clocks.len.min(64), ..clocks },
            clock_bytes: names.find_size("hrtimer_clock_base")?,
            root: names.find("hrtimer_clock_base", "active.rb_root.rb_root.rb_node")?,
            sides: [names.find("rb_node", "rb_left")?, names.find("rb_node", "rb_right")?],
            node: names.find("hrtimer", "node.node")?,
            function: names.find("hrtimer", "function")?,
        })
    }
}

/// The per-CPU pointers to the wheels, how many bytes they are, and the precise timers'.
pub fn find_wheels(symbols: &Kallsyms) -> (Option<(Va, u64)>, Option<Va>) {
    let [wheels, precise] = WHEELS;
    let bytes = |at: Va| Some((at, symbols.symbolize_per_cpu(at)?.size?));
    (symbols.find(wheels).and_then(bytes), symbols.find(precise))
}

/// The function of timers that have work queued when they expire.
pub fn find_delayed(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("delayed_work_timer_fn")
}
