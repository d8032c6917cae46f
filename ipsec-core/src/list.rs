//! Lists and deadlines over lent memory, so that no call has to scan slots.

use crate::time::Instant;

/// A first-in, first-out list of slot numbers, each at most once.
///
/// One link a slot; a memory of zeros is an empty list.
pub struct SlotList<'r> {
    links: &'r mut [u32],
    head: u32,
    tail: u32,
    len: usize,
}

/// A link of a slot that is not in the list.
const ABSENT: u32 = 0;
/// A link of the last slot. Any other link is the next slot's number plus [`OFFSET`].
const LAST: u32 = 1;
const OFFSET: u32 = 2;

impl<'r> SlotList<'r> {
    /// An empty list for as many slots as there are links.
    pub fn new(links: &'r mut [u32]) -> Self {
        links.fill(ABSENT);
        Self { links, head: 0, tail: 0, len: 0 }
    }

    /// How many slots the list has links for.
    pub const fn slots(&self) -> usize {
        self.links.len()
    }

    /// Appends `slot`, unless it is in the list already. A slot without a link is ignored.
    #[inline(never)]
    pub fn push(&mut self, slot: u32) {
        let empty = self.is_empty();
        let Some(link) = self.links.get_mut(slot as usize) else { return };
        if *link != ABSENT {
            return;
        }
        *link = LAST;
        self.len = self.len.saturating_add(1);
        if empty {
            self.head = slot;
        } else if let Some(tail) = self.links.get_mut(self.tail as usize) {
            *tail = slot.saturating_add(OFFSET);
        }
        self.tail = slot;
    }

    /// Takes the first slot.
    #[inline(never)]
    pub fn pop(&mut self) -> Option<u32> {
        let slot = self.head;
        let link = self.links.get_mut(slot as usize).filter(|link| **link != ABSENT)?;
        self.head = match *link {
            LAST => u32::MAX,
            next => next.saturating_sub(OFFSET),
        };
        *link = ABSENT;
        self.len = self.len.saturating_sub(1);
        Some(slot)
    }

    /// How many slots are in the list.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The first slot, which stays.
    pub fn first(&self) -> Option<u32> {
        (!self.is_empty()).then_some(self.head)
    }

    /// Whether `slot` is in the list.
    pub fn contains(&self, slot: u32) -> bool {
        self.links.get(slot as usize).is_some_and(|link| *link != ABSENT)
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.links.get(self.head as usize).is_none_or(|link| *link == ABSENT)
    }
}

/// The deadline of one slot, in a [`Deadlines`] heap. All zero is unused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deadline {
    at: Instant,
    slot: u32,
    /// Where the heap holds the slot whose number is this entry's index, plus one; 0 if it has no deadline.
    place: u32,
}

impl Deadline {
    /// Unused.
    pub const EMPTY: Self = Self { at: Instant::ZERO, slot: 0, place: 0 };
}

/// The deadlines of slots, at most one each: a binary heap that can be changed from within.
///
/// Setting, clearing and taking cost the logarithm of the number of deadlines.
pub struct Deadlines<'r> {
    heap: &'r mut [Deadline],
    len: usize,
}

impl<'r> Deadlines<'r> {
    /// No deadlines, for as many slots as there are entries.
    pub fn new(heap: &'r mut [Deadline]) -> Self {
        heap.fill(Deadline::EMPTY);
        Self { heap, len: 0 }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().filter(|_| self.len > 0).map(|d| d.at)
    }

    /// Sets, moves, or with `None` clears the deadline of `slot`. A slot without an entry is ignored.
    pub fn set(&mut self, slot: u32, at: Option<Instant>) {
        let Some(place) = self.heap.get(slot as usize).map(|d| d.place) else { return };
        match (at, place.checked_sub(1)) {
            (Some(at), Some(index)) => self.place(index as usize, at, slot),
            (Some(at), None) => {
                let index = self.len;
                self.len = index.saturating_add(1);
                self.place(index, at, slot);
            }
            (None, Some(index)) => self.remove(index as usize),
            (None, None) => {}
        }
    }

