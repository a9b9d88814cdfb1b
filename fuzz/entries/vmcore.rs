//! What is done with a whole crash dump whose kernel's structures are damaged: all commands, through their crates.
//!
//! Nothing may panic or go on without end, and nothing that is reachable may be called lost.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sysak_base::{Cancel, Quiet, Va};
use sysak_holders::HolderResolver;
use sysak_infer::{TypeInferrer, kernel_types};
use sysak_kernel::user_memory::{self, Wanted};
use sysak_kernel::{Kernel, modules};
use sysak_snapshot::{Inventory, Snapshot, take_inventory};
use sysak_target::{Changes, Replaced};

use crate::image::Image;
use crate::outcome::{Outcome, Truth, diagnose};
use crate::places::Places;
use crate::random::Random;

/// Much longer than any dump of this size takes, even on a busy machine and without optimisation.
const MOST_SECONDS: u64 = 120;
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

/// Damages some of the dump's words, as the bytes say, and runs all commands.
pub fn vmcore(data: &[u8]) {
    let Subject { dump, places, truth } = subject();
    let number = |at: usize| {
        let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(at as u64, |bytes| u64::from_le_bytes(*bytes))
    };
    let mut random = Random::of(number(0), number(8));
    let Some(image) = Image::choose(places, &mut random, None) else { return };
    let words = image.words();
    let start = Instant::now();
    // A dump that is refused accuses nobody.
    if let Ok(found) = diagnose(dump, Changes { words: &words, ..Changes::default() }) {
        if Outcome::of(truth, &found) == Outcome::FalseLeak {
            image.print();
            panic!("{found}, where there is {truth}");
        }
    }
    let _ = black_box(look(dump, &words, &mut random));
    if start.elapsed() > Duration::from_secs(MOST_SECONDS) {
        image.print();
        panic!("it takes {:?}", start.elapsed());
    }
}

/// What `memgraph` and `inspect` do.
fn look(dump: &Path, words: &[Replaced], random: &mut Random) -> Result<()> {
    let mut target = sysak_target::open_changed(dump, Changes { words, ..Changes::default() })?;
    modules::read_modules(target.memory.as_memory(), &target.types, &mut target.symbols);
    let memory = target.memory.as_memory();
    let kernel = Kernel::new(memory, &target.anchors, &target.types, &target.symbols)?;
    let cancel = Cancel::default();
    graph(&kernel, &cancel)?;
    let snapshot = Snapshot::take(&kernel, &Quiet, &cancel)?;
    let resolver = HolderResolver::new(&kernel, &snapshot);
    let types = kernel_types(&kernel);
    let mut inferrer = TypeInferrer::new(&kernel, &snapshot.heap, &types);
    // Around what is damaged, and anywhere.
    let around = words.iter().map(|word| kernel.page_offset().at(word.at.0));
    let anywhere = (0..SHOWN).map(|_| kernel.page_offset().at(random.next() % (96 << 20)));
    let all: Vec<Va> = around.chain(anywhere).take(2 * SHOWN).collect();
    for at in all {
        black_box(sysak_inspect::spot(&resolver, at));
        black_box(sysak_inspect::refs(&resolver, at, &cancel));
        if let Some(object) = snapshot.heap.find_object(at.0) {
            black_box(sysak_inspect::dump(&resolver, &mut inferrer, object, at, 2));
        }
    }
    Ok(())
}

fn graph(kernel: &Kernel<'_>, cancel: &Cancel) -> Result<()> {
    let mut inventory = take_inventory(kernel, &Quiet, cancel)?;
    let Inventory { heap, census, coverage, .. } = &mut inventory;
    let wanted = Wanted { top: SHOWN, own_pid: 0 };
    let found = user_memory::find(kernel, heap, census, wanted, coverage, cancel);
    let holders = sysak_memgraph::holders(found, SHOWN, 0);
    let time = Duration::default();
    let target = Default::default();
    let graph = sysak_memgraph::graph(target, kernel, &inventory, SHOWN, Some(holders), time);
    black_box(serde_json::to_string(&graph)?);
    Ok(())
}
