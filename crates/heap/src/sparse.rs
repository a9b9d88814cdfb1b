//! A long array with gaps.
//!
//! Memory has gaps between its banks and nodes, and may begin at 32 TiB. What is known of each page must not cost
//! memory by its address: the array comes in parts, and a part comes into being with its first item.

/// Items of a part. With 64 pages an item, it is 1 GiB of memory.
const PART: usize = 4096;
/// Where a part begins that is not there: behind all items.
const NOWHERE: u32 = u32::MAX;

/// A long array, of which only parts are there; all other items have the default value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sparse<T> {
    /// Where each part begins in `items`.
    starts: Vec<u32>,
    items: Vec<T>,
}

impl<T> Sparse<T> {
    /// The array that has no items.
    pub const fn empty() -> Sparse<T> {
        Sparse { starts: Vec::new(), items: Vec::new() }
    }

    /// The item at an index; `None` where its part is not there.
    #[inline(always)]
    pub fn get(&self, index: u64) -> Option<&T> {
        let start = *self.starts.get((index / PART as u64) as usize)?;
        self.items.get(start as usize + index as usize % PART)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, index: u64) -> Option<&mut T> {
        let start = *self.starts.get((index / PART as u64) as usize)?;
        self.items.get_mut(start as usize + index as usize % PART)
    }

    /// The items of the parts that are there, in no order.
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// The parts that are there, ascending, each with the index of its first item.
    pub fn parts(&self) -> impl Iterator<Item = (u64, &[T])> {
        let firsts = (0..).step_by(PART);
        let present = firsts.zip(&self.starts).filter(|(_, start)| **start != NOWHERE);
        present.map(|(first, start)| (first, &self.items[*start as usize..][..PART]))
    }

    /// Calls `each` with every item of the parts that are there, ascending.
    pub fn for_each_mut(&mut self, mut each: impl FnMut(&mut T)) {
        for start in self.starts.iter().filter(|start| **start != NOWHERE) {
            self.items[*start as usize..][..PART].iter_mut().for_each(&mut each);
        }
    }

    /// The first index behind the part that an index is in.
    pub fn end_of_part(index: u64) -> u64 {
        (index / PART as u64 + 1) * PART as u64
    }

    /// Bytes that the array occupies.
    pub fn bytes(&self) -> u64 {
        (self.starts.len() * size_of::<u32>() + self.items.len() * size_of::<T>()) as u64
    }
}

impl<T: Copy + Default> Sparse<T> {
    /// An array for so many items, none of which is there.
    pub fn new(items: u64) -> Sparse<T> {
        let parts = items.div_ceil(PART as u64) as usize;
        Sparse { starts: vec![NOWHERE; parts], items: Vec::new() }
    }

    /// The item at an index, to be changed, which makes its part be there; `None` beyond the array's size.
    pub fn add(&mut self, index: u64) -> Option<&mut T> {
        let start = self.starts.get_mut((index / PART as u64) as usize)?;
        if *start == NOWHERE {
            let end = u32::try_from(self.items.len()).ok().filter(|end| *end < NOWHERE)?;
            *start = end;
            self.items.resize(self.items.len() + PART, T::default());
        }
        self.items.get_mut(*start as usize + index as usize % PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_ascend_in_whatever_order_they_came_into_being() {
        let mut array = Sparse::<u64>::new(4 * PART as u64);
        for index in [3 * PART as u64 + 1, 5] {
            *array.add(index).unwrap() = index;
        }
        assert!(array.add(4 * PART as u64).is_none(), "beyond its size");
        let firsts: Vec<u64> = array.parts().map(|(first, _)| first).collect();
        assert_eq!(firsts, [0, 3 * PART as u64]);
        let mut seen = Vec::new();
        array.for_each_mut(|item| seen.extend((*item > 0).then_some(*item)));
        assert_eq!(seen, [5, 3 * PART as u64 + 1]);
        assert_eq!(array.get(5), Some(&5));
        assert_eq!(array.get(PART as u64), None);
        assert_eq!(Sparse::<u64>::end_of_part(5), PART as u64);
    }
}