    /// Takes one slot whose deadline has come.
    pub fn take_due(&mut self, now: Instant) -> Option<u32> {
        let first = self.heap.first().filter(|d| self.len > 0 && d.at <= now)?;
        let slot = first.slot;
        self.remove(0);
        Some(slot)
    }

    fn remove(&mut self, index: usize) {
        let (Some(removed), Some(last)) =
            (self.heap.get(index).copied(), self.heap.get(self.len.wrapping_sub(1)).copied())
        else {
            return;
        };
        self.len = self.len.saturating_sub(1);
        self.set_place(removed.slot, 0);
        if index < self.len {
            self.place(index, last.at, last.slot);
        }
    }

    /// Puts a deadline near `index`, from where it is moved to where it belongs.
    fn place(&mut self, mut index: usize, at: Instant, slot: u32) {
        while let Some(parent) = index.checked_sub(1).map(|i| i / 2)
            && let Some(above) = self.heap.get(parent).copied()
            && above.at > at
        {
            self.write(index, above.at, above.slot);
            index = parent;
        }
        while let Some(below) = self.smaller_child(index)
            && let Some(child) = self.heap.get(below).copied()
            && child.at < at
        {
            self.write(index, child.at, child.slot);
            index = below;
        }
        self.write(index, at, slot);
    }

    fn smaller_child(&self, index: usize) -> Option<usize> {
        let left = index.checked_mul(2)?.checked_add(1)?;
        let right = left.checked_add(1)?;
        let heap = self.heap.get(..self.len)?;
        match (heap.get(left), heap.get(right)) {
            (Some(l), Some(r)) if r.at < l.at => Some(right),
            (Some(_), _) => Some(left),
            _ => None,
        }
    }

    fn write(&mut self, index: usize, at: Instant, slot: u32) {
        if let Some(entry) = self.heap.get_mut(index) {
            entry.at = at;
            entry.slot = slot;
        }
        self.set_place(slot, u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1));
    }

    fn set_place(&mut self, slot: u32, place: u32) {
        if let Some(entry) = self.heap.get_mut(slot as usize) {
            entry.place = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_order_and_holds_a_slot_once() {
        let mut links = [0; 4];
        let mut list = SlotList::new(&mut links);
        for slot in [2, 0, 2, 3, 9] {
            list.push(slot);
        }
        assert!(list.contains(0) && !list.contains(1));
        assert_eq!(
            [list.pop(), list.pop(), list.pop(), list.pop()],
            [Some(2), Some(0), Some(3), None]
        );
        list.push(1);
        assert_eq!((list.first(), list.pop(), list.is_empty()), (Some(1), Some(1), true));
    }

    #[test]
    fn deadlines_agree_with_a_naive_model() {
        const SLOTS: usize = 37;
        let mut memory = [Deadline::EMPTY; SLOTS];
        let mut heap = Deadlines::new(&mut memory);
        let mut naive = [None; SLOTS];
        let mut random = 1u64;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let slot = u32::try_from((random >> 33) % SLOTS as u64).unwrap();
            let at = Instant::from_micros(random >> 50);
            match (random >> 20) % 4 {
                0 => {
                    heap.set(slot, None);
                    naive[slot as usize] = None;
                }
                1 => {
                    let due = heap.take_due(at);
                    match due {
                        Some(slot) => {
                            let earliest = naive.iter().flatten().min();
                            assert_eq!(naive[slot as usize].as_ref(), earliest);
                            naive[slot as usize] = None;
                        }
                        None => assert!(naive.iter().flatten().all(|d| *d > at)),
                    }
                }
                _ => {
                    heap.set(slot, Some(at));
                    naive[slot as usize] = Some(at);
                }
            }
            assert_eq!(heap.next(), naive.iter().flatten().min().copied());
        }
    }
}
