//! Doubly linked lists inside one array: linked by index, so that they need neither allocation nor unsafe code.

use alloc::vec::Vec;

/// The `next` of a node that is in no list.
const UNLINKED: u32 = u32::MAX;

/// A value and its place in at most one list. Lists are rings through their head, which makes unlinking free of
/// special cases: a node needs not know in which list it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<T> {
    value: T,
    prev: u32,
    next: u32,
}

/// A fixed number of lists over values that have numbers; each value is in at most one list. Every operation takes
/// constant time and only [`grow`](Self::grow) allocates.
#[derive(Debug)]
pub(crate) struct Lists<T> {
    /// The heads first, then the values in the order of their numbers.
    nodes: Vec<Node<T>>,
    heads: u32,
}

impl<T: Copy + Default> Lists<T> {
    /// `heads` empty lists (numbered from 0) and `capacity` values in none of them.
    pub(crate) fn new(heads: u32, capacity: usize) -> Self {
        let mut nodes = Vec::with_capacity(heads as usize + capacity);
        nodes.extend((0..heads).map(|head| Node { value: T::default(), prev: head, next: head }));
        let mut lists = Self { nodes, heads };
        lists.grow(capacity);
        lists
    }

    /// Makes room for values `0..capacity`; never shrinks.
    ///
    /// # Panics
    /// When heads and values together are more than a `u32` can number.
    pub(crate) fn grow(&mut self, capacity: usize) {
        let len = self.heads as usize + capacity;
        assert!(u32::try_from(len).is_ok_and(|len| len != UNLINKED), "more values than a list can number");
        if len > self.nodes.len() {
            self.nodes.resize(len, Node { value: T::default(), prev: UNLINKED, next: UNLINKED });
        }
    }

    /// How many values there are.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.nodes.len() - self.heads as usize
    }

    /// The value number `key`, in whatever list.
    pub(crate) fn value(&self, key: u32) -> &T {
        &self.nodes[(key + self.heads) as usize].value
    }

    /// The value number `key`, to change.
    pub(crate) fn value_mut(&mut self, key: u32) -> &mut T {
        &mut self.nodes[(key + self.heads) as usize].value
    }

    /// Whether `key` is in a list. A number that was never given room is in none.
    pub(crate) fn is_linked(&self, key: u32) -> bool {
        let index = key as usize + self.heads as usize;
        self.nodes.get(index).is_some_and(|node| node.next != UNLINKED)
    }

    /// Whether list `head` has no value.
    pub(crate) fn is_empty(&self, head: u32) -> bool {
        self.nodes[head as usize].next == head
    }

    /// The first value of list `head`.
    pub(crate) fn first(&self, head: u32) -> Option<u32> {
        self.nodes[head as usize].next.checked_sub(self.heads)
    }

    /// The value that follows `key` in its list.
    pub(crate) fn following(&self, key: u32) -> Option<u32> {
        self.nodes[(key + self.heads) as usize].next.checked_sub(self.heads)
    }

    /// The values of list `head`, from the front.
    pub(crate) fn iter(&self, head: u32) -> impl Iterator<Item = u32> + '_ {
        core::iter::successors(self.first(head), |&key| self.following(key))
    }

    /// Puts `key`, which is in no list, at the end of list `head`.
    pub(crate) fn push_back(&mut self, head: u32, key: u32) {
        let node = key + self.heads;
        debug_assert!(self.nodes[node as usize].next == UNLINKED, "a value is in one list at a time");
        let last = self.nodes[head as usize].prev;
        self.nodes[node as usize].prev = last;
        self.nodes[node as usize].next = head;
        self.nodes[last as usize].next = node;
        self.nodes[head as usize].prev = node;
    }

    /// Takes `key`, which is in a list, out of it. Gives the list's head when that list is empty now.
    pub(crate) fn unlink(&mut self, key: u32) -> Option<u32> {
        let node = &mut self.nodes[(key + self.heads) as usize];
        debug_assert!(node.next != UNLINKED, "only a value that is in a list can leave it");
        let (prev, next) = (node.prev, node.next);
        (node.prev, node.next) = (UNLINKED, UNLINKED);
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
        (prev == next && prev < self.heads).then_some(prev)
    }

    /// Takes the first value of list `head`.
    pub(crate) fn pop_front(&mut self, head: u32) -> Option<u32> {
        let key = self.first(head)?;
        self.unlink(key);
        Some(key)
    }

    /// Moves all of list `from` to the end of list `to`, which is another list.
    pub(crate) fn append(&mut self, to: u32, from: u32) {
        debug_assert!(to != from, "a list cannot follow itself");
        let Node { prev: last, next: first, .. } = self.nodes[from as usize];
        if first == from {
            return;
        }
        let before = self.nodes[to as usize].prev;
        self.nodes[before as usize].next = first;
        self.nodes[first as usize].prev = before;
        self.nodes[last as usize].next = to;
        self.nodes[to as usize].prev = last;
        self.nodes[from as usize].prev = from;
        self.nodes[from as usize].next = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn keys(lists: &Lists<u64>, head: u32) -> Vec<u32> {
        lists.iter(head).collect()
    }

    #[test]
    fn a_list_keeps_the_order_in_which_values_came() {
        let mut lists = Lists::<u64>::new(2, 4);
        for key in [2, 0, 3] {
            lists.push_back(1, key);
        }
        assert_eq!(keys(&lists, 1), vec![2, 0, 3]);
        assert_eq!(lists.unlink(0), None);
        assert_eq!(keys(&lists, 1), vec![2, 3]);
        assert!(!lists.is_linked(0) && lists.is_linked(3) && !lists.is_linked(99));
        assert_eq!(lists.pop_front(1), Some(2));
        assert_eq!(lists.unlink(3), Some(1), "the last value names the list that it leaves empty");
        assert!(lists.is_empty(1) && lists.pop_front(1).is_none());
    }

    #[test]
    fn appending_moves_everything_and_leaves_nothing() {
        let mut lists = Lists::<u64>::new(2, 5);
        for key in 0..5 {
            lists.push_back(key % 2, key);
        }
        lists.append(0, 1);
        assert_eq!(keys(&lists, 0), vec![0, 2, 4, 1, 3]);
        assert!(lists.is_empty(1));
        lists.append(0, 1);
        assert_eq!(keys(&lists, 0).len(), 5, "an empty list adds nothing");
        lists.append(1, 0);
        assert_eq!(keys(&lists, 1), vec![0, 2, 4, 1, 3]);
        assert!(lists.is_empty(0));
    }

    #[test]
    fn growing_keeps_what_is_linked() {
        let mut lists = Lists::<u64>::new(1, 1);
        lists.push_back(0, 0);
        *lists.value_mut(0) = 7;
        lists.grow(3);
        lists.push_back(0, 2);
        assert_eq!(keys(&lists, 0), vec![0, 2]);
        assert_eq!((*lists.value(0), lists.capacity()), (7, 3));
        lists.grow(1);
        assert_eq!(lists.capacity(), 3);
    }
}
