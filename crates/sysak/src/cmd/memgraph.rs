//! `sysak memgraph`: the owners of all memory, and the biggest holders in user space.
//!
//! No pointer is followed: a look at every page and every slab is enough, and quick.

use anyhow::Result;
use sysak_kernel::user_memory::{self, Wanted};
use sysak_report::Speech;
use sysak_report::document::Detail;
use sysak_snapshot::{Inventory, take_inventory};

use super::session::Session;
use crate::args::Memgraph;

/// Slab caches that are shown.
const CACHES: usize = 10;
/// Lines of each other list.
const LINES: usize = 5;

/// Runs the command; the result is the exit status.
pub fn run(args: &Memgraph, speech: Speech) -> Result<u8> {
    let session = Session::open(&args.source, &args.output, speech)?;
    let kernel = session.kernel()?;
    let top = args.top.map(usize::from);
    let mut inventory = take_inventory(&kernel, session.stages(), &session.cancel)?;
    let lines = top.unwrap_or(LINES);
    let holders = inventory.interrupted.is_none().then(|| {
        let Inventory { heap, census, coverage, .. } = &mut inventory;
        let own_pid = session.own_process();
        let wanted = Wanted { top: lines, own_pid };
        let found = user_memory::find(&kernel, heap, census, wanted, coverage, &session.cancel);
        sysak_memgraph::holders(found, lines, own_pid)
    });
    let graph = sysak_memgraph::graph(
        session.target_report(),
        &kernel,
        &inventory,
        top.unwrap_or(CACHES),
        holders,
        session.elapsed(),
    );
    session.print(graph, Detail::default()).map(|()| 0)
}
