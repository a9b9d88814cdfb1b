//! `sysak memgraph`: the owners of all memory, and the biggest holders in user space.
//!
//! No pointer is followed: a look at every page and every slab is enough, and quick.

use std::time::Instant;

use anyhow::Result;
use sysak_base::Stage;
use sysak_kernel::Kernel;
use sysak_kernel::user_memory::{self, Wanted};
use sysak_report::document::Detail;
use sysak_snapshot::{Inventory, take_inventory};

use super::session;
use crate::args::Memgraph;
use crate::progress::Line;

/// Slab caches that are shown.
const CACHES: usize = 10;
/// Lines of each other list.
const LINES: usize = 5;

/// Runs the command; the result is the exit status.
pub fn run(args: &Memgraph) -> Result<u8> {
    let start = Instant::now();
    let cancel = session::cancel_on_signals()?;
    let live = args.source.vmcore.is_none();
    if live {
        session::stay_out_of_the_way();
    }
    let line = Line::new(session::language(args.shape.lang));
    let progress: &dyn sysak_base::Progress = &line;
    progress.tell(Stage::Open, 0, 1);
    let mut target = sysak_target::open(&session::options(&args.source), &cancel)?;
    let top = args.top.map(usize::from);
    session::complete_symbols(&mut target);
    let kernel =
        Kernel::new(target.memory.as_memory(), &target.anchors, &target.types, &target.symbols)?;
    let mut seen = take_inventory(&kernel, progress, &cancel)?;
    let lines = top.unwrap_or(LINES);
    let holders = seen.interrupted.is_none().then(|| {
        let Inventory { heap, census, coverage, .. } = &mut seen;
        let own = session::own_process(live);
        let wanted = Wanted { top: lines, own_pid: own };
        let found = user_memory::find(&kernel, heap, census, wanted, coverage, &cancel);
        sysak_memgraph::holders(found, lines, own)
    });
    line.clear();
    let caches = top.unwrap_or(CACHES);
    let graph = sysak_memgraph::graph(
        session::target(&target.identity),
        &kernel,
        &seen,
        caches,
        holders,
        start.elapsed(),
    );
    session::print(graph, &args.shape, Detail::default())?;
    Ok(0)
}
