//! Addresses of a target: virtual, physical, and page frame numbers.

use std::fmt;

/// log2 of the page size; x86-64 has no other base page.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// Kernel virtual address; `Pa` is its physical twin, and neither converts silently.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Va(pub u64);

/// Physical address of the target machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pa(pub u64);

/// Page frame number: a physical address in pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pfn(pub u64);

impl Va {
    /// The address `len` bytes on; `None` past the end of the address space.
    pub fn checked_add(self, len: u64) -> Option<Va> {
        self.0.checked_add(len).map(Va)
    }

    /// The address `offset` bytes on, wrapping as the hardware does.
    pub fn at(self, offset: u64) -> Va {
        Va(self.0.wrapping_add(offset))
    }

    /// Bytes from `start` to here; `None` when this lies below it.
    pub fn checked_sub(self, start: Va) -> Option<u64> {
        self.0.checked_sub(start.0)
    }
}

impl Pa {
    /// The page that this byte lies in.
    pub fn pfn(self) -> Pfn {
        Pfn(self.0 >> PAGE_SHIFT)
    }
}

impl Pfn {
    /// The page's first byte. Frame numbers beyond 2^52 do not exist; they saturate.
    pub fn pa(self) -> Pa {
        Pa(self.0.saturating_mul(PAGE_SIZE))
    }
}

/// A run of page frames, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PfnRange {
    /// First frame.
    pub start: Pfn,
    /// First frame after the run.
    pub end: Pfn,
}

impl PfnRange {
    /// The frames that lie wholly inside the bytes `start..end`.
    pub fn within_bytes(start: Pa, end: Pa) -> PfnRange {
        let first = start.0.div_ceil(PAGE_SIZE);
        PfnRange { start: Pfn(first), end: Pfn((end.0 >> PAGE_SHIFT).max(first)) }
    }

    /// Number of pages.
    pub fn pages(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether `pfn` lies in the run.
    pub fn contains(&self, pfn: Pfn) -> bool {
        self.start <= pfn && pfn < self.end
    }
}

macro_rules! show_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
    )*};
}
show_as_hex!(Va, Pa, Pfn);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_pages_at_either_end_are_left_out() {
        let run = PfnRange::within_bytes(Pa(0x1001), Pa(0x9fbff));
        assert_eq!(run, PfnRange { start: Pfn(2), end: Pfn(0x9f) });
        assert_eq!(PfnRange::within_bytes(Pa(0x1001), Pa(0x1fff)).pages(), 0);
    }
}
