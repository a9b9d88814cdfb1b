//! What is done with a whole crash dump whose kernel's structures are damaged, or that lacks pages: all commands,
//! through their crates.
//!
//! Nothing may panic or go on without end, and nothing that is reachable may be called lost.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sysak_base::{Cancel, PAGE_SIZE, Pfn, Quiet, Va};
use sysak_holders::HolderResolver;
use sysak_infer::{TypeInferrer, kernel_types};
use sysak_kernel::user_memory::{self, Wanted};
use sysak_kernel::{Kernel, modules};
use sysak_snapshot::{Inventory, Snapshot, take_inventory};
use sysak_target::Changes;

use crate::image::Image;
use crate::outcome::{Outcome, Truth, diagnose};
use crate::places::Places;
use crate::random::Random;

/// Much longer than any dump of this size takes, even on a busy machine and without optimisation.
const MOST_SECONDS: u64 = 120;
/// RAM of the dump's machine: 96 MiB.
const RAM_PAGES: u64 = 96 << 8;
/// Pages that are left out, at most: one in 24.
const MOST_PAGES: usize = 1024;
/// Objects and holders that are looked at.
const SHOWN: usize = 5;

/// The dump of `fixtures`, what can be damaged in it, and what it leaks without damage.
struct Subject {
    dump: PathBuf,
    places: Places,
    truth: Truth,
}

fn subject() -> &'static Subject {
    static SUBJECT: OnceLock<Subject> = OnceLock::new();
    SUBJECT.get_or_init(|| {
        let dump = unpacked().expect("the fixture needs the program xz (package xz-utils)");
        let places = Places::of(&dump).expect("the fixture is a dump");
        let truth = diagnose(&dump, Changes::default()).expect("the fixture can be diagnosed");
        Subject { dump, places, truth }
    })
}

fn unpacked() -> Result<PathBuf> {
    let of_workspace = |folder: &Path| folder.join("fixtures/vmcore-6.12.xz");
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut files = folders.map(of_workspace).filter(|file| file.exists());
    let packed = files.next().context("the fixture is not there")?;
    let dump = std::env::temp_dir().join(format!("sysak-fuzz-{}", std::process::id()));
    let file = std::fs::File::create(&dump)?;
    let status = Command::new("xz").args(["-dc"]).arg(packed).stdout(file).status()?;
    anyhow::ensure!(status.success(), "xz: {status}");
    Ok(dump)
}

/// Removes the unpacked dump.
pub fn clean_up() {
    let _ = std::fs::remove_file(&subject().dump);
}

/// Damages some of the dump's words, or leaves out some of its pages, as the bytes say, and runs one of the commands.
pub fn vmcore(data: &[u8]) {
    let Subject { dump, places, truth } = subject();
    let number = |at: usize| {
        let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(at as u64, |bytes| u64::from_le_bytes(*bytes))
    };
    let mut random = Random::of(number(0), number(8));
    let (mut words, mut without) = (Vec::new(), Vec::new());
    if random.below(4) == 0 {
        let many = random.below(MOST_PAGES);
        without = (0..many).map(|_| Pfn(random.next() % RAM_PAGES)).collect();
    } else if let Some(image) = Image::choose(places, &mut random, None) {
        words = image.words();
    }
    let changes = Changes { words: &words, without: &without, ..Changes::default() };
    let start = Instant::now();
    match random.below(4) {
        0 | 1 => judge(dump, changes, truth),
        // A dump that is refused accuses nobody.
        2 => drop(black_box(graph(dump, changes))),
        _ => drop(black_box(inspect(dump, changes, &mut random))),
    }
    let taken = start.elapsed();
    assert!(taken.as_secs() < MOST_SECONDS, "{taken:?} with {changes:?}");
}

/// What `memleak` does: nothing may be called lost that is not, and no leak be denied because of missing pages.
fn judge(dump: &Path, changes: Changes<'_>, truth: &Truth) {
    let Ok(found) = diagnose(dump, changes) else { return };
    let outcome = Outcome::of(truth, &found);
    let is_denied = !changes.without.is_empty() && outcome == Outcome::Missed && !found.is_leak();
    let is_wrong = outcome == Outcome::FalseLeak || is_denied;
    assert!(!is_wrong, "{found}, where there is {truth}, with {changes:?}");
}

/// Opens the changed dump and gives `look` its kernel.
fn with_kernel(
    dump: &Path,
    changes: Changes<'_>,
    look: impl FnOnce(&Kernel<'_>) -> Result<()>,
) -> Result<()> {
    let mut target = sysak_target::open_changed(dump, changes)?;
    modules::read_modules(target.memory.as_ref(), &target.types, &mut target.symbols);
    let memory = target.memory.as_ref();
    look(&Kernel::new(memory, &target.anchors, &target.types, &target.symbols)?)
}

/// What `inspect` does, around what is damaged and anywhere.
fn inspect(dump: &Path, changes: Changes<'_>, random: &mut Random) -> Result<()> {
    let cancel = Cancel::default();
    with_kernel(dump, changes, |kernel| {
        let snapshot = Snapshot::take(kernel, &Quiet, &cancel)?;
        let resolver = HolderResolver::new(kernel, &snapshot, &cancel);
        let types = kernel_types(kernel);
        let mut inferrer = TypeInferrer::new(kernel, &snapshot.heap, &types);
        let around = changes.words.iter().map(|word| kernel.page_offset().at(word.at.0));
        let anywhere = || kernel.page_offset().at(random.next() % (RAM_PAGES * PAGE_SIZE));
        let anywhere: Vec<Va> = std::iter::repeat_with(anywhere).take(SHOWN).collect();
        let all: Vec<Va> = around.take(SHOWN).chain(anywhere).collect();
        black_box(sysak_inspect::refs(&resolver, all[0], &cancel));
        for at in all {
            black_box(sysak_inspect::spot(&resolver, at));
            if let Some(object) = snapshot.heap.find_object(at.0) {
                black_box(sysak_inspect::dump(&resolver, &mut inferrer, object, at, 2));
            }
        }
        Ok(())
    })
}

/// What `memgraph` does.
fn graph(dump: &Path, changes: Changes<'_>) -> Result<()> {
    let cancel = Cancel::default();
    with_kernel(dump, changes, |kernel| {
        let mut inventory = take_inventory(kernel, &Quiet, &cancel)?;
        let Inventory { heap, census, coverage, .. } = &mut inventory;
        let wanted = Wanted { top: SHOWN, own_pid: 0 };
        let found = user_memory::find(kernel, heap, census, wanted, coverage, &cancel);
        let holders = Some(sysak_memgraph::holders(found, SHOWN, 0));
        let (target, time) = (Default::default(), Duration::default());
        let graph = sysak_memgraph::graph(target, kernel, &inventory, SHOWN, holders, time);
        black_box(serde_json::to_string(&graph)?);
        Ok(())
    })
}
