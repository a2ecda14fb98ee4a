//! Positions as ranges that never touch: however many are settled behind one that is not, they take little memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::Seq;

/// A set of positions.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// From the first to the last of each.
    ranges: BTreeMap<Seq, Seq>,
    /// The firsts of what has changed.
    dirty: BTreeSet<Seq>,
}

impl Ranges {
    /// As it was kept.
    pub(super) fn of(ranges: BTreeMap<Seq, Seq>) -> Self {
        Self { ranges, dirty: BTreeSet::new() }
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.ranges.range(..=seq).next_back().is_some_and(|(_, last)| *last >= seq)
    }

    /// Adds from `first` to `last`.
    pub(super) fn insert(&mut self, mut first: Seq, mut last: Seq) {
        let before = self.ranges.range(..=first).next_back().map(|(first, last)| (*first, *last));
        if let Some((known_first, known_last)) = before
            && known_last.0.saturating_add(1) >= first.0
        {
            if known_last >= last {
                return;
            }
            first = known_first;
        }
        while let Some((known_first, known_last)) = self
            .ranges
            .range(first..=Seq(last.0.saturating_add(1)))
            .next()
            .map(|(first, last)| (*first, *last))
        {
            self.ranges.remove(&known_first);
            self.dirty.insert(known_first);
            last = last.max(known_last);
        }
        self.ranges.insert(first, last);
        self.dirty.insert(first);
    }

    /// Takes out the range that begins just behind `floor`; answers its last.
    pub(super) fn take_adjoining(&mut self, floor: Seq) -> Option<Seq> {
        let (first, last) = self.ranges.first_key_value().map(|(first, last)| (*first, *last))?;
        if first.0 > floor.0.saturating_add(1) {
            return None;
        }
        self.ranges.remove(&first);
        self.dirty.insert(first);
        Some(last)
    }

    /// Forgets all of it; nothing of that is told.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
        self.dirty.clear();
    }

    /// What has changed since this was last asked, by the first of each: its last, or that it is gone.
    pub(super) fn changes(&mut self) -> BTreeMap<Seq, Option<Seq>> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|first| (first, self.ranges.get(&first).copied())).collect()
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(inserts in vec((1_u64..40, 0_u64..6), 0..30), split in 0_usize..30) {
            let (mut ranges, mut model, mut kept) = (Ranges::default(), BTreeSet::new(), BTreeMap::new());
            for (index, (first, more)) in inserts.into_iter().enumerate() {
                ranges.insert(Seq(first), Seq(first + more));
                model.extend(first..=first + more);
                if index == split {
                    super::super::tests::put(&mut kept, ranges.changes());
                }
            }
            super::super::tests::put(&mut kept, ranges.changes());
            prop_assert_eq!(&kept, &ranges.ranges, "what is told of changes is all of them");
            for seq in 0..60 {
                prop_assert_eq!(ranges.contains(Seq(seq)), model.contains(&seq));
            }
            let touching = ranges.ranges.iter().zip(ranges.ranges.iter().skip(1)).any(|(a, b)| a.1.0 + 1 >= b.0.0);
            prop_assert!(!touching);
            if let Some(first) = model.first().copied() {
                let last = (first..60).take_while(|seq| model.contains(seq)).last().unwrap();
                prop_assert_eq!(ranges.take_adjoining(Seq(first - 1)), Some(Seq(last)));
                prop_assert!(!ranges.contains(Seq(first)));
            }
        }
    }
}
