//! Reads this machine's memory through BPF and prints how fast, beside memcpy.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use sysak_base::{Cancel, Memory, PAGE_SIZE, Pa, PfnRange, Va};
use sysak_symbols::{Kallsyms, TypeInfo};
use sysak_target::bpf::BpfReader;

/// Bytes read per measurement, unless the argument names another number of MiB.
const AMOUNT_MIB: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let ram = ram(&std::fs::read_to_string("/proc/iomem")?);
    let types = TypeInfo::parse(&std::fs::read("/sys/kernel/btf/vmlinux")?)?;
    let symbols = Kallsyms::parse_proc(&std::fs::read("/proc/kallsyms")?)?;
    let start = Instant::now();
    let (reader, anchors) = BpfReader::open(&ram, &types, &symbols, 1, &Cancel::default())?;
    println!("opened in {:?}", start.elapsed());
    println!(
        "page_offset {:?} vmemmap {:?} page_table {:?} image {:?} own pages {}",
        anchors.page_offset,
        anchors.vmemmap,
        anchors.page_table,
        anchors.image_virtual,
        anchors.own_pages.len()
    );
    println!("per-CPU offsets {:x?}", anchors.per_cpu_offsets);

    let amount =
        std::env::args().nth(1).and_then(|mib| mib.parse().ok()).unwrap_or(AMOUNT_MIB) << 20;
    let direct = anchors.page_offset.ok_or("no direct map")?;
    let largest = ram.iter().max_by_key(|run| run.pages()).ok_or("no RAM")?;
    let from = direct.at(largest.start.pa().0);
    let span = (largest.pages() * PAGE_SIZE).min(1 << 30) as usize;
    for size in [8, 256, 4 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let read = reads_per_second(&reader, from, span, size, amount);
        println!(
            "{size:>8} bytes: read {:6.2} GB/s ({:.0} ns), memcpy {:6.2} GB/s",
            read,
            size as f64 / read,
            memcpy(size, amount)
        );
    }
    gather(&reader, from, span)?;
    Ok(())
}

fn ram(iomem: &str) -> Vec<PfnRange> {
    let line = |line: &str| {
        let (range, name) = line.split_once(" : ")?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        (name == "System RAM")
            .then_some(PfnRange::within_bytes(Pa(number(start)?), Pa(number(end)? + 1)))
    };
    iomem.lines().filter_map(line).collect()
}

fn reads_per_second(reader: &BpfReader, from: Va, span: usize, size: usize, amount: usize) -> f64 {
    let mut buf = vec![0; size];
    let amount = amount.min(size * 2_000_000);
    let (mut done, mut bad) = (0, 0);
    let start = Instant::now();
    while done < amount {
        bad += usize::from(reader.read(from.at((done % span) as u64), &mut buf).is_err());
        done += size;
    }
    black_box(&buf);
    if bad > 0 {
        println!("{bad} reads failed");
    }
    done as f64 / start.elapsed().as_nanos() as f64
}

fn memcpy(size: usize, amount: usize) -> f64 {
    let from = vec![1u8; 256 << 20];
    let mut to = vec![0u8; size];
    let amount = amount.min(size * 20_000_000);
    let mut done = 0;
    let start = Instant::now();
    while done < amount {
        let at = done % (from.len() - size + 1);
        to.copy_from_slice(&from[at..at + size]);
        black_box(&mut to);
        done += size;
    }
    done as f64 / start.elapsed().as_nanos() as f64
}

fn gather(reader: &BpfReader, from: Va, span: usize) -> Result<(), Box<dyn Error>> {
    for size in [8, 64, 256, 4096] {
        let at: Vec<Va> = (0..100_000).map(|i| from.at((i * 7919 * 4096 % span) as u64)).collect();
        let mut out = vec![0; at.len() * size];
        let mut bad = 0;
        let start = Instant::now();
        reader.gather(&at, size, &mut out, |_| bad += 1)?;
        let each = start.elapsed().as_nanos() / at.len() as u128;
        println!("{size:>8} bytes gathered: {each} ns each, {bad} unreadable");
    }
    Ok(())
}
